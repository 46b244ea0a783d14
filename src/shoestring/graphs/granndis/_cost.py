"""The cost model: rates of this machine by micro-benchmarks, and the epoch time that they predict."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from shoestring.graphs.granndis._part import Part
from shoestring.graphs.granndis._plan import Plan
from shoestring.graphs.granndis._source import Source
from shoestring.graphs.granndis.config import GranndisConfig
from shoestring.graphs.granndis.functional import preload_time_s, previous_time_s
from shoestring.graphs.sparse_ops import spmm
from shoestring.parallel.groups import GroupName
from shoestring.parallel.transport import Transport

__all__ = ["calibrate"]

_REPEATS = 3
_ROWS = 4000


def calibrate(
    transport: Transport, source: Source, plan: Plan, part: Part, config: GranndisConfig
) -> dict[str, float]:
    """Measure rates, then predict the time of an epoch; all ranks call.

    Parameters
    ----------
    transport, source, plan, part, config
        Of the run.

    Returns
    -------
    dict
        ``rate_compute_rows_s``: rows a second of one rank through a layer, forward and backward, while all
        ranks compute. ``rate_intra_rows_s``, ``rate_inter_rows_s``: rows of hidden width that a rank sends
        a second, while all ranks send. ``modelled_epoch_s``: from the rows that this rank computes and
        receives. ``modelled_paper_s``: the paper's formula, which counts a message for every edge.

    Notes
    -----
    A model: it leaves out latency, the optimizer and the sum of the gradients.
    """
    hidden, layers = config.model.hidden, config.model.layers
    block = part.phases[0].blocks[0]
    weight = torch.randn(hidden, hidden, dtype=part.x.dtype, device=part.x.device, requires_grad=True)
    x = torch.randn(block.num_cols, hidden, dtype=part.x.dtype, device=part.x.device, requires_grad=True)

    def layer() -> None:
        h = spmm(block, x)
        out = (h @ weight + x[: block.num_rows] @ weight).relu()
        out.sum().backward()  # type: ignore[no-untyped-call]  # torch's stub

    compute = block.num_rows / _time(transport, layer)
    rates = {"rate_compute_rows_s": compute}
    rows = torch.zeros(_ROWS, hidden, dtype=part.x.dtype, device=part.x.device)
    groups: dict[str, GroupName] = {"intra": "device", "inter": "rail"}
    for name, group in groups.items():
        size = transport.size(group)
        if size > 1:
            rates[f"rate_{name}_rows_s"] = _ROWS / _time(transport, partial(_send, transport, rows, group))
    return {**rates, **_predict(transport, source, plan, part, (rates, layers))}


def _predict(
    transport: Transport, source: Source, plan: Plan, part: Part, how: tuple[dict[str, float], int]
) -> dict[str, float]:
    rates, layers = how
    computed = sum(b.num_rows for p in part.phases for b in p.blocks)
    moved = {"intra": 0.0, "inter": 0.0}
    topology = transport.groups.topology
    server = topology.server_of(transport.groups.rank)
    for phase in part.phases:
        for pattern in phase.patterns:
            for rank, n in zip(transport.groups.members(pattern.group), pattern.recv_counts, strict=True):
                link = "intra" if topology.server_of(rank) == server else "inter"
                # Forward and backward, except that features of the first layer get no gradient.
                moved[link] += n * (2 * len(phase.blocks) - (phase.first_layer == 0))
    seconds = computed / rates["rate_compute_rows_s"]
    seconds += sum(n / rates.get(f"rate_{link}_rows_s", float("inf")) for link, n in moved.items())
    common = {
        "vertices": float(source.num_nodes),
        "edges": float(source.csr.num_edges),
        "compute": rates["rate_compute_rows_s"],
        "intra": rates.get("rate_intra_rows_s", float("inf")),
    }
    shape = {"servers": topology.servers, "ranks": topology.ranks_per_server}
    held = torch.tensor([float(part.rows.numel())], dtype=torch.float64, device=part.x.device)
    growth = float(transport.all_reduce(held, kind="setup")) / source.num_nodes
    if plan.k == 0:
        inter = rates.get("rate_inter_rows_s", float("inf"))
        paper = previous_time_s(**common, **shape, inter=inter)  # type: ignore[arg-type]  # two dicts of kinds
    else:
        paper = preload_time_s(**common, **shape, growth=growth)  # type: ignore[arg-type]  # two dicts of kinds
    return {"modelled_epoch_s": seconds, "modelled_paper_s": paper * layers}


def _send(transport: Transport, rows: Tensor, group: GroupName) -> None:
    size, place = transport.size(group), transport.position(group)
    share = rows.shape[0] // (size - 1)
    counts = [0 if i == place else share for i in range(size)]
    transport.all_to_all(rows[: sum(counts)], counts, counts, group=group, kind="setup")


def _time(transport: Transport, work: Callable[[], None]) -> float:
    """Median seconds, after one unmeasured call; all ranks work at the same time."""
    times = []
    for _ in range(_REPEATS + 1):
        transport.barrier()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[_REPEATS // 2]
