import pytest

from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import ConfigError
from shoestring.finance.maps import MapsConfig, NetworkConfig, PortfolioConfig, TrainingConfig


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (MapsConfig, {"n_agents": 0}, "n_agents=0 must be at least 1"),
        (MapsConfig, {"window": 1}, "window=1"),
        (MapsConfig, {"lam": -0.1}, r"lam=-0.1 is outside \[0, 1\]"),
        (MapsConfig, {"lam": 1.5}, r"lam=1.5 is outside \[0, 1\]"),
        (MapsConfig, {"diversity": "cosine"}, "'cosine' is not one of corr, corr2, relu"),
        (MapsConfig, {"gamma": 1.0}, r"gamma=1.0 is outside \[0, 1\)"),
        (MapsConfig, {"switch_cost": -1.0}, "switch_cost=-1.0"),
        (MapsConfig, {"switch_cost": 0.1, "full_information": True}, "contradict each other"),
        (NetworkConfig, {"encoder": ()}, r"network.encoder=\(\)"),
        (NetworkConfig, {"encoder": (8, 0)}, "at least one width above 0"),
        (NetworkConfig, {"head": 0}, "network.head=0"),
        (TrainingConfig, {"updates": 0}, "training.updates=0"),
        (TrainingConfig, {"batch_size": 1}, "batch_size=1 has no correlation"),
        (TrainingConfig, {"buffer_size": 100}, "buffer_size=100 is smaller"),
        (TrainingConfig, {"lr": 0.0}, "training.lr=0.0"),
        (TrainingConfig, {"epsilon_end": 0.5, "epsilon_start": 0.4}, "ordered"),
        (TrainingConfig, {"epsilon_decay": 0.0}, "epsilon_decay=0.0"),
        (PortfolioConfig, {"rule": "best"}, "rule='best'"),
        (PortfolioConfig, {"top_share": 0.6}, "top_share=0.6"),
        (PortfolioConfig, {"flat_tolerance": 1.0}, "flat_tolerance=1.0"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(kind: type, options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        kind(**options)


def test_the_options_survive_a_file() -> None:
    config = MapsConfig(n_agents=3, network=NetworkConfig(encoder=(8,)), training=TrainingConfig(lr=0.01))
    assert from_dict(MapsConfig, to_dict(config)) == config
