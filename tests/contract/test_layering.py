"""Imports point one way, as drawn in ARCHITECTURE.md; read from the import statements, no exceptions list."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "shoestring"
FOUNDATION = ("core", "native", "storage", "parallel", "data", "nn")
MAY_IMPORT = {
    "core": set(),
    "native": {"core"},
    "storage": {"native", "core"},
    "parallel": {"native", "core"},
    "data": {"native", "core"},
    "nn": {"native", "core"},
    "evidence": {"core"},
}
# A family whose own modules lie in sub-packages: each may import itself and the named ones.
PARTS = {
    "finance": {
        "market": set(),
        "records": {"market"},
        "backtest": {"market"},
        "strategies": {"market", "records", "backtest"},
        "running": {"market", "records", "strategies"},
    },
}
FAMILIES = sorted(
    p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name not in {*MAY_IMPORT, "cli", "__pycache__"}
)
SYSTEMS = {(c.parent.parent.name, c.parent.name) for c in PACKAGE.glob("*/*/card.toml")}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{a.name}" for a in node.names]
        for name in names:
            parts = tuple(name.split("."))
            if parts[0] == "shoestring" and len(parts) > 1:
                yield parts[1:]


def violation(home: tuple[str, ...], target: tuple[str, ...]) -> str | None:
    """Say which rule an import from the module `home` of `target` breaks, if any."""
    unit, other = home[0], target[0]
    if unit in ("cli", "__init__.py") or (unit == other and unit in MAY_IMPORT):
        return None
    if unit in MAY_IMPORT:
        return None if other in MAY_IMPORT[unit] else f"{unit} may import {sorted(MAY_IMPORT[unit])} only"
    return violation_of_family(home, target)


def violation_of_family(home: tuple[str, ...], target: tuple[str, ...]) -> str | None:
    """Say which rule an import from a family's module breaks, if any."""
    if target[0] == "evidence":
        return None if target[1:2] == ("model",) else "a family uses evidence.model only"
    if target[0] not in (*FOUNDATION, home[0]):
        return "a family imports no other family, nor the command line"
    if target[:2] in SYSTEMS and target[:2] != home[:2]:
        return "a system is imported by itself only"
    return violation_of_parts(home, target)


def violation_of_parts(home: tuple[str, ...], target: tuple[str, ...]) -> str | None:
    """Say which rule an import among the sub-packages of one family breaks, if any."""
    parts = PARTS.get(home[0], {})
    if target[0] != home[0] or home[1] not in parts:
        return None
    allowed = {home[1], *parts[home[1]]}
    return None if target[1] in allowed else f"{home[0]}.{home[1]} may import {sorted(allowed)} of its family"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    home = path.relative_to(PACKAGE).parts
    broken = [f"{'.'.join(t)}: {why}" for t in imported(path) if (why := violation(home, t))]
    assert not broken


@pytest.mark.parametrize(
    ("home", "target"),
    [
        (("core", "x.py"), ("data",)),
        (("nn", "x.py"), ("evidence", "model")),
        (("evidence", "x.py"), ("compression",)),
        (("compression", "x.py"), ("compression", "qimera")),
        (("compression", "x.py"), ("evidence", "runner")),
        (("compression", "x.py"), ("cli",)),
        (("compression", "other", "x.py"), ("compression", "qimera", "config")),
        (("graphs", "x.py"), ("compression", "losses")),
        (("finance", "market", "x.py"), ("finance", "records", "store")),
        (("finance", "records", "x.py"), ("finance", "strategies", "interface")),
        (("finance", "backtest", "x.py"), ("finance", "strategies", "interface")),
        (("finance", "strategies", "x.py"), ("finance", "running", "run")),
        (("finance", "running", "x.py"), ("finance", "maps", "config")),
    ],
)
def test_an_upward_or_sideways_import_is_found(home: tuple[str, ...], target: tuple[str, ...]) -> None:
    assert violation(home, target) is not None


def test_folders_are_at_most_three_deep_and_files_short() -> None:
    for path in SOURCES:
        assert len(path.relative_to(PACKAGE).parts) <= 4, f"{path} lies too deep"
        assert len(path.read_text().splitlines()) <= 800, f"{path} is two ideas"


@pytest.mark.parametrize("family", PARTS)
def test_a_family_in_parts_has_no_module_beside_them(family: str) -> None:
    folders = {p.parent.name for p in (PACKAGE / family).glob("*/__init__.py")}
    systems = {name for of, name in SYSTEMS if of == family}
    assert folders == systems | set(PARTS[family])
    assert [p.name for p in (PACKAGE / family).glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("family", PARTS)
def test_the_modules_of_a_family_in_parts_import_each_other_one_way(family: str) -> None:
    files = [p for part in PARTS[family] for p in sorted((PACKAGE / family / part).rglob("*.py"))]
    modules = {p.relative_to(PACKAGE).with_suffix("").parts: p for p in files}
    needs = {
        name: {known for t in imported(path) for known in (t, t[:-1]) if known in modules} - {name}
        for name, path in modules.items()
    }
    assert sum(len(n) for n in needs.values()) > len(needs)
    TopologicalSorter(needs).prepare()  # raises CycleError, which names the cycle


def test_families_are_known() -> None:
    assert sorted({family for family, _ in SYSTEMS}) == FAMILIES
