"""The bandwidth measured is that of the engine, and the probe goes."""

from pathlib import Path

import pytest

from shoestring.native.io import Engine
from shoestring.storage import measure_bandwidth


def test_an_emulated_limit_is_what_is_measured(tmp_path: Path) -> None:
    limit = 20_000_000
    with Engine(limit_bytes_per_s=limit) as engine:
        found = measure_bandwidth(engine, tmp_path / "new", 8 << 20)
    assert found.read_bytes_per_s == pytest.approx(limit, rel=0.5)
    assert found.write_bytes_per_s == pytest.approx(limit, rel=0.5)
    assert list((tmp_path / "new").iterdir()) == []
