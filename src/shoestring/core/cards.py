"""The cards of the systems, read from their ``card.toml`` without importing any system."""

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from shoestring.core.config import from_dict
from shoestring.core.entry import check_entry_point
from shoestring.core.errors import ConfigError, ShoestringError

__all__ = ["Card", "EntryPoints", "QuickCost", "Scarcity", "all_cards", "find_card", "read_card"]

Scarcity = Literal["memory", "bandwidth", "data", "bits", "silicon"]
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryPoints:
    """Functions of a system, each as ``module:function``."""

    evidence: str
    """Takes a profile (``"quick"`` or ``"full"``) and returns a `Study`."""
    job: str
    """The method on the user's own input."""

    def __post_init__(self) -> None:
        for text in (self.evidence, self.job):
            check_entry_point(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuickCost:
    """What the quick verification costs on two cores."""

    seconds: float
    memory_mb: float

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.memory_mb > 0):
            raise ConfigError(
                f"quick.seconds={self.seconds} and quick.memory_mb={self.memory_mb} must be above 0; "
                "measure them"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What a system is, in the fields that lists, tables and tests read."""

    name: str
    """The folder's name."""
    title: str
    family: str
    """Name of the folder that holds the system's folder."""
    scarce: tuple[Scarcity, ...]
    """What runs short where this system helps."""
    paper: str
    """Title of the paper."""
    venue: str
    year: int
    summary: str
    """One sentence."""
    extras: tuple[str, ...]
    """Extras of the package that the system needs."""
    entry_points: EntryPoints
    quick: QuickCost
    folder: Path
    """Where the card was found."""
    headlines: tuple[str, ...] = ()
    """Names of the claims of the full study that tables of all systems quote, whatever their verdict."""

    def __post_init__(self) -> None:
        for key in ("name", "title", "family", "paper", "venue", "summary"):
            if not getattr(self, key).strip():
                raise ConfigError(f"{key} is empty; write it")
        if not self.scarce:
            raise ConfigError(f"scarce is empty; name at least one of {', '.join(get_args(Scarcity))}")
        if (self.family, self.name) != (self.folder.parent.name, self.folder.name):
            raise ConfigError(
                f"family={self.family!r} and name={self.name!r} differ from the folder "
                f"{self.folder.parent.name}/{self.folder.name}; make them equal"
            )

    def readme(self) -> str:
        """Return the text of the card's README.md.

        Raises
        ------
        ConfigError
            If there is none.
        """
        path = self.folder / "README.md"
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(
                f"system {self.name!r} has no readable card text {path}: {e}; add the README.md"
            ) from e


def read_card(path: Path) -> Card:
    """Read one ``card.toml``.

    Raises
    ------
    ConfigError
        If the file is not TOML, or a key is unknown, missing or wrong; the message names file and key.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        if "folder" in values:
            raise ConfigError("unknown option 'folder'; the folder is where the file is")
        return from_dict(Card, {**values, "folder": path.parent})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ShoestringError) as e:
        raise ConfigError(f"card {path}: {e}") from e


@cache
def all_cards(package: Path = _PACKAGE) -> tuple[Card, ...]:
    """Return the cards of all systems, sorted by name; no system is imported.

    Parameters
    ----------
    package : Path
        The folder that holds the families; the installed package by default.

    Raises
    ------
    ConfigError
        If a card is wrong, or two systems have the same name.
    """
    cards = sorted((read_card(path) for path in package.glob("*/*/card.toml")), key=lambda card: card.name)
    for one, two in pairwise(cards):
        if one.name == two.name:
            raise ConfigError(
                f"two systems are called {one.name!r}: {one.folder} and {two.folder}; rename one"
            )
    return tuple(cards)


def find_card(name: str, package: Path = _PACKAGE) -> Card:
    """Return the card of the system called `name` (case and dashes do not matter).

    Raises
    ------
    ConfigError
        If there is no such system; the message lists those that exist and the closest name.
    """
    cards = {card.name: card for card in all_cards(package)}
    wanted = name.strip().lower().replace("-", "_")
    if wanted in cards:
        return cards[wanted]
    close = difflib.get_close_matches(wanted, cards, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"there is no system {name!r}.{hint} Known: {', '.join(cards) or 'none'}")
