"""The accelerators that are compared: each a schedule and a format on the same cache, DRAM and arrays.

None of the peers has public cycle code, so each is rebuilt from what its paper is known for, and tuned over
the same grid as SGCN. They are models of the idea, not of the chip.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from shoestring.core.errors import ConfigError
from shoestring.silicon.reorder import Order
from shoestring.silicon.sgcn.config import Config, Grid

__all__ = ["EXISTING", "SYSTEMS", "System", "find_system"]


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """A design point and what of it is tuned."""

    name: str
    title: str
    config: Config
    sliced: bool
    """Whether the slice width is tuned; else it is the config's."""
    orders: tuple[Order, ...] = ("given",)
    """Vertex orders tried."""
    pinned_shares: tuple[float, ...] = (0.0,)
    """Shares of the cache tried for the pinned records."""

    def candidates(self, grid: Grid) -> Iterator[Config]:
        """Give every setting of the grid."""
        for order in self.orders:
            for share in self.pinned_shares:
                for width in grid.slices if self.sliced else (self.config.slice,):
                    for tiles in grid.tiles:
                        yield replace(self.config, order=order, pinned_share=share, slice=width, tiles=tiles)


_DENSE = Config(fmt="dense", slice=0, schedule="contiguous")
_BEICSR = replace(_DENSE, fmt="beicsr")

SYSTEMS: Mapping[str, System] = {
    s.name: s
    for s in (
        System(
            name="hygcn",
            title="HyGCN-like: dense rows, windows over the sources",
            config=_DENSE,
            sliced=False,
        ),
        System(name="gcnax", title="GCNAX-like: dense, slices and tiles tuned", config=_DENSE, sliced=True),
        System(
            name="engn",
            title="EnGN-like: dense, cache of high-degree vertices",
            config=_DENSE,
            sliced=True,
            pinned_shares=(0.25, 0.5),
        ),
        System(
            name="igcn",
            title="I-GCN-like: dense, vertices reordered (best of three)",
            config=_DENSE,
            sliced=True,
            orders=("bfs", "rcm", "community"),
        ),
        System(
            name="awb",
            title="AWB-GCN-like: dense, column product (one line of columns at a time)",
            config=replace(_DENSE, slice=16),
            sliced=False,
        ),
        System(name="csr", title="CSR", config=replace(_DENSE, fmt="csr"), sliced=True),
        System(name="bitmap", title="packed bitmap", config=replace(_DENSE, fmt="bitmap"), sliced=True),
        System(name="beicsr", title="BEICSR, whole rows", config=_BEICSR, sliced=False),
        System(name="beicsr-sliced", title="BEICSR, sliced", config=_BEICSR, sliced=True),
        System(
            name="sgcn",
            title="SGCN: BEICSR, sliced, cooperating engines",
            config=replace(_BEICSR, schedule="sac"),
            sliced=True,
        ),
        System(
            name="dense-sac",
            title="dense, sliced, cooperating engines",
            config=replace(_DENSE, schedule="sac"),
            sliced=True,
        ),
    )
}
"""By name; ``sgcn`` is the system, the others baselines and ablations."""

EXISTING = ("hygcn", "gcnax", "awb", "engn", "igcn")
"""The accelerators that the paper compares with."""


def find_system(name: str) -> System:
    """Return the system called `name`.

    Raises
    ------
    ConfigError
        If there is none; the message lists those that exist.
    """
    if name not in SYSTEMS:
        raise ConfigError(f"system {name!r} is not one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
