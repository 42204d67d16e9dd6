"""``class-weights``: cross-entropy weighted by class, by inverse frequency, a power of it, or effective number.

Paper: Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019; Cao et al., *Learning
Imbalanced Datasets with Label-Distribution-Aware Margin Loss*, NeurIPS 2019 (deferred).
Command: ``longtail compare ce class-weights class-weights@weight=effective,after=0.8 --data cifar100-lt --root DATA``
Cost: that of ``ce``.
Expect: nothing for the weights alone in the sources at hand; with focal loss 38.6 to 39.6 % on CIFAR-100-LT IF 100
(``cb-focal``, docs/protocols.md). Weights from the first epoch on often lose more on the head than they gain.
"""

from __future__ import annotations

from typing import Literal

from longtail.losses import class_weighted_cross_entropy, cross_entropy
from longtail.methods.deferred import deferred
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, part


def recipe(
    protocol: Protocol,
    *,
    weight: Literal["inverse", "effective"] = "inverse",
    power: float = 1.0,
    beta: float = 0.9999,
    after: float = 0.0,
) -> Recipe:
    """Weighted cross-entropy, from the start or after a share of the run.

    Args:
        protocol: model and training.
        weight: ``inverse`` for 1 / n_c^power, ``effective`` for the inverse effective number of samples.
        power: exponent of the counts; 0.5 is the inverse square root.
        beta: base of the effective number, in [0, 1).
        after: share of the run that is trained without weights, in [0, 1).
    """
    weighted = part(class_weighted_cross_entropy, weight=weight, power=power, beta=beta)
    return Recipe("class-weights", protocol.model, deferred(protocol, part(cross_entropy), weighted, after))
