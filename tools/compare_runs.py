"""Compare the measurements of two stored verifications, arm by arm and seed by seed.

    python tools/compare_runs.py before/qimera/digits-quick.json after/qimera/digits-quick.json --assert-equal

Prints every metric that differs. With --assert-equal, any difference (bit for bit), or a record that only one
of the two has, makes the exit code 1: the proof that a refactoring changed no result.
"""

import argparse
import sys
from pathlib import Path

from shoestring.evidence.store import load_verification

Figures = dict[tuple[str, int], dict[str, object]]


def figures(path: Path) -> Figures:
    """Metrics and series of every finished record, by arm and seed."""
    return {
        (r.arm, r.seed): {**r.metrics, **{f"series {k}": v for k, v in r.series.items()}}
        for r in load_verification(path).records
        if r.status == "ok"
    }


def differences(a: Figures, b: Figures) -> list[str]:
    """One line a difference."""
    lines = [f"{arm} seed {seed}: only in one of the two" for arm, seed in sorted(a.keys() ^ b.keys())]
    for key in sorted(a.keys() & b.keys()):
        for name in sorted(a[key].keys() | b[key].keys()):
            one, two = a[key].get(name), b[key].get(name)
            if one != two:
                lines.append(f"{key[0]} seed {key[1]}: {name} {one} -> {two}")
    return lines


def main() -> int:
    """Compare, print, and say by the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--assert-equal", action="store_true")
    options = parser.parse_args()
    before, after = figures(options.before), figures(options.after)
    lines = differences(before, after)
    print("\n".join(lines) or f"equal: {len(before)} records")
    return int(options.assert_equal and bool(lines))


if __name__ == "__main__":
    sys.exit(main())
