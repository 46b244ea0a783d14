"""Data by name: a market, price files, or a folder of prices and point-in-time tables."""

from pathlib import Path

import pandas as pd

from shoestring.core.errors import StorageError
from shoestring.finance.market.known import KnownTable
from shoestring.finance.market.price_files import read_prices
from shoestring.finance.market.sources import Market, load_market
from shoestring.finance.strategies.interface import Sources

__all__ = ["load_data"]


def load_data(name: str) -> Market | Sources:
    """Load a market by name, price files, or a folder with ``prices/`` and ``known/``.

    Parameters
    ----------
    name : str
        As for `load_market`; or a folder that holds ``prices/`` (as `read_prices` has it) and ``known/`` with
        one ``NAME.csv`` or ``NAME.parquet`` a table: columns asset, period, known_at, then the values.

    Raises
    ------
    ConfigError, DataError, StorageError
        As `load_market`, `read_prices` and `KnownTable.from_frame`.
    """
    folder = Path(name)
    if not (folder / "prices").exists() or not (folder / "known").is_dir():
        return load_market(name)
    files = sorted(p for p in (folder / "known").iterdir() if p.suffix in (".csv", ".parquet"))
    return Sources(
        panel=read_prices(folder / "prices"),
        known={path.stem: KnownTable.from_frame(_read(path)) for path in files},
        name=folder.name,
        about=(f"Prices and tables of the user: {folder.name}.",),
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as e:
        raise StorageError(f"the table {path} cannot be read: {e}; give CSV or Parquet") from e
