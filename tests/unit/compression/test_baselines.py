"""The methods that the systems are measured against: one battery for all, then each one's own."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shoestring.compression.baselines import (
    METHODS,
    CalibrationConfig,
    DistilledImagesConfig,
    FineTuneConfig,
    distil_images,
    gdfq,
    noise_calibration,
    real_calibration,
    real_fine_tuning,
    zeroq,
)
from shoestring.compression.bn_statistics import BatchNormMatcher
from shoestring.compression.conversion import QuantizedModel
from shoestring.compression.generators import GDFQGenerator
from shoestring.compression.qimera import QimeraConfig, qimera
from shoestring.compression.quantizers import activation_quantizers
from shoestring.compression.runs import QuantizationRun, RunOptions, freeze
from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import ConfigError, DataError, UnsupportedModelError
from shoestring.nn import predict_logits, top1

NAMES = ("noise", "real-calibration", "zeroq", "zeroq-ft", "gdfq", "real-ft", "qimera")
NEED_IMAGES = {"real-calibration", "real-ft"}
NEED_BATCH_NORM = {"zeroq", "zeroq-ft", "gdfq", "qimera"}
ALL: dict[str, tuple[type[Any], Callable[..., QuantizationRun]]] = {
    **METHODS,
    "qimera": (QimeraConfig, qimera),
}


def config(name: str, tiny: Any) -> Any:
    """The method's config, tiny wherever it has a part that can be."""
    kind = ALL[name][0]
    own = {f.name for f in fields(kind)}
    given = {k: getattr(tiny, k) for k in ("quant", "generator", "distillation", "images") if k in own}
    return kind(**given, **({"batches": 3, "batch_size": 4} if kind is CalibrationConfig else {}))


def data() -> tuple[Tensor, Tensor]:
    return torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(9)), torch.arange(20) % 5


def run(name: str, model: nn.Module, tiny: Any, **more: Any) -> QuantizationRun:
    images, labels = data()
    given = {"image_shape": (1, 8, 8), "images": images, "labels": labels, "seed": 1, **more}
    return ALL[name][1](model, config(name, tiny), **given)


def test_the_table_has_every_baseline_with_its_config() -> None:
    assert set(METHODS) == set(NAMES) - {"qimera"}
    for kind, function in ALL.values():
        assert is_dataclass(kind)
        assert set(signature(function).parameters) == {
            "model", "config", "image_shape", "images", "labels", "seed", "options",
        }  # fmt: skip
        assert from_dict(kind, to_dict(kind())) == kind()


@pytest.mark.parametrize("name", NAMES)
def test_every_method_leaves_the_model_as_it_was(name: str, teacher: nn.Module, tiny: Any) -> None:
    teacher.train()
    state = {k: v.clone() for k, v in teacher.state_dict().items()}
    result = run(name, teacher, tiny)
    assert result.method == name
    assert isinstance(result.model, QuantizedModel)
    assert all(torch.equal(v, state[k]) for k, v in teacher.state_dict().items())
    assert all(m.training for m in teacher.modules())
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())


@pytest.mark.parametrize("name", NAMES)
def test_every_method_gives_equal_bits_for_equal_seeds(
    name: str, teacher: nn.Module, tiny: Any, everything: Any
) -> None:
    one, two, other = (everything(run(name, teacher, tiny, seed=s)) for s in (1, 1, 2))
    assert one.keys() == two.keys()
    assert all(torch.equal(v, two[k]) for k, v in one.items())
    assert not all(torch.equal(v, other[k]) for k, v in one.items())


@pytest.mark.parametrize("name", NAMES)
def test_every_method_sets_ranges_that_no_longer_move(name: str, teacher: nn.Module, tiny: Any) -> None:
    model = run(name, teacher, tiny).model
    assert all(int(q.num_batches) and not q.live for q in activation_quantizers(model).values())
    x = data()[0]
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("name", NAMES)
def test_every_method_calls_the_monitor(name: str, teacher: nn.Module, tiny: Any) -> None:
    def monitor(iteration: int, student: QuantizedModel) -> dict[str, float]:
        assert not student.training
        return {"twice": 2.0 * iteration}

    history = run(name, teacher, tiny, options=RunOptions(monitor=monitor)).history
    assert history
    assert all(row["twice"] == 2 * row["iteration"] for row in history)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_gradients_can_be_given(name: str, teacher: nn.Module, tiny: Any) -> None:
    teacher.requires_grad_(False)
    result = run(name, teacher, tiny)
    assert not any(p.requires_grad for p in teacher.parameters())
    if result.chosen_iteration:
        first = dict(teacher.named_parameters())
        moved = [not torch.equal(v, first[k]) for k, v in _parameters(result).items()]
        assert all(moved)


def _parameters(result: QuantizationRun) -> dict[str, Tensor]:
    names = {n for n, _ in result.model.named_parameters()}
    return {k.removeprefix("graph_module."): v for k, v in result.last.items() if k in names}


@pytest.mark.parametrize("name", sorted(NEED_IMAGES))
def test_methods_on_real_data_ask_for_images(name: str, teacher: nn.Module, tiny: Any) -> None:
    for images in (None, torch.zeros(0, 1, 8, 8)):
        with pytest.raises(DataError, match=rf"'{name}' needs real images.*--images"):
            run(name, teacher, tiny, images=images, labels=None)


@pytest.mark.parametrize("name", sorted(set(NAMES) - NEED_IMAGES))
def test_the_other_methods_never_look_at_data(
    name: str, teacher: nn.Module, tiny: Any, everything: Any
) -> None:
    with_data = everything(run(name, teacher, tiny))
    without = everything(run(name, teacher, tiny, images=None, labels=None))
    assert all(torch.equal(v, without[k]) for k, v in with_data.items())


@pytest.mark.parametrize("name", sorted(NEED_BATCH_NORM))
def test_methods_that_need_statistics_refuse_a_model_without(name: str, tiny: Any) -> None:
    folded = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))
    with pytest.raises(UnsupportedModelError, match="real-calibration"):
        run(name, folded, tiny)
    silent = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(72, 5)
    )
    with pytest.raises(UnsupportedModelError, match="track_running_stats"):
        run(name, silent, tiny)


@pytest.mark.parametrize("name", sorted(set(NAMES) - NEED_BATCH_NORM))
def test_the_others_take_a_model_without_batch_norm(name: str, tiny: Any) -> None:
    folded = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))
    assert run(name, folded, tiny).model(data()[0]).shape == (20, 5)


@pytest.mark.parametrize("name", ["noise", "zeroq", "gdfq", "qimera"])
def test_images_of_another_shape_are_refused(name: str, teacher: nn.Module, tiny: Any) -> None:
    with pytest.raises((DataError, RuntimeError)):
        run(name, teacher, tiny, image_shape=(3, 8, 8))


@pytest.mark.parametrize("labels", [torch.full((20,), 5), torch.full((20,), -1)])
def test_labels_out_of_range_are_refused(labels: Tensor, teacher: nn.Module, tiny: Any) -> None:
    with pytest.raises(DataError, match="the model has 5 classes"):
        run("real-ft", teacher, tiny, labels=labels)


def test_calibration_moves_no_weight(teacher: nn.Module, tiny: Any) -> None:
    first = dict(teacher.named_parameters())
    for function in (noise_calibration, real_calibration):
        result = function(teacher, config("noise", tiny), image_shape=(1, 8, 8), images=data()[0])
        assert all(torch.equal(v, first[k]) for k, v in _parameters(result).items())


def test_gdfq_returns_its_generator_and_zeroq_its_images(teacher: nn.Module, tiny: Any) -> None:
    generator = run("gdfq", teacher, tiny).generator
    assert isinstance(generator, GDFQGenerator)
    assert not generator.training
    for name in ("zeroq", "zeroq-ft"):
        images = run(name, teacher, tiny).images
        assert images is not None
        assert images.shape == (8, 1, 8, 8)
        assert not images.requires_grad


def test_distilled_images_match_the_statistics_ten_times_better_than_noise(trained: Any) -> None:
    teacher = freeze(trained.model)
    made = distil_images(teacher, DistilledImagesConfig(count=32, batch_size=32, iterations=80), (1, 8, 8), 0)
    noise = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with BatchNormMatcher(teacher) as matcher, torch.no_grad():
        assert 10 * matcher(made)[1] < matcher(noise)[1]


def test_distilled_batches_have_streams_of_their_own_and_the_count_is_kept(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    small = DistilledImagesConfig(count=4, batch_size=4, iterations=2)
    more = replace(small, count=10)
    shares: list[float] = []
    one = distil_images(frozen, small, (1, 8, 8), 3)
    two = distil_images(frozen, more, (1, 8, 8), 3, lambda share, _: shares.append(share))
    assert two.shape == (10, 1, 8, 8)
    assert torch.equal(two[:4], one)
    assert not torch.equal(two[4:8], one)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])


def test_real_data_beat_noise_at_two_bits_and_training_beats_calibration(trained: Any) -> None:
    """The order that every paper of the field starts from, on a few seconds of training."""
    quant = from_dict(CalibrationConfig, {"quant": {"w_bits": 2, "a_bits": 2}}).quant
    shape = (1, 8, 8)

    def accuracy(result: QuantizationRun) -> float:
        return top1(predict_logits(result.model, trained.test_images), trained.test_labels)

    few = CalibrationConfig(quant=quant, batches=20)
    noise = accuracy(noise_calibration(trained.model, few, image_shape=shape))
    real = accuracy(real_calibration(trained.model, few, image_shape=shape, images=trained.images))
    budget = {"iterations": 130, "warmup_iterations": 10, "batch_size": 32, "lr": 0.01, "check_every": 65}
    tuned = real_fine_tuning(
        trained.model,
        from_dict(FineTuneConfig, {"quant": {"w_bits": 2, "a_bits": 2}, "distillation": budget}),
        image_shape=shape,
        images=trained.images,
        labels=trained.labels,
    )
    assert accuracy(tuned) > max(real, noise) + 3


@pytest.mark.parametrize(
    ("kind", "change", "word"),
    [
        (CalibrationConfig, {"batches": 0}, "batches=0"),
        (CalibrationConfig, {"batch_size": 0}, "batch_size=0"),
        (DistilledImagesConfig, {"batch_size": 1}, "at least 2"),
        (DistilledImagesConfig, {"count": 3, "batch_size": 4}, "count=3"),
        (DistilledImagesConfig, {"iterations": 0}, "iterations=0"),
        (DistilledImagesConfig, {"lr": 0.0}, "lr=0.0"),
    ],
)
def test_wrong_options_are_refused_by_name_and_value(
    kind: type[Any], change: dict[str, Any], word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        kind(**change)


def test_an_unsupported_layer_is_found_before_images_are_distilled(tiny: Any) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.SiLU(), nn.Flatten(), nn.Linear(72, 5))
    for function in (zeroq, gdfq):
        name = "zeroq" if function is zeroq else "gdfq"
        with pytest.raises(UnsupportedModelError, match="SiLU"):
            run(name, model, tiny, options=RunOptions(report_progress=lambda *_: pytest.fail("worked")))
