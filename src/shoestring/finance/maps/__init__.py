"""MAPS: multi-agent reinforcement-learning portfolio management (IJCAI 2020)."""

from shoestring.finance.maps._base import MapsBacktest
from shoestring.finance.maps._classifier import Classifier
from shoestring.finance.maps._estimator import MAPS
from shoestring.finance.maps._strategy import MapsStrategy
from shoestring.finance.maps.config import MapsConfig, NetworkConfig, PortfolioConfig, TrainingConfig

__all__ = [
    "MAPS",
    "Classifier",
    "MapsBacktest",
    "MapsConfig",
    "MapsStrategy",
    "NetworkConfig",
    "PortfolioConfig",
    "TrainingConfig",
]
