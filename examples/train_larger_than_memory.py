"""Train a graph network whose activations do not fit in memory: PyG in, PyG out, storage as the last tier.

One hidden layer of this synthetic graph takes 20 MB, and a full-batch training keeps several such tensors a
layer; here the "device" gets 32 MiB and the host 24 MiB. GriNNder cuts the graph into partitions, keeps in
memory what is used next, and leaves the rest on storage. Its gradients are those of the whole graph: the last
lines train with PyG alone and end at the same loss.
"""

from pathlib import Path

import torch
from torch_geometric.nn import GraphSAGE

from shoestring.data.graphs.generators import block_model
from shoestring.graphs import grinnder

EPOCHS, HIDDEN = 3, 128

data = block_model(40_000, 12, num_communities=16, num_features=64, seed=0)
print(f"{data.num_nodes:,} vertices, {data.num_edges:,} edges (synthetic), 3 layers of width {HIDDEN}")

torch.manual_seed(0)
classes = int(data.y.max()) + 1
model = GraphSAGE(data.num_features, HIDDEN, num_layers=3, out_channels=classes)
config = grinnder.Config(device_budget="32MiB", host_budget="24MiB", storage=Path("scratch"))

graph = grinnder.prepare(data, config, model)
print(f"{graph.num_parts} partitions; together they read {graph.alpha:.2f} times the vertices")

with grinnder.Trainer(model, graph, config) as trainer:
    result = trainer.fit(EPOCHS, lr=0.01, on_epoch=lambda e: print(f"epoch {e.epoch}: loss {e.loss:.4f}"))

ledger, mib = result.epochs[-1].ledger, 2**20
print(f"peak: device {result.peak_device_bytes / mib:.0f} MiB, host {result.peak_host_bytes / mib:.0f} MiB")
print(f"an epoch reads {ledger.storage_read_bytes / mib:.0f} MiB from storage", end=" ")
print(f"and writes {ledger.storage_write_bytes / mib:.0f} MiB")
print(f"the host cache held {100 * result.hit_rate:.0f} % of what was asked for")
print("accuracy:", ", ".join(f"{share:.1f} % {split}" for split, share in result.accuracy.items()))

# The same steps with PyG alone, the whole graph in memory.
torch.manual_seed(0)
peer = GraphSAGE(data.num_features, HIDDEN, num_layers=3, out_channels=classes)
optimizer = torch.optim.Adam(peer.parameters(), lr=0.01, weight_decay=5e-4)
for _ in range(EPOCHS):
    optimizer.zero_grad()
    logits = peer(data.x, data.edge_index)
    loss = torch.nn.functional.cross_entropy(logits[data.train_mask], data.y[data.train_mask])
    loss.backward()
    optimizer.step()
print(f"last loss {result.losses[-1]:.6f}, PyG full batch {loss.item():.6f}")
assert abs(result.losses[-1] - loss.item()) < 1e-4
