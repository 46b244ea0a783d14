"""What a hook is told."""

import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.context import Context


def test_previous_weights_must_be_declared() -> None:
    context = Context(as_of=pd.Timestamp("2020-01-01"))
    with pytest.raises(ConfigError, match="uses_previous=True"):
        _ = context.previous_weights


def test_random_numbers_depend_on_seed_date_and_purpose_only() -> None:
    one = Context(as_of=pd.Timestamp("2020-01-02"), seed=3)
    assert (
        one.rng("a").random()
        == Context(as_of=pd.Timestamp("2020-01-02"), seed=3, run_id="x").rng("a").random()
    )
    others = [
        Context(as_of=pd.Timestamp("2020-01-03"), seed=3).rng("a").random(),
        Context(as_of=pd.Timestamp("2020-01-02"), seed=4).rng("a").random(),
        one.rng("b").random(),
    ]
    assert one.rng("a").random() not in others
