"""The ledger: how many bytes crossed which link, for which layer, in which direction, and for what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["Direction", "Ledger", "LedgerRow", "Link"]

Link = Literal["device-host", "host-storage", "device-storage"]
Direction = Literal["load", "store"]
"""``load`` towards the device, ``store`` away from it."""

LINKS: tuple[Link, ...] = get_args(Link)


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """Bytes of one kind over one link."""

    link: Link
    direction: Direction
    layer: int
    what: str
    num_bytes: int
    requests: int


class Ledger:
    """Adds up bytes per (link, direction, layer, what); storage bytes are whole 4 KiB pages.

    Notes
    -----
    The device link of a machine without a GPU is emulated: the copy is real, both ends are RAM.
    """

    def __init__(self) -> None:
        self._bytes: dict[tuple[Link, Direction, int, str], int] = {}
        self._requests: dict[tuple[Link, Direction, int, str], int] = {}
        self.hits = 0
        self.misses = 0
        self.hit_bytes = 0
        self.miss_bytes = 0
        self.evictions = 0

    def add(
        self, link: Link, direction: Direction, *, layer: int, what: str, num_bytes: int, requests: int = 1
    ) -> None:
        """Count `num_bytes` in `requests` transfers."""
        key = (link, direction, layer, what)
        self._bytes[key] = self._bytes.get(key, 0) + num_bytes
        self._requests[key] = self._requests.get(key, 0) + requests

    def total(
        self,
        link: Link | None = None,
        direction: Direction | None = None,
        *,
        layer: int | None = None,
        what: str | None = None,
    ) -> int:
        """Return the bytes of all rows that match what is given."""
        return sum(
            value
            for (k_link, k_direction, k_layer, k_what), value in self._bytes.items()
            if (link is None or link == k_link)
            and (direction is None or direction == k_direction)
            and (layer is None or layer == k_layer)
            and (what is None or what == k_what)
        )

    @property
    def storage_read_bytes(self) -> int:
        """Bytes read from storage, over both links."""
        return self.total("host-storage", "load") + self.total("device-storage", "load")

    @property
    def storage_write_bytes(self) -> int:
        """Bytes written to storage, over both links."""
        return self.total("host-storage", "store") + self.total("device-storage", "store")

    @property
    def hit_rate(self) -> float:
        """Share of demanded bytes of source partitions that were in the host cache (0 without demands)."""
        demanded = self.hit_bytes + self.miss_bytes
        return self.hit_bytes / demanded if demanded else 0.0

    def rows(self) -> list[LedgerRow]:
        """Return every row, sorted by link, layer, direction and what."""
        return [
            LedgerRow(
                link=key[0],
                direction=key[1],
                layer=key[2],
                what=key[3],
                num_bytes=self._bytes[key],
                requests=self._requests[key],
            )
            for key in sorted(self._bytes, key=lambda k: (LINKS.index(k[0]), k[2], k[1], k[3]))
        ]

    def by_link(self) -> Mapping[Link, Mapping[Direction, int]]:
        """Return the totals per link and direction."""
        return {
            link: {"load": self.total(link, "load"), "store": self.total(link, "store")} for link in LINKS
        }

    def copy(self) -> "Ledger":
        """Return an independent copy."""
        out = Ledger()
        out._bytes, out._requests = dict(self._bytes), dict(self._requests)
        out.hits, out.misses, out.evictions = self.hits, self.misses, self.evictions
        out.hit_bytes, out.miss_bytes = self.hit_bytes, self.miss_bytes
        return out

    def since(self, earlier: "Ledger") -> "Ledger":
        """Return what was added after the copy `earlier` was made."""
        out = self.copy()
        for key, value in earlier._bytes.items():
            out._bytes[key] -= value
            out._requests[key] -= earlier._requests[key]
        out._bytes = {k: v for k, v in out._bytes.items() if v}
        out.hits -= earlier.hits
        out.misses -= earlier.misses
        out.hit_bytes -= earlier.hit_bytes
        out.miss_bytes -= earlier.miss_bytes
        out.evictions -= earlier.evictions
        return out
