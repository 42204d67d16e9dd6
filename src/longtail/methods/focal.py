"""``focal`` and ``cb-focal``: cross-entropy that fades for easy images, as it is or weighted by effective number.

Papers: Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017; Cui et al., *Class-Balanced Loss Based on
Effective Number of Samples*, CVPR 2019.
Command: ``longtail compare ce focal cb-focal --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``ce``.
Expect: ``focal`` 37.2 to 38.4 % on CIFAR-100-LT IF 100 and 71.6 % on CIFAR-10-LT IF 100, ``cb-focal`` 38.6 to 39.6 %
and 74.6 to 75.2 %, under plain-200 (docs/protocols.md).

Chosen here: a softmax, where Cui et al. use sigmoids.
"""

from __future__ import annotations

from longtail import losses
from longtail.methods.ce import classify
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, part


def recipe(protocol: Protocol, *, gamma: float = 2.0) -> Recipe:
    """Focal loss, natural sampling.

    Args:
        protocol: model and training.
        gamma: how fast the loss fades as the true class's probability grows; 0 is cross-entropy.
    """
    return Recipe("focal", protocol.model, (classify(protocol, part(losses.focal, gamma=gamma)),))


def class_balanced(protocol: Protocol, *, gamma: float = 2.0, beta: float = 0.9999) -> Recipe:
    """Focal loss weighted by the inverse effective number of the class.

    Args:
        protocol: model and training.
        gamma: how fast the loss fades as the true class's probability grows.
        beta: base of the effective number, in [0, 1).
    """
    loss = part(losses.class_balanced_focal, gamma=gamma, beta=beta)
    return Recipe("cb-focal", protocol.model, (classify(protocol, loss),))
