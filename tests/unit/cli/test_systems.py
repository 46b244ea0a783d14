import json
from pathlib import Path

import pytest

from shoestring.cli import main


@pytest.mark.usefixtures("toys")
def test_list_shows_every_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert [name for name in ("absent", "broken", "good") if name in out] == ["absent", "broken", "good"]
    assert "It saves memory." in out


def test_list_can_be_narrowed_to_a_scarcity(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--scarce", "memory", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert [c["name"] for c in cards] == ["good"]
    assert cards[0]["quick"] == {"seconds": 2, "memory_mb": 60}
    assert str(toys.parent) not in json.dumps(cards), "a path of this machine"
    assert main(["list", "--scarce", "time"]) == 2
    assert "memory, bandwidth, data, bits, silicon" in capsys.readouterr().err


@pytest.mark.usefixtures("toys")
def test_show_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "good"]) == 0
    out = capsys.readouterr().out
    assert "The good system" in out
    assert "**" not in out
    assert main(["show", "GOOD", "--json"]) == 0
    assert "**for tests**" in json.loads(capsys.readouterr().out)["readme"]


@pytest.mark.usefixtures("toys")
def test_a_near_miss_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "god"]) == 2
    assert "Did you mean 'good'?" in capsys.readouterr().err
