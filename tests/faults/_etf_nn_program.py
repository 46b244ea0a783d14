"""Runs a small walk-forward with kept fits: ``python _etf_nn_program.py FOLDER RESULT``."""

import sys
from pathlib import Path

import torch

from shoestring.finance.etf_nn import (
    ETFPortfolio,
    MarketConfig,
    NetworkConfig,
    StatementNet,
    TrainingConfig,
    backtest,
    synthetic_market,
)


def main(folder: Path, result: Path) -> None:
    torch.set_num_threads(1)
    config = MarketConfig(
        num_firms=60,
        num_sectors=4,
        num_quarters=20,
        num_thematic=4,
        thematic_quarters=8,
        names_per_theme=10,
        file_every=10,
    )
    market = synthetic_market(config, seed=0)
    model = StatementNet(
        ensemble=2, network=NetworkConfig(hidden=(8,)), training=TrainingConfig(epochs=15, patience=15)
    )
    run = backtest(
        model,
        market.statements,
        market.prices,
        market.files,
        start=market.prices.dates[-8 * 63],
        refit="3M",
        portfolio=ETFPortfolio(top=3, weighting="softmax"),
        folder=folder,
    )
    run.book.targets.to_parquet(result)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
