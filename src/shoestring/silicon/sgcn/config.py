"""Options of a simulated GCN accelerator: format, slices, tiles, schedule; every part has its off-switch."""

from dataclasses import dataclass
from typing import Literal, get_args

from shoestring.core.errors import ConfigError
from shoestring.silicon.beicsr import Element, element_bytes
from shoestring.silicon.formats import FormatName, format_names
from shoestring.silicon.reorder import Order

__all__ = ["Config", "Grid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How features are stored and in which order an accelerator works on them; SGCN by default."""

    fmt: FormatName = "beicsr"
    """Format of the intermediate features; ``"dense"`` switches BEICSR off."""
    slice: int = 96
    """Columns of a slice; 0, whole rows, switches feature slicing off."""
    tiles: int = 1
    """Ranges of source vertices; 1 switches topology tiling off."""
    schedule: Literal["sac", "contiguous"] = "sac"
    """``"sac"``: engines take strips of `strip` destinations in turn; ``"contiguous"``, each has one run of
    N / E, switches sparsity-aware cooperation off."""
    strip: int = 32
    """Destinations of a strip."""
    compressor: bool = True
    """Compress while results leave the array; False writes them dense and compresses in a second pass."""
    sparse_aggregator: bool = True
    """Work on non-zero values alone; False expands every record and adds all its columns."""
    first_layer: Literal["combination", "aggregation"] = "combination"
    """Which comes first in the layer that reads the raw features; they are wide, and stored as CSR."""
    element: Element = "float32"
    """Type of the features; partial sums are float32."""
    features_from_state: bool = True
    """Dense float32 features beside a stored state are not written: a reader takes the larger of state and
    zero. False writes both, as accelerators that know no residuals do."""
    order: Order = "given"
    """Vertex numbers: as given, breadth-first, reverse Cuthill-McKee, by community (reordering baselines)."""
    pinned_share: float = 0.0
    """Share of the cache that holds the records of the most-read vertices for good (degree-aware cache)."""
    block: int = 4
    """Rows and columns of a block of the ``bsr`` and ``bell`` formats."""

    def __post_init__(self) -> None:
        if self.fmt not in format_names():
            raise ConfigError(f"fmt={self.fmt!r} is not one of {', '.join(format_names())}")
        if self.slice < 0 or self.tiles < 1 or self.strip < 1 or self.block < 1:
            raise ConfigError(
                f"slice={self.slice}, tiles={self.tiles}, strip={self.strip}, block={self.block}; "
                "give slice >= 0 (0: whole rows), the others at least 1"
            )
        for name, allowed in (
            ("schedule", ("sac", "contiguous")),
            ("first_layer", ("combination", "aggregation")),
            ("order", get_args(Order)),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if not 0 <= self.pinned_share < 1:
            raise ConfigError(f"pinned_share={self.pinned_share} is outside 0 .. 1; 0 pins nothing")
        element_bytes(self.element)

    @property
    def slice_width(self) -> int | None:
        """Columns of a slice as the formats take them."""
        return self.slice or None


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """What every system is tuned over."""

    slices: tuple[int, ...] = (0, 128, 96, 64, 32, 16)
    """Slice widths tried where a system slices features; 0 is whole rows."""
    tiles: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Source tiles tried."""
    layers: int = 3
    """Layers that a setting is tried on, evenly spaced over the hidden ones; the choice then runs on all."""

    def __post_init__(self) -> None:
        if not self.slices or not self.tiles or self.layers < 1:
            raise ConfigError(
                f"grid slices={self.slices}, tiles={self.tiles}, layers={self.layers}; "
                "give at least one of each"
            )
        if min(self.slices) < 0 or min(self.tiles) < 1:
            raise ConfigError(f"grid slices={self.slices} start at 0, tiles={self.tiles} at 1")
