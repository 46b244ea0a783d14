"""Workloads, arms and claims of Shai-am's verification.

The paper (a platform paper; only its abstract could be obtained) states no figure. What is checked are
criteria of our own about properties that the abstract claims: one interface for research, backtest and
production, results that others can reproduce, reuse, isolation.
"""

from importlib.util import find_spec
from typing import Any

from shoestring.evidence.model import (
    Arm,
    Claim,
    Compare,
    Metric,
    Plot,
    Profile,
    Study,
    Within,
    Workload,
)

__all__ = ["study"]

_MEASURE = "shoestring.finance.shai_am._measure"
_KILLS = "shoestring.finance.shai_am._measure_kills:measure_kills"
_OURS = "ours; the paper states none"
_ABSTRACT = "abstract (property); criterion ours"

METRICS = (
    Metric(name="weights_differ", title="weights that differ", better="lower", digits=0),
    Metric(name="hashes_differ", title="results whose hash differs", better="lower", digits=0),
    Metric(name="nav_gap", title="largest relative gap of the NAV", better="lower", digits=1),
    Metric(name="dates", title="dates", better="neither", digits=0),
    Metric(name="backtests", title="backtests", better="neither", digits=0),
    Metric(name="first_s", title="first sweep", unit="s", better="lower"),
    Metric(name="again_s", title="same sweep again", unit="s", better="lower", digits=3),
    Metric(name="speed_up", title="speed-up of the second", unit="x", digits=1),
    Metric(
        name="upstream_rerun", title="steps before the changed allocator run again", better="lower", digits=0
    ),
    Metric(name="downstream_rerun", title="steps after it run again", better="neither", digits=0),
    Metric(name="repeated_percent", title="decisions made twice", unit="%", better="lower", digits=1),
    Metric(name="results_differ", title="result differs from an undisturbed run", better="lower", digits=0),
    Metric(name="damaged", title="damaged objects or keys", better="lower", digits=0),
    Metric(name="order_files", title="order files of the date", better="neither", digits=0),
    Metric(name="kills", title="kills", better="neither", digits=0),
    Metric(name="leaks_found", title="planted leaks found", digits=0),
    Metric(name="leaks_missed", title="planted leaks missed", better="lower", digits=0),
    Metric(name="clean_passed", title="clean strategies passed", digits=0),
    Metric(name="false_alarms", title="false alarms", better="lower", digits=0),
    Metric(name="schedules", title="schedules", better="neither", digits=0),
    Metric(name="task_ms", title="empty task (median)", unit="ms", better="lower", digits=3),
    Metric(name="worst_ms", title="empty task (longest)", unit="ms", better="lower", digits=1),
    Metric(name="tasks", title="tasks", better="neither", digits=0),
    Metric(name="lines", title="lines of code of the rule", better="lower", digits=0),
)


def study(profile: Profile) -> Study:
    """Return Shai-am's verification.

    Parameters
    ----------
    profile : str
        ``"quick"``: one seed and few dates; ``"full"``: the experiment of the design, three seeds.

    Returns
    -------
    Study
        Workloads, arms, claims and plots. Ray and bt take part where they are installed.
    """
    full = profile == "full"
    seeds = (0, 1, 2) if full else (0,)
    workloads = [
        _modes(full, seeds),
        _cache(full, seeds),
        _kills(full, seeds),
        _leaks(full, seeds),
        _overhead(full, seeds),
    ]
    claims = [
        *_mode_claims(full),
        *_cache_claims(full),
        *_kill_claims(),
        *_leak_claims(),
        *_overhead_claims(),
    ]
    if full:
        workloads += [_value(seeds), _lines(seeds)]
        claims += [*_value_claims(), *_line_claims()]
    claims.append(_scaling())
    return Study(
        system="shai_am",
        family="finance",
        profile=profile,
        workloads=tuple(workloads),
        claims=tuple(claims),
        metrics=METRICS,
        plots=(
            Plot(
                title="The same sweep twice", workload="cache", kind="dots", of="speed_up", x_title="speed-up"
            ),
            Plot(
                title="What an empty task costs", workload="overhead", kind="dots", of="task_ms", x_title="ms"
            ),
        ),
    )


def _modes(full: bool, seeds: tuple[int, ...]) -> Workload:
    ways = {"process": "a worker process", "live": "live, date by date"}
    if full:
        ways = {"inproc": "this process", "interpreter": "another interpreter, by files", **ways}
        if find_spec("ray") is not None:
            ways["ray"] = "Ray, one local worker"
    return Workload(
        name="modes",
        title="One strategy, every way of running it",
        data="real",
        run=f"{_MEASURE}:measure_modes",
        arms=tuple(_arm(way, title, "system", way=way) for way, title in ways.items()),
        seeds=seeds,
        budget="the same strategy object, prices, costs of 5 bps and seed",
        options={"start": "2005-01-01" if full else "2021-01-01"},
    )


def _mode_claims(full: bool) -> list[Claim]:
    ways = ["process", *(["inproc", "interpreter"] if full else [])]
    if full and find_spec("ray") is not None:
        ways.append("ray")
    titles = {
        "process": "a worker process",
        "inproc": "the workspace",
        "interpreter": "another interpreter",
        "ray": "Ray",
    }
    same = [
        _claim(
            f"same-hashes-{way}",
            f"Through {titles[way]} every result has the hash of the run in this process.",
            "modes",
            Within(metric="hashes_differ", arm=way, at_most=0),
        )
        for way in ways
    ]
    live = _claim(
        "live-weights",
        "A live date has the weights of the backtest, bit for bit.",
        "modes",
        Within(metric="weights_differ", arm="live", at_most=0),
    )
    return [*same, live]


def _cache(full: bool, seeds: tuple[int, ...]) -> Workload:
    size = {"strategies": 40, "parameters": 5} if full else {"strategies": 1, "parameters": 2}
    return Workload(
        name="cache",
        title="A sweep of strategies and parameters, run twice",
        data="real",
        run=f"{_MEASURE}:measure_cache",
        arms=(
            _arm("store", "with the store", "system", store=True),
            _arm("nothing", "nothing is kept", "ablation", store=False),
        ),
        seeds=seeds,
        budget="the same strategies, parameters and prices, one process",
        options={
            "start": "2021-01-01",
            "from": "2018-01-01",
            **size,
        },
        timeout_s=7200.0,
    )


def _cache_claims(full: bool) -> list[Claim]:
    claims = [
        _claim(
            "cached-sweep",
            "A sweep that ran before is at least 20 times faster.",
            "cache",
            Within(metric="speed_up", arm="store", at_least=20),
        ),
        _claim(
            "only-downstream",
            "After a change of one allocator nothing before it runs again.",
            "cache",
            Within(metric="upstream_rerun", arm="store", at_most=0),
        ),
        _claim(
            "cost-of-keeping",
            "Keeping every step makes the first sweep at most half as slow again.",
            "cache",
            Compare(metric="first_s", arm="store", than="nothing", direction="lower", ratio=0.667),
            if_not="Small tables and keys are written for every step of every backtest.",
        ),
    ]
    return claims if full else claims[:2]  # two backtests measure what is loaded once


def _kills(full: bool, seeds: tuple[int, ...]) -> Workload:
    deaths = [3, 60, 140] if full else [60]
    arms = [_arm("kept", "with the workspace", "system", keep=True)]
    if full:
        arms.append(_arm("lost", "nothing is kept", "ablation", keep=False))
    return Workload(
        name="kills",
        title="kill -9 in the middle of a backtest and of a live run",
        data="synthetic",
        run=_KILLS,
        arms=tuple(arms),
        seeds=seeds,
        budget="the same kills, at the same decisions",
        options={"deaths": deaths, "again": 2 if full else 1},
    )


def _kill_claims() -> list[Claim]:
    return [
        _claim(
            "resumes",
            "A killed backtest ends with the result of an undisturbed one.",
            "kills",
            Within(metric="results_differ", arm="kept", at_most=0),
        ),
        _claim(
            "nothing-half",
            "No half object and no key of a missing one is left.",
            "kills",
            Within(metric="damaged", arm="kept", at_most=0),
        ),
        _claim(
            "one-order-file",
            "A live date that was killed and started again has one order file.",
            "kills",
            Within(metric="order_files", arm="kept", at_least=1, at_most=1),
        ),
    ]


def _leaks(full: bool, seeds: tuple[int, ...]) -> Workload:
    arms = [_arm("detector", "all of the detector", "system", whole=True)]
    if full:
        arms.append(_arm("weights", "only: change later data, compare weights", "ablation", whole=False))
    return Workload(
        name="leaks",
        title=f"{12 if full else 5} planted leaks and {12 if full else 5} clean strategies",
        data="synthetic",
        run=f"{_MEASURE}:measure_leaks",
        arms=tuple(arms),
        seeds=seeds,
        budget="the same strategies and dates",
        options={"dates": 4 if full else 2, "strategies": 12 if full else 5},
    )


def _leak_claims() -> list[Claim]:
    return [
        _claim(
            "finds-leaks",
            "The detector finds every planted leak.",
            "leaks",
            Within(metric="leaks_missed", arm="detector", at_most=0),
        ),
        _claim(
            "passes-clean",
            "It passes every clean strategy.",
            "leaks",
            Within(metric="false_alarms", arm="detector", at_most=0),
        ),
    ]


def _overhead(full: bool, seeds: tuple[int, ...]) -> Workload:
    arms = [
        _arm("store", "kept in this process", "system", how="store"),
        _arm("pool", "kept in a warm worker", "system", how="pool"),
    ]
    if full:
        arms.append(_arm("plain", "a plain call", "bound", how="plain"))
    return Workload(
        name="overhead",
        title="An empty task",
        data="synthetic",
        run=f"{_MEASURE}:measure_overhead",
        arms=tuple(arms),
        seeds=seeds,
        budget="the same number of tasks",
        options={"tasks": 301 if full else 101},
    )


def _overhead_claims() -> list[Claim]:
    return [
        _claim(
            "inproc-overhead",
            "An empty task in this process costs less than 2 ms.",
            "overhead",
            Within(metric="task_ms", arm="store", at_most=2),
        ),
        _claim(
            "process-overhead",
            "An empty task in a warm worker costs less than 150 ms.",
            "overhead",
            Within(metric="task_ms", arm="pool", at_most=150),
        ),
    ]


def _value(seeds: tuple[int, ...]) -> Workload:
    arms = [_arm("loop", "against shares and cash, day by day", "system", against="loop")]
    if find_spec("bt") is not None:
        arms.append(_arm("bt", "against bt", "system", against="bt"))
    return Workload(
        name="value",
        title="Net asset value of 7 random schedules with costs",
        data="synthetic",
        run=f"{_MEASURE}:measure_value",
        arms=tuple(arms),
        seeds=seeds,
        budget="the same weights, prices and costs of 7.5 bps",
    )


def _value_claims() -> list[Claim]:
    arms = {"loop": "a plain account of shares and cash"}
    if find_spec("bt") is not None:
        arms["bt"] = "bt"
    return [
        _claim(
            f"value-{arm}",
            f"The net asset value equals that of {title} within 1e-8.",
            "value",
            Within(metric="nav_gap", arm=arm, at_most=1e-8),
        )
        for arm, title in arms.items()
    ]


def _lines(seeds: tuple[int, ...]) -> Workload:
    return Workload(
        name="lines",
        title="One rule in the framework and as a script",
        data="synthetic",
        run=f"{_MEASURE}:measure_lines",
        arms=(
            _arm("framework", "in the framework", "system", **{"as": "framework"}),
            _arm("script", "as a script", "baseline", **{"as": "script"}),
        ),
        seeds=seeds,
        budget="the same rule, dates and costs; code lines without imports, comments and blank lines",
    )


def _line_claims() -> list[Claim]:
    return [
        _claim(
            "reuse",
            "The rule takes at most half of the lines of a script that only backtests it.",
            "lines",
            Compare(metric="lines", arm="framework", than="script", direction="lower", ratio=2.0),
        ),
        _claim(
            "same-as-script",
            "Both earn the same.",
            "lines",
            Within(metric="nav_gap", arm="framework", at_most=1e-9),
        ),
    ]


def _scaling() -> Claim:
    return Claim(
        name="cluster",
        text="Pipelines scale over the nodes of a cluster.",
        source="abstract (containers and pipelines)",
        workload="overhead",
        check=Within(metric="task_ms", arm="pool", at_most=150),
        paper="no figure",
        needs=("cluster",),
    )


def _claim(name: str, text: str, workload: str, check: Within | Compare, if_not: str = "") -> Claim:
    return Claim(
        name=name, text=text, source=_ABSTRACT, workload=workload, check=check, paper=_OURS, if_not=if_not
    )


def _arm(name: str, title: str, role: Any, **options: Any) -> Arm:
    return Arm(name=name, title=title, role=role, options=options)
