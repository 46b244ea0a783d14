import pytest
import torch
from torch import nn

from shoestring.finance.maps import NetworkConfig
from shoestring.finance.maps._network import AgentNetwork, GroupedLinear, HeadLinear


def states(batch: int = 33, window: int = 6) -> torch.Tensor:
    return torch.randn(batch, window, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_every_agent_has_three_values_a_state(shared: bool, norm: bool) -> None:
    network = AgentNetwork(5, 6, NetworkConfig(shared_encoder=shared, batch_norm=norm), seed=0)
    assert network(states()).shape == (5, 3, 33)
    assert any(isinstance(m, nn.BatchNorm1d) for m in network.modules()) is norm


def test_grouped_layers_equal_separate_ones() -> None:
    layer = GroupedLinear(4, 5, 3, seed=0, name="x")
    x = torch.randn(9, 20, generator=torch.Generator().manual_seed(0))
    parts = [x[:, 5 * g : 5 * g + 5] @ layer.weight[g].t() + layer.bias[g] for g in range(4)]
    torch.testing.assert_close(layer(x), torch.cat(parts, 1))
    common = [x[:, :5] @ layer.weight[g].t() + layer.bias[g] for g in range(4)]
    torch.testing.assert_close(layer(x[:, :5]), torch.cat(common, 1))
    head = HeadLinear(4, 5, 3, seed=0, name="x")
    last = x.view(9, 4, 5).permute(1, 2, 0)
    torch.testing.assert_close(head(last).permute(2, 0, 1).flatten(1), layer(x))


def test_heads_start_differently_and_do_not_depend_on_how_many_there_are() -> None:
    few, many = (AgentNetwork(n, 6, NetworkConfig(), seed=0).eval() for n in (2, 4))
    torch.testing.assert_close(few(states()), many(states())[:2])
    q = many(states())
    assert all((q[i] - q[j]).abs().max() > 0.01 for i in range(4) for j in range(i))


def test_a_shared_encoder_is_there_once_whatever_the_number_of_agents() -> None:
    sizes = [
        sum(p.numel() for p in AgentNetwork(n, 6, NetworkConfig(), seed=0).parameters()) for n in (1, 2, 9)
    ]
    head = 32 * 16 + 16 + 16 * 3 + 3
    assert sizes[1] - sizes[0] == head
    assert sizes[2] - sizes[0] == 8 * head


@pytest.mark.parametrize("shared", [True, False])
def test_a_loss_of_one_agent_moves_only_what_is_its_own(shared: bool) -> None:
    network = AgentNetwork(3, 6, NetworkConfig(shared_encoder=shared), seed=0).train()
    torch.autograd.backward(network(states())[1].square().sum())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        groups = 1 if shared and name.startswith("encoder") else 3
        moved = [bool(part.abs().max() > 0) for part in parameter.grad.flatten().chunk(groups)]
        assert moved == ([True] if groups == 1 else [False, True, False]), name


def test_in_evaluation_a_state_does_not_depend_on_the_others() -> None:
    network = AgentNetwork(3, 6, NetworkConfig(), seed=0)
    for _ in range(3):
        network.train()(states())
    network.eval()
    torch.testing.assert_close(network(states())[:, :, :4], network(states()[:4]))


def test_a_network_without_a_seed_is_zero_until_it_is_loaded() -> None:
    empty, full = (AgentNetwork(2, 6, NetworkConfig(), seed=s).eval() for s in (None, 4))
    assert empty(states()).abs().max() == 0
    empty.load_state_dict(full.state_dict())
    assert torch.equal(empty(states()), full(states()))
