"""Synthetic graphs with a seed, for experiments at any size; every one says that it is synthetic.

Shapes: N vertices, E edges, D features, B communities.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.core.seeds import derive_seed
from shoestring.data.graphs._raw_graph import random_split

__all__ = ["block_model", "digits_graph", "geometric", "rmat"]


def rmat(
    num_nodes: int,
    num_edges: int,
    *,
    num_features: int = 128,
    num_classes: int = 10,
    quadrants: tuple[float, float, float, float] = (0.57, 0.19, 0.19, 0.05),
    seed: int = 0,
) -> Data:
    """Draw a power-law graph by R-MAT; features and labels are noise.

    Parameters
    ----------
    num_nodes : int
        N; ids are drawn in the next power of two and folded back, then shuffled.
    num_edges : int
        Undirected edges before self-loops and duplicates are taken out; stored in both directions.
    num_features, num_classes : int
        Width of the normal features, classes of the uniform labels: nothing can be learnt.
    quadrants : tuple of float
        Probabilities of the four quadrants at every level; the default is Graph500's.
    seed : int
        Of everything.

    Returns
    -------
    torch_geometric.data.Data
        ``x`` (N, D), ``edge_index`` (2, E), ``y``, 60/20/20 masks, ``kind="synthetic"``.

    References
    ----------
    D. Chakrabarti, Y. Zhan, C. Faloutsos, "R-MAT: a recursive model for graph mining", SDM 2004.
    """
    _check_sizes(num_nodes=num_nodes, num_features=num_features, num_classes=num_classes)
    if num_edges < 0:
        raise ConfigError(f"num_edges={num_edges} is below 0")
    if len(quadrants) != 4 or min(quadrants) < 0 or abs(sum(quadrants) - 1) > 1e-9:
        raise ConfigError(f"quadrants={quadrants}; give four probabilities that sum to 1")
    rng = _rng(seed, "rmat", "edges")
    levels = max(1, (num_nodes - 1).bit_length())
    ends = np.zeros((2, num_edges), dtype=np.int64)
    first, second, third = (float(b) for b in np.cumsum(quadrants)[:3])
    for level in range(levels):
        draw = rng.random(num_edges, dtype=np.float32)
        lower = draw >= second
        right = ((draw >= first) & ~lower) | (draw >= third)
        ends[0] |= lower.astype(np.int64) << level
        ends[1] |= right.astype(np.int64) << level
    ends %= num_nodes
    ends = rng.permutation(num_nodes)[ends]
    rng = _rng(seed, "rmat", "features")
    x = rng.standard_normal((num_nodes, num_features), dtype=np.float32)
    y = rng.integers(0, num_classes, num_nodes)
    return _to_data(ends, x, y, "R-MAT", seed)


def block_model(
    num_nodes: int,
    mean_degree: float,
    *,
    num_communities: int = 64,
    num_features: int | None = None,
    inside: float = 0.8,
    exponent: float = 2.5,
    noise: float = 1.0,
    seed: int = 0,
) -> Data:
    """Draw a degree-corrected block model: labels are planted communities, features their noisy one-hots.

    Parameters
    ----------
    num_nodes : int
        N.
    mean_degree : float
        Expected edges of a vertex before duplicates and self-loops are taken out.
    num_communities : int
        B; every vertex belongs to one, drawn uniformly.
    num_features : int or None
        D >= B; None means B. Columns from B on are noise.
    inside : float
        Share of the edges whose ends were drawn from one community, in 0 .. 1 (the rest ends anywhere).
    exponent : float
        Of the power law of the vertex weights (Pareto), above 1: smaller is heavier.
    noise : float
        Standard deviation that is added to the one-hot features.
    seed : int
        Of everything.

    Returns
    -------
    torch_geometric.data.Data
        ``x`` (N, D), ``edge_index`` (2, E), ``y``, 60/20/20 masks, ``kind="synthetic"``.

    References
    ----------
    B. Karrer, M. E. J. Newman, "Stochastic blockmodels and community structure in networks", 2011.
    """
    width = num_communities if num_features is None else num_features
    _check_sizes(num_nodes=num_nodes, num_communities=num_communities)
    if width < num_communities:
        raise ConfigError(f"num_features={width} is below num_communities={num_communities}; raise it")
    if not 0 <= inside <= 1 or exponent <= 1 or noise < 0 or mean_degree < 0:
        raise ConfigError(
            f"inside={inside}, exponent={exponent}, noise={noise}, mean_degree={mean_degree}; "
            "give 0 <= inside <= 1, exponent > 1, noise >= 0, mean_degree >= 0"
        )
    rng = _rng(seed, "block_model", "edges")
    y = rng.integers(0, num_communities, num_nodes)
    # One hub must not swallow a community: weights end at N**0.5 times the smallest.
    weights = np.minimum((1 - rng.random(num_nodes)) ** (-1 / (exponent - 1)), num_nodes**0.5)
    order = np.argsort(y, kind="stable")
    cumulated = np.concatenate([[0.0], np.cumsum(weights[order])])
    borders = cumulated[np.searchsorted(y[order], np.arange(num_communities + 1))]
    num_edges = round(num_nodes * mean_degree / 2)
    first = _draw(rng, cumulated, np.zeros(num_edges), np.full(num_edges, cumulated[-1]))
    home = y[order[first]]
    stays = rng.random(num_edges) < inside
    low = np.where(stays, borders[home], 0.0)
    high = np.where(stays, borders[home + 1], cumulated[-1])
    second = _draw(rng, cumulated, low, high)
    rng = _rng(seed, "block_model", "features")
    x = rng.standard_normal((num_nodes, width), dtype=np.float32) * np.float32(noise)
    x[np.arange(num_nodes), y] += 1
    return _to_data(order[np.stack([first, second])], x, y, "degree-corrected block model", seed)


def geometric(
    num_nodes: int, neighbours: int, *, num_features: int = 16, num_classes: int = 9, seed: int = 0
) -> Data:
    """Join every point of the unit square to its nearest ones: a graph whose parts have few neighbours.

    Parameters
    ----------
    num_nodes : int
        N.
    neighbours : int
        Edges that every vertex asks for, below N; an edge is stored in both directions, once.
    num_features : int
        Random Fourier features of the position.
    num_classes : int
        A square number: labels are the cells of a grid.
    seed : int
        Of everything.

    Returns
    -------
    torch_geometric.data.Data
        ``x`` (N, D), ``edge_index`` (2, E), ``y``, ``pos`` (N, 2), 60/20/20 masks, ``kind="synthetic"``.

    Raises
    ------
    MissingExtraError
        If scipy is not installed.
    """
    _check_sizes(num_nodes=num_nodes, num_features=num_features, num_classes=num_classes)
    side = round(num_classes**0.5)
    if side * side != num_classes:
        raise ConfigError(f"num_classes={num_classes} is no square number; give 4, 9, 16, ...")
    rng = _rng(seed, "geometric", "points")
    points = rng.random((num_nodes, 2))
    ends = _nearest(points, neighbours)
    waves = rng.standard_normal((2, num_features)) * 6
    x = np.cos(points @ waves + rng.random(num_features) * 2 * np.pi).astype(np.float32)
    cell = np.minimum((points * side).astype(np.int64), side - 1)
    data = _to_data(ends, x, cell[:, 0] * side + cell[:, 1], "geometric nearest-neighbour graph", seed)
    data.pos = torch.from_numpy(points.astype(np.float32))
    return data


def digits_graph(neighbours: int = 8, *, seed: int = 0) -> Data:
    """Join the handwritten digits of scikit-learn that look alike: real features and labels, derived edges.

    Parameters
    ----------
    neighbours : int
        Nearest images (Euclidean distance of the pixels) that every image asks for.
    seed : int
        Of the 60/20/20 split.

    Returns
    -------
    torch_geometric.data.Data
        1,797 vertices, 64 features in 0 .. 1, 10 classes; ``kind`` says that the edges come from the pixels.

    Raises
    ------
    MissingExtraError
        If scikit-learn is not installed.

    References
    ----------
    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """
    bunch = optional("sklearn.datasets", extra="graphs").load_digits()
    x = np.asarray(bunch.data, dtype=np.float32) / 16
    data = _to_data(_nearest(x, neighbours), x, np.asarray(bunch.target), "digits", seed)
    data.kind = "real features and labels; edges join nearest neighbours of the features"
    data.source = "scikit-learn's digits"
    return data


def _rng(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, *names))


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name}={size}; give at least 1")


def _draw(
    rng: np.random.Generator, cumulated: NDArray[np.float64], low: NDArray[Any], high: NDArray[Any]
) -> NDArray[np.int64]:
    """Draw vertices with probability proportional to weight between two cumulated weights."""
    at = low + (high - low) * rng.random(low.size)
    found: NDArray[np.int64] = np.searchsorted(cumulated, at, side="right") - 1
    return np.clip(found, 0, cumulated.size - 2)


def _nearest(points: NDArray[Any], neighbours: int) -> NDArray[np.int64]:
    """Join every point to its nearest others, (2, N * neighbours)."""
    num = len(points)
    if not 1 <= neighbours < num:
        raise ConfigError(f"neighbours={neighbours}; give 1 .. {num - 1}, fewer than the {num} vertices")
    tree = optional("scipy.spatial", extra="graphs").cKDTree(points)
    _, near = tree.query(points, k=neighbours + 1)
    # A point is usually its own nearest one; with equal points it need not be among them.
    own = near == np.arange(num)[:, None]
    own[~own.any(axis=1), -1] = True
    others = near[~own].reshape(num, neighbours)
    return np.stack([others.reshape(-1), np.repeat(np.arange(num), neighbours)])


def _to_data(ends: NDArray[Any], x: NDArray[Any], y: NDArray[Any], source: str, seed: int) -> Data:
    """Make an undirected simple graph, its edges sorted, and the split."""
    num = len(x)
    low, high = np.minimum(ends[0], ends[1]), np.maximum(ends[0], ends[1])
    keys = (low.astype(np.int64) * num + high)[low != high]
    keys.sort()
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if keys.size else keys
    pair = np.stack(np.divmod(keys, num))
    both = np.concatenate([pair, pair[::-1]], axis=1)
    labels = torch.from_numpy(y.astype(np.int64))
    data = Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(both), y=labels, num_nodes=num)
    data.train_mask, data.val_mask, data.test_mask = random_split(labels, seed)
    data.split = f"60/20/20, seed {seed}"
    data.source, data.kind = f"{source}, seed {seed}", "synthetic"
    return data
