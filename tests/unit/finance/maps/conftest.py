"""A small market, and options small enough to train in a fraction of a second."""

import numpy as np
import pandas as pd
import pytest

from shoestring.finance.maps import TrainingConfig
from shoestring.finance.market.panel import PricePanel


def make_panel(dates: int = 400, companies: int = 8, seed: int = 0) -> PricePanel:
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (dates, companies)), axis=0))
    index = pd.bdate_range("2000-01-03", periods=dates)
    return PricePanel.from_frame(
        pd.DataFrame(close, index=index, columns=[f"C{i}" for i in range(companies)])
    )


@pytest.fixture
def panel() -> PricePanel:
    return make_panel()


@pytest.fixture
def training() -> TrainingConfig:
    return TrainingConfig(
        updates=12,
        batch_size=64,
        collect=20,
        buffer_size=256,
        target_every=5,
        check_every=4,
        patience=9,
        epsilon_decay=0.999,
    )
