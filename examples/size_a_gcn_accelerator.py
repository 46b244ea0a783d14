"""Size a GCN accelerator for a network that was really trained: which format, cache and schedule?

A residual GCN of 14 layers is trained on a synthetic block model, and a timing model of an accelerator runs
the zeros of its features: dense rows, CSR and SGCN's bitmap format (BEICSR), each with its best slices and
tiles on the same machine; then caches, engines and element types. Every figure is modelled.
"""

import numpy as np

from shoestring.silicon.sgcn import Arch, Config, Grid, TrainingConfig, Workload, compare, encode, simulate

workload = Workload.train_residual(
    "sbm:n=2048,deg=16,low=64,high=256,classes=4",
    layers=14,
    width=128,
    training=TrainingConfig(epochs=60, batch_nodes=768),
)
print(f"trained: {100 * workload.info['test_accuracy']:.0f} % right on unseen vertices (synthetic graph)")
print("zeros by layer (%):", " ".join(f"{100 * z:.0f}" for z in workload.zeros))

arch = Arch.from_yaml("sgcn_hbm2").replaced(cache__bytes=64 << 10)
rows = compare(
    workload,
    arch,
    ["gcnax", "csr", "beicsr", "beicsr-sliced", "sgcn"],
    Grid(slices=(0, 64, 32, 16), tiles=(1, 4), layers=1),
)
print("\nsystem         slice tiles   cycles  DRAM (MB)  energy (mJ)")
for row in rows.frame.to_dict("records"):
    print(
        f"{row['system']:14} {row['slice'] or 'rows':>5} {row['tiles']:5} {row['cycles']:8,} "
        f"{row['dram_bytes'] / 1e6:10.1f} {row['energy_pj'] / 1e9:12.2f}"
    )
print(f"SGCN over tuned dense slices: {rows.speedup('sgcn', ['gcnax']):.2f} times fewer cycles")

print("\ncache (KB)  engines   cycles  hits (%)")
best = rows.reports["sgcn"].config
for kilobytes in (16, 64, 256):
    for engines in (4, 8, 16):
        machine = arch.replaced(cache__bytes=kilobytes << 10, engines=engines)
        report = simulate(workload, machine, best)
        print(f"{kilobytes:10} {engines:8} {report.cycles:8,} {100 * report.hit_rate:9.1f}")

print("\nelement    DRAM (MB)")
for element in ("float32", "float16", "int8"):
    report = simulate(workload, arch, Config(slice=best.slice, tiles=best.tiles, element=element))
    print(f"{element:8} {report.dram_bytes / 1e6:10.1f}")

# The format itself, on values: what it holds, and a product that reads it.
rng = np.random.default_rng(0)
values = rng.standard_normal((workload.topology.num_nodes, 128)).astype(np.float32)
features = values * workload.inputs[7].mask()
packed = encode(features, slice=64)
assert np.array_equal(packed.decode(), features)
sums = packed.matvec(workload.topology.weights, workload.topology.indptr, workload.topology.indices)
assert np.allclose(sums, workload.topology.to_scipy() @ features, atol=1e-5)
print(f"\nlayer 7 in BEICSR: {packed.lines.sum(axis=0).mean():.2f} lines a row; dense: {128 * 4 // 64}")
