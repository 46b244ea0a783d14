"""Workloads, arms and claims of MAPS's verification."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from shoestring.evidence.model import (
    Arm,
    Claim,
    Compare,
    Metric,
    Plot,
    Profile,
    Role,
    ScaledDown,
    Study,
    Within,
    Workload,
)

__all__ = ["TUNED", "TUNED_OVER_LAM", "TUNED_OVER_LR", "study"]

MEASURE = "shoestring.finance.maps._measure:measure_arm"
SYNTHETIC, PARTS, US20, US385 = "weak-signals", "weak-signals-parts", "us20", "us385"
TUNED_OVER_LR = (3e-4, 1e-3, 3e-3)
TUNED_OVER_LAM = (0.005, 0.05, 0.5)
LEARNERS = ("dqn", "maps8", "independent8", "mlp", "bagged8")
"""The methods that learn; each has its learning rate chosen on the validation dates."""
TUNED: Mapping[str, Mapping[str, float]] = {
    SYNTHETIC: {
        "dqn": 0.001,
        "maps8": 0.001,
        "independent8": 0.001,
        "mlp": 0.003,
        "bagged8": 0.003,
        "lam": 0.005,
        "tuned": 0.001,
    },
    US20: {
        "dqn": 0.003,
        "maps8": 0.003,
        "independent8": 0.003,
        "mlp": 0.003,
        "bagged8": 0.001,
        "lam": 0.5,
        "tuned": 0.003,
    },
    US385: {"dqn": 0.001, "maps8": 0.003, "mlp": 0.001, "lam": 0.05, "tuned": 0.003},
}
"""Best validation Sharpe ratio in the stored tuning evidence: learning rates, and lambda of the arm
``maps8-tuned`` (with its own learning rate under ``tuned``); a test compares them."""
TUNING_SEED = 100

METRICS = (
    Metric(name="sharpe_0", title="Sharpe, no costs"),
    Metric(name="sharpe_5", title="Sharpe, 5 bps"),
    Metric(name="sharpe_10", title="Sharpe, 10 bps"),
    Metric(name="annual_return", title="return a year", unit="%", digits=1),
    Metric(name="volatility", title="volatility a year", unit="%", better="lower"),
    Metric(name="average_volatility", title="volatility before renormalising", unit="%", better="lower"),
    Metric(name="agent_sharpe", title="Sharpe of one agent (mean)"),
    Metric(name="agent_return", title="return of one agent (mean)", unit="%", digits=1),
    Metric(name="agent_correlation", title="correlation of agents' returns", better="lower"),
    Metric(name="confidence_correlation", title="correlation of confidences", better="lower"),
    Metric(name="turnover", title="turnover a day", better="lower"),
    Metric(name="valid_sharpe", title="Sharpe, validation"),
    Metric(name="updates", title="updates chosen", better="neither", digits=0),
)
VERSUS = {"dqn": "single DQN", "equal_weight": "equal weight", "mlp": "MLP"}
GAINS = tuple(
    Metric(name=f"gain_{name}_{bps}{end}", title=f"Sharpe over {title}, {bps} bps{word}")
    for name, title in VERSUS.items()
    for bps in (0, 5, 10)
    for end, word in (("", ""), ("_low", ", 2.5 %"), ("_high", ", 97.5 %"))
)
NO_COMMON_RISK = (
    "Weights are renormalised to a gross sum of 1, and companies of this market share no risk but the "
    "market's, which neutral weights do not hold; what is left is noise of single companies, the same for "
    "any agents."
)
ONE_SIGNAL = (
    "Decorrelated agents cannot all follow the one best forecast: with n uncorrelated confidences each keeps "
    "at most 1/sqrt(n) of it, and learns that part from the same noise."
)


def study(profile: Profile) -> Study:
    """Return MAPS's verification: a synthetic market always, real prices in the full profile.

    Parameters
    ----------
    profile : str
        ``"quick"`` or ``"full"``.

    Returns
    -------
    Study
        Workloads, arms, claims and plots.
    """
    workloads: tuple[Workload, ...]
    if profile == "quick":
        workloads = (_quick(),)
        claims = _mechanism_claims("quick")
    else:
        workloads = (
            _synthetic(),
            _parts(),
            _tuning(SYNTHETIC, LEARNERS),
            _us20(),
            _tuning(US20, LEARNERS),
            _us385(),
            _tuning(US385, ("dqn", "maps8", "mlp")),
        )
        claims = (
            *_mechanism_claims(SYNTHETIC),
            *_ensemble_claims(),
            *_real_claims(US20),
            *_real_claims(US385),
            *_out_of_reach(),
        )
    return Study(
        system="maps",
        family="finance",
        profile=profile,
        workloads=workloads,
        claims=claims,
        metrics=METRICS + GAINS,
        plots=tuple(p for w in workloads if not w.name.endswith("-tuning") for p in _plots(w)),
    )


# ---- arms ----


def _learner(kind: str, training: Mapping[str, Any], **config: Any) -> dict[str, Any]:
    """Options of an arm that learns; `kind` is one of `LEARNERS`."""
    network: dict[str, Any] = {}
    if kind in ("mlp", "bagged8"):
        config["n_agents"] = 8 if kind == "bagged8" else 1
        return {"method": "classifier", "config": {"training": training, **config}}
    if kind == "independent8":
        network, config = {"shared_encoder": False}, {"n_agents": 8, "lam": 0.0, **config}
    if kind == "dqn":
        config = {"n_agents": 1, **config}
    return {"method": "maps", "config": {"training": training, "network": network, **config}}


def _arm(name: str, title: str, role: Role, options: Mapping[str, Any]) -> Arm:
    return Arm(name=name, title=title, role=role, options=options)


def _baselines(market: str, training: Mapping[str, Any], learners: Sequence[str]) -> list[Arm]:
    tuned = TUNED[market]
    titles = {
        "dqn": "single DQN (n = 1)",
        "independent8": "8 independent DQNs, averaged",
        "mlp": "MLP classifier",
        "bagged8": "8 bagged MLPs",
    }
    rules = {
        "equal_weight": "equal weight (long only)",
        "momentum": "12-1 momentum",
        "reversal": "5-day reversal",
    }
    return [
        *(
            _arm(kind, titles[kind], "baseline", _learner(kind, {**training, "lr": tuned[kind]}))
            for kind in learners
            if kind != "maps8"
        ),
        *(_arm(name, title, "baseline", {"method": name}) for name, title in rules.items()),
    ]


def _ours(market: str, training: Mapping[str, Any], n: int, lam: float, **config: Any) -> dict[str, Any]:
    lr = TUNED[market]["maps8"]
    return _learner("maps", {**training, "lr": lr}, n_agents=n, lam=lam, **config)


def _tuned(market: str, training: Mapping[str, Any]) -> dict[str, Any]:
    tuned = TUNED[market]
    lr = tuned.get("tuned", tuned["maps8"])
    return _learner("maps", {**training, "lr": lr}, n_agents=8, lam=tuned["lam"])


# ---- the synthetic market ----

SHARES = {"train": [0.0, 0.5], "valid": [0.5, 0.7], "test": [0.7, 1.0]}
SYNTHETIC_TRAINING: Mapping[str, Any] = {
    "updates": 600,
    "batch_size": 1024,
    "collect": 320,
    "buffer_size": 32_768,
    "check_every": 50,
    "patience": 5,
}
SYNTHETIC_BUDGET = (
    "at most 600 updates of 1,024 states, stopped by the validation Sharpe ratio; each method's learning "
    "rate chosen on the validation dates of another seed over the same three values (workload {}-tuning)"
)
SMALLER_MARKET = (
    ScaledDown(
        what="market", ours="300 synthetic companies, 2,500 days", paper="about 3,000 US companies, 18 years"
    ),
    ScaledDown(what="updates", ours="600 of 1,024 states", paper="not obtained; predecessor 500,000 of 32"),
)


def _synthetic() -> Workload:
    training = SYNTHETIC_TRAINING
    arms = _baselines(SYNTHETIC, training, LEARNERS)
    for n in (2, 4, 8, 16):
        title = f"MAPS, {n} agents"
        ours = _ours(SYNTHETIC, training, n, 0.5)
        arms.append(_arm(f"maps{n}", f"{title}, lambda .5", "system", ours))
        without = _ours(SYNTHETIC, training, n, 0.0)
        arms.append(_arm(f"maps{n}-lam0", f"{title}, lambda 0", "ablation", without))
    arms.append(_arm("maps8-tuned", "MAPS, 8 agents, lambda tuned", "system", _tuned(SYNTHETIC, training)))
    return Workload(
        name=SYNTHETIC,
        title="weak, regime-switching signals in 300 companies, test 750 days",
        data="synthetic",
        run=MEASURE,
        arms=tuple(arms),
        seeds=(0, 1, 2, 3, 4),
        budget=SYNTHETIC_BUDGET.format(SYNTHETIC),
        options={"market": {"companies": 300, "days": 2500}, "spans": SHARES},
        timeout_s=1800,
        scaled_down=SMALLER_MARKET,
    )


def _parts() -> Workload:
    """Compare the forms of the global loss, and learning from all rewards, on the synthetic market."""
    parts: dict[str, tuple[str, Role, dict[str, Any]]] = {
        "maps8": ("squared correlation (default)", "system", {}),
        "maps8-corr": ("plain correlation", "ablation", {"diversity": "corr"}),
        "maps8-relu": ("positive part of the correlation", "ablation", {"diversity": "relu"}),
        "maps8-joint": ("not detached", "ablation", {"detach": False}),
        "maps8-full": ("full information (ours)", "ablation", {"full_information": True}),
    }
    arms = tuple(
        _arm(name, words, role, _ours(SYNTHETIC, SYNTHETIC_TRAINING, 8, 0.5, **config))
        for name, (words, role, config) in parts.items()
    )
    return dataclasses.replace(
        _synthetic(),
        name=PARTS,
        title="forms of the global loss, 8 agents, lambda .5, on the same market",
        arms=arms,
        seeds=(0, 1, 2),
        budget=f"as {SYNTHETIC}, with its learning rate",
    )


def _quick() -> Workload:
    training = {
        "updates": 200,
        "batch_size": 512,
        "collect": 160,
        "buffer_size": 16_384,
        "check_every": 50,
        "patience": 4,
        "lr": 1e-3,
        "target_every": 100,
    }
    arms = (
        _arm("dqn", "single DQN (n = 1)", "baseline", _learner("dqn", training)),
        _arm("maps8", "MAPS, 8 agents, lambda .5", "system", _learner("maps", training, n_agents=8)),
        _arm(
            "maps8-lam0",
            "MAPS, 8 agents, lambda 0",
            "ablation",
            _learner("maps", training, n_agents=8, lam=0.0),
        ),
        _arm("mlp", "MLP classifier", "baseline", _learner("mlp", training)),
        _arm("reversal", "5-day reversal", "baseline", {"method": "reversal"}),
    )
    return Workload(
        name="quick",
        title="weak, regime-switching signals in 100 companies, test 375 days",
        data="synthetic",
        run=MEASURE,
        arms=arms,
        seeds=(0,),
        budget="at most 200 updates of 512 states at a learning rate of 1e-3",
        options={"market": {"companies": 100, "days": 1250, "ic": 0.03}, "spans": SHARES},
        timeout_s=300,
        scaled_down=(
            ScaledDown(
                what="market",
                ours="100 synthetic companies with stronger signals (IC .03)",
                paper="about 3,000 US companies, 18 years",
            ),
            ScaledDown(what="seeds", ours="1", paper="not stated"),
        ),
    )


# ---- real prices ----

US20_TRAINING: Mapping[str, Any] = {
    "updates": 600,
    "batch_size": 512,
    "collect": 160,
    "buffer_size": 16_384,
    "check_every": 50,
    "patience": 5,
}


def _real_arms(market: str, training: Mapping[str, Any], learners: Sequence[str]) -> tuple[Arm, ...]:
    tuned = TUNED[market]
    versus = {
        "dqn": _learner("dqn", {**training, "lr": tuned["dqn"]}),
        "mlp": _learner("mlp", {**training, "lr": tuned["mlp"]}),
        "equal_weight": {"method": "equal_weight"},
    }
    return (
        *_baselines(market, training, learners),
        _arm("maps8-lam0", "MAPS, 8 agents, lambda 0", "ablation", _ours(market, training, 8, 0.0)),
        _arm("maps8", "MAPS, 8 agents, lambda .5", "system", _ours(market, training, 8, 0.5)),
        _arm(
            "maps8-tuned",
            "MAPS, 8 agents, lambda tuned",
            "system",
            {**_tuned(market, training), "versus": versus},
        ),
    )


def _us20() -> Workload:
    return Workload(
        name=US20,
        title="20 US stocks of skfolio (large companies of 2022, so survivors), test 2007-2018, every close",
        data="real",
        run=MEASURE,
        arms=_real_arms(US20, US20_TRAINING, LEARNERS),
        seeds=(0, 1, 2),
        budget="at most 600 updates of 512 states, stopped by the validation Sharpe ratio of 2004-2006; "
        "learning rates chosen there with another seed (workload us20-tuning)",
        options={
            "market": "skfolio/sp500",
            "spans": {"train": ["1990", "2003"], "valid": ["2004", "2006"], "test": ["2007", "2018"]},
        },
        timeout_s=900,
        scaled_down=(
            ScaledDown(what="companies", ours="20, survivors", paper="about 3,000 US companies"),
            ScaledDown(
                what="training years",
                ours="1990-2003, as there are only 20 companies",
                paper="2000-2003, tested in blocks of three years",
            ),
        ),
    )


def _us385() -> Workload:
    return Workload(
        name=US385,
        title="385 US stocks, all alive in 2024 (survivorship bias), test 2007-2018, every close",
        data="real",
        run=MEASURE,
        arms=_real_arms(US385, SYNTHETIC_TRAINING, ("dqn", "maps8", "mlp")),
        seeds=(0, 1, 2),
        budget="at most 600 updates of 1,024 states, stopped by the validation Sharpe ratio of 2004-2006; "
        "learning rates chosen there with another seed (workload us385-tuning)",
        options={
            "market": "us_stocks",
            "spans": {"train": ["2000", "2003"], "valid": ["2004", "2006"], "test": ["2007", "2018"]},
        },
        timeout_s=1800,
        needs_data="finance",
        scaled_down=(
            ScaledDown(what="companies", ours="385, survivors", paper="about 3,000 US companies"),
            ScaledDown(what="blocks", ours="one training", paper="tested in blocks of three years"),
        ),
    )


# ---- tuning ----


def _tuning(market: str, learners: Sequence[str]) -> Workload:
    """Every learner at every learning rate, MAPS at every lambda too, on the validation dates."""
    source = {SYNTHETIC: _synthetic, US20: _us20, US385: _us385}[market]()
    training = US20_TRAINING if market == US20 else SYNTHETIC_TRAINING
    arms = []
    for lr in TUNED_OVER_LR:
        for kind in learners:
            lams: tuple[float | None, ...] = TUNED_OVER_LAM if kind == "maps8" else (None,)
            for lam in lams:
                more = {} if lam is None else {"n_agents": 8, "lam": lam}
                options = {**_learner(kind, {**training, "lr": lr}, **more), "tuning": True}
                name = f"{kind}-lr{lr:g}" + ("" if lam is None else f"-lam{lam:g}")
                role: Role = "system" if kind == "maps8" else "baseline"
                arms.append(
                    _arm(name, name.replace("-lr", ", lr ").replace("-lam", ", lambda "), role, options)
                )
    return Workload(
        name=f"{market}-tuning",
        title=f"choice of learning rate and lambda, {market}, validation dates",
        data=source.data,
        run=MEASURE,
        arms=tuple(arms),
        seeds=(TUNING_SEED,),
        budget=f"as {market}, one run a setting",
        options=source.options,
        timeout_s=source.timeout_s,
        needs_data=source.needs_data,
        scaled_down=source.scaled_down,
    )


# ---- claims ----


def _compare(  # the fields of a claim
    name: str,
    text: str,
    workload: str,
    metric: str,
    arm: str,
    than: str,
    *,
    paper: str,
    source: str = "abstract",
    **more: Any,
) -> Claim:
    check = {k: more.pop(k) for k in ("direction", "by", "ratio") if k in more}
    return Claim(
        name=f"{workload}-{name}",
        text=text,
        source=source,
        workload=workload,
        check=Compare(metric=metric, arm=arm, than=than, **check),
        paper=paper,
        **more,
    )


def _mechanism_claims(workload: str) -> tuple[Claim, ...]:
    return (
        _compare(
            "confidence",
            "The global loss makes the agents' confidences less alike.",
            workload,
            "confidence_correlation",
            "maps8",
            "maps8-lam0",
            direction="lower",
            by=0.4,
            paper="stated without a figure; the .4 is our reading",
        ),
        _compare(
            "returns",
            "The agents' daily returns are less alike too.",
            workload,
            "agent_correlation",
            "maps8",
            "maps8-lam0",
            direction="lower",
            by=0.4,
            paper="stated without a figure; the .4 is our reading",
        ),
        _compare(
            "sharpe",
            "Eight agents have a higher Sharpe ratio than one.",
            workload,
            "sharpe_0",
            "maps8",
            "dqn",
            paper="more agents, higher Sharpe ratio through lower risk; figures not obtained",
            if_not=ONE_SIGNAL,
        ),
    )


def _ensemble_claims() -> tuple[Claim, ...]:
    paper = "more agents, higher Sharpe ratio through lower risk; figures not obtained"
    growth = [
        _compare(
            f"more-{many}",
            f"{many} agents have a higher Sharpe ratio than {few} (lambda .5).",
            SYNTHETIC,
            "sharpe_0",
            f"maps{many}",
            f"maps{few}",
            paper=paper,
            if_not=ONE_SIGNAL,
        )
        for few, many in ((2, 4), (4, 8), (8, 16))
    ]
    beats = [
        _compare(
            f"beats-{than}",
            f"MAPS (8 agents, lambda tuned) beats {words} in Sharpe ratio.",
            SYNTHETIC,
            "sharpe_0",
            "maps8-tuned",
            than,
            paper="beats most baselines in Sharpe ratio; figures not obtained",
        )
        for than, words in (
            ("dqn", "the single DQN"),
            ("independent8", "8 independent DQNs, averaged"),
            ("maps8-lam0", "itself without the global loss"),
            ("mlp", "the MLP classifier"),
            ("bagged8", "8 bagged MLPs"),
            ("momentum", "12-1 momentum"),
            ("reversal", "5-day reversal"),
        )
    ]
    return (
        *growth,
        *beats,
        _compare(
            "risk",
            "Eight agents have a lower volatility than one.",
            SYNTHETIC,
            "volatility",
            "maps8",
            "dqn",
            direction="lower",
            paper=paper,
            if_not=NO_COMMON_RISK,
        ),
        _compare(
            "risk-before",
            "The mean of eight agents' portfolios, before it is renormalised, has a lower volatility than "
            "one agent's.",
            SYNTHETIC,
            "average_volatility",
            "maps8",
            "dqn",
            direction="lower",
            paper=paper,
        ),
        _compare(
            "independent",
            "Eight independent DQNs, averaged, are no worse than one.",
            SYNTHETIC,
            "sharpe_0",
            "independent8",
            "dqn",
            source="ours",
            paper="ours, not the paper's",
        ),
        _compare(
            "price",
            "Diversity has a price: a single agent earns less with the global loss.",
            SYNTHETIC,
            "agent_sharpe",
            "maps8",
            "maps8-lam0",
            direction="lower",
            source="ours",
            paper="ours, not the paper's",
        ),
        _compare(
            "cancels",
            "Punishing the plain correlation lets the agents cancel out: less is left of the sum of their "
            "portfolios than with its square.",
            PARTS,
            "average_volatility",
            "maps8-corr",
            "maps8",
            direction="lower",
            source="ours",
            paper="ours, not the paper's",
        ),
        _compare(
            "full",
            "The rewards of all three actions teach more than that of the one taken.",
            PARTS,
            "sharpe_0",
            "maps8-full",
            "maps8",
            source="ours",
            paper="ours, not the paper's",
        ),
    )


def _real_claims(workload: str) -> tuple[Claim, ...]:
    words = {
        "dqn": "the single DQN",
        "mlp": "the MLP classifier",
        "equal_weight": "equal weight",
        "momentum": "12-1 momentum",
        "reversal": "5-day reversal",
    }
    few = "20 survivors" if workload == US20 else "385 survivors"
    explanation = (
        f"On {few} the windows of prices hold hardly any forecast of the next day, and a neutral portfolio "
        "leaves out the market's premium, which equal weight earns."
    )
    versus = [
        _compare(
            f"beats-{than}",
            f"MAPS (8 agents, lambda tuned) beats {text} in Sharpe ratio after costs of 5 bps.",
            workload,
            "sharpe_5",
            "maps8-tuned",
            than,
            paper="beats most baselines in Sharpe ratio; figures not obtained",
            if_not=explanation,
        )
        for than, text in words.items()
    ]
    significant = Claim(
        name=f"{workload}-significant",
        text="The gain in Sharpe ratio over the single DQN (5 bps) is above chance over the test days: the "
        "bootstrap interval lies above 0.",
        source="ours",
        workload=workload,
        check=Within(metric="gain_dqn_5_low", arm="maps8-tuned", at_least=0.0),
        paper="no interval is given",
        if_not=explanation,
    )
    diversity = _compare(
        "confidence",
        "The global loss makes the agents' confidences less alike.",
        workload,
        "confidence_correlation",
        "maps8",
        "maps8-lam0",
        direction="lower",
        paper="stated without a figure",
    )
    return (*versus, significant, diversity)


def _out_of_reach() -> tuple[Claim, ...]:
    return (
        Claim(
            name="paper-universe",
            text="On about 3,000 US companies, 12 years of test, MAPS beats most baselines in Sharpe ratio.",
            source="abstract; experiments",
            workload=US20,
            check=Within(metric="sharpe_0", arm="maps8", at_least=0.0),
            paper="table values not obtained",
            needs=("licensed data",),
        ),
    )


def _plots(workload: Workload) -> tuple[Plot, ...]:
    agents = tuple(a.name for a in workload.arms if a.name.startswith("maps"))
    plots = [
        Plot(
            title=f"Sharpe ratio without costs, {workload.name}",
            workload=workload.name,
            kind="dots",
            of="sharpe_0",
            x_title="annual Sharpe ratio on the test dates",
        ),
        Plot(
            title=f"How alike the agents are, {workload.name}",
            workload=workload.name,
            kind="dots",
            of="confidence_correlation",
            arms=agents,
            x_title="mean correlation of two agents' confidences",
        ),
        Plot(
            title=f"Net asset value without costs, {workload.name}",
            workload=workload.name,
            kind="lines",
            of="nav",
            arms=tuple(a.name for a in workload.arms if a.name in ("dqn", "maps8", "maps8-lam0", "mlp")),
            x_title="years of the test",
            y_title="net asset value",
        ),
    ]
    if workload.name != "quick":
        plots.append(
            Plot(
                title=f"Sharpe ratio after 5 bps, {workload.name}",
                workload=workload.name,
                kind="dots",
                of="sharpe_5",
                x_title="annual Sharpe ratio on the test dates",
            )
        )
    return tuple(plots)
