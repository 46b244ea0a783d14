"""Weights that can be: finite, of assets with a price, inside what the strategy declared."""

from typing import TYPE_CHECKING, Any

from shoestring.core.errors import DataError
from shoestring.finance.market.view import DataView
from shoestring.finance.strategies.declaration import StrategyInfo

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_weights"]

_TOLERANCE = 1e-9


def check_weights(weights: Any, info: StrategyInfo, data: DataView) -> "pd.Series[float]":
    """Return target weights over the whole universe, 0 where the strategy named none, or refuse them.

    Parameters
    ----------
    weights : Series
        What `on_rebalance` returned.
    info : StrategyInfo
        Says whether shorts are allowed and how large the gross sum may be.
    data : DataView
        The view at the date.

    Raises
    ------
    DataError
        For NaN or infinite weights, an asset that has no price or is named twice, a short without
        permission, or a gross sum above the limit.
    """
    import numpy as np
    import pandas as pd

    who = f"{info.name} {info.version} at {data.as_of.date()}"
    if not isinstance(weights, pd.Series):
        raise DataError(f"{who} returned a {type(weights).__name__}; return a Series of weights by asset")
    try:
        values = weights.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise DataError(f"{who} returned weights that are no numbers: {e}; return floats") from e
    names = [str(name) for name in weights.index]
    if len(set(names)) != len(names):
        raise DataError(f"{who} named an asset twice; return one weight an asset")
    if not np.isfinite(values).all():
        first = names[int(np.argmin(np.isfinite(values)))]
        raise DataError(f"{who} gave {first!r} a weight that is not finite; drop NaN scores before weighting")
    held = {name for name, value in zip(names, values, strict=True) if value != 0}
    if held - set(data.assets):
        raise DataError(
            f"{who} weighted {sorted(held - set(data.assets))[:3]}, which have no price there; "
            "choose from data.assets"
        )
    if info.long_only and (values < -_TOLERANCE).any():
        raise DataError(
            f"{who} gave {names[int(np.argmin(values))]!r} the weight {values.min():.6g}; "
            "shorts need @strategy(..., long_only=False)"
        )
    gross = float(np.abs(values).sum())
    if gross > info.max_gross * (1 + _TOLERANCE):
        raise DataError(
            f"{who} returned weights with gross sum {gross:.9g}, above max_gross={info.max_gross:g}; "
            "scale them down, or raise max_gross in @strategy"
        )
    by_name = dict(zip(names, (values + 0.0).tolist(), strict=True))  # + 0.0 turns -0.0 into 0.0
    return pd.Series(
        [by_name.get(name, 0.0) for name in data.universe], index=list(data.universe), dtype=float
    )
