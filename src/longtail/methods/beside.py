"""``bcl``, ``proco``: logit-adjusted classification and contrastive learning beside it, in one stage.

Papers: Zhu et al., *Balanced Contrastive Learning for Long-Tailed Visual Recognition*, CVPR 2022; Du et al.,
*Probabilistic Contrastive Learning for Long-Tailed Visual Recognition*, IEEE TPAMI 2024.
Command: ``longtail compare logit-adjustment bcl proco --data cifar100-lt --root DATA --protocol strong-400``
Cost: twice that of ``ce``: two views of every image.
Expect: ``bcl`` 53.9 % on CIFAR-100-LT IF 100 (second-hand), ``proco`` 52.8 % at 200 epochs and 54.2 % at 400, 85.9 % on
CIFAR-10-LT, with AutoAugment, batch 256 and learning rate 0.3 (docs/protocols.md).

Chosen here: two views, both by the protocol's augmentation, of which the first is classified too (the authors have a
third, and SimCLR's colours for the two that are compared); the protocol's batch and learning rate; for ``bcl`` the
weights of the authors' code for ImageNet-LT.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from longtail.augment import Views
from longtail.methods.ce import classify
from longtail.methods.protocols import Protocol
from longtail.recipes import ClassAveraged, Part, Probabilistic, Recipe, Stage, part


def two_views(protocol: Protocol, objective: Part) -> Stage:
    """Return the one stage on two views by the protocol's augmentation; where it has none, those of pre-training."""
    stage = classify(protocol, objective)
    pipeline = stage.augmentation
    views = (part(Views, operations=pipeline, count=2),) if pipeline else protocol.views
    return dataclasses.replace(stage, augmentation=views)


def bcl(protocol: Protocol, **options: Annotated[Any, ClassAveraged]) -> Recipe:
    """Every class alike in the contrastive term, and a prototype of each in every batch.

    Args:
        protocol: model and training.
        options: of ``longtail.recipes.ClassAveraged``.
    """
    return Recipe("bcl", protocol.model, (two_views(protocol, part(ClassAveraged, **options)),))


def proco(protocol: Protocol, **options: Annotated[Any, Probabilistic]) -> Recipe:
    """Contrast with the estimated distribution of every class.

    Args:
        protocol: model and training.
        options: of ``longtail.recipes.Probabilistic``.
    """
    return Recipe("proco", protocol.model, (two_views(protocol, part(Probabilistic, **options)),))
