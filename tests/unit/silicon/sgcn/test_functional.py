import numpy as np
import pytest

from shoestring.silicon.sgcn import functional as f
from shoestring.silicon.topology import topology_from_edges


def test_strips_go_to_the_engines_in_turn() -> None:
    vertices = np.arange(12)
    assert f.engine_of(vertices, 2, 3).tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]
    whole = f.strip_of("contiguous", 32, 12, 3)
    assert f.engine_of(vertices, whole, 3).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert f.strip_of("sac", 32, 12, 3) == 32


@pytest.mark.parametrize("tiles", [1, 3, 7, 50])
def test_tiles_cover_all_sources_once_and_are_not_empty(tiles: int) -> None:
    bounds = f.tile_bounds(20, tiles)
    assert (bounds[0], bounds[-1]) == (0, 20)
    assert (np.diff(bounds) > 0).all()
    assert bounds.size == min(tiles, 20) + 1


def test_the_working_set_is_a_tiles_share_of_the_lines() -> None:
    assert f.working_set_lines(np.array([1, 2, 3, 2], dtype=np.uint16), 2) == 4.0


def test_the_aggregator_works_on_values_or_on_all_columns() -> None:
    nonzeros = np.array([0, 1, 16, 17, 96], dtype=np.int32)
    assert f.aggregator_cycles(nonzeros, 96, 16, sparse=True).tolist() == [0, 1, 1, 2, 6]
    assert f.aggregator_cycles(nonzeros, 96, 16, sparse=False).tolist() == [6] * 5


def test_the_most_read_vertices_are_pinned_up_to_the_budget() -> None:
    topology = topology_from_edges(np.array([[2, 2, 2, 1, 1, 0], [0, 1, 3, 0, 3, 3]]), 4)
    lines = np.array([1, 2, 3, 1], dtype=np.uint16)
    assert f.most_read(topology, lines, 5).tolist() == [1, 2]
    assert f.most_read(topology, lines, 3).tolist() == [2]
    assert f.most_read(topology, lines, 0).tolist() == []
