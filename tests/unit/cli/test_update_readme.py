import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from shoestring.evidence.store import save_verification

TOOL = Path(__file__).parents[3] / "tools" / "update_readme.py"


def update(folder: Path, *flags: str) -> int:
    command = [
        sys.executable,
        str(TOOL),
        "--top",
        str(folder),
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run([*command, *flags], check=False, env=env, capture_output=True).returncode


def test_the_readme_follows_the_evidence(made_up: Any, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- scoreboard -->\nold \\1\n<!-- /scoreboard -->\nafter\n")
    save_verification(tmp_path / "evidence", made_up.verification())
    assert update(tmp_path, "--check") == 1
    assert "old" in readme.read_text()
    assert update(tmp_path) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- scoreboard -->\n| System |")
    assert text.endswith("|\n<!-- /scoreboard -->\nafter\n")
    assert update(tmp_path, "--check") == 0
    readme.write_text("no markers")
    assert update(tmp_path) == 1


def test_the_card_of_a_system_follows_its_evidence(made_up: Any, tmp_path: Path) -> None:
    verification = made_up.verification()
    (tmp_path / "README.md").write_text("<!-- scoreboard -->\n<!-- /scoreboard -->\n")
    card = tmp_path / "src" / "shoestring" / "family" / verification.system
    card.mkdir(parents=True)
    (card / "card.toml").write_text("")
    (card / "README.md").write_text("<!-- evidence -->\n<!-- /evidence -->\nafter\n")
    save_verification(tmp_path / "evidence", verification)
    assert update(tmp_path) == 0
    text = (card / "README.md").read_text()
    workload = verification.study.workloads[0]
    assert all(f"| {arm.title} |" in text for arm in workload.arms)
    assert text.count("| *") == len(verification.verdicts)
    assert text.endswith("<!-- /evidence -->\nafter\n")
