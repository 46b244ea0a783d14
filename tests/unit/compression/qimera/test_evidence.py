"""The verification is well formed and its comparisons are fair."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from shoestring.compression.baselines import METHODS
from shoestring.compression.qimera import QimeraConfig
from shoestring.compression.qimera.evidence import DIGITS_TUNED_LR, TUNED_OVER, study
from shoestring.core.config import from_dict
from shoestring.evidence.checks import check_study
from shoestring.evidence.model import Arm, Compare, Profile, Workload
from shoestring.evidence.store import load_verification

TUNING = Path(__file__).resolve().parents[4] / "evidence" / "qimera" / "digits-tuning-full.json"
PROFILES: tuple[Profile, ...] = get_args(Profile)
WORKLOADS = [(p, w) for p in PROFILES for w in study(p).workloads]
IDS = [f"{p}-{w.name}" for p, w in WORKLOADS]


def flat(values: Mapping[str, Any], front: str = "") -> dict[str, Any]:
    """Options as ``a.b`` to value, defaults filled in by the config class."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= flat(value, f"{front}{key}.") if isinstance(value, Mapping) else {front + key: value}
    return out


def differences(one: Arm, two: Arm) -> set[str]:
    a, b = flat(one.options), flat(two.options)
    return {k for k in a.keys() | b.keys() if a.get(k, True) != b.get(k, True)}


def arm(workload: Workload, name: str) -> Arm:
    return next(a for a in workload.arms if a.name == name)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_study_is_consistent(profile: Profile) -> None:
    check_study(study(profile))


@pytest.mark.parametrize(("profile", "workload"), WORKLOADS, ids=IDS)
def test_every_arm_has_options_that_its_method_takes(profile: Profile, workload: Workload) -> None:
    del profile
    for a in workload.arms:
        method = a.options["method"]
        if method != "float":
            kind = QimeraConfig if method == "qimera" else METHODS[method][0]
            from_dict(kind, a.options["config"])


@pytest.mark.parametrize(("profile", "workload"), WORKLOADS, ids=IDS)
def test_arms_share_bits_budget_and_generator(profile: Profile, workload: Workload) -> None:
    """What may differ between two methods is the method and, in a tuned workload, its own learning rate."""
    del profile
    for section in ("quant", "generator", "distillation", "images"):
        seen = []
        for a in workload.arms:
            options = dict(a.options.get("config", {}).get(section, {}))
            options.pop("lr" if section == "distillation" else "", None)
            if options:
                seen.append(options)
        assert all(options == seen[0] for options in seen)


@pytest.mark.parametrize(("profile", "workload"), WORKLOADS, ids=IDS)
def test_the_ablation_is_a_ladder_of_single_parts(profile: Profile, workload: Workload) -> None:
    del profile
    arms = {a.name: a for a in workload.arms}
    if "qimera" in arms:
        assert differences(arms["gdfq"], arms["qimera"]) - {"config.distillation.lr"} == {"method"}
    if "qimera-se" in arms:
        parts = {"config.disentangle", "config.init_from_teacher"}
        assert differences(arms["qimera-se"], arms["qimera"]) == parts
    if "qimera-se-dm" in arms:
        assert differences(arms["qimera-se"], arms["qimera-se-dm"]) == {"config.disentangle"}
        assert differences(arms["qimera-se-dm"], arms["qimera"]) == {"config.init_from_teacher"}


@pytest.mark.parametrize("profile", PROFILES)
def test_compared_arms_differ_in_the_method_or_in_parts_of_it(profile: Profile) -> None:
    whole = study(profile)
    workloads = {w.name: w for w in whole.workloads}
    parts = {"config.disentangle", "config.init_from_teacher"}
    for claim in whole.claims:
        if isinstance(claim.check, Compare):
            one, two = (arm(workloads[claim.workload], n) for n in (claim.check.arm, claim.check.than))
            changed = differences(one, two)
            assert "method" in changed or changed <= parts, claim.name


def test_the_paper_is_quoted_in_every_claim_and_small_settings_are_named() -> None:
    for profile in PROFILES:
        assert all(c.paper and c.source for c in study(profile).claims)
        assert all(w.scaled_down for w in study(profile).workloads)


def test_every_method_is_tuned_over_the_same_rates_on_a_split_and_seed_of_its_own() -> None:
    workloads = {w.name: w for w in study("full").workloads}
    tuning, digits = workloads["digits-tuning"], workloads["digits"]
    assert tuning.options["split"] == "validation"
    assert not set(tuning.seeds) & set(digits.seeds)
    rates: dict[str, set[float]] = {}
    for a in tuning.arms:
        rates.setdefault(a.options["method"], set()).add(a.options["config"]["distillation"]["lr"])
    assert rates == {method: set(TUNED_OVER) for method in DIGITS_TUNED_LR}
    for method, lr in DIGITS_TUNED_LR.items():
        assert arm(digits, method).options["config"]["distillation"]["lr"] == lr


def test_the_rates_are_the_best_of_the_stored_tuning() -> None:
    best: dict[str, tuple[float, float]] = {}
    for record in load_verification(TUNING).records:
        if record.arm != "prepare":
            assert record.status == "ok"
            method, lr = record.options["method"], record.options["config"]["distillation"]["lr"]
            best[method] = max(best.get(method, (-1.0, 0.0)), (record.metrics["top1"], lr))
    assert {method: lr for method, (_, lr) in best.items()} == dict(DIGITS_TUNED_LR)
