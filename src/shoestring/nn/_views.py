"""Models that call ``Tensor.view`` on images in channels-last layout."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["ViewsReshape"]


class ViewsReshape(TorchFunctionMode):
    """Inside this context ``x.view(shape)`` is ``x.reshape(shape)``.

    Values are the same. A view needs the strides of the default layout, which ``x.view(len(x), -1)`` in a
    user's model takes for granted and channels-last tensors do not have.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of torch."""
        del types
        if func is torch.Tensor.view and not any(isinstance(a, torch.dtype) for a in args):
            func = torch.Tensor.reshape
        return func(*args, **(kwargs or {}))
