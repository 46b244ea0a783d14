"""What the ledger counts: the kernel's figures, the formulas, and the budgets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from shoestring.data.graphs.generators import block_model
from shoestring.graphs.grinnder import Config, IoConfig, PreparedGraph, Trainer, prepare
from shoestring.graphs.grinnder.functional import epoch_volumes
from shoestring.graphs.models import build_gnn
from shoestring.storage import BudgetExceeded

HIDDEN, LAYERS = 64, 3


@pytest.fixture(scope="module")
def data() -> Data:
    return block_model(6000, 10, num_communities=16, num_features=HIDDEN, seed=0)


def model_for(data: Data) -> nn.Module:
    torch.manual_seed(0)
    return build_gnn("gcn", HIDDEN, HIDDEN, int(data.y.max()) + 1, LAYERS)


def cold(folder: Path, **options: Any) -> Config:
    """Nothing stays between two passes over a layer, so every byte of the formula has to move."""
    io = IoConfig(topology="resident")
    return Config(storage=folder, parts=6, cache="one_layer", fuse_last=False, hybrid=False, io=io, **options)


def storage_bytes(trainer: Trainer) -> int:
    ledger = trainer.tiers.ledger
    topology = sum(ledger.total(what=w) for w in ("topology", "transpose"))
    return ledger.storage_read_bytes + ledger.storage_write_bytes - topology


@pytest.mark.parametrize("mode", ["grinnder", "hongtu"])
def test_an_epoch_moves_the_bytes_of_the_formula(mode: Any, data: Data, tmp_path: Path) -> None:
    config, model = cold(tmp_path, policy="lru"), model_for(data)
    graph = prepare(data, config, model, mode=mode)
    with Trainer(model, graph, config, mode=mode) as trainer:
        trainer.loss_and_gradients()
        moved = storage_bytes(trainer)
    columns = [sum(graph.topology(graph.kinds[0]).cols)] * LAYERS
    expected = epoch_volumes(
        mode,
        widths=[HIDDEN] * LAYERS + [graph.num_classes],
        num_nodes=graph.num_nodes,
        columns=columns,
        itemsize=4,
    )
    assert moved == pytest.approx(expected.storage, rel=0.15)
    assert expected.storage_write > 0


def test_the_formula_is_the_one_of_the_paper_when_all_widths_are_equal() -> None:
    layer = 1000 * 8 * 4
    for alpha in (1, 2, 5):
        for layers in (1, 3, 5):
            sizes: dict[str, Any] = {
                "widths": [8] * (layers + 1),
                "num_nodes": 1000,
                "columns": [alpha * 1000] * layers,
                "itemsize": 4,
            }
            assert epoch_volumes("grinnder", **sizes).storage == (5 * layers - 1) * layer
            hongtu = (2 * alpha + 2) * layers + 2 * layers - 1
            assert epoch_volumes("hongtu", **sizes).storage == hongtu * layer


def read_proc_io() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"]) + int(lines["write_bytes"])


def test_the_ledger_agrees_with_what_the_kernel_counts(data: Data, tmp_path: Path) -> None:
    config, model = cold(tmp_path), model_for(data)
    graph = prepare(data, config, model)
    with Trainer(model, graph, config) as trainer:
        trainer.loss_and_gradients()  # code and libraries are loaded
        before, counted = read_proc_io(), trainer.tiers.ledger.copy()
        trainer.loss_and_gradients()
        moved, ledger = read_proc_io() - before, trainer.tiers.ledger.since(counted)
        if not trainer.tiers.engine.stats()["direct"]:
            pytest.skip("the file system refuses O_DIRECT, so the kernel counts cached pages")
    assert ledger.storage_read_bytes + ledger.storage_write_bytes == pytest.approx(moved, rel=0.10)


@pytest.mark.parametrize("tier", ["device", "host"])
@pytest.mark.parametrize("mode", ["grinnder", "hongtu", "snapshot"])
def test_a_budget_below_the_minimum_is_refused_and_the_named_minimum_is_enough(
    mode: Any, tier: str, data: Data, tmp_path: Path
) -> None:
    config, model = cold(tmp_path), model_for(data)
    config = replace(config, cache="auto")
    graph = prepare(data, config, model, mode=mode)

    def within(nbytes: int) -> Config:
        if tier == "device":
            return replace(config, device_budget=nbytes)
        return replace(config, host_budget=nbytes)

    with pytest.raises(BudgetExceeded, match="minimum") as caught:
        Trainer(model, graph, within(4096), mode=mode)
    least = caught.value.minimum_bytes
    assert caught.value.tier == tier
    assert least is not None
    with pytest.raises(BudgetExceeded):
        Trainer(model, graph, within(least - 1), mode=mode)
    with Trainer(model, graph, within(least), mode=mode) as trainer:
        trainer.fit(2)
        peak = {"device": trainer.tiers.device, "host": trainer.tiers.host}[tier].peak_bytes
    assert 0 < peak <= least


def test_a_prepared_graph_is_found_again(data: Data, tmp_path: Path) -> None:
    config, model = cold(tmp_path), model_for(data)
    first = prepare(data, config, model)
    stamp = (first.folder / "features.bin").stat().st_mtime_ns
    again = prepare(data, config, model)
    assert again.folder == first.folder
    assert (first.folder / "features.bin").stat().st_mtime_ns == stamp
    assert PreparedGraph(first.folder).num_nodes == 6000


def test_nothing_is_left_in_the_scratch_folder(data: Data, tmp_path: Path) -> None:
    config, model = cold(tmp_path), model_for(data)
    with Trainer(model, prepare(data, config, model), config) as trainer:
        trainer.fit(1)
    left = [p for p in (tmp_path / "scratch").rglob("*") if p.is_file() and p.stat().st_size]
    assert not left
