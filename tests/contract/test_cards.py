"""Every system's folder holds what ARCHITECTURE.md asks for."""

import re
from pathlib import Path

import pytest

from shoestring.core.cards import Card, all_cards
from shoestring.core.entry import load_entry_point
from shoestring.evidence.model import Study

ROOT = Path(__file__).parents[2]
HEADINGS = [
    "In one paragraph",
    "Use it",
    "What it does",
    "Options that matter",
    "Evidence",
    "Limits and failure signs",
    "Differences from the paper",
    "Source",
]
FILES = ("README.md", "card.toml", "__init__.py", "config.py", "functional.py", "evidence.py")
CARDS = pytest.mark.parametrize("card", all_cards(), ids=lambda c: c.name)


def test_there_is_a_system() -> None:
    assert all_cards()


@CARDS
def test_the_folder_is_complete(card: Card) -> None:
    missing = [f for f in FILES if not (card.folder / f).is_file()]
    assert not missing


@CARDS
def test_the_card_has_the_fixed_headings_in_order(card: Card) -> None:
    assert re.findall(r"^## (.+)$", card.readme(), re.MULTILINE) == HEADINGS


@CARDS
def test_the_entry_points_exist(card: Card) -> None:
    assert callable(load_entry_point(card.entry_points.job))
    assert callable(load_entry_point(card.entry_points.evidence))


@CARDS
@pytest.mark.parametrize("profile", ["quick", "full"])
def test_the_study_names_its_system_and_its_measuring_functions_exist(card: Card, profile: str) -> None:
    study = load_entry_point(card.entry_points.evidence)(profile)
    assert isinstance(study, Study)
    assert (study.system, study.family, study.profile) == (card.name, card.family, profile)
    for workload in study.workloads:
        assert callable(load_entry_point(workload.run))
        assert workload.prepare is None or callable(load_entry_point(workload.prepare.run))


@CARDS
def test_the_headlines_are_claims_of_the_full_study(card: Card) -> None:
    claims = {c.name for c in load_entry_point(card.entry_points.evidence)("full").claims}
    assert not set(card.headlines) - claims


@CARDS
def test_the_quick_profile_needs_no_data_from_outside(card: Card) -> None:
    study = load_entry_point(card.entry_points.evidence)("quick")
    assert all(w.needs_data is None for w in study.workloads)


@CARDS
def test_there_is_stored_evidence_of_the_full_profile(card: Card) -> None:
    assert list((ROOT / "evidence" / card.name).glob("*-full.json"))


@CARDS
def test_the_readme_and_the_changelog_name_the_system(card: Card) -> None:
    assert card.title in (ROOT / "README.md").read_text()
    assert card.title in (ROOT / "CHANGELOG.md").read_text()
