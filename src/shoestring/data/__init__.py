"""Data sets that ship offline, loaders of standard image formats, generators of drawn images."""

from shoestring.data._cache import cache_folder
from shoestring.data._cifar import CIFAR10_CLASSES, load_cifar10
from shoestring.data._digits import load_digits
from shoestring.data._folder import load_image_folder
from shoestring.data._images import ImageSet, ImageSplits, channel_statistics, normalise
from shoestring.data._shapes import SHAPE_CLASSES, synthetic_shapes

__all__ = [
    "CIFAR10_CLASSES",
    "SHAPE_CLASSES",
    "ImageSet",
    "ImageSplits",
    "cache_folder",
    "channel_statistics",
    "load_cifar10",
    "load_digits",
    "load_image_folder",
    "normalise",
    "synthetic_shapes",
]
