"""GriNNder's gradients are those of PyG on the whole graph, whatever the parts, the cache and the mode."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn.models import GAT, GCN, GraphSAGE

from shoestring.graphs.grinnder import Config, Trainer, prepare
from shoestring.graphs.grinnder._budgets import needs_of
from shoestring.graphs.grinnder._models import as_layers
from shoestring.graphs.models import GnnKind, build_gnn

TOLERANCE = 1e-9
WAYS = [
    ("grinnder", "lru_layer"),
    ("grinnder", "partition_lru"),
    ("grinnder", "one_layer"),
    ("regather", "partition_lru"),
    ("hongtu", "partition_lru"),
    ("snapshot", "partition_lru"),
    ("plain", "partition_lru"),
]


def awkward_graph(num: int = 60, seed: int = 0) -> Data:
    """Directed, with a hub, isolated vertices, duplicate edges and self-loops; few training vertices."""
    rng = torch.Generator().manual_seed(seed)
    edges = torch.randint(0, num - 5, (2, 4 * num), generator=rng)
    spokes = torch.stack([torch.arange(num - 6), torch.zeros(num - 6, dtype=torch.long)])
    loops = torch.tensor([[3, 4, 5, 5], [3, 4, 5, 5]])
    return Data(
        x=torch.randn(num, 7, generator=rng, dtype=torch.float64),
        edge_index=torch.cat([edges, edges[:, :20], spokes, spokes.flip(0), loops], 1),
        y=torch.randint(0, 4, (num,), generator=rng),
        train_mask=torch.rand(num, generator=rng) < 0.3,
    )


def full_batch(model: nn.Module, data: Data) -> tuple[float, list[Tensor]]:
    model.zero_grad()
    out = model(data.x, data.edge_index)
    loss = nn.functional.cross_entropy(out[data.train_mask], data.y[data.train_mask])
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own method lacks types
    return float(loss.detach()), [cast("Tensor", p.grad).clone() for p in model.parameters()]


def least_budgets(config: Config, model: nn.Module, data: Data, mode: Any) -> Config:
    """Shrink both budgets to the minimum, so that the cache must evict in every epoch."""
    graph = prepare(data, config, model, mode=mode)
    needs = needs_of(graph.sizes, as_layers(model), mode)
    return replace(config, host_budget=needs.host_minimum, device_budget=needs.device_minimum)


def worst_gap(model: nn.Module, data: Data, config: Config, mode: Any, epochs: int) -> tuple[float, int]:
    """Largest difference of loss or gradient over several epochs, and the evictions in the last of them."""
    loss, wanted = full_batch(model, data)
    gap, evictions = 0.0, 0
    with Trainer(model, prepare(data, config, model, mode=mode), config, mode=mode) as trainer:
        for epoch in range(epochs):
            before = trainer.tiers.ledger.evictions
            gap = max(gap, abs(trainer.loss_and_gradients(epoch) - loss))
            evictions = trainer.tiers.ledger.evictions - before
            for parameter, grad in zip(model.parameters(), wanted, strict=True):
                gap = max(gap, float((cast("Tensor", parameter.grad) - grad).abs().max()))
    return gap, evictions


@pytest.mark.parametrize(("mode", "cache"), WAYS)
@pytest.mark.parametrize("parts", [1, 3, 8, 17])
@pytest.mark.parametrize("kind", ["gcn", "sage", "gat"])
def test_gradients_are_exact(kind: GnnKind, parts: int, mode: Any, cache: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = awkward_graph()
    model = build_gnn(kind, 7, 8, 4, 3, heads=2, norm="layer").double()
    config = Config(storage=tmp_path, parts=parts, dtype="float64", cache=cache, host_budget="100MiB")
    if parts > 1 and cache != "lru_layer":
        config = least_budgets(config, model, data, mode)
    gap, _ = worst_gap(model, data, config, mode, epochs=2)
    assert gap < TOLERANCE


def test_more_partitions_than_vertices_leave_some_empty_and_the_gradients_exact(tmp_path: Path) -> None:
    data = awkward_graph(40)
    model = build_gnn("gcn", 7, 8, 4, 2).double()
    config = Config(storage=tmp_path, parts=50, dtype="float64", cache="partition_lru")
    gap, _ = worst_gap(model, data, config, "grinnder", epochs=2)
    assert gap < TOLERANCE


@pytest.mark.parametrize("policy", ["min", "lru"])
@pytest.mark.parametrize("hybrid", [True, False])
def test_evictions_in_epochs_after_the_first_leave_nothing_stale(
    policy: Any, hybrid: bool, tmp_path: Path
) -> None:
    """Weights change between the epochs, so an activation of an earlier one would be noticed."""
    torch.manual_seed(0)
    data = awkward_graph(300)
    model = build_gnn("sage", 7, 16, 4, 3).double()
    config = Config(
        storage=tmp_path, parts=8, dtype="float64", cache="partition_lru", policy=policy, hybrid=hybrid
    )
    config = least_budgets(config, model, data, "grinnder")
    graph = prepare(data, config, model)
    with Trainer(model, graph, config) as trainer:
        for epoch in range(4):
            loss, wanted = full_batch(model, data)
            before = trainer.tiers.ledger.evictions
            assert abs(trainer.loss_and_gradients(epoch) - loss) < TOLERANCE
            if not hybrid:
                assert trainer.tiers.ledger.evictions > before
            for parameter, grad in zip(model.parameters(), wanted, strict=True):
                assert torch.allclose(cast("Tensor", parameter.grad), grad, rtol=0, atol=TOLERANCE)
                parameter.data -= 0.1 * cast("Tensor", parameter.grad)


@pytest.mark.parametrize("mode", ["grinnder", "hongtu", "snapshot"])
def test_with_dropout_one_partition_equals_eight(mode: Any, tmp_path: Path) -> None:
    data = awkward_graph(120)
    found = []
    for parts in (1, 8):
        torch.manual_seed(0)
        model = build_gnn("gcn", 7, 16, 4, 3, dropout=0.5, norm="layer").double()
        config = Config(storage=tmp_path / str(parts), parts=parts, dtype="float64")
        with Trainer(model, prepare(data, config, model, mode=mode), config, mode=mode) as trainer:
            found.append(trainer.fit(3, lr=0.05).losses)
            plain = Trainer.evaluate(trainer)
        assert set(plain) >= {"train"}
    assert found[0] == pytest.approx(found[1], abs=TOLERANCE)
    assert len(set(found[0])) == 3


def test_dropout_is_really_on(tmp_path: Path) -> None:
    data = awkward_graph(120)
    losses = []
    for dropout in (0.0, 0.5):
        torch.manual_seed(0)
        model = build_gnn("gcn", 7, 16, 4, 2, dropout=dropout).double()
        config = Config(storage=tmp_path / str(dropout), parts=3, dtype="float64")
        with Trainer(model, prepare(data, config, model), config) as trainer:
            losses.append(trainer.loss_and_gradients(0))
    assert losses[0] != pytest.approx(losses[1], abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (GCN, {}),
        (GraphSAGE, {"norm": "layer_norm", "norm_kwargs": {"mode": "node"}}),
        (GAT, {"heads": 2}),
    ],
)
def test_a_model_of_pyg_is_trained_as_it_is_and_leaves_with_its_own_state(
    kind: type[nn.Module], options: dict[str, Any], tmp_path: Path
) -> None:
    data = awkward_graph()
    torch.manual_seed(0)
    model = kind(7, 8, 3, 4, **options).double()
    config = Config(storage=tmp_path, parts=4, dtype="float64")
    gap, _ = worst_gap(model, data, config, "grinnder", epochs=2)
    assert gap < TOLERANCE
    with Trainer(model, prepare(data, config, model), config) as trainer:
        trainer.fit(2)
        logits = trainer.predict()
    again = kind(7, 8, 3, 4, **options).double()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.allclose(again.eval()(data.x, data.edge_index), logits, rtol=0, atol=TOLERANCE)
