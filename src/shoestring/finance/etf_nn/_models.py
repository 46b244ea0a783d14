"""Models of statements: fit on firms, score firms. The network, and the same interface for its baselines."""

# Shapes: D dates, N firms, R rows (a firm on a date), K members

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.base import BaseEstimator, clone

from shoestring.core.errors import ConfigError, DataError, NotFittedError
from shoestring.finance.etf_nn._network import BatchedNetwork
from shoestring.finance.etf_nn._samples import Samples, make_samples, sample_dates, split_dates
from shoestring.finance.etf_nn._state import load_state, save_state
from shoestring.finance.etf_nn._training import scores_of, train_ensemble
from shoestring.finance.etf_nn.config import LOSSES, NetworkConfig, TargetKind, TrainingConfig, horizon_months
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeatureConfig, FeaturePanel, feature_panel
from shoestring.finance.market.statements.table import Statements

__all__ = ["StatementComposite", "StatementModel", "StatementNet", "StatementRegressor", "correlation_inside"]

Floats = npt.NDArray[np.float64]
Date = str | pd.Timestamp

VALUE = ("earnings_yield", "sales_yield", "book_yield", "cash_flow_yield")
QUALITY = ("roa", "roe", "gross_margin", "operating_margin", "-debt_to_assets")


class StatementModel(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What the models share: features as of a date, training dates, prediction.

    Subclasses have the attributes ``horizon``, ``target``, ``features``, ``training`` and write
    `_fit_samples` and `_score_rows`.
    """

    horizon: str
    target: TargetKind
    features: FeatureConfig
    training: TrainingConfig

    def fit(self, statements: Statements, prices: PricePanel, end: Date | None = None) -> Self:
        """Learn from statements filed and prices seen up to and including `end`.

        Parameters
        ----------
        statements : Statements
            Of the firms.
        prices : PricePanel
            Of the firms; other assets are left out.
        end : str, Timestamp or None
            The last date that may be looked at; None takes all.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If no training date has firms whose horizon is over.
        """
        last = prices.dates[-1] if end is None else pd.Timestamp(end)
        seen = prices.cut(last)
        dates = sample_dates(seen.dates, self.training.sample_months)
        panel = feature_panel(statements.cut(last), seen, dates, self.feature_config)
        return self.fit_panel(panel, seen, last)

    def fit_panel(self, panel: FeaturePanel, prices: PricePanel, end: Date) -> Self:
        """Learn from ready-made features of firms, or of any other assets; see `fit`."""
        last = pd.Timestamp(end)
        if self.training.window_years:
            first = last - pd.DateOffset(years=self.training.window_years)
            panel = panel.take(panel.dates[panel.dates >= first])
        samples = make_samples(
            panel,
            prices,
            horizon_months(self.horizon),
            self.target,
            sector_neutral=self.feature_config.sector_neutral,
            end=last,
        )
        self.dates_ = samples.dates
        self.feature_names_ = panel.names
        self._fit_samples(samples)
        return self

    def predict(self, statements: Statements, prices: PricePanel, date: Date) -> "pd.Series[float]":
        """Return the score of every firm that has a price and a recent statement at the close of `date`."""
        day = pd.Timestamp(date)
        scores = self.predict_many(statements.cut(day), prices.cut(day), pd.DatetimeIndex([day]))
        return scores.iloc[0].dropna().rename("score")

    def predict_many(
        self, statements: Statements, prices: PricePanel, dates: Sequence[pd.Timestamp] | pd.DatetimeIndex
    ) -> pd.DataFrame:
        """Return scores [D, N], NaN where a firm is not scored; each row from its date's knowledge alone."""
        return self.predict_panel(feature_panel(statements, prices, dates, self.feature_config))

    def predict_panel(self, panel: FeaturePanel) -> pd.DataFrame:
        """Return scores [D, N] from ready-made features.

        Raises
        ------
        NotFittedError
            Before `fit`.
        DataError
            If the features are not those of `fit`.
        """
        names = getattr(self, "feature_names_", None)
        if names is None:
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit first")
        if names != panel.names:
            odd = sorted(set(names) ^ set(panel.names))[:3]
            raise DataError(f"the features differ from those of fit, e.g. {odd}; build both with one config")
        day, firm = np.nonzero(panel.scored)
        out = np.full(panel.scored.shape, np.nan)
        if len(day):
            out[day, firm] = self._score_rows(panel.values[day, firm], day, panel.names)
        return pd.DataFrame(out, index=panel.dates, columns=list(panel.tickers))

    @property
    def feature_config(self) -> FeatureConfig:
        """How features are built."""
        return self.features

    @abstractmethod
    def _fit_samples(self, samples: Samples) -> None: ...

    @abstractmethod
    def _score_rows(
        self, x: npt.NDArray[np.float32], day: npt.NDArray[np.int64], names: tuple[str, ...]
    ) -> Floats: ...


class StatementNet(StatementModel):
    """Network from statements to relative performance, trained on firms (ETF-NN).

    Parameters
    ----------
    horizon : str
        How far ahead, e.g. ``"3M"`` or ``"1Y"``.
    target : str
        ``rank`` of the return in [-0.5, 0.5], ``excess`` log return, or ``class``: above the median.
    sector_neutral : bool or None
        Rank features and target inside sectors; None: as `features` says.
    ensemble : int
        Members, whose mean is the score; 1 is a single network.
    seed : int
        Of weights, dropout and the order of dates.
    features : FeatureConfig
        How statements become features.
    network : NetworkConfig
        Shape.
    training : TrainingConfig
        Loss and budget.

    Attributes
    ----------
    network_ : BatchedNetwork
        The members, as one batched network.
    best_epoch_ : tuple of int
        When each member was best.
    holdout_ic_ : float
        Correlation inside the held-out dates of the mean score; NaN without them.
    dates_ : DatetimeIndex
        Training dates, the held-out ones included.
    """

    def __init__(  # the words of the method, and its parts
        self,
        horizon: str = "3M",
        target: TargetKind = "rank",
        *,
        sector_neutral: bool | None = None,
        ensemble: int = 5,
        seed: int = 0,
        features: FeatureConfig = FeatureConfig(),  # noqa: B008  # frozen
        network: NetworkConfig = NetworkConfig(),  # noqa: B008  # frozen
        training: TrainingConfig = TrainingConfig(),  # noqa: B008  # frozen
    ) -> None:
        self.horizon = horizon
        self.target = target
        self.sector_neutral = sector_neutral
        self.ensemble = ensemble
        self.seed = seed
        self.features = features
        self.network = network
        self.training = training

    @property
    def feature_config(self) -> FeatureConfig:
        """`features`, with `sector_neutral` over it."""
        if self.sector_neutral is None:
            return self.features
        return replace(self.features, sector_neutral=self.sector_neutral)

    def _fit_samples(self, samples: Samples) -> None:
        self._check()
        trained = train_ensemble(
            samples, self.network, self.training, seed=self.seed, members=range(self.ensemble)
        )
        self.network_ = trained.network
        self.best_epoch_ = trained.best_epoch
        self.holdout_ic_ = trained.holdout_ic

    def _score_rows(
        self, x: npt.NDArray[np.float32], day: npt.NDArray[np.int64], names: tuple[str, ...]
    ) -> Floats:
        del names
        # Date by date: the blocks of a matrix product, and so its rounding, must not depend on other dates.
        sizes = np.unique(day, return_counts=True)[1].tolist()
        pieces = torch.split(torch.from_numpy(x), sizes)
        score_KR = torch.cat([scores_of(self.network_, piece) for piece in pieces], dim=1).double()
        if self.training.loss in ("rank_ic", "pairwise"):  # these leave the scale of each member open
            score_KR = _standardised(score_KR, torch.from_numpy(np.unique(day, return_inverse=True)[1]))
        return np.asarray(score_KR.mean(0).numpy(), dtype=np.float64)

    def save(self, path: str | Path) -> None:
        """Write the fitted model as one safetensors file, versioned, checksummed, whole or not at all."""
        save_state(Path(path), self._head(), dict(self.network_.state_dict()))

    @classmethod
    def load(cls, path: str | Path) -> "StatementNet":
        """Read a model that `save` wrote.

        Raises
        ------
        StorageError
            If the file is missing, damaged, of another version or no such model.
        """
        head, tensors = load_state(Path(path))
        return cls.from_state(head, tensors)

    @classmethod
    def from_state(cls, head: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> "StatementNet":
        """Build a fitted model from what `state` returned."""
        from shoestring.core.config import from_dict

        model = cls(
            head["horizon"],
            head["target"],
            sector_neutral=head["sector_neutral"],
            ensemble=head["ensemble"],
            seed=head["seed"],
            features=from_dict(FeatureConfig, head["features"]),
            network=from_dict(NetworkConfig, head["network"]),
            training=from_dict(TrainingConfig, head["training"]),
        )
        model.feature_names_ = tuple(head["feature_names"])
        model.dates_ = pd.DatetimeIndex(head["dates"])
        model.best_epoch_ = tuple(head["best_epoch"])
        model.holdout_ic_ = float("nan") if head["holdout_ic"] is None else float(head["holdout_ic"])
        net = BatchedNetwork(
            model.network,
            len(model.feature_names_),
            model.features.quarters,
            model.seed,
            range(model.ensemble),
        )
        net.load_state_dict(dict(tensors))
        model.network_ = net.eval()
        return model

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Return the fitted model as JSON values and tensors."""
        return self._head(), dict(self.network_.state_dict())

    def options(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        from shoestring.core.config import to_dict

        return {
            **{n: getattr(self, n) for n in ("horizon", "target", "sector_neutral", "ensemble", "seed")},
            "features": to_dict(self.features),
            "network": to_dict(self.network),
            "training": to_dict(self.training),
        }

    def _head(self) -> dict[str, Any]:
        if not hasattr(self, "network_"):
            raise NotFittedError("StatementNet is not fitted, there is nothing to save; call fit first")
        return {
            **self.options(),
            "feature_names": list(self.feature_names_),
            "dates": [d.isoformat() for d in self.dates_],
            "best_epoch": list(self.best_epoch_),
            "holdout_ic": None if np.isnan(self.holdout_ic_) else self.holdout_ic_,
        }

    def _check(self) -> None:
        horizon_months(self.horizon)
        if self.target not in ("rank", "excess", "class"):
            raise ConfigError(f"target={self.target!r} is not known; allowed: rank, excess, class")
        if self.ensemble < 1:
            raise ConfigError(f"ensemble={self.ensemble} must be 1 or more; 1 is a single network")
        if (self.training.loss == "logistic") != (self.target == "class"):
            raise ConfigError(
                f"loss={self.training.loss!r} does not fit target={self.target!r}; the target 'class' goes "
                f"with 'logistic', the others with {', '.join(n for n in LOSSES if n != 'logistic')}"
            )


class StatementRegressor(StatementModel):
    """A scikit-learn regressor on the same features, targets and dates as `StatementNet`.

    Parameters
    ----------
    estimator : regressor
        E.g. ``Ridge(alpha=100.0)``; cloned in `fit`.
    horizon, target, features, training
        As in `StatementNet`; of `training` only the choice of dates counts.

    Notes
    -----
    `holdout_ic_` comes from a fit without the held-out dates; then the estimator is fitted again on all of
    them, which the network is not: that is to the baseline's favour.
    """

    def __init__(
        self,
        estimator: Any,
        horizon: str = "3M",
        target: TargetKind = "rank",
        *,
        features: FeatureConfig = FeatureConfig(),  # noqa: B008  # frozen
        training: TrainingConfig = TrainingConfig(),  # noqa: B008  # frozen
    ) -> None:
        self.estimator = estimator
        self.horizon = horizon
        self.target = target
        self.features = features
        self.training = training

    def _fit_samples(self, samples: Samples) -> None:
        train, held = split_dates(samples, self.training.holdout, embargo=self.training.embargo)
        self.holdout_ic_ = float("nan")
        if held is not None:
            first = clone(self.estimator).fit(_flat(train.x), train.y)
            self.holdout_ic_ = correlation_inside(first.predict(_flat(held.x)), held)
        self.estimator_ = clone(self.estimator).fit(_flat(samples.x), samples.y)

    def _score_rows(
        self, x: npt.NDArray[np.float32], day: npt.NDArray[np.int64], names: tuple[str, ...]
    ) -> Floats:
        del day, names
        return np.asarray(self.estimator_.predict(_flat(x)), dtype=np.float64)


class StatementComposite(StatementModel):
    """Mean of some features, without training: value or quality.

    Parameters
    ----------
    parts : sequence of str
        Names of features; a minus sign before a name turns it round. Absent ones are left out.
    features : FeatureConfig
        As in `StatementNet`.
    """

    def __init__(
        self,
        parts: Sequence[str] = VALUE,
        *,
        features: FeatureConfig = FeatureConfig(),  # noqa: B008  # frozen
    ) -> None:
        self.parts = parts
        self.features = features
        self.horizon = "3M"
        self.target = "rank"
        self.training = TrainingConfig()

    def _fit_samples(self, samples: Samples) -> None:
        del samples

    def _score_rows(
        self, x: npt.NDArray[np.float32], day: npt.NDArray[np.int64], names: tuple[str, ...]
    ) -> Floats:
        del day
        signs = {p.lstrip("-"): -1.0 if p.startswith("-") else 1.0 for p in self.parts}
        place = [i for i, n in enumerate(names) if n in signs]
        if not place:
            raise DataError(f"none of {', '.join(self.parts)} is among the features; name some that are")
        sign = np.array([signs[names[i]] for i in place])
        return np.asarray((x[:, 0, place].astype(np.float64) * sign).mean(axis=1))


def correlation_inside(score_R: Floats, samples: Samples) -> float:
    """Return the mean over dates of the correlation of scores and targets inside the date."""
    frame = pd.DataFrame({"score": score_R, "y": samples.y.astype(np.float64), "day": samples.day})
    centred = frame[["score", "y"]] - frame.groupby("day")[["score", "y"]].transform("mean")
    by = centred.assign(both=centred["score"] * centred["y"], day=frame["day"]).groupby("day")
    spread = np.sqrt(by["score"].var(ddof=0) * by["y"].var(ddof=0))
    return float((by["both"].mean() / np.maximum(spread, 1e-12)).mean())


def _flat(x: npt.NDArray[np.float32]) -> Floats:
    return x.reshape(len(x), -1).astype(np.float64)


def _standardised(score_KR: torch.Tensor, day_R: torch.Tensor) -> torch.Tensor:
    """Bring each member to mean 0 and deviation 1 inside each date."""
    from shoestring.finance.etf_nn.functional import segment_mean

    num = int(day_R.max()) + 1
    centred = score_KR - segment_mean(score_KR, day_R, num)[:, day_R]
    spread = segment_mean(centred**2, day_R, num).sqrt()[:, day_R]
    return centred / spread.clamp_min(1e-12)
