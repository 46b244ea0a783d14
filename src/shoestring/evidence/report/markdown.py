"""The scoreboard as Markdown, for the README."""

from collections.abc import Iterable, Sequence

from shoestring.evidence.model import Verdict
from shoestring.evidence.report.rows import WORDS, count_words
from shoestring.evidence.report.view import card_of, strongest
from shoestring.evidence.store import Verification

__all__ = ["readme_table"]

_HEADLINES = 2


def readme_table(verifications: Iterable[Verification]) -> str:
    """Return one Markdown table row a system: what is scarce, verdict counts, measured figures.

    The figures are those of the first claims that a system declares and that could be checked, whatever
    their verdict; paper figures do not appear.

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
            _headlines(group, verdicts),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _headlines(group: Sequence[Verification], verdicts: Sequence[Verdict]) -> str:
    texts = {c.name: c.text for v in group for c in v.study.claims}
    checked = [d for d in verdicts if d.word != "not checkable here" and d.measured]
    return "<br>".join(
        f"{_safe(texts.get(d.claim, d.claim).rstrip('.'))}: {_safe(d.measured)} (*{d.word}*)"
        for d in checked[:_HEADLINES]
    )


def _safe(text: str) -> str:
    """Text that cannot leave its cell or become markup."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\|*_`[]":
        text = text.replace(sign, "\\" + sign)
    return text
