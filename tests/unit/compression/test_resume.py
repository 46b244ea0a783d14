"""A run that was interrupted and continued equals one that was not, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from shoestring.compression.baselines import FineTuneConfig, GDFQConfig, gdfq, real_fine_tuning
from shoestring.compression.conversion import QuantizedModel
from shoestring.compression.qimera import QimeraConfig, qimera
from shoestring.compression.runs import QuantizationRun, RunOptions
from shoestring.core.errors import StorageError

Start = Callable[..., QuantizationRun]
METHODS = ("gdfq", "qimera", "real-ft")


class Stop(Exception):  # noqa: N818  # not an error
    """Raised by a monitor."""


@pytest.fixture
def start(make_teacher: Callable[..., nn.Module], tiny: Any) -> Start:
    """Run a method of `METHODS`, perhaps stopping at a check, perhaps with other options."""

    def run(method: str, checkpoint: Path | None = None, stop_at: int | None = None, **change: Any) -> Any:
        channels = change.pop("channels", 1)
        seed = change.pop("seed", 2)

        def monitor(iteration: int, student: QuantizedModel) -> dict[str, float]:
            del student
            if iteration == stop_at:
                raise Stop
            return {"seen": float(iteration)}

        generative = {"quant": tiny.quant, "generator": tiny.generator, "distillation": tiny.distillation}
        configs: dict[str, tuple[Any, Any]] = {
            "gdfq": (gdfq, GDFQConfig(**generative)),
            "qimera": (qimera, QimeraConfig(**generative)),
            "real-ft": (real_fine_tuning, FineTuneConfig(quant=tiny.quant, distillation=tiny.distillation)),
        }
        function, config = configs[method]
        rng = torch.Generator().manual_seed(change.pop("image_seed", 0))
        return function(
            make_teacher(channels),
            replace(config, **change),
            image_shape=(channels, 8, 8),
            images=torch.randn(20, channels, 8, 8, generator=rng),
            labels=torch.arange(20) % 5,
            seed=seed,
            options=RunOptions(monitor=monitor, checkpoint=checkpoint),
        )

    return run


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("channels", "stop_at"), [(1, 8), (3, 12)])
def test_a_stopped_run_continues_to_the_same_bits(
    method: str, channels: int, stop_at: int, start: Start, everything: Any, tmp_path: Path
) -> None:
    path = tmp_path / "run.ckpt"
    whole = start(method, channels=channels)
    with pytest.raises(Stop):
        start(method, path, stop_at, channels=channels)
    assert path.exists()
    resumed = start(method, path, channels=channels)
    expected, got = everything(whole), everything(resumed)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name
    assert whole.history == resumed.history
    assert whole.chosen_iteration == resumed.chosen_iteration


def test_a_finished_run_is_not_run_again(start: Start, everything: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    once = everything(start("gdfq", path))
    again = start("gdfq", path, stop_at=12)
    assert all(torch.equal(v, once[k]) for k, v in everything(again).items())


def test_checkpoints_do_not_change_the_result(start: Start, everything: Any, tmp_path: Path) -> None:
    plain = everything(start("qimera"))
    assert all(
        torch.equal(v, plain[k]) for k, v in everything(start("qimera", tmp_path / "run.ckpt")).items()
    )


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("gdfq", {}),
        ("real-ft", {}),
        ("qimera", {"seed": 3}),
        ("qimera", {"superpose_prob": 0.5}),
        ("qimera", {"superpose_classes": 3}),
        ("qimera", {"noise_std": 0.5}),
        ("qimera", {"channels": 3}),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    method: str, change: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "run.ckpt"
    with pytest.raises(Stop):
        start("qimera", path, 8)
    with pytest.raises(StorageError, match="another method, model, config or seed"):
        start(method, path, **change)


def test_a_checkpoint_of_other_images_is_refused(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    with pytest.raises(Stop):
        start("real-ft", path, 8)
    with pytest.raises(StorageError, match="other images or labels"):
        start("real-ft", path, image_seed=1)


def test_a_damaged_checkpoint_is_refused(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    with pytest.raises(Stop):
        start("gdfq", path, 8)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StorageError, match="damaged"):
        start("gdfq", path)


SCRIPT = """
import sys, time
from pathlib import Path
import torch
from safetensors.torch import save_file
from shoestring.compression.baselines import GDFQConfig, gdfq
from shoestring.compression.conversion import QuantConfig
from shoestring.compression.distillation import DistillationConfig
from shoestring.compression.runs import RunOptions
from shoestring.compression.sources import GeneratorConfig
from shoestring.nn import cifar_resnet

torch.set_num_threads(1)
out, checkpoint, slowly = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "slowly"
config = GDFQConfig(
    quant=QuantConfig(w_bits=3, a_bits=3),
    generator=GeneratorConfig(width=4, latent=6),
    distillation=DistillationConfig(
        iterations=40, warmup_iterations=4, batch_size=8, check_every=2, held_out=8
    ),
)
def monitor(iteration, student):
    time.sleep(0.3 if slowly and iteration > 4 else 0)
    return {}
run = gdfq(
    cifar_resnet(8, channels=1, widths=(4, 6, 8), seed=0), config, image_shape=(1, 8, 8), seed=1,
    options=RunOptions(monitor=monitor, checkpoint=checkpoint),
)
parts = {f"last.{k}": v for k, v in run.last.items()}
parts |= {f"chosen.{k}": v for k, v in run.model.state_dict().items()}
parts |= {f"generator.{k}": v for k, v in run.generator.state_dict().items()}
save_file({k: v.clone().contiguous() for k, v in parts.items()}, out)
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_continues_to_the_same_bits(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)

    def process(out: str, checkpoint: str, pace: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(script), str(tmp_path / out), str(tmp_path / checkpoint), pace]
        return subprocess.Popen(command, env=dict(os.environ))

    assert process("whole", "whole.ckpt", "at once").wait(600) == 0
    for _ in range(3):
        killed = process("resumed", "resumed.ckpt", "slowly")
        before = (tmp_path / "resumed.ckpt").stat().st_mtime_ns if (tmp_path / "resumed.ckpt").exists() else 0
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            path = tmp_path / "resumed.ckpt"
            if path.exists() and path.stat().st_mtime_ns != before:
                break
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(60) == -signal.SIGKILL
    assert process("resumed", "resumed.ckpt", "at once").wait(600) == 0
    whole, resumed = load_file(tmp_path / "whole"), load_file(tmp_path / "resumed")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(v, resumed[k]) for k, v in whole.items())
