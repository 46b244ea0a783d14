"""What the pages show, as plain values: built from verifications, free of HTML."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from shoestring.core.cards import Card, find_card
from shoestring.core.errors import ConfigError
from shoestring.core.figures import marker_path
from shoestring.evidence.model import Claim, Metric, Record, Verdict, Workload
from shoestring.evidence.report.plots import draw_plot
from shoestring.evidence.report.rows import (
    ArmRow,
    Spread,
    arm_rows,
    best_arms,
    check_in_words,
    count_words,
    format_bytes,
    format_metric,
    format_range,
    format_seconds,
    left_out,
    shown_metrics,
)
from shoestring.evidence.report.styles import ArmStyle, arm_styles
from shoestring.evidence.store import Verification

__all__ = ["card_of", "command_of", "report_page", "scoreboard_page", "strongest"]

_ERROR_LINES = 30


def card_of(system: str) -> Card | None:
    """Return the card of a system, or None when this installation does not have it."""
    try:
        return find_card(system)
    except ConfigError:
        return None


def command_of(verification: Verification) -> str:
    """Return the command line that runs a verification again."""
    workload = verification.workload
    words = [
        "shoestring",
        "verify",
        verification.system,
        f"--{verification.profile}",
        "--workload",
        workload.name,
    ]
    words += ["--seeds", str(len(workload.seeds)), "--rerun"]
    if workload.needs_data:
        words += ["--data", f"{workload.needs_data}=FOLDER"]
    return shlex.join(words)


def strongest(verifications: Iterable[Verification]) -> dict[str, list[Verification]]:
    """Group verifications by system; of a system with full ones, the quick ones are left out."""
    groups: dict[str, list[Verification]] = {}
    for v in verifications:
        groups.setdefault(v.system, []).append(v)
    return {
        system: [v for v in group if v.profile == "full"] or group for system, group in sorted(groups.items())
    }


def report_page(verifications: Sequence[Verification]) -> dict[str, Any]:
    """Return everything that the report of one system shows.

    Parameters
    ----------
    verifications : sequence of Verification
        Of one system, at least one.

    Raises
    ------
    ConfigError
        If there is none, or they are of several systems.
    """
    systems = sorted({v.system for v in verifications})
    if len(systems) != 1:
        raise ConfigError(
            f"a report is about one system; got {', '.join(systems) or 'no verification'}. Write one a system"
        )
    card = card_of(systems[0])
    styles = arm_styles([a for v in verifications for a in v.workload.arms])
    verdicts = [d for v in verifications for d in v.verdicts]
    return {
        "title": f"{_heading(systems[0], card)}: verification",
        "family": verifications[0].family,
        "heading": _heading(systems[0], card),
        "summary": card.summary if card else "",
        "paper": _paper(card),
        "badges": _badges(verifications),
        "counts": count_words(verdicts),
        "verdict_line": _verdict_line(verifications, verdicts),
        "claims": [c for v in verifications for c in _claims(v)],
        "workloads": [_workload(v, styles, f"w{i}") for i, v in enumerate(verifications, start=1)],
        "environments": _environments(verifications),
        "shoestring": _library(verifications),
    }


def scoreboard_page(verifications: Sequence[Verification]) -> dict[str, Any]:
    """Return everything that the scoreboard shows, the strongest profile of every system."""
    groups = strongest(verifications)
    systems = [_system(f"s{i}", name, group) for i, (name, group) in enumerate(groups.items(), start=1)]
    chosen = [v for group in groups.values() for v in group]
    num = sum(len(v.verdicts) for v in chosen)
    return {
        "title": "Shoestring scoreboard",
        "badges": [_plural(len(groups), "system"), _plural(num, "claim"), *_dates(chosen)],
        "counts": count_words(d for v in chosen for d in v.verdicts),
        "systems": systems,
        "shoestring": _library(chosen),
    }


def _system(anchor: str, name: str, group: Sequence[Verification]) -> dict[str, Any]:
    card = card_of(name)
    return {
        "id": anchor,
        "title": card.title if card else name,
        "heading": _heading(name, card),
        "paper": _paper(card),
        "scarce": ", ".join(card.scarce) if card else "",
        "counts": count_words(d for v in group for d in v.verdicts),
        "profile": " and ".join(sorted({v.profile for v in group})),
        "data": " and ".join(sorted({v.workload.data for v in group})),
        "claims": [c for v in group for c in _claims(v)],
    }


def _heading(system: str, card: Card | None) -> str:
    return card.title if card else system


def _paper(card: Card | None) -> str:
    return (
        f"{card.paper}, {card.venue} {card.year}".replace(f"{card.year} {card.year}", str(card.year))
        if card
        else ""
    )


def _library(verifications: Sequence[Verification]) -> str:
    return " and ".join(sorted({v.shoestring for v in verifications})) or "nothing yet"


def _plural(num: int, noun: str) -> str:
    return f"{num} {noun}{'' if num == 1 else 's'}"


def _when(iso: str) -> str:
    return iso[:16].replace("T", " ") + " UTC" if "T" in iso else iso


def _dates(verifications: Sequence[Verification]) -> list[str]:
    return [_when(max(v.created_at for v in verifications))] if verifications else []


def _badges(verifications: Sequence[Verification]) -> list[str]:
    profiles = sorted({v.profile for v in verifications})
    data = sorted({v.workload.data for v in verifications})
    return [
        f"{' and '.join(profiles)} profile",
        f"{' and '.join(data)} data",
        _plural(len({a.name for v in verifications for a in v.workload.arms}), "arm"),
        _seeds(sorted({len(v.workload.seeds) for v in verifications})),
        *_dates(verifications),
    ]


def _seeds(counts: Sequence[int]) -> str:
    return _plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def _verdict_line(verifications: Sequence[Verification], verdicts: Sequence[Verdict]) -> str:
    records = [r for v in verifications for r in v.records if r.status != "skipped"]
    bad = sum(r.status in ("failed", "timeout") for r in records)
    total = format_seconds(sum(r.wall_s for r in records))
    claims, tasks = _plural(len(verdicts), "claim"), _plural(len(records), "task")
    line = f"{claims} checked against {tasks}, {total} of computing."
    if any(v.profile == "quick" for v in verifications):
        line += " The quick profile is a check that everything works; the full profile is the experiment."
    return line + (f" {_plural(bad, 'task')} failed; see below." if bad else "")


def _claims(verification: Verification) -> list[dict[str, Any]]:
    study = verification.study
    by_name = {c.name: c for c in study.claims}
    pairs: list[tuple[Claim, Verdict]] = [
        (by_name[d.claim], d) for d in verification.verdicts if d.claim in by_name
    ]
    return [
        {
            "name": claim.name,
            "text": claim.text,
            "source": claim.source,
            "paper": claim.paper,
            "word": verdict.word,
            "measured": verdict.measured,
            "reason": verdict.reason,
            "num_seeds": verdict.num_seeds,
            "check": check_in_words(claim.check, study.metrics, verification.workload.arms),
            "workload": verification.workload.title,
        }
        for claim, verdict in pairs
    ]


def _workload(verification: Verification, styles: Mapping[str, ArmStyle], anchor: str) -> dict[str, Any]:
    study, workload, records = verification.study, verification.workload, verification.records
    why_not = left_out(workload, records)
    rows = () if why_not else arm_rows(workload, records)
    metrics = shown_metrics(study.metrics, rows)
    best = {m.name: best_arms(m, rows) for m in metrics}
    shared, own = _options(workload, records)
    return {
        "id": anchor,
        "title": workload.title,
        "budget": workload.budget,
        "badges": [
            f"{verification.profile} profile",
            f"{workload.data} data",
            ("seed " if len(workload.seeds) == 1 else "seeds ") + ", ".join(map(str, workload.seeds)),
        ],
        "left_out": why_not or "",
        "metrics": [{"title": _metric_title(m), "note": _wish(m)} for m in metrics],
        "rows": [_row(row, metrics, best, styles[row.arm.name]) for row in rows],
        "ranged": any(s.low != s.high for row in rows for s in row.metrics.values()),
        "plots": _plots(verification, styles, anchor),
        "scaled_down": workload.scaled_down,
        "failures": _failures(workload, records),
        "notes": [(row.arm.title, note) for row in rows for note in row.notes],
        "shared_options": shared,
        "arm_options": own,
        "command": command_of(verification),
    }


def _metric_title(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit not in ("", "bytes") else metric.title


def _wish(metric: Metric) -> str:
    return "" if metric.better == "neither" else f"{metric.better} is better"


def _row(
    row: ArmRow, metrics: Sequence[Metric], best: Mapping[str, frozenset[str]], style: ArmStyle
) -> dict[str, Any]:
    cells = []
    for m in metrics:
        spread = row.metrics.get(m.name)
        cell = _cell(spread, partial(format_metric, metric=m))
        cells.append(
            {
                **cell,
                "label": _metric_title(m),
                "measured": spread is not None,
                "best": row.arm.name in best[m.name],
            }
        )
    return {
        "title": row.arm.title,
        "role": row.arm.role,
        "marker": marker_path(style.marker),
        "colour": style.colour,
        "cells": cells,
        "wall": _cell(row.wall_s, format_seconds),
        "peak": _cell(row.peak_bytes, format_bytes),
        "status": row.status,
        "bad": row.num_bad > 0,
    }


def _cell(spread: Spread | None, text: Callable[[float], str]) -> dict[str, str]:
    if spread is None:
        return {"text": "\N{EN DASH}", "range": ""}
    return {"text": text(spread.median), "range": format_range(text(spread.low), text(spread.high))}


def _plots(verification: Verification, styles: Mapping[str, ArmStyle], anchor: str) -> list[dict[str, str]]:
    workload, drawn = verification.workload, []
    for i, plot in enumerate(verification.study.plots, start=1):
        svg = draw_plot(
            plot, workload, verification.records, verification.study.metrics, styles, f"{anchor}p{i}"
        )
        if svg is None:
            continue
        note = "A mark is one seed; the bar and the figure are the median."
        if plot.kind == "lines":
            note = "Median over seeds; the band runs from the lowest to the highest."
        drawn.append({"title": plot.title, "svg": svg, "note": note})
    return drawn


def _failures(workload: Workload, records: Sequence[Record]) -> list[dict[str, str]]:
    """Collect what went wrong; seeds with the same error share one entry."""
    titles = {"prepare": "Preparation", **{a.name: a.title for a in workload.arms}}
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for r in records:
        if r.status in ("failed", "timeout") or (r.status == "skipped" and not left_out(workload, records)):
            groups.setdefault((r.arm, r.status, _tail(r.error)), []).append(r)
    return [
        {
            "arm": titles.get(arm, arm),
            "seeds": ("seed " if len(group) == 1 else "seeds ") + ", ".join(str(r.seed) for r in group),
            "status": "timed out" if status == "timeout" else status,
            "wall": format_seconds(max(r.wall_s for r in group)),
            "error": error,
        }
        for (arm, status, error), group in groups.items()
    ]


def _tail(error: str) -> str:
    return "\n".join(error.strip().splitlines()[-_ERROR_LINES:])


def _options(
    workload: Workload, records: Sequence[Record]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Options with one value in all arms, and what is special to each arm."""
    used = {r.arm: r.options for r in records}
    every = [
        (
            arm.title,
            dict(_flat(used.get(arm.name, {**workload.options, **arm.options}))),
        )
        for arm in workload.arms
    ]
    keys = sorted({k for _, options in every for k in options})
    shared = [k for k in keys if len({options.get(k) for _, options in every}) == 1]
    own = [
        (title, ", ".join(f"{k} = {options[k]}" for k in keys if k in options and k not in shared) or "none")
        for title, options in every
    ]
    return [(k, every[0][1][k]) for k in shared], own


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield options as text, those of nested sections under dotted names."""
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> str:
    """Return a JSON value as text."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _environments(verifications: Sequence[Verification]) -> list[dict[str, Any]]:
    """Machine and versions, once for all verifications that share them."""
    groups: dict[str, tuple[list[str], list[tuple[str, str]]]] = {}
    for v in verifications:
        facts = [
            *v.hardware.items(),
            *v.versions.items(),
            ("shoestring", v.shoestring),
            ("commit", v.commit or "not from a checkout"),
        ]
        shown = [(_fact_name(str(k)), _fact(str(k), value)) for k, value in dict(facts).items()]
        groups.setdefault(repr(shown), ([], shown))[0].append(v.workload.title)
    return [{"workloads": ", ".join(names), "facts": facts} for names, facts in groups.values()]


def _fact_name(key: str) -> str:
    return key.removesuffix("_bytes").replace("_", " ")


def _fact(key: str, value: Any) -> str:
    if key.endswith("bytes") and isinstance(value, int | float):
        return format_bytes(value)
    return (", ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else _plain(value)
