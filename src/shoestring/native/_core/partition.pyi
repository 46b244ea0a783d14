"""Graph partitioners."""
