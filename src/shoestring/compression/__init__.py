"""Few bits, no data: quantisation of trained networks."""
