"""Augmentations by name: what people mean by none, plain and strong, and the two views of contrastive training."""

from __future__ import annotations

from longtail.augment import (
    AutoAugment,
    ColorJitter,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    simclr,
)
from longtail.recipes.part import Part, part

PLAIN = (part(RandomCrop, padding=4), part(HorizontalFlip))
STRONG = (*PLAIN, part(AutoAugment), part(Cutout, size=16))
SIMCLR = (part(simclr),)
# One view at half the strength of SIMCLR's colours, as the released BNS + IP-DPP fine-tunes and probes.
FINE_TUNE = (
    part(RandomResizedCrop),
    part(HorizontalFlip),
    part(ColorJitter, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, probability=0.8),
    part(Grayscale, probability=0.2),
    part(GaussianBlur, kernel=3, sigma=(0.1, 2.0)),
)
PRESETS: dict[str, tuple[Part, ...]] = {
    "none": (),
    "plain": PLAIN,
    "strong": STRONG,
    "simclr": SIMCLR,
    "fine-tune": FINE_TUNE,
}
