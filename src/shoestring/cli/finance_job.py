"""What the verbs of ``shoestring finance`` share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional

if TYPE_CHECKING:
    from shoestring.finance.shai_am import RunConfig
    from shoestring.finance.shai_am._tasks import Reference

__all__ = ["DEFAULT_WORKSPACE", "figures_table", "market_of", "reference", "run_config"]

DEFAULT_WORKSPACE = Path("shoestring-workspace")
_SHOWN = (
    ("annual_return", "return a year", "{:.2%}"),
    ("annual_volatility", "volatility", "{:.2%}"),
    ("sharpe", "Sharpe", "{:.2f}"),
    ("max_drawdown", "max drawdown", "{:.1%}"),
    ("annual_turnover", "turnover a year", "{:.2f}"),
    ("annual_costs", "costs a year", "{:.2%}"),
    ("rebalances", "dates", "{:.0f}"),
)


def reference(strategy: str, overrides: Sequence[str]) -> "Reference":
    """Return a strategy by its name or file and its parameters."""
    optional("pandas", "finance")
    from shoestring.finance.shai_am._tasks import Reference

    return Reference(strategy=strategy, overrides=tuple(overrides))


def run_config(
    config: Path | None, *, start: str = "", end: str = "", cost_bps: float | None = None
) -> "RunConfig":
    """Build the options of a run from a TOML file, if there is one, and flags."""
    optional("pandas", "finance")
    from shoestring.core.config import from_dict, read_toml
    from shoestring.finance.shai_am import RunConfig

    given = {"start": start, "end": end}
    flags = [f'{name}="{value}"' for name, value in given.items() if value]
    flags += [] if cost_bps is None else [f"costs.commission_bps={cost_bps!r}"]
    if config is not None:
        return read_toml(RunConfig, config, flags)
    from shoestring.core.config import apply_overrides

    return from_dict(RunConfig, apply_overrides({}, flags))


def market_of(strategy: str, data: str) -> str:
    """Return what --data names, else the market of a YAML file, else nothing: the strategy's own."""
    if data:
        return data
    if Path(strategy).suffix in (".yaml", ".yml"):
        from shoestring.finance.strategies.yaml_strategy import read_yaml_strategy

        return read_yaml_strategy(Path(strategy))[0].data
    return ""


def figures_table(columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the usual figures, one row a run."""
    if not columns:
        raise ConfigError("there is no run to show; run shoestring finance backtest first")
    table = Table(box=None, pad_edge=False)
    for title in ("run", *(title for _, title, _ in _SHOWN)):
        table.add_column(title, overflow="fold")  # a narrow terminal loses no digit
    for name, metrics in columns.items():
        cells = ["-" if metrics.get(key) is None else form.format(metrics[key]) for key, _, form in _SHOWN]
        table.add_row(name, *cells)
    return table
