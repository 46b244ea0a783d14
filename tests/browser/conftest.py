import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

UNIT = Path(__file__).parents[1] / "unit"


@pytest.fixture(scope="session")
def made_up() -> ModuleType:
    """The module that makes verifications with made-up figures."""
    return load(UNIT / "evidence" / "report" / "made_up.py")


@pytest.fixture(scope="session")
def running_ui() -> ModuleType:
    """The module that starts the user interface of the strategy platform."""
    return load(UNIT / "finance" / "shai_am" / "running_ui.py")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
