import contextlib
import errno
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoestring.core.errors import ConfigError, StorageError
from shoestring.evidence.model import (
    Claim,
    Plot,
    Preparation,
    Profile,
    Record,
    ScaledDown,
    Series,
    Study,
    Verdict,
    Within,
    Workload,
)
from shoestring.evidence.store import (
    Verification,
    load_verification,
    load_verifications,
    read_record,
    save_verification,
    write_record,
)

MakeRecord = Callable[..., Record]


@pytest.fixture
def record(make_record: MakeRecord) -> Record:
    return make_record(
        "ours", 3, 0.1 + 0.2, series={"loss": Series(x=(0.0, 1.0), y=(2.5, 1e-300))}, notes=("a",)
    )


@pytest.fixture
def verification(
    make_study: Callable[..., Study],
    make_workload: Callable[..., Workload],
    claim: Claim,
    plot: Plot,
    record: Record,
) -> Verification:
    workload = make_workload(
        prepare=Preparation(run="_fake:train", options={"epochs": 2}),
        scaled_down=(ScaledDown(what="epochs", ours="2", paper="200"),),
        options={"deep": {"list": [1, 2.5, "x", None, True]}},
        needs_data="cars",
    )
    bounded = replace(
        claim, name="bounded", check=Within(metric="score", arm="ours", at_most=3.0), needs=("gpu",)
    )
    verdict = Verdict(
        claim="bounded",
        word="not checkable here",
        measured="",
        estimate=None,
        low=None,
        high=None,
        num_seeds=0,
        reason="needs a gpu",
    )
    return Verification(
        study=make_study(workload, claims=(claim, bounded), plots=(plot,)),
        records=(record,),
        verdicts=(verdict,),
        created_at="2026-01-01T00:00:00+00:00",
        shoestring="0.1.0",
        commit=None,
        hardware={"cpu": "abacus", "gpus": []},
        versions={"python": "3.11"},
    )


def test_a_record_comes_back_as_it_was(tmp_path: Path, record: Record) -> None:
    write_record(tmp_path / "record.json", record)
    assert plain(read_record(tmp_path / "record.json")) == plain(record)


def test_a_verification_comes_back_as_it_was(tmp_path: Path, verification: Verification) -> None:
    path = save_verification(tmp_path, verification)
    assert path == tmp_path / "fake" / "toy-quick.json"
    back = load_verification(path)
    assert plain(back) == plain(verification)
    assert (back.system, back.family, back.profile, back.workload.name) == ("fake", "nowhere", "quick", "toy")


def test_lists_of_numbers_take_one_line_each(tmp_path: Path, record: Record) -> None:
    write_record(tmp_path / "record.json", record)
    assert '"x": [ 0.0, 1.0 ]' in (tmp_path / "record.json").read_text()


def test_text_that_looks_like_a_list_is_kept(tmp_path: Path, record: Record) -> None:
    odd = replace(record, error="[\n 1,\n 2\n]", notes=("[ 1,   2 ]",))
    write_record(tmp_path / "record.json", odd)
    back = read_record(tmp_path / "record.json")
    assert (back.error, back.notes) == (odd.error, odd.notes)


def test_verifications_are_found_and_sorted(tmp_path: Path, verification: Verification) -> None:
    wanted: list[tuple[str, Profile]] = [("zeta", "quick"), ("alpha", "quick"), ("alpha", "full")]
    for system, profile in wanted:
        study = replace(verification.study, system=system, profile=profile)
        save_verification(tmp_path, replace(verification, study=study))
    (tmp_path / "alpha" / "notes.txt").write_text("not evidence")
    found = [(v.system, v.profile) for v in load_verifications(tmp_path)]
    assert found == [("alpha", "full"), ("alpha", "quick"), ("zeta", "quick")]


def test_a_folder_that_does_not_exist_holds_none(tmp_path: Path) -> None:
    assert load_verifications(tmp_path / "none") == []


def test_one_workload_a_verification(verification: Verification) -> None:
    with pytest.raises(ConfigError, match="one workload, not 2"):
        replace(verification, study=replace(verification.study, workloads=verification.study.workloads * 2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), to=st.sampled_from('0a"{},x \n\x00'))
def test_no_single_changed_byte_goes_unseen(tmp_path: Path, record: Record, at: float, to: str) -> None:
    original = tmp_path / "original.json"
    if not original.exists():
        write_record(original, record)
    path = tmp_path / "record.json"
    text = original.read_text()
    place = int(at * len(text))
    path.write_text(text[:place] + to + text[place + 1 :])
    with contextlib.suppress(StorageError):
        assert plain(read_record(path)) == plain(record)  # a change of layout only


@pytest.mark.parametrize("keep", [0, 1, 100, -3])
def test_a_file_cut_short_is_damaged(tmp_path: Path, record: Record, keep: int) -> None:
    path = tmp_path / "record.json"
    write_record(path, record)
    path.write_text(path.read_text()[:keep])
    with pytest.raises(StorageError, match=re.escape(str(path))):
        read_record(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has schema 2; this version reads 1"),
        ({"kind": "letter"}, "holds a 'letter', not a 'record'"),
        ({"body": {}}, "checksum differs"),
        ({"sha256": 0}, "checksum differs"),
    ],
)
def test_a_foreign_envelope_is_refused(
    tmp_path: Path, record: Record, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "record.json"
    write_record(path, record)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StorageError, match=message):
        read_record(path)


@pytest.mark.parametrize("text", ["[]", "3", '{"a": 1}', "null"])
def test_other_json_was_not_written_by_us(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(StorageError, match="not written by Shoestring"):
        load_verification(tmp_path / "x.json")


def test_a_record_is_no_verification(tmp_path: Path, record: Record) -> None:
    write_record(tmp_path / "fake" / "record.json", record)
    with pytest.raises(StorageError, match="holds a 'record', not a 'verification'"):
        load_verifications(tmp_path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not read") as caught:
        read_record(tmp_path / "none.json")
    assert caught.value.errno == errno.ENOENT


def test_what_is_no_json_is_refused_and_the_old_file_stays(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "record.json"
    write_record(path, record)
    before = path.read_text()
    for bad in (replace(record, metrics={"score": math.nan}), replace(record, options={"f": object()})):
        with pytest.raises(StorageError, match="nothing was changed"):
            write_record(path, bad)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def plain(value: Any) -> str:
    """Tuples and lists are one thing in JSON."""
    return json.dumps(
        value, default=lambda v: {n: getattr(v, n) for n in v.__dataclass_fields__}, sort_keys=True
    )
