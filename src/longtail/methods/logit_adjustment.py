"""``logit-adjustment``: the log-prior, times tau, in the training loss; ``logit-adjustment-post-hoc``: after training.

Paper: Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021.
Command: ``longtail compare ce logit-adjustment logit-adjustment-post-hoc --data cifar100-lt --root DATA``
Cost: that of ``ce``; the post-hoc form shares the training of ``ce`` and adds nothing.
Expect: 44.1 % on CIFAR-100-LT IF 100 and 77.9 % on CIFAR-10-LT IF 100 (the authors' code; docs/protocols.md). At tau 1
the loss is balanced softmax.
"""

from __future__ import annotations

import dataclasses

from longtail.losses import logit_adjusted_cross_entropy
from longtail.methods import ce
from longtail.methods.protocols import Protocol
from longtail.rebalance import LogitAdjustment
from longtail.recipes import Recipe, part


def recipe(protocol: Protocol, *, tau: float = 1.0) -> Recipe:
    """The logit-adjusted loss.

    Args:
        protocol: model and training.
        tau: weight of the log-prior.
    """
    loss = part(logit_adjusted_cross_entropy, tau=tau)
    return Recipe("logit-adjustment", protocol.model, (ce.classify(protocol, loss),))


def post_hoc(protocol: Protocol, *, tau: float = 1.0) -> Recipe:
    """Plain cross-entropy, the log-prior subtracted from the logits when predicting.

    Args:
        protocol: model and training.
        tau: weight of the log-prior.
    """
    adjustment = part(LogitAdjustment, tau=tau)
    return dataclasses.replace(ce.recipe(protocol), name="logit-adjustment-post-hoc", adjustment=adjustment)
