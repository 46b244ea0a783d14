"""What the methods share around the loop."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from shoestring.compression.conversion import QuantConfig, quantize_model
from shoestring.compression.quantizers import activation_quantizers, observing
from shoestring.compression.runs import calibrate, freeze, num_classes
from shoestring.core.errors import DataError, UnsupportedModelError


def test_a_frozen_teacher_is_a_copy_without_gradients(teacher: nn.Module) -> None:
    teacher.train()
    frozen = freeze(teacher)
    assert not frozen.training
    assert not any(p.requires_grad for p in frozen.parameters())
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(frozen(x), teacher.eval()(x), rtol=1e-4, atol=1e-5)


class Viewed(nn.Module):
    """Ends as many hand-written classifiers do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        return self.last(x.view(x.size(0), -1))  # type: ignore[no-any-return]  # torch's stub


def test_a_model_that_views_its_images_takes_them_in_any_layout() -> None:
    model = Viewed().eval()
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    last = x.contiguous(memory_format=torch.channels_last)
    frozen, student = freeze(model), quantize_model(model, QuantConfig(w_bits=8, a_bits=8))
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    torch.testing.assert_close(frozen(last), model(x), rtol=1e-4, atol=1e-5)
    with observing(student):
        assert student(last).shape == (5, 3)
    assert set(frozen.state_dict()) == set(model.state_dict())


def test_a_model_that_is_not_covered_is_refused_before_any_work() -> None:
    with pytest.raises(UnsupportedModelError, match="SiLU"):
        freeze(nn.Sequential(nn.Conv2d(1, 1, 1), nn.SiLU()))


def test_the_number_of_classes_is_counted(make_teacher: Callable[..., nn.Module]) -> None:
    assert num_classes(freeze(make_teacher(num_classes=7)), (1, 8, 8)) == 7


def test_images_of_another_shape_are_refused_with_the_shape(teacher: nn.Module) -> None:
    with pytest.raises(DataError, match=r"\(3, 8, 8\).*channels x height x width"):
        num_classes(freeze(teacher), (3, 8, 8))


def test_a_model_that_gives_no_logits_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(2, 1, 8, 8\); expected logits"):
        num_classes(nn.Sequential(nn.Conv2d(1, 1, 1)), (1, 8, 8))

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(DataError, match="returned tuple"):
        num_classes(Pair(), (1, 8, 8))


def test_calibration_sets_every_range_and_freezes_it(teacher: nn.Module) -> None:
    rng = torch.Generator().manual_seed(0)
    student = calibrate(teacher, QuantConfig(), (torch.randn(4, 1, 8, 8, generator=rng) for _ in range(3)))
    quantizers = activation_quantizers(student).values()
    assert {int(q.num_batches) for q in quantizers} == {3}
    assert not any(q.live for q in quantizers)


def test_calibration_without_a_batch_says_so(teacher: nn.Module) -> None:
    with pytest.raises(DataError, match="no batch"):
        calibrate(teacher, QuantConfig(), [])
