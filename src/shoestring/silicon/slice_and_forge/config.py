"""Options of Slice-and-Forge: the slices, the tiler, and each phase of the morphing controller."""

from dataclasses import dataclass, field
from typing import Literal

from shoestring.core.errors import ConfigError

__all__ = ["CONTIGUOUS", "MorphingConfig", "SnfConfig", "Tiler"]

Tiler = Literal["morph", "fixed", "analytic", "oracle"]

CONTIGUOUS = 0
"""As a strip height: every engine gets one run of vertices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MorphingConfig:
    """The controller. It sees the measured cycles and counters of rounds, and nothing else."""

    global_phase: bool = True
    """A: hill climbing on the number of tiles, by factors of two."""
    policy_phase: bool = True
    """B: the height of the strips that engines take in turn."""
    local_phase: bool = True
    """C: single tiles are split or merged, and the change undone where it did not pay."""
    warm_start: bool = True
    """A further layer goes on from the best setting so far; off: it starts anew."""
    start_tiles: int | None = None
    """Tiles of the first round; None: as many as fill half the cache each, to the next power of two, whatever
    the graph is."""
    strips: tuple[int, ...] = (CONTIGUOUS, 128, 32, 8)
    """Strip heights that phase B tries; 0 is contiguous."""
    climb: float = 0.0
    """Phase A goes on while the cost falls by more than this share."""
    tolerance: float = 0.01
    """Phase C undoes a change that costs more than this share; phase B goes no further in that direction."""
    patience: int = 2
    """Phase C ends after so many changes in a row that were undone."""
    split_above: float = 1.25
    """A tile with more misses than this times its distinct lines is split."""
    merge_below: float = 1.05
    """Two neighbours with at most this times their distinct lines of misses are merged, if they fit."""
    fit: float = 0.75
    """Share of the cache that the distinct lines of a merged tile may take."""
    share: float = 0.25
    """Share of the changes at hand that one round applies."""
    settle: float = 0.25
    """Share of a layer's rounds, the last ones, that run at the best setting seen (at least one)."""

    def __post_init__(self) -> None:
        if self.start_tiles is not None and self.start_tiles < 1:
            raise ConfigError(f"morphing.start_tiles={self.start_tiles} must be at least 1; None guesses")
        if not self.strips or min(self.strips) < 0:
            raise ConfigError(f"morphing.strips={self.strips} must be heights, 0 for contiguous; 32 is usual")
        for name in ("climb", "tolerance", "fit", "share", "settle"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"morphing.{name}={getattr(self, name)} is outside 0 .. 1")
        if self.patience < 1:
            raise ConfigError(f"morphing.patience={self.patience} must be at least 1 change")
        if self.split_above < 1 or self.merge_below < 1:
            raise ConfigError(
                f"morphing.split_above={self.split_above} and merge_below={self.merge_below} are factors of "
                "the distinct lines, so at least 1"
            )
        if self.merge_below >= self.split_above:
            raise ConfigError(
                f"morphing.merge_below={self.merge_below} must be below split_above={self.split_above}, "
                "else a tile is split and merged for ever"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SnfConfig:
    """A simulation."""

    width: int = 256
    """Columns of the features, fp32."""
    slices: int = 16
    """Slices of the features; at most one a cache line (16 columns). 1 is no slicing. With fewer than 4, the
    controller has too few rounds to learn from."""
    layers: int = 2
    """Layers with the same graph and width."""
    tiler: Tiler = "morph"
    """``morph``; ``fixed``: `tiles`; ``analytic``: tiles that just fit the cache; ``oracle``: the best of all
    tiles and strips, known beforehand by trying them all."""
    tiles: int = 8
    """Tiles of ``fixed``."""
    strip: int = 32
    """Strip height, except where the tiler chooses it; 0 is contiguous."""
    units: int = 64
    """Unit tiles; a tile is a run of them."""
    edge_bytes: int = 8
    """8: column id and weight of an edge; 4 without weights."""
    morphing: MorphingConfig = field(default_factory=MorphingConfig)
    """The controller of ``morph``."""

    def __post_init__(self) -> None:
        for name in ("width", "slices", "layers", "tiles", "units"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if self.strip < 0:
            raise ConfigError(f"strip={self.strip} is below 0; 0 is contiguous, 32 is usual")
        if self.edge_bytes not in (4, 8):
            raise ConfigError(f"edge_bytes={self.edge_bytes}; allowed are 8 (ids and weights) and 4 (ids)")
        if self.tiler not in ("morph", "fixed", "analytic", "oracle"):
            raise ConfigError(f"tiler={self.tiler!r} is not one of morph, fixed, analytic, oracle")
