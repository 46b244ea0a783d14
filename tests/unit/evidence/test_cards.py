import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shoestring.core.cards import Card, all_cards, find_card, read_card
from shoestring.core.entry import check_entry_point, load_entry_point
from shoestring.core.errors import ConfigError

CARD = """
name = "qimera"
title = "Qimera"
family = "compression"
scarce = ["data", "bits"]
paper = "A paper"
venue = "A venue"
year = 2021
summary = "One sentence."
extras = ["compression"]
[entry_points]
evidence = "shoestring.compression.qimera.evidence:study"
job = "shoestring.compression.qimera:quantize"
[quick]
seconds = 50
memory_mb = 900.5
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def run(name: str = "qimera", text: str = CARD) -> Path:
        path = tmp_path / "shoestring" / "compression" / name / "card.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text.replace('name = "qimera"', f'name = "{name}"'))
        return path

    return run


def test_a_card_has_what_the_file_says(write: Write) -> None:
    path = write()
    card = read_card(path)
    assert isinstance(card, Card)
    assert (card.name, card.family, card.scarce, card.year) == (
        "qimera",
        "compression",
        ("data", "bits"),
        2021,
    )
    assert (card.entry_points.job, card.quick.seconds) == ("shoestring.compression.qimera:quantize", 50.0)
    assert card.folder == path.parent


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("year = 2021", "", "'year' is required"),
        ("year = 2021", 'year = "2021"', "year='2021' has type str"),
        ("year = 2021", "year = 2021\nmonth = 3", "unknown option 'month'"),
        ("seconds = 50", "", "quick.'seconds' is required"),
        ("seconds = 50", "seconds = 0", "must be above 0"),
        ('"bits"]', '"beer"]', "'beer' is not one of 'memory', 'bandwidth', 'data', 'bits', 'silicon'"),
        ('["data", "bits"]', "[]", "scarce is empty"),
        ('title = "Qimera"', 'title = " "', "title is empty"),
        ('family = "compression"', 'family = "vectors"', "differ from the folder compression/qimera"),
        ("qimera:quantize", "qimera.quantize", "not of the form package.module:function"),
        ("year = 2021", "year = ", "Invalid value"),
        ("year = 2021", 'year = 2021\nfolder = "/"', "unknown option 'folder'"),
    ],
)
def test_a_wrong_card_names_file_and_key(write: Write, old: str, new: str, message: str) -> None:
    path = write(text=CARD.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        read_card(path)
    assert str(path) in str(caught.value)


def test_cards_are_found_and_sorted(write: Write) -> None:
    package = write("zeta").parents[2]
    write("ait")
    assert [c.name for c in all_cards(package)] == ["ait", "zeta"]


@pytest.mark.parametrize("name", ["sofar_x", "SOFAR-X", " sofar-x "])
def test_a_card_is_found_without_case_and_dashes(write: Write, name: str) -> None:
    assert find_card(name, write("sofar_x").parents[2]).name == "sofar_x"


def test_an_unknown_name_lists_those_that_exist_and_the_closest(write: Write, tmp_path: Path) -> None:
    package = write("qimera").parents[2]
    write("ait")
    with pytest.raises(ConfigError, match=r"no system 'quimera'. Did you mean 'qimera'\? Known: ait, qimera"):
        find_card("quimera", package)
    with pytest.raises(ConfigError, match=r"no system 'zzz'. Known: ait, qimera"):
        find_card("zzz", package)
    with pytest.raises(ConfigError, match="Known: none"):
        find_card("zzz", tmp_path / "empty")


def test_two_systems_of_one_name_are_refused(write: Write) -> None:
    path = write()
    twin = path.parents[2] / "vectors" / "qimera" / "card.toml"
    twin.parent.mkdir(parents=True)
    twin.write_text(path.read_text().replace('family = "compression"', 'family = "vectors"'))
    with pytest.raises(ConfigError, match="two systems are called 'qimera'"):
        all_cards(path.parents[2])


def test_the_readme_is_the_text_beside_the_card(write: Write) -> None:
    card = read_card(write())
    with pytest.raises(ConfigError, match="add the README"):
        card.readme()
    (card.folder / "README.md").write_text("# Qimera\n")
    assert card.readme() == "# Qimera\n"


def test_reading_all_cards_imports_no_system() -> None:
    heavy = ("torch", "numpy", "shoestring.compression")
    code = (
        "import sys; from shoestring.core.cards import all_cards; all_cards(); "
        f"print([m for m in sys.modules if m.startswith({heavy})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_entry_point_loads_the_function_it_names() -> None:
    assert load_entry_point("shoestring.core.entry:check_entry_point") is check_entry_point


@pytest.mark.parametrize(
    "text", ["", "module", "module:", ":f", "a.b:c.d", "a:b:c", "a:b()", "a-b:c", "../a:b", "a. b:c", 3, None]
)
def test_an_entry_point_has_one_form(text: str) -> None:
    with pytest.raises(ConfigError, match="not of the form"):
        load_entry_point(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module:f", "there is no module 'no_such_module'"),
        ("shoestring.core.nothing:f", "there is no module 'shoestring.core.nothing'"),
        ("shoestring.core.entry:nothing", "has no 'nothing'"),
        ("shoestring.core.entry:__name__", "has a value, not a function, called '__name__'"),
    ],
)
def test_an_entry_point_that_leads_nowhere_says_where_it_ends(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_entry_point(text)


def test_an_error_inside_the_module_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_inside.py").write_text("import not_installed_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_library"):
        load_entry_point("broken_inside:f")
