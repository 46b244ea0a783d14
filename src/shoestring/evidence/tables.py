"""Verifications, systems and the scoreboard as tables for the terminal."""

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from shoestring.core.cards import Card
from shoestring.evidence.model import Metric, VerdictWord
from shoestring.evidence.report.rows import (
    ArmRow,
    Spread,
    arm_rows,
    best_arms,
    count_words,
    format_bytes,
    format_metric,
    format_range,
    format_seconds,
    left_out,
    shown_metrics,
)
from shoestring.evidence.report.view import card_of, strongest
from shoestring.evidence.store import Verification

__all__ = [
    "claims_table",
    "measurements_table",
    "scoreboard_table",
    "summary",
    "systems_table",
    "verification_view",
]

_COLOURS: dict[VerdictWord, str] = {
    "holds": "bold green",
    "direction holds": "bold cyan",
    "does not hold": "bold red",
    "not checkable here": "dim",
}
_NONE = "-"
_ROLES = {"system": "bold", "ablation": "", "baseline": "", "bound": "dim"}


def verification_view(verifications: Sequence[Verification]) -> RenderableType:
    """Return what ``verify`` prints for one system.

    For every workload what was scaled down and the table of measurements, or why it was left out;
    then one table of all claims.

    Parameters
    ----------
    verifications : sequence of Verification
        Of one system.
    """
    parts: list[RenderableType] = []
    for v in verifications:
        why_not = left_out(v.workload, v.records)
        if why_not:
            parts += [Text(_clean(why_not), style="yellow"), Text()]
            continue
        parts += [measurements_table(v), *_scaled_down(v), Text()]
    parts.append(claims_table(verifications))
    return Group(*parts)


def measurements_table(verification: Verification) -> RenderableType:
    """Return arms x metrics: median and, in brackets, the range over seeds; time, peak memory, status.

    Where the terminal is too narrow for a column a metric, every arm becomes a few lines.

    Parameters
    ----------
    verification : Verification
        One workload of a system.
    """
    rows = arm_rows(verification.workload, verification.records)
    metrics = shown_metrics(verification.study.metrics, rows)
    best = {m.name: best_arms(m, rows) for m in metrics}
    v = verification
    title = f"{v.system}: {v.workload.title} ({v.profile}, {v.workload.data} data)"
    cells = [[_metric_cell(row, m, row.arm.name in best[m.name]) for m in metrics] for row in rows]
    return _Fitting(_wide(title, metrics, rows, cells), _narrow(title, metrics, rows, cells))


def claims_table(verifications: Sequence[Verification]) -> Table:
    """Return one row a claim: its verdict, and the claim over our figures, the paper's and the reason."""
    table = _table("Claims")
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", ratio=1)
    for v in verifications:
        claims = {c.name: c for c in v.study.claims}
        for verdict in v.verdicts:
            claim = claims[verdict.claim]
            facts = Table.grid(padding=(0, 2, 0, 0))
            facts.add_column(style="dim", no_wrap=True)
            facts.add_column()
            facts.add_row("here", _text(verdict.measured or "not measured"))
            facts.add_row("paper", Text(_clean(claim.paper), style="dim"))
            if verdict.reason:
                facts.add_row("why", _text(verdict.reason))
            word = Text(verdict.word, style=_COLOURS[verdict.word])
            table.add_row(word, Group(Text(_clean(claim.text), style="bold"), facts), end_section=True)
    return table


def systems_table(cards: Sequence[Card]) -> Table:
    """Return one row a system: name, family, what is scarce, summary, cost of the quick check."""
    table = _table(None)
    table.add_column("system", style="bold", no_wrap=True)
    table.add_column("family", no_wrap=True)
    table.add_column("scarce")
    table.add_column("what it does", ratio=1)
    table.add_column("quick check", justify="right", no_wrap=True)
    for card in cards:
        cost = f"{format_seconds(card.quick.seconds)}, {card.quick.memory_mb:.0f} MB"
        table.add_row(card.name, card.family, ", ".join(card.scarce), _text(card.summary), cost)
    return table


def scoreboard_table(verifications: Sequence[Verification]) -> Table:
    """Return one row a system: verdict counts, profile and date, the strongest profile of each."""
    table = _table(None)
    table.add_column("system", style="bold", no_wrap=True)
    table.add_column("scarce")
    for short in ("holds", "direction", "not", "unchecked"):
        table.add_column(short, justify="right", no_wrap=True)
    table.add_column("profile")
    table.add_column("data")
    table.add_column("date", no_wrap=True)
    for system, group in strongest(verifications).items():
        card = card_of(system)
        counts = count_words(d for v in group for d in v.verdicts)
        table.add_row(
            system,
            ", ".join(card.scarce) if card else "",
            *(Text(str(n), style=_COLOURS[word] if n else "dim") for word, n in counts.items()),
            " and ".join(sorted({v.profile for v in group})),
            " and ".join(sorted({v.workload.data for v in group})),
            max(v.created_at for v in group)[:10],
        )
    return table


def summary(verification: Verification) -> dict[str, Any]:
    """Return a verification as plain JSON values: medians and ranges an arm, verdicts, what was scaled down.

    The single records are in the stored evidence, not here.
    """
    workload, claims = verification.workload, {c.name: c for c in verification.study.claims}
    return {
        "system": verification.system,
        "workload": workload.name,
        "profile": verification.profile,
        "data": workload.data,
        "seeds": list(workload.seeds),
        "created_at": verification.created_at,
        "left_out": left_out(workload, verification.records),
        "arms": [_arm_summary(row) for row in arm_rows(workload, verification.records)],
        "claims": [
            {
                "claim": d.claim,
                "text": claims[d.claim].text,
                "verdict": d.word,
                "measured": d.measured,
                "estimate": d.estimate,
                "low": d.low,
                "high": d.high,
                "num_seeds": d.num_seeds,
                "reason": d.reason,
                "paper": claims[d.claim].paper,
            }
            for d in verification.verdicts
        ],
        "scaled_down": [{"what": s.what, "ours": s.ours, "paper": s.paper} for s in workload.scaled_down],
    }


class _Fitting:
    """The first of two tables, or the second where the first does not fit."""

    def __init__(self, wide: Table, narrow: Table) -> None:
        self._wide, self._narrow = wide, narrow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = Measurement.get(console, options.update(max_width=10_000), self._wide).minimum
        yield self._wide if needed <= options.max_width else self._narrow


def _wide(
    title: str, metrics: Sequence[Metric], rows: Sequence[ArmRow], cells: Sequence[Sequence[Text]]
) -> Table:
    table = _table(title)
    table.add_column("arm", min_width=16, overflow="fold")
    heads = []
    for m in metrics:
        unit = [f"({_clean(m.unit)})"] if m.unit not in ("", "bytes") else []
        heads.append("\n".join([*textwrap.wrap(_clean(m.title), 14), *unit]))
    full = [
        [*figures, _cell(row.wall_s, format_seconds), _cell(row.peak_bytes, format_bytes)]
        for row, figures in zip(rows, cells, strict=True)
    ]
    for i, head in enumerate([*heads, "time", "peak memory"]):
        lines = [line for text in (head, *(row[i].plain for row in full)) for line in text.split("\n")]
        table.add_column(head, justify="right", no_wrap=True, min_width=max(map(cell_len, lines)))
    table.add_column("status", min_width=12)
    for row, line in zip(rows, full, strict=True):
        table.add_row(_arm(row), *line, _status(row))
    return table


def _narrow(
    title: str, metrics: Sequence[Metric], rows: Sequence[ArmRow], cells: Sequence[Sequence[Text]]
) -> Table:
    table = _table(title)
    table.add_column("arm", overflow="fold")
    table.add_column("measured", overflow="fold")
    names = [m.title + (f" ({m.unit})" if m.unit not in ("", "bytes") else "") for m in metrics]
    for row, figures in zip(rows, cells, strict=True):
        costs = [_cell(row.wall_s, format_seconds), _cell(row.peak_bytes, format_bytes)]
        named = zip([*names, "time", "peak memory"], [*figures, *costs], strict=True)
        lines = [
            Text(f"{_clean(name)}: ").append_text(_one_line(cell))
            for name, cell in named
            if cell.plain != _NONE
        ]
        table.add_row(_arm(row), Text("\n").join([*lines, Text("status: ").append_text(_status(row))]))
    return table


def _arm(row: ArmRow) -> Text:
    return Text(_clean(row.arm.title), style=_ROLES[row.arm.role])


def _status(row: ArmRow) -> Text:
    return Text(row.status, style="bold red" if row.num_bad else "")


def _one_line(cell: Text) -> Text:
    return Text(" ").join(cell.split("\n"))


def _arm_summary(row: ArmRow) -> dict[str, Any]:
    figures = {
        name: {"median": s.median, "low": s.low, "high": s.high, "seeds": {str(k): v for k, v in s.values}}
        for name, s in row.metrics.items()
    }
    return {"arm": row.arm.name, "role": row.arm.role, "status": row.status, "metrics": figures}


def _table(title: str | None) -> Table:
    heading = Text(_clean(title), style="bold") if title else None
    return Table(
        title=heading,
        title_justify="left",
        header_style="bold",
        pad_edge=False,
        box=None,
        padding=(0, 3, 0, 0),
    )


def _scaled_down(verification: Verification) -> list[RenderableType]:
    workload = verification.workload
    lines = [f"scaled down: {s.what}: {s.ours} here, {s.paper} in the paper" for s in workload.scaled_down]
    return [Text(_clean(line), style="dim") for line in (workload.budget, *lines)]


def _metric_cell(row: ArmRow, metric: Metric, best: bool) -> Text:
    return _cell(row.metrics.get(metric.name), partial(format_metric, metric=metric), "bold" if best else "")


def _cell(spread: Spread | None, text: Callable[[float], str], style: str = "") -> Text:
    if spread is None:
        return Text(_NONE, style="dim")
    cell = Text(text(spread.median), style=style)
    extent = format_range(text(spread.low), text(spread.high))
    return cell.append(f"\n{extent}", style="not bold dim") if extent else cell


def _text(text: str) -> Text:
    return Text(_clean(text))


def _clean(text: str) -> str:
    """Text without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)
