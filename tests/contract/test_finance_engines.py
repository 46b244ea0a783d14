"""The finance family works without an engine: importing any module of it loads none."""

import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = ("dagster", "mlflow", "ray", "kubernetes", "kubernetes_validate", "selenium")
PACKAGE = Path(__file__).parents[2] / "src" / "shoestring"
SYSTEMS = sorted(p.parent.name for p in (PACKAGE / "finance").glob("*/card.toml"))
CORE = sorted(
    ".".join(p.relative_to(PACKAGE / "finance").with_suffix("").parts)
    for p in (PACKAGE / "finance").glob("*/**/*.py")
    if p.relative_to(PACKAGE / "finance").parts[0] not in SYSTEMS and p.stem != "__init__"
)


def loaded_by(*modules: str) -> str:
    found = f"[e for e in {ENGINES!r} if e in sys.modules]"
    code = f"import sys\nfor m in {modules!r}: __import__(m)\nprint({found})"
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_core_framework_loads_no_engine() -> None:
    assert {"market.panel", "market.statements.table", "running.run"} <= set(CORE)
    assert loaded_by(*(f"shoestring.finance.{name}" for name in CORE)) == "[]"


def test_the_systems_load_no_engine() -> None:
    assert "shai_am" in SYSTEMS
    assert loaded_by(*(f"shoestring.finance.{name}" for name in SYSTEMS)) == "[]"


@pytest.mark.parametrize("name", sorted(p.stem for p in (PACKAGE / "finance" / "shai_am").glob("_[a-z]*.py")))
def test_the_platforms_parts_import_engines_at_their_point_of_use(name: str) -> None:
    text = (PACKAGE / "finance" / "shai_am" / f"{name}.py").read_text()
    starts = tuple(f"{word} {engine}" for word in ("import", "from") for engine in ENGINES)
    assert not [line for line in text.splitlines() if line.strip().startswith(starts)]
