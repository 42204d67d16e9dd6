"""``crt``: classifier re-training. The backbone of ``ce`` is kept, a fresh classifier is trained on balanced batches.

Paper: Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020.
Command: ``longtail compare ce crt --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``ce`` (shared with it), then 10 epochs of the classifier alone.
Expect: 40.3 % on CIFAR-100-LT IF 100, 75.0 % on CIFAR-10-LT IF 100 (docs/protocols.md).
"""

from __future__ import annotations

from longtail.losses import cross_entropy
from longtail.methods import ce
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, Stage, cosine, part, sgd
from longtail.samplers import ClassQuota


def recipe(protocol: Protocol) -> Recipe:
    """Cross-entropy, then a fresh classifier on 4 images of each of up to 128 classes."""
    retrain = Stage(
        "retrain",
        epochs=protocol.share(0.05),
        batch_size=512,
        objective=part(cross_entropy),
        sampler=part(ClassQuota, classes=128, images=4),
        optimizer=part(sgd, lr=0.2, momentum=0.9, weight_decay=5e-4),
        schedule=part(cosine),
        augmentation=protocol.augmentation,
        trains="classifier",
        fresh_head=True,
    )
    return Recipe("crt", protocol.model, (*ce.recipe(protocol).stages, retrain))
