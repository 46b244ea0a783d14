"""Run SCALE-Sim on GEMMs and store its total cycles as the golden file of `tests/golden/scalesim_gemms.json`.

SCALE-Sim needs NumPy below 2.3, so it gets an environment of its own; run this there by hand:

    python -m venv scalesim && scalesim/bin/pip install "scalesim==3.0.0" "numpy<2.3"
    scalesim/bin/python tools/scalesim_golden.py tests/golden/scalesim_gemms.json
"""

import contextlib
import csv
import importlib.metadata
import io
import json
import sys
import tempfile
from pathlib import Path

CONFIG = """
[general]
run_name = golden
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
IfmapSramSzkB = 8192
FilterSramSzkB = 8192
OfmapSramSzkB = 8192
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
Bandwidth = 100
ReadRequestBuffer = 512
WriteRequestBuffer = 512
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = False
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""

ARRAYS = ((8, 8), (16, 16), (32, 32), (8, 32), (32, 8))
DATAFLOWS = ("os", "ws", "is")
# M, N, K: exact multiples of an array, one more, one less, thin, and single rows and columns.
GEMMS = (
    (32, 32, 32),
    (33, 31, 17),
    (64, 16, 100),
    (1, 64, 64),
    (64, 1, 64),
    (64, 64, 1),
    (7, 5, 3),
    (96, 40, 72),
)


def totals(rows: int, cols: int, dataflow: str) -> list[int]:
    """Return SCALE-Sim's total cycles of every GEMM on one array."""
    from scalesim.scale_sim import scalesim  # type: ignore[import-not-found]  # in its own environment only

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "array.cfg").write_text(CONFIG.format(rows=rows, cols=cols, dataflow=dataflow))
        lines = [f"g{i},{m},{n},{k}," for i, (m, n, k) in enumerate(GEMMS)]
        (folder / "gemms.csv").write_text("Layer,M,N,K,\n" + "\n".join(lines) + "\n")
        layouts = [f"g{i}," + "1," * 16 for i in range(len(GEMMS))]  # read, but not used
        (folder / "layout.csv").write_text("Layer,\n" + "\n".join(layouts) + "\n")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            scalesim(
                save_disk_space=True,
                verbose=False,
                config=str(folder / "array.cfg"),
                topology=str(folder / "gemms.csv"),
                layout=str(folder / "layout.csv"),
                input_type_gemm=True,
            ).run_scale(top_path=str(folder))
        (report,) = folder.rglob("COMPUTE_REPORT.csv")
        with report.open() as f:
            table = list(csv.DictReader(f, skipinitialspace=True))
    stalls = [int(float(row["Stall Cycles"])) for row in table]
    if any(stalls):
        raise SystemExit(
            f"{rows}x{cols} {dataflow}: the memory stalled, so totals are not the array's: {stalls}"
        )
    return [int(float(row["Total Cycles"])) for row in table]


def measure() -> dict[str, object]:
    """Return the golden content."""
    cases = [
        {"rows": r, "cols": c, "dataflow": d, "m": m, "n": n, "k": k, "cycles": cycles}
        for r, c in ARRAYS
        for d in DATAFLOWS
        for (m, n, k), cycles in zip(GEMMS, totals(r, c, d), strict=True)
    ]
    return {
        "what": "Total Cycles of SCALE-Sim's COMPUTE_REPORT.csv, memory without stalls",
        "regenerate": "tools/scalesim_golden.py in an environment with scalesim==3.0.0 and numpy<2.3",
        "may_change": "with another version of SCALE-Sim only",
        "tolerance": 0,
        "versions": {name: importlib.metadata.version(name) for name in ("scalesim", "numpy")},
        "cases": cases,
    }


def main() -> None:
    """Write the file named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    golden = measure()
    Path(sys.argv[1]).write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{len(golden['cases'])} GEMMs")  # type: ignore[arg-type]  # a list by construction


if __name__ == "__main__":
    main()
