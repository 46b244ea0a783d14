"""Data sets and teachers of the verifications."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from shoestring.compression.problems import TRAINING, load_problem, load_splits, prepare_teacher
from shoestring.core.errors import ConfigError
from shoestring.core.files import write_json_atomic
from shoestring.core.recorder import MemoryRecorder
from shoestring.evidence.model import Context
from shoestring.nn import cifar_resnet, save_state

Make = Callable[..., Context]


@pytest.fixture
def make_context(tmp_path: Path) -> Make:
    """A context whose preparation left an untrained ResNet-8."""
    model: nn.Module = cifar_resnet(8, channels=1, seed=1)
    save_state(model, tmp_path / "teacher.safetensors")
    write_json_atomic(tmp_path / "teacher.json", {"depth": 8})

    def make(**options: str | int) -> Context:
        return Context(
            options={"dataset": "digits", **options},
            seed=0,
            folder=tmp_path,
            prepared=tmp_path,
            data=None,
            recorder=MemoryRecorder(),
            report_progress=lambda _share, _word: None,
        )

    return make


def test_a_problem_has_the_prepared_teacher_and_normalised_images(make_context: Make) -> None:
    problem = load_problem(make_context())
    assert problem.image_shape == (1, 16, 16)
    assert not problem.teacher.training
    assert abs(problem.train_images.mean().item()) < 0.05
    assert problem.train_images.std().item() == pytest.approx(1, abs=0.05)
    expected = cifar_resnet(8, channels=1, seed=1).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in problem.teacher.state_dict().items())
    assert 0 <= problem.top1(problem.teacher) <= 100


def test_the_validation_split_is_a_fifth_of_the_training_images_and_none_of_the_test_images(
    make_context: Make,
) -> None:
    whole, tuning = load_problem(make_context()), load_problem(make_context(split="validation"))
    assert len(tuning.test_images) == -(-len(whole.train_images) // 5)
    assert len(tuning.train_images) + len(tuning.test_images) == len(whole.train_images)
    together = torch.cat([tuning.train_images, tuning.test_images]).flatten(1)
    torch.testing.assert_close(together.sum(0), whole.train_images.flatten(1).sum(0), rtol=1e-3, atol=1e-2)
    assert len(tuning.test_labels) == len(tuning.test_images)


def test_the_option_epochs_sets_the_length_of_the_teachers_training(make_context: Make) -> None:
    context = make_context(depth=8, epochs=1)
    outcome = prepare_teacher(context)
    assert isinstance(context.recorder, MemoryRecorder)
    assert len(context.recorder.rows) == 1
    assert outcome.metrics["top1"] == load_problem(context).top1(load_problem(context).teacher)


def test_an_unknown_data_set_or_one_without_its_folder_names_the_known_ones() -> None:
    for name in ("mnist", "cifar10"):
        with pytest.raises(ConfigError, match=rf"{name}.*digits, and cifar10"):
            load_splits(name, None)


def test_every_data_set_has_a_training_of_its_own() -> None:
    assert set(TRAINING) == {"digits", "cifar10"}
