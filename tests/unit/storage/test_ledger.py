"""The ledger adds up, filters and takes differences."""

from shoestring.storage import Ledger


def filled() -> Ledger:
    ledger = Ledger()
    ledger.add("host-storage", "load", layer=0, what="act", num_bytes=100)
    ledger.add("host-storage", "load", layer=0, what="act", num_bytes=50, requests=3)
    ledger.add("device-storage", "store", layer=1, what="act", num_bytes=7)
    ledger.add("device-host", "load", layer=1, what="gather", num_bytes=11)
    return ledger


def test_totals_by_any_column() -> None:
    ledger = filled()
    assert ledger.total() == 168
    assert ledger.total("host-storage") == 150
    assert ledger.total(layer=1) == 18
    assert ledger.total(what="act", direction="store") == 7
    assert (ledger.storage_read_bytes, ledger.storage_write_bytes) == (150, 7)
    assert ledger.by_link()["host-storage"] == {"load": 150, "store": 0}
    assert [r.requests for r in ledger.rows()] == [1, 4, 1]


def test_a_difference_holds_only_what_came_after() -> None:
    ledger = filled()
    ledger.hit_bytes, ledger.miss_bytes = 30, 10
    before = ledger.copy()
    ledger.add("host-storage", "load", layer=0, what="act", num_bytes=5)
    ledger.hit_bytes += 60
    after = ledger.since(before)
    assert after.total() == 5
    assert (after.hit_rate, before.hit_rate) == (1.0, 0.75)
    assert Ledger().hit_rate == 0.0
