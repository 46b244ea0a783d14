"""``shoestring quantize``."""

import hashlib
import json as json_format
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.table import Table

from shoestring.cli.bar import progress_bar
from shoestring.cli.console import note, print_json, results
from shoestring.core.cards import all_cards
from shoestring.core.config import apply_overrides, from_dict, read_toml, to_dict, to_toml
from shoestring.core.entry import load_entry_point
from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.core.files import write_bytes_atomic, write_text_atomic
from shoestring.core.optional import optional

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shoestring.compression.export import FileSizes, Program
    from shoestring.compression.runs import QuantizationRun
    from shoestring.data import ImageSplits

__all__ = ["InputOptions", "QuantizeJob", "quantize"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InputOptions:
    """The images that the model takes."""

    shape: tuple[int, ...] = ()
    """Channels, height and width, in pixels; required, here or as --input."""
    mean: tuple[float, ...] = ()
    """Mean of each channel that the model was trained with (pixels 0..1); the folder's own when empty."""
    std: tuple[float, ...] = ()
    """Deviation of each channel that the model was trained with; the folder's own when empty."""

    def __post_init__(self) -> None:
        if self.shape and (len(self.shape) != 3 or min(self.shape) < 1):
            raise ConfigError(
                f"input.shape={list(self.shape)} must be channels, height and width, e.g. [3, 32, 32]"
            )
        if len(self.mean) != len(self.std) or any(s <= 0 for s in self.std):
            raise ConfigError(
                f"input.mean={list(self.mean)}, input.std={list(self.std)}: give both, one entry a channel, "
                "deviations above 0"
            )
        if self.mean and self.shape and len(self.mean) != self.shape[0]:
            raise ConfigError(
                f"input.mean has {len(self.mean)} entries for {self.shape[0]} channels; give one a channel"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeJob:
    """Everything that decides the result of ``shoestring quantize``, but the model and the images."""

    method: str = "qimera"
    """A system of the compression family, or one of its baselines."""
    seed: int = 0
    """Seed of all random draws."""
    input: InputOptions = InputOptions()
    """The images that the model takes."""
    factory: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the model's factory."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the method, as its own config has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Method:
    name: str
    config: Any
    run: Callable[..., "QuantizationRun"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """The three files, as yet unwritten."""

    tensors: bytes
    manifest: str
    onnx: bytes
    sizes: "FileSizes"


def quantize(  # noqa: PLR0913, PLR0917  # one parameter a flag
    model: Annotated[
        str,
        typer.Argument(
            help="Function that builds the float model.", metavar="MODULE:FACTORY|FILE.py:FACTORY"
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(help="Its weights: .safetensors, or a torch file of tensors.", metavar="FILE"),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="How to quantise, e.g. qimera, gdfq, zeroq, noise.")
    ] = None,
    bits: Annotated[
        str | None, typer.Option(help="Bits of weights/activations, 2 to 8.", metavar="W/A")
    ] = None,
    input_: Annotated[str | None, typer.Option("--input", help="Shape of an image.", metavar="CxHxW")] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Labelled image folder, to measure accuracy and for methods that use data.", metavar="DIR"
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="File to write; .json and .onnx lie beside it.", metavar="FILE")
    ] = Path("quantized.safetensors"),
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One option.", metavar="A.B=VALUE")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all options and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of all random draws.")] = None,
) -> None:
    """Quantise a trained classifier, with or without its data.

    Writes packed integer codes (.safetensors with a .json beside it) and an ONNX file. Flags go over the
    config file, and --set goes over both. A run that was stopped goes on where it was.

    Example: shoestring quantize net.py:build --weights net.pt --input 3x32x32 --bits 4/4 --out q.safetensors
    """
    optional("torch", extra="compression")
    flags = _flags(method, bits, input_, seed)
    job = _read_job(config, [*flags, *(set_ or ())])
    chosen = _find_method(job)
    job = replace(job, options={k: v for k, v in to_dict(chosen.config).items() if k != "schema"})
    if print_config:
        sys.stdout.write(to_toml(job))
        return
    _check_out(out)
    start = time.monotonic()
    try:
        report = _run(model, weights, images, out, job, chosen)
    except KeyboardInterrupt:
        note("interrupted; nothing was written but checkpoints, the same command goes on from there")
        raise typer.Exit(130) from None
    report["wall_s"] = round(time.monotonic() - start, 1)
    if json:
        print_json({**report, "config": to_dict(job)})
    else:
        results().print(_table(report))


# what is to be done


def _flags(method: str | None, bits: str | None, shape: str | None, seed: int | None) -> list[str]:
    """Write the flags as the overrides that they are."""
    overrides = []
    if method is not None:
        overrides.append(f"method={json_format.dumps(method)}")
    if seed is not None:
        overrides.append(f"seed={seed}")
    if bits is not None:
        found = re.fullmatch(r"([2-8])/([2-8])", bits.strip())
        if not found:
            raise ConfigError(f"--bits {bits!r} is not W/A with 2 to 8 bits each; write e.g. --bits 4/4")
        overrides += [f"options.quant.w_bits={found[1]}", f"options.quant.a_bits={found[2]}"]
    if shape is not None:
        sides = shape.lower().replace("\N{MULTIPLICATION SIGN}", "x").split("x")
        if len(sides) != 3 or not all(re.fullmatch(r"[1-9][0-9]{0,5}", s) for s in sides):
            raise ConfigError(
                f"--input {shape!r} is not channels x height x width; write e.g. --input 3x32x32"
            )
        overrides.append(f"input.shape=[{', '.join(sides)}]")
    return overrides


def _read_job(path: Path | None, overrides: list[str]) -> QuantizeJob:
    if path is not None:
        return read_toml(QuantizeJob, path, overrides)
    return from_dict(QuantizeJob, apply_overrides({}, overrides))


def _find_method(job: QuantizeJob) -> _Method:
    """Find a baseline or a system by name, and build its config."""
    from shoestring.compression.baselines import METHODS

    name = job.method.strip().lower()
    jobs = {c.name: c.entry_points.job for c in all_cards() if c.family == "compression"}
    kind: type[Any]
    if name in METHODS:
        kind, run = METHODS[name]
    elif name.replace("-", "_") in jobs:
        run = load_entry_point(jobs[name.replace("-", "_")])
        kind = get_type_hints(run)["config"]
    else:
        raise ConfigError(f"method {job.method!r} is not known; allowed: {', '.join([*jobs, *METHODS])}")
    try:
        return _Method(name=name, config=from_dict(kind, job.options), run=run)
    except ConfigError as e:
        raise ConfigError(f"options of {name}: {e}") from e


def _check_out(out: Path) -> None:
    """Find out before the work, not after it, that the result cannot be written."""
    if out.suffix != ".safetensors":
        raise ConfigError(
            f"--out {str(out)!r} must end in .safetensors; .json and .onnx are written beside it"
        )
    folder = next(p for p in (out.absolute().parent, *out.absolute().parents) if p.exists())
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StorageError(
            f"--out {str(out)!r} cannot be written: check the folder {folder} and its permissions"
        )


# doing it


def _run(
    factory: str, weights: Path | None, images: Path | None, out: Path, job: QuantizeJob, method: _Method
) -> dict[str, Any]:
    """Quantise, measure and write; return the report."""
    from shoestring.compression.export import ModelDescription
    from shoestring.compression.model_files import load_model
    from shoestring.compression.runs import RunOptions

    shape = _image_shape(job)
    with _importable_here():
        model = load_model(factory, weights, job.factory)
    num_classes = _check_exportable(model, method, shape)
    data = None if images is None else _load_images(images, job, shape, num_classes)
    checkpoint = _checkpoint_file(out, job)
    real = {} if data is None else {"images": data.train[0], "labels": data.train[1]}
    with progress_bar() as report_progress:
        done = method.run(
            model,
            method.config,
            image_shape=shape,
            **real,
            seed=job.seed,
            options=RunOptions(report_progress=report_progress, checkpoint=checkpoint),
        )
    description = ModelDescription(
        method=method.name,
        mean=job.input.mean if data is None else data.mean,
        std=job.input.std if data is None else data.std,
        classes=() if data is None else data.classes,
    )
    program, files = _encode(done, shape, out, description)
    report = _report(job, done, files, out)
    if data is not None:
        report.update(_accuracy(model, program, data))
    write_bytes_atomic(out, files.tensors)
    write_bytes_atomic(out.with_suffix(".onnx"), files.onnx)
    write_text_atomic(out.with_suffix(".json"), files.manifest)
    _remove_checkpoints(checkpoint.parent)
    if weights is None:
        note(f"no --weights were given; the model was quantised with the weights that {factory} gave it")
    return report


def _image_shape(job: QuantizeJob) -> tuple[int, int, int]:
    if not job.input.shape:
        raise ConfigError("the shape of the images is not given; add --input CxHxW, e.g. --input 3x32x32")
    channels, height, width = job.input.shape
    return channels, height, width


def _check_exportable(model: "nn.Module", method: _Method, shape: tuple[int, int, int]) -> int:
    """Refuse what could not be written in the end, before the work begins; return the number of classes."""
    import torch

    from shoestring.compression.conversion import quantize_model
    from shoestring.compression.export import build_program
    from shoestring.compression.quantizers import activation_quantizers

    trial = quantize_model(model, method.config.quant)
    for quantizer in activation_quantizers(trial).values():
        quantizer.observe(torch.tensor([0.0, 1.0]))
    return build_program(trial, shape).num_classes


def _encode(
    done: "QuantizationRun", shape: tuple[int, int, int], out: Path, description: Any
) -> tuple["Program", _Files]:
    from shoestring.compression.export import (
        FileSizes,
        build_program,
        encode_integer,
        encode_onnx,
        float_bytes,
    )

    program = build_program(done.model, shape)
    tensors, manifest = encode_integer(program, done.model.config, out.name, description)
    sizes = FileSizes(
        float_bytes=float_bytes(done.model), tensor_bytes=len(tensors), manifest_bytes=len(manifest.encode())
    )
    onnx = encode_onnx(program, done.model.config, description)
    return program, _Files(tensors=tensors, manifest=manifest, onnx=onnx, sizes=sizes)


# images


@dataclass(frozen=True, kw_only=True, slots=True)
class _Images:
    """Normalised images (N, C, H, W) and labels (N,), to fit on and to score on."""

    train: tuple["Tensor", "Tensor"]
    test: tuple["Tensor", "Tensor"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]


def _load_images(folder: Path, job: QuantizeJob, shape: tuple[int, int, int], num_classes: int) -> _Images:
    import torch

    from shoestring.data import load_image_folder, normalise

    channels, height, width = shape
    if height != width or channels not in (1, 3):
        raise ConfigError(
            f"--images needs square images of 1 or 3 channels, --input is {channels}x{height}x{width}"
        )
    splits: ImageSplits = load_image_folder(folder, height, channels, job.seed)
    if splits.num_classes != num_classes:
        raise DataError(
            f"{folder} has {splits.num_classes} class folders, the model {num_classes} logits; "
            "give one folder a class"
        )
    mean, std = job.input.mean, job.input.std
    if not mean:
        mean, std = splits.mean, splits.std
        note(
            "input.mean and input.std are not given; images are standardised with the folder's statistics: "
            f"mean {_numbers(mean)}, std {_numbers(std)}"
        )
    train, test = (
        (torch.from_numpy(normalise(part.images, mean, std)), torch.from_numpy(part.labels))
        for part in (splits.train, splits.test)
    )
    return _Images(train=train, test=test, mean=tuple(mean), std=tuple(std), classes=splits.train.classes)


def _accuracy(model: "nn.Module", program: "Program", data: _Images) -> dict[str, Any]:
    """Top-1 of the float model and of the program that is going to be written."""
    from shoestring.compression.export import IntegerModel
    from shoestring.nn import predict_logits, top1

    images, labels = data.test
    measured = {
        f"{name}_top1": round(top1(predict_logits(net, images), labels), 3)
        for name, net in (("float", model), ("quantized", IntegerModel(program)))
    }
    return {**measured, "test_images": len(images)}


# checkpoints and progress


def _checkpoint_file(out: Path, job: QuantizeJob) -> Path:
    """Beside the output; another job on the same output gets another file."""
    key = hashlib.sha256(json_format.dumps(to_dict(job), sort_keys=True).encode()).hexdigest()[:12]
    return out.with_suffix(".checkpoint") / f"run-{key}.safetensors"


def _remove_checkpoints(folder: Path) -> None:
    for path in folder.glob("run-*.safetensors"):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


@contextmanager
def _importable_here() -> Iterator[None]:
    """Let MODULE be a file of the current folder, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


# the report


def _report(job: QuantizeJob, done: "QuantizationRun", files: _Files, out: Path) -> dict[str, Any]:
    bits = done.model.config
    return {
        "method": job.method,
        "bits": f"{bits.w_bits}/{bits.a_bits}",
        "seed": job.seed,
        "iterations": done.chosen_iteration,
        "files": [str(out), str(out.with_suffix(".json")), str(out.with_suffix(".onnx"))],
        "float_bytes": files.sizes.float_bytes,
        "integer_bytes": files.sizes.tensor_bytes + files.sizes.manifest_bytes,
        "onnx_bytes": len(files.onnx),
        "ratio": round(files.sizes.ratio, 4),
    }


def _table(report: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "method": f"{report['method']}, {report['bits']} bits, seed {report['seed']}",
        "size": f"{report['integer_bytes']:,} bytes, {report['ratio']:.3f} of {report['float_bytes']:,}",
        "onnx": f"{report['onnx_bytes']:,} bytes",
    }
    if "float_top1" in report:
        tops = f"{report['quantized_top1']:.2f} %, float {report['float_top1']:.2f} %"
        rows["top-1"] = f"{tops} ({report['test_images']} images)"
    rows["time"] = f"{report['wall_s']} s"
    rows["files"] = "\n".join(report["files"])
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:.4g}" for v in values)
