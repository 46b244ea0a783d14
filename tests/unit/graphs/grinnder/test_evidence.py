"""The verification is well formed and its comparisons are fair."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from shoestring.core.config import from_dict
from shoestring.evidence.checks import check_study
from shoestring.evidence.model import Compare, Profile, Workload
from shoestring.graphs.grinnder import Config
from shoestring.graphs.grinnder.config import Mode
from shoestring.graphs.grinnder.evidence import study

PROFILES: tuple[Profile, ...] = get_args(Profile)
WORKLOADS = [(p, w) for p in PROFILES for w in study(p).workloads]
TRAINING = [w for _, w in WORKLOADS if "epochs" in w.options]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_study_is_consistent(profile: Profile) -> None:
    check_study(study(profile))


@pytest.mark.parametrize("workload", TRAINING, ids=lambda w: w.name)
def test_every_arm_has_a_mode_and_a_config_that_exist(workload: Workload) -> None:
    for arm in workload.arms:
        assert arm.options["mode"] in (*get_args(Mode), "pyg")
        from_dict(Config, arm.options["config"])


@pytest.mark.parametrize("workload", TRAINING, ids=lambda w: w.name)
def test_arms_share_budgets_device_and_speed_of_storage(workload: Workload) -> None:
    shared = ("device_budget", "io")
    seen = [
        {k: arm.options["config"].get(k) for k in shared}
        for arm in workload.arms
        if arm.options["mode"] != "pyg"
    ]
    assert all(s == seen[0] for s in seen)


def changed(one: Mapping[str, Any], two: Mapping[str, Any]) -> set[str]:
    return {k for k in one.keys() | two.keys() if one.get(k) != two.get(k)}


def test_grinnder_and_its_baseline_differ_in_the_mode_alone() -> None:
    for workload in TRAINING:
        arms = {a.name: a.options for a in workload.arms}
        if "grinnder-cold" in arms:
            assert changed(arms["grinnder-cold"], arms["hongtu-cold"]) == {"mode"}


def test_ours_differs_from_the_paper_in_our_parts_alone() -> None:
    ours = {"policy", "hybrid", "fuse_last", "order"}
    for workload in TRAINING:
        arms = {a.name: a.options["config"] for a in workload.arms}
        for name, config in arms.items():
            if "-ours-" in name:
                assert changed(config, arms[name.replace("-ours-", "-lru-")]) == ours
        if "grinnder" in arms and "grinnder-paper" in arms:
            assert changed(arms["grinnder"], arms["grinnder-paper"]) == ours


def test_the_paper_is_quoted_in_every_claim_and_small_settings_are_named() -> None:
    for profile in PROFILES:
        assert all(c.paper and c.source for c in study(profile).claims)
        assert all(w.scaled_down for w in study(profile).workloads)


def test_the_limitation_of_partition_lru_is_a_claim_of_both_profiles() -> None:
    for profile in PROFILES:
        losing = [c for c in study(profile).claims if "random-loses" in c.name]
        assert losing
        assert all(isinstance(c.check, Compare) and c.check.arm.startswith("random-lru") for c in losing)
