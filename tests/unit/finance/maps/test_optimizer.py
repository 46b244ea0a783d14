import copy

import torch
from torch import Tensor, nn

from shoestring.finance.maps._optimizer import FlatAdam


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))


def states(seed: int) -> Tensor:
    return torch.randn(16, 5, generator=torch.Generator().manual_seed(seed))


def test_it_equals_adam_on_every_parameter_alone() -> None:
    flat, separate = network(), network()
    ours = FlatAdam(flat, 1e-2)
    theirs = torch.optim.Adam(separate.parameters(), lr=1e-2, fused=True)
    for seed in range(20):
        ours.zero_grad()
        theirs.zero_grad()
        torch.autograd.backward(flat(states(seed)).square().sum())
        torch.autograd.backward(separate(states(seed)).square().sum())
        ours.step()
        theirs.step()
    for a, b in zip(flat.parameters(), separate.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_it_goes_on_from_its_state_to_the_bit() -> None:
    whole = network()
    optimizer = FlatAdam(whole, 1e-2)
    assert optimizer.state_dict() == {}
    for seed in range(6):
        if seed == 3:
            half, state = copy.deepcopy(whole), copy.deepcopy(optimizer.state_dict())
        one_step(whole, optimizer, seed)
    resumed = FlatAdam(half, 1e-2)
    resumed.load_state_dict(state)
    for seed in range(3, 6):
        one_step(half, resumed, seed)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), half.parameters(), strict=True))


def test_names_shapes_and_values_stay_and_loading_reaches_the_steps() -> None:
    plain, flat = network(), network()
    optimizer = FlatAdam(flat, 1e-2)
    assert plain.state_dict().keys() == flat.state_dict().keys()
    assert all(torch.equal(v, flat.state_dict()[k]) for k, v in plain.state_dict().items())
    flat.load_state_dict({k: v + 1 for k, v in plain.state_dict().items()})
    one_step(flat, optimizer, 0)
    pairs = zip(plain.parameters(), flat.parameters(), strict=True)
    assert max(float((b - a - 1).detach().abs().max()) for a, b in pairs) <= 1.0001e-2


def one_step(model: nn.Module, optimizer: FlatAdam, seed: int) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(model(states(seed)).square().sum())
    optimizer.step()
