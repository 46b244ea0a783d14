"""ETF-NN as a strategy of the platform: the same model, at dates that the platform chooses."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shoestring.finance.strategies.interface import (
    Context,
    DataView,
    NotEnoughHistoryError,
    Sources,
    State,
    Strategy,
    strategy,
)

if TYPE_CHECKING:
    import pandas as pd

    from shoestring.finance.etf_nn._models import StatementNet
    from shoestring.finance.market.panel import PricePanel

__all__ = ["EtfNnStrategy"]

FIELDS = ("unadjusted_close", "split_factor")


@strategy(
    name="etf_nn",
    version="1.0",
    schedule="BMS 06:00 America/New_York",
    refit="BYS",
    data=("statements", "deposit_files"),
)
class EtfNnStrategy(Strategy):
    """Hold the ETFs whose components' statements a network, trained on all stocks, likes best.

    The run is given two point-in-time tables: ``statements`` (`Statements`) and ``deposit_files``
    (`DepositFiles`); the panel has the stocks and the ETFs.
    """

    top: int = 5
    """ETFs held."""
    weighting: Literal["equal", "softmax", "mean_variance", "risk_parity"] = "equal"
    """As in `ETFPortfolio`."""
    min_coverage: float = 0.7
    """Least scored share of an ETF's net value."""
    horizon: str = "3M"
    """How far ahead the network looks."""
    sector_neutral: bool = True
    """Rank features and returns inside sectors."""
    ensemble: int = 5
    """Networks whose mean is the score."""
    loss: Literal["huber", "mse", "rank_ic", "pairwise"] = "huber"
    """As in `TrainingConfig`."""
    epochs: int = 60
    """Most passes over the training dates."""

    def sources(self, data: str) -> Sources:
        """Return the synthetic market, or prices, statements and deposit files of a folder.

        Parameters
        ----------
        data : str
            Empty for a small synthetic market, else a folder with ``prices/`` (as `read_prices` has it),
            ``statements.parquet`` or ``.csv`` (columns of `Statements.from_frame`) and ``deposit_files/``.
        """
        return _folder(Path(data)) if data else _example()

    def model(self, seed: int) -> "StatementNet":
        """Return the unfitted network."""
        from shoestring.finance.etf_nn._models import StatementNet
        from shoestring.finance.etf_nn.config import TrainingConfig

        return StatementNet(
            self.horizon,
            sector_neutral=self.sector_neutral,
            ensemble=self.ensemble,
            seed=seed,
            training=TrainingConfig(loss=self.loss, epochs=self.epochs),
        )

    def fit(self, ctx: Context, data: DataView) -> State:
        """Learn from everything known at ``ctx.as_of``."""
        fitted = self.model(ctx.seed).fit(data.known("statements"), _panel(data), ctx.as_of)
        head, tensors = fitted.state()
        return {"head": head, "tensors": tensors}

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        """Score stocks, push the scores through the effective baskets, hold the best."""
        import torch

        from shoestring.finance.etf_nn._models import StatementNet
        from shoestring.finance.etf_nn._portfolio import ETFPortfolio, basket_returns

        if ctx.state is None:
            raise NotEnoughHistoryError(
                f"ETF-NN at {ctx.as_of.date()}: no statements or returns to learn from yet; start later"
            )
        tensors = {n: torch.as_tensor(v) for n, v in ctx.state["tensors"].items()}
        fitted = StatementNet.from_state(ctx.state["head"], tensors)
        prices = _panel(data)
        files = data.known("deposit_files")
        scores = fitted.predict(data.known("statements"), prices, ctx.as_of)
        etf = files.aggregate(scores, prices, ctx.as_of, min_coverage=self.min_coverage)
        tradeable = etf[etf.index.isin(data.assets)]
        portfolio = ETFPortfolio(top=self.top, weighting=self.weighting, min_coverage=self.min_coverage)
        returns = None
        if self.weighting in ("mean_variance", "risk_parity"):
            returns = basket_returns(files.baskets(prices, [ctx.as_of]), 0, prices, portfolio.lookback)
        return portfolio.allocate(tradeable, returns)


def _example() -> Sources:
    from shoestring.finance.etf_nn._generator import MarketConfig, synthetic_market

    size = MarketConfig(num_firms=200, num_quarters=48, num_thematic=8, names_per_theme=20)
    market = synthetic_market(size, seed=0)
    return Sources(
        panel=market.prices,
        known={"statements": market.statements, "deposit_files": market.files},
        name="synthetic/etfs",
        about=(
            "Synthetic prices, statements and deposit files of 200 firms, with a planted signal of IC 0.05.",
            "Nobody could have traded them; the result says that the method runs, not that it earns.",
        ),
    )


def _folder(folder: Path) -> Sources:
    import pandas as pd

    from shoestring.core.errors import ConfigError
    from shoestring.finance.market.deposits.files import DepositFiles
    from shoestring.finance.market.price_files import read_prices
    from shoestring.finance.market.statements.table import Statements

    table = next((p for s in ("parquet", "csv") if (p := folder / f"statements.{s}").is_file()), None)
    if table is None or not (folder / "prices").exists() or not (folder / "deposit_files").is_dir():
        raise ConfigError(
            f"{str(folder)!r} lacks prices/, statements.parquet (or .csv) or deposit_files/; give a folder "
            "with all three, or leave out --data for the synthetic market"
        )
    rows = pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table)
    return Sources(
        panel=read_prices(folder / "prices"),
        known={
            "statements": Statements.from_frame(rows),
            "deposit_files": DepositFiles.from_dir(folder / "deposit_files"),
        },
        name=folder.name,
        about=("Prices, statements and deposit files of the user.",),
    )


def _panel(data: DataView) -> "PricePanel":
    """Return every price of the view as a panel, with the fields that put shares on the prices' basis."""
    from shoestring.core.errors import DataError
    from shoestring.finance.market.panel import PricePanel

    close = data.prices(listed=False)
    known = close.columns[close.notna().any()]
    fields = {}
    for name in FIELDS:
        try:
            fields[name] = data.prices(name, listed=False)[known]
        except DataError:  # a panel without that field
            continue
    return PricePanel.from_frame(close[known], **fields)
