"""Native core of Shoestring: I/O engine, partitioners, sparse kernels."""

from shoestring.native._core import (
    io as io,
    partition as partition,
    sparse as sparse
)
