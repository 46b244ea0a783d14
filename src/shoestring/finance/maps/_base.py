"""What MAPS and its supervised baseline share as estimators, and the result of their backtest."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import DataError, NotFittedError, StorageError
from shoestring.core.recorder import Recorder
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import Backtest, backtest
from shoestring.finance.backtest.metrics import sharpe
from shoestring.finance.maps._checkpoint import read_tensors, write_tensors
from shoestring.finance.maps._network import AgentNetwork
from shoestring.finance.maps._portfolio import (
    agent_values,
    agent_weights,
    daily_returns,
    system_weights,
    weights_of_values,
)
from shoestring.finance.maps._spans import Day, Span, rows_of_span, split_dates
from shoestring.finance.maps._training import Learner, run_training
from shoestring.finance.maps._windows import PriceWindows
from shoestring.finance.maps.config import MapsConfig
from shoestring.finance.maps.functional import correlation_matrix
from shoestring.finance.market.panel import PricePanel, as_panel

__all__ = ["MapsBacktest", "PortfolioEstimator"]

Prices = PricePanel | pd.DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class MapsBacktest:
    """What the system, and each agent alone, earned."""

    system: Backtest
    """The system's portfolio, rebalanced at every close, after costs."""
    agent_returns: pd.DataFrame
    """[T, A] daily returns of each agent's own portfolio, before costs; the day of a row ends the return."""
    confidence_correlation: float
    """Mean correlation of two agents' confidences over all companies and dates; NaN with one agent."""
    average_returns: "pd.Series[float]"
    """[T] daily returns of the mean of the agents' portfolios, not renormalised, before costs."""

    @property
    def returns(self) -> "pd.Series[float]":
        """Daily returns of the system after costs, [T]."""
        return self.system.returns

    @property
    def sharpe(self) -> float:
        """Annual Sharpe ratio of the system after costs."""
        return sharpe(self.system.returns)

    @property
    def turnover(self) -> float:
        """Mean value traded at a close, bought plus sold, as a share of the net asset value."""
        return float(self.system.turnover.mean())

    @property
    def flat_share(self) -> float:
        """Share of the closes without a position: the agents cancelled out, or all values were equal."""
        return float((self.system.targets == 0).all(axis=1).mean())

    @property
    def agent_correlation(self) -> float:
        """Mean correlation of two agents' daily returns; NaN with one agent."""
        return mean_off_diagonal(torch.from_numpy(self.agent_returns.to_numpy().T.copy()))


def mean_off_diagonal(value_AB: Tensor) -> float:
    """Return the mean correlation of two different rows; NaN for one row."""
    corr_AA = correlation_matrix(value_AB)
    num = len(corr_AA)
    return float((corr_AA.sum() - corr_AA.trace()) / (num * (num - 1))) if num > 1 else float("nan")


class PortfolioEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What MAPS and its supervised baseline share: spans of dates, portfolios, backtest, files."""

    kind = ""
    """Name in files."""
    seed: int

    def _config(self) -> MapsConfig:
        raise NotImplementedError

    def _learner(self, windows: PriceWindows, config: MapsConfig, first: int, last: int) -> Learner:
        raise NotImplementedError

    def fit(
        self,
        X: Prices,
        y: None = None,  # noqa: ARG002  # scikit-learn's convention
        *,
        train: Span | None = None,
        valid: Span | None = None,
        checkpoint: str | Path | None = None,
        recorder: Recorder | None = None,
        report_progress: Callable[[float, str], None] = lambda _fraction, _word: None,
    ) -> Self:
        """Train on some dates, choose the best state on others.

        Parameters
        ----------
        X : PricePanel or DataFrame, [T dates, N assets]
            Closing prices; NaN where not listed. Dates after those of `train` and `valid` are not read.
        y : None
            Not used; scikit-learn's convention.
        train, valid : (first, last), optional
            Dates, both included; ``"2003"`` means all of the year. Without `valid` training runs for
            all of its updates and takes the last state. Without both, the last fifth of the dates is `valid`.
        checkpoint : path, optional
            Written at every look at `valid`; the same call goes on from it after a kill, to the same bits.
        recorder : Recorder, optional
            Gets losses and validation Sharpe ratios.
        report_progress : callable
            Gets the fraction of the updates that are done.

        Returns
        -------
        self

        Raises
        ------
        ConfigError
            For options out of range, spans that overlap or are out of order, or a training that diverges.
        DataError
            For prices that are not positive, dates that are unsorted or there twice, or fewer dates than a
            window needs.
        StorageError
            If `checkpoint` is damaged or of another run.
        """
        config = self._config()
        panel = as_panel(X)
        first, last, valid_rows = split_dates(panel.dates, train, valid)
        close = panel.close.to_numpy()[: (valid_rows or (first, last))[1] + 1]
        windows = PriceWindows(close, config.window)
        _warn_of_one_company(windows)
        learner = self._learner(windows, config, first, last)

        def validate(network: AgentNetwork) -> Tensor:
            start, end = valid_rows or (first, last)
            weight = agent_weights(network, windows, start, end - 1, config.portfolio)
            return daily_returns(system_weights(weight, config.portfolio), windows, start, end - 1)

        prices = hashlib.sha256(np.ascontiguousarray(close).tobytes()).hexdigest()
        rows = (first, last, valid_rows)
        run = run_training(
            learner,
            config.training,
            validate if valid_rows else None,
            identity=f"{self.kind} {config!r} seed={self.seed} rows={rows} prices={prices}",
            checkpoint=None if checkpoint is None else Path(checkpoint),
            recorder=recorder,
            report_progress=report_progress,
        )
        self.network_ = AgentNetwork(config.n_agents, config.window, config.network, seed=None).eval()
        self.network_.load_state_dict(run.best)
        self.config_ = config
        self.history_ = run.history
        self.best_update_ = run.best_update
        self.valid_sharpe_ = run.best_sharpe if valid_rows else float("nan")
        self.seen_until_ = panel.dates[len(close) - 1]
        self.n_features_in_ = len(panel.assets)
        return self

    def predict(self, X: Prices, date: Day | None = None) -> "pd.Series[float]":
        """Return the system's weights at a close.

        Parameters
        ----------
        X : PricePanel or DataFrame, [T, N]
            Closing prices, of any companies; only the window that ends at `date` is read.
        date : str or Timestamp, optional
            The last date at or before it counts; the last of all when omitted.

        Returns
        -------
        Series
            Weights by asset: sum 0 (neutral), sum of absolutes 1 or 0; 0 for a company without a full window.

        Raises
        ------
        NotFittedError
            Before `fit`.
        DataError
            If fewer dates than a window lie at or before `date`.
        """
        panel, weight_A1C, config = self._at(X, date)
        return pd.Series(
            system_weights(weight_A1C, config.portfolio)[0].numpy(), index=list(panel.assets), name="weight"
        )

    def agent_weights(self, X: Prices, date: Day | None = None) -> pd.DataFrame:
        """Return each agent's own portfolio at a close, [A, N]; arguments and errors as `predict`."""
        panel, weight_A1C, _ = self._at(X, date)
        return pd.DataFrame(weight_A1C[:, 0].numpy(), columns=list(panel.assets)).rename_axis("agent")

    def weights(self, X: Prices, start: Day | None = None, end: Day | None = None) -> pd.DataFrame:
        """Return the system's weights at every close of a range, [T, N], from one pass over all of it.

        Parameters
        ----------
        X : PricePanel or DataFrame
            Closing prices.
        start, end : str or Timestamp, optional
            Dates, both included; dates before the first full window are left out.

        Raises
        ------
        NotFittedError, DataError
            As `predict`.
        """
        panel, windows, first, last = self._range(X, start, end)
        weight = agent_weights(self.network_, windows, first, last, self.config_.portfolio)
        return self._frame(panel, first, last, system_weights(weight, self.config_.portfolio))

    def backtest(
        self, X: Prices, start: Day | None = None, end: Day | None = None, *, cost_bps: float = 0.0
    ) -> MapsBacktest:
        """Return what daily rebalancing would have earned.

        Parameters
        ----------
        X : PricePanel or DataFrame
            Closing prices.
        start, end : str or Timestamp, optional
            Dates, both included.
        cost_bps : float
            Costs in basis points of the value traded.

        Returns
        -------
        MapsBacktest

        Raises
        ------
        NotFittedError, DataError
            As `predict`.

        Notes
        -----
        Dates that the training saw give a warning: what is earned there says nothing.
        """
        panel, windows, first, last = self._range(X, start, end)
        if panel.dates[first] <= self.seen_until_:
            warnings.warn(
                f"the backtest starts on {panel.dates[first].date()}, and training saw prices until "
                f"{self.seen_until_.date()}; start later for a figure that means something",
                stacklevel=2,
            )
        config = self.config_.portfolio
        value = agent_values(self.network_, windows, first, last, config.rule)
        weight = weights_of_values(value, config)
        system = system_weights(weight, config)
        done = backtest(
            panel,
            self._frame(panel, first, last, system),
            costs=Costs(commission_bps=cost_bps),
            start=panel.dates[first],
            end=panel.dates[last],
            allow_short=True,
        )
        earned = daily_returns(weight, windows, first, last)[:, :-1]
        days = panel.dates[first + 1 : last + 1]
        average = daily_returns(weight.mean(0), windows, first, last)[:-1]
        return MapsBacktest(
            system=done,
            agent_returns=pd.DataFrame(earned.numpy().T, index=days).rename_axis(columns="agent"),
            confidence_correlation=mean_off_diagonal(value[:, ~value[0].isnan()]),
            average_returns=pd.Series(average.numpy(), index=days),
        )

    def score(self, X: Prices, y: None = None) -> float:  # noqa: ARG002  # scikit-learn's convention
        """Return the annual Sharpe ratio over all dates with a full window, before costs."""
        return self.backtest(X).sharpe

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator as one safetensors file with JSON metadata, atomically.

        Raises
        ------
        NotFittedError
            Before `fit`.
        StorageError
            If the file cannot be written.
        """
        self._fitted()
        meta = {
            "estimator": self.kind,
            "config": to_dict(self.config_),
            "seed": int(self.seed),
            "history": self.history_,
            "best_update": self.best_update_,
            "valid_sharpe": self.valid_sharpe_ if np.isfinite(self.valid_sharpe_) else None,
            "seen_until": str(self.seen_until_),
            "num_assets": self.n_features_in_,
        }
        write_tensors(Path(path), "model", self.network_.state_dict(), meta)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        StorageError
            If the file is damaged, of another version or of another estimator.
        """
        tensors, meta = read_tensors(Path(path), "model")
        if meta["estimator"] != cls.kind:
            raise StorageError(
                f"{path} holds a {meta['estimator']!r}, not a {cls.kind!r}; load it by its own class"
            )
        config = from_dict(MapsConfig, meta["config"])
        return cls.from_config(config, seed=meta["seed"])._restore(tensors, meta, config)

    @classmethod
    def from_config(cls, config: MapsConfig, *, seed: int = 0) -> Self:
        """Return an estimator with the options of a config that it has."""
        raise NotImplementedError

    def _restore(self, tensors: dict[str, Tensor], meta: dict[str, Any], config: MapsConfig) -> Self:
        network = AgentNetwork(config.n_agents, config.window, config.network, seed=None)
        network.load_state_dict(tensors)
        self.network_, self.config_, self.history_ = network.eval(), config, meta["history"]
        self.best_update_ = meta["best_update"]
        self.valid_sharpe_ = float("nan") if meta["valid_sharpe"] is None else meta["valid_sharpe"]
        self.seen_until_ = pd.Timestamp(meta["seen_until"])
        self.n_features_in_ = meta["num_assets"]
        return self

    def _fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not trained; call fit(...) or load(...) first"
            )

    def _at(self, X: Prices, date: Day | None) -> tuple[PricePanel, Tensor, MapsConfig]:
        self._fitted()
        panel = as_panel(X)
        when = panel.dates[-1] if date is None else pd.Timestamp(date)
        rows = panel.window(when, self.config_.window)
        windows = PriceWindows(rows.to_numpy(), self.config_.window)
        last = len(rows) - 1
        return panel, agent_weights(self.network_, windows, last, last, self.config_.portfolio), self.config_

    def _range(
        self, X: Prices, start: Day | None, end: Day | None
    ) -> tuple[PricePanel, PriceWindows, int, int]:
        self._fitted()
        panel = as_panel(X)
        first, last = rows_of_span(panel.dates, (start, end), "range")
        windows = PriceWindows(panel.close.to_numpy(), self.config_.window)
        first = max(first, self.config_.window - 1)
        if last < first + 1:
            raise DataError(
                f"the range ends on {panel.dates[last].date()}, before two dates with a window of "
                f"{self.config_.window} prices; give a later end or a longer history"
            )
        return panel, windows, first, last

    def _frame(self, panel: PricePanel, first: int, last: int, weight_TC: Tensor) -> pd.DataFrame:
        return pd.DataFrame(
            weight_TC.numpy(), index=panel.dates[first : last + 1], columns=list(panel.assets)
        )


def _warn_of_one_company(windows: PriceWindows) -> None:
    if windows.num_companies == 1:
        warnings.warn(
            "one company cannot be held market-neutrally: all weights will be 0. Give more companies, or "
            "portfolio=PortfolioConfig(neutral=False)",
            stacklevel=3,
        )
