"""Ranks and servers: process groups, local launch, counted messages, halo exchange, shaped links."""

from shoestring.parallel.exchange import HaloPattern, StaleHalo, exchange, negotiate, sampled_exchange
from shoestring.parallel.groups import GroupName, Groups, choose_backend, connect
from shoestring.parallel.launch import LinkShape, Rank, RankError, RankResult, launch
from shoestring.parallel.netns import namespaces, why_no_namespaces
from shoestring.parallel.topology import Topology
from shoestring.parallel.transport import Traffic, Transport

__all__ = [
    "GroupName",
    "Groups",
    "HaloPattern",
    "LinkShape",
    "Rank",
    "RankError",
    "RankResult",
    "StaleHalo",
    "Topology",
    "Traffic",
    "Transport",
    "choose_backend",
    "connect",
    "exchange",
    "launch",
    "namespaces",
    "negotiate",
    "sampled_exchange",
    "why_no_namespaces",
]
