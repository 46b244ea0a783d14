"""Image generators: shapes, statistics, seeds."""

import pytest
import torch
from torch import nn

from shoestring.compression.generators import (
    ConditionalBatchNorm2d,
    GDFQGenerator,
    ImageTrunk,
    LatentGenerator,
    initialise,
)
from shoestring.core.errors import ConfigError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_asked_shape(size: int, channels: int) -> None:
    generator = GDFQGenerator(4, (channels, size, size), latent=5, width=4)
    latents = generator.draw(3, rng())
    assert generator.images(latents).shape == (3, channels, size, size)
    assert latents.target_BC.shape == (3, 4)
    assert torch.equal(latents.target_BC.sum(1), torch.ones(3))


def test_images_are_normalised_like_data() -> None:
    generator = GDFQGenerator(4, (3, 16, 16), latent=5, width=4).train()
    images = generator.images(generator.draw(32, rng()))
    var, mean = torch.var_mean(images, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(var, torch.ones(3), atol=1e-2, rtol=0)


def test_the_paper_sizes_and_the_eps_of_the_inner_norms() -> None:
    trunk = ImageTrunk(100, (3, 32, 32))
    assert trunk.project.weight.shape == (128 * 8 * 8, 100)
    shapes = [tuple(c.weight.shape) for c in (trunk.conv1, trunk.conv2, trunk.conv3)]
    assert shapes == [(128, 128, 3, 3), (64, 128, 3, 3), (3, 64, 3, 3)]
    assert [getattr(n, "eps", None) for n in (trunk.norm0, trunk.norm1, trunk.norm2)] == [1e-5, 0.8, 0.8]
    assert not trunk.norm3.affine


def test_the_latent_of_gdfq_is_noise_times_embedding() -> None:
    generator = GDFQGenerator(3, (1, 8, 8), latent=5, width=4).eval()
    latents = generator.draw(4, rng())
    by_hand = generator.trunk(generator.embedding[latents.class_B] * latents.noise_BD, latents.target_BC)
    assert torch.equal(generator.images(latents), by_hand)
    assert torch.equal(latents.target_BC.argmax(1), latents.class_B)


def test_equal_seeds_give_equal_parameters_and_draws() -> None:
    one, two, other = (GDFQGenerator(3, (1, 8, 8), latent=5, width=4, seed=s) for s in (1, 1, 2))
    for (name, a), b, c in zip(one.named_parameters(), two.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == ("norm" in name)
    assert torch.equal(one.draw(4, rng(5)).noise_BD, two.draw(4, rng(5)).noise_BD)
    assert not torch.equal(one.draw(4, rng(5)).noise_BD, two.draw(4, rng(6)).noise_BD)


def test_an_initial_value_depends_on_the_name_alone() -> None:
    """A part more, or another order, shifts nothing."""
    torch.manual_seed(0)
    few = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Conv2d(1, 2, 3)})
    torch.manual_seed(1)
    more = nn.ModuleDict({"new": nn.Linear(9, 9), "b": nn.Conv2d(1, 2, 3), "a": nn.Linear(3, 2)})
    initialise(few, 7)
    initialise(more, 7)
    for name, value in few.state_dict().items():
        assert torch.equal(value, more.state_dict()[name])
    assert few.state_dict()["b.weight"].abs().max() <= (1 * 9) ** -0.5


def test_the_global_generator_is_neither_read_nor_moved_by_draws() -> None:
    generator = GDFQGenerator(3, (1, 8, 8), latent=5, width=4)
    before = torch.random.get_rng_state()
    generator.images(generator.draw(4, rng()))
    initialise(generator, 3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_mixing_conditional_norms_with_one_hot_rows_picks() -> None:
    norm = ConditionalBatchNorm2d(3, 4).eval()
    with torch.no_grad():
        norm.weight.normal_(generator=rng(0))
        norm.bias.normal_(generator=rng(1))
    x = torch.randn(5, 4, 2, 2, generator=rng(2))
    classes = torch.tensor([0, 2, 1, 1, 0])
    plain = norm.norm(x)
    picked = plain * norm.weight[classes][:, :, None, None] + norm.bias[classes][:, :, None, None]
    torch.testing.assert_close(norm(x, nn.functional.one_hot(classes, 3).float()), picked)
    halves = torch.tensor([[0.5, 0.5, 0.0]]).expand(5, 3)
    mixed = plain * (norm.weight[0] + norm.weight[1]).view(1, 4, 1, 1) / 2
    mixed = mixed + (norm.bias[0] + norm.bias[1]).view(1, 4, 1, 1) / 2
    torch.testing.assert_close(norm(x, halves), mixed)


def test_the_conditional_trunk_makes_images_that_depend_on_the_class() -> None:
    trunk = ImageTrunk(5, (3, 8, 8), 4, num_conditional_classes=2)
    initialise(trunk, 0)
    assert isinstance(trunk.norm0, ConditionalBatchNorm2d)
    with torch.no_grad():
        trunk.norm0.bias[1] += 2
    x = torch.randn(6, 5, generator=rng())
    one, two = (nn.functional.one_hot(torch.full((6,), c), 2).float() for c in (0, 1))
    assert trunk(x, one).shape == (6, 3, 8, 8)
    assert not torch.allclose(trunk.eval()(x, one), trunk(x, two))


@pytest.mark.parametrize("shape", [(1, 8, 12), (1, 10, 10), (1, 4, 4), (3, 30, 30)])
def test_image_sizes_that_do_not_fit_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="divisible by 4"):
        GDFQGenerator(3, shape)


@pytest.mark.parametrize("width", [0, 1, 5])
def test_odd_widths_are_refused(width: int) -> None:
    with pytest.raises(ConfigError, match=f"width={width}"):
        GDFQGenerator(3, (1, 8, 8), width=width)


def test_a_generator_without_its_two_methods_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        LatentGenerator()  # type: ignore[abstract]  # what the test is about


def test_draws_go_to_the_generators_device() -> None:
    generator = GDFQGenerator(3, (1, 8, 8), latent=5, width=4).to("meta")
    latents = generator.draw(4, rng())
    assert {latents.noise_BD.device.type, latents.class_B.device.type, latents.target_BC.device.type} == {
        "meta"
    }
    assert generator.images(latents).device.type == "meta"
