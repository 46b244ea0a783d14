"""Slice-and-Forge: feature slices whose rounds tune their own tiles (PACT 2022)."""

from shoestring.silicon.slice_and_forge._simulate import RoundRow, Simulation, simulate
from shoestring.silicon.slice_and_forge._sweep import Point, Sweep, sweep
from shoestring.silicon.slice_and_forge._tuner import Proposal, Setting, Tuner
from shoestring.silicon.slice_and_forge.config import MorphingConfig, SnfConfig

__all__ = [
    "MorphingConfig",
    "Point",
    "Proposal",
    "RoundRow",
    "Setting",
    "Simulation",
    "SnfConfig",
    "Sweep",
    "Tuner",
    "simulate",
    "sweep",
]
