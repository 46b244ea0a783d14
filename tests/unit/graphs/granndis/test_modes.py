"""Predicted bytes between servers against those counted at the transport."""

from dataclasses import replace

import pytest
from torch_geometric.data import Data

from shoestring.data.graphs.generators import block_model
from shoestring.graphs.granndis import (
    GranndisConfig,
    ModelConfig,
    PlanConfig,
    TrainingConfig,
    plan_modes,
    train,
)

CONFIG = GranndisConfig(
    servers=2,
    ranks_per_server=1,
    model=ModelConfig(kind="sage", layers=2, hidden=8),
    training=TrainingConfig(epochs=2),
)


@pytest.fixture(scope="module")
def data() -> Data:
    return block_model(300, 6, num_communities=4, num_features=8, seed=0)


def test_more_layers_without_traffic_cost_more_copies(data: Data) -> None:
    made = plan_modes(data, CONFIG)
    assert [(m.mode, m.k) for m in made] == [
        ("full", 0),
        ("flexible", 1),
        ("flexible", 2),
        ("eas", 2),
        ("cooperative", 2),
        ("minibatch", 2),
    ]
    full, one, two, *sampled = made
    assert full.replication == 1.0 <= one.replication <= two.replication
    assert full.inter_feature_bytes > one.inter_feature_bytes > two.inter_feature_bytes == 0
    assert all(m.inter_feature_bytes == 0 for m in sampled)
    assert full.rank_minimum_bytes < two.rank_minimum_bytes
    assert all(m.fits and m.modelled_compute_s > 0 and m.modelled_link_s is None for m in made)


@pytest.mark.slow
@pytest.mark.parametrize("k", [0, 1, 2])
def test_the_predicted_bytes_are_those_that_are_counted(k: int, data: Data) -> None:
    predicted = plan_modes(data, CONFIG)[k].inter_feature_bytes
    run = train(data, replace(CONFIG, plan=PlanConfig(mode="flexible" if k else "full", k=k or None)))
    counted = run.traffic()["inter.feature"] + run.traffic()["inter.gradient"]
    assert counted == pytest.approx(predicted, rel=0.01)
