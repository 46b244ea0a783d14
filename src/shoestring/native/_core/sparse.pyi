"""Sparse graph kernels."""
