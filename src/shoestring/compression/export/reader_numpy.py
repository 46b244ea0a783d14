"""Read and run a saved integer model with numpy alone: the reference for ports to other runtimes.

This file depends on numpy and the standard library, and on nothing else of this package, so that it can be
copied next to a model. It follows the description of the format in the documentation of
`shoestring.compression.export`.

The tensor file is a safetensors file: eight bytes (little-endian) with the length of a JSON header, the
header, then the bytes of all tensors. The manifest beside it (``.json``) holds the program and the checksum
of the tensor file.
"""

# Shapes: N images, C channels in, O channels out, H and W pixels, I and J kernel rows and columns, G groups

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

__all__ = ["read_integer_model", "read_safetensors", "run_integer_model", "unpack"]

Array = NDArray[Any]
_DTYPES = {"U8": "<u1", "F32": "<f4", "I64": "<i8"}


def read_safetensors(path: str | Path) -> dict[str, Array]:
    """Read the tensors of a safetensors file that holds bytes, float32 and int64.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict of str to ndarray
        Views of one buffer.

    Raises
    ------
    ValueError
        If the file is cut off, has another form, or holds other types.
    """
    header, body = _header_and_body(path)
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None or not 0 <= start <= end <= len(body):
            raise ValueError(
                f"{path}: tensor {name!r} of type {entry['dtype']} at bytes {start} to {end} cannot be read"
            )
        tensors[name] = np.frombuffer(body[start:end], dtype=dtype).reshape(entry["shape"])
    return tensors


def _header_and_body(path: str | Path) -> tuple[dict[str, Any], memoryview]:
    raw = Path(path).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > len(raw) - 8:
        raise ValueError(f"{path} is cut off or no safetensors file; copy it again")
    return json.loads(raw[8 : 8 + size]), memoryview(raw)[8 + size :]


def unpack(packed: Array, bits: int, shape: Sequence[int]) -> NDArray[np.int64]:
    """Return signed codes from dense bytes: code i fills bits ``i * bits ...``, least significant bit first.

    Parameters
    ----------
    packed : ndarray of uint8, one axis
        The bytes.
    bits : int
        Width of a code.
    shape : sequence of int
        Shape of the codes.
    """
    num_codes = int(np.prod(shape))
    digits = (
        np.unpackbits(packed, bitorder="little")[: num_codes * bits].reshape(num_codes, bits).astype(np.int64)
    )
    weights = 1 << np.arange(bits, dtype=np.int64)
    weights[-1] *= -1  # two's complement
    return (digits @ weights).reshape(shape)


def read_integer_model(path: str | Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read the manifest and the tensors of a saved integer model, and check that they belong together.

    Parameters
    ----------
    path : path
        The ``.safetensors`` file; the manifest lies beside it.

    Raises
    ------
    ValueError
        If the format or version is another, or the checksum does not fit.
    """
    path = Path(path)
    manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if manifest.get("format") != "shoestring-integer-model" or manifest.get("version") != 1:
        raise ValueError(
            f"{path}: format {manifest.get('format')!r} version {manifest.get('version')!r} is not known here"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != manifest["tensor_file"]["sha256"]:
        raise ValueError(f"{path} and its manifest do not belong together (checksum); copy both again")
    described = json.dumps(
        {k: v for k, v in manifest.items() if k != "tensor_file"}, sort_keys=True, separators=(",", ":")
    )
    said = _header_and_body(path)[0].get("__metadata__", {}).get("manifest_sha256")
    if hashlib.sha256(described.encode()).hexdigest() != said:
        raise ValueError(f"the manifest of {path} was changed (checksum); copy both again")
    return manifest, read_safetensors(path)


def run_integer_model(
    path: str | Path, images: Array, dtype: DTypeLike = np.float64, batch_size: int = 64
) -> NDArray[np.floating[Any]]:
    """Return the logits of a saved integer model.

    Parameters
    ----------
    path : path
        The ``.safetensors`` file.
    images : ndarray, shape (N, C, H, W)
        Normalised as the manifest's ``input`` says.
    dtype : float dtype, default float64
        Of all arithmetic.
    batch_size : int, default 64
        Images at a time; bounds the memory.

    Returns
    -------
    ndarray of `dtype`, shape (N, classes)

    Raises
    ------
    ValueError
        If the files are damaged, or `images` have another shape.
    """
    manifest, tensors = read_integer_model(path)
    wanted = tuple(manifest["input"]["shape"])
    if images.ndim != 4 or images.shape[1:] != wanted:
        raise ValueError(
            f"images of shape {images.shape} do not fit; give (N, {', '.join(map(str, wanted))})"
        )
    constants: dict[str, Array] = {
        name: value.astype(dtype)
        for name, value in tensors.items()
        if name.endswith((".bias", ".parameters"))
    }
    for name, entry in manifest["weights"].items():
        codes = unpack(tensors[name + ".codes"], entry["bits"], entry["shape"])
        column = (-1, *[1] * (codes.ndim - 1))
        offset = codes - tensors[name + ".zero_point"].reshape(column)
        constants[name] = offset.astype(dtype) * tensors[name + ".scale"].astype(dtype).reshape(column)
    parts = [
        _run(manifest["program"], constants, images[start : start + batch_size].astype(dtype))
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, manifest["num_classes"]), dtype)


def _run(program: Sequence[Mapping[str, Any]], constants: Mapping[str, Array], images: Array) -> Any:
    values = {"images": images}
    for node in program:
        inputs = [values[name] for name in node["inputs"]]
        values[node["name"]] = _apply(node["op"], node["attributes"], inputs, constants)
    return values[program[-1]["name"]]


def _apply(  # noqa: C901, PLR0911, PLR0912  # one branch an operation
    op: str, a: Mapping[str, Any], inputs: Sequence[Array], constants: Mapping[str, Array]
) -> Any:
    x = inputs[0]
    match op:
        case "conv2d":
            return _conv2d(x, constants[a["weight"]], a) + _per_channel(constants.get(a["bias"]), x)
        case "linear":
            return x @ constants[a["weight"]].T + constants.get(a["bias"], 0)
        case "batch_norm":
            weight, bias, mean, var = (row[:, None, None] for row in constants[a["parameters"]])
            return (x - mean) / np.sqrt(var + np.asarray(a["eps"], x.dtype)) * weight + bias
        case "relu":
            return np.maximum(x, 0)
        case "relu6":
            return np.clip(x, 0, 6)
        case "quantize":
            scale, zero_point, half = np.asarray(a["scale"], x.dtype), a["zero_point"], 1 << (a["bits"] - 1)
            return (np.clip(np.rint(x / scale) + zero_point, -half, half - 1) - zero_point) * scale
        case "add":
            return x + inputs[1]
        case "concat":
            return np.concatenate(inputs, a["axis"])
        case "max_pool":
            padded = _pad(x, a["padding"], -np.inf)
            return _windows(padded, a["kernel"], a["stride"], a["dilation"]).max(axis=(4, 5))
        case "avg_pool":
            return _avg_pool(x, a)
        case "global_avg_pool":
            return x.mean(axis=(2, 3), keepdims=True)
        case "mean":
            return x.mean(axis=tuple(a["axes"]), keepdims=a["keepdims"])
        case "flatten":
            return x.reshape(len(x), -1)
        case "reshape":
            return x.reshape(len(x), *a["shape"])
        case "pad":
            return np.pad(x, [(0, 0), *map(tuple, a["pads"])], constant_values=a["value"])
        case "slice":
            return x[(slice(None), *[slice(*r) for r in a["ranges"]])]
    raise ValueError(f"operation {op!r} is not known to version 1 of the format")


def _conv2d(x: Array, weight: Array, a: Mapping[str, Any]) -> Any:
    groups = a["groups"]
    num_out, _, rows, columns = weight.shape
    windows = _windows(_pad(x, a["padding"], 0.0), (rows, columns), a["stride"], a["dilation"])  # NCHWIJ
    n, channels, height, width = windows.shape[:4]
    grouped = windows.reshape(n, groups, channels // groups, height, width, rows, columns)
    patches = grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, n * height * width, -1)
    kernels = weight.reshape(groups, num_out // groups, -1).transpose(0, 2, 1)
    out = (patches @ kernels).reshape(groups, n, height, width, num_out // groups)
    return out.transpose(1, 0, 4, 2, 3).reshape(n, num_out, height, width)


def _avg_pool(x: Array, a: Mapping[str, Any]) -> Any:
    rows, columns = a["kernel"]
    total = _windows(_pad(x, a["padding"], 0.0), a["kernel"], a["stride"]).sum(axis=(4, 5))
    if a["count_include_pad"]:
        return total / (rows * columns)
    inside = _pad(np.ones_like(x[:1, :1]), a["padding"], 0.0)
    return total / _windows(inside, a["kernel"], a["stride"]).sum(axis=(4, 5))


def _windows(
    x: Array, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int] = (1, 1)
) -> Array:
    """Return a view (N, C, H', W', I, J) of all windows."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    every = sliding_window_view(x, reach, axis=(2, 3))
    return every[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _pad(x: Array, padding: Sequence[int], value: float) -> Any:
    top, bottom, left, right = padding
    if not any(padding):
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _per_channel(bias: Array | None, x: Array) -> Any:
    return np.zeros((), x.dtype) if bias is None else bias[:, None, None]
