"""The same runs with the model on a GPU: only where there is one."""

from typing import Any

import pytest
import torch
from torch import nn

from shoestring.compression.baselines import (
    CalibrationConfig,
    FineTuneConfig,
    ZeroQConfig,
    noise_calibration,
    real_fine_tuning,
    zeroq,
)
from shoestring.compression.qimera import QimeraConfig, qimera
from shoestring.compression.runs import QuantizationRun, RunOptions

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch can use"),
]


def devices(run: QuantizationRun) -> set[str]:
    return {v.device.type for v in run.model.state_dict().values()}


def test_calibration_draws_the_same_noise_as_on_the_cpu(teacher: nn.Module) -> None:
    config = CalibrationConfig(batches=3, batch_size=4)
    on_cpu = noise_calibration(teacher, config, image_shape=(1, 8, 8))
    on_gpu = noise_calibration(teacher.cuda(), config, image_shape=(1, 8, 8))
    assert devices(on_gpu) == {"cuda"}
    for name, value in on_cpu.last.items():
        torch.testing.assert_close(on_gpu.last[name].cpu(), value, rtol=1e-2, atol=1e-2)


def test_whole_methods_run_and_continue_on_the_gpu(teacher: nn.Module, tiny: Any, tmp_path: Any) -> None:
    config = QimeraConfig(quant=tiny.quant, generator=tiny.generator, distillation=tiny.distillation)
    options = RunOptions(checkpoint=tmp_path / "run.ckpt")
    for _ in range(2):
        run = qimera(teacher.cuda(), config, image_shape=(1, 8, 8), options=options)
        assert devices(run) == {"cuda"}
        assert run.generator is not None
        assert next(run.generator.parameters()).device.type == "cuda"


def test_real_images_may_stay_on_the_cpu(teacher: nn.Module, tiny: Any) -> None:
    config = FineTuneConfig(quant=tiny.quant, distillation=tiny.distillation)
    images = torch.randn(20, 1, 8, 8)
    for given in (images, images.cuda()):
        run = real_fine_tuning(teacher.cuda(), config, image_shape=(1, 8, 8), images=given)
        assert devices(run) == {"cuda"}


def test_distilled_images_are_made_on_the_gpu(teacher: nn.Module, tiny: Any) -> None:
    run = zeroq(teacher.cuda(), ZeroQConfig(quant=tiny.quant, images=tiny.images), image_shape=(1, 8, 8))
    assert run.images is not None
    assert run.images.device.type == "cuda"
