"""With sampling off, GraNNDis trains exactly as PyG in one process, however the graph is split."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from shoestring.core.config import to_dict
from shoestring.graphs.granndis import (
    CooperativeConfig,
    GranndisConfig,
    HaloConfig,
    ModelConfig,
    PlanConfig,
    TrainingConfig,
    train_single,
)
from shoestring.graphs.granndis._source import prepare_source
from shoestring.parallel.launch import RankResult, launch
from shoestring.parallel.topology import Topology

TOLERANCE = 1e-9
LAYERS, EPOCHS = 3, 2
TOPOLOGIES = [(2, 2), (1, 4), (4, 1)]
KINDS = ["sage", "gcn", "ressage"]


def awkward_graph() -> Data:
    """Directed clusters with a hub, isolated vertices, duplicate edges, self-loops; few training vertices."""
    rng = torch.Generator().manual_seed(0)
    num = 160
    source = torch.randint(0, num - 6, (900,), generator=rng)
    near = (source // 20 * 20 + torch.randint(0, 20, (900,), generator=rng)).clamp(max=num - 7)
    far = torch.randint(0, num - 6, (900,), generator=rng)
    edges = torch.stack([source, torch.where(torch.rand(900, generator=rng) < 0.8, near, far)])
    spokes = torch.stack([torch.arange(60), torch.full((60,), 7)])
    loops = torch.tensor([[3, 4, 5], [3, 4, 5]])
    mask = torch.rand(num, generator=rng) < 0.3
    return Data(
        x=torch.randn(num, 6, generator=rng, dtype=torch.float64),
        edge_index=torch.cat([edges, edges[:, :40], spokes, spokes.flip(0), loops], 1),
        y=torch.randint(0, 4, (num,), generator=rng),
        train_mask=mask,
        val_mask=~mask,
        test_mask=~mask,
    )


def config_of(topology: tuple[int, int], kind: Any, plan: PlanConfig, **model: Any) -> GranndisConfig:
    return GranndisConfig(
        servers=topology[0],
        ranks_per_server=topology[1],
        plan=plan,
        model=ModelConfig(kind=kind, layers=LAYERS, hidden=8, **model),
        training=TrainingConfig(epochs=EPOCHS, lr=0.01, dtype="float64", measure=True),
    )


def cases(topology: tuple[int, int], kind: str) -> dict[str, GranndisConfig]:
    """Every way of splitting that must not change the result."""
    plans = {f"k{k}": PlanConfig(mode="flexible", k=k) for k in range(LAYERS + 1)}
    plans["full"] = PlanConfig(mode="full")
    plans["full-hierarchical"] = PlanConfig(mode="full", halo=HaloConfig(hierarchical=True))
    plans["eas-all"] = PlanConfig(mode="eas", hops=LAYERS, fanout=-1)
    plans["unmasked"] = PlanConfig(mode="flexible", masking=False)
    plans["random-parts"] = PlanConfig(mode="flexible", partitioner="random")
    whole = CooperativeConfig(batches=1, sampler="sage", fanout=-1)
    plans["cooperative-all"] = PlanConfig(mode="cooperative", cooperative=whole)
    out = {name: config_of(topology, kind, plan) for name, plan in plans.items()}
    out["dropout"] = config_of(topology, kind, PlanConfig(mode="flexible"), dropout=0.5)
    return out


Launched = tuple[dict[str, GranndisConfig], list[RankResult]]


@pytest.fixture(
    scope="module",
    params=[(t, k) for t in TOPOLOGIES for k in KINDS],
    ids=lambda p: f"{p[1]}-{p[0][0]}x{p[0][1]}",
)
def launched(request: pytest.FixtureRequest) -> Launched:
    """One launch of the ranks serves all cases."""
    topology, kind = request.param
    configs = cases(topology, kind)
    source = prepare_source(awkward_graph(), configs["full"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        results = launch(
            "_granndis_program:run_cases",
            Topology(*topology),
            options={"cases": {name: to_dict(c) for name, c in configs.items()}},
            tensors=source.tensors(),
            timeout_s=300,
        )
    return configs, results


def reference(config: GranndisConfig) -> tuple[list[float], dict[str, Tensor]]:
    done = train_single(awkward_graph(), config)
    return done.loss, done.state_dict


def test_summed_gradients_and_losses_equal_one_process(launched: Launched) -> None:
    configs, results = launched
    for name, config in configs.items():
        seen = results[0].values[name]
        loss, state = reference(config)
        assert seen["loss"] == pytest.approx(loss, abs=TOLERANCE), name
        if config.model.dropout == 0 and config.plan.mode != "cooperative":
            assert seen["gradient_difference"] is not None, name
            assert seen["gradient_difference"] < TOLERANCE, name
        for key, value in state.items():
            # Two steps of Adam divide by the root of squared gradients, which enlarges rounding.
            assert torch.allclose(results[0].tensors[f"{name}/{key}"], value, rtol=0, atol=1e-6), (name, key)


def test_preloading_sends_no_row_between_servers_and_the_baseline_does(launched: Launched) -> None:
    configs, results = launched
    servers = next(iter(configs.values())).servers
    for name in configs:
        rows = sum(r.values[name]["inter_row_bytes"] for r in results)
        weights = sum(r.values[name]["inter_weight_bytes"] for r in results)
        silent = any(word in name for word in (f"k{LAYERS}", "eas", "unmasked", "random-parts", "dropout"))
        if silent or servers == 1:
            assert rows == 0, name
        else:
            assert rows > 0, name
        assert (weights > 0) == (servers > 1), name


def test_fewer_layers_cross_the_slow_link_as_k_grows(launched: Launched) -> None:
    _, results = launched
    rows = [sum(r.values[f"k{k}"]["inter_row_bytes"] for r in results) for k in range(LAYERS + 1)]
    assert rows == sorted(rows, reverse=True)


def test_inside_a_server_rows_do_travel(launched: Launched) -> None:
    configs, results = launched
    ranks = next(iter(configs.values())).ranks_per_server
    rows = sum(r.values[f"k{LAYERS}"]["intra_row_bytes"] for r in results)
    assert (rows > 0) == (ranks > 1)
