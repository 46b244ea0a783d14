"""Seconds and memory of the partitioners on a graph of millions of edges, METIS beside them in the same run.

Every method runs in a process of its own that has loaded the graph and nothing else of weight; its extra
memory is the peak above what the loaded graph took. METIS gets the finished symmetric arrays, so only its own
memory counts.

    python benchmarks/partitioning.py --edges 10_000_000 --parts 32
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shoestring.graphs.csr import Csr, csr_from_edge_index
from shoestring.graphs.partition import Partition, partition

METHODS = ("random", "spinner", "switching", "switching-random-start", "metis")


def make_graph(num_edges: int, seed: int) -> Csr:
    """Undirected synthetic graph: most edges near in a hidden order, a tenth anywhere; ids shuffled."""
    rng = np.random.default_rng(seed)
    num = max(num_edges // 10, 2)
    source = rng.integers(0, num, num_edges + num_edges // 20)
    near = source + np.rint(rng.laplace(0, 200, source.shape)).astype(np.int64)
    anywhere = rng.integers(0, num, source.shape)
    target = np.where(rng.random(source.shape) < 0.9, near, anywhere) % num
    low, high = np.minimum(source, target), np.maximum(source, target)
    keys = np.unique((low * num + high)[low != high])
    if len(keys) > num_edges:
        keys = rng.choice(keys, num_edges, replace=False)
    shuffle = rng.permutation(num)
    ends = torch.from_numpy(np.stack([shuffle[keys // num], shuffle[keys % num]]))
    return csr_from_edge_index(torch.cat([ends, ends.flip(0)], 1), num)


def status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}; this benchmark needs Linux")


def cut(csr: Csr, parts: int, method: str, seed: int) -> Partition:
    if method == "metis":
        import pymetis

        adjacency = pymetis.CSRAdjacency(csr.indptr.to(torch.int32).numpy(), csr.indices.numpy())
        made = pymetis.part_graph(parts, adjacency, recursive=False)
        part = torch.from_numpy(np.asarray(made.vertex_part, dtype=np.int32))
        return Partition(part=part, num_parts=parts, csr=csr, method=method)
    if method == "switching-random-start":
        return partition(csr, parts, "switching", init="random", seed=seed)
    return partition(csr, parts, method, seed=seed)  # type: ignore[arg-type]  # METHODS holds the names


def child(folder: Path, method: str, parts: int, seed: int) -> None:
    indptr, indices = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("indptr", "indices"))
    csr = Csr(indptr, indices, None, indptr.numel() - 1)
    cut(Csr(torch.tensor([0, 1, 2]), torch.tensor([1, 0], dtype=torch.int32), None, 2), 2, method, 0)  # loads
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = status_bytes("VmRSS")
    start = time.perf_counter()
    made = cut(csr, parts, method, seed)
    seconds = time.perf_counter() - start
    extra = status_bytes("VmHWM") - before
    row = {
        "method": method,
        "seconds": seconds,
        "iterations": made.iterations,
        "extra_bytes": extra,
        "alpha": made.alpha,
        "dependants": made.dependants,
        "balance": made.balance,
    }
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edges", type=lambda text: int(text.replace("_", "")), default=10_000_000)
    parser.add_argument("--parts", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--child", nargs=4, metavar=("FOLDER", "METHOD", "PARTS", "SEED"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.child:
        folder, method, parts, seed = options.child
        child(Path(folder), method, int(parts), int(seed))
        return
    with tempfile.TemporaryDirectory() as name:
        csr = make_graph(options.edges, seed=0)
        np.save(Path(name) / "indptr.npy", csr.indptr.numpy())
        np.save(Path(name) / "indices.npy", csr.indices.numpy())
        graph_bytes = csr.nbytes
        print(f"{csr.num_rows:,} vertices, {csr.num_edges // 2:,} edges, {graph_bytes / 2**20:.0f} MiB")
        del csr
        rows: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
        for seed in range(options.runs):  # interleaved
            for method in METHODS:
                arguments = ["--child", name, method, str(options.parts), str(seed)]
                done = subprocess.run(
                    [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
                )
                rows[method].append(json.loads(done.stdout))
    report(rows, graph_bytes)
    if options.json:
        options.json.write_text(json.dumps({"graph_bytes": graph_bytes, "runs": rows}, indent=1))


def report(rows: dict[str, list[dict[str, Any]]], graph_bytes: int) -> None:
    def middle(method: str, key: str) -> float:
        return float(statistics.median(row[key] for row in rows[method]))

    heads = ("seconds", "its", "s/it", "extra MiB", "of graph", "alpha", "parts read", "balance")
    print(f"{'method':24}" + "".join(f"{head:>11}" for head in heads))
    for method in METHODS:
        seconds, its, extra = (middle(method, key) for key in ("seconds", "iterations", "extra_bytes"))
        cells = (
            f"{seconds:.2f}",
            f"{its:.0f}" if its else "-",
            f"{seconds / its:.2f}" if its else "-",
            f"{extra / 2**20:.0f}",
            f"{extra / graph_bytes:.2f}",
            *(f"{middle(method, key):.2f}" for key in ("alpha", "dependants", "balance")),
        )
        print(f"{method:24}" + "".join(f"{cell:>11}" for cell in cells))
    factor = middle("metis", "extra_bytes") / middle("switching", "extra_bytes")
    seen = [row["seconds"] for row in rows["switching"]]
    print(
        f"METIS takes {factor:.1f} times the extra memory of the switching-aware partitioner, whose seconds"
    )
    print(f"over {len(seen)} runs lie between {min(seen):.2f} and {max(seen):.2f}")


if __name__ == "__main__":
    main()
