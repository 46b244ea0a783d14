"""Logits and accuracy."""

import pytest
import torch
from torch import nn

from shoestring.core.errors import ConfigError, DataError
from shoestring.nn import TrainingConfig, cifar_resnet, fit_classifier, predict_logits, top1


def images(num: int = 7) -> torch.Tensor:
    return torch.randn(num, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 500])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    model = cifar_resnet(8, channels=1)
    whole = predict_logits(model, images())
    assert whole.shape == (7, 10)
    # Kernels may be chosen by batch size, so sums of float32 may differ in order.
    torch.testing.assert_close(predict_logits(model, images(), batch_size), whole, rtol=1e-4, atol=1e-5)


class Viewed(nn.Module):
    """Ends as many hand-written classifiers do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).relu()
        return self.last(x.view(x.size(0), -1))  # type: ignore[no-any-return]  # torch's stub


def test_a_model_that_views_its_images_is_predicted_and_trained() -> None:
    model = Viewed()
    expected = model(images())
    torch.testing.assert_close(predict_logits(model, images()), expected, rtol=1e-4, atol=1e-5)
    config = TrainingConfig(epochs=1, batch_size=7, augment=False, flip=False)
    fit_classifier(model, images(), torch.arange(7), config, seed=0)
    assert not torch.equal(predict_logits(model, images()), expected)


def test_every_module_keeps_its_own_mode() -> None:
    model = cifar_resnet(8, channels=1).train()
    model.bn.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predict_logits(model, images())
    assert model.training
    assert not model.bn.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modes_come_back_after_an_error() -> None:
    model = cifar_resnet(8, channels=1).train()
    with pytest.raises(RuntimeError):
        predict_logits(model, torch.zeros(2, 3, 8, 8))
    assert all(m.training for m in model.modules())


def test_the_logits_can_be_used_in_a_gradient() -> None:
    logits = predict_logits(cifar_resnet(8, channels=1), images())
    weight = torch.ones(10, requires_grad=True)
    (logits * weight).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert weight.grad is not None
    assert not logits.is_inference()


@pytest.mark.parametrize(
    "wrong", [torch.zeros(0, 1, 8, 8), torch.zeros(2, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)]
)
def test_images_that_do_not_fit_are_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(DataError, match="give non-empty float32"):
        predict_logits(nn.Identity(), wrong)


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size=0"):
        predict_logits(nn.Identity(), images(), 0)


def test_top1_is_a_percentage() -> None:
    logits = torch.eye(4)
    assert top1(logits, torch.tensor([0, 1, 2, 3])) == 100.0
    assert top1(logits, torch.tensor([0, 1, 2, 0])) == 75.0
    assert top1(logits, torch.tensor([1, 2, 3, 0])) == 0.0


@pytest.mark.parametrize(("rows", "labels"), [(3, 2), (0, 0)])
def test_top1_refuses_lengths_that_differ(rows: int, labels: int) -> None:
    with pytest.raises(DataError, match="do not fit"):
        top1(torch.zeros(rows, 4), torch.zeros(labels, dtype=torch.int64))
