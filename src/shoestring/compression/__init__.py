"""Few bits, no data: quantise trained networks, with or without their training images."""

from shoestring.compression.baselines import METHODS
from shoestring.compression.conversion import QuantConfig, QuantizedModel, quantize_model
from shoestring.compression.distillation import DistillationConfig, distil
from shoestring.compression.runs import QuantizationRun, RunOptions, calibrate
from shoestring.compression.sources import FixedImages, GeneratorConfig

__all__ = [
    "METHODS",
    "DistillationConfig",
    "FixedImages",
    "GeneratorConfig",
    "QuantConfig",
    "QuantizationRun",
    "QuantizedModel",
    "RunOptions",
    "calibrate",
    "distil",
    "quantize_model",
]
