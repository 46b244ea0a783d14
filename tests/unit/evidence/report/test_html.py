import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from shoestring.core.errors import ConfigError, MissingExtraError, StorageError
from shoestring.evidence.model import Arm, Plot, ScaledDown
from shoestring.evidence.report import write_report, write_scoreboard

HOSTILE = (
    "</title></style><script>alert('x')</script><img src=x onerror=alert(1)>\" onload=\"y {{ 7*7 }} \x1b[31m"
)
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, ids, attributes and text of a page; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def report(path: Path, verifications: Sequence[Any]) -> Page:
    write_report(path / "report.html", verifications)
    return Page((path / "report.html").read_text(encoding="utf-8"))


def test_a_report_shows_claims_measurements_settings_and_plots(made_up: Any, tmp_path: Path) -> None:
    page = report(tmp_path, [made_up.verification()])
    for claim, verdict in zip(made_up.CLAIMS, made_up.VERDICTS, strict=True):
        for text in (claim.text, claim.paper, claim.source, verdict.word, verdict.measured, verdict.reason):
            assert " ".join(text.split()) in page.text
    for arm in made_up.ARMS:
        assert arm.title in page.text
    for text in ("full profile", "synthetic data", "3 seeds", "80,000", "Example CPU", "2.13.0", "0123abc"):
        assert text in page.text
    assert "shoestring verify made_up --full --workload shapes_w4a4 --seeds 3 --rerun" in page.text
    assert ("class", "plot") in page.attributes
    assert page.attributes.count(("class", "plot")) == len(made_up.PLOTS)
    assert "ranges frozen after warm-up" in page.text


def test_a_report_needs_nothing_from_outside(made_up: Any, tmp_path: Path) -> None:
    page = report(tmp_path, [made_up.verification()])
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    for key, value in page.attributes:
        if key in ("href", "xlink:href", "src"):
            assert value is not None
            assert value.startswith("#")
    text = (tmp_path / "report.html").read_text()
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_and_links_have_targets(made_up: Any, tmp_path: Path) -> None:
    v = made_up.verification()
    second = replace(v, study=replace(v.study, workloads=(made_up.workload(title="Again"),)))
    page = report(tmp_path, [v, second])
    assert len(page.ids) == len(set(page.ids))
    links = [v[1:] for k, v in page.attributes if k == "href" and v]
    assert set(links) <= set(page.ids)


def test_hostile_text_stays_text(made_up: Any, tmp_path: Path) -> None:
    arms = [
        Arm(name=a.name, title=HOSTILE + a.name, role=a.role, options={HOSTILE: HOSTILE})
        for a in made_up.ARMS
    ]
    workload = made_up.workload(
        arms,
        title=HOSTILE,
        budget=HOSTILE,
        scaled_down=(ScaledDown(what=HOSTILE, ours=HOSTILE, paper=HOSTILE),),
    )
    study = made_up.study(
        workload,
        system=HOSTILE,
        family=HOSTILE,
        claims=tuple(replace(c, text=HOSTILE, paper=HOSTILE, source=HOSTILE) for c in made_up.CLAIMS),
        metrics=tuple(replace(m, title=HOSTILE, unit=HOSTILE) for m in made_up.METRICS),
        plots=tuple(Plot(title=HOSTILE, workload=p.workload, kind=p.kind, of=p.of) for p in made_up.PLOTS),
    )
    records = [made_up.record(a.name, 0, notes=(HOSTILE,), options={HOSTILE: HOSTILE}) for a in arms]
    records.append(made_up.record("gdfq", 1, "failed", error=HOSTILE))
    verdicts = [replace(d, measured=HOSTILE, reason=HOSTILE) for d in made_up.VERDICTS]
    v = made_up.verification(study, records, verdicts)
    v = replace(
        v, hardware={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE}, commit=HOSTILE, shoestring=HOSTILE
    )
    page = report(tmp_path, [v])
    write_scoreboard(tmp_path / "scoreboard.html", [v])
    board = Page((tmp_path / "scoreboard.html").read_text(encoding="utf-8"))
    for made in (page, board):
        assert not {"script", "img"} & set(made.tags)
        assert not [k for k, _ in made.attributes if k.startswith("on")]
        assert "{{ 7*7 }}" in made.text
        assert "\x1b" not in made.text


def test_the_same_evidence_gives_the_same_bytes(made_up: Any, tmp_path: Path) -> None:
    report(tmp_path / "a", [made_up.verification()])
    report(tmp_path / "b", [made_up.verification()])
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


def test_failures_are_shown_with_the_end_of_their_error(made_up: Any, tmp_path: Path) -> None:
    long = "\n".join(f"line {i}" for i in range(100)) + "\nValueError: at the very end"
    records = [made_up.record("qimera", s) for s in range(3)]
    records += [made_up.record("gdfq", s, "failed", error=long, wall_s=1.5) for s in range(3)]
    records += [
        made_up.record("prepare", 1, "timeout", error="time is over"),
        made_up.record("real", 0, "skipped"),
    ]
    page = report(tmp_path, [made_up.verification(records=records)])
    assert "ValueError: at the very end" in page.text
    assert "line 5 " not in page.text
    assert "GDFQ , seeds 0, 1, 2: failed after 1.5 s" in page.text
    assert "Preparation , seed 1: timed out" in page.text
    assert "4 tasks failed; see below" in page.text


def test_nothing_measured_still_makes_a_page(made_up: Any, tmp_path: Path) -> None:
    page = report(tmp_path, [made_up.verification(records=[], verdicts=[])])
    assert "not run" in page.text
    assert "plot" not in [v for k, v in page.attributes if k == "class"]


def test_a_workload_without_its_data_says_which_flag_brings_it(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study(made_up.workload(needs_data="cifar10", data="real"))
    records = [made_up.record(a.name, 0, "skipped") for a in made_up.ARMS]
    page = report(tmp_path, [made_up.verification(study, records, [])])
    assert "--data cifar10=FOLDER" in page.text
    assert "Measurements" not in page.text


def test_a_report_is_about_one_system(made_up: Any, tmp_path: Path) -> None:
    other = made_up.verification(made_up.study(system="other"))
    with pytest.raises(ConfigError, match="one system; got made_up, other"):
        write_report(tmp_path / "r.html", [made_up.verification(), other])
    with pytest.raises(ConfigError, match="no verification"):
        write_report(tmp_path / "r.html", [])
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_library_names_the_extra(
    made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"shoestring\[report\]"):
        write_report(tmp_path / "r.html", [made_up.verification()])


def test_an_unwritable_place_leaves_no_half_page(made_up: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not write"):
        write_report(tmp_path / "file" / "r.html", [made_up.verification()])


def test_the_scoreboard_lists_every_system_with_its_counts(made_up: Any, tmp_path: Path) -> None:
    other = made_up.verification(made_up.study(system="other"), verdicts=made_up.VERDICTS[:1])
    quick = made_up.verification(made_up.study(profile="quick"), verdicts=[])
    write_scoreboard(tmp_path / "s.html", [quick, made_up.verification(), other])
    page = Page((tmp_path / "s.html").read_text())
    assert "2 systems" in page.text
    assert "5 claims" in page.text
    assert "made_up" in page.text
    assert len(page.ids) == len(set(page.ids))
    assert {v[1:] for k, v in page.attributes if k == "href" and v} <= set(page.ids)


def test_an_empty_scoreboard_is_a_page_too(tmp_path: Path) -> None:
    write_scoreboard(tmp_path / "s.html", [])
    assert "0 systems" in Page((tmp_path / "s.html").read_text()).text
