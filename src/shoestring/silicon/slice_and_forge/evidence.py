"""Workloads, arms and claims of Slice-and-Forge's verification."""

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

_MODULE = "shoestring.silicon.slice_and_forge._measure"
_SOURCES = ("core", "native", "data/graphs", "silicon")

METRICS = (
    Metric(name="mcycles", title="cycles a layer, geometric mean", unit="M", better="lower", digits=3),
    Metric(name="mlines", title="DRAM lines a layer, geometric mean", unit="M", better="lower", digits=3),
    Metric(name="over_oracle", title="cycles over the oracle's", better="lower", digits=3),
    Metric(name="worst_total", title="the same, worst case", better="lower", digits=3),
    Metric(name="worst_settled", title="last setting over the oracle's, worst", better="lower", digits=3),
    Metric(name="kinds", title="kinds of graph that end within 5 %", digits=0),
    Metric(name="most_saved", title="most cycles saved over the best tiling", unit="%", digits=1),
    Metric(name="most_tiles", title="most tiles of a round", better="neither", digits=0),
)


def study(profile: Profile) -> Study:
    """Return Slice-and-Forge's verification.

    Parameters
    ----------
    profile : str
        ``"quick"``: three small synthetic graphs. ``"full"``: three synthetic graphs and a real one, three
        caches, two widths, both machines; smaller graphs, most of them real, in smaller caches.

    Returns
    -------
    Study
        Workloads, arms, claims and plots.
    """
    if profile == "quick":
        workloads: tuple[Workload, ...] = (_quick(), _small((0,)))
        claims = (*_claims("quick", 3), *_prior_claims("quick", 1.73, QUICK_PRIOR), _small_claim())
    else:
        workloads = (
            *(_engines_large(), _one_engine_large()),
            *(_engines(), _one_engine(), _more_graphs(), _small((0, 1, 2))),
        )
        claims = (
            *_claims("engines-large", len(_LARGE)),
            *_prior_claims("engines-large", 1.73, PRIOR),
            *_claims("one-engine-large", len(_LARGE)),
            *_prior_claims("one-engine-large", 1.46, PRIOR),
            *_claims("engines", 6),
            *_prior_claims("engines", 1.73, PRIOR),
            *_claims("one-engine", 6),
            *_prior_claims("one-engine", 1.46, PRIOR),
            *_letter_claims(),
            *_controller_claims("more-graphs", len(_MORE)),
            _small_claim(),
        )
    return Study(
        system="slice_and_forge",
        family="silicon",
        profile=profile,
        workloads=workloads,
        claims=claims,
        metrics=METRICS,
        plots=tuple(p for w in workloads if w.name != "small" for p in _plots(w.name, w.title)),
    )


def _arm(name: str, title: str, role: Role, **options: Any) -> Arm:
    return Arm(name=name, title=title, role=role, options={"method": name, **options})


def _morph(name: str, title: str, role: Role, **morphing: Any) -> Arm:
    return Arm(name=name, title=title, role=role, options={"method": "morph", "morphing": morphing})


SNF = _morph("snf", "slices + morphing tiles (SnF)", "system")
ARMS = (
    SNF,
    _morph("no-global", "SnF without phase A", "ablation", global_phase=False),
    _morph("no-policy", "SnF without phase B", "ablation", policy_phase=False),
    _morph("no-local", "SnF without phase C", "ablation", local_phase=False),
    _morph("no-warm-start", "SnF, every layer anew", "ablation", warm_start=False),
    _arm("fixed", "slices + the best single tiles and strip", "baseline"),
    _arm("analytic", "slices + tiles that just fit", "baseline"),
    _arm("tiled", "no slices, the best tiles and strip", "baseline"),
    _arm("hygcn", "HyGCN-like: contiguous, the best tiles", "baseline"),
    _arm("engn", "EnGN-like: pinned vertices, the best tiles", "baseline"),
    _arm("gcnax", "GCNAX-like: slices and tiles from a model", "baseline"),
    _arm("oracle", "slices + the best of all tiles and strips", "bound"),
    _arm("least_lines", "slices, least traffic", "bound"),
    _arm("least_lines_whole", "no slices, least traffic", "bound"),
)
_QUICK_ARMS = ("snf", "fixed", "tiled", "hygcn", "gcnax", "oracle", "least_lines", "least_lines_whole")
QUICK_PRIOR = ("hygcn", "gcnax")
PRIOR = ("hygcn", "engn", "gcnax", "tiled")

_SYNTHETIC = (
    {"kind": "rmat", "text": "rmat:n=4096,deg=15"},
    {"kind": "sbm", "text": "sbm:n=4096,deg=15"},
    {"kind": "grid", "text": "grid:n=4096,deg=15"},
)
_REAL = (
    {"kind": "twitch", "file": "twitch_de.npz"},
    {"kind": "squirrel", "file": "squirrel_filtered.npz"},
    {"kind": "actor", "file": "actor.npz"},
)
_LARGE = (
    {"kind": "rmat", "text": "rmat:n=16384,deg=15"},
    {"kind": "sbm", "text": "sbm:n=16384,deg=15"},
    {"kind": "grid", "text": "grid:n=16384,deg=15"},
    {"kind": "soc_epinions1_structure", "file": "soc_epinions1_structure.npz"},
)
_MORE = (
    *("cora", "citeseer", "minesweeper", "chameleon_filtered", "tolokers", "facebook_pages"),
    "soc_epinions1_structure",
)


def _workload(
    name: str,
    title: str,
    options: Mapping[str, Any],
    arms: tuple[Arm, ...],
    seeds: tuple[int, ...],
    scaled_down: tuple[ScaledDown, ...],
) -> Workload:
    real = any("file" in g for g in options["graphs"])
    return Workload(
        name=name,
        title=title,
        data="real" if real else "synthetic",
        run=f"{_MODULE}:measure_arm",
        arms=arms,
        seeds=seeds,
        budget="two layers, fp32, 8 bytes an edge; every baseline at its best of 1 to 32 tiles and strips of "
        "8, 32, 128 and n / engines vertices (GCNAX-like: of the strips), the system from its own rounds",
        options={"whole_rows": True, **options, "generator_seeds": list(seeds)},
        prepare=Preparation(
            run=f"{_MODULE}:prepare_tables", per_seed=False, timeout_s=7200, sources=_SOURCES
        ),
        timeout_s=1800,
        scaled_down=scaled_down,
        needs_data="graphs" if real else None,
    )


_GRAPHS = ScaledDown(
    what="graphs", ours="2,223 to 9,498 vertices, 0.05 to 0.3 million edges", paper="Reddit, Pokec and others"
)
_MODEL = ScaledDown(
    what="machine", ours="our timing model, analytic DRAM in the loop", paper="a simulator on DRAMsim3"
)


def _engines() -> Workload:
    return _workload(
        "engines",
        "8 engines, HBM2, caches of 32, 64 and 128 KB, widths 128 and 256, six graphs",
        {
            "machine": "snf_hbm2",
            "graphs": [*_SYNTHETIC, *_REAL],
            "caches_kb": [32, 64, 128],
            "widths": [128, 256],
        },
        ARMS,
        (0, 1, 2),
        (
            _GRAPHS,
            ScaledDown(
                what="cache", ours="32, 64, 128 KB, as the graphs are small", paper="256, 512 KB, 1 MB"
            ),
            _MODEL,
        ),
    )


def _one_engine() -> Workload:
    return _workload(
        "one-engine",
        "1 engine, DDR4-2666, caches of 32, 64 and 128 KB, widths 128 and 256, six graphs",
        {
            "machine": "snf_ddr4_small",
            "graphs": [*_SYNTHETIC, *_REAL],
            "caches_kb": [32, 64, 128],
            "widths": [128, 256],
        },
        ARMS,
        (0, 1, 2),
        (
            _GRAPHS,
            ScaledDown(what="cache", ours="32, 64, 128 KB, as the graphs are small", paper="512 KB to 8 MB"),
            _MODEL,
        ),
    )


_LARGE_GRAPHS = ScaledDown(
    what="graphs", ours="16,384 vertices, and soc-Epinions1 with 75,888", paper="Reddit, Pokec and others"
)


def _large(name: str, engines: str, machine: str, cache: ScaledDown) -> Workload:
    return _workload(
        name,
        f"{engines}, caches of 128, 256 and 512 KB, widths 128 and 256, three graphs of 16,384 vertices and "
        "soc-Epinions1",
        {
            "machine": machine,
            "graphs": list(_LARGE),
            "caches_kb": [128, 256, 512],
            "widths": [128, 256],
        },
        ARMS,
        (0, 1, 2),
        (_LARGE_GRAPHS, cache, _MODEL),
    )


def _engines_large() -> Workload:
    cache = ScaledDown(what="cache", ours="128, 256, 512 KB", paper="256, 512 KB, 1 MB")
    return _large("engines-large", "8 engines, HBM2", "snf_hbm2", cache)


def _one_engine_large() -> Workload:
    cache = ScaledDown(what="cache", ours="128, 256, 512 KB", paper="512 KB to 8 MB")
    return _large("one-engine-large", "1 engine, DDR4-2666", "snf_ddr4_small", cache)


def _quick() -> Workload:
    return _workload(
        "quick",
        "8 engines, HBM2, 64 KB of cache, width 256, three graphs of 4,096 vertices",
        {
            "machine": "snf_hbm2",
            "graphs": list(_SYNTHETIC),
            "caches_kb": [64],
            "widths": [256],
        },
        tuple(a for a in ARMS if a.name in _QUICK_ARMS),
        (0,),
        (
            ScaledDown(what="graphs", ours="4,096 vertices", paper="Reddit, Pokec and others"),
            ScaledDown(what="cache", ours="64 KB", paper="256, 512 KB, 1 MB"),
            _MODEL,
        ),
    )


def _more_graphs() -> Workload:
    return _workload(
        "more-graphs",
        "8 engines, HBM2, caches of 16, 32 and 64 KB, seven real graphs",
        {
            "machine": "snf_hbm2",
            "graphs": [{"kind": name, "file": f"{name}.npz"} for name in _MORE],
            "caches_kb": [16, 32, 64],
            "widths": [128, 256],
            "whole_rows": False,
        },
        tuple(a for a in ARMS if a.name in ("snf", "fixed", "analytic", "oracle")),
        (0, 1, 2),
        (
            ScaledDown(what="graphs", ours="890 to 75,888 vertices", paper="Reddit, Pokec and others"),
            ScaledDown(
                what="cache", ours="16, 32, 64 KB, as most of the graphs are small", paper="256, 512 KB, 1 MB"
            ),
            _MODEL,
        ),
    )


def _small(seeds: tuple[int, ...]) -> Workload:
    return _workload(
        "small",
        "a graph whose slice takes half of the cache",
        {
            "machine": "snf_hbm2",
            "graphs": [{"kind": "rmat", "text": "rmat:n=2048,deg=15"}],
            "caches_kb": [256],
            "widths": [256],
        },
        (SNF,),
        seeds,
        (),
    )


def _plots(name: str, title: str) -> tuple[Plot, ...]:
    return (
        Plot(title=f"{title}: cycles", workload=name, kind="dots", of="over_oracle"),
        Plot(
            title=f"{title}: convergence",
            workload=name,
            kind="lines",
            of="convergence",
            x_title="round (both layers)",
            y_title="cycles over the oracle's, mean",
        ),
    )


def _claim(
    workload: str, name: str, text: str, check: Compare | Within, paper: str, if_not: str = ""
) -> Claim:
    return Claim(
        name=f"{workload}-{name}",
        text=text,
        source="abstract" if "1.73" in paper or "1.46" in paper else "method",
        workload=workload,
        check=check,
        paper=paper,
        if_not=if_not,
    )


def _controller_claims(workload: str, kinds: int) -> tuple[Claim, ...]:
    return (
        _claim(
            workload,
            "near-oracle",
            f"Morphing ends within 5 % of the exhaustive best on all {kinds} kinds of graph, in every cache "
            "and width, and looks at no sweep and no model.",
            Within(metric="kinds", arm="snf", at_least=kinds),
            "near-optimal settings found automatically (letter version); 5 % is our reading",
        ),
        _claim(
            workload,
            "exploration",
            "Exploring costs at most 15 % of the whole run over the oracle, in the worst case.",
            Within(metric="worst_total", arm="snf", at_most=1.15),
            "no figure; our bound",
            "Width 128 gives 8 slices, so two layers are 16 rounds, and on sparse graphs the way from the "
            "first guess (up to 64 tiles) to one tile takes seven of them.",
        ),
        _claim(
            workload,
            "beats-fixed",
            "Morphing beats every single fixed number of tiles and strip height in geometric mean.",
            Compare(metric="mcycles", arm="snf", than="fixed", direction="lower"),
            "no single figure",
            "The best single setting was picked with all of these graphs, caches and widths known.",
        ),
    )


def _claims(workload: str, kinds: int) -> tuple[Claim, ...]:
    """Make the claims on the controller and on slices."""
    return (
        *_controller_claims(workload, kinds),
        _claim(
            workload,
            "slices-cut-traffic",
            "Slicing alone moves 1.5 times fewer lines than the best tiling of whole rows.",
            Compare(
                metric="mlines", arm="least_lines", than="least_lines_whole", direction="lower", ratio=1.5
            ),
            "no figure; 1.5 to 2 times in our first measurements",
        ),
        _claim(
            workload,
            "slices-cut-cycles",
            "Slicing alone takes 1.5 times fewer cycles than the best tiling of whole rows.",
            Compare(metric="mcycles", arm="oracle", than="tiled", direction="lower", ratio=1.5),
            "no figure; 1.5 to 2 times fewer lines in our first measurements",
            "The lines that slicing saves are those that lie in open rows; single lines open more rows.",
        ),
    )


_PRIOR_NAMES = {
    "hygcn": "a HyGCN-like accelerator",
    "engn": "an EnGN-like accelerator",
    "gcnax": "a GCNAX-like accelerator, which we give slices",
    "tiled": "the best tiling of whole rows",
}


def _prior_claims(workload: str, ratio: float, names: tuple[str, ...]) -> tuple[Claim, ...]:
    engines = "one engine" if workload.startswith("one-engine") else "several engines"
    return tuple(
        _claim(
            workload,
            f"beats-{name}",
            f"Slice-and-Forge is {ratio:g} times as fast as {_PRIOR_NAMES[name]}, exploration included.",
            Compare(metric="mcycles", arm="snf", than=name, direction="lower", ratio=ratio),
            f"{ratio:g} times over prior work, geometric mean, {engines}; its baselines are not known to us",
            "GCNAX-like: the model picks 16 slices too, so what is left is how well the tiles fit."
            if name == "gcnax"
            else "The baseline is tuned for each graph, cache and width, which prior accelerators were not.",
        )
        for name in names
    )


def _letter_claims() -> tuple[Claim, ...]:
    return tuple(
        _claim(
            workload,
            "letter",
            "In the best case, execution time falls by 40.1 % against the best tiling of whole rows.",
            Within(metric="most_saved", arm="snf", at_least=40.1),
            "up to 40.1 % less execution time (letter version, against its own baseline)",
        )
        for workload in ("engines-large", "one-engine-large", "engines", "one-engine")
    )


def _small_claim() -> Claim:
    return _claim(
        "small",
        "one-tile",
        "A graph smaller than the cache gets one tile, in the first round and in every other.",
        Within(metric="most_tiles", arm="snf", at_most=1.0),
        "no figure",
    )
