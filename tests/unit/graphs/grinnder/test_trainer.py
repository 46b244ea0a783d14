"""The trainer's borders: models of one's own, hubs, options, the search of the number of partitions."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import ConfigError, DataError, UnsupportedModelError
from shoestring.data.graphs.generators import block_model
from shoestring.graphs.csr import Block
from shoestring.graphs.grinnder import Config, LayerwiseModule, Trainer, prepare, train
from shoestring.graphs.grinnder.functional import greedy_order, sum_loss
from shoestring.graphs.models import build_gnn
from shoestring.graphs.sparse_ops import spmm
from shoestring.storage import BudgetExceeded


class Mixer(LayerwiseModule):
    """Mean of the neighbours beside the vertex itself, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.widths = (8, 12, 3)
        self.kinds = ("mean", "mean")
        self.linears = nn.ModuleList([nn.Linear(16, 12), nn.Linear(24, 3)])

    def forward_layer(self, layer: int, x: Tensor, block: Block) -> Tensor:
        both = torch.cat([x[: block.num_rows], spmm(block, x)], 1)
        out: Tensor = self.linears[layer](both)
        return out.tanh() if layer == 0 else out


@pytest.fixture
def data() -> Data:
    return block_model(200, 6.0, num_communities=3, num_features=8)


def test_a_layerwise_module_gives_the_same_gradients_in_one_and_in_five_parts(
    data: Data, tmp_path: Path
) -> None:
    found = []
    for parts in (1, 5):
        torch.manual_seed(0)
        model = Mixer().double()
        config = Config(storage=tmp_path, parts=parts, dtype="float64")
        with Trainer(model, prepare(data, config, model), config) as trainer:
            trainer.loss_and_gradients()
        found.append([p.grad for p in model.parameters()])
    for one, five in zip(*found, strict=True):
        assert one is not None
        assert five is not None
        assert torch.allclose(one, five, rtol=0, atol=1e-12)


def test_a_hub_that_does_not_fit_is_told_with_the_least_budget(tmp_path: Path) -> None:
    num = 400
    spokes = torch.stack([torch.arange(1, num), torch.zeros(num - 1, dtype=torch.long)])
    data = Data(x=torch.randn(num, 64), edge_index=spokes, y=torch.zeros(num, dtype=torch.long))
    model = build_gnn("gcn", 64, 8, 2, 2)
    with pytest.raises(BudgetExceeded, match="very many neighbours") as caught:
        prepare(data, Config(storage=tmp_path, device_budget="64KiB"), model)
    least = caught.value.minimum_bytes
    assert least is not None
    assert least > 64 << 10
    config = Config(storage=tmp_path, device_budget=least)
    with Trainer(model, prepare(data, config, model), config) as trainer:
        trainer.fit(1)


def test_a_smaller_device_means_more_partitions(data: Data, tmp_path: Path) -> None:
    model = build_gnn("gcn", 8, 16, 3, 2)
    large = prepare(data, Config(storage=tmp_path), model)
    small = prepare(data, Config(storage=tmp_path, device_budget="120KiB"), model)
    assert large.num_parts == 1
    assert small.num_parts > 1


def test_training_learns_and_the_weights_stay_in_the_model(data: Data, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_gnn("sage", 8, 16, 3, 2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    result = train(data, model, Config(storage=tmp_path, parts=3), epochs=12, lr=0.05)
    assert result.losses[-1] < result.losses[0]
    assert result.model is model
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert set(result.accuracy) == {"train", "val", "test"}
    assert result.device_emulated


def test_what_does_not_fit_together_is_refused(data: Data, tmp_path: Path) -> None:
    config = Config(storage=tmp_path, parts=2)
    model = build_gnn("gcn", 8, 16, 3, 2)
    graph = prepare(data, config, model)
    with pytest.raises(DataError, match="features"):
        Trainer(build_gnn("gcn", 9, 16, 3, 2), graph, config)
    with pytest.raises(DataError, match="classes"):
        Trainer(build_gnn("gcn", 8, 16, 2, 2), graph, config)
    with pytest.raises(DataError, match="topologies"):
        Trainer(build_gnn("gat", 8, 16, 3, 2), graph, config)
    with pytest.raises(ConfigError, match="float64"):
        Trainer(build_gnn("gcn", 8, 16, 3, 2).double(), graph, config)
    with pytest.raises(ConfigError, match="mode"):
        Trainer(model, graph, config, mode="swap")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(UnsupportedModelError, match="layer-wise"):
        prepare(data, config, nn.Linear(8, 3))


@pytest.mark.parametrize("wrong", [{"parts": 0}, {"device_budget": "much"}, {"cache": "fifo"}])
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        from_dict(Config, wrong)


def test_a_config_survives_a_round_trip() -> None:
    config = Config(parts=7, policy="lru", storage=Path("x"))
    assert from_dict(Config, to_dict(config)) == config


def test_graphs_without_what_training_needs_are_refused(data: Data, tmp_path: Path) -> None:
    model, config = build_gnn("gcn", 8, 16, 3, 2), Config(storage=tmp_path, parts=2)
    with pytest.raises(DataError, match="no y"):
        prepare(Data(x=data.x, edge_index=data.edge_index), config, model)
    nobody = Data(
        x=data.x, edge_index=data.edge_index, y=data.y, train_mask=torch.zeros(200, dtype=torch.bool)
    )
    with pytest.raises(DataError, match="training"):
        prepare(nobody, config, model)
    data.x[3, 1] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        prepare(data, config, model)


def test_the_order_of_targets_shares_sources() -> None:
    needs = [frozenset({0, 1}), frozenset({2, 3}), frozenset({1, 0}), frozenset({3, 0})]
    assert greedy_order(needs, [1, 1, 1, 1]) == [0, 2, 3, 1]


def test_the_sum_of_losses_of_parts_is_that_of_the_whole() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 4, generator=rng)
    y, mask = torch.randint(0, 4, (20,), generator=rng), torch.rand(20, generator=rng) < 0.5
    whole = sum_loss(logits, y, mask)
    parts = sum_loss(logits[:7], y[:7], mask[:7]) + sum_loss(logits[7:], y[7:], mask[7:])
    assert torch.allclose(whole, parts)
    assert float(sum_loss(logits[:3], y[:3], torch.zeros(3, dtype=torch.bool))) == 0.0
