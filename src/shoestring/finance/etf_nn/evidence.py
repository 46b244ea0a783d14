"""Workloads, arms and claims of ETF-NN's verification."""

from collections.abc import Mapping
from dataclasses import replace
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
from shoestring.finance.etf_nn._null import median_bound

__all__ = ["study"]

MEASURE = "shoestring.finance.etf_nn._measure:measure_arm"
PLANTED, CONTROL, MANY = "planted", "no-signal", "no-signal-many"
SNAPSHOTS, ANNUAL = "us-key-statistics", "us-annual"
DATA = "finance"
FULL: Mapping[str, int] = {"epochs": 30, "patience": 5}
"""Half the defaults: two busy cores have twenty minutes for all arms and seeds."""

METRICS = (
    Metric(name="rank_ic", title="rank IC over ETFs", digits=3),
    Metric(name="rank_ic_young", title="over thematic ETFs", digits=3),
    Metric(name="rank_ic_old", title="over broad ETFs", digits=3),
    Metric(name="rank_ic_error", title="its error without a signal", better="neither", digits=3),
    Metric(name="rank_ic_t", title="t of rank IC", digits=2),
    Metric(name="rank_ic_ir", title="ICIR"),
    Metric(name="stock_ic", title="rank IC over stocks", digits=4),
    Metric(name="stock_ic_error", title="its error without a signal", better="neither", digits=4),
    Metric(name="stock_ic_t", title="t of stock IC", digits=2),
    Metric(name="stock_ic_ir", title="ICIR over stocks"),
    Metric(name="rank_ic_has_0", title="rank IC is within chance (1: yes)", better="neither", digits=0),
    Metric(name="stock_ic_has_0", title="stock IC is within chance (1: yes)", better="neither", digits=0),
    Metric(name="signal_etf", title="rank correlation with the planted signal, ETFs", digits=3),
    Metric(name="signal_stock", title="the same, stocks", digits=3),
    Metric(name="sharpe", title="Sharpe, 10 bps"),
    Metric(name="active_sharpe", title="Sharpe against equal weight"),
    Metric(name="active_return", title="return over equal weight a year", unit="%"),
    Metric(name="annual_return", title="return a year", unit="%", digits=1),
    Metric(name="annual_volatility", title="volatility a year", unit="%", better="lower", digits=1),
    Metric(name="max_drawdown", title="maximum drawdown", unit="%", better="lower", digits=1),
    Metric(name="turnover", title="turnover a year", better="lower", digits=1),
    Metric(name="scored_share", title="ETFs scored", unit="%", better="neither", digits=0),
    Metric(name="coverage", title="coverage", unit="%", better="neither", digits=0),
    Metric(name="eligible", title="ETFs eligible", unit="%", better="neither", digits=0),
)

NO_PAPER_FIGURE = (
    'the abstract says "outperforms the baselines in multiple experiments"; no figure was obtainable'
)
OUR_EXPECTATION = "no figure of the paper's was obtainable; the expectation is ours"
NOISE = (
    "Two years of 37 ETFs are few: without any signal one seed's rank IC has the standard error that the "
    "table prints beside it."
)
SMALL = (
    "On the same kind of data, over 70 quarters, the rank IC of such models was .002 to .02; a few years and "
    "a few dozen baskets cannot tell that from nothing."
)


def study(profile: Profile) -> Study:
    """Return ETF-NN's verification: a synthetic market always, its control and US data in the full profile.

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
        workloads, claims = (_planted_quick(),), _core_claims(PLANTED)
    else:
        workloads = (_planted(), _control(), _control_many(), _real(SNAPSHOTS), _real(ANNUAL))
        claims = (
            *_core_claims(PLANTED),
            *_planted_claims(),
            *_control_claims(),
            *_real_claims(SNAPSHOTS),
            *_real_claims(ANNUAL),
            _licensed(),
        )
    return Study(
        system="etf_nn",
        family="finance",
        profile=profile,
        workloads=workloads,
        claims=claims,
        metrics=METRICS,
        plots=tuple(p for w in workloads for p in _plots(w)),
    )


def _arm(name: str, title: str, role: Role, method: str | None = None, **options: Any) -> Arm:
    return Arm(name=name, title=title, role=role, options={"method": method or name, **options})


def _learners() -> tuple[Arm, ...]:
    return (
        _arm("etf-nn", "ETF-NN (network trained on stocks)", "system"),
        _arm("etf-net", "the same network trained on ETFs", "baseline"),
        _arm("ridge", "ridge, trained on stocks", "baseline"),
        _arm("boosting", "gradient boosting, trained on stocks", "baseline"),
    )


def _rules() -> tuple[Arm, ...]:
    return (
        _arm("value", "value composite", "baseline"),
        _arm("quality", "quality composite", "baseline"),
        _arm("momentum", "ETF momentum, 12-1", "baseline"),
        _arm("low-volatility", "ETF low volatility", "baseline"),
        _arm("market", "market ETF", "baseline"),
        _arm("equal", "equal weight of eligible ETFs", "baseline"),
    )


def _ablations() -> tuple[Arm, ...]:
    """Ours with one part off or exchanged, tuned over the same grid."""
    return (
        _arm("single", "one network instead of five", "ablation", "etf-nn", ensemble=1),
        _arm(
            "whole-market",
            "ranks over the whole market",
            "ablation",
            "etf-nn",
            features={"sector_neutral": False},
        ),
        _arm(
            "price-ratios", "price ratios instead of yields", "ablation", "etf-nn", features={"yields": False}
        ),
        _arm("rank-ic", "rank-IC loss", "ablation", "etf-nn", training={**FULL, "loss": "rank_ic"}),
        _arm("stacked", "four quarters side by side", "ablation", "etf-nn", features={"quarters": 4}),
        _arm(
            "gru",
            "four quarters through a GRU",
            "ablation",
            "etf-nn",
            features={"quarters": 4},
            network={"encoder": "gru"},
        ),
        _arm(
            "random-start",
            "last layer started at full scale",
            "ablation",
            "etf-nn",
            network={"output_scale": 1.0},
        ),
    )


def _planted() -> Workload:
    return Workload(
        name=PLANTED,
        title="synthetic market, planted IC of 0.05",
        data="synthetic",
        run=MEASURE,
        arms=(
            *_learners(),
            *_rules(),
            *_ablations(),
            _arm("truth", "the planted signal itself", "bound"),
        ),
        seeds=(0, 1, 2, 3, 4),
        budget="three settings a learner (learning rate, penalty or shrinkage), chosen on its own held-out "
        "last 20 % of training dates before the first test date; up to 30 epochs; refit once a year; best "
        "fifth held, monthly, 10 bps",
        options={"market": {"ic": 0.05}, "training": FULL},
        timeout_s=3600,
        scaled_down=_scaled_down(),
    )


def _planted_quick() -> Workload:
    return Workload(
        name=PLANTED,
        title="small synthetic market, planted IC of 0.15",
        data="synthetic",
        run=MEASURE,
        arms=_learners()[:2],
        seeds=(0, 1, 2),
        budget="one setting, three members, up to 15 epochs; refit once a year",
        options={
            "market": {
                "ic": 0.15,
                "num_firms": 300,
                "num_quarters": 32,
                "names_per_theme": 25,
                "file_every": 10,
            },
            "lrs": [3e-3],
            "ensemble": 3,
            "training": {"epochs": 15, "patience": 5},
        },
        timeout_s=600,
        scaled_down=(
            *_scaled_down(),
            ScaledDown(
                what="market",
                ours="300 firms, 32 quarters, planted IC of 0.15 (full profile: 800, 60, 0.05)",
                paper="thousands of stocks, decades",
            ),
        ),
    )


def _control() -> Workload:
    return Workload(
        name=CONTROL,
        title="synthetic market without any signal (control)",
        data="synthetic",
        run=MEASURE,
        arms=_learners(),
        seeds=tuple(range(9)),
        budget="as planted",
        options={"market": {"ic": 0.0}, "training": FULL},
        timeout_s=3600,
        scaled_down=_scaled_down(),
    )


def _control_many() -> Workload:
    return replace(
        _control(),
        name=MANY,
        title="the control on many markets, the learners that are quick to fit",
        arms=tuple(a for a in _learners() if a.name in ("ridge", "boosting")),
        seeds=tuple(range(41)),
    )


def _real(name: str) -> Workload:
    snapshots = name == SNAPSHOTS
    kept = ("value", "momentum", "equal") if snapshots else ("momentum", "equal")
    return Workload(
        name=name,
        title="US stocks, key statistics 2003 to 2013, test 2009 to 2013; synthetic baskets as ETFs"
        if snapshots
        else "US stocks, annual statements 2012 to 2016, test 2015 to 2017; synthetic baskets as ETFs",
        data="real",
        run=MEASURE,
        arms=(*_learners(), *(a for a in _rules() if a.name in kept)),
        seeds=(0, 1, 2),
        budget="as planted",
        options={"set": "key_statistics" if snapshots else "annual", "training": FULL},
        needs_data=DATA,
        timeout_s=3600,
        scaled_down=(
            ScaledDown(
                what="ETFs and deposit files",
                ours="none of a real fund: equally weighted baskets of a sub-industry or sector stand in",
                paper="listed ETFs and their daily deposit files",
            ),
            ScaledDown(
                what="stocks",
                ours="some 330 that were alive in 2024 (survivorship bias)",
                paper="thousands",
            ),
            ScaledDown(
                what="statements",
                ours="snapshots of ratios at irregular dates"
                if snapshots
                else "four annual statements a firm, no filing dates (period end + 90 days), no yields",
                paper="decades of quarterly statements",
            ),
        ),
    )


def _scaled_down() -> tuple[ScaledDown, ...]:
    return (
        ScaledDown(
            what="data",
            ours="generated: 800 firms, 60 quarters, 12 broad and 25 thematic ETFs",
            paper="stocks and ETFs of a licensed data base",
        ),
        ScaledDown(
            what="method",
            ours="reconstruction from the abstract; layers, losses and features are ours",
            paper="not obtainable",
        ),
    )


def _core_claims(workload: str) -> tuple[Claim, ...]:
    return (
        Claim(
            name=f"{workload}-beats-etf-training",
            text="Learning from stocks and aggregating through the deposit files ranks ETFs better than "
            "learning from ETFs.",
            source="abstract",
            workload=workload,
            check=Compare(metric="rank_ic", arm="etf-nn", than="etf-net"),
            paper=NO_PAPER_FIGURE,
            if_not=NOISE,
        ),
        Claim(
            name=f"{workload}-young",
            text="So it does for recently listed, thematic ETFs.",
            source="abstract",
            workload=workload,
            check=Compare(metric="rank_ic_young", arm="etf-nn", than="etf-net"),
            paper='"more beneficial for recently listed, e.g. thematic ETFs"; no figure',
            if_not=NOISE,
        ),
    )


def _planted_claims() -> tuple[Claim, ...]:
    def compare(name: str, text: str, than: str, metric: str, **check: Any) -> Claim:
        return Claim(
            name=f"{PLANTED}-{name}",
            text=text,
            source="abstract; figures ours",
            workload=PLANTED,
            check=Compare(metric=metric, arm="etf-nn", than=than, **check),
            paper=NO_PAPER_FIGURE,
            if_not=NOISE,
        )

    return (
        Claim(
            name=f"{PLANTED}-rank-ic",
            text="Trained on stocks, the rank IC over ETFs reaches 0.15.",
            source="expectation of ours",
            workload=PLANTED,
            check=Within(metric="rank_ic", arm="etf-nn", at_least=0.15),
            paper=OUR_EXPECTATION,
            if_not="The planted signal itself, the upper limit, does not reach it in the median of these "
            "seeds either: broad ETFs hardly differ in it. " + NOISE,
        ),
        Claim(
            name=f"{PLANTED}-etf-training-ic",
            text="Trained on ETFs, it stays at 0.05 or below.",
            source="expectation of ours",
            workload=PLANTED,
            check=Within(metric="rank_ic", arm="etf-net", at_most=0.05),
            paper=OUR_EXPECTATION,
            if_not="The features of ETFs are means over dozens of firms, so each observation is a clean one, "
            "and old and young ETFs share one network: what the old ones teach helps the young.",
        ),
        compare(
            "beats-ridge",
            "The network ranks ETFs better than ridge on the same features.",
            "ridge",
            "rank_ic",
        ),
        compare("beats-boosting", "It ranks ETFs better than gradient boosting.", "boosting", "rank_ic"),
        *(
            compare(
                f"signal-{than}",
                f"Its scores of stocks lie closer to the planted signal than those of {words}.",
                than,
                "signal_stock",
            )
            for than, words in (("ridge", "ridge"), ("boosting", "gradient boosting"))
        ),
        compare("beats-value", "It ranks ETFs better than a value composite.", "value", "rank_ic"),
        compare("beats-quality", "It ranks ETFs better than a quality composite.", "quality", "rank_ic"),
        compare("beats-momentum", "It ranks ETFs better than their momentum.", "momentum", "rank_ic"),
        compare(
            "sharpe",
            "The best fifth has 1.3 times the Sharpe ratio of equal weight.",
            "equal",
            "sharpe",
            ratio=1.3,
        ),
        compare(
            "sharpe-market",
            "The best fifth has a higher Sharpe ratio than the market ETF.",
            "market",
            "sharpe",
        ),
    )


def _control_claims() -> tuple[Claim, ...]:
    """Every learner's t, in the median over markets, against the median of as many draws of chance."""
    cases = [
        (workload, arm, metric)
        for workload in (_control(), _control_many())
        for arm in workload.arms
        for metric in ("rank_ic_t", "stock_ic_t")
        if metric == "rank_ic_t" or (arm.name != "etf-net" and workload.name == CONTROL)
    ]
    claims = []
    for workload, arm, metric in cases:
        bound = median_bound(len(workload.seeds), tests=len(cases))
        what = "ETFs" if metric == "rank_ic_t" else "stocks"
        claims.append(
            Claim(
                name=f"{workload.name}-{arm.name}-{metric.partition('_')[0]}",
                text=f"Without a signal the rank IC over {what} is chance: the median of its t over "
                f"{len(workload.seeds)} markets stays within {bound:.2f}, where {len(cases)} such medians of "
                f"noise stay together in 95 % of cases: {arm.title}.",
                source="control of ours",
                workload=workload.name,
                check=Within(metric=metric, arm=arm.name, at_least=-bound, at_most=bound),
                paper="a check against leaks, not a claim of the paper",
                if_not="Something of the future reaches the scores, or the market has a premium after all.",
            )
        )
    return tuple(claims)


def _real_claims(workload: str) -> tuple[Claim, ...]:
    text = {
        "etf-net": "Learning from stocks ranks baskets better than learning from baskets.",
        "momentum": "It ranks baskets better than their momentum.",
        "ridge": "It ranks baskets better than ridge.",
    }
    ic = tuple(
        Claim(
            name=f"{workload}-beats-{than}",
            text=words,
            source="abstract",
            workload=workload,
            check=Compare(metric="rank_ic", arm="etf-nn", than=than),
            paper=NO_PAPER_FIGURE,
            if_not=SMALL,
        )
        for than, words in text.items()
    )
    sharpe = Claim(
        name=f"{workload}-sharpe",
        text="The best fifth of the baskets has a higher Sharpe ratio than all of them.",
        source="abstract",
        workload=workload,
        check=Compare(metric="sharpe", arm="etf-nn", than="equal"),
        paper=NO_PAPER_FIGURE,
        if_not=SMALL,
    )
    return (*ic, sharpe)


def _licensed() -> Claim:
    return Claim(
        name="paper-universe",
        text="The portfolio outperforms the baselines on the paper's ETFs with their deposit files.",
        source="abstract",
        workload=PLANTED,
        check=Compare(metric="sharpe", arm="etf-nn", than="equal"),
        paper=NO_PAPER_FIGURE,
        needs=("licensed data",),
    )


def _plots(workload: Workload) -> tuple[Plot, ...]:
    scored = tuple(a.name for a in workload.arms if a.name not in ("market", "equal"))
    lines: Mapping[str, None] = dict.fromkeys(
        n for n in ("etf-nn", "etf-net", "ridge", "momentum", "equal") if n in {a.name for a in workload.arms}
    )
    return (
        Plot(
            title="Rank IC over ETFs",
            workload=workload.name,
            kind="dots",
            of="rank_ic",
            arms=scored,
            x_title="mean rank correlation with the next three months",
        ),
        Plot(
            title="Sharpe ratio of the best fifth",
            workload=workload.name,
            kind="dots",
            of="sharpe",
            x_title="after costs of 10 bps",
        ),
        Plot(
            title="Net asset value",
            workload=workload.name,
            kind="lines",
            of="nav",
            arms=tuple(lines),
            x_title="trading day",
            y_title="net asset value",
        ),
    )
