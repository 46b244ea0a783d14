import numpy as np
import torch
from torch import nn

from shoestring.finance.maps import Classifier, MapsConfig, NetworkConfig, TrainingConfig
from shoestring.finance.maps._classifier import ClassifierLearner
from shoestring.finance.maps._windows import PriceWindows
from shoestring.finance.market.panel import PricePanel


def learner(panel: PricePanel, training: TrainingConfig, members: int, *, bagged: bool) -> ClassifierLearner:
    network = NetworkConfig(encoder=(12, 8), head=6, shared_encoder=False)
    config = MapsConfig(n_agents=members, network=network, training=training)
    return ClassifierLearner(PriceWindows(panel.close.to_numpy(), 20), config, 0, 300, seed=1, bagged=bagged)


def test_the_loss_is_the_cross_entropy_of_the_next_days_direction(
    panel: PricePanel, training: TrainingConfig
) -> None:
    ours = learner(panel, training, 1, bagged=False)
    rng = torch.Generator()
    rng.set_state(ours.rng.get_state())
    place = ours.places[torch.randint(len(ours.places), (64,), generator=rng)]
    score = ours.network.train()(ours.windows.states(place))[0].t()
    up = torch.from_numpy(panel.close.pct_change().shift(-1).to_numpy().T.copy()).flatten()[place]
    label = torch.where(up > 0, 0, torch.where(up < 0, 2, 1))
    expected = float(nn.functional.cross_entropy(score, label).detach())
    assert abs(ours.step()["local_loss"] - expected) < 1e-5


def test_a_bag_has_about_as_many_copies_as_transitions_and_members_differ(
    panel: PricePanel, training: TrainingConfig
) -> None:
    bag = learner(panel, training, 4, bagged=True).copies
    np.testing.assert_allclose(bag.mean(0), 1, atol=0.1)
    np.testing.assert_allclose(bag.var(0), 1, atol=0.15)
    np.testing.assert_allclose(np.corrcoef(bag.t()), np.eye(4), atol=0.1)
    assert (learner(panel, training, 4, bagged=False).copies == 1).all()


def test_the_same_seed_gives_the_same_bits(panel: PricePanel, training: TrainingConfig) -> None:
    one, two = (learner(panel, training, 3, bagged=True) for _ in range(2))
    assert [one.step() for _ in range(4)] == [two.step() for _ in range(4)]


def test_members_have_their_own_encoders_whatever_the_options_say(
    panel: PricePanel, training: TrainingConfig
) -> None:
    model = Classifier(2, network=NetworkConfig(encoder=(12, 8)), training=training).fit(panel)
    assert model.network_.encoder[0].groups == 2


def test_a_classifier_learns_a_planted_rule() -> None:
    rng = np.random.default_rng(0)
    returns = rng.normal(0, 0.02, (300, 20))
    for t in range(1, 300):
        returns[t] = -0.7 * returns[t - 1] + 0.7 * returns[t]
    training = TrainingConfig(batch_size=256, collect=1, buffer_size=256, lr=3e-3)
    config = MapsConfig(
        n_agents=2, window=5, network=NetworkConfig(encoder=(12, 8), shared_encoder=False), training=training
    )
    windows = PriceWindows(50 * np.exp(np.cumsum(returns, axis=0)), 5)
    ours = ClassifierLearner(windows, config, 0, 299, seed=0, bagged=True)
    first = ours.step()["local_loss"]
    for _ in range(120):
        last = ours.step()["local_loss"]
    assert last < 0.8 * first
