"""``balanced-softmax``: cross-entropy with the class counts added to the logits as log-priors while training.

Paper: Ren et al., *Balanced Meta-Softmax for Long-Tailed Visual Recognition*, NeurIPS 2020.
Command: ``longtail train balanced-softmax --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``ce``.
Expect: 43.0 % on CIFAR-100-LT IF 100 and 77.5 % on CIFAR-10-LT IF 100 under plain-200; 50.3 to 50.8 and 83.1 to 84.9 %
with AutoAugment and Cutout (docs/protocols.md).
"""

from __future__ import annotations

from longtail import losses
from longtail.methods.ce import classify
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, part


def recipe(protocol: Protocol) -> Recipe:
    """Balanced softmax, natural sampling."""
    return Recipe("balanced-softmax", protocol.model, (classify(protocol, part(losses.balanced_softmax)),))
