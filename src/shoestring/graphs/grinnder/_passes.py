"""Forward, loss and backward, one (layer, partition) at a time, over the three tiers.

Shapes: n rows of a partition, K its columns, D width.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from shoestring.graphs.csr import Block
from shoestring.graphs.grinnder._budgets import Placement
from shoestring.graphs.grinnder._models import Layers
from shoestring.graphs.grinnder._schedule import Schedule
from shoestring.graphs.grinnder._tiers import Staging, Tiers, TopologyFeed
from shoestring.graphs.grinnder.config import Mode
from shoestring.graphs.grinnder.functional import sum_loss
from shoestring.graphs.models import DropoutStream
from shoestring.storage import FIXED, PAGE, Entry, Key, PartitionCache, Reservation, round_up

__all__ = ["Passes"]

_PIECE = 64 * PAGE
"""Staging of a snapshot that is larger than the host budget, in bytes."""


class Passes:
    """Runs the passes of epochs; `loss_and_gradients` is one epoch without the optimiser's step.

    Parameters
    ----------
    tiers : Tiers
        Open tiers with the graph attached.
    layers : Layers
        The model; gradients are added to the ``grad`` of its parameters.
    mode : Mode
        What is kept for the backward pass, and where outputs go.
    placement : Placement
        Cache mode and residency.
    """

    def __init__(self, tiers: Tiers, layers: Layers, mode: Mode, placement: Placement) -> None:
        self.tiers = tiers
        self.layers = layers
        self.mode = mode
        self.placement = placement
        self.graph = tiers.graph
        self.config = tiers.config
        self.schedule = Schedule(self.graph, layers, self.config, mode)
        self._prediction = Schedule(self.graph, layers, self.config, mode, training=False)
        self.topology = TopologyFeed(tiers, resident=placement.topology_resident)
        self.cache = PartitionCache(
            tiers.files,
            tiers.host,
            policy=self.config.policy,
            next_use=self._next_use,
            now=lambda: self.schedule.now,
            whole_layers=placement.cache == "lru_layer" and self.config.policy == "lru",
        )
        self.epoch = 0
        self._dtype = self.graph.dtype
        self._parameters = [p for p in layers.model.parameters() if p.requires_grad]
        self._started: set[Key] = set()
        self._writing: list[Staging] = []
        self._kind_index = [self.graph.kinds.index(k) for k in layers.kinds]
        self._itemsize = self._dtype.itemsize
        self._create_files()

    # What leaves the device keeps its version: the epoch that made it.
    def _create_files(self) -> None:
        graph, widths = self.graph, self.layers.widths
        for layer in range(1, self.layers.num_layers + 1):
            rows = [graph.rows(j) * widths[layer] * self._itemsize for j in range(graph.num_parts)]
            self.tiers.files.create("act", layer, rows)
            if layer < self.layers.num_layers:
                self.tiers.files.create("grad", layer, rows)
            if self.mode in ("hongtu", "snapshot"):
                cols = graph.topology(self.layers.kinds[layer - 1]).cols
                sizes = [c * widths[layer - 1] * self._itemsize for c in cols]
                self.tiers.files.create("snapshot", layer, sizes)

    def loss_and_gradients(self, *, dropout: DropoutStream | None) -> float:
        """Run one epoch: mean training loss, gradients added to the parameters."""
        self.epoch += 1
        self._started.clear()
        last = self.layers.num_layers
        for direction, layer in self.schedule.passes:
            if direction == "forward":
                self._forward(layer, dropout)
            elif layer == last:
                loss = self._backward(layer, dropout)
            else:
                self._backward(layer, dropout)
        return loss

    def predict(self, consume: Callable[[int, Tensor], None]) -> None:
        """Run a forward pass without dropout and hand every partition's logits to `consume`."""
        self.epoch += 1
        training, self.schedule = self.schedule, self._prediction
        try:
            for _, layer in self.schedule.passes:
                self._forward(layer, None, consume=consume if layer == self.layers.num_layers else None)
        finally:
            self.schedule = training

    def close(self) -> None:
        """Free what the passes hold."""
        self._drain()
        self.cache.clear()
        self.topology.close()

    def _next_use(self, key: Key) -> int:
        return self.schedule.next_use(key)  # of the schedule at that time: training or prediction

    def version(self, layer: int) -> int:
        """Version of a layer's activations in this epoch."""
        return FIXED if layer == 0 else self.epoch

    def _targets(self, direction: str, layer: int) -> list[tuple[int, int]]:
        order = self.schedule.order(direction, layer)
        return [(step, j) for step, j in enumerate(order) if self.graph.rows(j)]

    def _forward(
        self, layer: int, dropout: DropoutStream | None, consume: Callable[[int, Tensor], None] | None = None
    ) -> None:
        snapshots = self._has_snapshots and self.schedule.training
        targets = self._targets("forward", layer)
        index = self._kind_index[layer - 1]
        for i, (step, j) in enumerate(targets):
            self.schedule.start("forward", layer, step)
            with self._working(layer, j):
                block, boundary = self.topology.get(index, j, transpose=False)
                gathered = self._gather(layer, j, boundary)
                self._look_ahead(layer, targets, i, transpose=False, regathers=True)
                if snapshots:
                    self._keep_snapshot(layer, j, gathered)
                out = self._compute(layer, j, gathered, block, dropout)
                del gathered, block, boundary
                if consume is None:
                    self._put_activation(layer, j, out)
                else:
                    consume(j, out)
            self.topology.release(index, j)
        self._end_pass()

    def _compute(
        self, layer: int, part: int, gathered: Tensor, block: Block, dropout: DropoutStream | None
    ) -> Tensor:
        """Compute a layer for one partition; nothing is kept for the backward pass."""
        with torch.no_grad():
            return self._layer(layer, part, gathered, block, dropout)

    def _layer(
        self, layer: int, part: int, gathered: Tensor, block: Block, dropout: DropoutStream | None
    ) -> Tensor:
        vertices = None if dropout is None else self._vertices(part)
        return self.layers.forward_layer(layer - 1, gathered, block, vertices=vertices, dropout=dropout)

    def _backward(self, layer: int, dropout: DropoutStream | None) -> float:
        targets = self._targets("backward", layer)
        index = self._kind_index[layer - 1]
        total = 0.0
        for i, (step, j) in enumerate(targets):
            self.schedule.start("backward", layer, step)
            with self._working(layer, j):
                block, boundary = self.topology.get(index, j, transpose=True)
                grad_out, loss = self._output_gradient(layer, j)
                regathers = not self._has_snapshots
                gathered = self._gather(layer, j, boundary) if regathers else self._load_snapshot(layer, j)
                self._look_ahead(layer, targets, i, transpose=True, regathers=regathers)
                gathered.requires_grad_(layer > 1)
                with torch.enable_grad():
                    out = self._layer(layer, j, gathered, block, dropout)
                    if grad_out is None:
                        out = self._loss(out, j)
                        loss = float(out.detach())
                wanted = [*self._parameters, gathered] if layer > 1 else self._parameters
                grads = torch.autograd.grad(out, wanted, grad_out, allow_unused=True)
                del out, grad_out, block
                total += loss
                self._accumulate(grads)
                if layer > 1:
                    self._scatter(layer, j, grads[-1], boundary)
            self.topology.release(index, j)
            if layer < self.layers.num_layers:
                self.cache.drop(Key("grad", layer, j))
        self._end_pass()
        return total

    def _working(self, layer: int, part: int) -> Reservation:
        sizes = self.graph.topology(self.layers.kinds[layer - 1])
        nbytes = self.layers.working_bytes(
            layer - 1, self.graph.rows(part), sizes.cols[part], sizes.edges[part], self._itemsize
        )
        return self.tiers.device.reserve(f"working memory of layer {layer}, partition {part}", nbytes)

    def _vertices(self, part: int) -> Tensor:
        return self.graph.perm[self.graph.ptr[part] : self.graph.ptr[part + 1]].long()

    def _loss(self, logits: Tensor, part: int) -> Tensor:
        rows = slice(self.graph.ptr[part], self.graph.ptr[part + 1])
        return sum_loss(logits, self.graph.y[rows], self.graph.train_mask[rows]) / self.graph.num_train

    def _accumulate(self, grads: Sequence[Tensor | None]) -> None:
        for p, g in zip(self._parameters, grads, strict=False):
            if g is not None:
                p.grad = g if p.grad is None else p.grad.add_(g)

    # ---- gather ----

    def _sources(self, layer: int, part: int) -> list[tuple[int, int, int]]:
        """(owner, first boundary row, number) of a target's sources, itself among them, cached ones first.

        What is cached must be used before a miss evicts it, or LRU would always evict what comes next.
        """
        start = 0
        out = [(part, 0, 0)]
        for q, count in self.schedule.sources[layer - 1][part]:
            out.append((q, start, count))
            start += count
        out.sort(key=lambda s: Key("act", layer - 1, s[0]) not in self.cache)
        return out

    def _gather(self, layer: int, part: int, boundary: Tensor) -> Tensor:
        """Collect the inputs of a target, one source partition at a time: own rows, then the boundary."""
        rows, width = self.graph.rows(part), self.layers.widths[layer - 1]
        out = torch.empty(rows + boundary.numel(), width, dtype=self._dtype)
        sources = self._sources(layer, part)
        needed = self.schedule.needed_now
        needed.update(Key("act", layer - 1, q) for q, _, _ in sources)
        for q, start, count in sources:
            if q == part:
                self._take(layer, q, out[:rows], None)
            else:
                self._take(
                    layer, q, out[rows + start : rows + start + count], boundary[start : start + count]
                )
        needed.clear()
        self.tiers.ledger.add(
            "device-host", "load", layer=layer - 1, what="gather", num_bytes=out.numel() * self._itemsize
        )
        return out if self.tiers.emulated else out.to(self.tiers.torch_device)

    def _take(self, layer: int, source: int, out: Tensor, index: Tensor | None) -> None:
        """Copy rows of one source partition into `out`."""
        key, version = Key("act", layer - 1, source), self.version(layer - 1)
        width = self.layers.widths[layer - 1]
        self.schedule.needed_now.discard(key)
        if index is not None and key not in self.cache and self._take_pages(key, out, index, version):
            return
        entry = self.cache.get(key, version=version, what="act")
        rows = entry.rows(width, self._dtype)
        if index is None:
            out.copy_(rows)
        else:
            torch.index_select(rows, 0, index, out=out)
        self.cache.unpin(entry)
        if self.mode == "regather" and not entry.dirty:
            self.cache.drop(key)

    def _take_pages(self, key: Key, out: Tensor, index: Tensor, version: int) -> bool:
        """Read only the pages that hold the rows wanted, if they are less than half of the partition."""
        nbytes = self.tiers.files.nbytes(key)
        if not self.config.hybrid or self.mode == "regather" or self.tiers.host.free_bytes >= nbytes:
            return False
        row_bytes = out.shape[1] * self._itemsize
        first = index.numpy().astype(np.int64) * row_bytes
        if (
            min(len(first) * (1 + (row_bytes - 1) // PAGE) * PAGE, nbytes) >= nbytes // 2
            and nbytes // PAGE < 2
        ):
            return False
        spans = [first // PAGE + k for k in range(2 + (row_bytes - 1) // PAGE)]
        last = (first + row_bytes - 1) // PAGE
        pages = np.unique(np.concatenate([np.minimum(s, last) for s in spans]))
        if 2 * len(pages) * PAGE >= nbytes:
            return False
        self.cache.make_room(len(pages) * PAGE, f"pages of {key}")
        staging = Staging(self.tiers.engine, self.tiers.host, f"pages of {key}", len(pages) * PAGE)
        self.tiers.files.read_pages(
            key, pages, staging.buffer, version=version, link="host-storage", what="act pages"
        ).result()
        self.tiers.ledger.misses += 1
        self.tiers.ledger.miss_bytes += len(pages) * PAGE
        place = np.searchsorted(pages, first // PAGE) * PAGE + first % PAGE
        if row_bytes % self._itemsize == 0 and PAGE % row_bytes == 0:
            rows = staging.data.view(self._dtype).view(-1, out.shape[1])
            torch.index_select(rows, 0, torch.from_numpy(place // row_bytes), out=out)
        else:
            values = torch.from_numpy(place // self._itemsize)[:, None] + torch.arange(out.shape[1])
            torch.index_select(staging.data.view(self._dtype), 0, values.view(-1), out=out.view(-1))
        staging.free()
        return True

    def _look_ahead(
        self, layer: int, targets: list[tuple[int, int]], i: int, *, transpose: bool, regathers: bool
    ) -> None:
        """Start the reads of the next target while this one computes."""
        if not self.config.prefetch or i + 1 >= len(targets):
            return
        nxt = targets[i + 1][1]
        self.topology.fetch(self._kind_index[layer - 1], nxt, transpose=transpose)
        if not regathers or self.mode == "regather":
            return
        spare = self._spare_bytes(layer)
        for q, _, _ in self._sources(layer, nxt):
            key = Key("act", layer - 1, q)
            if not self.cache.prefetch(key, version=self.version(layer - 1), what="act", spare_bytes=spare):
                break

    def _spare_bytes(self, layer: int) -> int:
        """Room that a prefetch must leave for what the step itself still puts into host memory."""
        width = max(self.layers.widths[layer - 1], self.layers.widths[layer])
        return 2 * max(self.graph.rows(j) for j in range(self.graph.num_parts)) * width * self._itemsize

    # ---- what leaves the device ----

    @property
    def _bypass(self) -> bool:
        return self.mode in ("grinnder", "snapshot") and self.placement.cache != "lru_layer"

    def _put_activation(self, layer: int, part: int, out: Tensor) -> None:
        """Bring a layer's output from the device to storage, or to the host cache."""
        key = Key("act", layer, part)
        nbytes = out.numel() * self._itemsize
        if self._bypass:
            self._write_from_device(key, out, what="act")
            return
        entry = self.cache.create(key, version=self.epoch)
        entry.rows(out.shape[1], self._dtype).copy_(out)
        self.tiers.ledger.add("device-host", "store", layer=layer, what="act", num_bytes=nbytes)
        self.cache.unpin(entry)
        if self.mode == "regather":
            self.cache.flush_one(key)

    def _write_from_device(self, key: Key, data: Tensor, what: str) -> None:
        """Write a device tensor to storage past the host; at most two writes are under way."""
        while len(self._writing) > 1:
            self._writing.pop(0).free()
        staging = Staging(
            self.tiers.engine, self.tiers.device, f"write-back of {key}", data.numel() * self._itemsize
        )
        staging.data[: data.numel() * self._itemsize].view(self._dtype).view(data.shape).copy_(data)
        staging.pending = self.tiers.files.write(
            key, staging.buffer, version=self.epoch, link="device-storage", what=what
        )
        self._writing.append(staging)

    def _drain(self) -> None:
        while self._writing:
            self._writing.pop(0).free()

    @property
    def _has_snapshots(self) -> bool:
        return self.mode in ("hongtu", "snapshot")

    def _keep_snapshot(self, layer: int, part: int, gathered: Tensor) -> None:
        key = Key("snapshot", layer, part)
        if self.mode == "snapshot":
            self._write_from_device(key, gathered, what="snapshot")
            return
        self.tiers.ledger.add(
            "device-host", "store", layer=layer, what="snapshot", num_bytes=gathered.numel() * self._itemsize
        )
        if self._too_large(key):
            self._piecewise(key, gathered, store=True)
            return
        entry = self.cache.create(key, version=self.epoch)
        entry.rows(gathered.shape[1], self._dtype).copy_(gathered)
        self.cache.unpin(entry)

    def _load_snapshot(self, layer: int, part: int) -> Tensor:
        key, width = Key("snapshot", layer, part), self.layers.widths[layer - 1]
        nbytes = self.tiers.files.nbytes(key)
        if self.mode == "snapshot":
            staging = Staging(self.tiers.engine, self.tiers.device, f"{key}", nbytes)
            self.tiers.files.read(
                key, staging.buffer, version=self.epoch, link="device-storage", what="snapshot"
            ).result()
            out = (
                staging.data[:nbytes].view(self._dtype).view(-1, width).to(self.tiers.torch_device, copy=True)
            )
            staging.free()
            return out
        self.tiers.ledger.add("device-host", "load", layer=layer, what="snapshot", num_bytes=nbytes)
        if self._too_large(key):
            out = torch.empty(nbytes // self._itemsize, dtype=self._dtype).view(-1, width)
            self._piecewise(key, out, store=False)
            return out.to(self.tiers.torch_device)
        entry = self.cache.get(key, version=self.epoch, what="snapshot")
        out = entry.rows(width, self._dtype).to(self.tiers.torch_device, copy=True)
        self.cache.unpin(entry)
        self.cache.drop(key)
        return out

    def _too_large(self, key: Key) -> bool:
        """Whether a snapshot is larger than what the host can ever hold of it."""
        resident = self.graph.sizes.resident_bytes
        return self.tiers.files.nbytes(key) > max(0, self.config.host_bytes - resident) // 2

    def _piecewise(self, key: Key, data: Tensor, *, store: bool) -> None:
        """Move a snapshot between device and storage through one staging buffer of the host."""
        step = _PIECE
        raw = data.detach().cpu().contiguous().view(-1).view(torch.uint8)
        step = min(step, round_up(raw.numel()))
        self.cache.make_room(step, f"staging of {key}")
        staging = Staging(self.tiers.engine, self.tiers.host, f"staging of {key}", step)
        files = self.tiers.files
        for start in range(0, raw.numel(), step):
            size = min(step, raw.numel() - start)
            if store:
                staging.data[:size].copy_(raw[start : start + size])
                files.write_piece(
                    key, start, staging.buffer, size, version=self.epoch, link="host-storage", what="snapshot"
                ).result()
            else:
                files.read_piece(
                    key, start, staging.buffer, size, version=self.epoch, link="host-storage", what="snapshot"
                ).result()
                raw[start : start + size].copy_(staging.data[:size])
        staging.free()

    # ---- gradients ----

    def _output_gradient(self, layer: int, part: int) -> tuple[Tensor | None, float]:
        """Return the gradient of a layer's output and the last layer's loss; None if that is taken later."""
        width = self.layers.widths[layer]
        if layer < self.layers.num_layers:
            entry = self._gradient_entry(layer, part)
            out = entry.rows(width, self._dtype).to(self.tiers.torch_device, copy=True)
            self.tiers.ledger.add(
                "device-host", "load", layer=layer, what="grad", num_bytes=out.numel() * self._itemsize
            )
            self.cache.unpin(entry)
            return out, 0.0
        if self.schedule.fused:
            return None, 0.0
        logits = self._load_output(layer, part).requires_grad_()
        loss = self._loss(logits, part)
        (grad,) = torch.autograd.grad(loss, [logits])
        return grad, float(loss.detach())

    def _load_output(self, layer: int, part: int) -> Tensor:
        """Bring A_j of the last layer back to the device."""
        key, width = Key("act", layer, part), self.layers.widths[layer]
        nbytes = self.tiers.files.nbytes(key)
        if key in self.cache or not self._bypass:
            entry = self.cache.get(key, version=self.epoch, what="act")
            out = entry.rows(width, self._dtype).to(self.tiers.torch_device, copy=True)
            self.cache.unpin(entry)
            self.tiers.ledger.add("device-host", "load", layer=layer, what="act", num_bytes=nbytes)
            return out
        self._drain()
        staging = Staging(self.tiers.engine, self.tiers.device, str(key), nbytes)
        self.tiers.files.read(
            key, staging.buffer, version=self.epoch, link="device-storage", what="act"
        ).result()
        out = staging.data[:nbytes].view(self._dtype).view(-1, width).to(self.tiers.torch_device, copy=True)
        staging.free()
        return out

    def _gradient_entry(self, layer: int, part: int) -> Entry:
        """Return the gradient buffer of a partition, pinned: zeros at its first use in the epoch."""
        key = Key("grad", layer, part)
        if key in self._started:
            return self.cache.get(key, version=self.epoch, what="grad")
        self._started.add(key)
        entry = self.cache.create(key, version=self.epoch)
        entry.data.zero_()
        return entry

    def _scatter(self, layer: int, part: int, grad: Tensor, boundary: Tensor) -> None:
        """Add the gradient of the gathered inputs to the gradient buffers of their owners."""
        rows, width = self.graph.rows(part), self.layers.widths[layer - 1]
        host = grad if self.tiers.emulated else grad.cpu()
        self.tiers.ledger.add(
            "device-host", "store", layer=layer - 1, what="scatter", num_bytes=grad.numel() * self._itemsize
        )
        sources = self._sources(layer, part)
        sources.sort(key=lambda s: Key("grad", layer - 1, s[0]) not in self.cache)
        for q, start, count in sources:
            entry = self._gradient_entry(layer - 1, q)
            into = entry.rows(width, self._dtype)
            if q == part:
                into.add_(host[:rows])
            else:
                into.index_add_(0, boundary[start : start + count], host[rows + start : rows + start + count])
            entry.dirty = True
            self.cache.unpin(entry)

    def _end_pass(self) -> None:
        """Finish the writes of a pass; forget what the cache mode does not keep."""
        self._drain()
        self.cache.drop_dead()
        if self.placement.cache == "one_layer":
            for kind, held in self.cache.groups():
                self.cache.flush(kind, held, keep=False)
