"""Losses inside dates against NumPy."""

import numpy as np
import pytest
import torch

from shoestring.finance.etf_nn.functional import (
    HUBER_DELTA,
    date_correlation,
    pairwise_logistic_loss,
    rank_ic_loss,
    row_losses,
    segment_mean,
)

SEGMENT = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2])


def draw() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 12)), rng.normal(size=12)


def test_segment_means_equal_numpy() -> None:
    score, _ = draw()
    got = segment_mean(torch.from_numpy(score), torch.from_numpy(SEGMENT), 3).numpy()
    want = np.stack([score[:, np.flatnonzero(s == SEGMENT)].mean(axis=1) for s in range(3)], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_the_loss_is_one_minus_numpys_correlation_of_each_date() -> None:
    score, target = draw()
    segment = torch.from_numpy(SEGMENT)
    each = date_correlation(torch.from_numpy(score), torch.from_numpy(target), segment, 3).numpy()
    want = [
        [np.corrcoef(score[k, s == SEGMENT], target[s == SEGMENT])[0, 1] for s in range(3)] for k in range(3)
    ]
    np.testing.assert_allclose(each, want, rtol=1e-12)
    loss = rank_ic_loss(torch.from_numpy(score), torch.from_numpy(target), segment, 3).numpy()
    np.testing.assert_allclose(loss, 1 - np.mean(want, axis=1), rtol=1e-12)


def test_the_correlation_loss_has_the_gradient_of_finite_differences() -> None:
    score, target = (torch.from_numpy(a) for a in draw())
    segment = torch.from_numpy(SEGMENT)
    assert torch.autograd.gradcheck(
        lambda s: rank_ic_loss(s, target, segment, 3), (score.requires_grad_(),), atol=1e-6
    )


def test_a_constant_score_has_no_correlation_and_no_infinite_gradient() -> None:
    score = torch.zeros(1, 12, dtype=torch.float64, requires_grad=True)
    _, target = draw()
    loss = rank_ic_loss(score, torch.from_numpy(target), torch.from_numpy(SEGMENT), 3)
    loss.sum().backward()  # type: ignore[no-untyped-call]  # torch ships no type for it
    assert loss.item() == 1.0
    assert score.grad is not None
    assert torch.isfinite(score.grad).all()


def test_pairs_of_a_date_by_hand() -> None:
    score = torch.tensor([[1.0, 3.0, 2.0]])
    target = torch.tensor([0.0, 1.0, 1.0])
    partner = torch.tensor([1, 2, 0])
    got = pairwise_logistic_loss(score, target, partner).item()
    want = (np.log1p(np.exp(1.0 - 3.0)) + np.log1p(np.exp(-(2.0 - 1.0)))) / 2  # the tied pair does not count
    assert got == pytest.approx(want, rel=1e-6)


def test_row_losses_by_hand() -> None:
    score, target = torch.tensor([[0.0, 1.0]]), torch.tensor([0.1, 0.0])
    huber = (0.5 * 0.1**2 + HUBER_DELTA * (1 - 0.5 * HUBER_DELTA)) / 2
    assert row_losses(score, target, "huber").item() == pytest.approx(huber, rel=1e-6)
    assert row_losses(score, target, "mse").item() == pytest.approx((0.01 + 1.0) / 2, rel=1e-6)
    logistic = (np.log(2) - 0.1 * 0.0 + np.log1p(np.e)) / 2
    assert row_losses(score, target, "logistic").item() == pytest.approx(logistic, rel=1e-6)
