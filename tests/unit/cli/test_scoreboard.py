import json
from pathlib import Path
from typing import Any

import pytest

from shoestring.cli import main
from shoestring.evidence.store import save_verification


@pytest.fixture
def evidence(made_up: Any, tmp_path: Path) -> Path:
    save_verification(tmp_path / "evidence", made_up.verification())
    return tmp_path / "evidence"


def test_verdicts_are_counted_in_the_terminal(
    evidence: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["scoreboard", "--from", str(evidence)]) == 0
    assert "made_up 1 1 1 1 full synthetic" in " ".join(capsys.readouterr().out.split())


def test_markdown_stands_between_markers(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scoreboard", "--from", str(evidence), "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("<!-- scoreboard -->", "<!-- /scoreboard -->")
    assert lines[1].startswith("| System | Scarce |")


def test_json_and_html_can_be_had_together(
    evidence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "board.html"
    assert main(["scoreboard", "--from", str(evidence), "--json", "--html", str(page)]) == 0
    out, err = capsys.readouterr()
    assert [v["system"] for v in json.loads(out)] == ["made_up"]
    assert "board.html" in err
    assert "Scoreboard" in page.read_text()


def test_no_evidence_says_how_to_make_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scoreboard", "--from", str(tmp_path / "none")]) == 2
    assert "shoestring verify NAME" in capsys.readouterr().err


def test_damaged_evidence_is_named(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (evidence / "made_up" / "broken-full.json").write_text("{")
    assert main(["scoreboard", "--from", str(evidence)]) == 2
    assert "broken-full.json" in capsys.readouterr().err
