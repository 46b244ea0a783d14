"""Graphs for every family: files to PyG's Data and back, and generators that say they are synthetic."""
