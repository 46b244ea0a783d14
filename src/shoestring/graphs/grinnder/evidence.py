"""Workloads, arms and claims of GriNNder's verification."""

from collections.abc import Mapping, Sequence
from typing import Any

from shoestring.evidence.model import (
    Arm,
    Claim,
    Compare,
    Metric,
    Plot,
    Preparation,
    Profile,
    Role,
    ScaledDown,
    Study,
    Within,
    Workload,
)

__all__ = ["study"]

TRAINING = "shoestring.graphs.grinnder._measure:measure_training"
PARTITION = "shoestring.graphs.grinnder._measure:measure_partition"
REFERENCE = "shoestring.graphs.grinnder._measure:prepare_reference"
SOURCES = ("core", "native", "storage", "data/graphs", "graphs", "graphs/grinnder")

PAPER: Mapping[str, Any] = {"policy": "lru", "hybrid": False, "fuse_last": False, "order": "natural"}
"""The paper's parts alone; what the arms called "ours" add is on by default."""

METRICS = (
    Metric(name="storage_mb", title="storage traffic an epoch", unit="MB", better="lower", digits=1),
    Metric(name="epoch_s", title="epoch", unit="s", better="lower"),
    Metric(name="peak_host_mb", title="peak host", unit="MB", better="lower", digits=1),
    Metric(name="peak_device_mb", title="peak device (emulated)", unit="MB", better="lower", digits=1),
    Metric(name="hit_rate", title="cache hits", unit="%", digits=1),
    Metric(name="gather_layers", title="activations read a pass", unit="D", better="lower"),
    Metric(name="device_host_mb", title="device-host", unit="MB", better="lower", digits=1),
    Metric(name="alpha", title="alpha", better="lower"),
    Metric(name="dependants", title="dependent partitions", better="lower", digits=1),
    Metric(name="balance", title="largest part / mean", better="lower"),
    Metric(name="partition_s", title="partitioning", unit="s", better="lower"),
    Metric(name="partition_mb", title="extra memory", unit="MB", better="lower", digits=1),
    Metric(name="formula_gap", title="off the formula", unit="%", better="lower", digits=1),
    Metric(name="proc_io_gap", title="ledger off /proc/self/io", unit="%", better="lower", digits=1),
    Metric(name="loss_gap", title="largest loss gap to PyG", better="lower", digits=7),
    Metric(name="accuracy", title="test accuracy", unit="%"),
    Metric(name="final_loss", title="last training loss", better="lower", digits=4),
)

EMULATED = ScaledDown(
    what="device", ours="a byte budget over RAM, emulated; no GPU", paper="RTX A5000, 24 GB, PCIe"
)


def study(profile: Profile) -> Study:
    """Return GriNNder's verification.

    Parameters
    ----------
    profile : str
        ``"quick"`` small graphs that are generated or ship; ``"full"`` the scaled-down experiments A to D of
        volumes, cache, partitioners and accuracy, on synthetic graphs and two real ones.

    Returns
    -------
    Study
        Workloads, arms, claims and plots.
    """
    if profile == "quick":
        workloads: tuple[Workload, ...] = (_volumes_quick(), _cache_quick(), _accuracy_quick())
        claims = (
            *_volume_claims("volumes", 1.8),
            *(c for c in _cache_claims("cache", ("quarter",)) if c.name != "cache-ours-bfs-quarter"),
            *_accuracy_claims("accuracy"),
        )
    else:
        workloads = (
            _volumes(3),
            _volumes(5),
            _cache("geometric"),
            _cache("block-model"),
            _real_volumes("twitch", "twitch_de.npz"),
            _real_volumes("tolokers", "tolokers.npz"),
            _partitioners("block-model"),
            _partitioners("geometric"),
            _accuracy("facebook-pages", "facebook_pages.npz"),
            _accuracy("twitch-de", "twitch_de.npz"),
        )
        claims = (
            *_volume_claims("volumes-3", 1.8),
            *_volume_claims("volumes-5", 1.8),
            *_cache_claims("cache-geometric", ("quarter", "half")),
            *_cache_claims("cache-block-model", ("quarter",)),
            *_real_claims("twitch"),
            *_real_claims("tolokers"),
            *_partition_claims("partitioners-block-model"),
            *_partition_claims("partitioners-geometric"),
            *_accuracy_claims("accuracy-facebook-pages"),
            *_accuracy_claims("accuracy-twitch-de"),
            *_out_of_reach(),
        )
    return Study(
        system="grinnder",
        family="graphs",
        profile=profile,
        workloads=workloads,
        claims=claims,
        metrics=METRICS,
        plots=_plots(workloads),
    )


def _arm(name: str, title: str, role: Role, mode: str, config: Mapping[str, Any], **options: Any) -> Arm:
    return Arm(name=name, title=title, role=role, options={"mode": mode, "config": dict(config), **options})


def _prepare() -> Preparation:
    return Preparation(run=REFERENCE, timeout_s=900, sources=SOURCES)


# ---- A: a layer fits the host, snapshots do not ----


def _volume_arms(base: Mapping[str, Any], names: Sequence[str] = ()) -> tuple[Arm, ...]:
    paper = {**base, **PAPER}
    cold = {**paper, "cache": "one_layer"}
    lru = {**paper, "cache": "partition_lru"}
    arms = (
        _arm("grinnder-cold", "GriNNder, nothing kept between passes", "system", "grinnder", cold),
        _arm("hongtu-cold", "HongTu + swap, nothing kept between passes", "baseline", "hongtu", cold),
        _arm("grinnder-paper", "GriNNder, the paper's parts", "system", "grinnder", paper),
        _arm("grinnder", "GriNNder with our parts", "system", "grinnder", base),
        _arm("hongtu", "HongTu + swap", "baseline", "hongtu", lru),
        _arm("snapshot", "snapshots on storage", "baseline", "snapshot", lru),
        _arm("regather", "regather alone (no cache, no bypass)", "ablation", "regather", lru),
        _arm("plain", "autograd offload (sparse kernels save no gathered input)", "baseline", "plain", lru),
    )
    return tuple(a for a in arms if not names or a.name in names)


def _volumes(layers: int) -> Workload:
    base = {
        "parts": 16,
        "device_budget": "1GiB",
        "io": {"limit_bytes_per_s": 200_000_000, "topology": "resident"},
    }
    names = ["grinnder-cold", "hongtu-cold", "grinnder-paper", "grinnder", "hongtu"]
    names += ["snapshot", "plain"] if layers == 3 else []
    return Workload(
        name=f"volumes-{layers}",
        title=f"A: a layer fits the host, snapshots do not; block model of 60,000 vertices, GCN of "
        f"{layers} layers",
        data="synthetic",
        run=TRAINING,
        arms=_volume_arms(base, names),
        seeds=(0, 1, 2),
        budget="2 epochs, the second one measured; host 2.5 hidden layers (2.5 D), storage 200 MB/s "
        "(emulated); 16 "
        "partitions, switching-aware with BFS start, for every arm",
        options={
            "graph": {"kind": "block_model", "num_nodes": 60_000, "mean_degree": 12.0, "num_features": 128},
            "model": {"kind": "gcn", "hidden": 128, "layers": layers},
            "epochs": 2,
            "lr": 0.01,
            "host_layers": 2.5,
        },
        prepare=_prepare(),
        timeout_s=900,
        scaled_down=(
            EMULATED,
            ScaledDown(what="graph", ours="60,000 vertices, degree 12", paper="2.4M to 111M vertices"),
            ScaledDown(what="hidden width", ours="128", paper="256"),
            ScaledDown(what="storage", ours="200 MB/s, token bucket", paper="NVMe on PCIe 5"),
        ),
    )


def _volumes_quick() -> Workload:
    base = {"parts": 8, "device_budget": "256MiB", "io": {"topology": "resident"}}
    return Workload(
        name="volumes",
        title="A, small: block model of 6,000 vertices, GCN of 3 layers",
        data="synthetic",
        run=TRAINING,
        arms=_volume_arms(base, ("grinnder-cold", "hongtu-cold", "grinnder")),
        seeds=(0,),
        budget="2 epochs, the second one measured; host 2.5 hidden layers (2.5 D); 8 partitions for "
        "every arm",
        options={
            "graph": {"kind": "block_model", "num_nodes": 6_000, "mean_degree": 12.0, "num_features": 64},
            "model": {"kind": "gcn", "hidden": 64, "layers": 3},
            "epochs": 2,
            "lr": 0.01,
            "host_layers": 2.5,
        },
        prepare=_prepare(),
        timeout_s=300,
        scaled_down=(
            EMULATED,
            ScaledDown(what="graph", ours="6,000 vertices", paper="2.4M to 111M vertices"),
            ScaledDown(what="seeds", ours="1", paper="not stated"),
        ),
    )


def _volume_claims(workload: str, factor: float) -> tuple[Claim, ...]:
    def claim(name: str, text: str, check: Compare | Within, paper: str, if_not: str = "") -> Claim:
        return Claim(
            name=f"{workload}-{name}",
            text=text,
            source="section on structured storage offloading, volume table",
            workload=workload,
            check=check,
            paper=paper,
            if_not=if_not,
        )

    full = (
        claim(
            "time",
            "GriNNder's epoch is faster than HongTu's on the same storage.",
            Compare(metric="epoch_s", arm="grinnder-paper", than="hongtu", direction="lower", ratio=1.4),
            "up to 9.78x; products, 3 layers: .12 against .17 min",
            "With few partitions' worth of snapshots over the budget, the emulated link is not the "
            "bottleneck.",
        ),
        claim(
            "ours",
            "Our parts (next-use cache, page reads, fused last layer) move fewer bytes than the paper's.",
            Compare(metric="storage_mb", arm="grinnder", than="grinnder-paper", direction="lower"),
            "ours, not the paper's",
        ),
    )
    return (
        claim(
            "traffic",
            f"Regathering instead of snapshots cuts the storage traffic at least {factor}-fold when "
            "nothing stays "
            "resident.",
            Compare(
                metric="storage_mb", arm="grinnder-cold", than="hongtu-cold", direction="lower", ratio=factor
            ),
            "((2 alpha + 2) L + 2 L - 1) D against (5 L - 1) D, derived; 2.1 against 192 GB of "
            "writes on IGB-medium",
        ),
        claim(
            "formula",
            "The bytes measured are those of the formula (5 L - 1) D, within 15 %.",
            Within(metric="formula_gap", arm="grinnder-cold", at_most=15.0),
            "volume table",
        ),
        claim(
            "hongtu-formula",
            "The baseline's bytes are those of its formula, within 15 %.",
            Within(metric="formula_gap", arm="hongtu-cold", at_most=15.0),
            "volume table",
        ),
        claim(
            "exact",
            "The losses are those of full-batch training.",
            Within(metric="loss_gap", arm="grinnder", at_most=1e-5),
            "exact training, no staleness",
        ),
        claim(
            "ledger",
            "The ledger agrees with what the kernel counts, within 10 %.",
            Within(metric="proc_io_gap", arm="grinnder-cold", at_most=10.0),
            "not in the paper: a check of this measurement",
        ),
        *(full if workload != "volumes" else ()),
    )


# ---- B: the host holds less than a layer ----


def _cache_arms(
    base: Mapping[str, Any], sizes: Mapping[str, float], kinds: Sequence[str] = ()
) -> tuple[Arm, ...]:
    cuts: dict[str, tuple[str, dict[str, Any]]] = {
        "metis": ("METIS", {"partitioner": "metis"}),
        "bfs": ("switching-aware, BFS start", {"partitioner": "switching", "init": "bfs"}),
        "switching": ("switching-aware, random start", {"partitioner": "switching", "init": "random"}),
        "random": ("random parts", {"partitioner": "random"}),
    }
    arms = []
    for size, layers in sizes.items():
        for cut, (title, extra) in cuts.items():
            config = {**base, **extra, "cache": "partition_lru"}
            rows: tuple[tuple[str, str, Role, str, Mapping[str, Any]], ...] = (
                ("lru", "LRU", "system", "grinnder", PAPER),
                ("ours", "next use + pages", "system", "grinnder", {}),
                ("hongtu", "HongTu", "baseline", "hongtu", PAPER),
            )
            for name, words, role, mode, parts in rows:
                label = f"{cut}-{name}-{size}"
                if not kinds or label in kinds:
                    arms.append(
                        _arm(
                            label,
                            f"{title}, {words}, {layers} D",
                            role,
                            mode,
                            {**config, **parts},
                            host_layers=layers,
                        )
                    )
    return tuple(arms)


def _cache(graph: str) -> Workload:
    graphs: dict[str, dict[str, Any]] = {
        "geometric": {"kind": "geometric", "num_nodes": 20_000, "neighbours": 10, "num_features": 128},
        "block-model": {
            "kind": "block_model",
            "num_nodes": 20_000,
            "mean_degree": 12.0,
            "num_features": 128,
            "inside": 0.95,
        },
    }
    words = {
        "geometric": "dependencies are concentrated (geometric graph)",
        "block-model": "every partition depends on every other (block model with hubs)",
    }
    wide = graph == "geometric"
    sizes = {"quarter": 0.25, "half": 0.5} if wide else {"quarter": 0.25}
    cuts = ("metis", "bfs", "random") if wide else ("bfs", "random")
    kinds = [f"{c}-{n}-{size}" for size in sizes for c in cuts for n in ("lru", "ours")]
    kinds += [f"{c}-hongtu-{size}" for size in sizes for c in cuts if c != "metis"]
    return Workload(
        name=f"cache-{graph}",
        title=f"B: the host holds less than a layer, {words[graph]}; 20,000 vertices, GCN of 3 "
        "layers, 32 partitions",
        data="synthetic",
        run=TRAINING,
        arms=_cache_arms(
            {"parts": 32, "device_budget": "1GiB", "io": {"topology": "resident"}}, sizes, kinds
        ),
        seeds=(0, 1, 2),
        budget="2 epochs, the second one measured; host .25 or .5 hidden layers (D)",
        options={
            "graph": graphs[graph],
            "model": {"kind": "gcn", "hidden": 128, "layers": 3},
            "epochs": 2,
            "lr": 0.01,
        },
        timeout_s=900,
        scaled_down=(
            EMULATED,
            ScaledDown(
                what="graph", ours="20,000 vertices, 32 partitions", paper="up to 111M, 2,048 partitions"
            ),
        ),
    )


def _cache_quick() -> Workload:
    return Workload(
        name="cache",
        title="B, small: geometric graph of 6,000 vertices, 16 partitions",
        data="synthetic",
        run=TRAINING,
        arms=_cache_arms(
            {"parts": 16, "device_budget": "256MiB", "io": {"topology": "resident"}},
            {"quarter": 0.25},
            ("bfs-lru-quarter", "random-lru-quarter", "random-ours-quarter", "random-hongtu-quarter"),
        ),
        seeds=(0,),
        budget="2 epochs, the second one measured; host .25 hidden layers (D)",
        options={
            "graph": {"kind": "geometric", "num_nodes": 6_000, "neighbours": 10, "num_features": 64},
            "model": {"kind": "gcn", "hidden": 64, "layers": 3},
            "epochs": 2,
            "lr": 0.01,
        },
        timeout_s=300,
        scaled_down=(EMULATED, ScaledDown(what="seeds", ours="1", paper="not stated")),
    )


def _cache_claims(workload: str, sizes: Sequence[str]) -> tuple[Claim, ...]:
    claims = []
    for size in sizes:
        claims += [
            Claim(
                name=f"{workload}-locality-{size}",
                text=f"A cache of partitions ({size} of a layer) has hits because dependencies are "
                "concentrated: more "
                "hits on good partitions than on random ones.",
                source="section on the partition-wise cache",
                workload=workload,
                check=Compare(metric="hit_rate", arm=f"bfs-lru-{size}", than=f"random-lru-{size}"),
                paper="hit rates 28.6 % (products) to 83.6 % (papers100M)",
                if_not="Every partition of this graph depends on nearly all others, so that LRU "
                "evicts what is needed "
                "next.",
            ),
            Claim(
                name=f"{workload}-random-loses-{size}",
                text="On random partitions partition LRU moves more bytes than HongTu's snapshots "
                "(the limitation that "
                "the paper states).",
                source="discussion of partition quality",
                workload=workload,
                check=Compare(metric="storage_mb", arm=f"random-lru-{size}", than=f"random-hongtu-{size}"),
                paper="training with random partitions: 14.7 and 353 s an epoch against 6.9 and 55.6 "
                "s with METIS",
            ),
            Claim(
                name=f"{workload}-ours-{size}",
                text="Farthest next use with page reads moves fewer bytes than LRU where LRU loses "
                "most (random "
                "partitions).",
                source="ours",
                workload=workload,
                check=Compare(
                    metric="storage_mb",
                    arm=f"random-ours-{size}",
                    than=f"random-lru-{size}",
                    direction="lower",
                ),
                paper="ours, not the paper's",
            ),
            Claim(
                name=f"{workload}-ours-bfs-{size}",
                text="The same on partitions from a BFS start.",
                source="ours",
                workload=workload,
                check=Compare(
                    metric="storage_mb", arm=f"bfs-ours-{size}", than=f"bfs-lru-{size}", direction="lower"
                ),
                paper="ours, not the paper's",
            ),
        ]
    return tuple(claims)


# ---- A and B on real graphs ----


def _real_volumes(name: str, file: str) -> Workload:
    base = {"parts": 8, "device_budget": "1GiB", "io": {"topology": "resident"}}
    return Workload(
        name=name,
        title=f"A on a real graph: {file}, GCN of 3 layers",
        data="real",
        run=TRAINING,
        arms=_volume_arms(
            base,
            ("grinnder-cold", "hongtu-cold", "grinnder-paper", "grinnder", "hongtu", "snapshot", "regather"),
        ),
        seeds=(0, 1, 2),
        budget="2 epochs, the second one measured; host 2.5 hidden layers (2.5 D); 8 partitions for "
        "every arm",
        options={
            "graph": {"kind": "file", "name": file, "project": 128},
            "model": {"kind": "gcn", "hidden": 128, "layers": 3},
            "epochs": 2,
            "lr": 0.01,
            "host_layers": 2.5,
        },
        prepare=_prepare(),
        timeout_s=600,
        needs_data="graphs",
        scaled_down=(
            EMULATED,
            ScaledDown(what="graph", ours=file, paper="ogbn-products, IGB-medium, papers100M"),
            ScaledDown(what="features", ours="a random projection to 128", paper="as they are"),
        ),
    )


def _real_claims(workload: str) -> tuple[Claim, ...]:
    kept = ("traffic", "formula", "hongtu-formula", "exact", "ours")
    return tuple(c for c in _volume_claims(workload, 1.8) if c.name.removeprefix(f"{workload}-") in kept)


# ---- C: partitioners ----


def _partitioners(graph: str) -> Workload:
    graphs: dict[str, dict[str, Any]] = {
        "block-model": {"kind": "block_model", "num_nodes": 200_000, "mean_degree": 12.0},
        "geometric": {"kind": "geometric", "num_nodes": 200_000, "neighbours": 10},
    }
    rows: tuple[tuple[str, str, Role, dict[str, str]], ...] = (
        ("random", "random", "bound", {"method": "random"}),
        ("spinner", "Spinner", "baseline", {"method": "spinner"}),
        (
            "switching",
            "switching-aware (paper: random start)",
            "system",
            {"method": "switching", "init": "random"},
        ),
        (
            "switching-bfs",
            "switching-aware, BFS start (ours)",
            "system",
            {"method": "switching", "init": "bfs"},
        ),
        ("metis", "METIS", "baseline", {"method": "metis"}),
    )
    return Workload(
        name=f"partitioners-{graph}",
        title=f"C: partitioners, {graph} graph of 200,000 vertices, 32 partitions",
        data="synthetic",
        run=PARTITION,
        arms=tuple(Arm(name=n, title=t, role=r, options=o) for n, t, r, o in rows),
        seeds=(0, 1, 2),
        budget="32 partitions, each method with its own stop rule",
        options={"graph": graphs[graph], "parts": 32},
        timeout_s=600,
        scaled_down=(
            ScaledDown(what="graph", ours="200,000 vertices", paper="2.4M to 111M vertices"),
            ScaledDown(what="METIS", ours="pymetis, one thread", paper="MT-METIS"),
        ),
    )


def _partition_claims(workload: str) -> tuple[Claim, ...]:
    def lower(name: str, text: str, metric: str, arm: str, than: str, paper: str, **more: Any) -> Claim:
        ratio = more.pop("ratio", None)
        return Claim(
            name=f"{workload}-{name}",
            text=text,
            source="appendix on switching-aware partitioning",
            workload=workload,
            check=Compare(metric=metric, arm=arm, than=than, direction="lower", ratio=ratio),
            paper=paper,
            **more,
        )

    return (
        lower(
            "random",
            "Switching-aware beats random parts in alpha.",
            "alpha",
            "switching",
            "random",
            "3.31 (IGB)",
        ),
        lower(
            "spinner",
            "Switching-aware is at least as good as Spinner in alpha.",
            "alpha",
            "switching",
            "spinner",
            "switching-aware at or below Spinner at every number of parts",
        ),
        lower(
            "memory",
            "Switching-aware needs a fifth of METIS's extra memory or less.",
            "partition_mb",
            "switching",
            "metis",
            "1.54, 2.03, 36.7 GB against 10.95, 29.5, 895 GB",
            ratio=5.0,
        ),
        lower(
            "time",
            "Switching-aware is faster than METIS.",
            "partition_s",
            "switching",
            "metis",
            "4 s, 7 s, 17.6 min",
        ),
        lower(
            "bfs",
            "A BFS start leaves fewer dependent partitions than a random start.",
            "dependants",
            "switching-bfs",
            "switching",
            "ours, not the paper's",
        ),
    )


# ---- D: accuracy does not depend on the partitions ----


def _accuracy_arms() -> tuple[Arm, ...]:
    base = {"device_budget": "2GiB", "host_budget": "2GiB"}
    return (
        _arm("pyg", "PyG full batch", "bound", "pyg", {}),
        *(
            _arm(f"p{p}", f"GriNNder, {p} partition(s)", "system", "grinnder", {**base, "parts": p})
            for p in (1, 4, 16)
        ),
    )


def _accuracy(name: str, file: str) -> Workload:
    return Workload(
        name=f"accuracy-{name}",
        title=f"D: accuracy, {file}, GCN of 3 layers, dropout .5",
        data="real",
        run=TRAINING,
        arms=_accuracy_arms(),
        seeds=(0, 1, 2),
        budget="15 epochs of Adam at .01",
        options={
            "graph": {"kind": "file", "name": file, "project": 128},
            "model": {"kind": "gcn", "hidden": 64, "layers": 3, "dropout": 0.5, "norm": "layer"},
            "epochs": 15,
            "lr": 0.01,
            "accuracy": True,
        },
        timeout_s=600,
        needs_data="graphs",
        scaled_down=(
            EMULATED,
            ScaledDown(what="epochs", ours="15", paper="500"),
            ScaledDown(what="features", ours="a random projection to 128", paper="as they are"),
            ScaledDown(what="split", ours="60/20/20 from the seed", paper="official splits of other graphs"),
        ),
    )


def _accuracy_quick() -> Workload:
    return Workload(
        name="accuracy",
        title="D, small: graph of scikit-learn's digits, GCN of 3 layers, dropout .5",
        data="real",
        run=TRAINING,
        arms=tuple(a for a in _accuracy_arms() if a.name in ("pyg", "p1", "p16")),
        seeds=(0,),
        budget="20 epochs of Adam at .01",
        options={
            "graph": {"kind": "digits"},
            "model": {"kind": "gcn", "hidden": 32, "layers": 3, "dropout": 0.5},
            "epochs": 20,
            "lr": 0.01,
            "accuracy": True,
        },
        timeout_s=300,
        scaled_down=(EMULATED, ScaledDown(what="graph", ours="1,797 digits", paper="2.4M to 111M vertices")),
    )


def _accuracy_claims(workload: str) -> tuple[Claim, ...]:
    return (
        Claim(
            name=f"{workload}-parts",
            text="Accuracy with 16 partitions is that with one.",
            source="section on accuracy",
            workload=workload,
            check=Compare(metric="accuracy", arm="p16", than="p1", by=-0.25),
            paper="identical with 4 partitions and 1",
        ),
        Claim(
            name=f"{workload}-pyg",
            text="Accuracy is that of full-batch PyG, within two points (its dropout masks differ).",
            source="section on accuracy",
            workload=workload,
            check=Compare(metric="accuracy", arm="p16", than="pyg", by=-2.0),
            paper="same accuracy as full-graph training",
        ),
    )


def _out_of_reach() -> tuple[Claim, ...]:
    rows = (
        ("papers100m", "One epoch of papers100M on one machine with one GPU.", "9.07 min, 3 layers"),
        (
            "igb-medium",
            "Faster than HongTu on IGB-medium, 3 and 5 layers.",
            ".93 and 1.52 against 6.46 and 14.90 min",
        ),
        ("gds", "Direct transfers between GPU and storage gain little.", "13 to 14 % slower without them"),
    )
    return tuple(
        Claim(
            name=name,
            text=text,
            source="main table",
            workload="volumes-3",
            check=Within(metric="epoch_s", arm="grinnder", at_least=0.0),
            paper=paper,
            needs=("gpu",),
        )
        for name, text, paper in rows
    )


def _plots(workloads: Sequence[Workload]) -> tuple[Plot, ...]:
    plots = []
    for w in workloads:
        if w.name.startswith("partitioners"):
            plots.append(
                Plot(title=f"Expansion, {w.name}", workload=w.name, kind="dots", of="alpha", x_title="alpha")
            )
        elif w.name.startswith("accuracy"):
            plots.append(
                Plot(
                    title=f"Accuracy, {w.name}",
                    workload=w.name,
                    kind="dots",
                    of="accuracy",
                    x_title="test accuracy (%)",
                )
            )
        else:
            plots.append(
                Plot(
                    title=f"Storage traffic, {w.name}",
                    workload=w.name,
                    kind="dots",
                    of="storage_mb",
                    x_title="MB an epoch",
                )
            )
    return tuple(plots)
