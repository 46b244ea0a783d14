import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shoestring.core.errors import ConfigError, StorageError
from shoestring.core.recorder import MemoryRecorder
from shoestring.finance.maps import MapsConfig, NetworkConfig, TrainingConfig
from shoestring.finance.maps._learner import DqnLearner
from shoestring.finance.maps._network import AgentNetwork
from shoestring.finance.maps._training import TrainingRun, annual_sharpe, run_training
from shoestring.finance.maps._windows import PriceWindows
from shoestring.finance.market.panel import PricePanel


def learner(panel: PricePanel, training: TrainingConfig, **options: Any) -> DqnLearner:
    small: dict[str, Any] = {"n_agents": 2, "network": NetworkConfig(encoder=(8,)), "training": training}
    config = MapsConfig(**{**small, **options})
    return DqnLearner(PriceWindows(panel.close.to_numpy(), 20), config, 0, 300, seed=0)


def looks(values: list[float]) -> Callable[[AgentNetwork], Tensor]:
    """Daily returns whose Sharpe ratio rises with the values, one a look."""
    left = iter(values)
    return lambda _: torch.tensor([1.0, -1.0]) + next(left)


def states(ours: DqnLearner) -> list[Tensor]:
    return [v.clone() for v in ours.network.state_dict().values()]


def equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_state_of_the_best_look_is_kept(panel: PricePanel, training: TrainingConfig) -> None:
    ours, ref = learner(panel, training), learner(panel, training)
    run = run_training(ours, training, looks([1.0, 3.0, 2.0]))
    for _ in range(8):
        ref.step()
    assert (run.best_update, ours.updates) == (8, 12)
    assert equal(states(ours), states(ref))
    assert [row["update"] for row in run.history] == [4, 8, 12]
    assert run.best_sharpe == max(row["valid_sharpe"] for row in run.history)


def test_patience_ends_a_training(panel: PricePanel, training: TrainingConfig) -> None:
    ours = learner(panel, training)
    short = dataclasses.replace(training, updates=40, patience=2)
    run = run_training(ours, short, looks([1.0, 2.0, 1.5, 1.9, 9.0]))
    assert (run.best_update, ours.updates) == (8, 16)


def test_without_validation_the_last_state_counts(panel: PricePanel, training: TrainingConfig) -> None:
    ours, ref = learner(panel, training), learner(panel, training)
    run = run_training(ours, dataclasses.replace(training, patience=1), None)
    for _ in range(12):
        ref.step()
    assert run.best_update == 12
    assert equal(states(ours), states(ref))


def test_the_last_update_is_a_look_even_between_looks(panel: PricePanel, training: TrainingConfig) -> None:
    run = run_training(learner(panel, training), dataclasses.replace(training, updates=6), None)
    assert [row["update"] for row in run.history] == [4, 6]


def stop_after(number: int) -> Callable[[float, str], None]:
    calls = []

    def report(_fraction: float, _word: str) -> None:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt

    return report


VALUES = [2.0, 1.0, 3.0]


@pytest.mark.parametrize("options", [{}, {"full_information": True}, {"switch_cost": 0.1}])
def test_a_resumed_training_equals_an_uninterrupted_one(
    panel: PricePanel, training: TrainingConfig, tmp_path: Path, options: dict[str, object]
) -> None:
    whole = learner(panel, training, **options)
    full = run_training(whole, training, looks(VALUES))
    file, cut = tmp_path / "run.ckpt", learner(panel, training, **options)
    with pytest.raises(KeyboardInterrupt):
        # stopped while the third look is reported: the file holds the first two
        run_training(cut, training, looks(VALUES), checkpoint=file, report_progress=stop_after(3))
    again = learner(panel, training, **options)
    resumed = run_training(again, training, looks(VALUES[2:]), checkpoint=file)
    assert again.updates == 12
    assert equal(states(again), states(whole))
    assert resumed == dataclasses.replace(full, best=resumed.best)
    assert equal(list(resumed.best.values()), list(full.best.values()))


def test_a_finished_checkpoint_is_not_trained_again(
    panel: PricePanel, training: TrainingConfig, tmp_path: Path
) -> None:
    one, two = learner(panel, training), learner(panel, training)
    run_training(one, training, looks(VALUES), checkpoint=tmp_path / "run.ckpt")
    run = run_training(two, training, looks([]), checkpoint=tmp_path / "run.ckpt")
    assert run.best_update == 12
    assert equal(states(one), states(two))


def test_a_checkpoint_of_another_run_is_refused(
    panel: PricePanel, training: TrainingConfig, tmp_path: Path
) -> None:
    file = tmp_path / "run.ckpt"
    run_training(learner(panel, training), training, None, identity="a", checkpoint=file)
    with pytest.raises(StorageError, match="of another run"):
        run_training(learner(panel, training), training, None, identity="b", checkpoint=file)


def test_a_training_that_diverges_says_what_to_lower(panel: PricePanel, training: TrainingConfig) -> None:
    ours = learner(panel, training)
    with torch.no_grad():
        next(ours.network.parameters()).fill_(math.nan)
    with pytest.raises(ConfigError, match="lower training"):
        run_training(ours, training, None)


def test_every_look_is_recorded(panel: PricePanel, training: TrainingConfig) -> None:
    recorder = MemoryRecorder()
    run = run_training(learner(panel, training), training, looks(VALUES), recorder=recorder)
    assert [r["step"] for r in recorder.rows] == [4, 8, 12]
    assert set(run.history[0]) == {"update", "local_loss", "global_loss", "valid_sharpe"}


def test_the_annual_sharpe_ratio_is_that_of_daily_returns() -> None:
    daily = torch.tensor([0.01, -0.005, 0.02])
    expected = daily.double().mean() / daily.double().std() * 252**0.5
    assert annual_sharpe(daily) == pytest.approx(float(expected))
    assert annual_sharpe(torch.zeros(5)) == 0
    assert annual_sharpe(torch.ones(1)) == 0


def test_a_run_starts_with_nothing_found() -> None:
    assert TrainingRun(best={}).best_sharpe == -math.inf
