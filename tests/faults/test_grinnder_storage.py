"""GriNNder on storage that fails: a full disk, a read-only folder, a kill amid an epoch."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from shoestring.core.errors import StorageError
from shoestring.data.graphs.generators import block_model
from shoestring.graphs.grinnder import Config, Trainer, prepare
from shoestring.graphs.grinnder import _tiers as tiers
from shoestring.graphs.models import build_gnn
from shoestring.native.io import Engine, Faults


def small() -> tuple[Data, nn.Module]:
    torch.manual_seed(0)
    return block_model(600, 8.0, num_communities=4, num_features=16), build_gnn("gcn", 16, 16, 4, 3)


def cold(folder: Path) -> Config:
    return Config(storage=folder, parts=4, cache="one_layer")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_amid_an_epoch_is_a_clean_error(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = small()
    graph = prepare(data, cold(tmp_path), model)
    faults = Faults(fail_after_bytes=600_000, errno=code)
    monkeypatch.setattr(tiers, "open_engine", lambda _config: Engine("threads", faults=faults))
    with pytest.raises(StorageError) as caught, Trainer(model, graph, cold(tmp_path)) as trainer:
        trainer.fit(20)
    assert caught.value.errno == code
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_disk_without_room_is_named_with_the_bytes_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = small()
    graph = prepare(data, cold(tmp_path), model)

    class Full(Engine):
        def open(self, path: Any, mode: Any = "read", size_bytes: int | None = None) -> Any:
            """Ask for more than any disk has."""
            return super().open(path, mode, size_bytes if mode == "read" else 1 << 58)

    monkeypatch.setattr(tiers, "open_engine", lambda _config: Full("threads"))
    with pytest.raises(StorageError) as caught:
        Trainer(model, graph, cold(tmp_path))
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_clean_error(tmp_path: Path) -> None:
    data, model = small()
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="writable"):
        prepare(data, cold(tmp_path / "inside"), model)
    tmp_path.chmod(0o700)


def test_a_place_that_cannot_be_a_folder_is_a_clean_error(tmp_path: Path) -> None:
    data, model = small()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="prepared graph"):
        prepare(data, cold(tmp_path / "file"), model)


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    data, model = small()
    path = tmp_path / "run.safetensors"
    graph = prepare(data, cold(tmp_path), model)
    with Trainer(model, graph, cold(tmp_path)) as trainer:
        trainer.fit(1, checkpoint=path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-7] + bytes(7))
        with pytest.raises(StorageError, match="damaged"):
            trainer.fit(2, checkpoint=path)
        path.write_bytes(b"no checkpoint")
        with pytest.raises(StorageError, match="not a checkpoint"):
            trainer.fit(2, checkpoint=path)
    path.write_bytes(whole)
    other = build_gnn("gcn", 16, 8, 4, 3)
    with Trainer(other, graph, cold(tmp_path)) as trainer, pytest.raises(StorageError, match="another model"):
        trainer.fit(2, checkpoint=path)


PROGRAM = """
import sys, json, torch
from pathlib import Path
from shoestring.data.graphs.generators import block_model
from shoestring.graphs.grinnder import Config, IoConfig, Trainer, prepare
from shoestring.graphs.models import build_gnn
folder, epochs, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
data = block_model(600, 8.0, num_communities=4, num_features=16)
model = build_gnn("gcn", 16, 16, 4, 3, dropout=0.5)
config = Config(storage=folder, parts=4, cache="one_layer", io=IoConfig(limit_bytes_per_s=limit))
graph = prepare(data, config, model)
with Trainer(model, graph, config) as trainer:
    result = trainer.fit(epochs, checkpoint=folder / "run.safetensors")
print(json.dumps(result.losses))
"""


def start(folder: Path, epochs: int, limit: int) -> "subprocess.Popen[str]":
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(epochs), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def losses(process: "subprocess.Popen[str]") -> list[float]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found: list[float] = json.loads(out)
    return found


@pytest.mark.slow
def test_a_run_killed_amid_an_epoch_goes_on_to_the_same_losses_without_its_old_scratch(
    tmp_path: Path,
) -> None:
    whole = losses(start(tmp_path / "whole", 6, 0))
    victim = start(tmp_path / "killed", 6, 2_000_000)  # slow storage, so that the kill falls into an epoch
    checkpoint = tmp_path / "killed" / "run.safetensors"
    until = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL
    left = list((tmp_path / "killed" / "scratch").glob("run-*"))
    assert len(left) == 1
    resumed = losses(start(tmp_path / "killed", 6, 0))
    assert resumed == whole
    assert not left[0].exists()
