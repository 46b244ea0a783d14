"""Synthetic topologies by a text like ``sbm:n=16384,deg=16``, with labels and bag-of-words features.

All are undirected (both directions stored), without self-loops or duplicates, and a seed decides everything.
Shapes: N vertices, E edges, D words.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed

__all__ = ["Drawn", "bag_of_words", "draw", "generator_names"]

Edges = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A synthetic graph: edges (2, E) of sources and targets, and a class of every vertex (N,)."""

    num_nodes: int
    edges: Edges
    labels: NDArray[np.int64]
    about: str


def generator_names() -> tuple[str, ...]:
    """Return the names that `draw` knows."""
    return tuple(_GENERATORS)


def draw(text: str, seed: int) -> Drawn:
    """Draw the graph that `text` names, ``NAME:key=value,...``.

    ``sbm``: blocks of consecutive ids (``n, deg, inside, low, high, exponent, classes``; 0 classes: one a
    block); ``rmat``: power-law graph with shuffled ids (``n, deg``); ``grid``: a torus with shortcuts
    (``n, deg, shortcuts``).

    Raises
    ------
    ConfigError
        An unknown name or key, a value that is no number or out of range.
    """
    name, _, rest = text.partition(":")
    if name not in _GENERATORS:
        raise ConfigError(f"generator {name!r} is not one of {', '.join(_GENERATORS)}")
    make, defaults = _GENERATORS[name]
    values = dict(defaults)
    for item in filter(None, rest.split(",")):
        key, sign, number = item.partition("=")
        if not sign or key not in values:
            raise ConfigError(f"{text!r}: {item!r} is not NAME=NUMBER with a name of {', '.join(values)}")
        try:
            values[key] = float(number)
        except ValueError as e:
            raise ConfigError(f"{text!r}: {key}={number!r} is no number") from e
    num, degree = values["n"], values["deg"]
    if not (num == int(num) and 2 <= num < 2**31) or not 0 < degree < num:
        raise ConfigError(f"{text!r}: n={num:g} must be whole and at least 2, deg={degree:g} in 0 .. n")
    return make(values, seed)


def bag_of_words(labels: NDArray[np.int64], width: int, words: int, seed: int) -> NDArray[np.float32]:
    """Draw a 0/1 matrix (N, D): half of a vertex's words come from its class's own, the rest from all.

    Parameters
    ----------
    labels : ndarray
        int64, (N,).
    width : int
        D, words in the vocabulary.
    words : int
        Draws a vertex; equal words count once.
    seed : int
        Of the draws.
    """
    rng = np.random.default_rng(derive_seed(seed, "words"))
    topic = rng.integers(0, width, (int(labels.max(initial=0)) + 1, max(words, 1)))
    own = topic[labels[:, None], rng.integers(0, topic.shape[1], (labels.size, words))]
    drawn = np.where(rng.random(own.shape) < 0.5, own, rng.integers(0, width, own.shape))
    x = np.zeros((labels.size, width), dtype=np.float32)
    np.put_along_axis(x, drawn, 1.0, axis=1)
    return x


def _sbm(values: dict[str, float], seed: int) -> Drawn:
    """Blocks of `low` .. `high` consecutive ids; a share `inside` of the edges stays in the block."""
    num, inside, classes = int(values["n"]), values["inside"], int(values["classes"])
    low, high, exponent = int(values["low"]), int(values["high"]), values["exponent"]
    if not (1 <= low <= high and 0 <= inside <= 1 and exponent > 1 and classes >= 0):
        raise ConfigError(
            f"sbm: low={low}, high={high}, inside={inside:g}, exponent={exponent:g}, classes={classes}; "
            "give 1 <= low <= high, inside in 0 .. 1, exponent above 1, classes from 0"
        )
    rng = np.random.default_rng(derive_seed(seed, "sbm"))
    sizes = rng.integers(low, high + 1, -(-num // low))
    ends = np.minimum(np.cumsum(sizes), num)
    ends = ends[: int(np.searchsorted(ends, num)) + 1]
    labels = np.searchsorted(ends, np.arange(num), side="right")
    # Hubs end at sqrt(N) times the smallest weight: one must not swallow its block.
    weights = np.minimum((1 - rng.random(num)) ** (-1 / (exponent - 1)), num**0.5)
    cumulated = np.concatenate([[0.0], np.cumsum(weights)])
    borders = np.concatenate([[0.0], cumulated[ends]])

    def pick(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = _by_weight(rng, cumulated, np.zeros(count), np.full(count, cumulated[-1]))
        stays = rng.random(count) < inside
        home = labels[first]
        start = np.where(stays, borders[home], 0.0)
        stop = np.where(stays, borders[home + 1], cumulated[-1])
        return first, _by_weight(rng, cumulated, start, stop)

    edges = _until_enough(pick, num, round(num * values["deg"] / 2))
    if classes:
        labels %= classes
    return Drawn(num, _both(edges), labels.astype(np.int64), "block model, consecutive ids")


def _rmat(values: dict[str, float], seed: int) -> Drawn:
    """R-MAT of the foundation's generators (Graph500 quadrants, shuffled ids)."""
    from shoestring.data.graphs.generators import rmat

    num = int(values["n"])
    data = rmat(num, round(num * values["deg"] / 2), num_features=1, num_classes=16, seed=seed)
    return Drawn(num, data.edge_index.numpy(), data.y.numpy(), "R-MAT, shuffled ids")


def _grid(values: dict[str, float], seed: int) -> Drawn:
    """Join every vertex of a torus, ids row by row, to its nearest ones; some edges lead anywhere."""
    num, share = int(values["n"]), values["shortcuts"]
    side = round(num**0.5)
    if side * side != num or not 0 <= share <= 1:
        raise ConfigError(f"grid: n={num}, shortcuts={share:g}; give a square number and a share in 0 .. 1")
    half = round(values["deg"] / 2)
    reach = np.arange(-side // 4, side // 4 + 1)
    down, right = (a.reshape(-1) for a in np.meshgrid(reach[reach >= 0], reach, indexing="ij"))
    forward = (down > 0) | (right > 0)
    near = np.lexsort((right[forward], down[forward], (down**2 + right**2)[forward]))[:half]
    if near.size < half:
        raise ConfigError(f"grid: deg={values['deg']:g} is too many neighbours for a side of {side}")
    row, col = np.divmod(np.arange(num), side)
    other_row = (row[:, None] + down[forward][near]) % side
    other_col = (col[:, None] + right[forward][near]) % side
    targets = other_row * side + other_col
    rng = np.random.default_rng(derive_seed(seed, "grid"))
    targets = np.where(rng.random(targets.shape) < share, rng.integers(0, num, targets.shape), targets)
    edges = _simple(np.repeat(np.arange(num), half), targets.reshape(-1), num)
    labels = (row * 4 // side) * 4 + col * 4 // side
    return Drawn(num, _both(edges), labels.astype(np.int64), "torus with shortcuts, ids row by row")


_GENERATORS: dict[str, tuple[Callable[[dict[str, float], int], Drawn], dict[str, float]]] = {
    "sbm": (
        _sbm,
        {"n": 16384, "deg": 16, "inside": 0.7, "low": 128, "high": 512, "exponent": 2.5, "classes": 0},
    ),
    "rmat": (_rmat, {"n": 16384, "deg": 16}),
    "grid": (_grid, {"n": 16384, "deg": 16, "shortcuts": 0.1}),
}


def _by_weight(
    rng: np.random.Generator,
    cumulated: NDArray[np.float64],
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Draw vertices with probability proportional to weight between two cumulated weights."""
    at = start + (stop - start) * rng.random(start.size)
    return np.clip(np.searchsorted(cumulated, at, side="right") - 1, 0, cumulated.size - 2)


def _until_enough(
    pick: Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]], num: int, wanted: int
) -> Edges:
    """Draw until `wanted` different edges are there, or ten times did not bring them."""
    edges = np.zeros((2, 0), dtype=np.int64)
    for _ in range(10):
        missing = wanted - edges.shape[1]
        if missing <= 0:
            break
        first, second = pick(missing + missing // 8 + 16)
        edges = _simple(np.concatenate([edges[0], first]), np.concatenate([edges[1], second]), num)
    if edges.shape[1] > wanted:
        keep = np.linspace(0, edges.shape[1] - 1, wanted).astype(np.int64)
        edges = edges[:, keep]
    return edges


def _simple(first: NDArray[np.int64], second: NDArray[np.int64], num: int) -> Edges:
    """Sort undirected edges, without self-loops and duplicates: (2, E), the smaller end first."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    keys = np.unique((low * num + high)[low != high])
    return np.stack(np.divmod(keys, num))


def _both(edges: Edges) -> Edges:
    return np.concatenate([edges, edges[::-1]], axis=1)
