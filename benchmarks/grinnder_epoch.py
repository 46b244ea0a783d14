"""Time a GriNNder epoch against PyG's full batch when everything fits in memory.

PyG in two forms: `edge_index` as given, and its best for GCN, the normalised adjacency made once as a sparse
CSR tensor (``normalize=False``). The same weights, loss and graph for all. All arms take turns in one run,
the best form of PyG twice a round (A/A), so that the spread of two equal things stands beside the ratio.

    python benchmarks/grinnder_epoch.py --threads 1 2 --parts 1 4 --json out.json
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from shoestring.data.graphs.generators import block_model
from shoestring.evidence.environment import hardware, versions
from shoestring.graphs.csr import csr_from_edge_index
from shoestring.graphs.grinnder import Config, Trainer, prepare
from shoestring.graphs.models import build_gnn

GOAL = 1.5


def adjacency(data: Data) -> Tensor:
    """PyG's GCN normalisation, cached as a sparse CSR tensor: row = target."""
    edge_index, weights = gcn_norm(data.edge_index, None, data.num_nodes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return csr_from_edge_index(edge_index, data.num_nodes, weights).to_torch()


def full_batch(model: nn.Module, data: Data, edges: Tensor) -> Callable[[], float]:
    """One epoch of PyG without the optimiser's step."""

    def epoch() -> float:
        model.zero_grad()
        out = model(data.x, edges)[data.train_mask]
        loss = nn.functional.cross_entropy(out, data.y[data.train_mask])
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own method lacks types
        return float(loss.detach())

    return epoch


def measure(arms: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every arm, arms interleaved; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, arm in arms.items():
            start = time.perf_counter()
            arm()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def run(options: argparse.Namespace, threads: int, folder: Path) -> dict[str, Any]:
    """All arms at one number of threads."""
    torch.set_num_threads(threads)
    data = block_model(
        options.nodes, options.degree, num_communities=32, num_features=options.width, inside=0.9
    )
    classes = int(data.y.max()) + 1
    torch.manual_seed(0)
    model = build_gnn("gcn", options.width, options.width, classes, options.layers)
    cached = build_gnn("gcn", options.width, options.width, classes, options.layers)
    cached.load_state_dict(model.state_dict())
    for conv in cached.convs:
        setattr(conv, "normalize", False)  # noqa: B010  # nn.Module's stub takes no bool
    matrix = adjacency(data)
    arms: dict[str, Callable[[], float]] = {
        "PyG, cached adjacency": full_batch(cached, data, matrix),
        "PyG, cached adjacency, again": full_batch(cached, data, matrix),
        "PyG, edge_index": full_batch(model, data, data.edge_index),
    }
    trainers = []
    for parts in options.parts:
        config = Config(storage=folder, parts=parts, device_budget="8GiB", host_budget="8GiB")
        own = build_gnn("gcn", options.width, options.width, classes, options.layers)
        own.load_state_dict(model.state_dict())
        trainer = Trainer(own, prepare(data, config, own), config)
        trainers.append(trainer)
        arms[f"GriNNder, {parts} part(s)"] = trainer.loss_and_gradients
    losses = {name: arm() for name, arm in arms.items()}
    seconds = measure(arms, options.rounds)
    for trainer in trainers:
        trainer.close()
    return report(threads, losses, seconds)


def report(threads: int, losses: dict[str, float], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Print and return medians and ratios to PyG's best."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(medians["PyG, cached adjacency"], medians["PyG, edge_index"])
    print(f"{threads} thread(s)")
    for name, median in medians.items():
        print(f"  {name:30} {median * 1000:8.1f} ms   {median / best:5.2f} x   loss {losses[name]:.6f}")
    again = medians["PyG, cached adjacency, again"] / medians["PyG, cached adjacency"]
    worst = max(m / best for n, m in medians.items() if n.startswith("GriNNder"))
    print(f"  A/A {again:.3f}; worst ratio {worst:.2f}, goal {GOAL}: {'met' if worst <= GOAL else 'missed'}")
    return {"threads": threads, "seconds": seconds, "losses": losses, "a_a": again, "worst_ratio": worst}


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description="GriNNder against PyG full batch, everything in memory")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--nodes", type=int, default=30_000)
    parser.add_argument("--degree", type=float, default=12.0)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [run(options, threads, Path(folder)) for threads in options.threads]
    if options.json:
        result = {"runs": runs, "hardware": hardware(), "versions": versions(), "goal": GOAL}
        options.json.write_text(json.dumps(result, indent=1, default=str))


if __name__ == "__main__":
    main()
