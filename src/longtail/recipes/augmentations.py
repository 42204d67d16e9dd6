"""Augmentations by name: what people mean by none, plain and strong, and the two views of contrastive training."""

from __future__ import annotations

from longtail.augment import AutoAugment, Cutout, HorizontalFlip, RandomCrop, simclr
from longtail.recipes.part import Part, part

PLAIN = (part(RandomCrop, padding=4), part(HorizontalFlip))
STRONG = (*PLAIN, part(AutoAugment), part(Cutout, size=16))
SIMCLR = (part(simclr),)
PRESETS: dict[str, tuple[Part, ...]] = {"none": (), "plain": PLAIN, "strong": STRONG, "simclr": SIMCLR}
