"""The ledger adds up, by link, direction, layer and what."""

from shoestring.storage import Ledger


def filled() -> Ledger:
    ledger = Ledger()
    ledger.add("host-storage", "load", layer=0, what="act", num_bytes=4096)
    ledger.add("host-storage", "load", layer=0, what="act", num_bytes=8192)
    ledger.add("device-storage", "store", layer=1, what="act", num_bytes=100, requests=3)
    ledger.add("device-host", "load", layer=1, what="gather", num_bytes=7)
    return ledger


def test_rows_add_up_and_come_in_order() -> None:
    rows = [(r.link, r.direction, r.layer, r.what, r.num_bytes, r.requests) for r in filled().rows()]
    assert rows == [
        ("device-host", "load", 1, "gather", 7, 1),
        ("host-storage", "load", 0, "act", 12288, 2),
        ("device-storage", "store", 1, "act", 100, 3),
    ]


def test_totals_take_any_part_of_the_key() -> None:
    ledger = filled()
    assert ledger.total() == 12395
    assert ledger.total(layer=1) == 107
    assert ledger.total(what="act") == 12388
    assert ledger.storage_read_bytes == 12288
    assert ledger.storage_write_bytes == 100
    assert ledger.by_link()["device-host"] == {"load": 7, "store": 0}


def test_the_difference_of_two_states_is_what_was_added_between() -> None:
    ledger = filled()
    before = ledger.copy()
    ledger.add("host-storage", "load", layer=0, what="act", num_bytes=1)
    ledger.hit_bytes += 30
    ledger.miss_bytes += 10
    since = ledger.since(before)
    assert [(r.layer, r.num_bytes, r.requests) for r in since.rows()] == [(0, 1, 1)]
    assert since.hit_rate == 0.75
    assert before.total() == 12395


def test_without_demands_the_hit_rate_is_zero() -> None:
    assert Ledger().hit_rate == 0.0
