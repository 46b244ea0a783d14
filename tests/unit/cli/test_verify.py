import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.cli import main
from shoestring.evidence.store import load_verifications

pytestmark = pytest.mark.usefixtures("toys")


def test_a_verification_prints_stores_and_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "good", "--store", "kept"]) == 0
    out, err = capsys.readouterr()
    words = " ".join(out.split())
    assert "good: Play (quick, synthetic data)" in words
    assert "scaled down: size: 1 here, 9 in the paper" in words
    assert "paper 9 against 8" in words
    assert "--data toybox=FOLDER" in words
    assert "report: .shoestring/reports/good-quick.html" in words
    assert "<h1>good</h1>" in Path(".shoestring/reports/good-quick.html").read_text()
    assert "started" in err
    assert "ok        good play ours seed 0" in err
    assert "\x1b" not in err
    assert {v.workload.name for v in load_verifications(Path("kept"))} == {"play", "real"}

    assert main(["verify", "good", "--json"]) == 0
    out, err = capsys.readouterr()
    made = json.loads(out)
    assert [m["workload"] for m in made] == ["play", "real"]
    assert made[0]["arms"][0]["metrics"]["score"]["median"] == 2.0
    assert made[0]["report"] == ".shoestring/reports/good-quick.html"
    assert "kept      good play ours seed 0" in err, "finished tasks are not run again"

    assert main(["verify", "good", "--workload", "play", "--rerun", "--full", "--seeds", "2"]) == 0
    err = capsys.readouterr().err
    assert "kept" not in err
    assert "seed 1" in err
    assert Path(".shoestring/reports/good-full-play.html").exists()


def test_a_broken_arm_is_code_one_and_the_rest_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "broken", "--workload", "play", "--jobs", "2", "--threads", "1"]) == 1
    out, err = capsys.readouterr()
    assert "failed" in out
    assert "2.00" in out
    assert "the toy is broken" in err
    assert "the toy is broken" in Path(".shoestring/reports/broken-quick-play.html").read_text()


def test_every_system_is_verified_when_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--workload", "play", "--jobs", "2", "--threads", "1"]) == 2
    out, err = capsys.readouterr()
    assert "good: Play" in out
    assert "broken: Play" in out
    assert "absent is left out" in err
    assert "shoestring[toys]" in err


def test_a_named_system_that_cannot_load_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "good", "absent"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "shoestring[toys]" in err
    assert not Path(".shoestring").exists(), "nothing ran before the input was checked"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workload", "nope"], "allowed: play, real"),
        (["--data", "toybox"], "NAME=FOLDER"),
        (["--data", "=x"], "NAME=FOLDER"),
        (["--data", "nope=x"], "allowed: toybox"),
        (["--data", "toybox=missing_folder"], "missing_folder"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["verify", "good", *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "started" not in err
    assert "Traceback" not in err


def test_data_that_is_given_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    Path("box").mkdir()
    assert main(["verify", "good", "--workload", "real", "--data", "toybox=box"]) == 0
    out = capsys.readouterr().out
    assert "left out" not in out
    assert "Real (quick" in out


def test_without_the_report_extra_the_tables_remain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["verify", "good", "--workload", "play"]) == 0
    out, err = capsys.readouterr()
    assert "Claims" in out
    assert "report:" not in out
    assert "no HTML report" in err
    assert "shoestring[report]" in err


def test_ctrl_c_is_code_130(toys: Path) -> None:
    package = toys.parent / "package"
    code = (package / "toy_good.py").read_text().replace("'lose'", "'interrupt'")
    (package / "toy_good.py").write_text(code)
    run = (
        "import functools, sys; from pathlib import Path; import shoestring.cli.verify as v\n"
        "from shoestring.core.cards import find_card; from shoestring.cli import main\n"
        f"v.find_card = functools.partial(find_card, package=Path({str(package)!r}))\n"
        "sys.exit(main(['verify', 'good', '--workload', 'play']))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", run], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
