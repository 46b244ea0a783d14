"""Strategies without code: what is refused, and with which advice."""

from pathlib import Path

import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.models import Ridge
from shoestring.finance.strategies.yaml_strategy import read_yaml_strategy

GOOD = """
name: quality
version: "1.10"
schedule: BMS+1 07:00 Europe/Berlin
data: skfolio/sp500
features:
  momentum: {kind: momentum, lookback: 120, skip: 10}
  calm: {kind: volatility}
  profit: {kind: known, table: statements, value: profit}
model: {kind: ridge, alpha: 2}
labels: {horizon: 5}
allocator: {kind: long_short, share: 0.25}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_a_file_becomes_a_strategy(tmp_path: Path) -> None:
    spec, made = read_yaml_strategy(write(tmp_path, GOOD))
    assert (made.info.name, made.info.version, spec.data) == ("quality", "1.10", "skfolio/sp500")
    assert made.info.schedule.offset == 1
    assert made.info.data == ("statements",)
    assert not made.info.long_only
    assert made.model == Ridge(alpha=2.0)
    assert made.labels.horizon == 5
    assert made.feature_set.columns["momentum"].lookback == 120


def test_the_least_file_works(tmp_path: Path) -> None:
    _, made = read_yaml_strategy(write(tmp_path, 'name: a\nversion: "1"\nfeatures: {m: {kind: reversal}}\n'))
    assert made.allocator.k == 5
    assert not made.learns


def test_overrides_reach_every_key(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    _, made = read_yaml_strategy(
        path, ["features.momentum.lookback=60", "model.alpha=0.5", "normalise=zscore"]
    )
    assert made.feature_set.columns["momentum"].lookback == 60
    assert made.model.alpha == 0.5
    assert made.feature_set.normalise == "zscore"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schedule:", "shedule:", "unknown key shedule; did you mean 'schedule'?"),
        (
            "kind: momentum",
            "kind: momentun",
            "features.momentum.kind='momentun' is not known; did you mean 'momentum'?",
        ),
        ("skip: 10", "skp: 10", "unknown key features.momentum.skp; did you mean 'skip'?"),
        ("alpha: 2", "alpha: two", "model: alpha='two' has type str"),
        ("share: 0.25", "share: 0.9", "share=0.9"),
        ('"1.10"', "1.10", "put it in quotes"),
        (
            "{kind: ridge, alpha: 2}",
            "{kind: weighted_sum, weights: {momentumm: 1}}",
            "did you mean 'momentum'",
        ),
        ("name: quality", "name: quality\nname: other", "'name' is there twice"),
        ("name: quality", "nme: quality", "did you mean 'name'"),
        ("{kind: volatility}", "{}", "kind=None"),
        ("BMS+1", "BMX", "BMX"),
        ("labels: {horizon: 5}", "labels: {horizon: 0}", "horizon=0"),
        ("labels: {horizon: 5}", "labels: !!python/object/apply:os.system [ls]", "could not"),
    ],
)
def test_a_mistake_is_refused_with_advice(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        read_yaml_strategy(write(tmp_path, GOOD.replace(old, new, 1)))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "", "name: [", "\xff"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        read_yaml_strategy(write(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing"):
        read_yaml_strategy(tmp_path / "nothing.yaml")
