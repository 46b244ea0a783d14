import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def running_ui() -> ModuleType:
    """The module that starts the user interface of the strategy platform."""
    path = Path(__file__).parents[1] / "unit" / "finance" / "shai_am" / "running_ui.py"
    spec = importlib.util.spec_from_file_location("running_ui", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
