"""Rewrite the scoreboard in README.md, and the evidence in every card, from evidence/; --check only looks."""

import argparse
import re
import sys
from pathlib import Path

from shoestring.core.files import write_text_atomic
from shoestring.evidence.report import card_evidence, readme_table
from shoestring.evidence.store import load_verifications


def rewritten(page: Path, name: str, text: str) -> str:
    """Text of `page` with what stands between its two markers replaced."""
    between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    new, num = between.subn(lambda m: m[1] + text + m[2], page.read_text(encoding="utf-8"))
    if num != 1:
        sys.exit(f"{page} needs the lines <!-- {name} --> and <!-- /{name} --> once, found {num}")
    return new


def main() -> int:
    """Return 0 when all pages are up to date or were rewritten, 1 when --check finds one stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only exit with 1 when a page is stale")
    parser.add_argument("--top", type=Path, default=Path(__file__).resolve().parents[1], help="repository")
    given = parser.parse_args()
    stored = load_verifications(given.top / "evidence")
    readme = given.top / "README.md"
    pages = {readme: rewritten(readme, "scoreboard", readme_table(stored))}
    for card in sorted(given.top.glob("src/shoestring/*/*/card.toml")):
        page, of_system = card.parent / "README.md", [v for v in stored if v.system == card.parent.name]
        pages[page] = rewritten(page, "evidence", card_evidence(of_system))
    stale = [page for page, text in pages.items() if text != page.read_text(encoding="utf-8")]
    for page in stale:
        if given.check:
            sys.stderr.write(f"{page} is stale; run: make readme\n")
        else:
            write_text_atomic(page, pages[page])
    return int(given.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
