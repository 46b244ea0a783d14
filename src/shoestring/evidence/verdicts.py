"""From measurements to a verdict; the rules are in `judge`."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from shoestring.evidence.model import Claim, Compare, Metric, Record, Verdict, VerdictWord, Within

__all__ = ["MEASURED_BY_RUNNER", "MIN_SEEDS", "bootstrap_median", "judge"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_SEEDS = 3
"""Seeds below which nothing is said to hold."""
MEASURED_BY_RUNNER = ("wall_s", "cpu_s", "peak_bytes")
"""Fields of a `Record` that a claim may use like a metric."""
_RESAMPLES = 10_000
_BOOTSTRAP_SEED = 20_210_531
_LARGEST = 1e300  # keeps sums of two finite, and evidence in JSON
_ROUNDING = 8 * float(np.finfo(np.float64).eps)


def judge(
    claim: Claim,
    records: Sequence[Record],
    *,
    metrics: Sequence[Metric] = (),
    available: Collection[str] = ("cpu",),
) -> Verdict:
    """Say what the measurements of all seeds say about a claim.

    Parameters
    ----------
    claim : Claim
        What to check.
    records : sequence of Record
        Records of one profile; those of other workloads and arms are ignored. Of two records of
        one arm and seed the later counts.
    metrics : sequence of Metric
        How figures are printed in ``measured`` (digits and unit).
    available : collection of str
        What is here of ``"cpu"``, ``"gpu"``, ``"cluster"``, ``"licensed data"``.

    Returns
    -------
    Verdict
        For `Compare`, ``estimate`` is the median over seeds of the paired difference (or factor) in the
        wanted direction, with a 95 % percentile bootstrap interval of that median (none for one seed).
        For `Within` it is the median, with the least and the greatest seed.

    Notes
    -----
    A claim may name a metric that the arms report, or ``wall_s``, ``cpu_s`` or ``peak_bytes``, which the
    runner measures.

    Compare. ``holds``: at least 3 seeds, the median reaches `by` (or `ratio`), and the interval stays
    above 0 (ratio: 1), or above `by` (`ratio`) itself where that asks for less ("no worse than").
    ``direction holds``: the median lies in the wanted direction (or reaches a `by` that asks for less
    than 0), but is smaller than asked, or the interval reaches past no effect, or there are fewer than
    3 seeds. Otherwise ``does not hold``; equal arms are no effect.

    Within. ``holds``: the median is inside the bounds with at least 3 seeds; ``direction holds`` with fewer.

    ``not checkable here``: something that the claim needs is not available, an arm has no finished seed,
    the two arms share none, the metric was not reported, or a ratio has a denominator that is not positive.
    Leaving out only the seeds with such a denominator would choose seeds by their result.

    Seeds that failed in either arm are left out, and ``reason`` says so, even when the claim holds.
    """
    missing = [need for need in claim.needs if need not in available]
    if missing:
        return _not_checkable(claim, f"needs {_join(missing)}, which this run did not have")
    name = claim.check.metric
    declared = {metric.name: _Printer(metric) for metric in metrics}
    show = declared.get(name) or _PRINTERS.get(name) or _Printer(None)
    if isinstance(claim.check, Within):
        return _judge_within(claim, claim.check, records, show)
    return _judge_compare(claim, claim.check, records, show)


def bootstrap_median(values: Floats) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the median of `values` of shape (n,), n >= 1.

    10,000 resamples from a fixed seed: the same values in any order give the same interval.
    """
    ordered = np.sort(values)
    below, above = _middle_ranks(len(ordered))
    low, high = np.quantile((ordered[below] + ordered[above]) / 2, [0.025, 0.975])
    return float(low), float(high)


@cache
def _middle_ranks(num: int) -> tuple[Ints, Ints]:
    """Return the two middle ranks of each resample; they depend on the number of values only."""
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    ranks = np.sort(rng.integers(0, num, size=(_RESAMPLES, num)), axis=1)
    return ranks[:, (num - 1) // 2], ranks[:, num // 2]


@dataclass(frozen=True, slots=True)
class _Printer:
    """Prints figures of one metric."""

    metric: Metric | None
    scale: float = 1.0

    def number(self, value: float, sign: str = "") -> str:
        if self.metric is None:
            return f"{value:{sign}.4g}"
        figure = value / self.scale
        hidden = not sign and 0 < abs(figure) < 0.5 * 10**-self.metric.digits  # as in the tables
        return f"{figure:.1e}" if hidden else f"{figure:{sign}.{self.metric.digits}f}"

    @property
    def unit(self) -> str:
        return f" {self.metric.unit}" if self.metric is not None and self.metric.unit else ""


_PRINTERS = {
    "wall_s": _Printer(Metric(name="wall_s", title="Wall clock", unit="s", better="lower")),
    "cpu_s": _Printer(Metric(name="cpu_s", title="Processor time", unit="s", better="lower")),
    "peak_bytes": _Printer(
        Metric(name="peak_bytes", title="Peak memory", unit="MiB", better="lower"), 2.0**20
    ),
}


@dataclass(frozen=True, slots=True)
class _ArmSeeds:
    """What one arm measured: the metric by seed, and why seeds are missing."""

    arm: str
    values: Mapping[int, float]
    lost: Mapping[int, str]


def _arm_seeds(claim: Claim, arm: str, records: Iterable[Record]) -> _ArmSeeds:
    values: dict[int, float] = {}
    lost: dict[int, str] = {}
    metric = claim.check.metric
    last = {r.seed: r for r in records if r.workload == claim.workload and r.arm == arm}
    for seed, record in sorted(last.items()):
        if record.status != "ok":
            lost[seed] = _why_lost(record)
        elif (value := _measurement(record, metric)) is None:
            lost[seed] = f"did not report {metric!r}"
        else:
            values[seed] = value
    return _ArmSeeds(arm, values, lost)


def _measurement(record: Record, metric: str) -> float | None:
    if metric in record.metrics:
        return float(record.metrics[metric])
    return float(getattr(record, metric)) if metric in MEASURED_BY_RUNNER else None


def _why_lost(record: Record) -> str:
    word = {"failed": "failed", "timeout": "timed out", "skipped": "was skipped"}[record.status]
    first_line = record.error.partition("\n")[0].strip()
    return f"{word}: {first_line}" if first_line else word


def _why_none(seeds: _ArmSeeds) -> str | None:
    """Why an arm has nothing to judge; None if it has."""
    if seeds.values:
        return None
    if not seeds.lost:
        return f"arm {seeds.arm!r} was not run"
    reasons = list(dict.fromkeys(seeds.lost.values()))
    more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
    return f"arm {seeds.arm!r} {reasons[0]}{more}"


def _left_out(arms: Sequence[_ArmSeeds], used: Collection[int]) -> str:
    """Which seeds are not used although some arm has a record of them."""
    seen = {seed for arm in arms for seed in (*arm.values, *arm.lost)}
    out = sorted(seen - set(used))
    if not out:
        return ""
    first = out[0]
    why = next((f"arm {a.arm!r} {a.lost[first]}" for a in arms if first in a.lost), "not run for every arm")
    return f"{len(out)} of {len(seen)} seeds left out (seed {first}: {why})"


def _judge_compare(claim: Claim, check: Compare, records: Sequence[Record], show: _Printer) -> Verdict:
    arm, than = (_arm_seeds(claim, name, records) for name in (check.arm, check.than))
    missing = [text for text in (_why_none(arm), _why_none(than)) if text]
    if missing:
        return _not_checkable(claim, "; ".join(missing))
    seeds = sorted(arm.values.keys() & than.values.keys())
    if not seeds:
        return _not_checkable(claim, f"arms {check.arm!r} and {check.than!r} have no finished seed in common")
    if (text := _why_no_ratio(check, arm, than, seeds)) is not None:
        return _not_checkable(claim, text)
    ours, theirs = (np.array([a.values[s] for s in seeds], dtype=np.float64) for a in (arm, than))
    effects = _effects(check, ours, theirs)
    estimate = float(np.median(effects))
    low, high = bootstrap_median(effects)
    word, causes = _word(check, len(seeds), (estimate, low, high), show)
    return _verdict(
        claim,
        word,
        measured=_measured_compare(check, (ours, theirs, effects), (estimate, low, high), show),
        figures=(estimate, low, high) if len(seeds) > 1 else (estimate, None, None),
        num_seeds=len(seeds),
        causes=causes,
        left_out=_left_out((arm, than), seeds),
    )


def _why_no_ratio(check: Compare, arm: _ArmSeeds, than: _ArmSeeds, seeds: Sequence[int]) -> str | None:
    """Name the first denominator that is not positive, if a ratio is asked for."""
    if check.ratio is None:
        return None
    under = than if check.direction == "higher" else arm
    for seed in seeds:
        if under.values[seed] <= 0:
            value = f"{under.values[seed]:g} with seed {seed}"
            return f"a ratio needs positive figures; arm {under.arm!r} measured {value}"
    return None


def _effects(check: Compare, ours: Floats, theirs: Floats) -> Floats:
    """Return paired differences or factors in the wanted direction; rounding is no difference."""
    more, less = (ours, theirs) if check.direction == "higher" else (theirs, ours)
    with np.errstate(over="ignore"):
        if check.ratio is not None:
            effects = more / less
        else:
            effects = more - less
            effects[np.abs(effects) <= _ROUNDING * np.maximum(np.abs(more), np.abs(less))] = 0.0
    return np.clip(effects, -_LARGEST, _LARGEST)


def _word(
    check: Compare, num_seeds: int, figures: tuple[float, float, float], show: _Printer
) -> tuple[VerdictWord, list[str]]:
    """Return the verdict on a comparison and what keeps it from holding."""
    estimate, low, _ = figures
    none, asked = (0.0, check.by) if check.ratio is None else (1.0, check.ratio)
    reached = estimate >= asked or math.isclose(estimate, asked, rel_tol=1e-9)
    clear = low > min(asked, none)
    causes = []
    if num_seeds < MIN_SEEDS:
        causes.append(_only(num_seeds))
    if not reached or estimate <= none <= asked:
        causes.append(_too_small(check, estimate, asked, show))
    elif not clear and num_seeds > 1:
        causes.append(f"the interval reaches {'past what is allowed' if asked < none else 'no effect'}")
    if not causes and clear:
        return "holds", causes
    in_direction = estimate > none or (asked < none and reached)
    return "direction holds" if in_direction else "does not hold", causes


def _measured_compare(
    check: Compare,
    values: tuple[Floats, Floats, Floats],
    figures: tuple[float, float, float],
    show: _Printer,
) -> str:
    ours, theirs, effects = values
    estimate, low, high = figures
    many = len(effects) > 1
    medians = (
        f"{show.number(float(np.median(ours)))} against {show.number(float(np.median(theirs)))}{show.unit}"
    )
    if check.ratio is not None:
        effect = f"factor {estimate:.3g}" + (f" [{low:.3g}, {high:.3g}]" if many else "")
    else:
        # The text says how the arm differs; the estimate says how far in the wanted direction.
        if check.direction == "lower":
            estimate, low, high = -estimate, -high, -low
        effect = f"difference {show.number(estimate, '+')}"
        effect += f" [{show.number(low, '+')}, {show.number(high, '+')}]" if many else ""
    return f"{medians}, {effect} over {_count(len(effects))}"


def _too_small(check: Compare, estimate: float, asked: float, show: _Printer) -> str:
    if check.ratio is not None:
        return f"the median factor {estimate:.3g} is below {asked:.3g}"
    way = check.direction
    if asked == 0:
        return f"the median is not {way}"
    return f"the median is {way} by {show.number(estimate)}, not by {show.number(asked)}{show.unit}"


def _judge_within(claim: Claim, check: Within, records: Sequence[Record], show: _Printer) -> Verdict:
    arm = _arm_seeds(claim, check.arm, records)
    missing = _why_none(arm)
    if missing:
        return _not_checkable(claim, missing)
    values = np.array(list(arm.values.values()), dtype=np.float64)
    median, low, high = float(np.median(values)), float(values.min()), float(values.max())
    slack = _ROUNDING * abs(median)
    above = check.at_least is None or median >= check.at_least - slack
    below = check.at_most is None or median <= check.at_most + slack
    causes = []
    if len(values) < MIN_SEEDS:
        causes.append(_only(len(values)))
    if not above and check.at_least is not None:
        causes.append(f"the median is below {show.number(check.at_least)}{show.unit}")
    if not below and check.at_most is not None:
        causes.append(f"the median is above {show.number(check.at_most)}{show.unit}")
    inside = above and below
    word: VerdictWord = (
        "does not hold" if not inside else "holds" if len(values) >= MIN_SEEDS else "direction holds"
    )
    spread = f" ({show.number(low)} to {show.number(high)})" if len(values) > 1 else ""
    return _verdict(
        claim,
        word,
        measured=f"{show.number(median)}{spread}{show.unit} over {_count(len(values))}",
        figures=(median, low, high) if len(values) > 1 else (median, None, None),
        num_seeds=len(values),
        causes=causes,
        left_out=_left_out((arm,), arm.values),
    )


def _verdict(
    claim: Claim,
    word: VerdictWord,
    *,
    measured: str,
    figures: tuple[float, float | None, float | None],
    num_seeds: int,
    causes: Sequence[str],
    left_out: str,
) -> Verdict:
    said = [*causes, *([left_out] if left_out else [])]
    reason = "; ".join(said)
    if word != "holds" and claim.if_not:
        reason = f"{reason}. {claim.if_not}" if reason else claim.if_not
    estimate, low, high = figures
    return Verdict(
        claim=claim.name,
        word=word,
        measured=measured,
        estimate=estimate,
        low=low,
        high=high,
        num_seeds=num_seeds,
        reason=reason,
    )


def _not_checkable(claim: Claim, reason: str) -> Verdict:
    return Verdict(
        claim=claim.name,
        word="not checkable here",
        measured="",
        estimate=None,
        low=None,
        high=None,
        num_seeds=0,
        reason=reason,
    )


def _only(num: int) -> str:
    return f"only {_count(num)}"


def _count(num: int) -> str:
    return f"{num} seed" if num == 1 else f"{num} seeds"


def _join(words: Sequence[str]) -> str:
    return " and ".join(("a " if word in ("gpu", "cluster") else "") + word for word in words)
