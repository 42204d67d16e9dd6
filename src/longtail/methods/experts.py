"""``ride``, ``sade``: several experts on one trunk, trained to differ, whose logits are averaged.

Papers: Wang et al., *Long-tailed Recognition by Routing Diverse Distribution-Aware Experts*, ICLR 2021; Zhang et al.,
*Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition*, NeurIPS 2022.
Command: ``longtail compare ce ride sade --data cifar100-lt --imbalance 100 --root DATA``
Cost: with three experts on ResNet-32 2.3 times the multiply-adds of ``ce``, training and test: the first stage of the
network is shared, the last two are there three times. On one piece (timm, features) only the classifiers are.
Expect: 48.6 % (three experts, routed) and 50.2 % (six) for ``ride``, 49.8 % for ``sade`` on CIFAR-100-LT IF 100, under
weight decay 5e-4, Nesterov momentum and rotations in the augmentation (docs/protocols.md).

Chosen here: experts keep the whole width of the network (the authors narrow them by a quarter); ``ride`` has no router,
so every image is seen by all experts, and is not distilled; ``sade`` averages its experts evenly, without the weights
that are learned on test images. Both are trained under the protocol's own optimiser and augmentation.
"""

from __future__ import annotations

from longtail import losses
from longtail.methods.ce import classify
from longtail.methods.deferred import deferred
from longtail.methods.ldam_drw import cosine_head
from longtail.methods.protocols import Protocol
from longtail.recipes import Part, PerExpert, Recipe, part
from longtail.recipes import experts as several


def ride(
    protocol: Protocol,
    *,
    experts: int = 3,
    diversity: float = 0.2,
    max_margin: float = 0.5,
    scale: float = 30.0,
    beta: float = 0.9999,
    after: float = 0.8,
) -> Recipe:
    """LDAM, later weighted, on every expert, which are kept apart by their divergence.

    Args:
        protocol: model and training.
        experts: E, at least 2.
        diversity: weight of the divergence between the predictions that the loss sees, softmax of the scaled cosines; 0
            is the control without it.
        max_margin: margin of the smallest class, in units of the cosine.
        scale: factor of the cosines.
        beta: base of the effective number, in [0, 1).
        after: share of the run before the weights come in, in [0, 1).
    """

    def trained_by(loss: Part) -> Part:
        # The loss scales the cosines itself; the divergence is of the same scaled logits.
        return part(PerExpert, experts=(loss,), diversity=diversity, temperature=1.0 / scale)

    plain = part(losses.ldam, max_margin=max_margin, scale=scale)
    weighted = part(losses.ldam, max_margin=max_margin, scale=scale, beta=beta, relative=True)
    model = part(several, of=cosine_head(protocol.model, scale=1.0), number=experts)
    return Recipe("ride", model, deferred(protocol, trained_by(plain), trained_by(weighted), after))


def sade(protocol: Protocol, *, tau: float = 2.0) -> Recipe:
    """Three experts: for the training distribution, for a balanced one, and for the reversed one.

    Args:
        protocol: model and training.
        tau: strength of the reversed prior; 0 makes the third expert one like the second.
    """
    three = (part(losses.cross_entropy), part(losses.balanced_softmax), part(losses.inverse_softmax, tau=tau))
    model = part(several, of=protocol.model, number=3)
    return Recipe("sade", model, (classify(protocol, part(PerExpert, experts=three)),))
