"""A user's own program, for torchrun: ``_torchrun_program.py FOLDER``; every rank leaves what it saw."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from shoestring.core.errors import ConfigError
from shoestring.parallel import Topology, Transport, choose_backend, connect


def work(topology: Topology, rank: int) -> dict[str, Any]:
    with connect(topology, rank, backend=choose_backend(topology)) as groups:
        transport = Transport(groups)
        total = transport.all_reduce(torch.full((3,), float(rank + 1), device=groups.device))
        told = transport.exchange_counts([10 * rank, 10 * rank + 1], "device")
        return {
            "sum": total.tolist(),
            "told": told,
            "links": sorted({str(row["link"]) for row in transport.traffic.rows()}),
            "is_the_default_group": groups.handles["world"] is dist.group.WORLD,
        }


def main() -> None:
    topology, rank = Topology.from_env(), int(os.environ["RANK"])
    seen: dict[str, Any] = {"rank": rank, "topology": [topology.servers, topology.ranks_per_server]}
    seen["by_the_library"] = work(topology, rank)
    seen["left"] = not dist.is_initialized()
    seen["again"] = work(topology, rank)
    dist.init_process_group("gloo")
    seen["by_the_program"] = work(topology, rank)
    seen["stays"] = dist.is_initialized()
    try:
        work(Topology(3, 1), rank)
    except ConfigError as e:
        seen["refused"] = str(e)
    dist.barrier()
    dist.destroy_process_group()
    Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main()
