"""``shoestring finance``: investment strategies in research, backtest, live and production."""

import typer

from shoestring.cli.lazy import lazy_verb

__all__ = ["app"]

app = typer.Typer(
    name="finance",
    help="Run investment strategies: backtest, live, promotion, user interface.",
    epilog="Example: shoestring finance backtest momentum --start 2005",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _entry, _help in (
    ("new", "shoestring.cli.finance_new:new", "Start a strategy from a working example."),
    ("check", "shoestring.cli.finance_check:check", "Look for look-ahead, and run twice."),
    ("backtest", "shoestring.cli.finance_backtest:backtest", "Run strategies over past prices, tear sheet."),
    ("sweep", "shoestring.cli.finance_sweep:sweep", "Backtest every combination of parameter values."),
    ("live", "shoestring.cli.finance_live:live", "Decide one date and write its order file, once."),
    ("compare", "shoestring.cli.finance_compare:compare", "Show the figures of runs side by side."),
    ("lineage", "shoestring.cli.finance_compare:lineage", "Show where a number comes from."),
    ("ui", "shoestring.cli.finance_ui:ui", "Start Dagster's pages and daemon for a workspace."),
    ("promote", "shoestring.cli.finance_promote:promote", "Move a version up: validated, paper, live."),
    ("render", "shoestring.cli.finance_render:render", "Write the Kubernetes jobs of a strategy."),
):
    lazy_verb(app, _name, _entry, _help, computes=True)
