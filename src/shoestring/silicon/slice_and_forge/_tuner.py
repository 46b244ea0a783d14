"""The morphing controller: what the next round runs, decided by the rounds before it and nothing else."""

import math
from collections.abc import Generator
from dataclasses import dataclass

from shoestring.native.sim import Round
from shoestring.silicon.slice_and_forge.config import MorphingConfig
from shoestring.silicon.slice_and_forge.functional import (
    Change,
    Runs,
    apply_changes,
    even_runs,
    find_changes,
    nearest_power,
)

__all__ = ["Proposal", "Setting", "Tuner"]

# Of misses over distinct lines: below it a cache has nothing left to gain.
_NOTHING_TO_GAIN = 1.02


@dataclass(frozen=True, slots=True)
class Setting:
    """The tiles of a round, as runs of unit tiles, and the height of its strips (0: contiguous)."""

    runs: Runs
    strip: int

    @property
    def tiles(self) -> int:
        """T."""
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a round is to run, and why."""

    setting: Setting
    decision: str


@dataclass(frozen=True, slots=True)
class _Seen:
    setting: Setting
    cost: float
    round: Round


_Steps = Generator[Proposal, _Seen, None]


class Tuner:
    """Chooses settings for rounds that repeat the same work.

    Parameters
    ----------
    config : MorphingConfig
    start : Setting
        Of the first round.
    cache_lines, lines, engines : int
        Lines of the cache, and of a record (and partial sum) of the slice; engines, as one alone has no
        strips to share.

    Notes
    -----
    Call `propose` before a round and `observe` after it; a round that was not observed changes nothing.
    Deterministic. Every change is tried once, so it ends.
    """

    def __init__(
        self, config: MorphingConfig, start: Setting, *, cache_lines: int, lines: int, engines: int
    ) -> None:
        self._config = config
        self._engines = engines
        self._start = start
        self._cache_lines = cache_lines
        self._lines = lines
        self._units = sum(start.runs)
        self._best: _Seen | None = None
        self._steps = self._phases()
        self._next: Proposal | None = next(self._steps, None)

    @property
    def best(self) -> Setting:
        """The cheapest setting measured so far; the start before the first round."""
        return self._start if self._best is None else self._best.setting

    @property
    def settled(self) -> bool:
        """Whether nothing is left to try."""
        return self._next is None

    def propose(self) -> Proposal:
        """Return what to run next."""
        return self._next or self.stay()

    def stay(self) -> Proposal:
        """Return the best setting, for rounds from which nothing is to be learnt."""
        return Proposal(self.best, "keep")

    def observe(self, proposal: Proposal, cost: float, measured: Round) -> None:
        """Take in the round of the last `propose`: cycles a cache line of record, and its counters."""
        if self._next is None or proposal is not self._next:
            return
        seen = _Seen(proposal.setting, cost, measured)
        if self._best is None or cost < self._best.cost:
            self._best = seen
        try:
            self._next = self._steps.send(seen)
        except StopIteration:
            self._next = None

    def _phases(self) -> _Steps:
        yield Proposal(self._start, "start")
        if self._config.global_phase and not (self.best.tiles == 1 and self._fits()):
            yield from self._climb()
        if self._config.policy_phase and self._engines > 1:
            yield from self._policies()
        if self._config.local_phase:
            yield from self._morph()

    def _fits(self) -> bool:
        """Whether the best round missed little more than once a distinct line."""
        assert self._best is not None
        measured = self._best.round
        return measured.misses <= _NOTHING_TO_GAIN * int(measured.tile_cold.sum())

    def _climb(self) -> _Steps:
        """Phase A: double the tiles while that pays, else halve them while that pays."""
        assert self._best is not None
        tiles = self.best.tiles
        while not self._fits() and tiles < self._units:
            tiles = min(2 * tiles, self._units)
            if not (yield from self._pays(tiles)):
                break
        if self.best.tiles > self._start.tiles:
            return
        tiles = self._roomy()
        while tiles >= 1:
            if not (yield from self._pays(tiles)):
                break
            tiles //= 2

    def _pays(self, tiles: int) -> Generator[Proposal, _Seen, bool]:
        assert self._best is not None
        before = self._best.cost
        seen = yield Proposal(Setting(even_runs(self._units, tiles), self.best.strip), f"tiles {tiles}")
        return seen.cost < before * (1 - self._config.climb)

    def _roomy(self) -> int:
        """Half the tiles, or fewer where so few would still hold the distinct lines that were counted."""
        assert self._best is not None
        half = self._start.tiles // 2
        if not self._fits():
            return half
        cold = int(self._best.round.tile_cold.sum())
        enough = nearest_power(max(1.0, cold / (self._config.fit * self._cache_lines)), most=self._units)
        return min(half, enough)

    def _policies(self) -> _Steps:
        """Phase B: taller strips, then lower ones; no further in a direction that has cost more."""
        assert self._best is not None
        start = Setting(self.best.runs, self._start.strip)
        heights = {strip: strip or math.inf for strip in self._config.strips}
        here = start.strip or math.inf
        taller = sorted((s for s in heights if heights[s] > here), key=heights.__getitem__)
        lower = sorted((s for s in heights if heights[s] < here), key=heights.__getitem__, reverse=True)
        for direction in (taller, lower):
            for strip in direction:
                before = self._best.cost
                seen = yield Proposal(Setting(start.runs, strip), f"strip {strip or 'contiguous'}")
                if seen.cost > before * (1 + self._config.tolerance):
                    break

    def _morph(self) -> _Steps:
        """Phase C: split and merge, a share of the changes at a time; take back what did not pay."""
        assert self._best is not None
        tried: set[tuple[str, int, int]] = set()
        here, word, failures = self._best, "", 0
        while failures < self._config.patience:
            changes = [c for c in self._changes(here) if c.key not in tried]
            if not changes:
                return
            runs, applied = apply_changes(here.setting.runs, changes[: self._at_once(len(changes))])
            tried |= {c.key for c in applied}
            kinds = [c.kind for c in applied]
            parts = [f"{kind} {kinds.count(kind)}" for kind in ("split", "merge") if kind in kinds]
            before = self._best
            seen = yield Proposal(Setting(runs, here.setting.strip), word + ", ".join(parts))
            pays = seen.cost <= before.cost * (1 + self._config.tolerance)
            here, word, failures = (seen, "", 0) if pays else (self._best, "undo, ", failures + 1)

    def _at_once(self, count: int) -> int:
        return max(1, -int(-count * self._config.share // 1))

    def _changes(self, here: _Seen) -> list[Change]:
        config = self._config
        return find_changes(
            here.setting.runs,
            here.round,
            cache_lines=self._cache_lines,
            partial_lines=self._lines,
            split_above=config.split_above,
            merge_below=config.merge_below,
            fit=config.fit,
        )
