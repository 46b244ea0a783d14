"""The controller beside landscapes whose best setting is known."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from shoestring.native.sim import Round
from shoestring.silicon.slice_and_forge import MorphingConfig, Setting, Tuner
from shoestring.silicon.slice_and_forge.functional import even_runs

UNITS = 64
COUNTS: dict[str, Any] = dict.fromkeys((f.name for f in fields(Round) if f.type in ("int", int)), 0)
COLUMNS: dict[str, Any] = {f.name: np.zeros(1, np.int64) for f in fields(Round) if f.name not in COUNTS}
BLANK = Round(**{**COUNTS, **COLUMNS, "trace": None})


def counted(setting: Setting, misses: Any, cold: Any) -> Round:
    tiles = setting.tiles
    columns: dict[str, Any] = {
        "tile_misses": np.broadcast_to(np.asarray(misses, np.int64), (tiles,)),
        "tile_cold": np.broadcast_to(np.asarray(cold, np.int64), (tiles,)),
        "tile_partial_writes": np.ones(tiles, np.int64),
    }
    return replace(BLANK, misses=int(columns["tile_misses"].sum()), **columns)


def thrashing(setting: Setting) -> Round:
    return counted(setting, 200, 100)


def tuner(start: int = 8, engines: int = 8, **config: Any) -> Tuner:
    setting = Setting(even_runs(UNITS, start), 32)
    return Tuner(MorphingConfig(**config), setting, cache_lines=1000, lines=1, engines=engines)


def play(
    one: Tuner,
    cost: Callable[[Setting], float],
    measured: Callable[[Setting], Round] = thrashing,
    most: int = 200,
) -> list[Setting]:
    tried = []
    while not one.settled:
        proposal = one.propose()
        tried.append(proposal.setting)
        one.observe(proposal, cost(proposal.setting), measured(proposal.setting))
        assert len(tried) < most, "it does not end"
    return tried


@pytest.mark.parametrize("best", [1, 2, 4, 8, 16, 32, 64])
def test_phase_a_finds_the_bottom_of_a_valley_and_tries_both_neighbours(best: int) -> None:
    one = tuner(policy_phase=False, local_phase=False)
    tried = [s.tiles for s in play(one, lambda s: abs(np.log2(s.tiles) - np.log2(best)) + 10)]
    assert one.best.tiles == best
    assert tried[:2] == [8, 16]
    assert {best // 2, 2 * best} - {0, 128} <= set(tried)


def test_phase_a_tries_no_more_tiles_when_no_line_was_missed_twice() -> None:
    one = tuner(policy_phase=False, local_phase=False)
    tried = play(one, lambda s: s.tiles, lambda s: counted(s, 100, 100))
    assert max(s.tiles for s in tried) == 8


def test_phase_a_skips_counts_whose_lines_leave_room() -> None:
    one = tuner(32, policy_phase=False, local_phase=False)
    # 1,500 lines in all: two tiles of 750 fit three quarters of the cache.
    tried = play(one, lambda s: s.tiles, lambda s: counted(s, 1500 // s.tiles, 1500 // s.tiles))
    assert [s.tiles for s in tried] == [32, 2, 1]


def test_one_tile_without_a_second_miss_is_left_alone() -> None:
    one = tuner(1)
    tried = play(one, lambda s: 10 + s.strip, lambda s: counted(s, 100, 100))
    assert {s.tiles for s in tried} == {1}


@pytest.mark.parametrize("best", [0, 128, 32, 8])
def test_phase_b_keeps_the_best_strip(best: int) -> None:
    heights = {8: 0, 32: 1, 128: 2, 0: 3}
    one = tuner(1, local_phase=False, global_phase=False)
    play(one, lambda s: 100 + abs(heights[s.strip] - heights[best]))
    assert one.best.strip == best


def test_phase_b_goes_no_further_where_it_costs_more() -> None:
    one = tuner(1, local_phase=False, global_phase=False)
    tried = play(one, lambda s: 100.0 if s.strip == 32 else 200.0)
    assert [s.strip for s in tried] == [32, 128, 8]


def test_one_engine_has_no_strips_to_try() -> None:
    tried = play(tuner(1, engines=1, local_phase=False, global_phase=False), lambda _: 1.0)
    assert len(tried) == 1


def test_phase_c_splits_the_tile_that_misses_and_no_other() -> None:
    def measured(setting: Setting) -> Round:
        starts = np.concatenate([[0], np.cumsum(setting.runs)[:-1]])
        hot = (starts == 0) & (np.array(setting.runs) > 4)
        return counted(setting, np.where(hot, 900, 400), 400)

    one = tuner(4, global_phase=False, policy_phase=False)
    play(one, lambda s: 100 - (s.runs[0] <= 4) * 10 + s.tiles * 0.1, measured)
    assert one.best.runs == (4, 4, 8, 16, 16, 16)


def test_phase_c_merges_neighbours_that_fit_together() -> None:
    one = tuner(4, global_phase=False, policy_phase=False)
    play(
        one,
        lambda s: s.tiles,
        lambda s: counted(s, 100 * np.array(s.runs) // 16, 100 * np.array(s.runs) // 16),
    )
    assert one.best.tiles == 1


def test_a_change_that_does_not_pay_is_undone_and_not_tried_again() -> None:
    one = tuner(4, global_phase=False, policy_phase=False)
    start = one.best
    notes: list[str] = []
    seen: list[Setting] = []
    while not one.settled:
        proposal = one.propose()
        notes.append(proposal.decision)
        seen.append(proposal.setting)
        cost = 100.0 if proposal.setting == start else 102.0
        one.observe(proposal, cost, thrashing(proposal.setting))
    assert one.best == start == one.propose().setting
    assert notes == ["start", "split 1", "undo, split 1"]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("seed", range(20))
def test_it_ends_without_oscillation_on_random_landscapes(seed: int) -> None:
    costs: dict[Setting, float] = {}
    rng = np.random.default_rng(seed)

    def cost(setting: Setting) -> float:
        return costs.setdefault(setting, float(rng.uniform(90, 110)))

    def measured(setting: Setting) -> Round:
        return counted(setting, rng.integers(100, 300, setting.tiles), rng.integers(50, 200, setting.tiles))

    one = tuner(patience=50)
    tried = play(one, cost, measured)
    assert costs[one.best] == min(costs[s] for s in tried)
    assert one.propose().decision == "keep"


def test_a_round_that_was_not_asked_for_changes_nothing() -> None:
    one = tuner()
    stay = one.stay()
    one.observe(stay, 1.0, thrashing(stay.setting))
    assert one.propose().decision == "start"
