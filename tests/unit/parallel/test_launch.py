"""Ranks come back with what they return, or are all ended and the first cause is told."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.parallel._rank_programs import WORLD
from tests.unit.parallel.conftest import Shared

from shoestring.core.errors import ConfigError
from shoestring.parallel import LinkShape, RankError, Topology, choose_backend, connect, launch
from shoestring.parallel._nest import _wait
from shoestring.parallel.launch import _remove_left_behind
from shoestring.parallel.netns import why_no_namespaces

ENDED_WITHIN_S = 30.0
"""From the end of `launch` to that of the last process: milliseconds, and a busy machine's excuse."""


class CallerEnds(BaseException):
    """As Ctrl-C, but no other test can mistake it."""


def end_caller(_fraction: float, _word: str) -> None:
    raise CallerEnds


@dataclass(frozen=True)
class Failure:
    """How a launch ended, and the processes that it had."""

    error: BaseException
    pids: dict[int, int]
    parent: int
    folder: Path
    seconds_since_ready: float


FAILING: dict[str, tuple[Topology, Callable[[float, str], None] | None]] = {
    "raise_in_one": (Topology(1, 3), None),
    "kill_one": (Topology(1, 3), None),
    "hang": (Topology(1, 2), end_caller),
}


def fail(name: str, folder: Path) -> Failure:
    topology, report = FAILING[name]
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # which one is what the tests look at
        launch(
            f"_rank_programs:{name}",
            topology,
            options={"folder": str(folder)},
            timeout_s=120,
            report_progress=report,
        )
    ended = time.time()
    words = {rank: (folder / f"{rank}.pids").read_text().split() for rank in range(topology.world)}
    ready = max((folder / f"{rank}.pids").stat().st_mtime for rank in range(topology.world))
    return Failure(
        caught.value,
        {rank: int(word[0]) for rank, word in words.items()},
        int(words[0][1]),
        Path(words[0][2]),
        ended - ready,
    )


@pytest.fixture(scope="module")
def failures(rank_programs: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Failure]:  # noqa: ARG001
    """All launches that fail, at the same time: most of it is importing."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FAILING}
    with ThreadPoolExecutor(len(FAILING)) as pool:
        return dict(zip(FAILING, pool.map(fail, FAILING, folders.values()), strict=True))


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_rank_s_values_and_tensors_come_back_by_rank(shared: Shared) -> None:
    assert len(shared.results) == WORLD
    for rank, result in enumerate(shared.results):
        assert result.values["_launched"]["rank"] == rank
        assert result.values["_launched"]["topology"] == [2, 3]
        assert torch.equal(result.tensors["_launched/row"], torch.full((2, 3), float(rank)))
        assert torch.equal(result.tensors["_launched/ids"], torch.arange(rank))


def test_every_rank_is_a_process_of_its_own_with_one_parent(shared: Shared) -> None:
    seen = [result.values["_launched"] for result in shared.results]
    assert len({v["pid"] for v in seen} | {os.getpid()}) == WORLD + 1
    assert len({v["parent"] for v in seen}) == 1
    assert seen[0]["parent"] != os.getpid()
    assert not any(runs(v["pid"]) for v in seen)
    assert not runs(seen[0]["parent"])


def test_options_and_tensors_reach_every_rank(shared: Shared) -> None:
    for result in shared.results:
        assert result.values["_launched"]["option"] == {"nested": [1, 2.5, "three"]}
        assert result.values["_launched"]["before"] == 10.0
        assert result.values["_launched"]["threads"] == max(int(os.environ.get("OMP_NUM_THREADS") or 1), 1)


def test_a_rank_that_writes_to_the_tensors_changes_no_other_s(shared: Shared) -> None:
    for rank, result in enumerate(shared.results):
        assert result.values["_launched"]["after"] == 10.0 * (rank + 2)


def test_progress_is_that_of_rank_0(shared: Shared) -> None:
    assert shared.progress == [(0.5, "halfway")]


@pytest.mark.parametrize("name", FAILING)
def test_no_process_and_no_file_is_left(failures: dict[str, Failure], name: str) -> None:
    failure = failures[name]
    give_up = time.monotonic() + ENDED_WITHIN_S
    pids = [failure.parent, *failure.pids.values()]
    while any(runs(pid) for pid in pids) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert [pid for pid in pids if runs(pid)] == []
    assert failure.folder.name.startswith("shoestring-ranks-")
    assert not failure.folder.exists()


def test_a_rank_that_raises_is_named_with_its_traceback(failures: dict[str, Failure]) -> None:
    error = failures["raise_in_one"].error
    assert isinstance(error, RankError)
    assert str(error).startswith("rank 1 failed, the other ranks were ended:\nTraceback")
    assert "in raise_in_one" in str(error)
    assert "ValueError: the reason is number 4711" in str(error)


def test_a_rank_that_is_killed_ends_the_others_within_seconds(failures: dict[str, Failure]) -> None:
    failure = failures["kill_one"]
    assert isinstance(failure.error, RankError)
    assert str(failure.error) == "rank 1 was killed by SIGKILL; the other ranks were ended"
    # The others sleep for ten minutes; two seconds of grace, the rest is for a busy machine.
    assert failure.seconds_since_ready < 60


def test_ranks_end_when_their_caller_does(failures: dict[str, Failure]) -> None:
    assert isinstance(failures["hang"].error, CallerEnds)


def wait_for(folder: Path, *commands: str) -> str:
    """What is told of ranks that end like these shell commands, in this order."""
    pids = {os.posix_spawn("/bin/sh", ["sh", "-c", c], {}): rank for rank, c in enumerate(commands)}
    assert _wait(folder, pids) == 1
    return (folder / "error.txt").read_text()


def test_a_rank_that_ends_without_a_result_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rank0.safetensors").touch()
    said = wait_for(tmp_path, "exit 0", "exit 0")
    assert "rank 1 failed" in said
    assert "ended with exit code 0 and left no word" in said


def test_the_earliest_traceback_is_told(tmp_path: Path) -> None:
    for rank, at in enumerate((3.0, 1.0, 2.0)):
        (tmp_path / f"rank{rank}.error.json").write_text(json.dumps({"at": at, "text": f"text {rank}"}))
    said = wait_for(tmp_path, "exit 1", "exit 1", "exit 1")
    assert said == "rank 1 failed, the other ranks were ended:\ntext 1"


def test_ranks_that_all_leave_a_result_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "rank0.safetensors").touch()
    assert _wait(tmp_path, {os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {}): 0}) == 0
    assert not (tmp_path / "error.txt").exists()


def test_ranks_that_do_not_end_in_time_are_ended(rank_programs: None, tmp_path: Path) -> None:  # noqa: ARG001
    start = time.monotonic()
    with pytest.raises(RankError, match=r"did not end within 0\.3 s, their time limit"):
        launch("_rank_programs:hang", Topology(1, 2), options={"folder": str(tmp_path)}, timeout_s=0.3)
    assert time.monotonic() - start < ENDED_WITHIN_S


def test_what_a_killed_caller_left_in_memory_is_removed(tmp_path: Path) -> None:
    names = ("killed", "running", "starting")
    folders = [tmp_path / f"shoestring-ranks-{name}" for name in names]
    for folder in folders:
        folder.mkdir()
        (folder / "lock").touch()
        if not folder.name.endswith("starting"):
            (folder / "task.json").touch()
    (tmp_path / "of-somebody-else").mkdir()
    with (folders[1] / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_left_behind(tmp_path)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"shoestring-ranks-running", "shoestring-ranks-starting", "of-somebody-else"}


@pytest.mark.parametrize("entry", ["no_colon", "a:b:c", "module:f()", "", ":f"])
def test_an_entry_point_of_another_form_starts_nothing(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"not of the form package\.module:function"):
        launch(entry, Topology(1, 1))


@pytest.mark.parametrize("rate", [0.0, -5.0])
def test_a_link_without_a_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=f"inter_bits_per_s={rate} must be above 0; None is unlimited"):
        LinkShape(inter_bits_per_s=rate)


def test_an_unknown_way_to_shape_is_refused() -> None:
    how: Any = "slow"
    with pytest.raises(ConfigError, match="how='slow' is not one of 'auto', 'namespaces', 'emulated'"):
        LinkShape(inter_bits_per_s=1e6, how=how)


def test_a_link_is_shaped_by_the_kernel_if_that_can_be_done() -> None:
    assert LinkShape().resolve() == "none"
    assert LinkShape(how="emulated").resolve() == "none"
    assert LinkShape(how="namespaces").resolve() == "namespaces"
    assert LinkShape(inter_bits_per_s=1e6, how="emulated").resolve() == "emulated"
    possible = "emulated" if why_no_namespaces() else "namespaces"
    assert LinkShape(inter_bits_per_s=1e6).resolve() == possible


@pytest.mark.parametrize("servers", [201, 1000])
def test_more_servers_than_namespaces_have_addresses_are_refused(servers: int) -> None:
    with pytest.raises(ConfigError, match=rf"servers={servers} is outside 1\.\.200"):
        launch("module:function", Topology(servers, 1), shape=LinkShape(how="namespaces"))


@pytest.mark.parametrize("rank", [-1, 6, 100])
def test_a_rank_outside_the_topology_is_refused(rank: int) -> None:
    with (
        pytest.raises(ConfigError, match=rf"rank={rank} is outside 0\.\.5; give servers x ranks_per_server"),
        connect(Topology(2, 3), rank),
    ):
        pass


def test_an_unknown_backend_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="backend='mpi' is not one of 'gloo', 'nccl'"),
        connect(Topology(1, 1), 0, backend="mpi"),
    ):
        pass


def test_ranks_without_a_gpu_each_talk_over_gloo() -> None:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    assert choose_backend(Topology(1, gpus + 1)) == "gloo"


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the two ranks of a program saw that torchrun started."""
    folder = tmp_path_factory.mktemp("torchrun")
    program = Path(__file__).with_name("_torchrun_program.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            program,
            folder,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_torchrun_s_ranks_are_one_server(torchrun: list[dict[str, Any]]) -> None:
    assert [seen["rank"] for seen in torchrun] == [0, 1]
    assert all(seen["topology"] == [1, 2] for seen in torchrun)


@pytest.mark.parametrize("when", ["by_the_library", "again", "by_the_program"])
def test_ranks_of_torchrun_exchange_messages(torchrun: list[dict[str, Any]], when: str) -> None:
    """First in a group that the library makes and leaves, then in another, then in the program's own."""
    for rank, seen in enumerate(torchrun):
        assert seen[when]["sum"] == [3.0, 3.0, 3.0]
        assert seen[when]["told"] == [rank, 10 + rank]
        assert seen[when]["links"] == ["intra"]


def test_a_program_s_process_group_is_used_and_left_to_it(torchrun: list[dict[str, Any]]) -> None:
    for seen in torchrun:
        assert seen["left"]
        assert seen["by_the_program"]["is_the_default_group"]
        assert seen["stays"]


def test_a_process_group_of_another_size_is_refused(torchrun: list[dict[str, Any]]) -> None:
    for rank, seen in enumerate(torchrun):
        assert f"is rank {rank} of 2 in a process group already, rank {rank} of 3" in seen["refused"]
