"""Augmentation of whole batches in memory: uint8 images in, uint8 images out, nothing per image in Python.

An operation is a frozen dataclass, called with images (N, C, H, W) and a generator. ``compose`` applies a tuple of them
with one draw. Each image has its own random parameters; no operation waits for the device or has a shape that depends
on a value.
"""

from longtail.augment.color import ColorJitter, GaussianBlur, Grayscale
from longtail.augment.compose import Operation, apply, compose, noise_for
from longtail.augment.erase import Cutout
from longtail.augment.geometry import HorizontalFlip, RandomCrop, RandomResizedCrop, Rotation
from longtail.augment.mixing import Mixed, cutmix, cutmix_with, mixup, mixup_with, paste_with
from longtail.augment.normalize import normalize, standardise
from longtail.augment.policy import AutoAugment, RandAugment
from longtail.augment.vectors import FeatureDropout, FeatureNoise
from longtail.augment.views import Views, simclr

__all__ = [
    "AutoAugment",
    "ColorJitter",
    "Cutout",
    "FeatureDropout",
    "FeatureNoise",
    "GaussianBlur",
    "Grayscale",
    "HorizontalFlip",
    "Mixed",
    "Operation",
    "RandAugment",
    "RandomCrop",
    "RandomResizedCrop",
    "Rotation",
    "Views",
    "apply",
    "compose",
    "cutmix",
    "cutmix_with",
    "mixup",
    "mixup_with",
    "noise_for",
    "normalize",
    "paste_with",
    "simclr",
    "standardise",
]
