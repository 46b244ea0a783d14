"""Quantised models as files: packed integer codes with a manifest, ONNX, and a reader that needs numpy alone.

A saved model is two files. ``NAME.safetensors`` holds, for every Conv2d and Linear, ``LAYER.codes`` (uint8:
the signed codes packed densely, code i in bits ``i * bits ...`` of the stream, least significant bit first,
two's complement, the last byte filled with zeros), ``LAYER.scale`` (float32) and ``LAYER.zero_point``
(int64), one entry an output channel, so that ``weight = (code - zero_point) * scale``; ``LAYER.bias``
(float32); and for every BatchNorm2d ``LAYER.parameters`` (float32: rows weight, bias, running mean, running
variance). ``NAME.json`` is the manifest: format and version, method, bits, the shape and normalisation of the
images, classes, bits and shape of every weight, the program (a list of plain operations, with the grids of
the activations), and bytes and sha256 of the tensor file. The tensor file's metadata holds, as
``manifest_sha256``, the sha256 of the manifest without its ``tensor_file``, written as JSON with sorted keys
and without spaces.
"""

from shoestring.compression.export._graph import build_program
from shoestring.compression.export._integer_model import IntegerModel
from shoestring.compression.export._onnx import encode_onnx, save_onnx
from shoestring.compression.export._packing import pack_codes, packed_bytes, unpack_codes
from shoestring.compression.export._program import OPERATIONS, IntegerWeight, Node, Program
from shoestring.compression.export._safetensors import (
    FileSizes,
    ModelDescription,
    encode_integer,
    file_sizes,
    float_bytes,
    load_integer,
    save_integer,
)

__all__ = [
    "OPERATIONS",
    "FileSizes",
    "IntegerModel",
    "IntegerWeight",
    "ModelDescription",
    "Node",
    "Program",
    "build_program",
    "encode_integer",
    "encode_onnx",
    "file_sizes",
    "float_bytes",
    "load_integer",
    "pack_codes",
    "packed_bytes",
    "save_integer",
    "save_onnx",
    "unpack_codes",
]
