"""Accelerator models: sparse graph networks, their caches, DRAM and systolic arrays, on one native timing core."""
