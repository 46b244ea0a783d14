"""A synthetic market with planted truth: firms, statements, ETFs, deposit files. Never real."""

# Shapes: K quarters, T trading days, N firms, E ETFs, P latent processes (quality, growth, value)

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed
from shoestring.finance.market.deposits.files import DepositFiles
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.table import Statements

__all__ = ["MarketConfig", "SyntheticMarket", "synthetic_market"]

Floats = npt.NDArray[np.float64]

DAYS = 63  # trading days a quarter
WEIGHTS = (0.5, 0.4, 0.5)  # of quality, growth and value in the planted signal
CROSS_WEIGHT = 0.35  # of quality x value: the part that a linear model cannot see
PERSISTENCE = 0.9  # of the latent processes from one quarter to the next
MARKET_VOL, SECTOR_VOL, FIRM_VOL = 0.15, 0.05, 0.28  # a year
MARKET_DRIFT = 0.06
MARKET_NAMES = 250  # the largest firms at the start, which the market ETF holds


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketConfig:
    """Size of the synthetic market and strength of its planted signal."""

    num_firms: int = 800
    """N."""
    num_sectors: int = 11
    """Sectors; each has an old ETF, and one more holds the market."""
    num_quarters: int = 60
    """K; the first day is the first business day of 2005."""
    ic: float = 0.05
    """Correlation of the planted signal with the firm's own return over the quarter; 0 is the control."""
    missing: float = 0.15
    """Share of statement items that are missing."""
    num_thematic: int = 25
    """ETFs that are listed in the last `thematic_quarters`."""
    thematic_quarters: int = 8
    """Quarters before the end in which the thematic ETFs appear, one after the other in the first of them."""
    names_per_theme: int = 40
    """Components of a thematic ETF."""
    file_every: int = 5
    """Trading days between two deposit files; 1 is daily."""
    delisted: float = 0.03
    """Share of firms that are delisted in the run."""
    split: float = 0.05
    """Share of firms that split their shares 2:1 once."""

    def __post_init__(self) -> None:
        if not 0 <= self.ic < 1 or not 0 <= self.missing < 1:
            raise ConfigError(f"ic={self.ic} and missing={self.missing} must lie in 0..1")
        if self.num_quarters < self.thematic_quarters + 8:
            raise ConfigError(
                f"num_quarters={self.num_quarters} leaves no history; give at least "
                f"{self.thematic_quarters + 8} for thematic_quarters={self.thematic_quarters}"
            )
        if self.num_firms < 4 * self.num_sectors or self.names_per_theme * 2 > self.num_firms:
            raise ConfigError(
                f"num_firms={self.num_firms} is too few for {self.num_sectors} sectors and themes of "
                f"{self.names_per_theme} names; give more firms"
            )


@dataclass(frozen=True, eq=False)
class SyntheticMarket:
    """Everything that the experiment needs.

    Attributes
    ----------
    prices : PricePanel
        Firms and ETFs: ``close`` (total return), ``unadjusted_close`` and ``split_factor``.
    statements : Statements
        Quarterly, filed 30 to 60 days after the period's end.
    files : DepositFiles
        Of all ETFs.
    files_frame : DataFrame
        The same as rows, as they stand in CSV files.
    old, thematic : tuple of str
        Names of the ETFs.
    market_etf : str
        The ETF that holds the 250 largest firms.
    signal : DataFrame [K, N]
        The planted signal by period end, standardised; what no model may see.
    """

    prices: PricePanel
    statements: Statements
    files: DepositFiles
    files_frame: pd.DataFrame
    old: tuple[str, ...]
    thematic: tuple[str, ...]
    market_etf: str
    signal: pd.DataFrame


@dataclass(frozen=True, eq=False)
class _Firms:
    """Names, sector [N], latent processes [K, N, P], planted signal [K, N], shares [N]."""

    names: list[str]
    sector: npt.NDArray[np.int64]
    latent: Floats
    signal: Floats
    shares: Floats


def synthetic_market(config: MarketConfig | None = None, *, seed: int = 0) -> SyntheticMarket:
    """Draw a market in which statements predict returns with a set information coefficient.

    Latent quality, growth and value of each firm (AR(1) over quarters, with a level of its sector that
    predicts nothing) drive its noisy statement items and, the quarter after, the drift of its price:
    ``r = market + sector + vol (ic z + sqrt(1 - ic^2) e)`` over a quarter, where z mixes the three and the
    product of quality and value.

    Parameters
    ----------
    config : MarketConfig or None
        Size and strength.
    seed : int
        Of all draws.

    Notes
    -----
    With the default size, 3,780 days x 837 assets and about half a million rows of deposit files: 2 seconds,
    300 MB.
    """
    config = config or MarketConfig()
    dates = pd.bdate_range("2005-01-03", periods=config.num_quarters * DAYS)
    ends = dates[DAYS - 1 :: DAYS]
    firms = _firms(config, _rng(seed, "firms"))
    close_TN = _prices(firms, config, _rng(seed, "prices"))
    factor_TN, alive_TN = _events(close_TN.shape, config, _rng(seed, "events"))
    listed_TN = np.where(alive_TN, close_TN, np.nan)
    frame = _statement_rows(firms, close_TN, alive_TN, ends, (config, factor_TN), _rng(seed, "statements"))
    baskets = _etfs(firms, listed_TN, config, _rng(seed, "etfs"))
    etf_names = [name for name, _, _ in baskets]
    etf_TE, files = _follow_etfs(
        baskets, (dates, firms.names), (listed_TN, factor_TN), config, _rng(seed, "files")
    )
    columns = [*firms.names, *etf_names]
    close = pd.DataFrame(np.hstack([listed_TN, etf_TE]), index=dates, columns=columns)
    factor = np.hstack([factor_TN, np.ones_like(etf_TE)])
    raw = pd.DataFrame(close.to_numpy() / factor, index=dates, columns=columns)
    prices = PricePanel.from_frame(
        close, unadjusted_close=raw, split_factor=pd.DataFrame(factor, index=dates, columns=columns)
    )
    old = tuple(etf_names[: config.num_sectors + 1])
    return SyntheticMarket(
        prices=prices,
        statements=Statements.from_frame(frame),
        files=DepositFiles.from_frame(files),
        files_frame=files,
        old=old,
        thematic=tuple(etf_names[len(old) :]),
        market_etf=old[0],
        signal=pd.DataFrame(firms.signal, index=ends, columns=firms.names),
    )


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "market", name))


def _autoregressive(num: int, shape: tuple[int, ...], rng: np.random.Generator, keep: float) -> Floats:
    """Stationary AR(1) with unit variance, [num, *shape]."""
    from scipy.signal import lfilter

    noise = rng.standard_normal((num, *shape)) * np.sqrt(1 - keep**2)
    noise[0] /= np.sqrt(1 - keep**2)
    out: Floats = lfilter([1.0], [1.0, -keep], noise, axis=0)
    return out


def _firms(config: MarketConfig, rng: np.random.Generator) -> _Firms:
    num = config.num_firms
    sector_N = np.arange(num) % config.num_sectors
    latent_KNP = _autoregressive(config.num_quarters, (num, 3), rng, PERSISTENCE)
    quality, value = latent_KNP[..., 0], latent_KNP[..., 2]
    mixed = latent_KNP @ np.asarray(WEIGHTS) + CROSS_WEIGHT * quality * value
    spread = np.sqrt(np.sum(np.square(WEIGHTS)) + CROSS_WEIGHT**2)
    return _Firms(
        [f"S{i:04d}" for i in range(num)],
        sector_N,
        latent_KNP,
        mixed / spread,
        np.exp(rng.normal(17.0, 0.8, num)),
    )


def _prices(firms: _Firms, config: MarketConfig, rng: np.random.Generator) -> Floats:
    """Total-return prices [T, N]; the drift of a quarter follows the signal at the end of the one before."""
    num_quarters, num = firms.signal.shape
    days = num_quarters * DAYS
    step = 1 / (4 * DAYS)
    beta = rng.normal(1.0, 0.15, num)
    market = MARKET_DRIFT * step + MARKET_VOL * np.sqrt(step) * rng.standard_normal((days, 1))
    sector = SECTOR_VOL * np.sqrt(step) * rng.standard_normal((days, config.num_sectors))
    own = FIRM_VOL * np.sqrt(step) * np.sqrt(1 - config.ic**2) * rng.standard_normal((days, num))
    lagged = np.vstack([np.zeros((1, num)), firms.signal[:-1]])
    drift = config.ic * FIRM_VOL / 2 * lagged / DAYS  # a quarter's deviation is half a year's
    returns = market * beta + sector[:, firms.sector] + own + np.repeat(drift, DAYS, axis=0)
    start = np.log(rng.uniform(10, 100, num))
    out: Floats = np.exp(start + np.cumsum(returns, axis=0))
    return out


def _events(
    shape: tuple[int, int], config: MarketConfig, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Cumulative split factor [T, N], and whether a firm is still listed [T, N]."""
    days, num = shape
    day = np.arange(days)[:, None]
    order = rng.permutation(num)
    split = np.full(num, days)
    chosen = order[: int(config.split * num)]
    split[chosen] = rng.integers(days // 4, days - DAYS, len(chosen))
    end = np.full(num, days)
    gone = order[len(chosen) : len(chosen) + int(config.delisted * num)]
    end[gone] = rng.integers(days // 2, days - DAYS, len(gone))
    return np.where(day >= split, 2.0, 1.0), day < end


def _statement_rows(
    firms: _Firms,
    close_TN: Floats,
    alive_TN: npt.NDArray[np.bool_],
    ends: pd.DatetimeIndex,
    setting: tuple[MarketConfig, Floats],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Noisy items of every firm and quarter, a row each, in long calendar order."""
    config, factor_TN = setting
    num_quarters, num = firms.signal.shape
    shape = (num_quarters, num)
    quality, growth, value = np.moveaxis(firms.latent, 2, 0)
    offset = rng.normal(0.0, 0.7, (6, config.num_sectors))[:, firms.sector]  # sectors differ, without meaning

    def noise(scale: float) -> Floats:
        return scale * rng.standard_normal(shape)

    quarter_end = np.arange(1, num_quarters + 1) * DAYS - 1
    shares = firms.shares * factor_TN[quarter_end]
    market_value = close_TN[quarter_end] * firms.shares
    equity = market_value * np.exp(-0.7 + 0.35 * value + 0.3 * offset[0] + noise(0.15))
    leverage = np.exp(0.7 + 0.25 * (_autoregressive(num_quarters, (num,), rng, 0.95) + offset[1]))
    assets = equity * leverage
    firm_level = np.log(market_value[0]) - 1.5 + rng.normal(0.0, 0.4, num)
    season = 0.08 * np.sin(np.pi / 2 * (np.arange(num_quarters)[:, None] + rng.integers(0, 4, num)))
    revenue = np.exp(firm_level + np.cumsum(0.01 + 0.02 * growth + noise(0.012), axis=0) + season)
    margin = np.clip(0.35 + 0.06 * quality + 0.08 * offset[2] + noise(0.05), 0.02, 0.95)
    operating = 0.10 + 0.035 * quality + 0.04 * offset[3] + noise(0.035)
    net_income = assets * (0.012 + 0.006 * quality + 0.004 * offset[4] + noise(0.005))
    cost = revenue * (1 - margin)
    nuisance = _autoregressive(num_quarters, (num, 4), rng, 0.9)
    items = {
        "revenue": revenue,
        "cost_of_revenue": cost,
        "operating_income": revenue * operating,
        "net_income": net_income,
        "operating_cash_flow": net_income + assets * noise(0.004) + 0.006 * assets,
        "total_assets": assets,
        "equity": equity,
        "total_debt": (assets - equity).clip(min=0) * np.exp(-0.6 + 0.2 * nuisance[..., 0]),
        "current_assets": assets * np.exp(-1.0 + 0.2 * nuisance[..., 1]),
        "current_liabilities": assets * np.exp(-1.4 + 0.2 * nuisance[..., 2]),
        "inventory": cost * np.exp(-0.6 + 0.3 * nuisance[..., 3] + 0.3 * offset[5]),
        "payables": cost * np.exp(-0.8 + noise(0.3)),
        "shares": shares,
    }
    hidden = rng.random((len(items), *shape)) < config.missing
    alive = alive_TN[quarter_end]
    made = {
        n: np.where(h & (n != "shares"), np.nan, v)[alive]
        for (n, v), h in zip(items.items(), hidden, strict=True)
    }
    period, firm = np.nonzero(alive)
    lag = pd.to_timedelta(rng.integers(30, 61, len(firm)), unit="D")
    return pd.DataFrame(
        {
            "ticker": np.asarray(firms.names, dtype=object)[firm],
            "period_end": ends[period],
            "filed": ends[period] + lag,
            "sector": np.array([f"sector {s:02d}" for s in firms.sector], dtype=object)[firm],
            **made,
        }
    )


def _etfs(
    firms: _Firms, listed_TN: Floats, config: MarketConfig, rng: np.random.Generator
) -> list[tuple[str, int, list[tuple[int, Floats]]]]:
    """Return name, first day and, a quarter each, the day and weights [N] of every ETF."""
    num_quarters, num = firms.signal.shape

    def cap_weights(quarter: int, members: npt.NDArray[np.bool_]) -> Floats:
        day = quarter * DAYS
        value = np.where(members & ~np.isnan(listed_TN[day]), listed_TN[day] * firms.shares, 0.0)
        out: Floats = value / value.sum()
        return out

    largest = np.argsort(np.argsort(-listed_TN[0] * firms.shares)) < min(MARKET_NAMES, num)
    out = [("MARKET", 0, [(q * DAYS, cap_weights(q, largest)) for q in range(num_quarters)])]
    for s in range(config.num_sectors):
        plan = [(q * DAYS, cap_weights(q, firms.sector == s)) for q in range(num_quarters)]
        out.append((f"SECTOR{s:02d}", 0, plan))
    first = num_quarters - config.thematic_quarters
    for i in range(config.num_thematic):
        direction = rng.standard_normal(3)
        sectors = rng.choice(config.num_sectors, min(4, config.num_sectors), replace=False)
        start = first + (2 * i) // max(config.num_thematic, 1)
        tilt_N = rng.normal(0.0, 0.6, num)  # a theme is about more than statements
        plan = []
        for q in range(start, num_quarters):
            alive = ~np.isnan(listed_TN[q * DAYS])
            appeal = firms.latent[max(q - 1, 0)] @ direction / np.linalg.norm(direction) + tilt_N
            appeal = np.where(np.isin(firms.sector, sectors) & alive, appeal, -np.inf)
            chosen = np.argsort(-appeal, kind="stable")[: config.names_per_theme]
            weights = np.zeros(num)
            weights[chosen] = rng.uniform(0.5, 1.5, len(chosen))
            weights[np.isinf(appeal)] = 0.0
            plan.append((q * DAYS, weights / weights.sum()))
        out.append((f"THEME{i:02d}", start * DAYS, plan))
    return out


def _follow_etfs(
    baskets: list[tuple[str, int, list[tuple[int, Floats]]]],
    axes: tuple[pd.DatetimeIndex, list[str]],
    market: tuple[Floats, Floats],
    config: MarketConfig,
    rng: np.random.Generator,
) -> tuple[Floats, pd.DataFrame]:
    """Total-return prices of the ETFs [T, E] and the rows of their deposit files."""
    dates, names = axes
    listed_TN, factor_TN = market
    filled_TN = pd.DataFrame(listed_TN).ffill().to_numpy()
    returns_TN = np.vstack([np.zeros((1, len(names))), filled_TN[1:] / filled_TN[:-1] - 1])
    label = np.asarray(names, dtype=object)
    close = np.full((len(dates), len(baskets)), np.nan)
    parts: list[pd.DataFrame] = []
    unit_value = 2.5e6  # a creation unit, in currency
    for e, (name, start, plan) in enumerate(baskets):
        level = 25.0 * unit_value / 2.5e6
        for day, weights in plan:
            stop = min(day + DAYS, len(dates))
            held = np.flatnonzero(weights)
            growth = filled_TN[day:stop, held] / filled_TN[day, held]
            value = growth @ weights[held]
            close[day:stop, e] = level * value
            if stop < len(dates):
                last = value[-1] * (1 + (growth[-1] * weights[held] / value[-1]) @ returns_TN[stop, held])
                level *= last
            wobble = np.exp(np.cumsum(0.001 * rng.standard_normal((stop - day, len(held))), axis=0))
            shares = (
                unit_value * 0.99 * weights[held] / filled_TN[day, held] * wobble
            )  # on the first day's basis
            rows = np.arange(0, stop - day, config.file_every)
            alive = ~np.isnan(listed_TN[day:stop, held])[rows]
            at, j = np.nonzero(alive)
            raw = shares[rows][at, j] * factor_TN[day:stop][rows][:, held][at, j]
            cash = unit_value * 0.01 * (1 + 0.1 * rng.standard_normal(len(rows)))
            parts.append(
                pd.DataFrame(
                    {
                        "date": dates[day + rows[at]],
                        "etf": name,
                        "ticker": label[held[j]],
                        "shares": raw,
                        "cash": cash[at],
                    }
                )
            )
        del start
    return close, pd.concat(parts, ignore_index=True)
