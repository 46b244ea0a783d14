"""One small synthetic market for all tests."""

import pytest
import torch

from shoestring.finance.etf_nn import MarketConfig, SyntheticMarket, synthetic_market

SMALL = MarketConfig(
    num_firms=96,
    num_sectors=4,
    num_quarters=20,
    num_thematic=5,
    thematic_quarters=6,
    names_per_theme=12,
    ic=0.3,
    file_every=5,
)


@pytest.fixture(scope="session")
def market() -> SyntheticMarket:
    torch.set_num_threads(1)
    return synthetic_market(SMALL, seed=1)
