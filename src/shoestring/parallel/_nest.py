"""The process that imports once and forks the ranks: ``python -m shoestring.parallel._nest FOLDER``."""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from shoestring.core.entry import load_entry_point
from shoestring.core.errors import ShoestringError
from shoestring.core.files import write_json_atomic, write_text_atomic
from shoestring.parallel import netns
from shoestring.parallel.groups import choose_backend, connect
from shoestring.parallel.launch import Rank, RankResult
from shoestring.parallel.topology import Topology
from shoestring.parallel.transport import Transport

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1
_PROGRESS_EVERY_S = 0.25
_GRACE_S = 2.0


def main(folder: Path) -> int:
    """Fork the ranks, wait for them, end the others when one fails; the exit code says how it went."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    _die_with(task["parent_pid"])
    topology = Topology(task["servers"], task["ranks_per_server"])
    try:
        for entry in task["sys_path"]:
            if entry not in sys.path:
                sys.path.append(entry)
        function = load_entry_point(task["entry"])
    except BaseException:  # whatever the module raises is told to the caller
        write_text_atomic(folder / "error.txt", f"could not load {task['entry']}:\n{traceback.format_exc()}")
        return 1
    nest_pid = os.getpid()
    pids: dict[int, int] = {}
    for rank in range(topology.world):
        pid = os.fork()
        if pid == 0:
            os._exit(_run_rank(folder, task, topology, rank, nest_pid, function))
        pids[pid] = rank
    return _wait(folder, pids)


def _wait(folder: Path, pids: dict[int, int]) -> int:
    """Wait for all ranks; 1 and ``error.txt`` if any failed."""
    failed: list[tuple[int, int]] = []
    deadline: float | None = None
    while pids:
        pid, status = os.waitpid(-1, 0 if deadline is None else os.WNOHANG)
        if pid:
            rank = pids.pop(pid)
            if status or not (folder / f"rank{rank}.safetensors").exists():
                failed.append((rank, os.waitstatus_to_exitcode(status)))
                # The others notice by themselves or are ended: nobody waits for a rank that is gone.
                deadline = deadline or time.monotonic() + _GRACE_S
        elif deadline is not None and time.monotonic() > deadline:
            for left in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)
            for left in pids:
                os.waitpid(left, 0)
            pids = {}
        else:
            time.sleep(0.01)
    if failed:
        write_text_atomic(folder / "error.txt", _explain(folder, failed), durable=False)
    return 1 if failed else 0


def _explain(folder: Path, failed: list[tuple[int, int]]) -> str:
    """Name the first cause: a rank that was killed, else the earliest traceback."""
    for rank, code in failed:
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            return f"rank {rank} was killed by {name}; the other ranks were ended"
    texts = []
    for rank, code in failed:
        path = folder / f"rank{rank}.error.json"
        if path.exists():
            told = json.loads(path.read_text(encoding="utf-8"))
            texts.append((told["at"], rank, told["text"]))
        else:
            texts.append((float("inf"), rank, f"ended with exit code {code} and left no word\n"))
    _, rank, text = min(texts)
    return f"rank {rank} failed, the other ranks were ended:\n{text}"


def _run_rank(
    folder: Path,
    task: Mapping[str, Any],
    topology: Topology,
    rank: int,
    nest_pid: int,
    function: Callable[[Rank], RankResult],
) -> int:
    try:
        _die_with(nest_pid)
        (folder / f"rank{rank}.pid").write_text(str(os.getpid()), encoding="utf-8")
        if task["namespaces"]:
            netns.enter_namespace(task["namespaces"][topology.server_of(rank)])
        torch.set_num_threads(task["threads"])
        # Every key is written once by one rank: a file is enough, and it works across namespaces.
        store = dist.FileStore(  # type: ignore[attr-defined]  # left out of torch's export list
            str(folder / "store"), topology.world
        )
        with connect(
            topology,
            rank,
            backend=choose_backend(topology),
            store=store,
            timeout_s=task["collective_timeout_s"],
            interface=task["interface"],
        ) as groups:
            transport = Transport(
                groups,
                inter_bits_per_s=task["emulated_bits_per_s"],
                shaped_by_kernel=task["shaped_by_kernel"],
            )
            result = function(
                Rank(
                    transport,
                    task["options"],
                    load_file(folder / "tensors.safetensors"),
                    _progress_writer(folder / "progress.json") if rank == 0 else _silent,
                )
            )
            if not isinstance(result, RankResult):
                raise TypeError(
                    f"{task['entry']} returned {type(result).__name__}; it must return a RankResult"
                )
            write_json_atomic(folder / f"rank{rank}.json", result.values, durable=False)
            tensors = {k: v.detach().cpu().contiguous() for k, v in result.tensors.items()}
            save_file(tensors, folder / f"rank{rank}.safetensors")
            transport.barrier()
    except BaseException as e:  # told to the caller through the file; the process ends here
        text = str(e) if isinstance(e, ShoestringError) else traceback.format_exc()
        told = {"at": time.time(), "text": text}
        write_json_atomic(folder / f"rank{rank}.error.json", told, durable=False)
        return 1
    return 0


def _progress_writer(path: Path) -> Callable[[float, str], None]:
    last = 0.0

    def report(fraction: float, word: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _PROGRESS_EVERY_S:
            last = time.monotonic()
            write_json_atomic(path, {"fraction": fraction, "word": word}, durable=False)

    return report


def _silent(_fraction: float, _word: str) -> None:
    pass


def _die_with(parent_pid: int) -> None:
    """Arrange that the kernel ends this process when its parent ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
