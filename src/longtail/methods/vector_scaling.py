"""``vector-scaling``: logit adjustment with a factor for each class besides the log-prior.

Paper: Kini et al., *Label-Imbalanced and Group-Sensitive Classification under Overparameterization*, NeurIPS 2021.
Command: ``longtail compare ce logit-adjustment vector-scaling --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``ce``.
Expect: nothing in the sources at hand; at gamma 0 it is ``logit-adjustment``, 44.1 % on CIFAR-100-LT IF 100.
"""

from __future__ import annotations

from longtail import losses
from longtail.methods.ce import classify
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, part


def recipe(protocol: Protocol, *, gamma: float = 0.3, tau: float = 1.0) -> Recipe:
    """The vector-scaling loss; both strengths are to be chosen on validation data.

    Args:
        protocol: model and training.
        gamma: exponent of the factors (n_c / max n)^gamma, at least 0.
        tau: weight of the log-prior.
    """
    loss = part(losses.vector_scaling, gamma=gamma, tau=tau)
    return Recipe("vector-scaling", protocol.model, (classify(protocol, loss),))
