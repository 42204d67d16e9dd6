"""``glmc``: mixup and CutMix of the same pairs that must agree, under a loss that moves to the tail.

Paper: Du et al., *Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions*, CVPR
2023.
Command: ``longtail compare ce mixup cutmix glmc --data cifar100-lt --imbalance 100 --root DATA``
Cost: four times that of ``ce`` in augmentation, twice in the network.
Expect: nothing comparable in the sources at hand: the authors' 55.9 %, 58.0 % later, on CIFAR-100-LT IF 100 are of a
ResNet-32 four times as wide, best epoch on the test set.

Chosen here: one classifier for both losses; weights and boxes of each image's own; the weights of the loss as in the
authors' commands for CIFAR-10-LT, the optimiser and batch of the protocol (theirs: learning rate 0.01, decay 5e-3,
batch 64, cosine). It mixes pictures, so features are refused.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from longtail.methods.beside import two_views
from longtail.methods.protocols import Protocol
from longtail.recipes import Consistent, Recipe, part
from longtail.samplers import Paired


def recipe(protocol: Protocol, *, sampling: float = 0.0, **options: Annotated[Any, Consistent]) -> Recipe:
    """Global and local mixtures of two views.

    Args:
        protocol: model and training.
        sampling: r, of the weights n_c^-r by which the partners of images are drawn.
        options: of ``longtail.recipes.Consistent``; ``consistency=0`` is the control without the agreement.
    """
    stage = two_views(protocol, part(Consistent, **options))
    if not protocol.augmentation:
        stage = dataclasses.replace(stage, augmentation=())
    return Recipe("glmc", protocol.model, (dataclasses.replace(stage, sampler=part(Paired, power=sampling)),))
