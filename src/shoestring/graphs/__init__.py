"""Graphs larger than memory or one server: PyG's layers on blocks, partitioners, GriNNder, GraNNDis."""
