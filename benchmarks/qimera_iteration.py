"""Time one joint iteration of Qimera against the sum of the passes that it cannot do without.

The floor: generator forward and backward; plain teacher forward and backward to the image, without hooks;
quantised student forward and backward. Everything else (BatchNorm statistics, losses, optimisers, draws,
checks) is overhead. All parts take turns in one run, the whole iteration twice a round, so that the spread
between two equal things (A/A) stands beside the ratio. Wall time suffers from other programs; the CPU time of
the process less so.

    python benchmarks/qimera_iteration.py --shape cifar digits --threads 1 2 --json out.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher
from shoestring.compression.conversion import QuantConfig, quantize_model
from shoestring.compression.distillation import DistillationConfig, distillation_loss
from shoestring.compression.qimera import QimeraConfig, QimeraGenerator
from shoestring.compression.quantizers import observing
from shoestring.compression.runs import freeze
from shoestring.compression.sources import GeneratorConfig, GeneratorSource
from shoestring.compression.step_rules import NesterovStep
from shoestring.evidence.environment import hardware, versions
from shoestring.nn import cifar_resnet

FLOOR = ("generator", "teacher", "student")
GOAL = 1.25


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Model and images of one measurement."""

    depth: int
    image: tuple[int, int, int]
    bits: int
    batch: int
    width: int


SHAPES = {
    "cifar": Shape(depth=20, image=(3, 32, 32), bits=4, batch=64, width=64),
    "digits": Shape(depth=8, image=(1, 16, 16), bits=2, batch=64, width=32),
}


def channels_last(net: nn.Module) -> nn.Module:
    """Lay out weights as the library does."""
    # torch's stub lacks the keyword alone
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def build(shape: Shape) -> dict[str, Callable[[], None]]:
    """Return the parts by name; each call does one pass."""
    model = cifar_resnet(shape.depth, channels=shape.image[0], seed=0)
    teacher = freeze(model)
    config = QimeraConfig(
        quant=QuantConfig(w_bits=shape.bits, a_bits=shape.bits), generator=GeneratorConfig(width=shape.width)
    )
    generator = QimeraGenerator.from_teacher(teacher, 10, shape.image, config).train()
    student, float_student = (
        channels_last(net) for net in (quantize_model(model, config.quant), model.eval())
    )
    loss = distillation_loss(DistillationConfig())
    rule = NesterovStep(student.parameters(), lr=1e-6)
    rng = torch.Generator().manual_seed(0)
    latents = generator.draw(shape.batch, rng)
    images = generator.images(latents).detach()
    with observing(student), torch.no_grad():
        student(images)
    grads: dict[str, Tensor] = {}

    def forward_backward(name: str, net: nn.Module, x: Tensor) -> None:
        out = net(x)
        torch.autograd.backward(out, grads.setdefault(name, torch.randn_like(out)))
        net.zero_grad(set_to_none=True)

    def run_generator() -> None:
        out = generator.images(latents)
        torch.autograd.backward(out, grads.setdefault("generator", torch.randn_like(out)))
        generator.zero_grad(set_to_none=True)

    matcher = BatchNormMatcher(teacher)
    source = GeneratorSource(generator, matcher, config.generator)

    def iterate() -> None:
        with matcher:
            batch = source.next_batch(shape.batch, rng)
        value = loss(batch, student(batch.images))
        value.item()
        rule.step(value)

    return {
        "iteration": iterate,
        "generator": run_generator,
        "teacher": lambda: forward_backward("teacher", teacher, images.clone().requires_grad_()),
        "iteration again": iterate,
        "student": lambda: forward_backward("student", student, images.detach()),
        "float student": lambda: forward_backward("float", float_student, images.detach()),
    }


def measure(parts: dict[str, Callable[[], None]], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median wall and CPU time of each part in milliseconds; parts take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for i in range(rounds + 2):
        for name, part in parts.items():
            wall, cpu = time.perf_counter(), time.process_time()
            part()
            spent = 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)
            if i >= 2:
                taken[name].append(spent)
    clocks = ("wall_ms", "cpu_ms")
    return {
        name: {clock: statistics.median(row[i] for row in rows) for i, clock in enumerate(clocks)}
        for name, rows in taken.items()
    }


def summarise(times: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return ratio to the floor and A/A spread, by wall and by CPU time."""
    out = {}
    for clock in ("wall", "cpu"):
        one, two = (times[name][f"{clock}_ms"] for name in ("iteration", "iteration again"))
        floor = sum(times[name][f"{clock}_ms"] for name in FLOOR)
        out[f"{clock}_ratio"] = (one + two) / 2 / floor
        out[f"{clock}_aa_spread"] = abs(one - two) / ((one + two) / 2)
    return out


def show(name: str, threads: int, times: dict[str, dict[str, float]], summary: dict[str, float]) -> None:
    """Print one table."""
    print(f"\n{name}, {threads} thread(s)")
    print(f"  {'part':18} {'wall ms':>9} {'CPU ms':>9}")
    for part, row in times.items():
        print(f"  {part:18} {row['wall_ms']:9.2f} {row['cpu_ms']:9.2f}")
    for clock in ("wall", "cpu"):
        ratio, spread = summary[f"{clock}_ratio"], summary[f"{clock}_aa_spread"]
        print(f"  {clock:4} iteration / floor {ratio:.3f} (A/A spread {100 * spread:.1f} %; goal {GOAL})")


def main() -> None:
    """Measure every shape with every number of threads."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--batch", type=int, help="images an iteration")
    parser.add_argument("--width", type=int, help="channels of the generator")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    results: list[dict[str, Any]] = []
    for name in args.shape:
        first = SHAPES[name]
        shape = Shape(
            depth=first.depth,
            image=first.image,
            bits=first.bits,
            batch=args.batch or first.batch,
            width=args.width or first.width,
        )
        for threads in args.threads:
            torch.set_num_threads(threads)
            times = measure(build(shape), args.rounds)
            summary = summarise(times)
            show(f"{name}: batch {shape.batch}, generator width {shape.width}", threads, times, summary)
            results.append({"shape": name, "threads": threads, "times": times, **summary})
    if args.json is not None:
        whole = {"results": results, "hardware": hardware(), "versions": versions()}
        args.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
