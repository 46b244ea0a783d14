import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoestring.evidence.model import Claim, Compare, Metric, Record, Verdict, Within
from shoestring.evidence.verdicts import bootstrap_median, judge

MakeRecord = Callable[..., Record]
Pairs = Sequence[tuple[float, float]]
RANK = {"does not hold": 0, "direction holds": 1, "holds": 2}

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
figures = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3))
pairs = st.lists(st.tuples(figures, figures), min_size=1, max_size=7)
directions = st.sampled_from(["higher", "lower"])


@pytest.fixture
def judge_pairs(claim: Claim, make_record: MakeRecord) -> Callable[..., Verdict]:
    def run(values: Pairs, seeds: Sequence[int] | None = None, **check: Any) -> Verdict:
        seeds = range(len(values)) if seeds is None else seeds
        records = []
        for seed, (ours, theirs) in zip(seeds, values, strict=True):
            records += [make_record("ours", seed, ours), make_record("theirs", seed, theirs)]
        compare = Compare(**{"metric": "score", "arm": "ours", "than": "theirs", **check})
        return judge(replace(claim, check=compare), records)

    return run


def test_a_clear_gain_on_three_seeds_holds(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(91.2, 89.8), (91.0, 90.1), (91.6, 89.8)], by=1.0)
    assert verdict.word == "holds"
    assert verdict.estimate == pytest.approx(1.4)
    assert [verdict.low, verdict.high] == pytest.approx([0.9, 1.8])
    assert verdict.measured == "91.2 against 89.8, difference +1.4 [+0.9, +1.8] over 3 seeds"
    assert verdict.reason == ""


def test_two_seeds_are_never_enough_to_hold(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(91.0, 89.0), (92.0, 89.0)])
    assert verdict.word == "direction holds"
    assert verdict.reason == "only 2 seeds. The toy is too small."


def test_one_seed_has_no_interval(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(91.0, 89.0)])
    assert (verdict.estimate, verdict.low, verdict.high, verdict.num_seeds) == (2.0, None, None, 1)
    assert verdict.measured == "91 against 89, difference +2 over 1 seed"
    assert verdict.reason.startswith("only 1 seed.")


def test_a_smaller_gain_than_claimed_is_a_direction(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(3.0, 1.0)] * 3, by=2.5)
    assert verdict.word == "direction holds"
    assert verdict.reason == "the median is higher by 2, not by 2.5. The toy is too small."


def test_an_interval_past_zero_is_a_direction(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(1.0, 2.0), (3.0, 1.0), (4.0, 1.0)])
    assert verdict.word == "direction holds"
    assert verdict.low == -1.0
    assert "interval reaches no effect" in verdict.reason


def test_equal_arms_do_not_hold(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(5.0, 5.0)] * 4)
    assert verdict.word == "does not hold"
    assert verdict.reason.startswith("the median is not higher")


def test_differences_of_rounding_are_none(judge_pairs: Callable[..., Verdict]) -> None:
    assert judge_pairs([(0.1 + 0.2, 0.3)] * 3).word == "does not hold"
    assert judge_pairs([(0.3, 0.1 + 0.2)] * 3, by=0.0, direction="lower").word == "does not hold"


def test_a_gain_of_exactly_what_was_asked_holds_in_spite_of_rounding(
    judge_pairs: Callable[..., Verdict],
) -> None:
    assert 90.3 - 90.2 < 0.1
    assert judge_pairs([(90.3, 90.2)] * 3, by=0.1).word == "holds"


def test_lower_is_a_gain_when_lower_was_asked(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(1.0, 4.0), (1.0, 5.0), (1.0, 6.0)], direction="lower", by=3.0)
    assert verdict.word == "holds"
    assert (verdict.estimate, verdict.low, verdict.high) == (4.0, 3.0, 5.0)
    assert verdict.measured == "1 against 5, difference -4 [-5, -3] over 3 seeds"


def test_no_worse_than_holds_with_a_small_loss(judge_pairs: Callable[..., Verdict]) -> None:
    assert judge_pairs([(89.8, 90.0), (89.9, 90.0), (90.1, 90.0)], by=-0.5).word == "holds"
    partly = judge_pairs([(89.2, 90.0), (89.8, 90.0), (90.1, 90.0)], by=-0.5)
    assert partly.word == "direction holds"
    assert "past what is allowed" in partly.reason
    assert judge_pairs([(89.0, 90.0)] * 3, by=-0.5).word == "does not hold"


def test_a_factor_is_arm_over_than(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(4.0, 2.0), (5.0, 2.0), (6.0, 2.0)], ratio=2.0)
    assert (verdict.word, verdict.estimate) == ("holds", 2.5)
    assert verdict.measured == "5 against 2, factor 2.5 [2, 3] over 3 seeds"


def test_a_factor_for_lower_is_than_over_arm(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(2.0, 4.0), (2.0, 5.0), (2.0, 6.0)], ratio=3.0, direction="lower")
    assert (verdict.word, verdict.estimate) == ("direction holds", 2.5)
    assert verdict.reason.startswith("the median factor 2.5 is below 3")


def test_a_factor_below_one_is_no_direction(judge_pairs: Callable[..., Verdict]) -> None:
    assert judge_pairs([(1.0, 2.0)] * 3, ratio=2.0).word == "does not hold"
    assert judge_pairs([(1.9, 2.0)] * 3, ratio=0.9).word == "holds"  # "at least nine tenths of"


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_a_denominator_that_is_not_positive_makes_no_factor(
    judge_pairs: Callable[..., Verdict], direction: Literal["higher", "lower"]
) -> None:
    values = [(1.0, 0.0), (2.0, 1.0), (2.0, 1.0)]
    values = values if direction == "higher" else [(b, a) for a, b in values]
    verdict = judge_pairs(values, ratio=2.0, direction=direction)
    assert verdict.word == "not checkable here"
    name = "theirs" if direction == "higher" else "ours"
    assert verdict.reason == f"a ratio needs positive figures; arm {name!r} measured 0 with seed 0"


def test_a_factor_that_overflows_is_still_json(judge_pairs: Callable[..., Verdict]) -> None:
    verdict = judge_pairs([(1e300, 1e-300)] * 3, ratio=2.0)
    assert verdict.word == "holds"
    json.dumps(asdict(verdict), allow_nan=False)


def test_bounds_are_inclusive_and_the_spread_is_that_of_all_seeds(
    claim: Claim, make_record: MakeRecord
) -> None:
    records = [make_record("ours", s, v) for s, v in enumerate([90.0, 91.0, 95.0])]
    bound = replace(claim, check=Within(metric="score", arm="ours", at_least=91.0, at_most=91.0))
    verdict = judge(bound, records, metrics=[Metric(name="score", title="Score", unit="%", digits=1)])
    assert verdict.word == "holds"
    assert (verdict.estimate, verdict.low, verdict.high) == (91.0, 90.0, 95.0)
    assert verdict.measured == "91.0 (90.0 to 95.0) % over 3 seeds"


def test_a_figure_that_its_digits_would_hide_is_printed_as_in_the_tables(
    claim: Claim, make_record: MakeRecord
) -> None:
    records = [make_record("ours", s, v) for s, v in enumerate([0.0, 6e-15, 7e-15])]
    bound = replace(claim, check=Within(metric="score", arm="ours", at_most=1e-8))
    verdict = judge(bound, records, metrics=[Metric(name="score", title="Score", digits=1)])
    assert verdict.measured == "6.0e-15 (0.0 to 7.0e-15) over 3 seeds"


@pytest.mark.parametrize(
    ("bounds", "num", "word", "reason"),
    [
        ({"at_least": 5.0}, 2, "direction holds", "only 2 seeds"),
        ({"at_least": 8.0}, 3, "does not hold", "the median is below 8"),
        ({"at_most": 6.0}, 3, "does not hold", "the median is above 6"),
        ({"at_most": 6.0}, 1, "does not hold", "only 1 seed; the median is above 6"),
    ],
)
def test_a_median_outside_its_bounds_does_not_hold(
    claim: Claim, make_record: MakeRecord, bounds: Mapping[str, float], num: int, word: str, reason: str
) -> None:
    records = [make_record("ours", s, 7.0) for s in range(num)]
    verdict = judge(replace(claim, check=Within(metric="score", arm="ours", **bounds)), records)
    assert (verdict.word, verdict.reason) == (word, f"{reason}. The toy is too small.")


@pytest.mark.parametrize("need", ["gpu", "cluster", "licensed data"])
def test_what_a_claim_needs_must_be_available(claim: Claim, make_record: MakeRecord, need: str) -> None:
    records = [make_record(arm, s, v) for s in range(3) for arm, v in (("ours", 2.0), ("theirs", 1.0))]
    needy = replace(claim, needs=("cpu", need))  # type: ignore[arg-type]  # the parameters are its values
    verdict = judge(needy, records)
    assert verdict.word == "not checkable here"
    assert need in verdict.reason
    assert judge(needy, records, available={"cpu", need}).word == "holds"


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("failed", "ValueError: bad\n  at x.py:3", "arm 'theirs' failed: ValueError: bad"),
        ("timeout", "stopped after 3 s", "arm 'theirs' timed out: stopped after 3 s"),
        ("skipped", "needs the data set 'x'", "arm 'theirs' was skipped: needs the data set 'x'"),
    ],
)
def test_an_arm_without_any_seed_is_named_with_its_reason(
    claim: Claim, make_record: MakeRecord, status: str, error: str, said: str
) -> None:
    records = [make_record("ours", s, 2.0) for s in range(3)]
    records += [make_record("theirs", s, status=status, error=error) for s in range(3)]
    verdict = judge(claim, records)
    assert (verdict.word, verdict.reason, verdict.num_seeds) == ("not checkable here", said, 0)


def test_an_arm_that_was_not_run_is_named(claim: Claim, make_record: MakeRecord) -> None:
    verdict = judge(claim, [make_record("ours", 0, 1.0), make_record("theirs", 0, 1.0, workload="other")])
    assert verdict.reason == "arm 'theirs' was not run"


def test_a_metric_nobody_reported_is_named(claim: Claim, make_record: MakeRecord) -> None:
    verdict = judge(claim, [make_record("ours", 0), make_record("theirs", 0, 1.0)])
    assert (verdict.word, verdict.reason) == ("not checkable here", "arm 'ours' did not report 'score'")


def test_seeds_that_failed_are_left_out_and_it_says_so(claim: Claim, make_record: MakeRecord) -> None:
    records = [make_record(a, s, v) for s in range(4) for a, v in (("ours", 2.0 + s), ("theirs", 1.0))]
    records[2] = make_record("ours", 1, status="timeout", error="stopped after 5 s")
    verdict = judge(claim, records)
    assert (verdict.word, verdict.num_seeds) == ("holds", 3)
    expected = "1 of 4 seeds left out (seed 1: arm 'ours' timed out: stopped after 5 s)"
    assert verdict.reason == expected


def test_arms_without_a_common_seed_cannot_be_paired(claim: Claim, make_record: MakeRecord) -> None:
    verdict = judge(claim, [make_record("ours", 0, 1.0), make_record("theirs", 1, 1.0)])
    assert verdict.word == "not checkable here"
    assert "no finished seed in common" in verdict.reason


def test_the_later_record_of_a_seed_counts(claim: Claim, make_record: MakeRecord) -> None:
    within = replace(claim, check=Within(metric="score", arm="ours", at_least=0.0))
    records = [make_record("ours", 0, status="failed"), make_record("ours", 0, 4.0)]
    assert judge(within, records).estimate == 4.0


def test_a_claim_may_speak_of_what_the_runner_measured(claim: Claim, make_record: MakeRecord) -> None:
    memory = Compare(metric="peak_bytes", arm="ours", than="theirs", direction="lower", ratio=2.0)
    records = [make_record("ours", s, peak_bytes=100 << 20) for s in range(3)]
    records += [make_record("theirs", s, peak_bytes=300 << 20) for s in range(3)]
    verdict = judge(replace(claim, check=memory), records)
    assert (verdict.word, verdict.estimate) == ("holds", 3.0)
    assert verdict.measured == "100.00 against 300.00 MiB, factor 3 [3, 3] over 3 seeds"


def test_bootstrap_of_three_is_near_all_27_resamples() -> None:
    values = np.array([1.0, 2.0, 10.0])
    all_medians = [float(np.median(c)) for c in itertools.product(values, repeat=3)]
    low, high = bootstrap_median(values)
    assert (low, high) == (np.quantile(all_medians, 0.025), np.quantile(all_medians, 0.975))


def test_bootstrap_covers_the_true_median_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(150):
        low, high = bootstrap_median(rng.normal(size=21))
        hits += low <= 0 <= high
    assert 0.87 <= hits / 150 <= 1.0


@few
@given(values=pairs, direction=directions, by=st.floats(-10, 10))
def test_what_holds_satisfies_every_condition(
    judge_pairs: Callable[..., Verdict], values: Pairs, direction: Literal["higher", "lower"], by: float
) -> None:
    verdict = judge_pairs(values, direction=direction, by=by)
    assert verdict.estimate is not None
    assert verdict.num_seeds == len(values)
    if verdict.low is not None and verdict.high is not None:
        assert verdict.low <= verdict.estimate <= verdict.high
    if verdict.word == "holds":
        assert verdict.low is not None
        assert len(values) >= 3
        assert verdict.estimate >= by - 1e-6
        assert verdict.low > min(by, 0.0)
        assert verdict.reason == ""
    else:
        assert "The toy is too small." in verdict.reason


@few
@given(values=pairs, by=st.floats(-10, 10))
def test_swapping_arms_and_direction_changes_no_word(
    judge_pairs: Callable[..., Verdict], values: Pairs, by: float
) -> None:
    one = judge_pairs(values, by=by)
    two = judge_pairs([(b, a) for a, b in values], by=by, direction="lower")
    assert (one.word, one.estimate, one.low, one.high) == (two.word, two.estimate, two.low, two.high)


@few
@given(values=pairs, order=st.randoms(use_true_random=False))
def test_order_and_names_of_seeds_do_not_matter(
    judge_pairs: Callable[..., Verdict], values: Pairs, order: Any
) -> None:
    shuffled = list(values)
    order.shuffle(shuffled)
    seeds = [7 * i + 3 for i in range(len(values))]
    assert judge_pairs(values) == judge_pairs(shuffled, seeds=seeds)


@few
@given(values=pairs, plus=st.floats(0.01, 1000), by=st.floats(0, 10))
def test_a_better_arm_never_gets_a_worse_verdict(
    judge_pairs: Callable[..., Verdict], values: Pairs, plus: float, by: float
) -> None:
    before = judge_pairs(values, by=by)
    after = judge_pairs([(a + plus, b) for a, b in values], by=by)
    assert RANK[after.word] >= RANK[before.word]


@few
@given(values=pairs)
def test_the_opposite_claim_never_holds_as_well(judge_pairs: Callable[..., Verdict], values: Pairs) -> None:
    words = {judge_pairs(values).word, judge_pairs(values, direction="lower").word}
    assert "does not hold" in words


@few
@given(
    values=st.lists(st.tuples(st.floats(0.01, 1e6), st.floats(0.01, 1e6)), min_size=1, max_size=6),
    ratio=st.floats(0.1, 10),
    unit=st.sampled_from([1e-6, 8.0, 1e9]),
)
def test_a_factor_does_not_depend_on_the_unit(
    judge_pairs: Callable[..., Verdict], values: Pairs, ratio: float, unit: float
) -> None:
    one = judge_pairs(values, ratio=ratio)
    two = judge_pairs([(a * unit, b * unit) for a, b in values], ratio=ratio)
    assert one.word == two.word
    assert one.estimate == pytest.approx(two.estimate)
