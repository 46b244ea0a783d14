"""The plain baseline: whatever autograd saves in the forward pass goes through the host to storage, and back.

This is offloading without the method: gathered inputs and all intermediates of every (layer, partition) are
written and read again, nothing is computed twice.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge, saved_tensors_hooks

from shoestring.graphs.csr import Block
from shoestring.graphs.grinnder._passes import Passes
from shoestring.graphs.grinnder._tiers import Staging
from shoestring.graphs.models import DropoutStream
from shoestring.native.io import File
from shoestring.storage import Key, round_up

__all__ = ["PlainPasses"]


class _Entry(torch.autograd.Function):
    """Identity on the gathered inputs that hands their gradient over and keeps no reference to them."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, gathered: Tensor, box: list[Tensor]) -> Tensor:
        del anchor
        ctx.box = box
        return gathered.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        ctx.box.append(grads[0])
        return grads[0].new_zeros(0), None, None


@dataclass(slots=True)
class _Graph:
    """The autograd graph of one (layer, partition); its saved tensors are on storage."""

    output: GradientEdge
    anchor: Tensor
    box: list[Tensor]


@dataclass(frozen=True, slots=True)
class _Saved:
    key: Key
    offset: int
    nbytes: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class PlainPasses(Passes):
    """Passes that keep every autograd graph and offload what it saved."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._graphs: dict[Key, _Graph] = {}
        self._saved_files: dict[Key, tuple[File, int]] = {}
        self._packing: list[tuple[int, Tensor]] = []

    def _compute(
        self, layer: int, part: int, gathered: Tensor, block: Block, dropout: DropoutStream | None
    ) -> Tensor:
        if not self.schedule.training:
            return super()._compute(layer, part, gathered, block, dropout)
        key = Key("saved", layer, part)
        anchor = torch.zeros(0, requires_grad=True)
        box: list[Tensor] = []
        kept = self._kept_storages(block)
        end = 0

        def pack(tensor: Tensor) -> Tensor | _Saved:
            nonlocal end
            if tensor.untyped_storage().data_ptr() in kept or tensor.numel() == 0:
                return tensor
            saved = _Saved(
                key, end, tensor.numel() * tensor.element_size(), tuple(tensor.shape), tensor.dtype
            )
            self._packing.append((end, tensor.detach().contiguous()))
            end += round_up(saved.nbytes)
            return saved

        with torch.enable_grad(), saved_tensors_hooks(pack, self._unpack):
            inputs = cast("Tensor", _Entry.apply(anchor, gathered, box))  # type: ignore[no-untyped-call]
            out = self._layer(layer, part, inputs, block, dropout)
        self._graphs[key] = _Graph(get_gradient_edge(out), anchor, box)
        self._write_saved(key, end)
        return out.detach()

    def _backward(self, layer: int, dropout: DropoutStream | None) -> float:
        del dropout
        total = 0.0
        index = self._kind_index[layer - 1]
        for step, j in self._targets("backward", layer):
            self.schedule.start("backward", layer, step)
            with self._working(layer, j):
                boundary = self.topology.get(index, j, transpose=True)[1]
                grad_out, loss = self._output_gradient(layer, j)
                graph = self._graphs.pop(Key("saved", layer, j))
                wanted = [*self._parameters, graph.anchor]
                grads = torch.autograd.grad((graph.output,), wanted, (grad_out,), allow_unused=True)
                total += loss
                self._accumulate(grads[:-1])
                if layer > 1:
                    self._scatter(layer, j, graph.box.pop(), boundary)
            if layer < self.layers.num_layers:
                self.cache.drop(Key("grad", layer, j))
        self._end_pass()
        return total

    def close(self) -> None:
        """Free what the passes hold."""
        self._graphs.clear()
        for file, _ in self._saved_files.values():
            file.close()
        self._saved_files.clear()
        super().close()

    def _kept_storages(self, block: Block) -> set[int]:
        """Addresses of what is not offloaded: parameters and topology."""
        tensors: list[Tensor | None] = [
            *self._parameters,
            block.csr.indptr,
            block.csr.indices,
            block.csr.values,
        ]
        return {t.untyped_storage().data_ptr() for t in tensors if t is not None}

    def _write_saved(self, key: Key, nbytes: int) -> None:
        """Write the packed tensors of one (layer, partition) behind each other."""
        packed, self._packing = self._packing, []
        if not nbytes:
            return
        file, size = self._saved_files.get(key, (None, 0))
        engine = self.tiers.engine
        if file is None or size < nbytes:
            if file is not None:
                file.close()
            path = self.tiers.scratch.folder / f"saved-{key.layer}-{key.part}.bin"
            file = engine.open(path, mode="create", size_bytes=nbytes)
            self._saved_files[key] = (file, nbytes)
        self.cache.make_room(nbytes, f"saved tensors of {key}")
        staging = Staging(engine, self.tiers.host, f"saved tensors of {key}", nbytes)
        for offset, tensor in packed:
            raw = tensor.view(-1).view(torch.uint8)
            staging.data[offset : offset + raw.numel()].copy_(raw)
        engine.write(file, 0, staging.buffer, nbytes).result()
        staging.free()
        self._count(key, "store", nbytes)

    def _unpack(self, saved: Tensor | _Saved) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        self.cache.make_room(round_up(saved.nbytes), "a saved tensor")
        staging = Staging(self.tiers.engine, self.tiers.host, "a saved tensor", saved.nbytes)
        file = self._saved_files[saved.key][0]
        self.tiers.engine.read(file, saved.offset, staging.buffer, saved.nbytes).result()
        out = (
            staging.data[: saved.nbytes]
            .view(saved.dtype)
            .view(saved.shape)
            .to(self.tiers.torch_device, copy=True)
        )
        staging.free()
        self._count(saved.key, "load", round_up(saved.nbytes))
        return out

    def _count(self, key: Key, direction: Any, nbytes: int) -> None:
        for link in ("device-host", "host-storage"):
            self.tiers.ledger.add(
                cast("Any", link), direction, layer=key.layer, what="saved tensors", num_bytes=nbytes
            )
