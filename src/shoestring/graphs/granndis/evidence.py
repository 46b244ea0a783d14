"""Workloads, arms and claims of GraNNDis's verification."""

from collections.abc import Mapping
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

MEASURE = "shoestring.graphs.granndis._measure:measure_arm"
PREPARE = "shoestring.graphs.granndis._measure:prepare_graph"

METRICS = (
    Metric(name="inter_mb", title="rows and gradients between servers", unit="MB/epoch", better="lower"),
    Metric(name="intra_mb", title="inside servers", unit="MB/epoch", better="lower"),
    Metric(name="weights_mb", title="weights, all links", unit="MB/epoch", better="lower"),
    Metric(name="replication", title="rows held over vertices", better="lower"),
    Metric(name="rows", title="rows held or loaded a server and epoch", better="lower", digits=0),
    Metric(name="edges_m", title="edges computed forward", unit="M/epoch", better="lower"),
    Metric(name="activation_mb", title="activations kept, fullest rank", unit="MB", better="lower", digits=1),
    Metric(name="epoch_s", title="epoch, slow link", unit="s", better="lower", digits=3),
    Metric(name="free_epoch_s", title="epoch, link not limited", unit="s", better="lower", digits=3),
    Metric(name="modelled_epoch_s", title="MODEL: epoch, slow link", unit="s", better="neither", digits=3),
    Metric(name="modelled_paper_s", title="MODEL of the paper", unit="s", better="neither", digits=3),
    Metric(name="test", title="test accuracy", unit="%"),
    Metric(name="gradient_difference", title="gradient against PyG", better="lower", digits=8),
    Metric(name="wire_ratio", title="kernel's bytes over counted", better="neither", digits=3),
    Metric(name="setup_s", title="set-up", unit="s", better="lower"),
)

FULL: Mapping[str, Any] = {"mode": "full"}
HIERARCHICAL: Mapping[str, Any] = {"mode": "full", "halo": {"hierarchical": True}}
FLEXIBLE: Mapping[str, Any] = {"mode": "flexible"}
EAS: Mapping[str, Any] = {"mode": "eas"}
STALE: Mapping[str, Any] = {"mode": "full", "halo": {"kind": "stale"}}
SAMPLED: Mapping[str, Any] = {"mode": "full", "halo": {"kind": "sampled"}}


def study(profile: Profile) -> Study:
    """Return GraNNDis's verification.

    Parameters
    ----------
    profile : str
        ``"quick"``: the digits graph over a slow link. ``"full"``: two synthetic and two real graphs.

    Returns
    -------
    Study
        Workloads, arms, claims and plots.
    """
    if profile == "quick":
        workloads: tuple[Workload, ...] = (_digits(),)
        claims = _claims("digits")
    else:
        workloads = (_clustered(), _dense(), _facebook(), _tolokers())
        claims = (
            *_claims("clustered"),
            *_clustered_claims(),
            *_claims("dense"),
            *_batch_claims("dense"),
            *_claims("facebook"),
            *_batch_claims("facebook"),
            *_claims("tolokers"),
            *_out_of_reach(),
        )
    return Study(
        system="granndis",
        family="graphs",
        profile=profile,
        workloads=workloads,
        claims=claims,
        metrics=METRICS,
        plots=tuple(p for w in workloads for p in _plots(w.name, w.title)),
    )


def _arm(name: str, title: str, role: Role, plan: Mapping[str, Any]) -> Arm:
    return Arm(name=name, title=title, role=role, options={"method": "granndis", "plan": dict(plan)})


def _batched(name: str, title: str, role: Role, mode: str, sampler: str, batches: int) -> Arm:
    return _arm(name, title, role, {"mode": mode, "cooperative": {"batches": batches, "sampler": sampler}})


ARMS: Mapping[str, Arm] = {
    a.name: a
    for a in (
        Arm(name="pyg", title="PyG, one process, whole graph", role="bound", options={"method": "pyg"}),
        _arm("full", "full batch, flat exchange (FB_base)", "baseline", FULL),
        _arm("full-hier", "full batch, hierarchical exchange", "baseline", HIERARCHICAL),
        _arm("pipegcn", "PipeGCN (halo an epoch old)", "baseline", STALE),
        _arm("bns", "BNS-GCN (10 % of the halo)", "baseline", SAMPLED),
        _arm("flexible-1", "preloading, k = 1", "ablation", {"mode": "flexible", "k": 1}),
        _arm("flexible", "flexible preloading, k = L", "system", FLEXIBLE),
        _arm("eas", "expansion-aware sampling (h=1, f=15)", "system", EAS),
        _arm("eas-uniform", "neighbours at random", "ablation", {"mode": "eas", "select": "uniform"}),
        _batched("minibatch", "batches per rank, fan-out 25 (MB_base)", "baseline", "minibatch", "sage", 2),
        _batched("cob-sage", "cooperative batches, fan-out 25", "system", "cooperative", "sage", 2),
        _batched("cob-saint", "cooperative batches, SAINT nodes", "baseline", "cooperative", "saint", 2),
        _batched("cob-cluster", "cooperative batches, no expansion", "baseline", "cooperative", "cluster", 2),
        _batched("cob-eas", "cooperative batches, EAS", "system", "cooperative", "eas", 2),
    )
}  # fmt: skip


def _config(epochs: int, free: int, bits_per_s: float) -> dict[str, Any]:
    return {
        "servers": 2,
        "ranks_per_server": 2,
        "model": {"kind": "sage", "layers": 3, "hidden": 64},
        "training": {
            "epochs": epochs,
            "free_epochs": free,
            "lr": 0.01,
            "measure": True,
            "calibrate": True,
        },
        "link": {"inter_bits_per_s": bits_per_s},
        "timeout_s": 600.0,
        "collective_timeout_s": 120.0,
    }


def _workload(
    name: str,
    title: str,
    graph: Mapping[str, Any],
    arms: tuple[str, ...],
    *,
    epochs: int,
    seeds: tuple[int, ...] = (0, 1, 2),
    megabits: int = 200,
    scaled_down: tuple[ScaledDown, ...] = (),
) -> Workload:
    link = f"{megabits} Mbit/s between servers"
    real = graph["kind"] != "block_model"
    return Workload(
        name=name,
        title=title,
        data="real" if real else "synthetic",
        run=MEASURE,
        arms=tuple(ARMS[a] for a in arms),
        seeds=seeds,
        budget=f"{epochs} epochs of Adam at 0.01 for every arm, GraphSAGE 3 x 64, no dropout, 2 servers x 2 "
        f"ranks of one thread; {link}, then 4 epochs with the link as fast as the machine",
        options={"graph": dict(graph), "config": _config(epochs, 4, 1e6 * megabits)},
        prepare=Preparation(
            run=PREPARE, per_seed=False, timeout_s=300, sources=("core", "data/graphs", "graphs")
        ),
        timeout_s=600,
        scaled_down=(
            ScaledDown(
                what="machine", ours="4 processes on 2 cores, gloo", paper="4 servers x 4 A6000, NCCL"
            ),
            ScaledDown(
                what="link", ours=f"{link}, shaped by the kernel", paper="32 Gb/s InfiniBand, 1 and 10 GbE"
            ),
            ScaledDown(what="epochs", ours=str(epochs), paper="1000 (30 for batches)"),
            *scaled_down,
        ),
        needs_data="graphs" if graph["kind"] == "file" else None,
    )


_SYNTHETIC = ScaledDown(
    what="graph", ours="synthetic block model", paper="ogbn-arxiv, -products, Reddit, IGB"
)


def _digits() -> Workload:
    return _workload(
        "digits",
        "nearest-neighbour graph of scikit-learn's digits",
        {"kind": "digits"},
        ("full", "flexible", "eas"),
        epochs=12,
        seeds=(0,),
        megabits=10,
        scaled_down=(ScaledDown(what="graph", ours="1,797 vertices", paper="0.2 to 111 million vertices"),),
    )


def _clustered() -> Workload:
    return _workload(
        "clustered",
        "block model, 20,000 vertices of degree 17, 64 communities",
        {"kind": "block_model", "num_nodes": 20_000, "mean_degree": 17, "inside": 0.9, "noise": 1.0},
        tuple(ARMS),
        epochs=20,
        scaled_down=(_SYNTHETIC,),
    )


def _dense() -> Workload:
    return _workload(
        "dense",
        "block model, 10,000 vertices of degree 70, 64 communities",
        {"kind": "block_model", "num_nodes": 10_000, "mean_degree": 70, "inside": 0.6, "noise": 2.0},
        ("pyg", "full", "full-hier", "flexible", "eas", "minibatch", "cob-sage"),
        epochs=15,
        scaled_down=(_SYNTHETIC,),
    )


_FEATURES = ScaledDown(what="features", ours="random projection to 128, standardised", paper="as they are")


def _facebook() -> Workload:
    return _workload(
        "facebook",
        "Facebook pages, 22,470 vertices, 342,000 directed edges, 4 classes",
        {"kind": "file", "name": "facebook_pages", "width": 128},
        ("pyg", "full", "full-hier", "flexible", "eas", "minibatch", "cob-sage"),
        epochs=20,
        scaled_down=(_FEATURES,),
    )


def _tolokers() -> Workload:
    return _workload(
        "tolokers",
        "Tolokers, 11,758 vertices, 1,038,000 directed edges, 2 classes",
        {"kind": "file", "name": "tolokers", "width": 128},
        ("pyg", "full", "full-hier", "flexible", "eas"),
        epochs=15,
    )


SLOW_COMPUTE = (
    "Two cores compute the four ranks here, so replicated vertices cost more against the link than on "
    "a GPU a rank"
)


def _claims(workload: str) -> tuple[Claim, ...]:
    """Make the claims that every workload is checked for."""

    def claim(
        name: str, text: str, source: str, check: Compare | Within, paper: str, if_not: str = ""
    ) -> Claim:
        return Claim(
            name=f"{workload}-{name}",
            text=text,
            source=source,
            workload=workload,
            check=check,
            paper=paper,
            if_not=if_not,
        )

    return (
        claim(
            "no-traffic",
            "Flexible Preloading with k = L sends no features and no feature gradients between servers.",
            "section 4.1",
            Within(metric="inter_mb", arm="flexible", at_most=0.0),
            "none by construction",
        ),
        claim(
            "eas-no-traffic",
            "Neither does Expansion-aware Sampling.",
            "section 4.3",
            Within(metric="inter_mb", arm="eas", at_most=0.0),
            "none by construction",
        ),
        claim(
            "exact",
            "Preloading does not change the result: the summed gradient is the full-batch gradient.",
            "section 4.1",
            Within(metric="gradient_difference", arm="flexible", at_most=1e-4),
            "same accuracy as full batch; our bound in single precision is 1e-4 of the largest entry",
        ),
        claim(
            "flexible-faster",
            "Over a slow link, Flexible Preloading is faster than full-batch training with flat exchange.",
            "section 7, main figure",
            Compare(metric="epoch_s", arm="flexible", than="full", direction="lower", ratio=1.11),
            "1.11 to 2.96 times (4 servers, 32 Gb/s)",
            SLOW_COMPUTE + ".",
        ),
        claim(
            "eas-faster",
            "Over a slow link, Expansion-aware Sampling is faster than full-batch training.",
            "section 7, main figure",
            Compare(metric="epoch_s", arm="eas", than="full", direction="lower", ratio=1.85),
            "1.85 to 3.56 times (4 servers, 32 Gb/s)",
            SLOW_COMPUTE + ".",
        ),
        claim(
            "eas-not-slower",
            "Sampling what leaves the server is faster than preloading all of it.",
            "section 7, main figure",
            Compare(metric="epoch_s", arm="eas", than="flexible", direction="lower"),
            "Reddit, 28 layers: 2.37 against 1.94 times over the baseline",
        ),
        claim(
            "eas-accuracy",
            "Expansion-aware Sampling keeps the accuracy of full-batch training (within one point).",
            "section 7, accuracy table",
            Compare(metric="test", arm="eas", than="full", by=-1.0),
            "arxiv 69.21 against 69.03, products 75.31 against 75.69, Reddit 96.33 against 96.33 %",
            "The training is short, and small graphs have few neighbours to spare.",
        ),
        claim(
            "fast-link",
            "Where the link is not slow, replication costs more than it saves: full batch is then faster.",
            "section 4.1, cost model",
            Compare(metric="free_epoch_s", arm="full", than="flexible", direction="lower"),
            "preloading wins when C / B_inter > (D^(aL) - 1) / D; no measured figure",
            "With so few vertices the time is that of the messages, not of the computation.",
        ),
    )


def _batch_claims(workload: str) -> tuple[Claim, ...]:
    return (
        Claim(
            name=f"{workload}-cooperative-rows",
            text="One neighbourhood a server loads fewer rows than one a rank.",
            source="section 4.2",
            workload=workload,
            check=Compare(metric="rows", arm="cob-sage", than="minibatch", direction="lower", ratio=1.2),
            paper="shown as a figure; the factor of 1.2 is our reading",
        ),
        Claim(
            name=f"{workload}-cooperative-faster",
            text="Cooperative batches are faster than batches per rank.",
            source="section 7",
            workload=workload,
            check=Compare(metric="epoch_s", arm="cob-sage", than="minibatch", direction="lower", ratio=1.62),
            paper="1.62 to 12.69 times over SALIENT++",
            if_not="A head partitions every batch with METIS while the other ranks wait, and on two "
            "cores that costs more than the rows that are saved.",
        ),
    )


def _clustered_claims() -> tuple[Claim, ...]:
    return (
        *_batch_claims("clustered"),
        Claim(
            name="clustered-cob-eas",
            text="Cooperative batches with Expansion-aware Sampling are faster than with fan-out sampling.",
            source="section 7",
            workload="clustered",
            check=Compare(metric="epoch_s", arm="cob-eas", than="cob-sage", direction="lower"),
            paper="up to 1.27 times",
        ),
        *(
            Claim(
                name=f"clustered-beats-{than}",
                text=f"Preloading is faster than {title}.",
                source="section 7, comparison with other systems",
                workload="clustered",
                check=Compare(metric="epoch_s", arm="flexible", than=than, direction="lower", ratio=1.45),
                paper="1.45 to 28 times over Sancus, PipeGCN and BNS-GCN",
                if_not=why,
            )
            for than, title, why in (
                ("pipegcn", "PipeGCN's stale halo", SLOW_COMPUTE + "."),
                (
                    "bns",
                    "BNS-GCN's sampled halo",
                    "A tenth of the halo costs this link less than the replicas cost two cores.",
                ),
            )
        ),
    )


def _out_of_reach() -> tuple[Claim, ...]:
    rows = (
        (
            "infiniband",
            "Speed-ups with NVLink inside and InfiniBand between four servers.",
            "1.11 to 2.96 times for preloading, 1.85 to 3.56 times with sampling",
        ),
        (
            "papers100m",
            "ogbn-papers100M, where full batch runs out of memory.",
            "3.37 to 4.74 times over batches per GPU; 60.84 against 60.58 %",
        ),
        (
            "deep",
            "112 layers of width 256 on Reddit run with cooperative batches and sampling only.",
            "every other mode out of memory on 48 GB",
        ),
    )
    return tuple(
        Claim(
            name=name,
            text=text,
            source="section 7",
            workload="clustered",
            check=Compare(metric="epoch_s", arm="eas", than="full", direction="lower"),
            paper=paper,
            needs=("gpu", "cluster"),
        )
        for name, text, paper in rows
    )


def _plots(workload: str, title: str) -> tuple[Plot, ...]:
    return (
        Plot(title=f"Epoch time over the slow link: {title}", workload=workload, kind="dots", of="epoch_s"),
        Plot(
            title=f"Loss: {title}",
            workload=workload,
            kind="lines",
            of="loss",
            x_title="epoch",
            y_title="training loss",
        ),
    )
