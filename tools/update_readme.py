"""Rewrite the scoreboard in README.md from evidence/; with --check only say whether it is up to date."""

import argparse
import re
import sys
from pathlib import Path

from shoestring.core.files import write_text_atomic
from shoestring.evidence.report import readme_table
from shoestring.evidence.store import load_verifications

BETWEEN = re.compile(r"(<!-- scoreboard -->\n).*?(<!-- /scoreboard -->)", re.DOTALL)


def main() -> int:
    """Return 0 when the README is up to date or was rewritten, 1 when --check finds it stale."""
    top = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 when it is stale")
    parser.add_argument("--readme", type=Path, default=top / "README.md")
    parser.add_argument("--evidence", type=Path, default=top / "evidence")
    given = parser.parse_args()
    old = given.readme.read_text(encoding="utf-8")
    table = readme_table(load_verifications(given.evidence))
    new, num = BETWEEN.subn(lambda m: m[1] + table + m[2], old)
    if num != 1:
        sys.exit(
            f"{given.readme} needs the lines <!-- scoreboard --> and <!-- /scoreboard --> once, found {num}"
        )
    if new == old:
        return 0
    if given.check:
        sys.stderr.write(f"{given.readme} is stale; run: python tools/update_readme.py\n")
        return 1
    write_text_atomic(given.readme, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
