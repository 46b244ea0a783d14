"""DRAM traces in DRAMsim3's form."""

from pathlib import Path

import numpy as np
import pytest

from shoestring.core.errors import DataError
from shoestring.silicon.dram_trace import DramTrace, read_trace, write_trace


def test_a_trace_is_written_as_dramsim3_reads_it(tmp_path: Path) -> None:
    trace = DramTrace(
        addresses=np.array([0, 0xABC0], np.uint64), writes=np.array([False, True]), clocks=np.array([0, 12])
    )
    write_trace(tmp_path / "t.trace", trace)
    assert (tmp_path / "t.trace").read_text() == "0x0 READ 0\n0xABC0 WRITE 12\n"


def test_both_cases_of_digits_leading_zeros_spaces_and_empty_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.trace"
    path.write_text("\n0xabC READ 1\r\n\n  0X00fF   WRITE\t007\n")
    trace = read_trace(path)
    assert trace.addresses.tolist() == [0xABC, 0xFF]
    assert trace.writes.tolist() == [False, True]
    assert trace.clocks.tolist() == [1, 7]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_trace_is_a_trace(content: str, tmp_path: Path) -> None:
    path = tmp_path / "t.trace"
    path.write_text(content)
    assert len(read_trace(path).addresses) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("10 READ 2", "line 3: '10 READ 2': the address"),
        ("0x READ 2", "line 3: '0x READ 2': the address"),
        ("0x1G READ 2", "the address"),
        ("0x11111111111111111 READ 2", "1 to 16 hex digits"),
        ("0x10 FETCH 2", "must be READ or WRITE"),
        ("0x10 read 2", "must be READ or WRITE"),
        ("0x10 READ -2", "whole number"),
        ("0x10 READ 2.0", "whole number"),
        ("0x10 READ 99999999999999999999", "whole number"),
        ("0x10 READ", "has 2 fields"),
        ("0x10 READ 2 3", "has 4 fields"),
        ("0x10 READ 0", "line 3: cycle 0 comes after 1"),
        ("0x10 " + "R" * 5000 + " 2", "line 3: '0x10 RRRR"),
        ("0x10" + " " * 5000 + "READ 2", "cut the spaces"),
    ],
)
def test_a_malformed_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.trace"
    path.write_text(f"0x10 READ 1\n\n{line}\n0x20 READ 9\n")
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        read_trace(path)


def test_a_trace_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.trace"):
        read_trace(tmp_path / "no.trace")


def test_requests_that_contradict_each_other_are_refused() -> None:
    addresses, writes = np.zeros(2, np.uint64), np.zeros(2, np.bool_)
    with pytest.raises(DataError, match="one length"):
        DramTrace(addresses=addresses, writes=writes, clocks=np.zeros(3, np.int64))
    with pytest.raises(DataError, match="never fall"):
        DramTrace(addresses=addresses, writes=writes, clocks=np.array([3, 2]))
