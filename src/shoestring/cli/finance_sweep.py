"""``shoestring finance sweep``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from shoestring.cli.console import note, print_json, results
from shoestring.cli.finance_job import DEFAULT_WORKSPACE, figures_table, market_of, run_config
from shoestring.core.errors import ConfigError

__all__ = ["sweep"]


def sweep(  # noqa: PLR0913, PLR0917  # one parameter a flag
    strategy: Annotated[str, typer.Argument(help="A name, FILE.py[:Class] or FILE.yaml.")],
    grid: Annotated[
        list[str], typer.Option(help="Values of a parameter (repeat it).", metavar="NAME=V1,V2,...")
    ],
    data: Annotated[str, typer.Option(help="Market by name, price file or folder.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Processes; 1 runs in this one.")] = 1,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Where the processes are (ray: a local one).")
    ] = "local",
    best: Annotated[int, typer.Option(min=1, help="How many to show, by Sharpe ratio.")] = 10,
    workspace: Annotated[Path, typer.Option(help="Folder of results.", metavar="DIR")] = DEFAULT_WORKSPACE,
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, every run.")] = False,
) -> None:
    """Backtest every combination of parameter values; what ran before is found, not run.

    The best of many has looked at the same past many times: its Sharpe ratio is too high by that.

    Example: shoestring finance sweep momentum --grid lookback=63,126,252 --grid share=0.1,0.2 --jobs 2
    """
    values = dict(_axis(text) for text in grid)
    options = run_config(config)
    from shoestring.finance.shai_am import Platform, SweepConfig

    chosen = SweepConfig(grid=values, jobs=jobs)
    where: Any = "ray" if executor == "ray" else "process" if jobs > 1 else "inproc"
    with Platform(workspace) as platform:
        runs = platform.sweep(
            strategy,
            chosen,
            market_of(strategy, data),
            config=options,
            executor=where,
            show_progress=True,
        )
        names = [" ".join(f"{n}={v}" for n, v in c.items()) for c in _combinations(values)]
        rows: list[dict[str, Any]] = [
            {"id": r.id, "set": n, "metrics": dict(r.metrics)} for n, r in zip(names, runs, strict=True)
        ]
    if json:
        print_json({"strategy": strategy, "runs": rows})
        return
    rows.sort(key=lambda row: -(row["metrics"].get("sharpe") or float("-inf")))
    results().print(figures_table({str(row["set"]): row["metrics"] for row in rows[:best]}))
    note(f"{len(rows)} backtests, the {min(best, len(rows))} best by Sharpe ratio shown")


def _axis(text: str) -> tuple[str, tuple[Any, ...]]:
    from shoestring.core.config import apply_overrides

    name, sign, values = text.partition("=")
    if not sign or not name or not values:
        raise ConfigError(f"--grid {text!r} is not of the form NAME=V1,V2,...; write it like lookback=63,126")
    return name, tuple(apply_overrides({}, [f"v={value}"])["v"] for value in values.split(","))


def _combinations(grid: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    import itertools

    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
