"""``mislas``: mixup for the representation, then label-aware smoothing for the classifier.

Paper: Zhong et al., *Improving Calibration for Long-Tailed Recognition*, CVPR 2021.
Command: ``longtail compare ce mixup mislas --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``mixup`` (shared with it), then a twentieth of its epochs for the classifier alone.
Expect: 47.0 % (calibration error 4.8 %) on CIFAR-100-LT IF 100 and 82.5 % on CIFAR-10-LT IF 100 (docs/protocols.md).

Chosen here: the whole classifier is trained instead of one scale for each class beside it, and the statistics of batch
normalisation stay those of the first stage (the paper shifts them), so expect less.
"""

from __future__ import annotations

from longtail.losses import label_aware_smoothing
from longtail.methods import mixing
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, Stage, cosine, part, sgd
from longtail.samplers import ClassBalanced


def recipe(protocol: Protocol, *, alpha: float = 1.0, head: float = 0.4, tail: float = 0.1) -> Recipe:
    """Mixup, then the classifier on class-balanced batches with labels smoothed by frequency.

    Args:
        protocol: model and training.
        alpha: of the Beta distribution of the mixing weights, positive.
        head: smoothing of the largest class, in [0, 1).
        tail: smoothing of the smallest class, in [0, 1).
    """
    calibrate = Stage(
        "calibrate",
        epochs=protocol.share(0.05),
        batch_size=protocol.batch_size,
        objective=part(label_aware_smoothing, head=head, tail=tail),
        sampler=part(ClassBalanced),
        optimizer=part(sgd, lr=0.1, momentum=0.9, weight_decay=5e-4),
        schedule=part(cosine),
        augmentation=protocol.augmentation,
        trains="classifier",
    )
    return Recipe("mislas", protocol.model, (*mixing.mixup(protocol, alpha=alpha).stages, calibrate))
