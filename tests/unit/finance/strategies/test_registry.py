"""Finding strategies by name, class, file."""

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies import registry
from shoestring.finance.strategies.baselines import Momentum
from shoestring.finance.strategies.registry import installed, load_strategy

FILE = """
import helper_of_mine
import pandas as pd
from shoestring.finance.strategies.interface import Strategy, strategy

@strategy(name="mine", version="{version}")
class Mine(Strategy):
    k: int = 1
    def on_rebalance(self, ctx, data):
        return pd.Series(helper_of_mine.SHARE, index=list(data.assets)[: self.k])
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "helper_of_mine.py").write_text("SHARE = 0.1\n")
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(version="1"))
    return path


def test_the_packages_own_strategies_are_known_by_name() -> None:
    assert {"equal_weight", "momentum", "reversal", "risk_parity", "mean_variance"} <= set(installed())
    made = load_strategy("momentum", ["lookback=100", "share=0.5"])
    assert made == Momentum(lookback=100, share=0.5)


def test_a_class_is_found_by_its_module() -> None:
    assert load_strategy("shoestring.finance.strategies.baselines:Momentum") == Momentum()


def test_a_file_is_loaded_with_the_modules_beside_it(file: Path) -> None:
    made = load_strategy(str(file), ["k=2"])
    assert (made.info.name, made.params()) == ("mine", {"k": 2})
    assert type(load_strategy(f"{file}:Mine")) is type(made)


def test_a_changed_file_is_loaded_anew(file: Path) -> None:
    load_strategy(str(file))
    file.write_text(FILE.format(version="2"))
    assert load_strategy(str(file)).info.version == "2"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("momentun", "did you mean 'momentum'"),
        ("nowhere.py", "finance new"),
        ("shoestring.finance.strategies.baselines:Momentun", "Momentun"),
        ("shoestring.finance.strategies.baselines:top_k", "no class decorated"),
        ("nowhere.yaml", "could not read"),
    ],
)
def test_what_is_not_there_is_refused_with_advice(reference: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_strategy(reference)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "has 0 strategies"),
        (
            FILE.format(version="1") + FILE.format(version="1").replace("Mine", "Other"),
            "choose with FILE.py:Class",
        ),
        ("import nothing_like_this\n", "nothing_like_this"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_a_file_without_one_strategy_is_refused(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_strategy(str(file))


def test_a_wrong_class_name_in_a_file_is_corrected(file: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'Mine'"):
        load_strategy(f"{file}:Mime")


def test_one_entry_point_name_for_two_classes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(EntryPoint("x", value, registry.GROUP) for value in ("a:A", "b:B"))
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    with pytest.raises(ConfigError, match="both a:A and b:B"):
        installed()
