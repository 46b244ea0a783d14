"""The DRAM's controller against a plain one that remembers nothing: all rules, for everything, at every step.

The plain one knows for every bank, bank group and rank when each command was last sent there, and computes
legal times from the definitions of the timings. Both must send the same commands at the same clocks.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from shoestring.native.dram import COMMAND_DTYPE, COMMANDS, FIELDS, DramSpec
from shoestring.silicon.dram import Device, Dram

DEVICES = ("ddr4_2133", "ddr4_2400", "ddr4_2666", "hbm2")
Requests = tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.int64]]
Place = tuple[int, ...]
"""() the channel, (rank,), (rank, group) or (rank, group, bank)."""
LONG_AGO = -(1 << 40)


@dataclass(eq=False)
class Waiting:
    """A request in the queue."""

    index: int
    write: bool
    bank: Place
    row: int
    column: int


@dataclass
class Timings:
    """When each command was last sent to each place, and so when the next one may be."""

    spec: DramSpec
    split_bus: bool
    last: dict[tuple[str, Place], int] = field(default_factory=dict)
    activates: dict[int, list[int]] = field(default_factory=dict)
    bus: dict[bool, int] = field(default_factory=dict)

    def sent(self, command: str, bank: Place, clock: int) -> None:
        for k in range(1, len(bank) + 1):
            self.last[command, bank[:k]] = clock
        if command == "ACT":
            self.activates.setdefault(bank[0], []).append(clock)
        self.bus[self._bus(command)] = clock

    def earliest(self, command: str, bank: Place) -> int:
        t = self.spec.timing
        rank, group = bank[:1], bank[:2]
        write_end = t.cwl + t.burst
        after = [0, self.bus.get(self._bus(command), -1) + 1]

        def gap(earlier: str, place: Place, clocks: int) -> None:
            after.append(self.last.get((earlier, place), LONG_AGO) + clocks)

        if command == "ACT":
            gap("ACT", bank, t.t_ras + t.t_rp)
            gap("ACT", group, t.t_rrd_l)
            gap("ACT", rank, t.t_rrd_s)
            gap("PRE", bank, t.t_rp)
            gap("PREA", rank, t.t_rp)
            gap("REF", rank, t.t_rfc)
            four = self.activates.get(rank[0], [])[-4:]
            after.append(four[0] + t.t_faw if len(four) == 4 else 0)
        elif command in ("PRE", "PREA"):
            place = bank if command == "PRE" else rank
            gap("ACT", place, t.t_ras)
            gap("RD", place, t.t_rtp)
            gap("WR", place, write_end + t.t_wr)
            gap("REF", rank, t.t_rfc)
        elif command == "REF":
            gap("PRE", rank, t.t_rp)
            gap("PREA", rank, t.t_rp)
            gap("REF", rank, t.t_rfc)
        else:
            gap("ACT", bank, t.t_rcd)
            gap(command, group, max(t.t_ccd_l, t.burst))
            gap(command, rank, max(t.t_ccd_s, t.burst))
            if command == "RD":
                gap("WR", group, write_end + t.t_wtr_l)
                gap("WR", rank, max(write_end + max(t.t_wtr_s, t.t_rtrs - t.cl), t.t_ccd_l))
            else:
                gap("RD", rank, max(t.cl + t.burst + t.t_rtrs - t.cwl, t.t_ccd_l, t.t_ccd_s))
            for other in range(self.spec.geometry.ranks):
                if other != rank[0]:
                    gap(command, (other,), t.burst + t.t_rtrs)
                    gap("WR", (other,), write_end + t.t_rtrs - t.cl if command == "RD" else 0)
                    gap("RD", (other,), t.cl + t.burst + t.t_rtrs - t.cwl if command == "WR" else 0)
        return max(after)

    def _bus(self, command: str) -> bool:
        return self.split_bus and command in ("RD", "WR")


Choice = tuple[tuple[int, int, int], str, Place, Waiting | None]
"""(clock, urgency, age), command, where, for whom; the smallest goes."""


class PlainController:
    """One channel."""

    def __init__(self, spec: DramSpec, queue: int, split_bus: bool, channel: int, requests: Requests) -> None:
        self.spec, self.queue = spec, queue
        self.accesses, self.writes, self.arrivals = requests
        self.fields = spec.decode(self.accesses)
        self.coming = [int(i) for i in np.flatnonzero(self.fields[:, 0] == channel)]
        self.channel = channel
        self.timings = Timings(spec, split_bus)
        self.waiting: list[Waiting] = []
        self.open: dict[Place, int] = {}
        self.overtaken: dict[Place, int] = {}
        self.writing = False
        self.now = self.end = 0
        ranks, every = spec.geometry.ranks, spec.timing.t_refi
        self.due = [max(every * (r + 1) // ranks, 1) for r in range(ranks)]
        self.refreshing = [False] * ranks
        self.log: list[tuple[int, ...]] = []

    def room(self) -> bool:
        kind = bool(self.writes[self.coming[0]])
        return sum(w.write == kind for w in self.waiting) < self.queue // 2

    def next_arrival(self) -> int | None:
        return int(self.arrivals[self.coming[0]]) if self.coming and self.room() else None

    def admit(self) -> None:
        while (arrival := self.next_arrival()) is not None and arrival <= self.now:
            i = self.coming.pop(0)
            _, rank, group, bank, row, column = (int(x) for x in self.fields[i])
            self.waiting.append(Waiting(i, bool(self.writes[i]), (rank, group, bank), row, column))

    def unblocked(self) -> list[Waiting]:
        """Those without an older one to the same address."""
        first: dict[tuple[Place, int, int], Waiting] = {}
        for w in self.waiting:
            first.setdefault((w.bank, w.row, w.column), w)
        return list(first.values())

    def turn(self) -> None:
        half = self.queue // 2
        free = self.unblocked()
        writes = sum(w.write for w in free)
        reads = len(free) - writes
        if not self.writing:
            self.writing = writes > 0 and (reads == 0 or writes >= max(half * 3 // 4, 1))
        elif writes == 0 or (reads > 0 and writes <= half // 4):
            self.writing = False

    def best_access(self) -> Choice | None:
        choices: list[Choice] = []
        mine = [w for w in self.unblocked() if w.write == self.writing]
        for bank in {w.bank for w in mine}:
            if self.refreshing[bank[0]]:
                continue
            here = [w for w in mine if w.bank == bank]
            hits = [w for w in here if self.open.get(bank) == w.row]
            if hits and (hits[0] is here[0] or self.overtaken.get(bank, 0) < self.queue):
                command, who = "WR" if self.writing else "RD", hits[0]
            else:
                command, who = "PRE" if bank in self.open else "ACT", here[0]
            clock = max(self.now, self.timings.earliest(command, bank))
            choices.append(((clock, 1 if hits and who is hits[0] else 2, who.index), command, bank, who))
        return min(choices, key=lambda c: c[0], default=None)

    def choose(self, until: int | None = None) -> Choice | None:
        best = self.best_access()
        if until is None:
            until = best[0][0] if best else self.next_arrival()
        if self.spec.timing.t_refi == 0:
            return best
        for r, due in enumerate(self.due):
            self.refreshing[r] |= until is not None and due <= until
        choices = [c for c in [self.best_access()] if c]
        for r in range(len(self.due)):
            if self.refreshing[r]:
                command = "PREA" if any(bank[0] == r for bank in self.open) else "REF"
                clock = max(self.timings.earliest(command, (r,)), self.due[r])
                choices.append(((clock, 0, r), command, (r,), None))
        return min(choices, key=lambda c: c[0], default=None)

    def send(self, choice: Choice) -> None:
        (self.now, _, _), command, bank, who = choice
        self.timings.sent(command, bank, self.now)
        row = column = 0
        if command == "ACT" and who:
            row = self.open[bank] = who.row
            self.overtaken[bank] = 0
        elif command in ("PRE", "PREA"):
            self.open = {b: r for b, r in self.open.items() if b[: len(bank)] != bank}
        elif command == "REF":
            self.due[bank[0]] += self.spec.timing.t_refi
            self.refreshing[bank[0]] = False
        elif who:
            row, column = who.row, who.column
            older = [w for w in self.unblocked() if (w.bank, w.write) == (bank, who.write)]
            self.overtaken[bank] = 0 if older[0] is who else self.overtaken[bank] + 1
            self.waiting.remove(who)
            t = self.spec.timing
            self.end = max(self.end, self.now + (t.cwl if who.write else t.cl) + t.burst)
        rank, group, number = (*bank, 0, 0)[:3]
        self.log.append((self.now, COMMANDS.index(command), self.channel, rank, group, number, row, column))

    def run(self) -> None:
        while self.waiting or self.coming:
            self.admit()
            self.turn()
            choice, arrival = self.choose(), self.next_arrival()
            if arrival is not None and (choice is None or arrival <= choice[0][0]):
                self.now = max(self.now, arrival)
            else:
                assert choice is not None
                self.send(choice)

    def idle_until(self, end: int) -> None:
        while (choice := self.choose(end)) is not None and choice[0][0] <= end:
            self.send(choice)


def plain_commands(spec: DramSpec, queue: int, split_bus: bool, requests: Requests) -> NDArray[np.void]:
    channels = [PlainController(spec, queue, split_bus, c, requests) for c in range(spec.geometry.channels)]
    for channel in channels:
        channel.run()
    end = max(channel.end for channel in channels)
    for channel in channels:
        channel.idle_until(end)
    out = np.zeros(sum(len(channel.log) for channel in channels), COMMAND_DTYPE)
    rows = np.array([row for channel in channels for row in channel.log])
    for k, name in enumerate(("clock", "command", *FIELDS)):
        out[name] = rows[:, k]
    return out


def stream(kind: str, memory: Dram, n: int, seed: int) -> Requests:
    rng = np.random.default_rng(seed)
    accesses = rng.integers(0, 16 if kind == "few addresses" else memory.spec.accesses, n).astype(np.uint64)
    writes = (rng.random(n) < 1 / 3).astype(np.uint8)
    if kind == "in place":
        places = np.arange(n) // 5 + (np.array([0, 1, 2, 1, 0]) << 20)[np.arange(n) % 5]
        accesses, writes = places.astype(np.uint64), (np.arange(n) % 5 >= 3).astype(np.uint8)
    if kind == "one bank":  # one row is asked for so often that others must be let in
        g = memory.spec.geometry
        row = np.where(rng.random(n) < 0.95, 0, rng.integers(1, 4, n)) * g.banks_per_group * g.columns
        places = (row + rng.integers(0, g.columns, n)) * g.ranks * g.channels * g.bank_groups
        accesses, writes = places.astype(np.uint64), np.zeros(n, np.uint8)
    gaps = rng.integers(0, 160, n) if kind == "sparse" else rng.integers(0, 6, n)
    arrivals = np.zeros(n, np.int64) if kind == "all at once" else np.cumsum(gaps)
    return accesses, writes, arrivals.astype(np.int64)


KINDS = ("all at once", "sparse", "few addresses", "one bank", "in place")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_commands_are_sent_at_the_same_clocks(device: str, ranks: int, kind: str) -> None:
    seed = KINDS.index(kind) * 10 + ranks
    queue, channels = (64, 1) if seed % 2 else (16, 2)
    memory = Dram(
        Device.from_yaml(device), ranks=ranks, channels=channels, queue=queue, mapping="ro-ba-co-ra-ch-bg"
    )
    requests = stream(kind, memory, 250, seed)
    _, commands = memory.spec.simulate(*requests, log_commands=True)
    plain = plain_commands(memory.spec, queue, memory.device.split_command_bus, requests)
    assert commands.tolist() == plain.tolist()
