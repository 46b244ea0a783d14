import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from shoestring import cli
from shoestring.cli import main
from shoestring.core.errors import ConfigError

VERBS = ("list", "show", "verify", "scoreboard", "quantize", "graph")
HEAVY = (
    "torch",
    "matplotlib",
    "jinja2",
    "numpy",
    "rich.console",
    "shoestring.evidence",
    "shoestring.cli.quantize",
    "shoestring.cli.graph_train",
)


def fresh(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)


def test_help_lists_every_verb_without_importing_one() -> None:
    code = (
        "import sys; from shoestring.cli import main; code = main(['--help'])\n"
        f"print('LOADED', [m for m in {HEAVY} if m in sys.modules]); sys.exit(code)"
    )
    done = fresh(code)
    assert done.returncode == 0
    assert "LOADED []" in done.stdout
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line.split()]
    assert set(VERBS) <= set(listed)
    for verb in VERBS:
        line = next(s for s in done.stdout.splitlines() if s.split()[:1] == [verb])
        assert len(line.split()) > 3
        assert "..." not in line, "the help of a verb is cut off"


@pytest.mark.slow
def test_help_answers_within_half_a_second() -> None:
    fresh("from shoestring.cli import main; main(['--help'])")  # byte code and file cache
    times = []
    for _ in range(5):
        start = time.perf_counter()
        fresh("from shoestring.cli import main; main(['--help'])")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: shoestring {verb}" in out
    assert f"Example: shoestring {verb}" in out


@pytest.mark.parametrize("verb", ["train", "plan", "partition"])
def test_every_verb_of_a_group_has_help_with_an_example(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graph", verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: shoestring graph {verb}" in out
    assert f"Example: shoestring graph {verb}" in out


def test_listing_systems_does_not_import_them() -> None:
    code = "import sys; from shoestring.cli import main; main(['list']); sys.exit('torch' in sys.modules)"
    assert fresh(code).returncode == 0


def test_an_error_is_one_line_and_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "no_such_system"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("shoestring: there is no system 'no_such_system'")


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOESTRING_DEBUG", "1")
    with pytest.raises(ConfigError):
        main(["show", "no_such_system"])


def test_a_machine_without_memory_is_one_line_and_code_one(capsys: pytest.CaptureFixture[str]) -> None:
    app = cli.app

    def exhausted(*_: object, **__: object) -> None:
        np.empty(2**60, dtype=np.uint8)

    cli.app = exhausted  # type: ignore[assignment]  # any callable is called
    try:
        assert main(["list"]) == 1
    finally:
        cli.app = app
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("shoestring: out of memory: Unable to allocate")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["verify", "--seeds", "0"], ["verify", "--jobs", "x"], ["show"], ["list", "--nope"]],
)
def test_wrong_usage_is_code_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    code = "import sys; from shoestring.cli import main; sys.exit(main(['--help']))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    log = tmp_path / "err"
    with log.open("w") as err:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=err, env=env)
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
    assert "Traceback" not in log.read_text()
