"""The compiled DRAM: one spec, a controller that issues every command, and a checker of command traces.

Addresses are *access numbers* here: byte address / bytes of an access (one burst). All times are clocks of
the memory.
"""

from dataclasses import astuple, dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.native import _core

__all__ = [
    "COMMANDS",
    "COMMAND_DTYPE",
    "FIELDS",
    "DramCounts",
    "DramGeometry",
    "DramSpec",
    "DramTiming",
    "Field",
    "Violation",
]

Field = Literal["channel", "rank", "group", "bank", "row", "column"]

FIELDS: tuple[Field, ...] = ("channel", "rank", "group", "bank", "row", "column")
"""Parts of an address, in the order of `DramSpec.decode`."""

COMMANDS = ("ACT", "PRE", "PREA", "RD", "WR", "REF")
"""Names of the values of a record's ``command``: activate, precharge, precharge all, read, write, refresh."""

COMMAND_DTYPE = np.dtype(
    {
        "names": ["clock", "command", *FIELDS],
        "formats": ["<i8", "u1", *["<i4"] * 6],
        "offsets": [0, 8, *range(12, 36, 4)],
        "itemsize": 40,
    }
)
"""One command of a trace; fields that it does not use are 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DramGeometry:
    """Sizes; each is a power of two."""

    channels: int = 1
    ranks: int = 1
    """Of each channel."""
    bank_groups: int = 4
    """Of each rank."""
    banks_per_group: int = 4
    rows: int = 65_536
    """Of each bank."""
    columns: int = 128
    """Accesses that one row holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DramTiming:
    """Timings in clocks, with the names of the JEDEC standards; the defaults are DDR4-2133."""

    cl: int = 16
    cwl: int = 11
    burst: int = 4
    """Clocks of data of one access, BL / 2."""
    t_rcd: int = 16
    t_rp: int = 16
    t_ras: int = 36
    t_rrd_s: int = 4
    t_rrd_l: int = 6
    t_faw: int = 23
    t_ccd_s: int = 4
    t_ccd_l: int = 6
    t_wtr_s: int = 3
    t_wtr_l: int = 8
    t_wr: int = 16
    t_rtp: int = 8
    t_rtrs: int = 1
    """Rest of the data bus between ranks, and from a read to a write."""
    t_rfc: int = 374
    t_refi: int = 8328
    """0: never refreshed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DramCounts:
    """What a stream of requests cost."""

    reads: int
    writes: int
    row_hits: int
    """Accesses that needed no activate of their own."""
    activates: int
    refreshes: int
    cycles: int
    """Clocks until the last data are over; the slowest channel counts."""
    precharges: int | None = None
    """None, as all below, where lines were counted and no commands issued."""
    busy_clocks: int | None = None
    """Clocks with data on a bus, all channels."""
    active_clocks: int | None = None
    """Clocks of ranks with an open row, all ranks."""
    read_latency: int | None = None
    """Sum over all reads, from arrival to the end of the data."""
    worst_read_latency: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """A rule that a trace breaks."""

    rule: str
    """The timing's JEDEC name, or what is wrong with the state of a bank."""
    earlier: int
    """Place of the earlier command in the trace; -1: none."""
    later: int
    """Place of the command that comes too early, or is illegal; -1: the end of the trace."""
    required: int
    """Clocks that must lie between the two; 0 with `found` for rules without clocks."""
    found: int


class DramSpec:
    """A DRAM for the controller and the checker.

    Parameters
    ----------
    geometry, timing
        Sizes and clocks.
    low_to_high : sequence of (field, bits)
        How an access number is split, beginning with its lowest bit; a field may come several times.
    queue : int
        Requests that a channel's controller sees, 2 to 4096; half of them reads, half writes.
    split_command_bus : bool
        Row and column commands have a bus each, as in HBM.

    Raises
    ------
    ConfigError
        For a size, clock or address map that cannot be.
    """

    __slots__ = ("_spec", "geometry", "timing")

    def __init__(
        self,
        geometry: DramGeometry,
        timing: DramTiming,
        low_to_high: list[tuple[Field, int]],
        *,
        queue: int = 64,
        split_command_bus: bool = False,
    ) -> None:
        for part in (geometry, timing):
            for field in fields(part):
                value = getattr(part, field.name)
                if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**31:
                    raise ConfigError(f"{field.name}={value!r} is not allowed; give a whole number")
        self.geometry = geometry
        self.timing = timing
        bits = [(FIELDS.index(name), count) for name, count in low_to_high]
        self._spec = _core.dram.make_spec(
            list(astuple(geometry)), list(astuple(timing)), bits, queue, split_command_bus
        )

    @property
    def accesses(self) -> int:
        """Accesses that the memory holds: access numbers lie below this."""
        g = self.geometry
        return g.channels * g.ranks * g.bank_groups * g.banks_per_group * g.rows * g.columns

    def decode(self, accesses: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return channel, rank, group, bank, row and column of (n,) accesses as (n, 6)."""
        self._check(accesses)
        fields_ = np.empty((len(accesses), len(FIELDS)), np.int32)
        _core.dram.decode(self._spec, accesses, fields_)
        return fields_

    def simulate(
        self,
        accesses: NDArray[np.uint64],
        writes: NDArray[np.uint8],
        arrivals: NDArray[np.int64] | None = None,
        *,
        finish: NDArray[np.int64] | None = None,
        log_commands: bool = False,
    ) -> tuple[DramCounts, NDArray[np.void]]:
        """Run every request at command level.

        Parameters
        ----------
        accesses : ndarray
            uint64, (n,), below `accesses`, in the order in which they reach the controllers.
        writes : ndarray
            uint8, (n,): 1 is a write.
        arrivals : ndarray, optional
            int64, (n,), never falling; without it every request is there at clock 0, and a channel takes its
            next one when its queue has room.
        finish : ndarray, optional
            int64, (n,): filled with the clock at which each request is over.
        log_commands : bool
            Return all commands, 40 bytes each.

        Returns
        -------
        counts : DramCounts
        commands : ndarray
            Of `COMMAND_DTYPE`, channel after channel, each by clock; empty without `log_commands`.

        Raises
        ------
        DataError
            If the arrays contradict each other or lie outside the memory.

        Notes
        -----
        About 0.15 us a command. The controller keeps rows open, and of the commands that are legal first it
        takes accesses before others and older requests before younger. Reads go before writes until the
        writes fill three quarters of their half of the queue, then writes until a quarter is left. Two
        requests to one address keep their order, so that a read never sees what a younger write left.
        """
        self._check(accesses)
        _check_shape("writes", writes, accesses)
        if arrivals is not None:
            _check_shape("arrivals", arrivals, accesses)
            if len(arrivals) and (arrivals[0] < 0 or bool((np.diff(arrivals) < 0).any())):
                raise DataError(
                    "arrivals must not fall and must begin at 0 or later; sort the requests by arrival"
                )
        if finish is not None:
            _check_shape("finish", finish, accesses)
        none = np.empty(0, np.int64)
        *numbers, records = _core.dram.simulate(
            self._spec,
            accesses,
            writes,
            none if arrivals is None else arrivals,
            none if finish is None else finish,
            log_commands,
        )
        reads, written, hits, activates, precharges, refreshes, cycles, busy, active, latency, worst = numbers
        counts = DramCounts(
            reads=reads,
            writes=written,
            row_hits=hits,
            activates=activates,
            refreshes=refreshes,
            cycles=cycles,
            precharges=precharges,
            busy_clocks=busy,
            active_clocks=active,
            read_latency=latency,
            worst_read_latency=worst,
        )
        return counts, records.reshape(-1).view(COMMAND_DTYPE)

    def check(
        self, commands: NDArray[np.void], *, end: int | None = None, most: int = 100
    ) -> tuple[Violation, ...]:
        """Return the rules that a trace of commands breaks; none if it is legal.

        Parameters
        ----------
        commands : ndarray
            Of `COMMAND_DTYPE`, by clock within every channel.
        end : int, optional
            Clock until which every rank must have been refreshed (eight refreshes may be late); default: the
            last command's.
        most : int
            Stop after so many.

        Notes
        -----
        Shares no code with the controller: every pair of commands within the longest timing is compared with
        the definitions.
        """
        if commands.dtype != COMMAND_DTYPE or commands.ndim != 1:
            raise DataError(f"commands have dtype {commands.dtype}; give one dimension of COMMAND_DTYPE")
        records = np.ascontiguousarray(commands)
        last = int(records["clock"].max()) if len(records) else 0
        found = _core.dram.check(
            self._spec, records.view(np.uint8).reshape(-1, 40), last if end is None else end, most
        )
        return tuple(
            Violation(rule=rule, earlier=earlier, later=later, required=required, found=clocks)
            for rule, earlier, later, required, clocks in found
        )

    def _check(self, accesses: NDArray[np.uint64]) -> None:
        if accesses.dtype != np.uint64 or accesses.ndim != 1:
            raise DataError(
                f"accesses are {accesses.dtype} of {accesses.ndim} dimensions; give uint64 of one"
            )
        if len(accesses) and int(accesses.max()) >= self.accesses:
            raise DataError(
                f"access {int(accesses.max())} lies outside the memory; it holds {self.accesses} accesses, "
                "add channels or ranks or lower the addresses"
            )


def _check_shape(name: str, values: NDArray[np.generic], accesses: NDArray[np.uint64]) -> None:
    if values.shape != accesses.shape:
        raise DataError(f"{name} have shape {values.shape}; give one for each of {len(accesses)} accesses")
