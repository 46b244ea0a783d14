import dataclasses

import numpy as np
import pytest
import torch

from shoestring.core.errors import DataError
from shoestring.finance.maps import MapsConfig, NetworkConfig, TrainingConfig
from shoestring.finance.maps._learner import DqnLearner
from shoestring.finance.maps._windows import PriceWindows
from shoestring.finance.market.panel import PricePanel

SMALL = NetworkConfig(encoder=(12, 8), head=6)


def learner(panel: PricePanel, training: TrainingConfig, seed: int = 0, **options: object) -> DqnLearner:
    config = MapsConfig(**{"n_agents": 3, "network": SMALL, "training": training, **options})  # type: ignore[arg-type]  # options of a test
    return DqnLearner(PriceWindows(panel.close.to_numpy(), config.window), config, 0, 300, seed=seed)


def same(one: DqnLearner, two: DqnLearner) -> bool:
    pairs = zip(one.state_dict().items(), two.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lam": 0.0},
        {"diversity": "corr", "detach": False},
        {"full_information": True},
        {"switch_cost": 0.05},
        {"network": dataclasses.replace(SMALL, shared_encoder=False, batch_norm=False)},
    ],
)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    panel: PricePanel, training: TrainingConfig, options: dict[str, object]
) -> None:
    one, two, other = (learner(panel, training, seed, **options) for seed in (4, 4, 5))
    for _ in range(4):
        assert one.step() == two.step() != other.step()
    assert same(one, two)


def test_the_global_loss_off_is_the_local_loss_alone(panel: PricePanel, training: TrainingConfig) -> None:
    off, local = learner(panel, training, lam=0.0), learner(panel, training, lam=0.0)
    for _ in range(3):
        assert set(off.step()) == {"local_loss"}
    for _ in range(3):
        local.step()
    assert same(off, local)


def test_agents_with_their_own_encoders_and_no_global_loss_do_not_touch_each_other(
    panel: PricePanel, training: TrainingConfig
) -> None:
    """Two runs that differ in the weights of agent 2 alone leave agents 0 and 1 the same."""
    network = dataclasses.replace(SMALL, shared_encoder=False)
    one, two = (learner(panel, training, lam=0.0, network=network) for _ in range(2))
    with torch.no_grad():
        for parameter in two.network.parameters():
            if parameter.ndim == 3 and len(parameter) == 3:
                parameter[2] += 0.1
    for _ in range(5):
        one.step()
        two.step()
    state = one.windows.states(one.places[:50])
    ours, theirs = one.network.eval()(state), two.network.eval()(state)
    torch.testing.assert_close(ours[:2], theirs[:2], atol=1e-6, rtol=1e-5)
    assert (ours[2] - theirs[2]).abs().max() > 0.01


def test_a_batch_holds_the_same_states_for_every_agent_and_each_ones_own_rewards(
    panel: PricePanel, training: TrainingConfig
) -> None:
    ours = learner(panel, training)
    ours.step()
    place, action, reward = ours.memory.draw(100, torch.Generator().manual_seed(0))
    assert place.shape == (100,)
    expected = (1 - action) * ours.windows.returns(place)
    torch.testing.assert_close(reward, expected)
    assert (action[0] != action[1]).any()


def test_no_state_or_return_after_the_training_dates_is_ever_collected(
    panel: PricePanel, training: TrainingConfig
) -> None:
    ours = learner(panel, training)
    for _ in range(10):
        ours.step()
    dates = ours.memory.place[: len(ours.memory)] % ours.windows.num_dates
    assert int(dates.max()) <= 299
    assert int(dates.min()) >= 19


def test_the_target_network_is_copied_with_its_statistics_when_due(
    panel: PricePanel, training: TrainingConfig
) -> None:
    ours = learner(panel, training)
    start = {k: v.clone() for k, v in ours.target.state_dict().items()}
    for _ in range(4):
        ours.step()
    assert all(torch.equal(v, start[k]) for k, v in ours.target.state_dict().items())
    ours.step()
    now = ours.network.state_dict()
    assert all(torch.equal(v, now[k]) for k, v in ours.target.state_dict().items())
    running = [k for k in start if k.endswith("running_mean")]
    assert len(running) == 2
    assert all((now[k] != start[k]).any() for k in running)
    assert not ours.target.training


def test_exploration_decays_a_collected_state_and_stops_at_its_end(
    panel: PricePanel, training: TrainingConfig
) -> None:
    ours = learner(panel, training)
    assert ours.epsilon == 1.0
    ours.step()
    assert ours.memory.added == 64
    assert ours.epsilon == pytest.approx(0.999**64)
    ours.step()
    assert ours.memory.added == 84
    for _ in range(150):
        ours.collect(20)
    assert ours.epsilon == 0.1


def test_without_exploration_the_actions_are_greedy(panel: PricePanel, training: TrainingConfig) -> None:
    ours = learner(panel, dataclasses.replace(training, epsilon_start=0.0, epsilon_end=0.0))
    ours.collect(40)
    state = ours.windows.states(ours.memory.place[:40])
    greedy = ours.network.eval()(state).argmax(1)
    assert torch.equal(ours.memory.action[:40].t().long(), greedy)


def test_with_full_exploration_every_action_is_taken_by_every_agent(
    panel: PricePanel, training: TrainingConfig
) -> None:
    ours = learner(panel, dataclasses.replace(training, epsilon_end=1.0))
    ours.collect(256)
    counts = torch.stack([(ours.memory.action == a).sum(0) for a in range(3)])
    assert int(counts.min()) > 50


def test_a_cost_of_switching_is_taken_from_the_reward(panel: PricePanel, training: TrainingConfig) -> None:
    ours = learner(panel, training, switch_cost=0.05)
    ours.collect(100)
    place, action = ours.memory.place[:100], ours.memory.action[:100].t().long()
    paid = (1 - action) * ours.windows.returns(place) - ours.memory.reward[:100].t()
    steps = (paid / 0.05).round()
    torch.testing.assert_close(paid, steps * 0.05, atol=1e-5, rtol=0)
    assert sorted(set(steps.flatten().tolist())) == [0, 1, 2]


def test_full_information_knows_the_reward_of_every_action(
    panel: PricePanel, training: TrainingConfig
) -> None:
    ours = learner(panel, training, full_information=True)
    place, action, reward = ours._all_rewards()
    assert action is None
    returns = ours.windows.returns(place)
    torch.testing.assert_close(reward[1], torch.stack([returns, 0 * returns, -returns]))
    ours.step()
    assert ours.memory.added == 0


def test_training_dates_without_a_transition_are_refused(panel: PricePanel, training: TrainingConfig) -> None:
    config = MapsConfig(window=20, training=training)
    with pytest.raises(DataError, match="no window of 20 prices"):
        DqnLearner(PriceWindows(panel.close.to_numpy(), 20), config, 0, 10, seed=0)


def test_a_learner_that_is_put_back_goes_on_with_the_same_bits(
    panel: PricePanel, training: TrainingConfig
) -> None:
    one, two = learner(panel, training), learner(panel, training)
    for _ in range(3):
        one.step()
    two.load_state_dict({k: v.clone() for k, v in one.state_dict().items()})
    assert [one.step() for _ in range(4)] == [two.step() for _ in range(4)]
    assert same(one, two)


def test_a_planted_rule_is_learnt() -> None:
    """Tomorrow's return is minus today's, plus noise: a DQN must find the reversal."""
    rng = np.random.default_rng(0)
    returns = rng.normal(0, 0.02, (300, 20))
    for t in range(1, 300):
        returns[t] = -0.7 * returns[t - 1] + 0.7 * returns[t]
    close = 50 * np.exp(np.cumsum(returns, axis=0))
    training = TrainingConfig(batch_size=256, collect=128, buffer_size=4096, lr=3e-3, target_every=20)
    config = MapsConfig(n_agents=2, window=5, lam=0.0, gamma=0.0, network=SMALL, training=training)
    ours = DqnLearner(PriceWindows(close, 5), config, 0, 299, seed=0)
    for _ in range(150):
        ours.step()
    place = ours.places
    q = ours.network.eval()(ours.windows.states(place))
    edge = (q[:, 0] - q[:, 2]).detach()
    wanted = ours.windows.returns(place)
    assert all(float(torch.corrcoef(torch.stack([e, wanted]))[0, 1]) > 0.4 for e in edge)
