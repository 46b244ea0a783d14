"""What a hook of a strategy is told besides the data, and what its fit hands on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed
from shoestring.finance.market.view import DataView

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from shoestring.finance.records.stages import StageTables

__all__ = ["Context", "State"]

State = Mapping[str, Any]
"""What `fit` returns: names to NumPy arrays, torch tensors or JSON values. Stored as safetensors, never
pickled; what `on_rebalance` gets is what came back from there, with tensors as NumPy arrays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What a hook is told besides the data. It never says in which mode the strategy runs."""

    as_of: "pd.Timestamp"
    """Date of the decision; `data` ends here."""
    run_id: str = ""
    """Id of the run, for messages; a weight must not depend on it."""
    seed: int = 0
    """Seed of the run; take randomness from `rng`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The strategy's parameters."""
    state: State | None = None
    """What the latest `fit` returned; None if the strategy has no `fit`."""
    sessions_due: "pd.DatetimeIndex | None" = None
    """Dates of the schedule up to `as_of`, for training sets."""
    store: Any = None
    """The run's `Store`, or None."""
    previous: "pd.Series[float] | None" = None
    """Use `previous_weights`."""
    uses_previous: bool = False
    """Whether the strategy declared ``uses_previous=True``."""
    stages: "StageTables | None" = None
    """Use `cached`."""

    def cached(
        self, stage: str, part: Any, compute: "Callable[[], pd.Series[float]]", data: DataView
    ) -> "pd.Series[float]":
        """Return a Series by asset that only `part`, the state and the data at `as_of` decide.

        The run keeps it, so that another run which differs only in what comes later finds it.

        Parameters
        ----------
        stage : str
            What it is, e.g. ``"predict"``.
        part : dataclass instance
            What computes it: its code and its fields become the key.
        compute : callable
            Makes the Series; called when it is not there.
        data : DataView
            The view at `as_of`.

        Returns
        -------
        Series
            Over `data.universe`, NaN where `compute` gave nothing.
        """
        kept = None if self.stages is None else self.stages.get(stage, part, self.as_of)
        made = compute() if kept is None else kept
        made = made.reindex(list(data.universe)).astype(float)
        if self.stages is not None and kept is None:
            self.stages.put(stage, part, self.as_of, made)
        return made

    @property
    def previous_weights(self) -> "pd.Series[float]":
        """Target weights of the date before, empty at the first.

        Raises
        ------
        ConfigError
            If the strategy did not declare ``uses_previous=True``.
        """
        import pandas as pd

        if not self.uses_previous:
            raise ConfigError(
                "previous_weights were read by a strategy that does not declare them; "
                "write @strategy(..., uses_previous=True), so that live runs replay the path"
            )
        return pd.Series(dtype=float) if self.previous is None else self.previous.copy()

    def rng(self, *names: str | int) -> "np.random.Generator":
        """Return random numbers for this date and purpose, whatever dates ran before."""
        import numpy as np

        return np.random.default_rng(derive_seed(self.seed, self.as_of.isoformat(), *names))
