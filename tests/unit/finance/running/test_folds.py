"""Which fit serves which date."""

import numpy as np
import pandas as pd

from shoestring.finance.running.folds import CHUNK, folds

SESSIONS = pd.bdate_range("2018-11-01", "2021-06-30")


def test_the_fit_in_force_is_the_latest_refit_date_whatever_the_start() -> None:
    whole = folds(SESSIONS, SESSIONS[::7], "BYS")
    late = folds(SESSIONS, SESSIONS[pd.Timestamp("2020-03-01") <= SESSIONS][::7], "BYS")
    by_date = {d: fold.fitted_on for fold in whole for d in fold.dates}
    assert by_date[SESSIONS[0]] is None
    assert {str(f.fitted_on.date()) for f in late if f.fitted_on is not None} == {"2020-01-01", "2021-01-01"}
    assert all(fold.fitted_on is None or (fold.fitted_on <= fold.dates).all() for fold in whole)


def test_folds_hold_every_date_once_in_order_and_are_short() -> None:
    made = folds(SESSIONS, SESSIONS, "BQS")
    assert pd.DatetimeIndex(np.concatenate([f.dates.to_numpy() for f in made])).equals(SESSIONS)
    assert all(len(f.dates) <= CHUNK and f.dates[0].year == f.dates[-1].year for f in made)


def test_no_dates_make_no_folds() -> None:
    assert folds(SESSIONS, SESSIONS[:0], "BYS") == []
