"""Starting ranks takes seconds: one launch of six serves the tests of three files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from shoestring.parallel import LinkShape, RankResult, Topology, launch

LINK_BITS_PER_S = 48e6
BUCKET_BYTES = 400_000


@dataclass(frozen=True)
class Shared:
    """What the six ranks returned."""

    results: list[RankResult]
    progress: list[tuple[float, str]]
    share_s: float
    """Least time of a message of test_transport over the emulated link."""


@pytest.fixture(scope="session")
def rank_programs() -> Iterator[None]:
    """Let ranks find the programs in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield


@pytest.fixture(scope="session")
def shared(rank_programs: None) -> Shared:  # noqa: ARG001  # its effect is needed
    progress: list[tuple[float, str]] = []
    results = launch(
        "_rank_programs:everything",
        Topology(2, 3),
        options={"option": {"nested": [1, 2.5, "three"]}, "bucket_bytes": BUCKET_BYTES},
        tensors={"shared": torch.ones(10), "strided": torch.arange(6).view(2, 3).T},
        shape=LinkShape(inter_bits_per_s=LINK_BITS_PER_S, how="emulated"),
        timeout_s=120,
        report_progress=lambda fraction, word: progress.append((fraction, word)),
    )
    return Shared(results, progress, 3 * BUCKET_BYTES * 8 / LINK_BITS_PER_S)
