"""The compiled sparse products beside torch's and PyG's, and the floor that memory bandwidth sets.

Every pair runs interleaved; the table begins with an A/A run of the same kernel twice, so that the noise is
known. A gain below twice the A/A spread is printed as "none". The floor of a product is what it must move
at least once a value (rows read for every edge, result written) over the bandwidth of a copy measured in
the same run; caches can beat it.

    python benchmarks/sparse_kernels.py --nodes 100_000 --degree 15 --width 128
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, SAGEConv

from shoestring.data.graphs.generators import block_model
from shoestring.graphs import sparse_ops
from shoestring.graphs.convs import apply_conv, prepare_topology, topology_kind
from shoestring.graphs.csr import Block, csr_from_edge_index
from shoestring.graphs.dropout import dropout_rows
from shoestring.native import sparse


@dataclass(frozen=True)
class Row:
    what: str
    ours_s: float
    peer: str
    peer_s: float
    floor_s: float
    """0 where none is stated."""


def interleaved(
    one: Callable[[], object], two: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(repeats + 1):
        for run, kept in zip((one, two), times, strict=True):
            start = time.perf_counter()
            run()
            if i:  # the first round warms up
                kept.append(time.perf_counter() - start)
    return times


def push_through(call: Callable[[], torch.Tensor]) -> Callable[[], None]:
    return lambda: torch.autograd.backward(call().sum())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--degree", type=float, default=15.0)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    given = arguments()

    data = block_model(given.nodes, given.degree, num_features=max(given.width, 64))
    num, width = data.num_nodes, given.width
    csr = csr_from_edge_index(data.edge_index, num)
    graph = prepare_topology("gcn", csr)
    block, turned = Block(graph), Block(graph, graph.transposed())
    x = torch.randn(num, width, requires_grad=True)
    plain, other = x.detach(), torch.randn(num, width)
    forward, backward = graph.to_torch(), graph.transpose().to_torch()
    index = torch.randint(0, num, (num,), dtype=torch.int32)

    copies, _ = interleaved(lambda: other.copy_(plain), lambda: None, given.repeats)
    bandwidth = 2 * plain.numel() * 4 / min(copies)
    moved = (graph.num_edges + num) * width * 4 + graph.num_edges * 8
    floor = moved / bandwidth

    rows: list[Row] = []

    def compare(
        what: str, ours: Callable[[], object], peer: str, theirs: Callable[[], object], floor_s: float = 0.0
    ) -> None:
        one, two = interleaved(ours, theirs, given.repeats)
        rows.append(Row(what, statistics.median(one), peer, statistics.median(two), floor_s))

    def product() -> torch.Tensor:
        return sparse_ops.spmm(block, plain)

    aa = interleaved(product, product, 2 * given.repeats)
    spread = abs(statistics.median(aa[0]) / statistics.median(aa[1]) - 1)
    compare("A x", product, "torch.sparse.mm", lambda: torch.sparse.mm(forward, plain), floor)
    no_x = plain.clone().requires_grad_()
    out = sparse_ops.spmm(block, no_x)
    out_turned = sparse_ops.spmm(turned, no_x)

    def back(of: torch.Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(of, no_x, other, retain_graph=True)

    compare(
        "A^T g, no transpose kept",
        back(out),
        "torch.sparse.mm",
        lambda: torch.sparse.mm(backward, other),
        floor,
    )
    compare(
        "A^T g, transpose kept",
        back(out_turned),
        "torch.sparse.mm",
        lambda: torch.sparse.mm(backward, other),
        floor,
    )
    compare(
        "transpose of A", graph.transposed, "torch.argsort", lambda: torch.argsort(graph.indices, stable=True)
    )
    compare(
        "add rows",
        lambda: sparse_ops.scatter_add_rows_(other, index, plain),
        "index_add_",
        lambda: other.index_add_(0, index, plain),
        3 * plain.numel() * 4 / bandwidth,
    )
    compare(
        "dropout by vertex",
        lambda: dropout_rows(plain, 0.5, 1, torch.arange(num)),
        "nn.functional.dropout",
        lambda: nn.functional.dropout(plain),
        2 * plain.numel() * 4 / bandwidth,
    )
    heads = 4
    layers: list[nn.Module] = [
        GCNConv(width, width),
        SAGEConv(width, width),
        SAGEConv(width, width, aggr="max"),
        GATConv(width, width // heads, heads=heads),
    ]
    for conv in layers:
        cut = Block(prepare_topology(topology_kind(conv), csr))
        compare(
            f"{conv} forward + backward",
            push_through(lambda conv=conv, cut=cut: apply_conv(conv, x, cut)),  # type: ignore[misc]  # bound now
            "PyG",
            push_through(lambda conv=conv: conv(x, data.edge_index)),  # type: ignore[misc]  # bound now
        )

    weight = torch.randn(width, width)
    dense, _ = interleaved(lambda: plain @ weight, lambda: None, given.repeats)
    per_multiplication = min(dense) / (num * width * width)
    per_edge_value = rows[0].ours_s / (graph.num_edges * width)
    print(f"{num} vertices, {graph.num_edges} edges with self-loops, width {width}, float32")
    print(f"{torch.get_num_threads()} threads, {sparse.simd()}, copy {bandwidth / 1e9:.1f} GB/s")
    print(
        f"an edge's value costs as much as {per_edge_value / per_multiplication:.1f} "
        "multiplications of a dense product"
    )
    show(rows, spread)
    if given.json:
        stored = {"aa_spread": spread, "bandwidth": bandwidth, "rows": [asdict(r) for r in rows]}
        given.json.write_text(json.dumps(stored, indent=1))


def show(rows: list[Row], spread: float) -> None:
    print(f"A/A: {100 * spread:.1f} % between two medians of the same kernel")
    print(f"{'':50} {'ours ms':>9} {'peer ms':>9} {'ratio':>7} {'floor ms':>9}  peer")
    for row in rows:
        ratio = row.peer_s / row.ours_s
        shown = f"{ratio:6.2f}x" if abs(ratio - 1) > 2 * spread else "   none"
        bound = f"{1e3 * row.floor_s:9.1f}" if row.floor_s else " " * 9
        print(f"{row.what:50} {1e3 * row.ours_s:9.1f} {1e3 * row.peer_s:9.1f} {shown} {bound}  {row.peer}")


if __name__ == "__main__":
    main()
