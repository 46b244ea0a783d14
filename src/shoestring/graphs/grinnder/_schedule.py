"""When each partition is used next: the access sequence of an epoch is known before it starts."""

from bisect import bisect_right
from collections.abc import Sequence

from shoestring.graphs.grinnder._models import Layers
from shoestring.graphs.grinnder._prepare import PreparedGraph
from shoestring.graphs.grinnder.config import Config, Mode
from shoestring.graphs.grinnder.functional import greedy_order
from shoestring.storage import DEAD, Key

__all__ = ["Schedule"]


class Schedule:
    """Passes of an epoch and, for every key, the positions at which it is used.

    Position ``pass_index * parts + i`` is step i of a pass. Passes: forward 1 .. L (without L when the last
    layer is fused), then backward L .. 1.
    """

    def __init__(
        self, graph: PreparedGraph, model: Layers, config: Config, mode: Mode, *, training: bool = True
    ) -> None:
        self.training = training
        self.num_layers = model.num_layers
        self.parts = graph.num_parts
        self.fused = config.fuse_last and mode in ("grinnder", "regather")
        self.sources: list[list[tuple[tuple[int, int], ...]]] = [
            list(graph.topology(kind).sources) for kind in model.kinds
        ]
        self._orders = [self._order(graph, config, layer) for layer in range(self.num_layers)]
        last = self.num_layers - 1 if self.fused and training else self.num_layers
        self.passes: list[tuple[str, int]] = [("forward", layer) for layer in range(1, last + 1)]
        if training:
            self.passes += [("backward", layer) for layer in range(self.num_layers, 0, -1)]
        self.length = len(self.passes) * self.parts
        self.now = 0
        self.needed_now: set[Key] = set()
        """Sources that the step under way has not gathered yet."""
        self._uses: dict[Key, list[int]] = {}
        self._fill(mode)

    def order(self, direction: str, layer: int) -> Sequence[int]:
        """Return the targets of a pass; a backward pass runs in reverse, over what is still cached."""
        order = self._orders[layer - 1]
        return order if direction == "forward" else order[::-1]

    def start(self, direction: str, layer: int, step: int) -> int:
        """Move to a step and return its position."""
        self.now = self.passes.index((direction, layer)) * self.parts + step
        return self.now

    def next_use(self, key: Key) -> int:
        """Position of the next use after now; now itself for a source that this step still needs."""
        if key in self.needed_now:
            return self.now
        uses = self._uses.get(key)
        if not uses:
            return DEAD
        i = bisect_right(uses, self.now)
        if i < len(uses):
            return uses[i]
        return uses[0] + self.length if key.layer == 0 and key.kind == "act" else DEAD

    def _order(self, graph: PreparedGraph, config: Config, layer: int) -> list[int]:
        if config.order == "natural":
            return list(range(self.parts))
        needs = [frozenset((j, *(q for q, _ in row))) for j, row in enumerate(self.sources[layer])]
        return greedy_order(needs, [graph.rows(j) for j in range(self.parts)])

    def _fill(self, mode: Mode) -> None:
        for index, (direction, layer) in enumerate(self.passes):
            for step, j in enumerate(self.order(direction, layer)):
                at = index * self.parts + step
                readers = [j, *(q for q, _ in self.sources[layer - 1][j])]
                regathers = direction == "forward" or mode in ("grinnder", "regather")
                for q in readers:
                    if regathers:
                        self._use("act", layer - 1, q, at)
                    if direction == "backward" and layer > 1:
                        self._use("grad", layer - 1, q, at)
                if mode == "hongtu" and self.training:
                    self._use("snapshot", layer, j, at)
                if direction == "backward":
                    kind = "act" if layer == self.num_layers else "grad"
                    if not (kind == "act" and self.fused):
                        self._use(kind, layer, j, at)

    def _use(self, kind: str, layer: int, part: int, at: int) -> None:
        self._uses.setdefault(Key(kind, layer, part), []).append(at)
