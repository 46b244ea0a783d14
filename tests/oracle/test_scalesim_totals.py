"""Systolic cycles against SCALE-Sim 3.0.0: its stored totals, and a fresh run where it is installed."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shoestring.silicon.systolic import Gemm, gemm_cycles

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "scalesim_gemms.json").read_text())


def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("scalesim_golden", ROOT / "tools" / "scalesim_golden.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_stored_totals_are_scalesims_on_every_dataflow_and_several_arrays() -> None:
    assert GOLDEN["versions"]["scalesim"] == "3.0.0"
    assert len(GOLDEN["cases"]) >= 30
    assert {case["dataflow"] for case in GOLDEN["cases"]} == {"os", "ws", "is"}
    assert len({(case["rows"], case["cols"]) for case in GOLDEN["cases"]}) >= 3


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda c: "{rows}x{cols}-{dataflow}-{m}-{n}-{k}".format(**c)
)
def test_cycles_equal_scalesims_total(case: dict[str, Any]) -> None:
    gemm = Gemm(m=case["m"], n=case["n"], k=case["k"])
    assert (
        gemm_cycles(gemm, rows=case["rows"], cols=case["cols"], dataflow=case["dataflow"]) == case["cycles"]
    )


@pytest.mark.slow
def test_a_fresh_run_of_scalesim_gives_the_stored_totals() -> None:
    if importlib.util.find_spec("scalesim") is None:
        pytest.skip(
            f"scalesim is not installed in {sys.prefix}; it needs numpy < 2.3, see tools/scalesim_golden.py"
        )
    assert tool().measure()["cases"] == GOLDEN["cases"]
