from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from shoestring.evidence.report import card_evidence, readme_table


def test_a_row_has_counts_and_the_first_checked_claims(made_up: Any) -> None:
    head, line, row = readme_table([made_up.verification()]).splitlines()
    assert head.count("|") == line.count("|") == row.count("|") == 5
    assert "1 / 1 / 1 / 1" in row
    assert "made\\_up" in row
    assert "87.41 against 85.17 %" in row
    assert "(*direction holds*)" in row
    assert "(*holds*)" in row
    assert "900 iterations" not in row


def test_the_claims_that_a_card_names_are_quoted_instead(
    made_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = made_up.VERDICTS[1].claim
    card = SimpleNamespace(title="Made up", scarce=("bits",), headlines=(later, "unchecked"))
    monkeypatch.setattr("shoestring.evidence.report.markdown.card_of", lambda _: card)
    row = readme_table([made_up.verification()]).splitlines()[2]
    assert made_up.VERDICTS[1].measured[:5] in row
    assert made_up.VERDICTS[0].measured[:5] not in row


def test_paper_figures_never_stand_in_the_table(made_up: Any) -> None:
    table = readme_table([made_up.verification()])
    assert not [c.paper for c in made_up.CLAIMS if c.paper in table]


def test_full_evidence_replaces_quick(made_up: Any) -> None:
    quick = made_up.verification(made_up.study(profile="quick"))
    full = made_up.verification(verdicts=made_up.VERDICTS[:1])
    assert "(quick)" in readme_table([quick])
    both = readme_table([quick, full])
    assert "(quick)" not in both
    assert "0 / 1 / 0 / 0" in both


def test_hostile_text_stays_in_its_cell(made_up: Any) -> None:
    verdicts = [replace(made_up.VERDICTS[0], measured="1 | 2\n| <b>x</b> `y` [z](w) <!-- /scoreboard -->")]
    table = readme_table([made_up.verification(verdicts=verdicts)])
    assert len(table.splitlines()) == 3
    assert "<b>" not in table
    assert "-->" not in table
    assert "1 \\| 2 \\|" in table


def test_no_evidence_is_a_table_without_rows() -> None:
    assert len(readme_table([]).splitlines()) == 2


def test_a_card_shows_every_figure_and_what_one_arm_has_apart(made_up: Any) -> None:
    verification = made_up.verification()
    records = [
        r if r.arm == "qimera" else replace(r, metrics={k: v for k, v in r.metrics.items() if k != "bytes"})
        for r in verification.records
    ]
    text = card_evidence([replace(verification, records=tuple(records))])
    arms, alone, claims = text.split("\n\n")[2:5]
    assert "Model size" in card_evidence([verification]).split("\n\n")[2]
    assert "Model size" not in arms
    assert len(arms.splitlines()) == 2 + len(verification.study.workloads[0].arms)
    assert alone.splitlines()[2].startswith("| Model size (KiB) | Qimera |")
    assert len(claims.splitlines()) == 2 + len(verification.verdicts)


def test_a_workload_of_one_arm_has_one_table(made_up: Any) -> None:
    study = made_up.study()
    workload = replace(study.workloads[0], arms=study.workloads[0].arms[:1])
    verification = made_up.verification(replace(study, workloads=(workload,)), verdicts=())
    assert "of one arm" not in card_evidence([verification])
