"""The file of a platform's strategies."""

import sys
from pathlib import Path

import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.shai_am._deployments import (
    FILE,
    Deployment,
    add_deployment,
    locations,
    probe,
    read_deployments,
)
from shoestring.finance.shai_am._location import location_definitions

STRATEGY = """
from shoestring.finance.strategies.interface import Strategy, strategy

@strategy(name="{name}", version="1.0")
class Mine(Strategy):
    k: int = 3

    def on_rebalance(self, ctx, data):
        return data.prices().iloc[-1] * 0
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(STRATEGY.format(name="mine"))
    monkeypatch.chdir(tmp_path)


def test_files_are_kept_by_their_whole_path_and_names_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("dagster", reason="dagster is not installed")
    root = Path("ws")
    assert add_deployment(root, Deployment(strategy="mine.py:Mine", parameters=("k=2",), data="p")) == "mine"
    assert add_deployment(root, Deployment(strategy="momentum", data="skfolio/sp500")) == "momentum"
    found = read_deployments(root)
    assert found["mine"].strategy == f"{tmp_path / 'mine.py'}:Mine"
    assert found["mine"].data == str(tmp_path / "p")
    assert found["mine"].parameters == ("k=2",)
    assert (found["momentum"].strategy, found["momentum"].data) == ("momentum", "skfolio/sp500")
    assert [place.python for place in locations(found)] == [Path(sys.executable)] * 2


def test_a_strategy_that_is_added_again_is_replaced() -> None:
    pytest.importorskip("dagster", reason="dagster is not installed")
    for number in ("2", "4"):
        add_deployment(Path("ws"), Deployment(strategy="mine.py", parameters=(f"k={number}",)))
    assert [d.parameters for d in read_deployments(Path("ws")).values()] == [("k=4",)]


@pytest.mark.parametrize(
    ("strategy", "parameters", "message"),
    [
        ("mine.py", ("depth=2",), "depth"),
        ("other.py", (), "there is no strategy file"),
        ("momentumm", (), "is not known"),
    ],
)
def test_a_strategy_that_its_environment_refuses_is_not_added(
    strategy: str, parameters: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        probe(Deployment(strategy=strategy, parameters=parameters))


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        "",
        "schema = 2\n",
        "schema = 1\nmine = 3\n",
        'schema = 1\n[mine]\nstrategy = "mine.py"\ncatchup = "all"\n',
        'schema = 1\n[mine]\nstrategy = "mine.py"\ncatch_up = "sometimes"\n',
        "schema = 1\n[mine]\n",
    ],
)
def test_a_file_with_mistakes_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"strategies\.toml"):
        read_deployments(tmp_path)


def test_a_location_loads_the_one_strategy_that_it_is_named_for(tmp_path: Path) -> None:
    dg = pytest.importorskip("dagster", reason="dagster is not installed")
    (tmp_path / FILE).write_text(f'schema = 1\n[mine]\nstrategy = "{tmp_path}/mine.py"\n')
    dg.Definitions.validate_loadable(location_definitions(str(tmp_path), "mine"))
    with pytest.raises(ConfigError, match="has no strategy 'yours'"):
        location_definitions(str(tmp_path), "yours")
    (tmp_path / "mine.py").write_text(STRATEGY.format(name="renamed"))
    with pytest.raises(ConfigError, match="is now called 'renamed', not 'mine'"):
        location_definitions(str(tmp_path), "mine")
