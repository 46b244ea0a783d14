"""Strategies that differ in code must differ in name or version."""

from pathlib import Path

import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.running.keys import check_unique, strategy_code
from shoestring.finance.strategies.registry import load_strategy
from shoestring.finance.strategies.yaml_strategy import build

FILE = """
import pandas as pd
from shoestring.finance.strategies.interface import Strategy, strategy

@strategy(name="mine", version="{version}")
class Mine(Strategy):
    k: int = 1
    def on_rebalance(self, ctx, data):
        return pd.Series(0.1, index=list(data.assets)[: self.k])
"""


def test_one_name_and_version_with_other_code_is_refused(tmp_path: Path) -> None:
    file, other = tmp_path / "mine.py", tmp_path / "other.py"
    file.write_text(FILE.format(version="1"))
    other.write_text(FILE.format(version="1") + "\n# changed\n")
    one, two = load_strategy(str(file)), load_strategy(str(other))
    with pytest.raises(ConfigError, match="mine 1 stands for different code"):
        check_unique([one, two])
    other.write_text(FILE.format(version="2"))
    check_unique([one, load_strategy(str(other)), load_strategy(str(file), ["k=3"])])


def code_of(stage: str, **declared: str) -> str:
    parts = {"features": {"m": {"kind": "momentum"}}, "model": {"kind": "ridge"}}
    return strategy_code(build({"name": "mine", "version": "1", **parts, **declared})[1], stage)[0]


def test_what_a_file_without_code_declares_decides_the_code() -> None:
    assert code_of("weights", refit="BYS") == code_of("weights")
    assert code_of("weights", refit="BMS") != code_of("weights")
    assert code_of("fit", refit="BMS") == code_of("fit")  # when it is refitted does not change a fit


@pytest.mark.parametrize("stage", ["features", "fit", "weights"])
def test_every_hook_depends_on_the_schedule(stage: str) -> None:
    assert code_of(stage, schedule="W") != code_of(stage)
