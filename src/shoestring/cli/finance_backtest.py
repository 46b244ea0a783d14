"""``shoestring finance backtest``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.cli.console import note, print_json, results
from shoestring.cli.finance_job import DEFAULT_WORKSPACE, figures_table, market_of, reference, run_config
from shoestring.core.errors import ConfigError

__all__ = ["backtest"]


def backtest(  # noqa: PLR0913, PLR0917  # one parameter a flag
    strategies: Annotated[
        list[str], typer.Argument(help="Names, FILE.py[:Class], FILE.yaml.", metavar="STRATEGY")
    ],
    data: Annotated[str, typer.Option(help="Market by name, price file or folder.")] = "",
    start: Annotated[str, typer.Option(help="First date or year.", metavar="DATE")] = "",
    end: Annotated[str, typer.Option(help="Last date or year, included.", metavar="DATE")] = "",
    cost_bps: Annotated[
        float | None, typer.Option(help="Costs in basis points of the traded value.", min=0)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Tear sheet; in the workspace by default.", metavar="FILE.html")
    ] = None,
    workspace: Annotated[Path, typer.Option(help="Folder of results.", metavar="DIR")] = DEFAULT_WORKSPACE,
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the strategy.", metavar="NAME=VALUE")
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all options and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run strategies walk-forward over past prices and write a tear sheet.

    Every step is kept in the workspace: a run that was killed goes on behind its last finished step, and what
    ran before is not run again.

    Example: shoestring finance backtest momentum mine.py --start 2005 --cost-bps 5
    """
    options = run_config(config, start=start, end=end, cost_bps=cost_bps)
    if print_config:
        from shoestring.core.config import to_toml

        typer.echo(to_toml(options), nl=False)
        return
    if set_ and len(strategies) > 1:
        raise ConfigError(f"--set is for one strategy, and {len(strategies)} are named; run them one by one")
    references = [reference(strategy, set_ or ()) for strategy in strategies]
    market = market_of(strategies[0], data)
    runs, about, report = _run(references, market, options, workspace, out)
    if json:
        print_json({"data": about["name"], "report": str(report), "runs": runs})
        return
    results().print(figures_table({f"{r['strategy']} {r['version']} {r['id']}": r["metrics"] for r in runs}))
    note(f"tear sheet: {report}")


def _run(
    references: list[Any], market: str, options: Any, workspace: Path, out: Path | None
) -> tuple[list[dict[str, Any]], dict[str, Any], Path]:
    from shoestring.finance.running.keys import check_unique
    from shoestring.finance.shai_am import Platform
    from shoestring.finance.shai_am._checks import record_walk_forward, subject_of
    from shoestring.finance.shai_am._reports import write_report

    loaded = [one.load() for one in references]
    check_unique(loaded)
    with Platform(workspace) as platform:
        panels = {id(platform.market(market, strategy=one)[0]) for one in loaded}
        if len(panels) > 1:
            raise ConfigError(
                "these strategies bring data of their own, which differ; run them one by one, or give --data"
            )
        done = []
        for one in references:
            run = platform.backtest(one, market, config=options, show_progress=True)
            skipped = f"{run.hits} of {len(run.tasks)} steps were there already"
            note(f"{run.strategy} {run.version}: {skipped}")
            done.append((run, one.load()))
        panel, about, _ = platform.market(market, strategy=done[0][1])
        report = workspace / "reports" / f"{done[0][0].id}.html"
        write_report(report, done, panel, about)
        for run, strategy in done:
            data_hash = platform.data_hash(market, strategy=strategy)
            record_walk_forward(workspace, subject_of(strategy), data_hash, run.metrics, report)
        if out is not None:
            write_report(out, done, panel, about)
        rows = [
            {"id": r.id, "strategy": r.strategy, "version": r.version, "metrics": dict(r.metrics)}
            for r, _ in done
        ]
    return rows, about, out or report
