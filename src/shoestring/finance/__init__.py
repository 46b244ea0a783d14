"""Prices, backtests and strategies: what the systems of the finance family share."""
