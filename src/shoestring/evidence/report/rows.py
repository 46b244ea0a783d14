"""What every view of a verification is made from: medians and spreads over seeds, a row an arm."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from shoestring.evidence.model import Arm, Compare, Metric, Record, Verdict, VerdictWord, Within, Workload

__all__ = [
    "WORDS",
    "ArmRow",
    "Spread",
    "arm_rows",
    "best_arms",
    "check_in_words",
    "count_words",
    "find_metric",
    "format_bytes",
    "format_metric",
    "format_number",
    "format_range",
    "format_seconds",
    "left_out",
    "shown_metrics",
    "spread_of",
]

WORDS: tuple[VerdictWord, ...] = ("holds", "direction holds", "does not hold", "not checkable here")
"""The verdict words, best first."""
_RUNNER_METRICS = {
    "wall_s": Metric(name="wall_s", title="Time", unit="s", better="lower", digits=1),
    "cpu_s": Metric(name="cpu_s", title="CPU time", unit="s", better="lower", digits=1),
    "peak_bytes": Metric(name="peak_bytes", title="Peak memory", unit="bytes", better="lower", digits=0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Median and range of one quantity over seeds."""

    median: float
    low: float
    high: float
    values: tuple[tuple[int, float], ...]
    """Seed and value, by seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRow:
    """All finished tasks of one arm on one workload."""

    arm: Arm
    metrics: Mapping[str, Spread]
    wall_s: Spread | None
    peak_bytes: Spread | None
    status: str
    """In words, e.g. ``"ok"`` or ``"2 of 3 ok, 1 timeout"``."""
    num_ok: int
    num_bad: int
    """Tasks that failed or timed out."""
    notes: tuple[str, ...]


def spread_of(values: Iterable[tuple[int, float]]) -> Spread | None:
    """Return median and range of seed-value pairs, or None when there are none.

    Parameters
    ----------
    values : iterable of (int, float)
        Seed and value; values that are not finite are left out.
    """
    pairs = tuple(sorted((s, float(v)) for s, v in values if math.isfinite(v)))
    if not pairs:
        return None
    plain = [v for _, v in pairs]
    return Spread(median=median(plain), low=min(plain), high=max(plain), values=pairs)


def arm_rows(workload: Workload, records: Sequence[Record]) -> tuple[ArmRow, ...]:
    """Return one row an arm of `workload`, in the order of the study.

    Parameters
    ----------
    workload : Workload
        Whose arms are wanted.
    records : sequence of Record
        Any records; those of other workloads and of preparations are ignored.
    """
    mine = [r for r in records if r.workload == workload.name]
    return tuple(
        _row(arm, [r for r in mine if r.arm == arm.name], len(workload.seeds)) for arm in workload.arms
    )


def shown_metrics(metrics: Sequence[Metric], rows: Sequence[ArmRow]) -> tuple[Metric, ...]:
    """Return the metrics that at least one arm of `rows` has."""
    return tuple(m for m in metrics if any(m.name in r.metrics for r in rows))


def best_arms(metric: Metric, rows: Sequence[ArmRow]) -> frozenset[str]:
    """Return the names of the arms with the best median; none when all tie. Bounds do not compete."""
    medians = {
        r.arm.name: r.metrics[metric.name].median
        for r in rows
        if r.arm.role != "bound" and metric.name in r.metrics
    }
    if metric.better == "neither" or len(set(medians.values())) < 2:
        return frozenset()
    best = max(medians.values()) if metric.better == "higher" else min(medians.values())
    return frozenset(name for name, value in medians.items() if value == best)


def left_out(workload: Workload, records: Sequence[Record]) -> str | None:
    """Return why a workload was not run for want of data, with the flag that changes it, or None.

    Parameters
    ----------
    workload : Workload
        The workload.
    records : sequence of Record
        Its records; one that ran means that it was not left out.
    """
    if not workload.needs_data or any(r.status != "skipped" for r in records if r.workload == workload.name):
        return None
    name = workload.needs_data
    what = f"{workload.title} was left out: it needs the data set {name!r}"
    return f"{what}. Give its folder with --data {name}=FOLDER"


def count_words(verdicts: Iterable[Verdict]) -> dict[VerdictWord, int]:
    """Return how often each verdict word occurs, every word present."""
    words = [v.word for v in verdicts]
    return {word: words.count(word) for word in WORDS}


def check_in_words(check: Compare | Within, metrics: Sequence[Metric], arms: Sequence[Arm]) -> str:
    """Return the rule behind a claim as one line, with the titles of its metric and arms.

    Parameters
    ----------
    check : Compare or Within
        The rule.
    metrics : sequence of Metric
        Where the title and unit of the metric are looked up.
    arms : sequence of Arm
        Where the titles of arms are looked up.
    """
    titles = {a.name: a.title for a in arms}
    metric = find_metric(check.metric, metrics)
    unit = f" {metric.unit}" if metric.unit else ""
    arm = titles.get(check.arm, check.arm)
    if isinstance(check, Compare):
        rule = f"{check.direction} than {titles.get(check.than, check.than)}"
        if check.ratio is not None:
            rule += f" by a factor of at least {check.ratio:g}"
        elif check.by:
            rule += f" by at least {check.by:g}{unit}"
    else:
        bounds = (("at least", check.at_least), ("at most", check.at_most))
        rule = " and ".join(f"{word} {bound:g}{unit}" for word, bound in bounds if bound is not None)
    return f"{metric.title}: {arm} {rule}"


def find_metric(name: str, metrics: Sequence[Metric]) -> Metric:
    """Return how a metric is printed: as declared, as the runner measures it, or by its bare name."""
    declared = next((m for m in metrics if m.name == name), None)
    return declared or _RUNNER_METRICS.get(name) or Metric(name=name, title=name, better="neither")


def format_metric(value: float, metric: Metric) -> str:
    """Return a measurement as its metric wants it; a metric whose unit is ``bytes`` gets binary units."""
    return format_bytes(value) if metric.unit == "bytes" else format_number(value, metric.digits)


def format_number(value: float, digits: int = 2) -> str:
    """Return `value` with `digits` decimals, or in exponent form where that would hide or drown it.

    Examples
    --------
    >>> format_number(91.256), format_number(0.0), format_number(0.00012), format_number(12345678.0)
    ('91.26', '0.00', '1.2e-04', '1.23e+07')
    """
    if value != 0 and abs(value) < 0.5 * 10**-digits:
        return f"{value:.1e}"
    return f"{value:.2e}" if abs(value) >= 1e7 else f"{value:.{digits}f}"


def format_range(low: str, high: str) -> str:
    """Return two formatted quantities in brackets with their unit once, or nothing when they are equal.

    Examples
    --------
    >>> format_range("3 MiB", "5 MiB"), format_range("900 KiB", "1 MiB"), format_range("0.1", "0.1")
    ('[3, 5] MiB', '[900 KiB, 1 MiB]', '')
    """
    if low == high:
        return ""
    (a, _, unit), (b, _, other) = low.partition(" "), high.partition(" ")
    return f"[{a}, {b}] {unit}".rstrip() if unit == other else f"[{low}, {high}]"


def format_seconds(seconds: float) -> str:
    """Return a duration for people.

    Examples
    --------
    >>> format_seconds(0.034), format_seconds(12.34), format_seconds(125), format_seconds(7322)
    ('34 ms', '12.3 s', '2 min 05 s', '2 h 02 min')
    """
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_bytes(num_bytes: float) -> str:
    """Return a size in binary units.

    Examples
    --------
    >>> format_bytes(512), format_bytes(3 << 20), format_bytes(5 << 30)
    ('512 B', '3 MiB', '5.0 GiB')
    """
    if num_bytes < 1024:
        return f"{num_bytes:.0f} B"
    for unit, scale in (("KiB", 1 << 10), ("MiB", 1 << 20)):
        if num_bytes < scale * 1023.5:
            return f"{num_bytes / scale:.0f} {unit}"
    return f"{num_bytes / (1 << 30):.1f} GiB"


def _row(arm: Arm, records: Sequence[Record], num_seeds: int) -> ArmRow:
    ok = [r for r in records if r.status == "ok"]
    figures = [(r.seed, {**_by_runner(r), **r.metrics}) for r in ok]
    names = dict.fromkeys(name for _, metrics in figures for name in metrics)
    spreads = {n: spread_of((seed, metrics[n]) for seed, metrics in figures if n in metrics) for n in names}
    return ArmRow(
        arm=arm,
        metrics={name: spread for name, spread in spreads.items() if spread is not None},
        wall_s=spread_of((r.seed, r.wall_s) for r in ok),
        peak_bytes=spread_of((r.seed, float(r.peak_bytes)) for r in ok),
        status=_status(records, num_seeds),
        num_ok=len(ok),
        num_bad=sum(r.status in ("failed", "timeout") for r in records),
        notes=tuple(dict.fromkeys(note for r in ok for note in r.notes)),
    )


def _by_runner(record: Record) -> dict[str, float]:
    return {"wall_s": record.wall_s, "cpu_s": record.cpu_s, "peak_bytes": float(record.peak_bytes)}


def _status(records: Sequence[Record], num_seeds: int) -> str:
    if not records:
        return "not run"
    counts = {word: sum(r.status == word for r in records) for word in ("ok", "failed", "timeout", "skipped")}
    total = max(len(records), num_seeds)
    if counts["ok"] == total:
        return "ok"
    bad = [f"{n} {word}" for word, n in counts.items() if word != "ok" and n]
    missing = total - len(records)
    if missing:
        bad.append(f"{missing} not run")
    if len(bad) == 1 and not counts["ok"]:
        return bad[0].partition(" ")[2]
    return ", ".join([f"{counts['ok']} of {total} ok", *bad])
