"""What a run needs of each tier, computed from sizes before anything is read."""

from dataclasses import dataclass

from torch import nn

from shoestring.graphs.grinnder._models import Layers
from shoestring.graphs.grinnder._sizes import GraphSizes
from shoestring.graphs.grinnder.config import CacheMode, Config, Mode
from shoestring.storage import PAGE, BudgetExceeded, format_bytes, round_up

__all__ = ["Needs", "Placement", "model_bytes", "needs_of", "place"]

_SAFETY = 0.02
"""Share of the host budget that the choice of the cache mode leaves free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """What is decided before the run."""

    cache: CacheMode
    """Never "auto"."""
    topology_resident: bool
    """Whether every partition's topology stays on the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """Bytes that a run asks for; the minima are what its budgets must at least be."""

    model: int
    working: int
    """Largest working memory of one (layer, partition)."""
    staging: int
    """Write-backs and snapshots under way."""
    streamed_topology: int
    """Two partitions: in use and read ahead."""
    resident_topology: int
    """All partitions, every kind."""
    host_resident: int
    """Labels, masks, vertex order."""
    largest_entry: int
    """Largest thing in the host cache."""
    largest_layers: int
    """Largest layer of activations and largest layer of gradients."""
    must_reside: bool = False
    """Whether the mode keeps references to the topology (plain)."""

    @property
    def device_minimum(self) -> int:
        """Least device budget."""
        return (
            self.model
            + self.working
            + self.staging
            + (
                self.resident_topology
                if self.must_reside
                else min(self.streamed_topology, self.resident_topology)
            )
        )

    @property
    def host_minimum(self) -> int:
        """Least host budget."""
        return self.host_resident + self.largest_entry


def model_bytes(module: nn.Module, states: int = 2) -> int:
    """Bytes of parameters, gradients, and `states` optimiser tensors a parameter."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return (2 + states) * sum(p.numel() * p.element_size() for p in parameters)


def needs_of(graph: GraphSizes, layers: Layers, mode: Mode) -> Needs:
    """Compute the needs of a run on a partitioned graph."""
    size, parts, widths = graph.itemsize, range(graph.num_parts), layers.widths
    working = entry = snapshot = act = 0
    for index, kind in enumerate(layers.kinds):
        sizes = graph.topologies[kind]
        for j in parts:
            rows, cols = graph.rows(j), sizes.cols[j]
            if rows == 0:
                continue
            work = layers.working_bytes(index, rows, cols, sizes.edges[j], size)
            working = max(working, work)
            entry = max(
                entry, round_up(rows * widths[index] * size), round_up(rows * widths[index + 1] * size)
            )
            act = max(act, round_up(rows * widths[index + 1] * size))
            snapshot = max(snapshot, round_up(cols * widths[index] * size))
    used = dict.fromkeys(layers.kinds)
    pairs = {k: [tuple(map(round_up, graph.topology_bytes(k, j))) for j in parts] for k in used}
    whole = [sum(p) for rows in pairs.values() for p in rows]
    if mode == "hongtu":
        entry = max(entry, min(snapshot, 64 * PAGE))  # a larger one goes to storage piece by piece
    if mode == "plain":
        # All that autograd saves of one (layer, partition) is staged there, each tensor in whole pages.
        entry += working + 32 * PAGE
    staging = 3 * (snapshot if mode == "snapshot" else act)
    layer_bytes = [sum(round_up(graph.rows(j) * w * size) for j in parts) for w in widths]
    hidden = layer_bytes[1:-1] or [0]
    return Needs(
        model=model_bytes(layers.model),
        working=working,
        staging=staging,
        streamed_topology=2 * max(whole, default=0),
        resident_topology=sum(whole),
        host_resident=graph.resident_bytes,
        largest_entry=entry,
        largest_layers=max(layer_bytes) + max(hidden),
        must_reside=mode == "plain",
    )


def place(needs: Needs, config: Config) -> Placement:
    """Choose cache mode and residency.

    Raises
    ------
    BudgetExceeded
        If a budget is below its minimum, which is named.
    """
    device, host = config.device_bytes, config.host_bytes
    base = needs.model + needs.working + needs.staging
    resident = base + needs.resident_topology <= device and config.io.topology != "stream"
    least = base + needs.resident_topology if config.io.topology == "resident" else needs.device_minimum
    _check("device", "the largest (layer, partition)", least, device, _ADVICE_DEVICE)
    _check("host", "the largest partition of a layer", needs.host_minimum, host, _ADVICE_HOST)
    if needs.must_reside or base + needs.streamed_topology > device:
        resident = True
    cache = config.cache
    if cache == "auto":
        usable = int(host * (1 - _SAFETY)) - needs.host_resident
        cache = "lru_layer" if needs.largest_layers <= usable else "partition_lru"
    return Placement(cache=cache, topology_resident=resident)


_ADVICE_DEVICE = (
    "Raise device_budget, cut the graph into more partitions (parts='auto' searches), or use a narrower model"
)
_ADVICE_HOST = "Raise host_budget, or cut the graph into more partitions"


def _check(tier: str, what: str, least: int, limit: int, advice: str) -> None:
    if least > limit:
        raise BudgetExceeded(
            tier,
            what,
            asked_bytes=least,
            used_bytes=0,
            limit_bytes=limit,
            minimum_bytes=least,
            advice=f"{advice}. The least {tier} budget of this run is {least} bytes ({format_bytes(least)})",
        )
