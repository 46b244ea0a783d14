"""Files over a real engine in a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoestring.native.io import Engine
from shoestring.storage import Ledger, PartitionFiles


@pytest.fixture
def files(tmp_path: Path) -> Iterator[PartitionFiles]:
    with Engine() as engine:
        made = PartitionFiles(engine, tmp_path, Ledger())
        yield made
        made.close()
