"""Evidence as Markdown: the scoreboard for the README, the Evidence section for a card."""

from collections.abc import Iterable, Sequence

from shoestring.evidence.model import Metric, Verdict
from shoestring.evidence.report.rows import (
    WORDS,
    ArmRow,
    arm_rows,
    count_words,
    format_metric,
    format_range,
    shown_metrics,
)
from shoestring.evidence.report.view import card_of, strongest
from shoestring.evidence.store import Verification

__all__ = ["card_evidence", "readme_table"]

_HEADLINES = 2


def readme_table(verifications: Iterable[Verification]) -> str:
    """Return one Markdown table row a system: what is scarce, verdict counts, measured figures.

    The figures are those of the claims that the card names as headlines, else of the first ones that could
    be checked, whatever their verdict; paper figures do not appear.

    Parameters
    ----------
    verifications : iterable of Verification
        Of any systems; where a system has full ones, its quick ones are left out.

    Returns
    -------
    str
        The table, ending in a newline.
    """
    lines = [
        "| System | Scarce | Claims: holds / direction / not / unchecked | Measured here |",
        "| --- | --- | --- | --- |",
    ]
    for system, group in strongest(verifications).items():
        card = card_of(system)
        verdicts = [d for v in group for d in v.verdicts]
        counts = count_words(verdicts)
        cells = [
            f"**{_safe(card.title if card else system)}**",
            ", ".join(card.scarce) if card else "",
            " / ".join(str(counts[word]) for word in WORDS)
            + (" (quick)" if group[0].profile == "quick" else ""),
            _headlines(group, verdicts, card.headlines if card else ()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def card_evidence(verifications: Sequence[Verification]) -> str:
    """Return the Evidence section of one system's card: per workload its setting, arms and verdicts.

    Parameters
    ----------
    verifications : sequence of Verification
        Of one system, in the order to show.

    Returns
    -------
    str
        Markdown, ending in a newline; empty without verifications.
    """
    return "\n".join(_workload_section(v) for v in verifications) if verifications else ""


def _workload_section(verification: Verification) -> str:
    workload = verification.study.workloads[0]
    rows = arm_rows(workload, verification.records)
    metrics, lonely = _of_many_and_of_one(shown_metrics(verification.study.metrics, rows), rows)
    lines = [
        f"### {_safe(workload.title)} ({workload.data} data, {verification.profile})",
        "",
        f"Budget: {_safe(workload.budget)}. Median over {len(workload.seeds)} seed(s), [least, greatest].",
        "",
        f"| arm | {' | '.join(_titled(m) for m in metrics)} |",
        f"| --- |{' --- |' * len(metrics)}",
    ]
    lines += [f"| {_safe(r.arm.title)} | {' | '.join(_cell(r, m) for m in metrics)} |" for r in rows]
    if lonely:
        lines += ["", "| of one arm | arm | measured |", "| --- | --- | --- |"]
    lines += [f"| {_titled(m)} | {_safe(row.arm.title)} | {_cell(row, m)} |" for m, row in lonely]
    texts = {c.name: c.text for c in verification.study.claims}
    if verification.verdicts:
        lines += ["", "| claim | measured | verdict |", "| --- | --- | --- |"]
    for d in verification.verdicts:
        words = f"*{d.word}*" + (f": {_safe(d.reason)}" if d.reason else "")
        lines.append(f"| {_safe(texts[d.claim])} | {_safe(d.measured)} | {words} |")
    return "\n".join(lines) + "\n"


def _of_many_and_of_one(
    metrics: Sequence[Metric], rows: Sequence[ArmRow]
) -> tuple[list[Metric], list[tuple[Metric, ArmRow]]]:
    """Split off the metrics that one arm of several has: as columns they would be empty but for a cell."""
    having = [(m, [r for r in rows if m.name in r.metrics]) for m in metrics]
    many = [m for m, arms in having if len(arms) > 1 or len(rows) == 1]
    return many, [(m, arms[0]) for m, arms in having if m not in many]


def _titled(metric: Metric) -> str:
    return _safe(metric.title + (f" ({metric.unit})" if metric.unit else ""))


def _cell(row: ArmRow, metric: Metric) -> str:
    spread = row.metrics.get(metric.name)
    if spread is None:
        return ""
    median, low, high = (format_metric(v, metric) for v in (spread.median, spread.low, spread.high))
    return median if low == high else f"{median} {_safe(format_range(low, high))}"


def _headlines(group: Sequence[Verification], verdicts: Sequence[Verdict], named: Sequence[str]) -> str:
    texts = {c.name: c.text for v in group for c in v.study.claims}
    checked = {d.claim: d for d in verdicts if d.word != "not checkable here" and d.measured}
    chosen = [checked[name] for name in named if name in checked] or list(checked.values())[:_HEADLINES]
    return "<br>".join(
        f"{_safe(texts.get(d.claim, d.claim).rstrip('.'))}: {_safe(d.measured)} (*{d.word}*)" for d in chosen
    )


def _safe(text: str) -> str:
    """Text that cannot leave its cell or become markup."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\|*_`[]":
        text = text.replace(sign, "\\" + sign)
    return text
