"""What an accelerator runs: a topology, and where the inputs of every layer are zero.

Activations come from a real training (`Workload.train_residual`), from your own torch model
(`Workload.from_torch`), from a file (`Workload.from_npz`), or, as a labelled stand-in, from random zeros.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.files import write_bytes_atomic
from shoestring.core.optional import optional
from shoestring.silicon.patterns import Pattern
from shoestring.silicon.residual_gcn import TrainingConfig, train_residual_gcn
from shoestring.silicon.topology import Topology, load_graph, load_labelled_graph, topology_from_edges

__all__ = ["LayerShape", "Origin", "Workload"]

Origin = Literal["trained", "model", "file", "random zeros"]
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer: aggregate its input over the topology, multiply by weights, perhaps add the residual."""

    width_in: int
    """Columns of the input."""
    width_out: int
    """Columns of the output."""
    residual: bool
    """Whether the state of the layer before, (N, width_out), is added."""


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A GCN's inference on one graph.

    Attributes
    ----------
    topology : Topology
        A_hat: in-edges with self-loops and weights, as the aggregation reads them.
    inputs : tuple of Pattern
        Where the input of each layer is not zero, (N, width_in).
    layers : tuple of LayerShape
        One a layer.
    origin : str
        Where the zeros come from; ``"random zeros"`` is a stand-in and says so.
    name : str
        For reports.
    info : mapping
        What is known besides, plain JSON values (accuracy, seed, epochs).
    """

    topology: Topology
    inputs: tuple[Pattern, ...]
    layers: tuple[LayerShape, ...]
    origin: Origin
    name: str = "workload"
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers or len(self.inputs) != len(self.layers):
            raise DataError(
                f"{self.name}: {len(self.inputs)} inputs for {len(self.layers)} layers; give one each"
            )
        for number, (pattern, shape) in enumerate(zip(self.inputs, self.layers, strict=True)):
            if (pattern.num_rows, pattern.width) != (self.topology.num_nodes, shape.width_in):
                raise DataError(
                    f"{self.name}: the input of layer {number} is ({pattern.num_rows}, {pattern.width}); "
                    f"expected ({self.topology.num_nodes}, {shape.width_in})"
                )
            if shape.width_out < 1:
                raise DataError(f"{self.name}: layer {number} has width_out={shape.width_out}; at least 1")

    @property
    def zeros(self) -> tuple[float, ...]:
        """Share of zeros in the input of every layer."""
        return tuple(p.zeros for p in self.inputs)

    @property
    def hidden_zeros(self) -> float:
        """Mean share of zeros of the intermediate features, the inputs of all layers but the first."""
        return float(np.mean(self.zeros[1:])) if len(self.inputs) > 1 else 0.0

    @classmethod
    def train_residual(
        cls,
        graph: Any,
        layers: int = 28,
        width: int = 256,
        seed: int = 0,
        *,
        training: TrainingConfig | None = None,
        name: str | None = None,
        report_progress: Callable[[float, str], None] = lambda _fraction, _word: None,
    ) -> "Workload":
        """Train the residual GCN on a graph and keep the zeros of all its layers.

        Parameters
        ----------
        graph : str, Path or Data
            As `load_labelled_graph`: a generator's text, a file with features and labels, a PyG ``Data``.
        layers, width : int
            Of the network.
        seed : int
            Of a generated graph, the weights and the batches.
        training : TrainingConfig or None
            Everything else (residual or plain, epochs, learning rate, batches); `layers`, `width` and `seed`
            of it are replaced.
        name : str or None
            Which data set of a Planetoid folder with several.
        report_progress : callable
            Called with a fraction and a word.

        Returns
        -------
        Workload
            ``info`` holds the accuracies and the options.
        """
        config = replace(training or TrainingConfig(), layers=layers, width=width, seed=seed)
        labelled = load_labelled_graph(graph, name=name, seed=seed)
        trained = train_residual_gcn(labelled, config, report_progress)
        widths = [*(p.width for p in trained.inputs), trained.num_classes]
        shapes = tuple(
            LayerShape(widths[n], widths[n + 1], config.residual and 0 < n < layers - 1)
            for n in range(layers)
        )
        info = {
            "train_accuracy": trained.train_accuracy,
            "test_accuracy": trained.test_accuracy,
            "residual": config.residual,
            "epochs": config.epochs,
            "lr": config.lr,
            "batch_nodes": config.batch_nodes,
            "seed": seed,
            "graph": labelled.topology.source,
            "kind": labelled.topology.kind,
        }
        topology = labelled.topology.normalized()
        return cls(topology, trained.inputs, shapes, "trained", f"{layers} layers x {width}", info)

    @classmethod
    def from_torch(
        cls,
        model: Any,
        data: Any,
        *,
        layers: Sequence[str] | None = None,
        run: Callable[[Any, Any], Any] = lambda model, data: model(data.x, data.edge_index),
    ) -> "Workload":
        """Run a torch model once and keep the zeros of the inputs of its aggregating layers.

        Parameters
        ----------
        model : torch.nn.Module
            Any model; it is run as it is, in evaluation mode, without gradients.
        data : Data
            PyG's, or anything that `run` and `load_graph` take.
        layers : sequence of str or None
            Names of the modules that aggregate (as ``named_modules`` has them); None takes PyG's
            ``MessagePassing`` modules. The first argument of each is its feature matrix.
        run : callable
            Calls the model.

        Raises
        ------
        DataError
            A module that is not there, was not called, or whose input or output is no (N, width) matrix.
        """
        torch = optional("torch", extra="silicon")
        modules = _aggregating(model, layers)
        seen: list[tuple[Pattern, int]] = []

        def look(_module: Any, arguments: Any, output: Any) -> None:
            x = arguments[0][0] if isinstance(arguments[0], tuple | list) else arguments[0]
            seen.append((Pattern.from_array(x), int(output.shape[-1])))

        was_training = model.training
        handles = [module.register_forward_hook(look) for module in modules.values()]
        try:
            model.eval()
            with torch.no_grad():
                run(model, data)
        finally:
            model.train(was_training)
            for handle in handles:
                handle.remove()
        if len(seen) < len(modules):
            raise DataError(f"{len(modules)} modules ({', '.join(modules)}), but {len(seen)} were called")
        topology = load_graph(data).normalized()
        shapes = tuple(LayerShape(pattern.width, out, False) for pattern, out in seen)
        return cls(topology, tuple(p for p, _ in seen), shapes, "model", type(model).__name__)

    @classmethod
    def random_zeros(
        cls, graph: Any, layers: int, width: int, zeros: float | Sequence[float], seed: int = 0
    ) -> "Workload":
        """Make a stand-in whose zeros are drawn independently; real ones cluster by row and column.

        Parameters
        ----------
        graph : object
            As `load_graph`.
        layers, width : int
            Every layer is `width` wide.
        zeros : float or sequence of float
            Share of zeros, of all layers or of each.
        seed : int
            Of the zeros and of a generated graph.
        """
        shares = [zeros] * layers if isinstance(zeros, int | float) else list(zeros)
        if layers < 1 or width < 1 or len(shares) != layers:
            raise ConfigError(
                f"layers={layers}, width={width}, {len(shares)} shares of zeros; give one a layer"
            )
        topology = load_graph(graph, seed=seed).normalized()
        inputs = tuple(Pattern.random(topology.num_nodes, width, z, seed + n) for n, z in enumerate(shares))
        shapes = (LayerShape(width, width, True),) * layers
        return cls(
            topology, inputs, shapes, "random zeros", f"random zeros, {layers} x {width}", {"seed": seed}
        )

    def save(self, path: str | Path) -> None:
        """Write the workload to an npz that `from_npz` and plain numpy read; atomic, with checksums.

        The arrays: ``schema`` (1), ``indptr``, ``indices``, ``weights``; for every layer n ``bits_n`` (see
        `Pattern`); ``shapes`` int64 (L, 3): width_in, width_out, residual; ``about``, JSON.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ConfigError(f"a workload is written to .npz, not {path.name!r}")
        about = {"origin": self.origin, "name": self.name, "info": dict(self.info)}
        about |= {"source": self.topology.source, "kind": self.topology.kind}
        arrays: dict[str, Any] = {
            "schema": np.int64(_SCHEMA),
            "indptr": self.topology.indptr,
            "indices": self.topology.indices,
            "shapes": np.array([[s.width_in, s.width_out, s.residual] for s in self.layers], dtype=np.int64),
            "about": np.str_(json.dumps(about, sort_keys=True)),
        }
        if self.topology.weights is not None:
            arrays["weights"] = self.topology.weights
        arrays |= {f"bits_{n}": p.bits for n, p in enumerate(self.inputs)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes_atomic(path, buffer.getvalue())

    @classmethod
    def from_npz(cls, path: str | Path) -> "Workload":
        """Read a workload: what `save` wrote, or your own activations.

        Your own: ``edge_index`` (2, E) or ``indptr`` and ``indices`` of in-edges; ``weights`` (E,) if there
        are any; the inputs of the layers ``x_0``, ``x_1``, ... as (N, width) matrices; and, where outputs
        differ in width from the next input, ``shapes`` as in `save`. The topology is taken as it is, without
        loops added.

        Raises
        ------
        DataError
            A damaged file, a newer schema, missing arrays, ids out of range, weights that are not finite.
        """
        path = Path(path)
        arrays = _read_npz(path)
        topology = _read_topology(arrays, path)
        inputs = _read_inputs(arrays, path)
        if "shapes" in arrays:
            rows = np.asarray(arrays["shapes"])
            if rows.shape != (len(inputs), 3) or rows.dtype.kind not in "iu":
                raise DataError(
                    f"{path}: shapes are {rows.dtype} of {rows.shape}; give int64 ({len(inputs)}, 3)"
                )
            shapes = tuple(LayerShape(int(a), int(b), bool(c)) for a, b, c in rows)
        else:
            widths = [p.width for p in inputs]
            shapes = tuple(
                LayerShape(a, b, False) for a, b in zip(widths, [*widths[1:], widths[-1]], strict=True)
            )
        about = _read_about(arrays, path)
        topology = replace(
            topology, source=str(about.get("source", path)), kind=str(about.get("kind", "unknown"))
        )
        origin = about.get("origin", "file")
        if origin not in get_args(Origin):
            raise DataError(f"{path}: origin {origin!r} is not one of {', '.join(get_args(Origin))}")
        return cls(topology, inputs, shapes, origin, str(about.get("name", path.stem)), about.get("info", {}))


def _aggregating(model: Any, layers: Sequence[str] | None) -> dict[str, Any]:
    there = dict(model.named_modules())
    if layers is None:
        kind = optional("torch_geometric.nn", extra="silicon").MessagePassing
        found = {name: m for name, m in there.items() if isinstance(m, kind)}
        if not found:
            raise DataError("the model has no MessagePassing module; name its aggregating modules in layers=")
        return found
    missing = [name for name in layers if name not in there]
    if missing:
        raise DataError(f"the model has no module {missing[0]!r}; it has {', '.join(filter(None, there))}")
    return {name: there[name] for name in layers}


@contextmanager
def _as_data_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as e:
        if isinstance(e, DataError):
            raise
        raise DataError(f"{path} is no readable workload ({e}); write one with Workload.save") from e


def _read_npz(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; give an npz that Workload.save wrote, or your own (see from_npz)"
        )
    with _as_data_error(path), path.open("rb") as f, np.load(f, allow_pickle=False) as z:
        arrays = {key: z[key] for key in z.files}
        schema = int(arrays.get("schema", _SCHEMA))
    if schema > _SCHEMA:
        raise DataError(f"{path} has schema {schema}; this version reads up to {_SCHEMA}. Update shoestring")
    return arrays


def _read_topology(arrays: Mapping[str, Any], path: Path) -> Topology:
    weights = arrays.get("weights")
    if "edge_index" in arrays:
        edges = arrays["edge_index"]
        num = _num_rows(arrays, path)
    elif "indptr" in arrays and "indices" in arrays:
        indptr, indices = (np.asarray(arrays[k]) for k in ("indptr", "indices"))
        if indptr.ndim != 1 or not indptr.size or indptr[0] != 0 or np.diff(indptr).min(initial=0) < 0:
            raise DataError(f"{path}: indptr must be one row of numbers that starts at 0 and never falls")
        if indptr[-1] != indices.size:
            raise DataError(f"{path}: indptr ends at {indptr[-1]}, but there are {indices.size} indices")
        num = indptr.size - 1
        edges = np.stack([indices.astype(np.int64), np.repeat(np.arange(num), np.diff(indptr))])
    else:
        raise DataError(f"{path} holds {', '.join(arrays)}; expected edge_index, or indptr and indices")
    return topology_from_edges(edges, num, weights, source=str(path))


def _num_rows(arrays: Mapping[str, Any], path: Path) -> int:
    first = arrays.get("x_0", arrays.get("bits_0"))
    if first is None or np.ndim(first) != 2:
        raise DataError(f"{path} holds {', '.join(arrays)}; expected the input of the first layer as x_0")
    return int(first.shape[0])


def _read_inputs(arrays: Mapping[str, Any], path: Path) -> tuple[Pattern, ...]:
    inputs: list[Pattern] = []
    widths = arrays.get("shapes")
    while (key := f"bits_{len(inputs)}") in arrays:
        if widths is None or np.ndim(widths) != 2 or len(inputs) >= len(widths):
            raise DataError(f"{path}: {key} has no width; give shapes, int64 (layers, 3)")
        inputs.append(Pattern(arrays[key], int(widths[len(inputs), 0])))
    while not inputs or (key := f"x_{len(inputs)}") in arrays:
        key = f"x_{len(inputs)}"
        if key not in arrays:
            raise DataError(
                f"{path} holds {', '.join(arrays)}; expected the inputs of the layers, x_0, x_1, ..."
            )
        inputs.append(Pattern.from_array(arrays[key]))
    return tuple(inputs)


def _read_about(arrays: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if "about" not in arrays:
        return {}
    with _as_data_error(path):
        about = json.loads(str(arrays["about"]))
    if not isinstance(about, dict):
        raise DataError(f"{path}: about is no JSON object")
    return about
