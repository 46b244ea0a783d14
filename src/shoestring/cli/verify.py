"""``shoestring verify``."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.console import note, print_json, results
from shoestring.cli.progress import TaskLines
from shoestring.core.cards import Card, all_cards, find_card
from shoestring.core.entry import load_entry_point
from shoestring.core.errors import ConfigError, MissingExtraError, ShoestringError
from shoestring.evidence import runner
from shoestring.evidence.backend import Backend
from shoestring.evidence.model import Study
from shoestring.evidence.store import Verification, save_verification
from shoestring.evidence.tables import summary, verification_view

__all__ = ["verify"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    """What the command line asked for."""

    out: Path
    store: Path | None
    seeds: int | None
    jobs: int
    threads: int | None
    data: Mapping[str, Path]
    workloads: Sequence[str]
    rerun: bool
    mlflow: str | None
    json: bool
    shown: list[dict[str, object]] = field(default_factory=list)


def verify(  # noqa: PLR0913, PLR0917  # one parameter a flag
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Systems to verify; every system for 'all' or no name.", metavar="NAME"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="The scaled-down experiment, or a check of about a minute.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds an arm; those of the study when omitted.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Tasks at once.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads a task; cores / jobs when omitted.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Folder of a data set that a workload needs.", metavar="NAME=FOLDER"),
    ] = None,
    workload: Annotated[list[str] | None, typer.Option(help="Only this workload (may be repeated).")] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs, evidence and reports.", metavar="DIR")] = Path(
        ".shoestring"
    ),
    store: Annotated[Path | None, typer.Option(help="Also store the evidence here.", metavar="DIR")] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Run finished tasks again.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(help="Run the tasks on this Ray cluster ('local' starts one).", metavar="ADDRESS"),
    ] = None,
    mlflow: Annotated[str | None, typer.Option(help="Also log to this MLflow server.", metavar="URI")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a system against its baselines and check the paper's claims.

    Prints the measurements and verdicts, stores them as evidence and writes an HTML report. Finished
    tasks are kept, so a run that was stopped goes on where it was.

    Example: shoestring verify qimera --quick --jobs 2
    """
    wish = _Wish(
        out=out,
        store=store,
        seeds=seeds,
        jobs=jobs,
        threads=threads,
        data=_folders(data or ()),
        workloads=tuple(workload or ()),
        rerun=rerun,
        mlflow=mlflow,
        json=json,
    )
    studies, code = _studies(names or (), full)
    _check_names(wish, studies)
    try:
        with ExitStack() as stack:
            backend = _ray(ray, threads, stack)
            for study in studies:
                code = max(code, _verify_one(study, wish, backend))
    except KeyboardInterrupt:
        note("interrupted; finished tasks are kept, the same command goes on from there")
        raise typer.Exit(130) from None
    if json:
        print_json(wish.shown)
    raise typer.Exit(code)


def _verify_one(study: Study, wish: _Wish, backend: Backend | None) -> int:
    """Run, print and store one system; 1 if a task of it failed."""
    with TaskLines() as progress:
        verifications = runner.verify(
            study,
            out=wish.out,
            seeds=wish.seeds,
            jobs=wish.jobs,
            threads=wish.threads,
            data={name: wish.data[name] for name in _needed(study) if name in wish.data},
            workloads=[w.name for w in study.workloads if w.name in wish.workloads] or None,
            rerun=wish.rerun,
            backend=backend,
            on_event=progress,
        )
    if wish.store is not None:
        for v in verifications:
            save_verification(wish.store, v)
    report = _report(verifications, wish)
    if wish.json:
        wish.shown.extend({**summary(v), "report": str(report) if report else None} for v in verifications)
    else:
        console = results()
        console.print(verification_view(verifications))
        if report:
            console.print(f"\nreport: {report}", markup=False, soft_wrap=True)
    if wish.mlflow is not None:
        from shoestring.evidence.mlflow_log import log_verification

        log_verification(wish.mlflow, verifications)
    return int(any(r.status in ("failed", "timeout") for v in verifications for r in v.records))


def _report(verifications: Sequence[Verification], wish: _Wish) -> Path | None:
    """Write the HTML report; without its extra the tables are all there is."""
    from shoestring.evidence.report import write_report

    one = verifications[0]
    part = "".join(f"-{v.workload.name}" for v in verifications) if wish.workloads else ""
    path = wish.out / "reports" / f"{one.system}-{one.profile}{part}.html"
    try:
        write_report(path, verifications)
    except MissingExtraError as e:
        note(f"no HTML report: {e}")
        return None
    return path


def _studies(names: Sequence[str], full: bool) -> tuple[list[Study], int]:
    """Load the studies; one of many that cannot be loaded is noted and makes exit code 2."""
    every = not names or "all" in names
    cards = list(all_cards()) if every else list({c.name: c for c in map(find_card, names)}.values())
    if not cards:
        raise ConfigError(
            "this installation has no system; install one of the families, e.g. shoestring[compression]"
        )
    studies, code = [], 0
    for card in cards:
        try:
            studies.append(_study(card, full))
        except ShoestringError as e:
            if not every:
                raise
            note(f"{card.name} is left out: {e}")
            code = 2
    return studies, code


def _study(card: Card, full: bool) -> Study:
    study = load_entry_point(card.entry_points.evidence)("full" if full else "quick")
    if not isinstance(study, Study):
        raise ConfigError(
            f"{card.entry_points.evidence} returned {type(study).__name__}, not a Study; correct the system"
        )
    return study


def _check_names(wish: _Wish, studies: list[Study]) -> None:
    """Refuse workloads and data sets that no study knows; drop studies without a chosen workload."""
    known = sorted({w.name for s in studies for w in s.workloads})
    wanted = sorted({name for s in studies for name in _needed(s)})
    for name in wish.workloads:
        if name not in known:
            raise ConfigError(f"--workload {name!r} is not known here; allowed: {', '.join(known)}")
    for name in wish.data:
        if name not in wanted:
            raise ConfigError(
                f"--data {name}=...: no workload needs it; allowed: {', '.join(wanted) or 'none here'}"
            )
    if wish.workloads:
        studies[:] = [s for s in studies if any(w.name in wish.workloads for w in s.workloads)]


def _needed(study: Study) -> set[str]:
    return {w.needs_data for w in study.workloads if w.needs_data}


def _folders(items: Sequence[str]) -> dict[str, Path]:
    folders = {}
    for item in items:
        name, sign, folder = item.partition("=")
        if not (name and sign and folder):
            raise ConfigError(f"--data {item!r} is not of the form NAME=FOLDER")
        folders[name] = Path(folder).expanduser()
    return folders


def _ray(address: str | None, threads: int | None, stack: ExitStack) -> Backend | None:
    """Connect to a Ray cluster, if one was named, until the stack is left."""
    if address is None:
        return None
    from shoestring.evidence.ray_backend import RayBackend

    return stack.enter_context(closing(RayBackend(address, threads or 1)))
