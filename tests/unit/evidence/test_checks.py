from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shoestring.core.errors import ConfigError
from shoestring.evidence.checks import check_study, narrow_study
from shoestring.evidence.model import Arm, Claim, Compare, Plot, Preparation, Study, Within, Workload

MakeStudy = Callable[..., Study]
MakeWorkload = Callable[..., Workload]
ARM = Arm(name="ours", title="Ours", role="system")


def test_a_consistent_study_passes(make_study: MakeStudy, claim: Claim, plot: Plot) -> None:
    check_study(make_study(claims=(claim,), plots=(plot,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ()}, "workload fake/toy has no arm"),
        ({"arms": (ARM, ARM)}, "arm of fake/toy 'ours' appears twice"),
        ({"arms": (replace(ARM, name="../up"),)}, "cannot name a folder"),
        ({"arms": (replace(ARM, name="prepare"),)}, "means its preparation"),
        ({"seeds": ()}, "give at least one"),
        ({"seeds": (0, -1)}, "none below 0"),
        ({"seeds": (1, 1)}, "seed of fake/toy '1' appears twice"),
        ({"run": "nothing"}, "not of the form"),
        ({"prepare": Preparation(run="a b:c")}, "not of the form"),
        ({"timeout_s": 0.0}, "must be above 0"),
        ({"name": ".hidden"}, "cannot name a folder"),
    ],
)
def test_a_wrong_workload_is_named(
    make_study: MakeStudy, make_workload: MakeWorkload, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_study(make_study(replace(make_workload(), **changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workload": "none"}, "claim 'ours-wins': workload 'none' does not exist; known: toy"),
        (
            {"check": Compare(metric="score", arm="x", than="ours")},
            "arm 'x' does not exist; known: ours, theirs",
        ),
        ({"check": Compare(metric="score", arm="ours", than="x")}, "arm 'x' does not exist"),
        (
            {"check": Compare(metric="score", arm="ours", than="theirs", ratio=0.0)},
            "ratio=0.0 must be above 0",
        ),
        ({"check": Within(metric="score", arm="ours")}, "has no bound"),
    ],
)
def test_a_wrong_claim_is_named(
    make_study: MakeStudy, claim: Claim, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_study(make_study(claims=(replace(claim, **changes),)))


def test_a_plot_of_nothing_is_named(make_study: MakeStudy, plot: Plot) -> None:
    with pytest.raises(ConfigError, match="plot 'Scores': arm 'x' does not exist"):
        check_study(make_study(plots=(replace(plot, arms=("x",)),)))


def test_a_study_without_workloads_or_with_two_equal_claims_is_refused(
    make_study: MakeStudy, claim: Claim
) -> None:
    with pytest.raises(ConfigError, match="has no workload"):
        check_study(replace(make_study(), workloads=()))
    with pytest.raises(ConfigError, match="claim of fake 'ours-wins' appears twice"):
        check_study(make_study(claims=(claim, claim)))


def test_narrowing_keeps_what_belongs_to_the_named_workloads(
    make_study: MakeStudy, make_workload: MakeWorkload, claim: Claim, plot: Plot
) -> None:
    two = make_study(
        make_workload(),
        make_workload(name="big"),
        claims=(claim, replace(claim, name="other", workload="big")),
        plots=(plot,),
    )
    narrow = narrow_study(two, ["big"], None)
    assert [w.name for w in narrow.workloads] == ["big"]
    assert [c.name for c in narrow.claims] == ["other"]
    assert narrow.plots == ()
    assert narrow_study(two, None, None) == two


@pytest.mark.parametrize(("num", "seeds"), [(1, (4,)), (2, (4, 1)), (4, (4, 1, 5, 6))])
def test_more_seeds_than_declared_go_on_after_the_greatest(
    make_study: MakeStudy, make_workload: MakeWorkload, num: int, seeds: tuple[int, ...]
) -> None:
    study = narrow_study(make_study(make_workload(seeds=(4, 1))), None, num)
    assert study.workloads[0].seeds == seeds


def test_what_does_not_exist_cannot_be_narrowed_to(make_study: MakeStudy) -> None:
    with pytest.raises(ConfigError, match="workload 'none' does not exist; known: toy"):
        narrow_study(make_study(), ["none"], None)
    with pytest.raises(ConfigError, match="seeds=0 is below 1"):
        narrow_study(make_study(), None, 0)
    with pytest.raises(ConfigError, match="no workload was named"):
        narrow_study(make_study(), [], None)
