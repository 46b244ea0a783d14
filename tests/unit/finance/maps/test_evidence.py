"""The verification is well formed and its comparisons are fair."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from shoestring.core.config import from_dict
from shoestring.evidence.checks import check_study
from shoestring.evidence.model import Arm, Profile, Workload
from shoestring.evidence.store import load_verification
from shoestring.finance.maps import MapsConfig
from shoestring.finance.maps._measure import LEARNERS as METHODS
from shoestring.finance.maps._measure import RULES
from shoestring.finance.maps.evidence import TUNED, TUNED_OVER_LAM, TUNED_OVER_LR, study

STORED = Path(__file__).resolve().parents[4] / "evidence" / "maps"
PROFILES: tuple[Profile, ...] = get_args(Profile)
WORKLOADS = [(p, w) for p in PROFILES for w in study(p).workloads]
IDS = [f"{p}-{w.name}" for p, w in WORKLOADS]
FULL = {w.name: w for w in study("full").workloads}
MAIN = [w for _, w in WORKLOADS if not w.name.endswith("-tuning")]


def config(arm: Arm) -> MapsConfig:
    return from_dict(MapsConfig, arm.options["config"])


def arm(workload: Workload, name: str) -> Arm:
    return next(a for a in workload.arms if a.name == name)


def learning(workload: Workload) -> list[Arm]:
    return [a for a in workload.arms if a.options["method"] in METHODS]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_study_is_consistent(profile: Profile) -> None:
    check_study(study(profile))


@pytest.mark.parametrize(("profile", "workload"), WORKLOADS, ids=IDS)
def test_every_arm_has_a_known_method_and_options_that_it_takes(profile: Profile, workload: Workload) -> None:
    del profile
    for a in workload.arms:
        assert a.options["method"] in (*METHODS, *RULES)
        if a.options["method"] in METHODS:
            config(a)
        for other in a.options.get("versus", {}).values():
            assert other["method"] in RULES or from_dict(MapsConfig, other["config"])


@pytest.mark.parametrize(("profile", "workload"), WORKLOADS, ids=IDS)
def test_arms_that_learn_share_budget_window_and_portfolio_rule(profile: Profile, workload: Workload) -> None:
    del profile
    seen = set()
    for a in learning(workload):
        made = config(a)
        training = {k: v for k, v in a.options["config"]["training"].items() if k != "lr"}
        seen.add((str(sorted(training.items())), made.window, made.gamma, made.portfolio))
    assert len(seen) == 1


@pytest.mark.parametrize(
    "workload", [w for w in MAIN if w.name != "weak-signals-parts"], ids=lambda w: w.name
)
def test_one_field_tells_the_global_loss_from_its_absence(workload: Workload) -> None:
    one, two = config(arm(workload, "maps8")), config(arm(workload, "maps8-lam0"))
    differ = {f for f in MapsConfig.__slots__ if getattr(one, f) != getattr(two, f)}
    assert differ == {"lam"}
    assert (one.lam, two.lam) == (0.5, 0.0)


def test_the_number_of_agents_is_what_tells_the_rows_of_the_table_apart() -> None:
    workload = FULL["weak-signals"]
    eight = config(arm(workload, "maps8"))
    for n in (2, 4, 16):
        made = config(arm(workload, f"maps{n}"))
        assert {f for f in MapsConfig.__slots__ if getattr(made, f) != getattr(eight, f)} == {"n_agents"}
    dqn = config(arm(workload, "dqn"))
    assert dqn.n_agents == 1


def test_every_part_is_changed_alone() -> None:
    workload = FULL["weak-signals-parts"]
    whole = config(arm(workload, "maps8"))
    parts = {"corr": "diversity", "relu": "diversity", "joint": "detach", "full": "full_information"}
    for name, part in parts.items():
        made = config(arm(workload, f"maps8-{name}"))
        assert {f for f in MapsConfig.__slots__ if getattr(made, f) != getattr(whole, f)} == {part}


def test_independent_agents_have_their_own_encoders_and_no_global_loss() -> None:
    for name in ("weak-signals", "us20"):
        made = config(arm(FULL[name], "independent8"))
        assert (made.n_agents, made.lam, made.network.shared_encoder) == (8, 0.0, False)


@pytest.mark.parametrize("market", list(TUNED))
def test_every_learner_is_tuned_over_the_same_rates_on_another_seed(market: str) -> None:
    tuning, workload = FULL[f"{market}-tuning"], FULL[market]
    assert not set(tuning.seeds) & set(workload.seeds)
    assert all(a.options["tuning"] for a in tuning.arms)
    assert tuning.options == workload.options
    rates: dict[str, set[float]] = {}
    lams = set()
    for a in tuning.arms:
        made = config(a)
        rates.setdefault(a.name.partition("-")[0], set()).add(made.training.lr)
        if a.name.startswith("maps8"):
            lams.add(made.lam)
    assert rates == {m: set(TUNED_OVER_LR) for m in TUNED[market] if m not in ("lam", "tuned")}
    assert lams == set(TUNED_OVER_LAM)
    for name in rates:
        assert config(arm(workload, name)).training.lr == TUNED[market][name]
    assert config(arm(workload, "maps8-tuned")).lam == TUNED[market]["lam"]


def best_of(records: Mapping[str, float], prefix: str, ending: str = "") -> str:
    names = [n for n in records if n.startswith(prefix + "-") and n.endswith(ending)]
    return max(names, key=lambda n: records[n])


@pytest.mark.parametrize("market", list(TUNED))
def test_a_stored_result_has_its_stored_tuning(market: str) -> None:
    names = {f.name for f in STORED.glob("*.json")}
    assert f"{market}-full.json" not in names or f"{market}-tuning-full.json" in names


@pytest.mark.parametrize("market", [m for m in TUNED if (STORED / f"{m}-tuning-full.json").exists()])
def test_the_choices_are_the_best_of_the_stored_tuning(market: str) -> None:
    stored = load_verification(STORED / f"{market}-tuning-full.json").records
    assert all(r.status == "ok" for r in stored)
    values = {r.arm: r.metrics["valid_sharpe"] for r in stored}
    options: dict[str, Any] = {r.arm: r.options["config"] for r in stored}
    for name, rate in TUNED[market].items():
        if name not in ("lam", "tuned"):
            best = best_of(values, name, "-lam0.5" if name == "maps8" else "")
            assert options[best]["training"]["lr"] == rate, name
    best = best_of(values, "maps8")
    assert options[best]["lam"] == TUNED[market]["lam"]
    assert options[best]["training"]["lr"] == TUNED[market].get("tuned", TUNED[market]["maps8"])


def test_the_paper_is_quoted_in_every_claim_and_small_settings_are_named() -> None:
    for profile in PROFILES:
        assert all(c.paper and c.source for c in study(profile).claims)
        assert all(w.scaled_down for w in study(profile).workloads)


def test_no_test_date_is_trained_on() -> None:
    for name in ("us20", "us385"):
        spans = FULL[name].options["spans"]
        assert spans["train"][1] < spans["valid"][0] <= spans["valid"][1] < spans["test"][0]
    shares = FULL["weak-signals"].options["spans"]
    assert shares["train"][1] <= shares["valid"][0] < shares["valid"][1] <= shares["test"][0]
