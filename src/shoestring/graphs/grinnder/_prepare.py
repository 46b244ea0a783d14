"""The prepared graph: partitions, their topology and features in page-aligned files, made once and kept.

Shapes: N vertices; partition j has n_j targets, K_j columns (own vertices, then the boundary), E_j edges.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shoestring.core.errors import DataError, StorageError
from shoestring.core.files import write_json_atomic
from shoestring.graphs.convs import TopologyKind, prepare_topology
from shoestring.graphs.csr import Block, Csr, Transposed, csr_from_edge_index
from shoestring.graphs.grinnder._sizes import GraphSizes, TopologySizes, record_layout
from shoestring.graphs.grinnder.config import Config
from shoestring.storage import PAGE, round_up

__all__ = ["GraphArrays", "PartBlock", "PreparedGraph", "cut_blocks", "graph_arrays", "write_graph"]

_SCHEMA = 1
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, slots=True)
class GraphArrays:
    """What of a user's graph counts: edges, features, labels, masks."""

    edge_index: Tensor
    x: Tensor
    y: Tensor
    train_mask: Tensor
    val_mask: Tensor
    test_mask: Tensor
    edge_weight: Tensor | None

    @property
    def num_nodes(self) -> int:
        """N."""
        return int(self.x.shape[0])

    def fingerprint(self) -> str:
        """Hash of all content, 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        parts = (self.edge_index, self.x, self.y, self.train_mask, self.val_mask, self.test_mask)
        for t in (*parts, *(() if self.edge_weight is None else (self.edge_weight,))):
            digest.update(f"{t.dtype}{tuple(t.shape)}".encode())
            digest.update(t.detach().cpu().contiguous().numpy().reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def graph_arrays(data: Any) -> GraphArrays:
    """Read PyG ``Data`` (or any object or mapping with its names).

    Raises
    ------
    DataError
        If edges, features or labels are missing or do not fit each other, or a feature is not finite.
    """
    found = {n: _field(data, n) for n in _FIELDS}
    edge_index, x, y = (_needed(found, n) for n in ("edge_index", "x", "y"))
    num = x.shape[0]
    if x.dim() != 2 or not x.is_floating_point() or y.shape[0] != num:
        raise DataError(
            f"x is {x.dtype} of shape {tuple(x.shape)} and y has shape {tuple(y.shape)}; "
            "give float features (N, D) and a label for each vertex"
        )
    if not bool(torch.isfinite(x).all()):
        raise DataError("x holds values that are not finite; clean the features (torch.nan_to_num)")
    train, val, test = (_mask(found[f"{name}_mask"], name, num) for name in ("train", "val", "test"))
    if not bool(train.any()):
        raise DataError("no vertex is for training; give a train_mask with at least one True")
    if y.dim() == 1 and bool((y[train] < 0).any()):
        raise DataError(
            "a training vertex has a negative label; take vertices without label out of train_mask"
        )
    weight = found["edge_weight"]
    if weight is None and isinstance(found["edge_attr"], Tensor) and found["edge_attr"].dim() == 1:
        weight = found["edge_attr"]
    return GraphArrays(edge_index, x, y, train, val, test, weight)


_FIELDS = ("edge_index", "x", "y", "train_mask", "val_mask", "test_mask", "edge_weight", "edge_attr")


def _field(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, Mapping) else getattr(data, name, None)


def _needed(found: Mapping[str, Any], name: str) -> Tensor:
    value = found[name]
    if not isinstance(value, Tensor):
        raise DataError(f"the graph has no {name}; give PyG Data with edge_index, x and y")
    return value


def _mask(mask: Any, name: str, num: int) -> Tensor:
    if mask is None:
        return torch.full((num,), name == "train")
    if not isinstance(mask, Tensor) or mask.shape != (num,):
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise DataError(f"{name}_mask has shape {shape}; give bool ({num},), one split at a time")
    return mask.bool()


@dataclass(frozen=True, slots=True)
class PartBlock:
    """One partition's topology with the vertices that it reads from others."""

    csr: Csr
    boundary: Tensor
    """int32, (K_j - n_j,): row inside its owner of each boundary column, owners ascending."""
    sources: tuple[tuple[int, int], ...]
    """(owner, number of boundary columns) in the order of `boundary`; without the partition itself."""


def cut_blocks(csr: Csr, ptr: Sequence[int], part: int) -> PartBlock:
    """Cut partition `part` (rows ``ptr[part]:ptr[part + 1]``) out of a topology on the renumbered graph."""
    start, stop = int(ptr[part]), int(ptr[part + 1])
    rows = csr.rows(start, stop)
    cols = rows.indices.long()
    inside = (cols >= start) & (cols < stop)
    outside = torch.unique(cols[~inside])
    local = torch.empty(cols.numel(), dtype=torch.int32)
    local[inside] = (cols[inside] - start).to(torch.int32)
    local[~inside] = (torch.searchsorted(outside, cols[~inside]) + (stop - start)).to(torch.int32)
    bounds = torch.as_tensor(list(ptr), dtype=torch.int64)
    owner = torch.searchsorted(bounds, outside, right=True) - 1
    counts = torch.bincount(owner, minlength=len(ptr) - 1)
    sources = tuple((q, int(c)) for q, c in enumerate(counts.tolist()) if c)
    boundary = (outside - bounds[owner]).to(torch.int32)
    block = Csr(rows.indptr, local, rows.values, stop - start + outside.numel())
    return PartBlock(block, boundary, sources)


# One record is the arrays of one partition behind each other, each at a multiple of 64 bytes.
def _forward_arrays(block: PartBlock) -> list[Tensor]:
    values = [] if block.csr.values is None else [block.csr.values]
    return [block.csr.indptr, block.csr.indices, block.boundary, *values]


def _transpose_arrays(block: PartBlock) -> list[Tensor]:
    t = block.csr.transposed()
    last = t.order if t.csr.values is None else t.csr.values
    return [t.csr.indptr, t.csr.indices, last]


class PreparedGraph:
    """A partitioned graph on storage; what stays in memory are sizes, labels, masks and the vertex order.

    Attributes
    ----------
    folder : Path
        Where its files are.
    ptr : tuple of int
        (parts + 1): partition j holds vertices ``ptr[j]:ptr[j + 1]`` of the new order.
    perm : Tensor
        int32, (N,): new order -> the user's vertex id.
    y, train_mask, val_mask, test_mask : Tensor
        In the new order.
    alpha : float
        Expansion ratio: columns of all partitions over N.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            info = json.loads((folder / "graph.json").read_text())
        except (OSError, ValueError) as e:
            raise StorageError(f"{folder} holds no prepared graph ({e}); prepare it again") from e
        if info.get("schema") != _SCHEMA:
            raise StorageError(
                f"{folder} has schema {info.get('schema')}, {_SCHEMA} is read; prepare it again"
            )
        self.info: dict[str, Any] = info
        self.ptr: tuple[int, ...] = tuple(info["ptr"])
        self.num_features: int = info["num_features"]
        self.num_classes: int = info["num_classes"]
        self.dtype_name: str = info["dtype"]
        self.alpha: float = info["partition"]["alpha"]
        tensors = load_file(folder / "vertices.safetensors")
        self.perm, self.y = tensors["perm"], tensors["y"]
        self.train_mask, self.val_mask, self.test_mask = (
            tensors[f"{n}_mask"] for n in ("train", "val", "test")
        )
        topologies = {
            t["kind"]: TopologySizes(
                weighted=t["weighted"],
                cols=tuple(t["cols"]),
                edges=tuple(t["edges"]),
                sources=tuple(tuple((int(q), int(c)) for q, c in s) for s in t["sources"]),
            )
            for t in info["topologies"]
        }
        parts = (self.perm, self.y, self.train_mask, self.val_mask, self.test_mask)
        self.sizes = GraphSizes(
            ptr=self.ptr,
            itemsize=self.dtype.itemsize,
            topologies=topologies,
            resident_bytes=sum(t.numel() * t.element_size() for t in parts),
        )
        self.num_train = int(self.train_mask.sum())

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.ptr[-1]

    @property
    def num_parts(self) -> int:
        """Number of partitions."""
        return len(self.ptr) - 1

    @property
    def dtype(self) -> torch.dtype:
        """Type of the features."""
        return DTYPES[self.dtype_name]

    @property
    def kinds(self) -> tuple[TopologyKind, ...]:
        """Kinds of topology on storage."""
        return tuple(self.sizes.topologies)

    def rows(self, part: int) -> int:
        """n_j."""
        return self.ptr[part + 1] - self.ptr[part]

    def topology(self, kind: TopologyKind) -> TopologySizes:
        """Return the sizes of a kind of topology."""
        if kind not in self.sizes.topologies:
            raise DataError(
                f"the prepared graph in {self.folder} has topologies {', '.join(self.kinds)}, the "
                "model needs "
                f"{kind}; prepare it with this model"
            )
        return self.sizes.topologies[kind]

    def feature_bytes(self) -> list[int]:
        """Bytes of every partition's features."""
        return [self.rows(j) * self.num_features * self.dtype.itemsize for j in range(self.num_parts)]

    def unpack(
        self, kind: TopologyKind, part: int, forward: Tensor, transpose: Tensor | None
    ) -> tuple[Block, Tensor]:
        """View records (uint8) as a block and its boundary rows; nothing is copied."""
        s, itemsize = self.topology(kind), self.dtype.itemsize
        rows = self.rows(part)
        types = [torch.int64, torch.int32, torch.int32, self.dtype]
        views = _views(forward, s.forward_shapes(part, rows, itemsize), types)
        csr = Csr(views[0], views[1], views[3] if s.weighted else None, s.cols[part])
        if transpose is None:
            return Block(csr), views[2]
        types = [torch.int64, torch.int32, self.dtype if s.weighted else torch.int64]
        t = _views(transpose, s.transpose_shapes(part, itemsize), types)
        order = torch.empty(0, dtype=torch.int64) if s.weighted else t[2]
        return Block(csr, Transposed(Csr(t[0], t[1], t[2] if s.weighted else None, rows), order)), views[2]

    def __repr__(self) -> str:
        return (
            f"PreparedGraph({self.num_nodes} vertices, {self.num_parts} partitions, alpha {self.alpha:.2f}, "
            f"{self.folder})"
        )


def _views(record: Tensor, shapes: Sequence[tuple[int, int]], types: Sequence[torch.dtype]) -> list[Tensor]:
    offsets, _ = record_layout(shapes)
    return [record[o : o + n * size].view(t) for o, (n, size), t in zip(offsets, shapes, types, strict=False)]


def write_graph(
    folder: Path,
    arrays: GraphArrays,
    perm: Tensor,
    ptr: Sequence[int],
    kinds: Sequence[TopologyKind],
    *,
    config: Config,
    partition_info: Mapping[str, Any],
) -> PreparedGraph:
    """Write a partitioned graph: renumbered topology of every kind, features, labels.

    Parameters
    ----------
    folder : Path
        Made anew; it appears complete or not at all.
    perm : Tensor
        Integer, (N,): new order -> old id.
    ptr : sequence of int
        Bounds of the partitions in the new order.
    """
    dtype = DTYPES[config.dtype]
    num = arrays.num_nodes
    building = folder.with_name(folder.name + ".building")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        new_id = torch.empty(num, dtype=torch.int64)
        new_id[perm.long()] = torch.arange(num)
        base = csr_from_edge_index(new_id[arrays.edge_index.long()], num, arrays.edge_weight)
        topologies = [_write_topology(building, i, k, base, ptr, dtype) for i, k in enumerate(kinds)]
        _write_features(building / "features.bin", arrays.x, perm, ptr, dtype)
        order = perm.long()
        masks = {
            f"{n}_mask": getattr(arrays, f"{n}_mask")[order].contiguous() for n in ("train", "val", "test")
        }
        vertices = {"perm": perm.to(torch.int32).contiguous(), "y": arrays.y[order].contiguous(), **masks}
        save_file(vertices, building / "vertices.safetensors")
        classes = arrays.y.shape[1] if arrays.y.dim() == 2 else int(arrays.y.max()) + 1
        write_json_atomic(
            building / "graph.json",
            {
                "schema": _SCHEMA,
                "ptr": [int(v) for v in ptr],
                "num_features": int(arrays.x.shape[1]),
                "num_classes": classes,
                "num_edges": base.num_edges,
                "dtype": config.dtype,
                "partition": dict(partition_info),
                "topologies": topologies,
            },
        )
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    except OSError as e:
        shutil.rmtree(building, ignore_errors=True)
        raise StorageError(
            f"could not write the prepared graph to {folder}: {e}. It needs about "
            f"{arrays.x.numel() * dtype.itemsize + 40 * arrays.edge_index.shape[1]} bytes in a "
            "writable folder"
        ) from e
    return PreparedGraph(folder)


def _write_topology(
    folder: Path, index: int, kind: TopologyKind, base: Csr, ptr: Sequence[int], dtype: torch.dtype
) -> dict[str, Any]:
    csr = prepare_topology(kind, base, dtype)
    cols, edges, sources = [], [], []
    with (
        (folder / f"topology-{index}.bin").open("wb") as forward,
        (folder / f"transpose-{index}.bin").open("wb") as transpose,
    ):
        for part in range(len(ptr) - 1):
            block = cut_blocks(csr, ptr, part)
            cols.append(block.csr.num_cols)
            edges.append(block.csr.num_edges)
            sources.append([list(s) for s in block.sources])
            forward.write(_record(_forward_arrays(block)))
            transpose.write(_record(_transpose_arrays(block)))
    return {
        "kind": kind,
        "weighted": csr.values is not None,
        "cols": cols,
        "edges": edges,
        "sources": sources,
    }


def _record(arrays: Sequence[Tensor]) -> bytes:
    offsets, end = record_layout([(a.numel(), a.element_size()) for a in arrays])
    out = np.zeros(round_up(end, PAGE), np.uint8)
    for o, a in zip(offsets, arrays, strict=True):
        raw = a.contiguous().numpy().view(np.uint8)
        out[o : o + raw.size] = raw
    return out.tobytes()


def _write_features(path: Path, x: Tensor, perm: Tensor, ptr: Sequence[int], dtype: torch.dtype) -> None:
    with path.open("wb") as file:
        for start, stop in itertools.pairwise(ptr):
            rows = x[perm[start:stop].long()].to(dtype).contiguous().numpy()
            file.write(rows.data)
            file.write(bytes(-rows.nbytes % PAGE))
        if file.tell() == 0:
            file.write(bytes(PAGE))
