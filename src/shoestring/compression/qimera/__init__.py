"""Qimera: data-free quantisation with synthetic boundary supporting samples (NeurIPS 2021)."""

from shoestring.compression.qimera._generator import QimeraGenerator, QimeraLatents
from shoestring.compression.qimera._method import qimera
from shoestring.compression.qimera.config import QimeraConfig

__all__ = ["QimeraConfig", "QimeraGenerator", "QimeraLatents", "qimera"]
