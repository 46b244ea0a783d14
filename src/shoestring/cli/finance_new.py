"""``shoestring finance new``."""

import re
from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.console import note, print_json
from shoestring.core.errors import ConfigError
from shoestring.core.files import write_text_atomic

__all__ = ["new"]

_PYTHON = '''"""A strategy: say what it does and why it should work."""

import pandas as pd

from shoestring.finance.strategies.interface import Context, DataView, Strategy, strategy, top_k


@strategy(name="{name}", version="1.0", schedule="BMS 06:00 America/New_York")
class {title}(Strategy):
    """Momentum less volatility, the best few."""

    lookback: int = 252
    k: int = 5

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        prices = data.prices(lookback=self.lookback)
        score = prices.iloc[-21] / prices.iloc[0] - 1 - prices.pct_change(fill_method=None).std() * 16
        return top_k(score, self.k).equal_weight()
'''
_YAML = """# A strategy without code. Features: below_high, known, momentum, reversal, trend, volatility.
name: {name}
version: "1.0"
schedule: BMS 06:00 America/New_York # first session of the month
data: skfolio/sp500
features:
  momentum: {{kind: momentum, lookback: 252, skip: 21}}
  calm: {{kind: volatility, lookback: 63}}
model: {{kind: weighted_sum, weights: {{momentum: 1, calm: -1}}}} # or {{kind: ridge}}, which learns
allocator: {{kind: top_k, k: 5}} # or {{kind: long_short}}
"""


def new(
    path: Annotated[Path, typer.Argument(help="File to make: .py, or .yaml for one without code.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Start a strategy from a working example.

    Example: shoestring finance new mine.yaml
    """
    if path.suffix not in (".py", ".yaml", ".yml"):
        raise ConfigError(f"{str(path)!r} must end in .py, or in .yaml for a strategy without code")
    if path.exists():
        raise ConfigError(f"{str(path)!r} exists and is left as it is; give another name")
    name = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")
    if not name or not name[0].isalpha():
        raise ConfigError(f"{path.stem!r} makes no name for a strategy; begin the file's name with a letter")
    title = "".join(word.capitalize() for word in name.split("_"))
    text = _PYTHON.format(name=name, title=title) if path.suffix == ".py" else _YAML.format(name=name)
    write_text_atomic(path, text)
    if json:
        print_json({"path": str(path), "name": name})
        return
    note(f"wrote {path}; run it: shoestring finance backtest {path}")
