"""What holds for every superposition."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.compression.losses import distillation_kl, soft_cross_entropy, soft_labels
from shoestring.compression.qimera.functional import between_share, boundary_share, mix, mixing_weights

FEW = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**31)


@FEW
@given(SEEDS, st.integers(1, 6), st.integers(2, 8), st.integers(1, 40))
def test_labels_are_distributions(seed: int, rows: int, classes: int, mixed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    picked = torch.randint(classes, (rows, mixed), generator=rng)
    labels = soft_labels(picked, mixing_weights(3 * torch.randn(rows, mixed, generator=rng)), classes)
    assert (labels >= 0).all()
    torch.testing.assert_close(labels.sum(1), torch.ones(rows), rtol=1e-5, atol=1e-5)


@FEW
@given(SEEDS, st.integers(1, 5), st.integers(1, 6), st.integers(1, 4))
def test_a_mixture_stays_within_its_latents(seed: int, rows: int, mixed: int, width: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    latent = torch.randn(rows, mixed, width, generator=rng)
    out = mix(latent, mixing_weights(torch.randn(rows, mixed, generator=rng)))
    assert (out <= latent.amax(1) + 1e-5).all()
    assert (out >= latent.amin(1) - 1e-5).all()


@FEW
@given(SEEDS, st.integers(1, 5), st.integers(2, 6), st.floats(0.5, 50))
def test_kl_is_never_negative_and_cross_entropy_is_least_for_its_own_target(
    seed: int, rows: int, classes: int, temperature: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    student, teacher = (4 * torch.randn(rows, classes, generator=rng) for _ in range(2))
    assert distillation_kl(student, teacher, temperature).item() >= -1e-4
    target = torch.softmax(teacher, 1)
    assert soft_cross_entropy(student, target) >= soft_cross_entropy(teacher, target) - 1e-5


@FEW
@given(SEEDS, st.integers(1, 20), st.integers(2, 6))
def test_shares_are_shares(seed: int, rows: int, classes: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=rng)
    assert 0 <= boundary_share(logits) <= boundary_share(logits, 0.9) <= 1
    centroids = torch.randn(classes, 4, generator=rng)
    features = torch.randn(rows, 4, generator=rng)
    assert 0 <= between_share(features, centroids) <= between_share(features, centroids, -10.0) <= 1
