"""Partitioners of large graphs: random, Spinner, switching-aware and METIS, usable alone."""

from shoestring.graphs.partition._methods import Init, Method, partition
from shoestring.graphs.partition._partition import Partition

__all__ = ["Init", "Method", "Partition", "partition"]
