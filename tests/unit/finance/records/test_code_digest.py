"""Which code a digest covers."""

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from shoestring.finance.records.code_digest import code_digest, code_modules
from shoestring.finance.strategies import allocators, models

FILES = {
    "proj/__init__.py": "",
    "proj/top.py": """
        from typing import TYPE_CHECKING
        import json
        import numpy
        from proj import helper
        if TYPE_CHECKING:
            from proj import only_types

        class Thing:
            def run(self):
                from proj.deep import late
                return helper.value() + late.x
        """,
    "proj/helper.py": "from .sub import leaf\ndef value():\n    return leaf.VALUE\n",
    "proj/sub/__init__.py": "",
    "proj/sub/leaf.py": "VALUE = 1\n",
    "proj/deep/__init__.py": "",
    "proj/deep/late.py": "x = 1\n",
    "proj/only_types.py": "y = 1\n",
    "proj/unrelated.py": "z = 1\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == "proj"]:
        del sys.modules[name]


def thing() -> type:
    return importlib.import_module("proj.top").Thing  # type: ignore[no-any-return]  # a class of the fixture


def test_imports_of_the_project_are_followed_and_nothing_else(project: Path) -> None:
    assert project.exists()
    assert set(code_modules(thing())) == {
        "proj", "proj.top", "proj.helper", "proj.sub", "proj.sub.leaf", "proj.deep", "proj.deep.late",
    }  # fmt: skip


@pytest.mark.parametrize("file", ["proj/top.py", "proj/helper.py", "proj/sub/leaf.py", "proj/deep/late.py"])
def test_a_change_of_any_module_behind_it_changes_the_digest(project: Path, file: str) -> None:
    before = code_digest(thing())
    (project / file).write_text((project / file).read_text() + "# changed\n")
    assert code_digest(thing()) != before


@pytest.mark.parametrize("file", ["proj/unrelated.py", "proj/only_types.py"])
def test_a_change_elsewhere_does_not(project: Path, file: str) -> None:
    before = code_digest(thing())
    (project / file).write_text("changed = 1\n")
    assert code_digest(thing()) == before


def test_an_instance_is_digested_by_its_class(project: Path) -> None:
    assert project.exists()
    assert code_digest(thing()()) == code_digest(thing())


def test_models_and_allocators_do_not_cover_each_other() -> None:
    """What lets a run with another allocator find its fits again."""
    assert models.__name__ not in code_modules(allocators.TopK)
    assert allocators.__name__ not in code_modules(models.Ridge)


def session(text: str) -> ModuleType:
    """Execute code as an interactive session would: without a file."""
    module = ModuleType("session")
    exec(textwrap.dedent(text), module.__dict__)
    for value in vars(module).values():
        if hasattr(value, "__qualname__"):
            value.__module__ = "session"
    return module


CODE = """
    FACTOR = 2
    def helper(x):
        return x * FACTOR
    class Thing:
        def run(self, x):
            return helper(x) + 1
"""


def test_code_of_a_session_is_digested_by_what_it_does() -> None:
    assert code_digest(session(CODE).Thing) == code_digest(session("\n\n" + CODE).Thing)


@pytest.mark.parametrize(
    ("old", "new"), [("+ 1", "+ 2"), ("x * FACTOR", "x + FACTOR"), ("FACTOR = 2", "FACTOR = 3")]
)
def test_a_change_in_a_session_changes_the_digest(old: str, new: str) -> None:
    assert code_digest(session(CODE.replace(old, new)).Thing) != code_digest(session(CODE).Thing)
