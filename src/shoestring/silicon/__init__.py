"""Accelerator models of sparse graph networks: caches, DRAM and systolic arrays on one native timing core."""
