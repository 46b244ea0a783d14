"""What every rank of the GraNNDis oracle runs: many cases, one after the other in one launch."""

from typing import Any

from torch import Tensor

from shoestring.core.config import from_dict
from shoestring.graphs.granndis._plan import make_plan
from shoestring.graphs.granndis._run import run_rank
from shoestring.graphs.granndis._source import source_from_tensors
from shoestring.graphs.granndis.config import GranndisConfig
from shoestring.parallel.launch import Rank, RankResult
from shoestring.parallel.transport import Traffic


def run_cases(rank: Rank) -> RankResult:
    values: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, case in rank.options["cases"].items():
        config = from_dict(GranndisConfig, case)
        source = source_from_tensors(rank.tensors)
        plan = make_plan(source, config, compare=False)
        done = run_rank(rank.transport, source, plan, config, None)
        epochs = [Traffic.from_rows(rows) for rows in done.values["traffic"]]
        rows = sum(t.total(link="inter", kind=k) for t in epochs for k in ("feature", "gradient"))
        values[name] = {
            "loss": done.values["loss"],
            "gradient_difference": done.values["measured"].get("gradient_difference"),
            "inter_row_bytes": rows,
            "inter_weight_bytes": sum(t.total(link="inter", kind="weights") for t in epochs),
            "intra_row_bytes": sum(
                t.total(link="intra", kind=k) for t in epochs for k in ("feature", "gradient")
            ),
        }
        tensors |= {f"{name}/{key}": value for key, value in done.tensors.items()}
    return RankResult(values, tensors)
