"""Importing the package, or asking the command line for help, loads nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "matplotlib",
    "jinja2",
    "sklearn",
    "onnx",
    "pandas",
    "ray",
    "mlflow",
    "torch_geometric",
    "dagster",
)
LOADED = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_package_imports_nothing_heavy() -> None:
    assert run(f"import shoestring; shoestring.__version__; {LOADED}").strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["verify", "--help"],
        ["quantize", "--help"],
        ["graph", "--help"],
        ["graph", "train", "--help"],
        ["graph", "plan", "--help"],
        ["graph", "partition", "--help"],
        ["finance", "--help"],
        ["finance", "backtest", "--help"],
        ["finance", "ui", "--help"],
        ["finance", "promote", "--help"],
        ["finance", "render", "--help"],
        ["simulate", "--help"],
        ["simulate", "sgcn", "--help"],
    ],
)
def test_the_command_line_helps_without_loading_anything_heavy(arguments: list[str]) -> None:
    code = f"""
from shoestring.cli import main
import sys
sys.argv = ["shoestring", *{arguments}]
try:
    main()
except SystemExit as e:
    assert not e.code, e.code
{LOADED}
"""
    assert run(code).strip().splitlines()[-1] == "[]"
