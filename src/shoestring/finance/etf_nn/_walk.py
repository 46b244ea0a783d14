"""Walk-forward: refit on a schedule, score at each rebalance, hold the best ETFs, book the costs."""

# Shapes: D dates, N stocks, E ETFs, Q quarters, F features

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from shoestring.core.errors import DataError, StorageError
from shoestring.core.progress import progress
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import Backtest
from shoestring.finance.backtest.engine import backtest as follow
from shoestring.finance.backtest.metrics import ic_summary, rank_ic, sharpe
from shoestring.finance.etf_nn._models import StatementModel, StatementNet
from shoestring.finance.etf_nn._null import NullTest, sign_flip_test
from shoestring.finance.etf_nn._portfolio import ETFPortfolio, basket_returns
from shoestring.finance.etf_nn._samples import forward_returns, sample_dates
from shoestring.finance.etf_nn.config import horizon_months
from shoestring.finance.market.deposits.baskets import Baskets
from shoestring.finance.market.deposits.files import DepositFiles
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeaturePanel, feature_panel, group_ranks
from shoestring.finance.market.statements.table import Statements

__all__ = [
    "EtfBacktest",
    "allocate_all",
    "backtest",
    "eligible_scores",
    "etf_features",
    "etf_rank_ic",
    "fitted_at",
    "followed_rank_ic",
    "rebalance_schedule",
    "refit_schedule",
    "tradeable",
    "walk_forward",
]


@dataclass(frozen=True, eq=False)
class EtfBacktest:
    """What `backtest` returns.

    Attributes
    ----------
    book : Backtest
        The portfolio: net asset value, drifted weights, trades, costs.
    benchmark : Backtest
        Equal weight of all eligible ETFs, on the same dates and costs.
    scores : DataFrame [D, N]
        Scores of stocks.
    etf : DataFrame
        By (date, etf): score, coverage, names, eligibility and the reason against it.
    rank_ic : Series [D]
        Rank correlation over eligible ETFs of score and return over the horizon; NaN where it is not over.
    refits : DatetimeIndex
        When the model was fitted again.
    ic_test : NullTest or None
        The mean rank correlation against its distribution without a signal; None where none is known.
    """

    book: Backtest
    benchmark: Backtest
    scores: pd.DataFrame
    etf: pd.DataFrame
    rank_ic: "pd.Series[float]"
    refits: pd.DatetimeIndex
    ic_test: NullTest | None

    def metrics(self) -> dict[str, float]:
        """Return the book's figures, the benchmark's Sharpe ratio, and mean, t and ICIR of the rank IC.

        The t is over the error that the rank IC has without a signal, see `sign_flip_test`.
        """
        figures = dict(self.book.metrics())
        figures["benchmark_sharpe"] = sharpe(self.benchmark.returns)
        known = self.rank_ic.dropna()
        if self.ic_test is not None and len(known) >= 2:
            figures |= {"rank_ic": self.ic_test.mean, "rank_ic_t": self.ic_test.t}
            figures["icir"] = ic_summary(known).ir
        return figures


def backtest(  # noqa: PLR0913  # the words of one experiment
    model: StatementModel,
    statements: Statements,
    prices: PricePanel,
    files: DepositFiles,
    *,
    start: str | pd.Timestamp,
    end: str | pd.Timestamp | None = None,
    refit: str = "1Y",
    rebalance: str = "1M",
    portfolio: ETFPortfolio = ETFPortfolio(),  # noqa: B008  # frozen
    cost_bps: float = 10.0,
    folder: str | Path | None = None,
) -> EtfBacktest:
    """Walk forward: fit on the past, score stocks, push scores through the baskets, hold the best ETFs.

    Parameters
    ----------
    model : StatementModel
        Unfitted; a copy is fitted at each refit.
    statements, prices, files
        Of stocks and ETFs. ETFs whose names are not in `prices` cannot be traded and are left out.
    start, end : str or Timestamp
        First and last date of the net asset value; `end` None: the last date of `prices`.
    refit, rebalance : str
        Spans such as ``"1Y"`` and ``"1M"``. The first rebalance is the first session from `start` on; the
        later ones the first session of each span of calendar months.
    portfolio : ETFPortfolio
        How scores become weights.
    cost_bps : float
        Basis points of the traded value.
    folder : str, Path or None
        Keeps each fitted `StatementNet`; a run that was killed goes on from there with the same bits.

    Raises
    ------
    DataError
        If there is no rebalance date, or no history to fit on.

    Notes
    -----
    Weights of a date follow from statements filed, prices seen and files effective up to that date.
    """
    first = pd.Timestamp(start)
    last = prices.dates[-1] if end is None else pd.Timestamp(end)
    seen = prices.cut(last)
    when = rebalance_schedule(seen.dates, first, horizon_months(rebalance))
    refits = refit_schedule(when, horizon_months(refit))
    dates = sample_dates(seen.dates, model.training.sample_months).union(when)
    panel = feature_panel(statements.cut(last), seen, dates, model.feature_config)
    scores = walk_forward(model, panel, seen, refits, when, folder=folder)
    baskets = files.baskets(seen, when)
    etf = files.aggregate_many(
        scores,
        seen,
        min_coverage=portfolio.min_coverage,
        shrink_names=portfolio.shrink_names,
        baskets=baskets,
    )
    etf = tradeable(etf, seen)
    costs = Costs(commission_bps=cost_bps)
    weights = allocate_all(portfolio, etf, baskets, seen)
    everyone = allocate_all(replace(portfolio, top=len(files.etfs), weighting="equal"), etf, baskets, seen)
    funds = seen.select([a for a in seen.assets if a in set(files.etfs)])
    months = horizon_months(model.horizon)
    rank_ics = etf_rank_ic(etf, seen, months)
    scored = eligible_scores(etf, seen)
    return EtfBacktest(
        book=follow(funds, weights, costs=costs, start=first, end=last),
        benchmark=follow(funds, everyone, costs=costs, start=first, end=last),
        scores=scores,
        etf=etf,
        rank_ic=rank_ics,
        refits=refits,
        ic_test=sign_flip_test(scored, seen, months) if rank_ics.notna().any() else None,
    )


def walk_forward(
    model: StatementModel,
    panel: FeaturePanel,
    prices: PricePanel,
    refits: pd.DatetimeIndex,
    when: pd.DatetimeIndex,
    *,
    folder: str | Path | None = None,
) -> pd.DataFrame:
    """Return scores at each date, from the model fitted at the latest refit up to it, [D, N].

    Parameters
    ----------
    model : StatementModel
        Unfitted.
    panel : FeaturePanel
        Features of the training dates and of `when`, of stocks or of ETFs.
    prices : PricePanel
        Of the same assets.
    refits, when : DatetimeIndex
        Dates of fits, and dates to score; no date before the first refit.
    folder : str, Path or None
        Where fitted networks are kept and found again.
    """
    training = sample_dates(prices.dates, model.training.sample_months)
    learnt = panel.take(training[training.isin(panel.dates)])
    place = refits.searchsorted(when, side="right") - 1
    if (place < 0).any():
        raise DataError(f"{when[0].date()} lies before the first fit {refits[0].date()}; fit earlier")
    rows = []
    for i, date in enumerate(progress(list(refits), "refits")):
        due = when[place == i]
        if len(due):
            fitted = fitted_at(model, learnt, prices, date, folder)
            rows.append(fitted.predict_panel(panel.take(due)))
    return pd.concat(rows)


def rebalance_schedule(dates: pd.DatetimeIndex, start: pd.Timestamp, months: int) -> pd.DatetimeIndex:
    """Return the first session from `start` on, and the first one of every `months`-th month after it."""
    seen = dates[dates >= start]
    if len(seen) == 0:
        raise DataError(f"there is no session from {start.date()} on; the prices end {dates[-1].date()}")
    month = seen.year * 12 + seen.month - (seen[0].year * 12 + seen[0].month)
    new = np.flatnonzero(np.diff(month, prepend=month[0] - 1))
    return seen[new[month[new] % months == 0]]


def refit_schedule(when: pd.DatetimeIndex, months: int) -> pd.DatetimeIndex:
    """Return the rebalance dates on which the model is fitted: the first, then one every `months` months."""
    month = (when.year - when[0].year) * 12 + when.month - when[0].month
    span = month // months
    return when[np.flatnonzero(np.diff(span, prepend=-1))]


def etf_features(panel: FeaturePanel, baskets: Baskets, min_coverage: float = 0.7) -> FeaturePanel:
    """Return features of ETFs: the weighted mean of their components', ranked again across ETFs.

    What a network that learns from ETFs directly is given; same data as `DepositFiles.aggregate_many`.
    """
    num_dates, num_stocks = panel.scored.shape
    num_etfs = len(baskets.etfs)
    place = pd.Index(baskets.stocks).get_indexer(pd.Index(panel.tickers))
    values = panel.values.reshape(num_dates, num_stocks, -1).astype(np.float64)
    out = np.zeros((num_dates, num_etfs, values.shape[2]))
    coverage = np.zeros((num_dates, num_etfs))
    for day in range(num_dates):  # one sparse product a date
        weights = baskets.at(day)[:, place]
        coverage[day] = weights @ panel.scored[day].astype(np.float64)
        out[day] = weights @ values[day] / np.maximum(coverage[day], 1e-12)[:, None]
    scored = coverage >= min_coverage
    day_R, etf_R = np.nonzero(scored)
    ranked = np.zeros_like(out)
    ranked[day_R, etf_R] = group_ranks(out[day_R, etf_R], day_R)
    shape = (num_dates, num_etfs, *panel.values.shape[2:])
    return FeaturePanel(
        panel.dates,
        baskets.etfs,
        panel.names,
        ranked.reshape(shape).astype(np.float32),
        scored,
        np.full(scored.shape, -1),
    )


def allocate_all(
    portfolio: ETFPortfolio, etf: pd.DataFrame, baskets: Baskets, prices: PricePanel
) -> pd.DataFrame:
    """Return the weights of each date, [D, E]; what is missing to 1 is cash."""
    risky = portfolio.weighting in ("mean_variance", "risk_parity")
    rows = {}
    for day, date in enumerate(baskets.dates):
        returns = basket_returns(baskets, day, prices, portfolio.lookback) if risky else None
        rows[date] = portfolio.allocate(pd.DataFrame(etf.loc[date]), returns)
    held = [e for e in baskets.etfs if e in set(prices.assets)]
    return pd.DataFrame(rows).T.reindex(index=baskets.dates, columns=held).fillna(0.0)


def etf_rank_ic(
    etf: pd.DataFrame, prices: PricePanel, months: int, among: Sequence[str] | None = None
) -> "pd.Series[float]":
    """Return the rank correlation, over the eligible ETFs of each date, of score and what followed.

    Parameters
    ----------
    etf : DataFrame
        From `DepositFiles.aggregate_many`.
    prices : PricePanel
        Up to the end of the last horizon; later horizons give NaN.
    months : int
        Horizon.
    among : sequence of str or None
        Some of the ETFs.
    """
    return followed_rank_ic(eligible_scores(etf, prices, among), prices, months)


def eligible_scores(
    etf: pd.DataFrame, prices: PricePanel, among: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the scores of ETFs that have prices [D, E], NaN where one is not eligible."""
    score = etf["score"].where(etf["eligible"].astype(bool)).unstack("etf")
    chosen = set(prices.assets) & (set(prices.assets) if among is None else set(among))
    return score[[n for n in score.columns if n in chosen]]


def followed_rank_ic(scores: pd.DataFrame, prices: PricePanel, months: int) -> "pd.Series[float]":
    """Return the rank correlation of each date's scores [D, N] with the returns of the next months."""
    log, _ = forward_returns(prices, tuple(scores.columns), pd.DatetimeIndex(scores.index), months)
    return rank_ic(scores, pd.DataFrame(log, index=scores.index, columns=scores.columns))


def tradeable(etf: pd.DataFrame, prices: PricePanel) -> pd.DataFrame:
    """Mark ETFs without a price on the date as not eligible."""
    dates = etf.index.get_level_values("date")
    row = prices.dates.get_indexer(dates)
    column = pd.Index(prices.assets).get_indexer(etf.index.get_level_values("etf"))
    price = np.where(column >= 0, prices.close.to_numpy()[row, column], np.nan)
    bad = np.isnan(price) & etf["eligible"].to_numpy(bool)
    return etf.assign(
        eligible=etf["eligible"].to_numpy(bool) & ~bad,
        reason=np.where(bad, "the ETF itself has no price", etf["reason"].to_numpy(object)),
    )


def fitted_at(
    model: StatementModel, panel: FeaturePanel, prices: PricePanel, date: pd.Timestamp, folder: Any
) -> StatementModel:
    """Fit a copy of the model on what was known at `date`, or find the one that an earlier run fitted.

    `folder` (None: keep nothing) holds networks under a hash of everything that decides them; a damaged file
    is made again.
    """
    fresh: StatementModel = clone(model)
    if folder is None or not isinstance(fresh, StatementNet):
        return fresh.fit_panel(panel, prices, date)
    path = Path(folder) / f"{date:%Y-%m-%d}-{_key(fresh, panel, prices, date)}.safetensors"
    if path.exists():
        try:
            return StatementNet.load(path)
        except StorageError:
            path.unlink()  # damaged: made again
    fitted = fresh.fit_panel(panel, prices, date)
    fitted.save(path)
    return fitted


def _key(model: StatementNet, panel: FeaturePanel, prices: PricePanel, date: pd.Timestamp) -> str:
    """Hash everything that decides a fit."""
    use = panel.dates <= date
    digest = hashlib.sha256(json.dumps(model.options(), sort_keys=True).encode())
    close = prices.cut(date).close[list(panel.tickers)]
    for array in (panel.values[use], panel.scored[use], panel.group[use], close.to_numpy()):
        digest.update(np.ascontiguousarray(array).tobytes())
    for text in (panel.names, panel.tickers, [str(d) for d in close.index], [str(date)]):
        digest.update("\x1f".join(text).encode())
    return digest.hexdigest()[:16]
