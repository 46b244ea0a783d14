import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.evidence.model import Claim, Preparation, Study, Workload
from shoestring.evidence.runner import verify

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are not ours

from shoestring.evidence.ray_backend import RayBackend, pack_folder, unpack_folder  # noqa: E402  # after the skip


@pytest.fixture(scope="class")
def backend() -> Iterator[RayBackend]:
    made = RayBackend("local", threads=1)
    yield made
    made.close()


class TestOneCluster:
    def test_the_same_tasks_give_the_same_results_on_ray(
        self,
        tmp_path: Path,
        backend: RayBackend,
        make_study: Callable[..., Study],
        make_workload: Callable[..., Workload],
        claim: Claim,
    ) -> None:
        (tmp_path / "cars").mkdir()
        (tmp_path / "cars" / "1.jpg").write_text("car")
        workload = make_workload(prepare=Preparation(run="_fake:train"), seeds=(0, 1, 2), needs_data="cars")
        study = make_study(workload, claims=(claim,))
        data = {"cars": tmp_path / "cars"}
        (far,) = verify(study, out=tmp_path / "far", backend=backend, data=data)
        (near,) = verify(study, out=tmp_path / "near", threads=1, data=data)
        assert backend.slots == 2
        assert "cluster" not in backend.resources
        for one, two in zip(far.records, near.records, strict=True):
            assert (one.arm, one.seed, one.status, one.error) == (two.arm, two.seed, two.status, two.error)
            assert (one.key, one.metrics, one.notes) == (two.key, two.metrics, two.notes)
            assert one.peak_bytes > 5 << 20
        assert far.verdicts == near.verdicts
        (folder,) = (tmp_path / "far").glob("runs/fake/toy/ours-1-*")
        assert (folder / "files" / "model.txt").read_text() == "weights"
        (again,) = verify(study, out=tmp_path / "far", threads=1, data=data)  # what Ray finished counts here
        assert [r.started_at for r in again.records] == [r.started_at for r in far.records]

    def test_crashes_and_timeouts_on_ray_are_records(
        self,
        tmp_path: Path,
        backend: RayBackend,
        make_study: Callable[..., Study],
        make_workload: Callable[..., Workload],
    ) -> None:
        arms = {name: {"do": name} for name in ("raise", "segfault", "fine")}
        workload = make_workload(arms, seeds=(0,), run="_fake:misbehave")
        hanging = make_workload(
            {"hang": {"do": "hang"}}, name="hanging", seeds=(0,), run="_fake:misbehave", timeout_s=1.0
        )
        found = verify(make_study(workload, hanging), out=tmp_path, backend=backend)
        status = {r.arm: (r.status, r.error.partition("\n")[0]) for v in found for r in v.records}
        assert status == {
            "raise": ("failed", "ValueError: learning rate is negative"),
            "segfault": ("failed", "killed by SIGSEGV"),
            "fine": ("ok", ""),
            "hang": ("timeout", "stopped after 1 s, its time limit"),
        }

    def test_a_node_with_other_sources_refuses(
        self,
        tmp_path: Path,
        backend: RayBackend,
        make_study: Callable[..., Study],
        make_workload: Callable[..., Workload],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("shoestring.evidence.tasks.fingerprint", lambda *_: "f" * 64)
        (found,) = verify(
            make_study(make_workload({"ours": {"score": 1}}, seeds=(0,))), out=tmp_path, backend=backend
        )
        assert "sources of Shoestring on this node differ" in found.records[0].error


def test_closing_kills_what_runs(
    tmp_path: Path, make_study: Callable[..., Study], make_workload: Callable[..., Workload]
) -> None:
    pid_file = tmp_path / "pid"
    arms = {"ours": {"do": "child hangs", "pid_file": str(pid_file)}}
    backend = RayBackend("local")

    def stop(event: Any) -> None:
        del event
        assert wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", 60.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(
            make_study(make_workload(arms, seeds=(0,), run="_fake:misbehave")),
            out=tmp_path,
            backend=backend,
            on_event=stop,
        )
    assert wait_until(lambda: not Path(f"/proc/{pid_file.read_text()}").exists(), 20.0)


def test_more_threads_than_the_cluster_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="threads=0 is below 1"):
        RayBackend("local", threads=0)
    with pytest.raises(ConfigError, match="more than the CPUs of the Ray cluster 'local'"):
        RayBackend("local", threads=99)


def test_files_travel_as_they_are_and_only_inwards(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.bin").write_bytes(bytes(range(256)))
    (tmp_path / "a" / "link").symlink_to("/etc/hostname")
    files = pack_folder(tmp_path / "a")
    assert list(files) == ["b/c.bin"]
    unpack_folder(tmp_path / "copy", files)
    assert (tmp_path / "copy" / "b" / "c.bin").read_bytes() == bytes(range(256))
    for name in ("../out", "/etc/x", "a/../../out"):
        with pytest.raises(DataError, match="leads out of the task's folder"):
            unpack_folder(tmp_path / "copy", {name: b""})
    assert not os.path.lexists(tmp_path / "out")


def wait_until(condition: Callable[[], bool], limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
