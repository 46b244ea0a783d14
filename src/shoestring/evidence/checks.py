"""Is a study consistent? Checked before anything runs."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from shoestring.core.entry import check_entry_point
from shoestring.core.errors import ConfigError
from shoestring.evidence.model import Claim, Compare, Study, Workload
from shoestring.evidence.tasks import PREPARE

__all__ = ["check_study", "narrow_study"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", re.ASCII)


def check_study(study: Study) -> None:
    """Check names, entry points and that claims and plots speak of arms that exist.

    Raises
    ------
    ConfigError
        For the first thing that is wrong; the message names system, workload and offender.
    """
    _check_names([study.system], "system")
    _check_names([w.name for w in study.workloads], f"workload of {study.system}")
    if not study.workloads:
        raise ConfigError(f"study of {study.system!r} has no workload; add one")
    for workload in study.workloads:
        _check_workload(workload, f"{study.system}/{workload.name}")
    arms = {w.name: {a.name for a in w.arms} for w in study.workloads}
    _check_unique([c.name for c in study.claims], f"claim of {study.system}")
    for claim in study.claims:
        _check_claim(claim, arms)
    for plot in study.plots:
        _check_member(plot.workload, arms, f"plot {plot.title!r}: workload")
        for arm in plot.arms:
            _check_member(arm, arms[plot.workload], f"plot {plot.title!r}: arm")


def narrow_study(study: Study, workloads: Collection[str] | None, seeds: int | None) -> Study:
    """Return `study` with only some workloads (and their claims and plots) and another number of seeds.

    Parameters
    ----------
    study : Study
        A study that passed `check_study`.
    workloads : collection of str or None
        Names to keep; all when None.
    seeds : int or None
        Seeds a workload: the declared ones first, then those that follow the greatest. None keeps the
        declared.

    Raises
    ------
    ConfigError
        If a workload does not exist or `seeds` is below 1.
    """
    if seeds is not None and seeds < 1:
        raise ConfigError(f"seeds={seeds} is below 1; give at least 1 (a verdict needs 3)")
    names = [w.name for w in study.workloads]
    for name in workloads or ():
        _check_member(name, names, f"system {study.system!r}: workload")
    kept = [w for w in study.workloads if workloads is None or w.name in workloads]
    if not kept:
        raise ConfigError(f"no workload was named; {study.system!r} has {', '.join(names)}")
    if seeds is not None:
        kept = [replace(w, seeds=_first_seeds(w.seeds, seeds)) for w in kept]
    left = {w.name for w in kept}
    return replace(
        study,
        workloads=tuple(kept),
        claims=tuple(c for c in study.claims if c.workload in left),
        plots=tuple(p for p in study.plots if p.workload in left),
    )


def _first_seeds(declared: tuple[int, ...], num: int) -> tuple[int, ...]:
    after = max(declared) + 1
    return (*declared, *range(after, after + num))[:num]


def _check_workload(workload: Workload, where: str) -> None:
    if not workload.arms:
        raise ConfigError(f"workload {where} has no arm; add one")
    _check_names([a.name for a in workload.arms], f"arm of {where}")
    if any(a.name == PREPARE for a in workload.arms):
        raise ConfigError(f"an arm of {where} is called {PREPARE!r}, which means its preparation; rename it")
    if not workload.seeds or any(s < 0 for s in workload.seeds):
        raise ConfigError(f"seeds of {where} are {workload.seeds}; give at least one, none below 0")
    _check_unique([str(s) for s in workload.seeds], f"seed of {where}")
    check_entry_point(workload.run)
    limits = [workload.timeout_s]
    if workload.prepare is not None:
        check_entry_point(workload.prepare.run)
        limits.append(workload.prepare.timeout_s)
    if min(limits) <= 0:
        raise ConfigError(f"timeout_s={min(limits)} of {where} must be above 0")


def _check_claim(claim: Claim, arms: dict[str, set[str]]) -> None:
    _check_member(claim.workload, arms, f"claim {claim.name!r}: workload")
    check = claim.check
    named = (check.arm, check.than) if isinstance(check, Compare) else (check.arm,)
    for arm in named:
        _check_member(arm, arms[claim.workload], f"claim {claim.name!r}: arm")
    if isinstance(check, Compare):
        if check.ratio is not None and check.ratio <= 0:
            raise ConfigError(f"claim {claim.name!r}: ratio={check.ratio} must be above 0")
    elif check.at_least is None and check.at_most is None:
        raise ConfigError(f"claim {claim.name!r} has no bound; give at_least, at_most or both")


def _check_names(names: list[str], what: str) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{what} {name!r} cannot name a folder; use letters, digits and _ . + -")
    _check_unique(names, what)


def _check_unique(names: list[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{what} {name!r} appears twice; names must differ")


def _check_member(name: str, known: Iterable[str], what: str) -> None:
    if name not in known:
        raise ConfigError(f"{what} {name!r} does not exist; known: {', '.join(sorted(known))}")
