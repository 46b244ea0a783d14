"""A plan predicts the bytes of a real epoch exactly, and refuses what does not fit."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch_geometric.data import Data

from shoestring.data.graphs.generators import block_model
from shoestring.graphs.grinnder import Config, Trainer, plan, prepare
from shoestring.graphs.grinnder.config import Mode
from shoestring.graphs.models import GnnStack, build_gnn

MODES: tuple[Mode, ...] = get_args(Mode)


@pytest.fixture(scope="module")
def data() -> Data:
    return block_model(1500, 8, num_communities=6, num_features=16, seed=0)


@pytest.fixture
def model() -> GnnStack:
    torch.manual_seed(0)
    return build_gnn("sage", 16, 32, 6, 3, dropout=0.5)


@pytest.mark.parametrize("host", ["96KiB", "4MiB"], ids=["cache-of-partitions", "everything-fits"])
@pytest.mark.parametrize("mode", MODES)
def test_the_bytes_are_those_of_an_epoch_after_the_first(
    mode: Mode, host: str, data: Data, model: GnnStack, tmp_path: Path
) -> None:
    host = (
        "1MiB" if mode == "plain" and host == "96KiB" else host
    )  # it stages a whole partition's saved tensors
    config = Config(device_budget="4MiB", host_budget=host, storage=tmp_path, parts=8)
    (predicted,) = plan(data, model, config, [mode])
    assert predicted.fits, predicted.why_not
    graph = prepare(data, config, model, mode=mode)
    with Trainer(model, graph, config, mode=mode) as trainer:
        epoch = trainer.fit(3).epochs[-1]
    assert predicted.device_host_bytes == epoch.ledger.total("device-host")
    assert predicted.host_storage_bytes == epoch.ledger.total("host-storage")
    assert predicted.device_storage_bytes == epoch.ledger.total("device-storage")
    assert predicted.storage_read_bytes == epoch.ledger.storage_read_bytes
    assert predicted.storage_write_bytes == epoch.ledger.storage_write_bytes
    assert predicted.hit_rate == pytest.approx(epoch.ledger.hit_rate)
    assert predicted.modelled_epoch_s is not None
    assert predicted.modelled_epoch_s > 0


def test_a_plan_leaves_the_model_as_it_was(data: Data, model: GnnStack, tmp_path: Path) -> None:
    model.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plan(
        data, model, Config(device_budget="4MiB", host_budget="4MiB", storage=tmp_path, parts=4), ["grinnder"]
    )
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_budget_below_the_minimum_is_told_with_the_minimum_that_then_fits(
    data: Data, model: GnnStack, tmp_path: Path
) -> None:
    config = Config(device_budget="64KiB", host_budget="4MiB", storage=tmp_path, parts=4)
    (small,) = plan(data, model, config, ["grinnder"])
    assert not small.fits
    assert "device" in small.why_not
    least = small.device_minimum_bytes
    assert least is not None
    (enough,) = plan(
        data, model, Config(device_budget=least, host_budget="4MiB", storage=tmp_path, parts=4), ["grinnder"]
    )
    assert enough.fits
    assert enough.device_minimum_bytes == least


def test_nothing_but_the_prepared_graph_is_left_on_storage(
    data: Data, model: GnnStack, tmp_path: Path
) -> None:
    config = Config(device_budget="4MiB", host_budget="96KiB", storage=tmp_path, parts=4)
    plan(data, model, config, ["grinnder"])
    files = [p for p in tmp_path.rglob("*") if p.is_file() and "prepared" not in p.parts]
    assert files == []
