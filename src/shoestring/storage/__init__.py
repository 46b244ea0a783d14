"""Tiered memory over the native I/O engine: budgets, partition files, caches, a ledger of bytes."""

from shoestring.storage.bandwidth import Bandwidth, measure_bandwidth
from shoestring.storage.budget import Budget, BudgetExceeded, Reservation, format_bytes, parse_bytes
from shoestring.storage.cache import DEAD, CachePolicy, Entry, PartitionCache
from shoestring.storage.files import FIXED, PAGE, Key, PartitionFiles, Transfer, round_up
from shoestring.storage.ledger import Direction, Ledger, LedgerRow, Link

__all__ = [
    "DEAD",
    "FIXED",
    "PAGE",
    "Bandwidth",
    "Budget",
    "BudgetExceeded",
    "CachePolicy",
    "Direction",
    "Entry",
    "Key",
    "Ledger",
    "LedgerRow",
    "Link",
    "PartitionCache",
    "PartitionFiles",
    "Reservation",
    "Transfer",
    "format_bytes",
    "measure_bandwidth",
    "parse_bytes",
    "round_up",
]
