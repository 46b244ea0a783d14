"""``shoestring graph partition``."""

import contextlib
import ctypes
import inspect
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.table import Table

from shoestring.cli.bar import progress_bar
from shoestring.cli.console import print_json, results
from shoestring.cli.graph_job import InputOptions, check_out_file, load, read_job, text_flag
from shoestring.core.config import to_dict, to_toml
from shoestring.core.errors import ConfigError
from shoestring.core.files import write_bytes_atomic

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from shoestring.graphs.csr import Csr
    from shoestring.graphs.partition import Method

__all__ = ["METHODS", "PartitionJob", "partition"]

METHODS = ("random", "spinner", "switching", "metis")


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionJob:
    """Everything that decides the result of ``shoestring graph partition``, but the graph's files."""

    parts: int = 8
    """Number of parts."""
    method: str = "switching"
    """switching, spinner, random or metis; "all" for each of them."""
    seed: int = 0
    """Seed of all random draws."""
    input: InputOptions = field(default_factory=InputOptions)
    """How the graph is read."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further options of the method, e.g. init."""

    def __post_init__(self) -> None:
        if self.parts < 1:
            raise ConfigError(f"parts={self.parts} is below 1; give how many parts the graph is cut into")
        if self.method not in (*METHODS, "all"):
            raise ConfigError(f"method={self.method!r} is not known; allowed: {', '.join(METHODS)}, all")
        if self.method == "all" and self.options:
            raise ConfigError("options are those of one method; leave them out with method='all'")


def partition(  # noqa: PLR0913, PLR0917  # one parameter a flag
    graph: Annotated[
        Path,
        typer.Argument(help=".npz, .pt of PyG, Planetoid or OGB folder, edge list.", metavar="GRAPH"),
    ],
    parts: Annotated[int | None, typer.Option(help="Number of parts.")] = None,
    method: Annotated[
        str | None, typer.Option(help="switching, spinner, random, metis, or all to compare them.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the part of every vertex (int32); with all, a file a method.", metavar="FILE.npy"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random draws.")] = None,
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One option.", metavar="A.B=VALUE")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all options and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Cut a graph into parts with few edges and few copied vertices between them.

    Prints the expansion ratio alpha (vertices that the parts read, over the vertices), how many parts a part
    depends on, the largest part over the mean, seconds, and peak memory beyond the graph's own.

    Example: shoestring graph partition cora.npz --parts 8 --method all
    """
    flags = [f"{name}={value}" for name, value in (("parts", parts), ("seed", seed)) if value is not None]
    job = read_job(PartitionJob, config, [*flags, *text_flag("method", method), *(set_ or ())])
    if print_config:
        sys.stdout.write(to_toml(job))
        return
    if out is not None:
        check_out_file(out, ".npy")
    data = load(graph, job.input)
    rows = _run(data, job, out)
    if json:
        sizes = {"num_nodes": int(data.num_nodes), "num_edges": int(data.edge_index.shape[1])}
        print_json({"graph": str(graph), **sizes, **to_dict(job), "results": rows})
    else:
        results().print(_table(rows))


def _run(data: "Data", job: PartitionJob, out: Path | None) -> list[dict[str, Any]]:
    from shoestring.graphs.csr import csr_from_edge_index

    csr = csr_from_edge_index(data.edge_index, data.num_nodes)
    methods = METHODS if job.method == "all" else (job.method,)
    rows = []
    with progress_bar() as report:
        for i, method in enumerate(methods):
            report(i / len(methods), method)
            rows.append(
                _one(csr, method, job, out if len(methods) == 1 or out is None else _file_of(out, method))
            )
    return rows


def _one(csr: "Csr", method: str, job: PartitionJob, out: Path | None) -> dict[str, Any]:
    """Cut once; return its figures as JSON values."""
    from shoestring.graphs.partition import partition as cut

    allowed = [n for n, p in inspect.signature(cut).parameters.items() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(job.options) - (set(allowed) - {"seed", "num_nodes"}))
    if unknown:
        raise ConfigError(f"unknown option options.{unknown[0]!r}; allowed: {', '.join(allowed)}")
    with _Peak() as peak:
        start = time.perf_counter()
        made = cut(csr, job.parts, cast("Method", method), seed=job.seed, **job.options)
        seconds = time.perf_counter() - start
    row = {
        "method": method,
        "parts": job.parts,
        "alpha": round(float(made.alpha), 4),
        "dependants": round(float(made.dependants), 3),
        "balance": round(float(made.balance), 4),
        "iterations": int(made.iterations),
        "seconds": round(seconds, 4),
        "extra_bytes": peak.extra_bytes,
        "file": None if out is None else str(out),
    }
    if out is not None:
        _write(out, made.part)
    return row


def _write(out: Path, part: Any) -> None:
    from io import BytesIO

    import numpy as np

    table = BytesIO()
    np.save(table, part.to("cpu").numpy().astype(np.int32), allow_pickle=False)
    write_bytes_atomic(out, table.getvalue())


def _file_of(out: Path, method: str) -> Path:
    return out.with_name(f"{out.stem}-{method}{out.suffix}")


class _Peak:
    """Peak resident memory of a block of code beyond what was there before it; None without /proc."""

    def __enter__(self) -> "_Peak":
        self.extra_bytes: int | None = None
        with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
            self._before = _status("VmRSS")
        except (OSError, ValueError):
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            peak = _status("VmHWM")
            self.extra_bytes = None if peak is None else max(0, peak - self._before)


def _status(name: str) -> int | None:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return None


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in (
        "method",
        "alpha",
        "parts a part depends on",
        "balance",
        "iterations",
        "seconds",
        "extra memory",
    ):
        table.add_column(title, justify="left" if title == "method" else "right")
    for row in rows:
        extra = row["extra_bytes"]
        table.add_row(
            row["method"],
            f"{row['alpha']:.3f}",
            f"{row['dependants']:.1f}",
            f"{row['balance']:.3f}",
            str(row["iterations"]),
            f"{row['seconds']:.3f}",
            "unknown" if extra is None else f"{extra / 2**20:.1f} MiB",
        )
    return table
