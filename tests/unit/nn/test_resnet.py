"""The residual networks."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from shoestring.core.errors import ConfigError
from shoestring.nn import CifarResNet, cifar_resnet, resnet20, resnet32, resnet56


def count(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(m, kind) for m in model.modules())


@pytest.mark.parametrize("depth", [8, 14, 20, 56])
def test_the_depth_counts_the_weighted_layers(depth: int) -> None:
    model = cifar_resnet(depth)
    shortcuts = 2  # the projections at the head of stages two and three do not count
    assert count(model, nn.Conv2d) + count(model, nn.Linear) - shortcuts == depth


def test_named_depths_are_the_general_function() -> None:
    for make, depth in ((resnet20, 20), (resnet32, 32), (resnet56, 56)):
        one, two = (
            make(num_classes=7, seed=3).state_dict(),
            cifar_resnet(depth, num_classes=7, seed=3).state_dict(),
        )
        assert all(torch.equal(one[name], two[name]) for name in two)


def test_resnet20_has_the_published_number_of_weights() -> None:
    # 0.27 M in table 6 of He et al.; our projections add 2.9 thousand.
    projections = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert sum(p.numel() for p in resnet20().parameters()) == 269_722 + projections


@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 32), (3, 17)])
def test_images_become_logits(channels: int, size: int) -> None:
    model = cifar_resnet(8, channels=channels, num_classes=5)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, 5)


def test_every_activation_site_has_a_module_of_its_own() -> None:
    called: list[int] = []
    model = resnet20().eval()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda m, *_: called.append(id(m)))
    model(torch.zeros(1, 3, 32, 32))
    assert len(called) == len(set(called)) == count(model, nn.ReLU) == 19


def test_the_graph_can_be_traced_and_computes_the_same() -> None:
    model = cifar_resnet(8).eval()
    traced = torch.fx.symbolic_trace(model)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x), traced(x))
    assert sum(node.op == "call_module" for node in traced.graph.nodes) > 20


def test_the_first_weights_depend_on_the_seed_only() -> None:
    one, same, other = (cifar_resnet(8, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.conv.weight, other.conv.weight)


def test_a_generator_can_be_given_and_moves_on() -> None:
    generator = torch.Generator().manual_seed(5)
    one, two = cifar_resnet(8, seed=generator), cifar_resnet(8, seed=generator)
    again = cifar_resnet(8, seed=torch.Generator().manual_seed(5))
    assert torch.equal(one.conv.weight, again.conv.weight)
    assert not torch.equal(one.conv.weight, two.conv.weight)


def test_the_global_stream_is_neither_read_nor_moved() -> None:
    before = torch.get_rng_state()
    one = cifar_resnet(8)
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng():
        torch.manual_seed(99)
        two = cifar_resnet(8)
    assert torch.equal(one.conv.weight, two.conv.weight)


def test_signals_keep_their_scale_at_the_start() -> None:
    x = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    spread = resnet20()(x).std().item()
    assert 0.1 < spread < 10


@pytest.mark.parametrize("depth", [2, 7, 9, 18, 51, 0, -4])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ConfigError, match=rf"depth={depth} is not 6 n \+ 2"):
        cifar_resnet(depth)


@pytest.mark.parametrize("widths", [(16, 32), (16, 32, 64, 128), (16, 0, 64)])
def test_other_widths_are_refused(widths: Sequence[int]) -> None:
    with pytest.raises(ConfigError, match="three positive"):
        cifar_resnet(8, widths=widths)


def test_too_few_classes_or_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_classes=1"):
        cifar_resnet(8, num_classes=1)
    with pytest.raises(ConfigError, match="channels=0"):
        cifar_resnet(8, channels=0)


def test_the_model_starts_in_train_mode_and_fp32() -> None:
    model = cifar_resnet(8)
    assert isinstance(model, CifarResNet)
    assert model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
