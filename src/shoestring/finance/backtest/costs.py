"""What trading costs."""

from dataclasses import dataclass

from shoestring.core.errors import ConfigError

__all__ = ["Costs"]

BPS = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Costs in proportion to the value traded, bought or sold alike."""

    commission_bps: float = 0.0
    """Commission, in basis points (1/10000) of the traded value."""
    slippage_bps: float = 0.0
    """Half the spread plus impact, in basis points of the traded value."""

    def __post_init__(self) -> None:
        for name in ("commission_bps", "slippage_bps"):
            value = getattr(self, name)
            if not 0 <= value < 1000:
                raise ConfigError(f"{name}={value!r} is outside [0, 1000); give basis points: 5 is 0.05 %")

    @property
    def rate(self) -> float:
        """Cost of trading one unit of value."""
        return (self.commission_bps + self.slippage_bps) * BPS
