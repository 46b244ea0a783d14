from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.nn import GCN

from shoestring.core.errors import ConfigError, DataError
from shoestring.data.graphs.generators import block_model
from shoestring.silicon.patterns import Pattern
from shoestring.silicon.residual_gcn import TrainingConfig, train_residual_gcn
from shoestring.silicon.topology import load_labelled_graph
from shoestring.silicon.workload import LayerShape, Workload

GRAPH = "sbm:n=300,deg=8,low=50,high=100"
SHORT = TrainingConfig(epochs=30)


def test_a_training_learns_and_keeps_every_layer() -> None:
    made = Workload.train_residual(GRAPH, 4, 16, training=SHORT)
    assert made.origin == "trained"
    assert made.info["train_accuracy"] > 0.8
    assert [p.width for p in made.inputs] == [512, 16, 16, 16]
    assert made.layers[0] == LayerShape(512, 16, False)
    assert made.layers[1] == LayerShape(16, 16, True)
    assert made.layers[-1].residual is False
    assert 0 < made.hidden_zeros < 1
    assert made.topology.num_edges > 300  # self-loops are there


def test_the_plain_network_has_no_residual_and_the_same_seed_the_same_zeros() -> None:
    plain = TrainingConfig(epochs=3, residual=False)
    one, two = (Workload.train_residual(GRAPH, 3, 8, training=plain) for _ in range(2))
    assert not any(s.residual for s in one.layers)
    for a, b in zip(one.inputs, two.inputs, strict=True):
        np.testing.assert_array_equal(a.bits, b.bits)


def test_the_network_is_the_formula_of_the_paper() -> None:
    """Without a step, zeros are those of the formula computed with scipy and the same first weights."""
    from shoestring.silicon import residual_gcn

    graph = load_labelled_graph(GRAPH)
    config = TrainingConfig(layers=4, width=8, epochs=0)
    trained = train_residual_gcn(graph, config)
    weights = [w.detach().numpy() for w in residual_gcn._init_weights(512, 5, config)]
    weights[-1] = weights[-1][:, : trained.num_classes]
    a_hat = graph.topology.normalized().to_scipy()
    state = a_hat @ ((graph.x / graph.x.sum(axis=1, keepdims=True)) @ weights[0])
    for layer in (1, 2):
        x = np.maximum(state, 0)
        np.testing.assert_array_equal(trained.inputs[layer].mask(), x > 0)
        state = a_hat @ x @ weights[layer] + state
    np.testing.assert_array_equal(trained.inputs[3].mask(), state > 0)


def test_batches_of_local_ids_train_too() -> None:
    made = Workload.train_residual(
        "sbm:n=2048,deg=8,classes=3", 3, 16, training=TrainingConfig(epochs=60, batch_nodes=1024, lr=0.01)
    )
    assert made.info["test_accuracy"] > 0.8


def test_any_torch_model_can_be_looked_into_and_is_left_as_it_was() -> None:
    data = block_model(200, 6, num_communities=4, seed=0)
    torch.manual_seed(0)
    model = GCN(4, 16, num_layers=3, out_channels=4)
    model.train()
    made = Workload.from_torch(model, data)
    assert made.origin == "model"
    assert [(s.width_in, s.width_out) for s in made.layers] == [(4, 16), (16, 16), (16, 4)]
    hidden = model.convs[0](data.x, data.edge_index).relu()
    np.testing.assert_array_equal(made.inputs[1].mask(), (hidden > 0).numpy())
    assert model.training
    assert not model.convs[0]._forward_hooks
    named = Workload.from_torch(model, data, layers=["convs.1"])
    np.testing.assert_array_equal(named.inputs[0].bits, made.inputs[1].bits)


def test_models_without_aggregation_and_unknown_names_are_refused() -> None:
    data = block_model(20, 3, num_communities=4, seed=0)
    with pytest.raises(DataError, match="MessagePassing"):
        Workload.from_torch(torch.nn.Linear(4, 4), data, run=lambda m, d: m(d.x))
    with pytest.raises(DataError, match="'conv9'"):
        Workload.from_torch(GCN(4, 4, num_layers=2), data, layers=["conv9"])


def test_saved_workloads_come_back(tmp_path: Path) -> None:
    made = Workload.train_residual(GRAPH, 3, 9, training=TrainingConfig(epochs=2))
    made.save(tmp_path / "w.npz")
    back = Workload.from_npz(tmp_path / "w.npz")
    assert (back.layers, back.origin, back.name, back.info) == (
        made.layers,
        made.origin,
        made.name,
        made.info,
    )
    np.testing.assert_array_equal(back.topology.indices, made.topology.indices)
    np.testing.assert_array_equal(back.topology.weights, made.topology.weights)
    assert back.topology.source == made.topology.source
    for a, b in zip(back.inputs, made.inputs, strict=True):
        np.testing.assert_array_equal(a.bits, b.bits)


def own_file(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "edge_index": np.array([[0, 1, 2], [1, 2, 0]]),
        "weights": np.ones(3, np.float32),
        "x_0": rng.standard_normal((3, 6)).astype(np.float32),
        "x_1": np.maximum(rng.standard_normal((3, 4)), 0),
    }
    arrays |= changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def test_your_own_activations_are_read(tmp_path: Path) -> None:
    made = Workload.from_npz(own_file(tmp_path / "own.npz"))
    assert made.origin == "file"
    assert [(s.width_in, s.width_out) for s in made.layers] == [(6, 4), (4, 4)]
    assert made.topology.num_edges == 3
    rows = Workload.from_npz(
        own_file(
            tmp_path / "rows.npz",
            edge_index=None,
            indptr=np.array([0, 1, 2, 3]),
            indices=np.array([2, 0, 1]),
            shapes=np.array([[6, 4, 0], [4, 7, 1]]),
        )
    )
    assert rows.layers[1] == LayerShape(4, 7, True)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"edge_index": np.array([[0], [9]]), "weights": None}, r"ids 0 \.\. 9"),
        ({"weights": np.array([1, np.nan, 1])}, "1 of 3 edge weights are NaN"),
        ({"x_0": None}, "x_0"),
        ({"x_1": np.zeros((2, 4))}, r"input of layer 1 is \(2, 4\)"),
        ({"edge_index": None}, "expected edge_index"),
        ({"schema": np.int64(9)}, "schema 9"),
        ({"shapes": np.array([[6, 4]])}, "shapes"),
        ({"shapes": np.array([[6, 4, 0], [5, 4, 0]])}, r"expected \(3, 5\)"),
        ({"edge_index": None, "indptr": np.array([0, 2, 1, 3]), "indices": np.zeros(3, int)}, "indptr"),
        ({"edge_index": None, "indptr": np.array([0, 1, 2, 4]), "indices": np.zeros(3, int)}, "ends at 4"),
        ({"about": np.str_("{")}, "no readable workload"),
        ({"about": np.str_('{"origin": "guess"}')}, "guess"),
    ],
)
def test_bad_files_get_one_line_that_names_what(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    path = own_file(tmp_path / "bad.npz", **changes)
    with pytest.raises(DataError, match=match) as caught:
        Workload.from_npz(path)
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    path = own_file(tmp_path / "w.npz")
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="no readable workload"):
        Workload.from_npz(path)
    with pytest.raises(DataError, match="does not exist"):
        Workload.from_npz(tmp_path / "none.npz")
    with pytest.raises(ConfigError, match=r"\.npz"):
        Workload.random_zeros("karate", 1, 4, 0.5).save(tmp_path / "w.txt")


def test_random_zeros_say_that_they_are() -> None:
    made = Workload.random_zeros("karate", 3, 64, [0.1, 0.5, 0.9])
    assert made.origin == "random zeros"
    assert made.zeros == pytest.approx((0.1, 0.5, 0.9), abs=0.05)
    with pytest.raises(ConfigError, match="shares"):
        Workload.random_zeros("karate", 3, 64, [0.1])


def test_inputs_must_fit_the_layers() -> None:
    topology = Workload.random_zeros("karate", 1, 4, 0.5).topology
    with pytest.raises(DataError, match="one each"):
        Workload(topology, (), (LayerShape(4, 4, False),), "file")
    with pytest.raises(DataError, match="width_out=0"):
        Workload(topology, (Pattern.dense(34, 4),), (LayerShape(4, 0, False),), "file")


@pytest.mark.parametrize(
    ("options", "match"), [({"layers": 1}, "layers=1"), ({"lr": 0.0}, r"lr=0\.0"), ({"width": 0}, "width=0")]
)
def test_bad_training_options_are_named(options: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TrainingConfig(**options)
