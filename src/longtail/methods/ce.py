"""``ce``: cross-entropy on the data as it is, the baseline of every long-tail paper.

Paper: none of its own; setting of Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin
Loss*, NeurIPS 2019 (plain-200).
Command: ``longtail train ce --data cifar100-lt --imbalance 100 --root DATA``
Cost: 200 epochs of ResNet-32 (69 M multiply-adds) on 10,847 images, 1.4e14 multiply-adds forward.
Expect: 37.7 to 41.4 % on CIFAR-100-LT IF 100, 70.4 to 72.0 % on CIFAR-10-LT IF 100 (seven sources, docs/protocols.md).
"""

from __future__ import annotations

from longtail.losses import cross_entropy
from longtail.methods.protocols import Protocol
from longtail.recipes import Part, Recipe, Stage, part
from longtail.samplers import InstanceBalanced


def classify(protocol: Protocol, objective: Part) -> Stage:
    """Return the one stage that every end-to-end method has; under plain cross-entropy all of them share it."""
    return Stage(
        "classify",
        epochs=protocol.epochs,
        batch_size=protocol.batch_size,
        objective=objective,
        sampler=part(InstanceBalanced),
        optimizer=protocol.optimizer,
        schedule=protocol.schedule,
        augmentation=protocol.augmentation,
    )


def recipe(protocol: Protocol) -> Recipe:
    """Cross-entropy, natural sampling."""
    return Recipe("ce", protocol.model, (classify(protocol, part(cross_entropy)),))
