"""Tasks and sweeps on a local Ray of two workers."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.shai_am import Platform, RunConfig, SweepConfig
from shoestring.finance.shai_am._ray import ray_map

ray = pytest.importorskip("ray", reason="ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are not ours
GRID = {"lookback": tuple(range(40, 240, 4)), "share": (0.1, 0.2, 0.3, 0.4)}

YEARS = RunConfig(start="2021-01-01", end="2022-06-30")


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One Ray for the tests of this module: starting one takes seconds."""
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False
    )
    yield
    ray.shutdown()


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that only this test's path has."""
    (tmp_path / "remote_functions.py").write_text(
        "import os, signal\n"
        "def double(task): return {'twice': 2 * task['x'], 'pid': os.getpid()}\n"
        "def fussy(task):\n"
        "    if task['x'] == 1: raise ValueError('one is not allowed')\n"
        "    if task['x'] == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if task['x'] == 3: return float('nan')\n"
        "    return task['x']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "remote_functions"


@pytest.mark.usefixtures("local_ray")
def test_every_task_comes_back_with_its_number_from_other_processes(functions: str) -> None:
    done = list(ray_map(f"{functions}:double", [{"x": n} for n in range(20)]))
    assert {d.number: d.value["twice"] for d in done} == {n: 2 * n for n in range(20)}
    assert os.getpid() not in {d.value["pid"] for d in done}
    assert ray.is_initialized(), "one that the caller started is kept"


@pytest.mark.usefixtures("local_ray")
def test_a_task_that_fails_or_dies_does_not_stop_the_others(functions: str) -> None:
    done = {d.number: d for d in ray_map(f"{functions}:fussy", [{"x": n} for n in range(5)])}
    assert [done[n].value for n in (0, 4)] == [0, 4]
    assert done[1].error == "ValueError: one is not allowed"
    assert "its worker died" in done[2].error
    assert done[3].error.startswith("ValueError"), "NaN is no JSON"


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigError, match="entry point"):
        list(ray_map("os.system", [{}]))
    with pytest.raises(ConfigError, match="workers"):
        list(ray_map("os:getpid", [{}], workers=0))


@pytest.mark.usefixtures("local_ray")
def test_two_hundred_backtests_run_on_ray_and_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = SweepConfig(grid=GRID, jobs=2)
    with Platform(tmp_path / "ray") as platform:
        first = platform.sweep("momentum", sweep, config=YEARS, executor="ray")
        assert len({run.artifacts["nav"] for run in first}) > 100
        assert len(first) == 200

        def no_ray(*_: Any, **__: Any) -> Iterator[Any]:
            raise AssertionError("Ray was asked although everything is there")

        monkeypatch.setattr("shoestring.finance.shai_am._ray.ray_map", no_ray)
        again = platform.sweep("momentum", sweep, config=YEARS, executor="ray")
    assert [run.artifacts for run in again] == [run.artifacts for run in first]
    assert all(run.hits == len(run.tasks) for run in again)
    few = {"lookback": (40, 236), "share": (0.1, 0.4)}
    with Platform(tmp_path / "here") as platform:
        here = platform.sweep("momentum", SweepConfig(grid=few), config=YEARS)
    assert [r.artifacts for r in here] == [first[i].artifacts for i in (0, 3, 196, 199)]
