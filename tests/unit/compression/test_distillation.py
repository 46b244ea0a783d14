"""The distillation loop: warm-up, schedule, choice, seeds."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shoestring.compression.conversion import QuantizedModel, quantize_model
from shoestring.compression.distillation import DistillationConfig, RunOptions, distil, distillation_loss
from shoestring.compression.losses import distillation_kl, soft_cross_entropy
from shoestring.compression.quantizers import activation_quantizers
from shoestring.compression.runs import freeze
from shoestring.compression.sources import Batch, FixedImages
from shoestring.core.errors import ConfigError, DataError
from shoestring.core.recorder import MemoryRecorder

States = dict[int, dict[str, Tensor]]


class Recorded(FixedImages):
    """A fixed set that keeps count of batches and of learning-rate factors."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__(teacher, torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
        self.factors: list[float] = []

    def scale_lr(self, factor: float) -> None:
        self.factors.append(factor)


def run(
    teacher: nn.Module, tiny: Any, seed: int = 0, options: RunOptions | None = None, **change: Any
) -> Any:
    frozen = freeze(teacher)
    student = quantize_model(teacher, tiny.quant).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    source = Recorded(frozen)
    config = replace(tiny.distillation, **change)
    done = distil(student, frozen, source, config, seed=seed, options=options or RunOptions())
    return student, done, source


def keep(states: States) -> RunOptions:
    def monitor(iteration: int, student: QuantizedModel) -> dict[str, float]:
        states[iteration] = {k: v.clone() for k, v in student.state_dict().items()}
        return {}

    return RunOptions(monitor=monitor)


def ranges(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if "activation_" in k}


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if "activation_" not in k}


def equal(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(v, two[k]) for k, v in one.items())


def test_the_warm_up_moves_ranges_alone_and_training_moves_all_but_ranges(
    teacher: nn.Module, tiny: Any
) -> None:
    states: States = {}
    student, done, _ = run(teacher, tiny, options=keep(states))
    first = quantize_model(teacher, tiny.quant).state_dict()
    assert equal(weights(states[4]), weights(first))
    assert not equal(ranges(states[4]), ranges(first))
    assert all(int(v) == 4 for k, v in states[4].items() if k.endswith("num_batches") and "activation" in k)
    assert equal(ranges(states[12]), ranges(states[4]))
    trained = {k for k, _ in student.named_parameters()}
    moved = {k for k, v in states[12].items() if not torch.equal(v, states[4][k])}
    assert moved == trained
    assert equal(done.last, states[12])
    assert not any(q.live for q in activation_quantizers(student).values())


def test_checks_come_at_the_end_of_the_warm_up_every_so_often_and_at_the_end(
    teacher: nn.Module, tiny: Any
) -> None:
    _, done, _ = run(teacher, tiny, iterations=15, check_every=5)
    assert [row["iteration"] for row in done.history] == [4, 5, 10, 15]
    assert "student_loss" in done.history[-1]
    assert "student_loss" not in done.history[0]


def test_both_learning_rates_fall_at_the_milestones() -> None:
    config = DistillationConfig(iterations=100, warmup_iterations=1, milestones=(0.25, 0.5), lr_decay=0.1)
    factors = [config.lr_factor(i) for i in (0, 24, 25, 49, 50, 99)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_source_hears_the_factor_every_iteration(teacher: nn.Module, tiny: Any) -> None:
    _, _, source = run(teacher, tiny, milestones=(0.5,))
    assert source.factors == pytest.approx([1.0] * 6 + [0.1] * 6)


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(teacher: nn.Module, tiny: Any) -> None:
    one, two, other = (run(teacher, tiny, seed)[1] for seed in (3, 3, 4))
    assert equal(one.last, two.last)
    assert one.history == two.history
    assert not equal(one.last, other.last)


def test_the_state_kept_is_the_one_of_the_lowest_held_out_kl(teacher: nn.Module, tiny: Any) -> None:
    states: States = {}
    student, done, _ = run(teacher, tiny, options=keep(states), lr=0.5, check_every=1)
    kl = {int(row["iteration"]): row["held_out_kl"] for row in done.history}
    best = min(kl, key=lambda i: (kl[i], i))
    assert done.chosen_iteration == best
    assert equal(student.state_dict(), states[best])
    assert len(set(kl.values())) > 3


def test_the_held_out_kl_is_that_of_teacher_and_student_at_temperature_one(
    teacher: nn.Module, tiny: Any
) -> None:
    student, done, source = run(teacher, tiny, iterations=5, check_every=5, held_out=24)
    frozen = freeze(teacher)
    student.load_state_dict(done.last)
    kl = distillation_kl(student(source.images), frozen(source.images), 1.0).item()
    assert done.history[-1]["held_out_kl"] == pytest.approx(kl, rel=1e-4)


def test_a_monitor_that_lies_changes_nothing(teacher: nn.Module, tiny: Any) -> None:
    def liar(iteration: int, student: QuantizedModel) -> dict[str, float]:
        del student
        return {"top1": 100.0 - iteration, "accuracy": float(iteration)}

    student, done, _ = run(teacher, tiny, options=RunOptions(monitor=liar))
    plain_student, plain, _ = run(teacher, tiny)
    assert equal(student.state_dict(), plain_student.state_dict())
    assert equal(done.last, plain.last)
    assert done.chosen_iteration == plain.chosen_iteration
    assert [row["top1"] for row in done.history] == [96, 92, 88]


def test_patience_stops_after_checks_without_a_better_one(teacher: nn.Module, tiny: Any) -> None:
    _, done, _ = run(teacher, tiny, iterations=400, check_every=1, patience=2, lr=30.0, held_out=4)
    kl = [row["held_out_kl"] for row in done.history]
    assert len(kl) < 397
    assert min(kl) == kl[-3]
    assert done.chosen_iteration == done.history[-3]["iteration"]


def test_recorder_and_progress_hear_every_check(teacher: nn.Module, tiny: Any) -> None:
    recorder, heard = MemoryRecorder(), list[float]()
    options = RunOptions(recorder=recorder, report_progress=lambda share, _: heard.append(share))
    _, done, _ = run(teacher, tiny, options=options)
    assert [row["step"] for row in recorder.rows] == [4, 8, 12]
    assert [row["held_out_kl"] for row in recorder.rows] == [row["held_out_kl"] for row in done.history]
    assert heard == pytest.approx([4 / 12, 8 / 12, 1])


def test_a_loss_that_is_not_finite_names_iteration_and_rate(teacher: nn.Module, tiny: Any) -> None:
    frozen = freeze(teacher)
    student = quantize_model(teacher, tiny.quant)

    def broken(batch: Batch, student_BC: Tensor) -> Tensor:
        del batch
        return student_BC.sum() * float("nan")

    with pytest.raises(DataError, match=r"loss is nan at iteration 4; lower distillation\.lr=0\.001"):
        distil(student, frozen, Recorded(frozen), tiny.distillation, seed=0, loss=broken)


def test_outputs_that_are_not_finite_are_named_at_the_check(teacher: nn.Module, tiny: Any) -> None:
    frozen = freeze(teacher)
    broken = freeze(teacher)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("inf"))
    with pytest.raises(DataError, match="not finite at iteration 4"):
        distil(quantize_model(teacher, tiny.quant), broken, Recorded(frozen), tiny.distillation, seed=0)


@pytest.mark.parametrize(("ce", "kd"), [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.5, 2.0)])
def test_the_loss_is_the_weighted_sum_of_its_terms(ce: float, kd: float) -> None:
    rng = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 3, generator=rng) for _ in range(2))
    target = torch.softmax(torch.randn(4, 3, generator=rng), 1)
    batch = Batch(torch.zeros(4, 1, 8, 8), target, teacher)
    config = DistillationConfig(ce_weight=ce, kd_weight=kd, temperature=7.0)
    by_hand = ce * soft_cross_entropy(student, target) + kd * distillation_kl(student, teacher, 7.0)
    torch.testing.assert_close(distillation_loss(config)(batch, student), by_hand)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"warmup_iterations": 0}, "warmup_iterations=0"),
        ({"warmup_iterations": 2000}, "below iterations=2000"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"kd_weight": 0.0, "ce_weight": 0.0}, "give one above 0"),
        ({"kd_weight": -1.0}, "kd_weight=-1.0"),
        ({"check_every": 0}, "check_every=0"),
        ({"held_out": 1}, "held_out=1"),
        ({"patience": -1}, "patience=-1"),
        ({"milestones": (0.5, 0.2)}, "milestones"),
        ({"milestones": (0.0,)}, "milestones"),
    ],
)
def test_wrong_options_are_refused_by_name_and_value(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        DistillationConfig(**change)


def test_the_teacher_is_never_trained(make_teacher: Callable[..., nn.Module], tiny: Any) -> None:
    frozen = freeze(make_teacher())
    before = {k: v.clone() for k, v in frozen.state_dict().items()}
    student = quantize_model(make_teacher(), tiny.quant)
    distil(student, frozen, Recorded(frozen), tiny.distillation, seed=0)
    assert equal(frozen.state_dict(), before)
