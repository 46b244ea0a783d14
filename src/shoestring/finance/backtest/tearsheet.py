"""A page that says how strategies did: value, drawdown, weights, exposures, turnover, months, lineage."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.core.files import write_text_atomic
from shoestring.core.optional import optional
from shoestring.core.pages import render_page
from shoestring.finance.backtest import metrics
from shoestring.finance.backtest._tearsheet_plots import NUM_COLOURS, Curve, draw_bars, draw_lines, draw_stack
from shoestring.finance.backtest.engine import Backtest

__all__ = ["Notes", "render_tearsheet", "write_tearsheet"]

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_DETAILED = 6
"""Strategies that get plots of their own; the table and the common plots show all."""
_LAYERS = 6
"""Assets that get a colour of their own in the plot of weights."""
_DRAWS = 1000
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Notes:
    """What stands on a tear sheet besides its backtests."""

    title: str = ""
    """Heading; empty for the names of the strategies."""
    data: Sequence[str] = ()
    """Sentences on the data: real or synthetic, survivorship, licence (`About.lines`)."""
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Figures of a strategy's own, by the name of its backtest."""
    lineage: Mapping[str, str] = field(default_factory=dict)
    """Hashes and ids by what they identify: data, code, run, ..."""


def write_tearsheet(
    path: Path | str,
    backtests: Mapping[str, Backtest],
    *,
    benchmark: str | None = None,
    notes: Notes | None = None,
) -> None:
    """Write the tear sheet of one or several backtests as one HTML file without scripts or external assets.

    Parameters
    ----------
    path : Path or str
        The file; replaced atomically.
    backtests : mapping of str to Backtest
        By name; the first is the one that the heading is about.
    benchmark : str or None
        Name of the backtest that the others are compared with.
    notes : Notes or None
        Title, notes on the data, figures, lineage.

    Raises
    ------
    ConfigError
        Without a backtest, or for a benchmark that is none of them.
    MissingExtraError
        If jinja2 or matplotlib is not installed (extra ``report``).
    StorageError
        If the file cannot be written.
    """
    write_text_atomic(Path(path), render_tearsheet(backtests, benchmark=benchmark, notes=notes))


def render_tearsheet(
    backtests: Mapping[str, Backtest], *, benchmark: str | None = None, notes: Notes | None = None
) -> str:
    """Return the page of `write_tearsheet` as text; the same input gives the same bytes."""
    if not backtests:
        raise ConfigError("a tear sheet needs at least one backtest; none was given")
    if benchmark is not None and benchmark not in backtests:
        raise ConfigError(f"benchmark={benchmark!r} is none of the backtests {', '.join(backtests)}")
    optional("matplotlib", "report")
    return render_page(_TEMPLATES, "tearsheet.html", _page(backtests, benchmark, notes or Notes()))


def _page(backtests: Mapping[str, Backtest], benchmark: str | None, notes: Notes) -> dict[str, Any]:
    own = [n for n in backtests if n != benchmark] or list(backtests)
    order = [*own, *(n for n in backtests if n not in own)]
    colours = {
        n: 0 if n == benchmark and len(order) > 1 else 1 + i % NUM_COLOURS for i, n in enumerate(order)
    }
    first = backtests[own[0]]
    heading = notes.title or (own[0] if len(own) == 1 else f"{len(own)} strategies")
    dates = first.nav.index
    nav: list[Curve] = [(n, colours[n], backtests[n].nav) for n in order]
    under: list[Curve] = [(n, colours[n], -_drawdown(backtests[n])) for n in order]
    return {
        "title": f"{heading} - tear sheet",
        "heading": heading,
        "span": f"{dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}, {len(dates):,} trading days",
        "benchmark": benchmark if len(order) > 1 else None,
        "badges": _badges(first),
        "tiles": _tiles(first, backtests.get(benchmark or "") if benchmark != own[0] else None),
        "tiles_of": f"The first of them, {own[0]}:" if len(own) > 1 else "",
        "data": list(notes.data),
        "rows": [_row(n, backtests, benchmark, colours[n]) for n in order],
        "legend": [{"name": n, "colour": colours[n]} for n in order],
        "nav": draw_lines(nav, "Net asset value over time", "nav", log=_positive(nav)),
        "log": _positive(nav),
        "drawdown": draw_lines(under, "Drawdown over time", "drawdown", percent=True),
        "sections": [
            _section(i, n, backtests[n], notes.figures.get(n, {})) for i, n in enumerate(own[:_DETAILED])
        ],
        "left_out": own[_DETAILED:],
        "lineage": _lineage(notes.lineage),
    }


def _badges(backtest: Backtest) -> list[str]:
    costs = backtest.costs
    paid = f"{costs.commission_bps:g} bps commission, {costs.slippage_bps:g} bps slippage"
    return [
        f"{len(backtest.turnover):,} rebalances",
        f"{backtest.weights.shape[1]:,} assets",
        paid if costs.rate else "no costs",
    ]


def _tiles(backtest: Backtest, other: Backtest | None) -> list[dict[str, str]]:
    """Return the four figures at the top, the benchmark's below."""
    chosen = (
        ("Return a year", "annual_return", _percent),
        ("Volatility a year", "annual_volatility", _percent),
        ("Sharpe ratio", "sharpe", _number),
        ("Largest drawdown", "max_drawdown", _percent),
    )
    mine, theirs = backtest.metrics(), None if other is None else other.metrics()
    return [
        {
            "title": title,
            "value": show(mine[name]),
            "note": "" if theirs is None else f"benchmark {show(theirs[name])}",
        }
        for title, name, show in chosen
    ]


def _row(name: str, backtests: Mapping[str, Backtest], benchmark: str | None, colour: int) -> dict[str, Any]:
    """Return one line of the table of figures."""
    backtest = backtests[name]
    figures = backtest.metrics()
    interval = metrics.sharpe_interval(backtest.returns, draws=_DRAWS)
    cells = [
        ("Return a year", _percent(figures["annual_return"]), ""),
        ("Volatility", _percent(figures["annual_volatility"]), ""),
        ("Sharpe ratio", _number(figures["sharpe"]), _between(interval)),
        ("Sortino ratio", _number(figures["sortino"]), ""),
        ("Largest drawdown", _percent(figures["max_drawdown"]), ""),
        ("Longest drawdown", f"{figures['longest_drawdown']:,.0f} days", ""),
        ("Days up", _percent(figures["hit_rate"]), ""),
        ("Turnover a year", f"{_number(figures['annual_turnover'])}x", ""),
        ("Costs a year", _percent(figures["annual_costs"], 2), ""),
    ]
    if len({b.nav.index[0] for b in backtests.values()}) > 1:  # figures of unequal spans say so
        cells.insert(0, ("First day", f"{backtest.nav.index[0]:%Y-%m-%d}", ""))
    if benchmark is not None and len(backtests) > 1:
        place = next(i for i, cell in enumerate(cells) if cell[0] == "Sharpe ratio") + 1
        cells.insert(place, ("Sharpe minus benchmark's", *_against(backtest, backtests[benchmark])))
    return {"name": name, "colour": colour, "is_benchmark": name == benchmark, "cells": cells}


def _against(backtest: Backtest, other: Backtest) -> tuple[str, str]:
    """Return the difference of Sharpe ratios on common dates, and its interval."""
    if backtest is other:
        return "", ""
    both = pd.concat([backtest.returns, other.returns], axis=1, join="inner").to_numpy()
    if len(both) < 2:
        return "no common dates", ""
    interval = metrics.sharpe_difference_interval(both[:, 0], both[:, 1], draws=_DRAWS)
    return _number(interval.estimate), _between(interval)


def _section(place: int, name: str, backtest: Backtest, figures: Mapping[str, float]) -> dict[str, Any]:
    """Return what is shown of one strategy."""
    layers = _layers(backtest.weights)
    weights = backtest.weights
    exposures: list[Curve] = [
        ("gross", 1, weights.abs().sum(axis=1)),
        ("net", 2, weights.sum(axis=1)),
    ]
    bars, unit = _traded(backtest)
    prefix = f"s{place}"
    return {
        "id": f"strategy-{place}",
        "name": name,
        "notices": _notices(backtest),
        "weights": draw_stack(layers, f"Weights of {name}", f"{prefix}-weights"),
        "layers": [{"name": n, "colour": c} for n, c, _ in layers],
        "exposures": draw_lines(
            exposures, f"Exposures of {name}", f"{prefix}-exposures", percent=True, show=(0.0, 1.0)
        ),
        "turnover": draw_bars(bars, f"Turnover of {name}", f"{prefix}-turnover") if bars else "",
        "turnover_unit": unit,
        "rolling": _rolling(backtest.returns, name, prefix),
        "months": _months(backtest.returns),
        "figures": [(k.replace("_", " "), _own(v)) for k, v in figures.items()],
    }


def _layers(weights: pd.DataFrame) -> list[Curve]:
    """Return the assets with the largest mean weights, and the sum of the others."""
    size = weights.abs().mean()
    held = size[size > 0].sort_values(ascending=False, kind="stable")
    room = _LAYERS if len(held) <= _LAYERS else _LAYERS - 1
    layers: list[Curve] = [(str(a), 1 + i % NUM_COLOURS, weights[a]) for i, a in enumerate(held.index[:room])]
    others = list(held.index[room:])
    if others:
        long, short = weights[others].clip(lower=0).sum(axis=1), weights[others].clip(upper=0).sum(axis=1)
        if (long > 0).any():
            layers.append((f"{len(others)} others" if not (short < 0).any() else "others, long", 0, long))
        if (short < 0).any():
            layers.append(("others, short", 0, short))
    return layers or [("nothing held", 0, weights.sum(axis=1))]


def _rolling(returns: "pd.Series[float]", name: str, prefix: str) -> str:
    """Draw the Sharpe ratio of the last year on every date; nothing where there are less than two years."""
    if len(returns) < 2 * metrics.DAYS:
        return ""
    window = returns.rolling(metrics.DAYS)
    deviation = window.std()
    ratio = (window.mean() / deviation.where(deviation > 0) * metrics.DAYS**0.5).dropna()
    if not len(ratio):
        return ""
    return draw_lines([(name, 1, ratio)], f"Sharpe ratio of {name} over the last year", f"{prefix}-rolling")


def _traded(backtest: Backtest) -> tuple[dict[str, float], str]:
    """Return traded value by year, or by month where there are less than three years."""
    turnover = backtest.turnover
    if not len(turnover):
        return {}, ""
    index = pd.DatetimeIndex(turnover.index)
    short = len({int(y) for y in index.year}) < 3
    form = "%Y-%m" if short else "%Y"
    sums = turnover.groupby(index.strftime(form)).sum()
    return {str(k): float(v) for k, v in sums.items()}, "month" if short else "year"


def _notices(backtest: Backtest) -> list[str]:
    notices = []
    if backtest.ruined_on is not None:
        notices.append(f"Nothing was left on {backtest.ruined_on:%Y-%m-%d}; the value is 0 from there on.")
    missed = backtest.unfilled[backtest.unfilled > 0]
    if len(missed):
        notices.append(
            f"On {len(missed):,} of {len(backtest.unfilled):,} rebalances up to "
            f"{_percent(float(missed.max()))} was wanted in assets without a price that day, and not traded."
        )
    return notices


def _months(returns: "pd.Series[float]") -> list[dict[str, Any]]:
    """Return years with their months' returns, and how strongly to colour each."""
    table = metrics.monthly_returns(returns)
    strongest = float(np.nanquantile(np.abs(table.to_numpy()), 0.95)) or 1.0
    rows = []
    for year, months in table.iloc[::-1].iterrows():
        total = float(np.prod(1.0 + months.dropna().to_numpy()) - 1.0)
        cells = [
            {"text": "", "heat": 0, "sign": "none"}
            if np.isnan(v)
            else {
                "text": _bare_percent(float(v)),
                "heat": round(100 * min(1.0, abs(float(v)) / strongest)),
                "sign": "down" if v < 0 else "up",
            }
            for v in months.to_numpy()
        ]
        rows.append({"year": str(year), "cells": cells, "total": _bare_percent(total)})
    return rows


def _lineage(given: Mapping[str, str]) -> list[tuple[str, str]]:
    versions = {
        "shoestring": version("shoestring"),
        "pandas": pd.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    return [*((k, str(v)) for k, v in given.items()), *versions.items()]


def _positive(curves: Sequence[Curve]) -> bool:
    """Whether all values can stand on a logarithmic axis, and move enough to need one."""
    lowest = min(float(v.min()) for _, _, v in curves)
    return lowest > 0 and max(float(v.max()) for _, _, v in curves) > 1.5 * lowest


def _drawdown(backtest: Backtest) -> "pd.Series[float]":
    return pd.Series(metrics.drawdowns(backtest.returns), index=backtest.returns.index)


def _percent(value: float, digits: int = 1) -> str:
    return "\N{EN DASH}" if np.isnan(value) else _signed(f"{100 * value:.{digits}f}") + " %"


def _bare_percent(value: float) -> str:
    return _signed(f"{100 * value:.1f}")


def _number(value: float) -> str:
    return "\N{EN DASH}" if not np.isfinite(value) else _signed(f"{value:.2f}")


def _own(value: float) -> str:
    """Return a strategy's own figure; whole numbers without decimals."""
    return _signed(f"{value:,.0f}") if np.isfinite(value) and value == round(value) else _number(value)


def _signed(text: str) -> str:
    text = text.replace("-", _MINUS)
    return text.lstrip(_MINUS) if not text.strip(_MINUS + "0.") else text


def _between(interval: metrics.Interval) -> str:
    if np.isnan(interval.low):
        return ""
    return f"{100 * interval.level:.0f} %: {_number(interval.low)} to {_number(interval.high)}"
