"""What one arm of the verification measures."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoestring.compression.qimera import _measure
from shoestring.compression.qimera.evidence import study
from shoestring.core.errors import ConfigError
from shoestring.core.files import write_json_atomic
from shoestring.core.recorder import MemoryRecorder
from shoestring.evidence.model import Context
from shoestring.nn import cifar_resnet, save_state

Make = Callable[..., Context]
BUDGET = {"iterations": 6, "warmup_iterations": 2, "batch_size": 8, "check_every": 2, "held_out": 8}
GENERATIVE = {"generator": {"width": 4, "latent": 6}, "distillation": BUDGET}


@pytest.fixture
def make_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A context for one method; the measurements at the boundary are made on few images."""
    for name, value in {"NUM_SYNTHETIC": 64, "PATH_STEPS": 3, "PATH_NOISES": 1}.items():
        monkeypatch.setattr(_measure, name, value)
    save_state(cifar_resnet(8, channels=1, seed=1), tmp_path / "teacher.safetensors")
    write_json_atomic(tmp_path / "teacher.json", {"depth": 8})

    def make(method: str, config: Any = None) -> Context:
        return Context(
            options={"dataset": "digits", "method": method, "config": config or {}},
            seed=0,
            folder=tmp_path,
            prepared=tmp_path,
            data=None,
            recorder=MemoryRecorder(),
            report_progress=lambda _share, _word: None,
        )

    return make


def test_the_system_is_measured_in_every_way_that_the_study_prints(make_context: Make) -> None:
    context = make_context("qimera", GENERATIVE)
    outcome = _measure.measure_arm(context)
    printed = {m.name for m in study("full").metrics}
    assert printed <= set(outcome.metrics)
    assert all(math.isfinite(v) for v in outcome.metrics.values())
    assert outcome.metrics["top1_best_by_test"] >= outcome.metrics["top1_last"]
    assert set(outcome.series) == {"top1", "path"}
    assert outcome.series["top1"].x == (2.0, 4.0, 6.0)
    assert outcome.series["top1"].y[-1] == outcome.metrics["top1_last"]
    assert (context.folder / "run.ckpt").exists()


def test_a_baseline_with_a_generator_has_no_path(make_context: Make) -> None:
    outcome = _measure.measure_arm(make_context("gdfq", GENERATIVE))
    assert "boundary_share" in outcome.metrics
    assert "path_rising" not in outcome.metrics
    assert set(outcome.series) == {"top1"}


def test_calibration_has_accuracy_alone(make_context: Make) -> None:
    outcome = _measure.measure_arm(make_context("noise", {"batches": 2, "batch_size": 4}))
    assert set(outcome.metrics) == {"top1", "top1_last"}
    assert not outcome.series


def test_the_float_teacher_is_measured_as_it_is(make_context: Make) -> None:
    outcome = _measure.measure_arm(make_context("float"))
    assert outcome.metrics["top1"] == outcome.metrics["top1_last"]


def test_an_unknown_method_or_option_names_the_known_ones(make_context: Make) -> None:
    with pytest.raises(ConfigError, match="'zap' is not known; allowed: float, qimera, noise"):
        _measure.measure_arm(make_context("zap"))
    with pytest.raises(ConfigError, match="superpose_prob"):
        _measure.measure_arm(make_context("qimera", {"superpose_probability": 1}))
