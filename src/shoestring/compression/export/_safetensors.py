"""Save and load an integer program: a safetensors file of packed codes, and a JSON manifest beside it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from safetensors.torch import save as save_torch

from shoestring.compression.conversion import QuantConfig, QuantizedModel
from shoestring.compression.export._graph import build_program
from shoestring.compression.export._integer_model import IntegerModel
from shoestring.compression.export._packing import pack_codes, unpack_codes
from shoestring.compression.export._program import INPUT, OPERATIONS, IntegerWeight, Node, Program
from shoestring.compression.quantizers import activation_quantizers
from shoestring.core.errors import ConfigError, ShoestringError, StorageError
from shoestring.core.files import write_bytes_atomic, write_text_atomic

__all__ = [
    "FORMAT",
    "VERSION",
    "FileSizes",
    "ModelDescription",
    "file_sizes",
    "float_bytes",
    "load_integer",
    "save_integer",
]

FORMAT = "shoestring-integer-model"
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """What the manifest says about a model beside its program; nothing of it changes the logits."""

    method: str = ""
    """Name of the method that chose the codes."""
    mean: tuple[float, ...] = ()
    """Mean of each channel of the 0..1 pixels, to subtract; empty when unknown."""
    std: tuple[float, ...] = ()
    """Deviation of each channel of the 0..1 pixels, to divide by; empty when unknown."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty when unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSizes:
    """Bytes of the float model and of its integer files."""

    float_bytes: int
    """The float state dict as a safetensors file."""
    tensor_bytes: int
    """The integer tensor file."""
    manifest_bytes: int
    """The manifest."""

    @property
    def ratio(self) -> float:
        """Both integer files over the float file."""
        return (self.tensor_bytes + self.manifest_bytes) / self.float_bytes


def save_integer(
    model: QuantizedModel,
    path: str | Path,
    image_shape: tuple[int, int, int],
    description: ModelDescription | None = None,
) -> FileSizes:
    """Write a calibrated model as packed integer codes: `path` and, beside it, the manifest ``.json``.

    The tensors are written first and the manifest, which holds their checksum, last, each atomically: a
    reader never takes half a model for a whole one.

    Parameters
    ----------
    model : QuantizedModel
        With every activation range set.
    path : path
        Must end in ``.safetensors``.
    image_shape : tuple of three int
        Channels, height and width of the images.
    description : ModelDescription, optional
        Method, normalisation and class names, for the manifest.

    Returns
    -------
    FileSizes
        Of the two files, and of the float model.

    Raises
    ------
    ConfigError
        If `path` has another ending, or `description` does not fit the model.
    NotFittedError, DataError, UnsupportedModelError
        As `build_program`.
    StorageError
        If the folder cannot be written to.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ConfigError(
            f"path={str(path)!r} must end in .safetensors; the manifest takes the same name with .json"
        )
    tensors, manifest = encode_integer(
        build_program(model, image_shape), model.config, path.name, description or ModelDescription()
    )
    write_bytes_atomic(path, tensors)
    write_text_atomic(path.with_suffix(".json"), manifest)
    return FileSizes(
        float_bytes=float_bytes(model), tensor_bytes=len(tensors), manifest_bytes=len(manifest.encode())
    )


def load_integer(path: str | Path) -> IntegerModel:
    """Load a saved integer model, checking checksums, names, types and shapes.

    Parameters
    ----------
    path : path
        The ``.safetensors`` file; its manifest must lie beside it.

    Returns
    -------
    IntegerModel
        In float32; ``.double()`` for float64.

    Raises
    ------
    StorageError
        If a file is missing, cut off, damaged, of another format or version, or not of the same model.
    """
    path = Path(path)
    manifest = _read_manifest(path.with_suffix(".json"))
    raw = _read_bytes(path)
    if hashlib.sha256(raw).hexdigest() != manifest["tensor_file"]["sha256"]:
        raise StorageError(
            f"{path} has {len(raw)} bytes and another checksum than {path.with_suffix('.json').name} says; "
            "one of them is damaged or of another model. Copy or write both again"
        )
    try:
        tensors = load(raw)
        _check_manifest(manifest, raw)
        model = IntegerModel(_decode_program(manifest, tensors), manifest)
    except SafetensorError as e:
        raise StorageError(f"{path} is no safetensors file: {e}. Write it again with save_integer") from e
    except ShoestringError as e:
        raise StorageError(f"{path}: {e}") from e
    _try_run(model, path)
    return model


def file_sizes(model: QuantizedModel, image_shape: tuple[int, int, int]) -> FileSizes:
    """Return what `save_integer` would write, in bytes, without writing it.

    Parameters
    ----------
    model : QuantizedModel
        With every activation range set.
    image_shape : tuple of three int
        Channels, height and width of the images.
    """
    tensors, manifest = encode_integer(
        build_program(model, image_shape), model.config, "model.safetensors", ModelDescription()
    )
    return FileSizes(
        float_bytes=float_bytes(model), tensor_bytes=len(tensors), manifest_bytes=len(manifest.encode())
    )


def float_bytes(model: QuantizedModel) -> int:
    """Return the bytes of the float model's state dict as a safetensors file.

    Parameters
    ----------
    model : QuantizedModel
        Calibrated or not; its activation ranges are not counted.
    """
    skipped = tuple(f"{name}." for name in activation_quantizers(model.graph_module))
    state = {
        k: v.detach().contiguous()
        for k, v in model.graph_module.state_dict().items()
        if not k.startswith(skipped)
    }
    return len(save_torch(state))


def encode_integer(
    program: Program, config: QuantConfig, file_name: str, description: ModelDescription
) -> tuple[bytes, str]:
    """Return the bytes of the tensor file and the text of the manifest, without writing them.

    Parameters
    ----------
    program : Program
        From `build_program`.
    config : QuantConfig
        Widths, for the manifest.
    file_name : str
        Name of the tensor file, for the manifest.
    description : ModelDescription
        Method, normalisation and class names, for the manifest.

    Returns
    -------
    tensors : bytes
        To be written first.
    manifest : str
        To be written last, beside it.

    Raises
    ------
    ConfigError
        If `description` does not fit the program.
    """
    _check_description(description, program)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "method": description.method,
        "bits": {"weights": config.w_bits, "activations": config.a_bits, "first_last": config.first_last},
        "input": {
            "shape": list(program.image_shape),
            "mean": list(description.mean) or None,
            "std": list(description.std) or None,
        },
        "num_classes": program.num_classes,
        "classes": list(description.classes) or None,
        "weights": {k: {"bits": w.bits, "shape": list(w.codes.shape)} for k, w in program.weights.items()},
        "program": [asdict(node) for node in program.nodes],
    }
    # one entry only: safetensors writes several in random order, and equal models shall give equal bytes
    raw = save(_encode_tensors(program), {"manifest_sha256": _digest(head)})
    tensor_file = {"name": file_name, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    return raw, _layout({**head, "tensor_file": tensor_file})


def _encode_tensors(program: Program) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = dict(program.tensors)
    for name, weight in program.weights.items():
        tensors[f"{name}.codes"] = pack_codes(weight.codes, weight.bits)
        tensors[f"{name}.scale"] = weight.scale
        tensors[f"{name}.zero_point"] = weight.zero_point
    return {k: np.ascontiguousarray(v) for k, v in tensors.items()}


def _check_description(description: ModelDescription, program: Program) -> None:
    channels = program.image_shape[0]
    for name in ("mean", "std"):
        value = getattr(description, name)
        if value and len(value) != channels:
            raise ConfigError(
                f"{name}={value} has {len(value)} entries for {channels} channels; give one a channel"
            )
    if description.classes and len(description.classes) != program.num_classes:
        raise ConfigError(
            f"{len(description.classes)} class names for {program.num_classes} logits; "
            "give one a logit, or none"
        )


def _digest(head: Mapping[str, Any]) -> str:
    """Checksum of the manifest without ``tensor_file``: of its JSON with sorted keys and no spaces."""
    return hashlib.sha256(json.dumps(head, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _layout(manifest: Mapping[str, Any]) -> str:
    """JSON with one line a field, and one line an entry of ``program`` and ``weights``."""
    lines = []
    for key, value in manifest.items():
        if key == "program":
            text = "[\n" + ",\n".join(f"  {_line(node)}" for node in value) + "\n ]"
        elif key == "weights":
            text = (
                "{\n"
                + ",\n".join(f"  {_line(name)}:{_line(entry)}" for name, entry in value.items())
                + "\n }"
            )
        else:
            text = _line(value)
        lines.append(f" {_line(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise StorageError(
            e.errno,
            f"could not read {path}: {e.strerror}. Give the .safetensors file with its .json beside it",
        ) from e


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read_bytes(path))
    except ValueError as e:
        raise StorageError(f"{path} is no JSON: {e}. Copy or write the model again") from e
    found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
    if found != FORMAT:
        raise StorageError(
            f"{path} has format {found!r}, not {FORMAT!r}; give a file that save_integer wrote"
        )
    if manifest.get("version") != VERSION:
        raise StorageError(
            f"{path} has version {manifest.get('version')!r}; this library reads version {VERSION}. "
            "Update the library, or write the model again"
        )
    if not isinstance(manifest.get("tensor_file"), dict) or "sha256" not in manifest["tensor_file"]:
        raise StorageError(f"{path} has no checksum of its tensors; write the model again")
    checked: dict[str, Any] = manifest
    return checked


def _check_manifest(manifest: Mapping[str, Any], raw: bytes) -> None:
    """Compare the manifest with the checksum of it that the tensor file carries."""
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    said = header.get("__metadata__", {}).get("manifest_sha256")
    if said != _digest({k: v for k, v in manifest.items() if k != "tensor_file"}):
        raise StorageError(
            "the manifest was changed after the model was written (checksum); copy or write both files again"
        )


def _try_run(model: IntegerModel, path: Path) -> None:
    """One black image: shapes that contradict each other show now, not at the first use."""
    try:
        with torch.inference_mode():
            shape = tuple(model(torch.zeros(1, *model.program.image_shape)).shape)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as e:
        reason = " ".join(str(e).split())
        raise StorageError(
            f"{path} holds a program that does not run: {reason}. Write the model again"
        ) from e
    if shape != (1, model.program.num_classes):
        raise StorageError(
            f"{path} holds a program that makes {shape}, not (1, {model.program.num_classes}); write it again"
        )


def _decode_program(manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Program:
    try:
        nodes = tuple(
            Node(name=n["name"], op=n["op"], inputs=tuple(n["inputs"]), attributes=n["attributes"])
            for n in manifest["program"]
        )
        weights = {
            name: _decode_weight(name, int(entry["bits"]), tuple(entry["shape"]), tensors)
            for name, entry in manifest["weights"].items()
        }
        channels, height, width = manifest["input"]["shape"]
        num_classes = int(manifest["num_classes"])
    except (KeyError, TypeError, ValueError) as e:
        raise StorageError(f"the manifest lacks or misstates {e}; write the model again") from e
    others = {k: v for k, v in tensors.items() if k.endswith((".bias", ".parameters"))}
    _check_nodes(nodes, weights, others)
    return Program(
        image_shape=(channels, height, width),
        num_classes=num_classes,
        nodes=nodes,
        weights=weights,
        tensors=others,
    )


def _decode_weight(
    name: str, bits: int, shape: tuple[int, ...], tensors: Mapping[str, NDArray[Any]]
) -> IntegerWeight:
    parts = {}
    for part, dtype in (("codes", np.uint8), ("scale", np.float32), ("zero_point", np.int64)):
        value = tensors.get(f"{name}.{part}")
        if value is None:
            raise StorageError(f"tensor '{name}.{part}' is missing; write the model again")
        if value.dtype != dtype or (part != "codes" and value.shape != shape[:1]):
            raise StorageError(
                f"tensor '{name}.{part}' is {value.dtype}{value.shape}, which does not fit a weight {shape}"
            )
        parts[part] = value
    codes = unpack_codes(parts["codes"], bits, shape)
    return IntegerWeight(bits=bits, codes=codes, scale=parts["scale"], zero_point=parts["zero_point"])


def _check_nodes(
    nodes: Sequence[Node], weights: Mapping[str, IntegerWeight], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Every name is made before it is used, every operation is known and complete."""
    known = {INPUT}
    for node in nodes:
        if node.op not in OPERATIONS or set(node.attributes) != set(OPERATIONS[node.op]):
            raise StorageError(
                f"operation {node.name!r} ({node.op}) is unknown or incomplete in version {VERSION}; "
                "update the library"
            )
        a = node.attributes
        needed = [
            *(("weight", weights),) * ("weight" in a),
            *(("parameters", tensors),) * ("parameters" in a),
        ]
        if a.get("bias") is not None:
            needed.append(("bias", tensors))
        for key, where in needed:
            if a[key] not in where:
                raise StorageError(
                    f"tensor {a[key]!r} of operation {node.name!r} is missing; write the model again"
                )
        if not known.issuperset(node.inputs) or node.name in known:
            raise StorageError(
                f"operation {node.name!r} uses a value that is not made before it; write the model again"
            )
        known.add(node.name)
    if not nodes:
        raise StorageError("the program is empty; write the model again")
