"""
Native core of Shoestring: I/O engine, partitioners, sparse kernels, accelerator core.
"""

from shoestring.native._core import (
    dram as dram,
    io as io,
    partition as partition,
    sim as sim,
    sparse as sparse
)
