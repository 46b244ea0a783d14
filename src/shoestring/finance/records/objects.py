"""Values as bytes and back, in formats that hold data only: Parquet, safetensors, JSON."""

import io
import json
from collections.abc import Mapping
from typing import Any

from shoestring.core.errors import DataError, StorageError
from shoestring.core.optional import optional
from shoestring.finance.records.digest import canonical_json

__all__ = ["decode", "encode"]

_ARRAY = "$array"


def encode(value: Any) -> tuple[bytes, str]:
    """Return a value as bytes and the kind that they are: parquet, series, safetensors, json, bytes.

    Raises
    ------
    DataError
        If there is no safe format for it.
    """
    import pandas as pd

    if isinstance(value, bytes):
        return value, "bytes"
    if isinstance(value, pd.DataFrame):
        return _write_parquet(value), "parquet"
    if isinstance(value, pd.Series):
        return _write_parquet(value.to_frame("value" if value.name is None else str(value.name))), "series"
    arrays: dict[str, Any] = {}
    plain = _split(value, "", arrays)
    text = canonical_json(plain)
    if not arrays:
        return text.encode(), "json"
    numpy_format = optional("safetensors.numpy", "finance")
    return bytes(numpy_format.save(arrays, metadata={"json": text})), "safetensors"


def decode(data: bytes, kind: str) -> Any:
    """Return the value of bytes that `encode` made.

    Raises
    ------
    StorageError
        For an unknown kind.
    """
    if kind == "bytes":
        return data
    if kind == "parquet":
        return _read_parquet(data)
    if kind == "series":
        return _read_parquet(data).iloc[:, 0]
    if kind == "json":
        return json.loads(data)
    if kind == "safetensors":
        size = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + size])["__metadata__"]["json"]
        return _join(json.loads(text), optional("safetensors.numpy", "finance").load(data))
    raise StorageError(f"objects of kind {kind!r} are not known; a newer version wrote this store: update")


def _write_parquet(frame: Any) -> bytes:
    arrow, parquet = optional("pyarrow", "finance"), optional("pyarrow.parquet", "finance")
    if not all(isinstance(c, str) for c in frame.columns):
        raise DataError(f"table columns {list(frame.columns)[:4]} must be text; rename them")
    try:
        table = arrow.Table.from_pandas(frame, preserve_index=True, nthreads=1)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError) as e:
        raise DataError(f"a table cannot be written as Parquet: {e}; give columns of one type each") from e
    out = io.BytesIO()
    parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


def _read_parquet(data: bytes) -> Any:
    arrow, parquet = optional("pyarrow", "finance"), optional("pyarrow.parquet", "finance")
    return parquet.read_table(arrow.BufferReader(data), use_threads=False).to_pandas()


def _split(value: Any, where: str, arrays: dict[str, Any]) -> Any:
    """Replace arrays and tensors by their names, and collect them."""
    if isinstance(value, Mapping):
        if _ARRAY in value:
            raise DataError(f"{where or 'value'} has the reserved key {_ARRAY!r}; rename it")
        return {k: _split(v, f"{where}/{k}", arrays) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_split(v, f"{where}/{i}", arrays) for i, v in enumerate(value)]
    array = _as_array(value, where)
    if array is None:
        return value
    arrays[where] = array
    return {_ARRAY: where}


def _as_array(value: Any, where: str) -> Any:
    """Return an array or tensor as a contiguous NumPy array, None for anything else."""
    import numpy as np

    module = type(value).__module__
    if module.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.kind not in "biuf":
        raise DataError(
            f"{where or 'value'} is an array of {value.dtype}; arrays of numbers and booleans can be stored, "
            "text belongs into a list"
        )
    return np.ascontiguousarray(value).reshape(value.shape)  # ascontiguousarray makes 0-d arrays 1-d


def _join(plain: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(plain, dict):
        if set(plain) == {_ARRAY}:
            return arrays[plain[_ARRAY]]
        return {k: _join(v, arrays) for k, v in plain.items()}
    if isinstance(plain, list):
        return [_join(v, arrays) for v in plain]
    return plain
