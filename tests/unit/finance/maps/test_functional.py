import numpy as np
import pytest
import torch
from torch import Tensor

from shoestring.core.errors import ConfigError
from shoestring.finance.maps.functional import (
    combine_agents,
    confidence,
    correlation_matrix,
    diversity_loss,
    greedy_action,
    local_loss,
    neutral_weights,
    positions_of_rule,
    rewards,
    system_gross,
    td_targets,
    top_bottom,
    total_loss,
    zscore,
)

FORMS = {"corr": lambda c: c, "corr2": lambda c: c**2, "relu": lambda c: np.maximum(c, 0)}


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_window_is_normalised_by_its_own_statistics() -> None:
    window = some(5, 20).exp()
    expected = (window - window.mean(1, keepdim=True)) / window.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(zscore(window), expected)


def test_a_window_of_equal_prices_has_no_shape_and_no_nan() -> None:
    assert zscore(torch.full((2, 20), 13.7)).abs().max() == 0


def test_a_window_does_not_depend_on_the_level_of_prices() -> None:
    window = some(3, 20).exp()
    torch.testing.assert_close(zscore(window * 1000), zscore(window))


def test_rewards_are_positions_times_returns_in_percent() -> None:
    action = torch.tensor([[0, 1, 2], [2, 2, 0]])
    earned = rewards(action, torch.tensor([2.0, 3.0, -1.0]))
    assert earned.tolist() == [[2.0, 0.0, 1.0], [-2.0, -3.0, -1.0]]


def test_a_change_of_position_costs_its_size() -> None:
    action, before = torch.tensor([[0, 0, 1]]), torch.tensor([[0, 2, 2]])
    paid = rewards(action, torch.zeros(3), before, 0.05)
    torch.testing.assert_close(paid, -torch.tensor([[0.0, 0.1, 0.05]]))


def test_the_greedy_action_is_the_argmax() -> None:
    q = some(4, 3, 50)
    assert torch.equal(greedy_action(q), q.argmax(1))
    assert greedy_action(torch.zeros(1, 3, 2)).tolist() == [[0, 0]]
    assert greedy_action(torch.tensor([[[0.0], [1.0], [1.0]]])).tolist() == [[1]]


def test_targets_take_the_best_next_value_and_never_end() -> None:
    next_q = torch.tensor([[[1.0, 0.0], [3.0, -1.0], [2.0, -2.0]]])
    assert td_targets(torch.tensor([[1.0, 1.0]]), next_q, 0.5).tolist() == [[2.5, 1.0]]
    every = td_targets(torch.ones(1, 3, 2), next_q, 0.5)
    assert every.tolist() == [[[2.5, 1.0]] * 3]


def test_the_local_loss_is_the_mean_square_of_the_chosen_action_only() -> None:
    q, target = some(2, 3, 6), some(2, 6, seed=1)
    action = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 2, 2, 0, 0, 0]])
    rows, columns = torch.arange(2).unsqueeze(1), torch.arange(6)
    expected = (target - q[rows, action, columns]).pow(2).mean(1)
    torch.testing.assert_close(local_loss(q, action, target), expected)


def test_the_target_of_the_local_loss_is_a_constant() -> None:
    target = some(2, 6).requires_grad_()
    q = some(2, 3, 6, seed=1).requires_grad_()
    torch.autograd.backward(local_loss(q, torch.zeros(2, 6, dtype=torch.int64), target).sum())
    assert target.grad is None
    assert q.grad is not None
    assert q.grad[:, 1:].abs().max() == 0


def test_confidence_is_the_probability_of_long_less_that_of_short() -> None:
    q = some(4, 3, 9)
    weight = q.exp() / q.exp().sum(1, keepdim=True)
    torch.testing.assert_close(confidence(q), weight[:, 0] - weight[:, 2])


@pytest.mark.parametrize(("num_agents", "batch"), [(2, 3), (8, 64), (16, 500)])
def test_correlations_equal_numpy(num_agents: int, batch: int) -> None:
    value = some(num_agents, batch)
    np.testing.assert_allclose(correlation_matrix(value), np.corrcoef(value), atol=1e-12)


@pytest.mark.parametrize("form", list(FORMS))
def test_the_global_loss_is_the_mean_over_the_other_agents(form: str) -> None:
    value = some(5, 40)
    corr = FORMS[form](np.corrcoef(value))
    expected = [np.mean(np.delete(corr[i], i)) for i in range(5)]
    np.testing.assert_allclose(diversity_loss(value, form), expected, atol=1e-12)  # type: ignore[arg-type]  # of the table


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="'corr', 'corr2', 'relu'"):
        diversity_loss(some(2, 4), "cosine")  # type: ignore[arg-type]  # on purpose


def gradient(value: Tensor, form: str, detach: bool) -> Tensor:
    leaf = value.clone().requires_grad_()
    torch.autograd.backward(diversity_loss(leaf, form, detach=detach).sum())  # type: ignore[arg-type]  # of the table
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("form", list(FORMS))
def test_without_detaching_the_gradient_is_twice_as_large(form: str) -> None:
    value = some(4, 30)
    torch.testing.assert_close(gradient(value, form, False), 2 * gradient(value, form, True))


def test_with_detaching_an_agent_is_moved_by_its_own_loss_only() -> None:
    value = some(3, 30)
    leaf = value.clone().requires_grad_()
    torch.autograd.backward(diversity_loss(leaf, "corr")[0])
    assert leaf.grad is not None
    assert leaf.grad[0].abs().max() > 0
    assert leaf.grad[1:].abs().max() == 0


@pytest.mark.parametrize("form", list(FORMS))
def test_the_detached_gradient_equals_finite_differences_with_the_others_fixed(form: str) -> None:
    value = some(3, 12)
    analytic, step = gradient(value, form, True), 1e-6
    for agent, place in ((0, 0), (1, 5), (2, 11)):
        loss = []
        for sign in (1, -1):
            moved = value.clone()
            moved[agent, place] += sign * step
            loss.append(float(diversity_loss(moved, form)[agent]))  # type: ignore[arg-type]  # of the table
        assert (loss[0] - loss[1]) / (2 * step) == pytest.approx(float(analytic[agent, place]), abs=1e-7)


def test_a_dead_agent_has_no_correlation_no_gradient_and_no_nan() -> None:
    value = some(3, 30).float()
    value[1] = 0.25
    leaf = value.clone().requires_grad_()
    loss = diversity_loss(leaf)
    torch.autograd.backward(loss.sum())
    assert leaf.grad is not None
    assert loss[1] == 0
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad[1].abs().max() == 0
    assert leaf.grad[0].abs().max() > 0


def test_all_agents_dead_give_zero() -> None:
    leaf = torch.full((4, 10), 0.1).requires_grad_()
    loss = diversity_loss(leaf).sum()
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0
    assert leaf.grad is not None
    assert leaf.grad.abs().max() == 0


def test_the_total_weighs_both_losses_and_is_the_local_one_alone_without_a_global_one() -> None:
    local, other = torch.tensor([2.0, 4.0]), torch.tensor([0.5, 1.0])
    assert float(total_loss(local, other, 0.25)) == pytest.approx(0.75 * 6 + 0.25 * 1.5)
    assert float(total_loss(local, None, 0.25)) == 6


def test_the_rule_action_takes_the_position_of_the_greedy_action() -> None:
    q = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    assert positions_of_rule(q, "action").tolist() == [[1.0, 0.0, -1.0]]
    torch.testing.assert_close(positions_of_rule(q, "confidence"), confidence(q))


def test_weights_are_neutral_and_leave_out_nan() -> None:
    weight = neutral_weights(torch.tensor([[1.0, torch.nan, 3.0, 8.0]], dtype=torch.float64))
    assert weight[0, 1] == 0
    np.testing.assert_allclose(weight[0], [-3 / 8, 0, -1 / 8, 4 / 8])


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -7.3, 1e-9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_values_give_no_position(value: float, dtype: torch.dtype) -> None:
    weight = neutral_weights(torch.full((3, 7), value, dtype=dtype))
    assert weight.abs().max() == 0


def test_one_company_has_no_neutral_position() -> None:
    assert neutral_weights(torch.tensor([[0.3]])).tolist() == [[0.0]]
    assert neutral_weights(torch.tensor([[0.3]]), neutral=False).tolist() == [[1.0]]


def test_no_company_at_all_is_no_position() -> None:
    assert neutral_weights(torch.full((2, 4), torch.nan)).abs().max() == 0


def test_the_best_and_worst_fifths_are_picked() -> None:
    value = torch.tensor([[5.0, 1.0, 9.0, 3.0, 2.0, 8.0, 4.0, 7.0, 6.0, 0.0, torch.nan]])
    picked = top_bottom(value, 0.2)
    assert picked[0, :10].tolist() == [0, -1, 1, 0, 0, 1, 0, 0, 0, -1]
    assert picked[0, 10].isnan()


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_at_least_one_company_is_picked_on_each_side_and_never_both(share: float) -> None:
    picked = top_bottom(torch.tensor([[1.0, 2.0, 3.0]]), share)
    assert picked.tolist() == [[-1.0, 0.0, 1.0]]
    assert top_bottom(torch.tensor([[1.0]]), share).tolist() == [[0.0]]


def test_a_ranking_of_equal_values_picks_nothing() -> None:
    assert top_bottom(torch.ones(2, 6), 0.3).abs().max() == 0


def test_the_system_is_the_sum_of_portfolios_and_not_of_q_values() -> None:
    agents = torch.tensor([[[0.5, -0.5, 0.0]], [[0.0, 0.5, -0.5]]])
    torch.testing.assert_close(combine_agents(agents, 0.01), torch.tensor([[0.5, 0.0, -0.5]]))
    torch.testing.assert_close(system_gross(agents), torch.tensor([0.5]))


def test_two_opposite_agents_stay_flat() -> None:
    one = neutral_weights(some(1, 5, 9))
    assert combine_agents(torch.cat([one, -one]), 0.01).abs().max() == 0


def test_what_is_left_of_nearly_opposite_agents_is_not_blown_up() -> None:
    one = neutral_weights(some(1, 5, 9))
    nearly = neutral_weights(one + 1e-4 * some(1, 5, 9, seed=1))
    assert combine_agents(torch.cat([one, -nearly]), 0.01).abs().max() == 0
    grown = combine_agents(torch.cat([one, -nearly]), 0.0)
    torch.testing.assert_close(grown.abs().sum(-1), torch.ones(5, dtype=torch.float64))
