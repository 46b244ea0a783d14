"""Options and inputs that cannot work are refused by name; budgets choose the mode."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.data.graphs.generators import block_model
from shoestring.graphs.granndis import GranndisConfig, ModelConfig, PlanConfig, TrainingConfig, plan
from shoestring.graphs.granndis._checkpoint import load_checkpoint, save_checkpoint
from shoestring.graphs.granndis._models import GraphModel
from shoestring.graphs.granndis._plan import split_ranks
from shoestring.graphs.granndis._source import prepare_source
from shoestring.graphs.granndis.config import CooperativeConfig, HaloConfig

CONFIG = GranndisConfig(model=ModelConfig(layers=2, hidden=8), training=TrainingConfig(epochs=1))


@pytest.fixture
def data() -> Data:
    return block_model(240, 6, num_communities=4, num_features=8, seed=1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GranndisConfig(servers=0), "topology 0 x 2: both must be at least 1"),
        (lambda: GranndisConfig(ranks_per_server=0), "topology 2 x 0"),
        (lambda: PlanConfig(k=-1), "k=-1 must be at least 0"),
        (lambda: replace(CONFIG, plan=PlanConfig(k=3)), "plan.k=3 is more than model.layers=2"),
        (lambda: PlanConfig(hops=-1), "hops=-1"),
        (lambda: PlanConfig(fanout=-2), "fanout=-2"),
        (lambda: PlanConfig(mem_budget_bytes=0), "mem_budget_bytes=0 must be above 0"),
        (lambda: PlanConfig(mode="eas", halo=HaloConfig(kind="stale")), "halo.kind='stale' is an option of"),
        (lambda: HaloConfig(keep=0.0), r"halo.keep=0.0 is outside \(0, 1\]"),
        (lambda: HaloConfig(keep=float("nan")), "halo.keep=nan"),
        (lambda: HaloConfig(kind="stale", hierarchical=True), "choose one of them"),
        (lambda: CooperativeConfig(batches=0), "cooperative.batches=0 must be at least 1"),
        (lambda: CooperativeConfig(fanout=-3), "cooperative.fanout=-3"),
        (lambda: ModelConfig(layers=0), "layers=0"),
        (lambda: ModelConfig(dropout=1.0), "dropout=1.0"),
        (lambda: TrainingConfig(lr=float("nan")), "lr=nan must be above 0"),
        (lambda: TrainingConfig(epochs=-1), "epochs=-1"),
        (lambda: replace(CONFIG, timeout_s=0), "timeout_s"),
        (
            lambda: replace(
                CONFIG,
                plan=PlanConfig(mode="full", halo=HaloConfig(kind="stale")),
                training=TrainingConfig(checkpoint_every=1),
            ),
            "a checkpoint does not hold",
        ),
    ],
)
def test_options_that_cannot_work_are_named(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()


def set_to(name: str, value: Any) -> Callable[[Data], None]:
    return lambda data: setattr(data, name, value)


def nan_feature(data: Data) -> None:
    data.x[3, 1] = float("nan")


def id_out_of_range(data: Data) -> None:
    data.edge_index[0, 0] = 240


def unlabelled_training_vertex(data: Data) -> None:
    data.y[data.train_mask.nonzero()[0]] = -1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (set_to("x", None), "data.x is NoneType"),
        (set_to("x", torch.zeros(240, dtype=torch.int64)), "give float features"),
        (nan_feature, "x holds values that are not finite"),
        (id_out_of_range, "240"),
        (set_to("edge_weight", torch.ones(3)), "edge_weight is given, but granndis"),
        (set_to("y", torch.zeros(7, dtype=torch.int64)), "y is torch.int64 of shape"),
        (set_to("train_mask", torch.zeros(240, dtype=torch.bool)), "train_mask is empty"),
        (set_to("train_mask", torch.zeros(240, 10, dtype=torch.bool)), "one split"),
        (unlabelled_training_vertex, "without a label"),
    ],
)
def test_graphs_that_cannot_work_are_named(spoil: Callable[[Data], None], says: str, data: Data) -> None:
    spoil(data)
    with pytest.raises(DataError, match=says):
        prepare_source(data, CONFIG)


def test_more_ranks_than_vertices_are_refused() -> None:
    tiny = block_model(8, 2, num_communities=2, num_features=4, seed=0)
    with pytest.raises(DataError, match="8 vertices on 16 ranks"):
        prepare_source(tiny, replace(CONFIG, servers=4, ranks_per_server=4))


@pytest.mark.parametrize("partitioner", ["metis", "switching", "random", "contiguous"])
def test_every_rank_owns_vertices_and_servers_are_whole(partitioner: Any, data: Data) -> None:
    config = replace(CONFIG, plan=PlanConfig(partitioner=partitioner))
    source = prepare_source(data, config)
    owner = split_ranks(source, config)
    assert torch.bincount(owner, minlength=4).min() > 0
    assert torch.equal(owner, split_ranks(source, config))


def test_self_loops_are_counted_once_and_degrees_are_global(data: Data) -> None:
    data.edge_index = torch.cat([data.edge_index, torch.tensor([[5, 5], [5, 5]])], 1)
    source = prepare_source(data, CONFIG)
    loops = source.csr.row_ids() == source.csr.indices
    assert int(loops.sum()) == 240
    kept = replace(CONFIG, training=TrainingConfig(self_loops="keep"))
    source = prepare_source(data, kept)
    assert int((source.csr.row_ids() == source.csr.indices).sum()) == 2


def test_a_budget_chooses_the_largest_k_that_fits(data: Data) -> None:
    free = plan(data, CONFIG)
    assert (free.mode, free.k) == ("flexible", 2)
    by_k = {c.k: c for c in free.candidates if c.mode == "flexible"}
    assert by_k[2].bytes_per_rank > by_k[1].bytes_per_rank > by_k[0].bytes_per_rank
    assert by_k[2].inter_bytes_per_epoch == 0 < by_k[1].inter_bytes_per_epoch < by_k[0].inter_bytes_per_epoch
    for k in (2, 1, 0):
        within = replace(CONFIG, plan=PlanConfig(mem_budget_bytes=by_k[k].bytes_per_rank))
        assert plan(data, within).k == k
    exact = replace(CONFIG, plan=PlanConfig(k=1))
    assert plan(data, exact).k == 1


def test_auto_samples_before_it_sends(data: Data) -> None:
    sizes = {c.mode: c for c in plan(data, CONFIG).candidates if c.k == 2}
    options = PlanConfig(mode="auto", mem_budget_bytes=sizes["flexible"].bytes_per_rank - 1, fanout=1)
    sampled = plan(data, replace(CONFIG, plan=options))
    assert sampled.mode == "eas"
    assert sampled.sizes.inter_bytes_per_epoch == 0
    assert sampled.sizes.replication < sizes["flexible"].replication


def test_a_budget_that_nothing_fits_names_what_is_needed(data: Data) -> None:
    with pytest.raises(ConfigError, match=r"needs \d+ bytes a rank, more than plan.mem_budget_bytes=10"):
        plan(data, replace(CONFIG, plan=PlanConfig(mem_budget_bytes=10)))
    eas = plan(data, replace(CONFIG, plan=PlanConfig(mode="eas"))).sizes.bytes_per_rank
    with pytest.raises(ConfigError, match=r"these fit: .*eas \(k=2\)"):
        plan(data, replace(CONFIG, plan=PlanConfig(k=2, fanout=1, mem_budget_bytes=eas - 1)))


def stepped(seed: int = 0) -> tuple[GraphModel, torch.optim.Adam]:
    model = GraphModel(CONFIG.model, 8, 4, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer


def test_a_checkpoint_gives_weights_moments_and_losses_back(tmp_path: Path) -> None:
    model, optimizer = stepped()
    save_checkpoint(tmp_path / "c", model, optimizer, CONFIG, 3, [1.0, 0.5, 0.25])
    other = GraphModel(CONFIG.model, 8, 4, 9)
    fresh = torch.optim.Adam(other.parameters(), lr=0.01)
    losses: list[float] = []
    assert load_checkpoint(tmp_path / "none", other, fresh, CONFIG, losses) == 0
    assert load_checkpoint(tmp_path / "c", other, fresh, CONFIG, losses) == 3
    assert losses == [1.0, 0.5, 0.25]
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        for key, value in optimizer.state[ours].items():
            assert torch.equal(value, fresh.state[theirs][key]), (name, key)


def test_a_foreign_or_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    model, optimizer = stepped()
    path = tmp_path / "c"
    save_checkpoint(path, model, optimizer, CONFIG, 1, [1.0])
    with pytest.raises(ConfigError, match="other options"):
        load_checkpoint(path, model, optimizer, replace(CONFIG, servers=1), [])
    more = replace(CONFIG, training=TrainingConfig(epochs=9))
    assert load_checkpoint(path, model, optimizer, more, []) == 1
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StorageError, match="not a readable checkpoint"):
        load_checkpoint(path, model, optimizer, CONFIG, [])
