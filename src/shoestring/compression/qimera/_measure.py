"""What the verification of Qimera runs for one arm and seed, and what it measures."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.compression.baselines import METHODS
from shoestring.compression.conversion import QuantizedModel, final_linear
from shoestring.compression.generators import LatentGenerator
from shoestring.compression.problems import Problem, load_problem
from shoestring.compression.qimera._generator import QimeraGenerator
from shoestring.compression.qimera._method import qimera
from shoestring.compression.qimera.config import QimeraConfig
from shoestring.compression.qimera.functional import between_share, boundary_share
from shoestring.compression.runs import QuantizationRun, RunOptions
from shoestring.core.config import from_dict
from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed
from shoestring.evidence.model import Context, Outcome, Series

__all__ = ["features", "measure_arm", "path_probabilities"]

NUM_SYNTHETIC = 1024
PATH_STEPS = 11
PATH_NOISES = 4
RISE_TOLERANCE = 0.01


def measure_arm(context: Context) -> Outcome:
    """Run one arm; measure its accuracy and, with a generator, the boundary.

    Parameters
    ----------
    context : Context
        With the options ``method`` and ``config``, optionally ``num_synthetic`` (images measured at the
        boundary), and a teacher from `prepare_teacher`.

    Returns
    -------
    Outcome
        Metrics of the study, curves of accuracy and of the path between classes.

    Raises
    ------
    ConfigError
        If the method or one of its options is not known.
    """
    problem = load_problem(context)
    method = context.options["method"]
    if method == "float":
        return Outcome(
            metrics={"top1": problem.top1(problem.teacher), "top1_last": problem.top1(problem.teacher)}
        )
    run = _run(problem, method, context)
    metrics, series = _accuracy(problem, run)
    if run.generator is not None:
        num_images = context.options.get("num_synthetic", NUM_SYNTHETIC)
        metrics |= _boundary(problem, run.generator, context.seed, num_images)
    if isinstance(run.generator, QimeraGenerator) and run.generator.config.superpose:
        rising, path = path_probabilities(problem.teacher, run.generator, context.seed)
        metrics["path_rising"] = rising
        series["path"] = path
    return Outcome(metrics=metrics, series=series)


def _run(problem: Problem, method: str, context: Context) -> QuantizationRun:
    options: dict[str, Any] = dict(context.options["config"])
    kind: type[Any]
    function: Callable[..., QuantizationRun]
    if method == "qimera":
        kind, function = QimeraConfig, qimera
    elif method in METHODS:
        kind, function = METHODS[method]
    else:
        raise ConfigError(f"method={method!r} is not known; allowed: float, qimera, {', '.join(METHODS)}")

    def monitor(_iteration: int, student: QuantizedModel) -> dict[str, float]:
        return {"top1": problem.top1(student)}

    return function(
        problem.teacher,
        from_dict(kind, options),
        image_shape=problem.image_shape,
        images=problem.train_images,
        labels=problem.train_labels,
        seed=context.seed,
        options=RunOptions(
            monitor=monitor,
            recorder=context.recorder,
            report_progress=context.report_progress,
            checkpoint=context.folder / "run.ckpt",
        ),
    )


def _accuracy(problem: Problem, run: QuantizationRun) -> tuple[dict[str, float], dict[str, Series]]:
    """Accuracy of the chosen state (data-free), of the last, and of the best by the test labels."""
    chosen = problem.top1(run.model)
    if not run.chosen_iteration:
        return {"top1": chosen, "top1_last": chosen}, {}
    curve = Series(
        x=tuple(row["iteration"] for row in run.history), y=tuple(row["top1"] for row in run.history)
    )
    metrics = {
        "top1": chosen,
        "top1_last": curve.y[-1],
        "top1_best_by_test": max(curve.y),
        "chosen_iteration": float(run.chosen_iteration),
    }
    return metrics, {"top1": curve}


def _boundary(problem: Problem, generator: LatentGenerator, seed: int, num_images: int) -> dict[str, float]:
    rng = torch.Generator().manual_seed(derive_seed(seed, "boundary"))
    centroid_CD = _centroids(problem)
    with torch.no_grad():
        images = torch.cat([generator.images(generator.draw(64, rng)) for _ in range(num_images // 64)])
        out = {
            "boundary_share": 100 * boundary_share(problem.teacher(images)),
            "between_share": 100 * between_share(features(problem.teacher, images), centroid_CD),
        }
        if isinstance(generator, QimeraGenerator) and generator.config.superpose:
            mixed = generator.images(generator.draw_superposed(num_images, rng))
            plain = generator.images(generator.draw_plain(num_images, rng))
            superposed, single = (100 * boundary_share(problem.teacher(part)) for part in (mixed, plain))
            out |= {"boundary_share_superposed": superposed, "boundary_gain": superposed - single}
    return out


def features(teacher: nn.Module, images: Tensor) -> Tensor:
    """Return the inputs of the teacher's last layer.

    Parameters
    ----------
    teacher : nn.Module
        In evaluation mode, ending as `final_linear` needs it.
    images : Tensor
        float, (B, channels, H, W).

    Returns
    -------
    Tensor
        (B, D).

    Raises
    ------
    UnsupportedModelError
        As `final_linear`.
    """
    _, head = final_linear(teacher)
    kept: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, args: kept.append(args[0].flatten(1)))
    try:
        with torch.no_grad():
            for part in torch.split(images, 500):
                teacher(part)
    finally:
        hook.remove()
    return torch.cat(kept)


def _centroids(problem: Problem) -> Tensor:
    """Mean feature of each class over (at most 5,000 of) the real training images; for measuring only."""
    images, labels = problem.train_images[:5000], problem.train_labels[:5000]
    feature_ND = features(problem.teacher, images)
    return torch.stack([feature_ND[labels == c].mean(0) for c in range(int(labels.max()) + 1)])


def path_probabilities(teacher: nn.Module, generator: QimeraGenerator, seed: int) -> tuple[float, Series]:
    """Walk the mix of each ordered pair of classes i, j from all i to all j.

    Parameters
    ----------
    teacher : nn.Module
        In evaluation mode.
    generator : QimeraGenerator
        Trained, in evaluation mode.
    seed : int
        Of the fixed noises.

    Returns
    -------
    tuple
        Percentage of the pairs along which the teacher's probability of j, averaged over a few fixed noises,
        never falls by more than 0.01 and rises by more than 0.5 in all; and that probability averaged over
        the pairs, as a curve over the mix.
    """
    classes = generator.num_classes
    pair_P2 = torch.tensor([(i, j) for i in range(classes) for j in range(classes) if i != j])
    rng = torch.Generator().manual_seed(derive_seed(seed, "path"))
    noise = torch.randn(len(pair_P2) * PATH_NOISES, 2, generator.embedding.shape[1], generator=rng)
    class_BK = pair_P2.repeat_interleave(PATH_NOISES, 0)
    curve = []
    with torch.no_grad():
        for t in torch.linspace(0, 1, PATH_STEPS):
            weight_BK = torch.stack([1 - t, t]).expand(len(class_BK), 2)
            logits = teacher(generator.images(generator.latents(class_BK, weight_BK, noise)))
            prob_B = torch.softmax(logits, 1).gather(1, class_BK[:, 1:]).squeeze(1)
            curve.append(prob_B.view(-1, PATH_NOISES).mean(1))
    prob_TP = torch.stack(curve)
    rising_P = (prob_TP.diff(dim=0).min(0).values > -RISE_TOLERANCE) & (prob_TP[-1] - prob_TP[0] > 0.5)
    steps = tuple(i / (PATH_STEPS - 1) for i in range(PATH_STEPS))
    mean = Series(x=steps, y=tuple(float(v) for v in prob_TP.mean(1)))
    return 100 * rising_P.double().mean().item(), mean
