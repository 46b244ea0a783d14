import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console, RenderableType

from shoestring.core.cards import Card, EntryPoints, QuickCost
from shoestring.evidence.model import Arm
from shoestring.evidence.tables import scoreboard_table, summary, systems_table, verification_view


@pytest.fixture(scope="module")
def made_up() -> ModuleType:
    spec = importlib.util.spec_from_file_location("made_up", Path(__file__).parent / "report" / "made_up.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(what: RenderableType, width: int = 140) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(what)
    return out.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [200, 140, 100, 80, 60])
def test_no_figure_is_lost_at_any_width(made_up: Any, width: int) -> None:
    text = words(printed(verification_view([made_up.verification()]), width))
    joined = text.replace(" ", "")
    for arm in made_up.ARMS:
        assert arm.title.split()[0] in text
    for figure in ("87.82", "[87.11,87.96]", "86.74", "0.208", "MiB", "[39.1,42.9]s"):
        assert figure in joined
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def test_claims_show_ours_beside_the_papers(made_up: Any) -> None:
    text = words(printed(verification_view([made_up.verification()])))
    assert "direction holds With four bits" in text
    assert "here 87.41 against 85.17 %, difference +2.24 [-0.31, +3.90] over 3 seeds" in text
    assert "paper 91.26 against 90.25 %" in text
    assert "why needs a GPU and ImageNet" in text
    assert "here not measured" in text


def test_scaled_down_settings_are_printed(made_up: Any) -> None:
    text = printed(verification_view([made_up.verification()]))
    assert "scaled down: Iterations: 900 here, 80,000 in the paper" in text
    assert "full, synthetic data" in text


def test_a_workload_without_data_is_named_with_its_flag(made_up: Any) -> None:
    study = made_up.study(made_up.workload(needs_data="cifar10"), claims=())
    view = verification_view([made_up.verification(study, [made_up.record("gdfq", 0, "skipped")], [])])
    assert "--data cifar10=FOLDER" in words(printed(view))


def test_failed_arms_do_not_hide_the_others(made_up: Any) -> None:
    records = [made_up.record("qimera", s) for s in range(3)]
    records += [made_up.record("gdfq", 0), *(made_up.record("gdfq", s, "failed") for s in (1, 2))]
    text = printed(verification_view([made_up.verification(records=records)]))
    assert "1 of 3 ok, 2 failed" in text
    assert "not run" in text


def test_terminal_codes_and_markup_in_texts_are_inert(made_up: Any) -> None:
    arms = [Arm(name="qimera", title="\x1b[31mred[/bold] [link=x]", role="system"), *made_up.ARMS[1:]]
    text = printed(verification_view([made_up.verification(made_up.study(made_up.workload(arms)))]))
    assert "\x1b" not in text
    assert "[/bold] [link=x]" in words(text)


def test_a_summary_is_json_with_all_figures(made_up: Any) -> None:
    made = json.loads(json.dumps(summary(made_up.verification()), allow_nan=False))
    assert [a["arm"] for a in made["arms"]] == [a.name for a in made_up.ARMS]
    assert set(made["arms"][0]["metrics"]["top1"]["seeds"]) == {"0", "1", "2"}
    assert [c["verdict"] for c in made["claims"]] == [d.word for d in made_up.VERDICTS]
    assert made["claims"][0]["paper"] == made_up.CLAIMS[0].paper
    assert made["scaled_down"][1] == {"what": "Iterations", "ours": "900", "paper": "80,000"}
    assert made["left_out"] is None


def test_the_scoreboard_counts_full_evidence_first(made_up: Any) -> None:
    quick = replace(
        made_up.verification(made_up.study(profile="quick")), created_at="2026-01-01T00:00:00+00:00"
    )
    text = words(printed(scoreboard_table([quick, made_up.verification(verdicts=made_up.VERDICTS[1:2])])))
    assert "made_up 1 0 0 0 full synthetic 2026-11-22" in text


def test_systems_are_listed_with_what_is_scarce(tmp_path: Path) -> None:
    card = Card(
        name="one",
        title="One",
        family="some",
        scarce=("data", "bits"),
        paper="A paper",
        venue="V",
        year=2021,
        summary="It helps.",
        extras=(),
        entry_points=EntryPoints(evidence="m:f", job="m:g"),
        quick=QuickCost(seconds=40, memory_mb=900),
        folder=tmp_path / "some" / "one",
    )
    assert "one some data, bits It helps. 40.0 s, 900 MB" in words(printed(systems_table([card])))
