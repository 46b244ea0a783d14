"""``shoestring finance``: what is printed where, what is refused how."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from shoestring.cli import main
from shoestring.finance.market.generators import gbm_panel

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    gbm_panel(6, 700, seed=2).close.to_csv(tmp_path / "prices.csv")

    def shell(*words: str) -> tuple[int, str, str]:
        code = main(["finance", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return shell


DATA = ("--data", "prices.csv")


def ok(result: tuple[int, str, str]) -> Any:
    assert result[0] == 0, result[2]
    return json.loads(result[1])


def test_a_new_strategy_runs_is_checked_and_goes_live(run: Shell, tmp_path: Path) -> None:
    """The path of a first day."""
    assert run("new", "mine.py")[0] == 0
    done = ok(run("backtest", "mine.py", *DATA, "--start", "2001", "--cost-bps", "5", "--json"))
    assert Path(done["report"]).read_text().startswith("<!doctype html>")
    (one,) = done["runs"]
    assert one["metrics"]["rebalances"] > 10
    checked = ok(run("check", "mine.py", *DATA, "--dates", "2", "--start", "2001", "--json"))
    assert (checked["passed"], checked["leaks"]) == (True, [])
    live = ok(run("live", "mine.py", *DATA, "--date", "2002-03-01", "--json"))
    assert (live["again"], sum(live["weights"].values())) == (False, pytest.approx(1))
    code, out, err = run("live", "mine.py", *DATA, "--date", "2002-03-01")
    assert (code, out) == (0, (tmp_path / live["orders"]).read_text())
    assert "written before" in err
    traced = ok(run("lineage", one["id"], "sharpe", "--json"))
    assert traced["lineage"]["inputs"][0]["stage"] == "simulate"
    compared = ok(run("compare", "--json"))
    assert compared[one["id"]]["metrics"] == one["metrics"]


def test_a_yaml_strategy_runs_and_a_parameter_is_set(run: Shell) -> None:
    assert run("new", "quiet.yaml")[0] == 0
    first = ok(run("backtest", "quiet.yaml", *DATA, "--json"))
    other = ok(run("backtest", "quiet.yaml", *DATA, "--set", "allocator.k=2", "--json"))
    assert first["runs"][0]["metrics"]["weight"] == pytest.approx(0.2)
    assert other["runs"][0]["metrics"]["weight"] == pytest.approx(0.5)


def test_results_go_to_stdout_and_the_rest_to_stderr(run: Shell) -> None:
    code, out, err = run("backtest", "momentum", "reversal", *DATA, "--out", "sheet.html")
    assert code == 0
    assert re.search(r"^run .*Sharpe", out, re.MULTILINE)
    assert len(out.strip().splitlines()) == 3
    assert "steps were there already" in err
    assert "tear sheet: sheet.html" in err
    assert Path("sheet.html").is_file()


def test_a_sweep_shows_the_best_and_prints_all(run: Shell) -> None:
    words: Sequence[str] = ("sweep", "momentum", *DATA, "--grid", "lookback=40,80", "--grid", "share=0.2,0.5")
    code, out, err = run(*words, "--best", "2")
    assert code == 0
    assert len(out.strip().splitlines()) == 3
    assert "4 backtests" in err
    assert len(ok(run(*words, "--json"))["runs"]) == 4


def test_a_leak_makes_the_check_fail(run: Shell) -> None:
    Path("leak.py").write_text(
        "import pandas as pd\n"
        "from shoestring.finance.strategies.interface import Strategy, strategy, top_k\n"
        "@strategy(name='leak', version='1')\n"
        "class Leak(Strategy):\n"
        "    def features(self, ctx, data):\n"
        "        return {'x': data.prices(listed=False).shift(-1)}\n"
        "    def on_rebalance(self, ctx, data):\n"
        "        return top_k(data.feature('x', 1).iloc[-1], 1).equal_weight()\n"
    )
    code, out, err = run("check", "leak.py", *DATA, "--dates", "1")
    assert code == 1
    assert "looks ahead: feature 'x'" in out
    assert "did not pass" in err


def test_nothing_due_is_said_and_is_no_failure(run: Shell) -> None:
    code, out, err = run("live", "momentum", *DATA)
    assert (code, out) == (0, "")
    assert "not due on the last session" in err


def test_options_are_printed_as_a_file_that_can_be_read(run: Shell) -> None:
    code, out, _ = run("backtest", "momentum", "--start", "2001", "--print-config")
    assert code == 0
    Path("run.toml").write_text(out)
    done = ok(run("backtest", "momentum", *DATA, "--config", "run.toml", "--json"))
    again = ok(run("backtest", "momentum", *DATA, "--start", "2001", "--json"))
    assert done["runs"][0]["metrics"] == again["runs"][0]["metrics"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("backtest", "momentun"), "did you mean 'momentum'"),
        (("backtest", "momentum", "--data", "nowhere"), "nowhere"),
        (("backtest", "momentum", *DATA, "--start", "soon"), "YYYY-MM-DD"),
        (("backtest", "momentum", *DATA, "--set", "lookbak=3"), "lookbak"),
        (("backtest", "momentum", "reversal", *DATA, "--set", "days=3"), "one by one"),
        (("backtest", "momentum", *DATA, "--start", "2002-08"), "no date"),
        (("live", "momentum", *DATA, "--date", "2002-03-02"), "not due"),
        (("lineage", "x"), "begin with 'x'"),
        (("compare",), "no run to show"),
        (("sweep", "momentum", *DATA, "--grid", "lookback"), "NAME=V1,V2"),
        (("new", "prices.csv"), "must end in .py"),
        (("new", "1.py"), "begin the file's name with a letter"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr(run: Shell, words: Sequence[str], message: str) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_file_that_is_there_is_not_replaced(run: Shell) -> None:
    Path("mine.py").write_text("mine")
    code, _, err = run("new", "mine.py")
    assert (code, Path("mine.py").read_text()) == (2, "mine")
    assert "left as it is" in err
