"""Prices, backtests and strategies: what the systems of the finance family share.

==============  =====================================================================================
`market`        what is known and when: prices, statements, calendars, the view cut at a date
`records`       what is kept: the store, digests of data and code, the once-ledger
`backtest`      what weights earn: the engine, costs, metrics, the tear sheet
`strategies`    what a user writes: `strategies.interface`, parts, YAML files, the registry
`running`       the one path from data to weights: `running.run`, and the look-ahead detector
==============  =====================================================================================

Each imports only those above it. Import a name from the module that defines it, as in
``from shoestring.finance.backtest.engine import backtest``: a stored result is looked up by the text of the
modules that its strategy imports, so an import of more would compute more again. The file of a strategy
needs one line, ``from shoestring.finance.strategies.interface import Context, DataView, Strategy, strategy``.
"""
