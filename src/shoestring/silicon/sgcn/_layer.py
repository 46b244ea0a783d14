"""One layer on the machine: aggregation over the slices, combination beside it, and what both move.

Aggregation-first: the sums A_hat X leave the engines as float32 and are read by the arrays, which multiply,
add the residual and write the state S and the next features X. Combination-first (the layer of the raw
features): the arrays read X_0 and write X_0 W, whose rows are then aggregated dense.
"""

from dataclasses import dataclass

from shoestring.silicon.arch import Arch
from shoestring.silicon.beicsr import element_bytes
from shoestring.silicon.patterns import Pattern
from shoestring.silicon.sgcn._bench import Bench, Slice
from shoestring.silicon.sgcn._energy import EnergyModel, stream_cycles_per_line
from shoestring.silicon.sgcn.config import Config
from shoestring.silicon.systolic import Gemm, combination_cycles
from shoestring.silicon.workload import LayerShape

__all__ = ["LayerReport", "simulate_layer"]

_SUM_BYTES = 4  # partial sums, states and logits are float32


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerReport:
    """What one layer took and moved; every figure is modelled."""

    layer: int
    first: str
    """Which phase comes first."""
    width_in: int
    width_out: int
    zeros: float
    """Share of zeros in the layer's input."""
    cycles: int
    """The larger of both phases and of the DRAM's bus time for all streams, plus the fill of the arrays."""
    agg_cycles: int
    """Aggregation on the core, its own DRAM traffic included."""
    comb_cycles: int
    """Combination on the arrays, without memory."""
    dram_cycles: int
    """Bus time of all streams."""
    feature_bytes: int
    topology_bytes: int
    partial_write_bytes: int
    partial_read_bytes: int
    output_bytes: int
    """Sums (or states) that leave the engines."""
    comb_read_bytes: int
    comb_write_bytes: int
    accesses: int
    """Lines of records that the engines asked for."""
    hits: int
    """Of them, those in the cache, pinned or under way already."""
    macs: int
    """Multiply-adds of both phases."""
    dram_pj: float
    sram_pj: float
    mac_pj: float

    @property
    def dram_bytes(self) -> int:
        """All that crosses the DRAM's pins."""
        return (
            self.feature_bytes
            + self.topology_bytes
            + self.partial_write_bytes
            + self.partial_read_bytes
            + self.output_bytes
            + self.comb_read_bytes
            + self.comb_write_bytes
        )

    @property
    def hit_rate(self) -> float:
        """Share of `accesses` that were `hits`."""
        return self.hits / self.accesses if self.accesses else 0.0

    @property
    def energy_pj(self) -> float:
        """DRAM, cache and arithmetic."""
        return self.dram_pj + self.sram_pj + self.mac_pj


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Bytes that the combination moves, and the columns it works on."""

    read: int
    written: int


def simulate_layer(bench: Bench, number: int, config: Config, energy: EnergyModel) -> LayerReport:
    """Simulate layer `number` of the bench's workload."""
    shape = bench.workload.layers[number]
    pattern = bench.workload.inputs[number]
    combination_first = number == 0 and len(bench.workload.layers) > 1 and config.first_layer == "combination"
    if combination_first:
        slices = bench.aggregate(bench.dense_pattern(shape.width_out), "dense", config)
        traffic = _first_traffic(bench, pattern, shape, config)
    else:
        slices = bench.aggregate(pattern, config.fmt, config)
        traffic = _traffic(bench, number, shape, config)
    return _report(bench, number, config, slices, traffic, energy, combination_first)


def _traffic(bench: Bench, number: int, shape: LayerShape, config: Config) -> _Traffic:
    """Bytes of a combination that follows its aggregation."""
    num = bench.workload.topology.num_nodes
    state = num * shape.width_out * _SUM_BYTES
    read = num * shape.width_in * _SUM_BYTES + shape.width_in * shape.width_out * element_bytes(
        config.element
    )
    written = _next_features(bench, number, config)
    if shape.residual:
        read += state
    if number + 1 == len(bench.workload.layers) or bench.workload.layers[number + 1].residual:
        written += state
    return (
        _Traffic(read, written) if config.compressor else _second_pass(bench, number, config, read, written)
    )


def _first_traffic(bench: Bench, pattern: Pattern, shape: LayerShape, config: Config) -> _Traffic:
    """Bytes of the combination before the first aggregation; raw features are CSR, or dense if smaller."""
    num, itemsize = pattern.num_rows, element_bytes(config.element)
    stored = int(pattern.count().sum()) * (4 + itemsize) + 8 * (num + 1)
    raw = min(stored, num * pattern.width * itemsize)
    weights = shape.width_in * shape.width_out * itemsize
    product = num * shape.width_out * itemsize
    written = product + _next_features(bench, 0, config)
    read = raw + weights
    return _Traffic(read, written) if config.compressor else _second_pass(bench, 0, config, read, written)


def _next_features(bench: Bench, number: int, config: Config) -> int:
    """Bytes written of the next layer's input.

    See `Config.features_from_state`: the dense baselines write one matrix where the others write two.
    """
    if number + 1 >= len(bench.workload.layers):
        return 0
    state_is_stored = number == 0 or bench.workload.layers[number + 1].residual
    dense = config.fmt == "dense" and config.element == "float32"
    if dense and state_is_stored and config.features_from_state:
        return 0
    parts = bench.layout(bench.workload.inputs[number + 1], config.fmt, config)
    return sum(part.written_lines for part in parts) * bench.arch.cache.line_bytes


def _second_pass(bench: Bench, number: int, config: Config, read: int, written: int) -> _Traffic:
    """Without a compressor the features are written dense, read again, and only then written compressed."""
    if config.fmt == "dense" or number + 1 >= len(bench.workload.layers):
        return _Traffic(read, written)
    pattern = bench.workload.inputs[number + 1]
    dense = pattern.num_rows * pattern.width * element_bytes(config.element)
    return _Traffic(read + dense, written + dense)


def _report(
    bench: Bench,
    number: int,
    config: Config,
    slices: list[Slice],
    traffic: _Traffic,
    energy: EnergyModel,
    combination_first: bool,
) -> LayerReport:
    shape, arch = bench.workload.layers[number], bench.arch
    line = arch.cache.line_bytes
    rounds = [s.round for s in slices]
    comb_lines = -(-(traffic.read + traffic.written) // line)
    lines = {
        name: sum(getattr(r, f"{name}_lines") for r in rounds)
        for name in ("feature", "topology", "partial_write", "partial_read", "output")
    }
    agg_cycles = sum(r.cycles for r in rounds)
    product = Gemm(m=bench.workload.topology.num_nodes, n=shape.width_out, k=shape.width_in)
    comb_cycles = combination_cycles(product, arch.systolic)
    dram_cycles = sum(r.dram_busy_cycles for r in rounds) + round(
        comb_lines * stream_cycles_per_line(bench.machine.dram)
    )
    cycles = max(agg_cycles, comb_cycles, dram_cycles) + _fill(arch, shape)
    accesses = sum(r.accesses for r in rounds)
    macs = product.macs + _aggregation_macs(bench, slices, config, combination_first)
    return LayerReport(
        layer=number,
        first="combination" if combination_first else "aggregation",
        width_in=shape.width_in,
        width_out=shape.width_out,
        zeros=bench.workload.inputs[number].zeros,
        cycles=cycles,
        agg_cycles=agg_cycles,
        comb_cycles=comb_cycles,
        dram_cycles=dram_cycles,
        feature_bytes=lines["feature"] * line,
        topology_bytes=lines["topology"] * line,
        partial_write_bytes=lines["partial_write"] * line,
        partial_read_bytes=lines["partial_read"] * line,
        output_bytes=lines["output"] * line,
        comb_read_bytes=traffic.read,
        comb_write_bytes=traffic.written,
        accesses=accesses,
        hits=accesses - sum(r.misses for r in rounds),
        macs=macs,
        dram_pj=energy.dram_pj(rounds, comb_lines, -(-traffic.written // line), cycles),
        sram_pj=energy.sram_pj(accesses + sum(r.misses for r in rounds)),
        mac_pj=energy.mac_pj(macs),
    )


def _aggregation_macs(bench: Bench, slices: list[Slice], config: Config, combination_first: bool) -> int:
    """Multiply-adds of the aggregation: stored values with the sparse aggregator, all columns without."""
    if combination_first or config.fmt == "dense" or not config.sparse_aggregator:
        return bench.workload.topology.num_edges * sum(s.footprint.width for s in slices)
    return sum(s.edge_values for s in slices)


def _fill(arch: Arch, shape: LayerShape) -> int:
    """Cycles until the first tile leaves an array, in which nothing overlaps."""
    return shape.width_in + arch.systolic.rows + arch.systolic.cols
