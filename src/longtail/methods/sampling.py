"""``class-balanced-sampling``, ``square-root-sampling``, ``progressive-sampling``: cross-entropy, classes drawn anew.

Paper: Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020, section 3.
Command: ``longtail compare ce class-balanced-sampling square-root-sampling progressive-sampling --data digits-lt``
Cost: that of ``ce``: an epoch has as many images, drawn with replacement.
Expect: nothing for CIFAR-LT in the sources at hand. Class-balanced sampling from the start overfits the tail, which is
why two-stage training exists; the other two lie between it and ``ce``.
"""

from __future__ import annotations

import dataclasses

from longtail.losses import cross_entropy
from longtail.methods import ce
from longtail.methods.protocols import Protocol
from longtail.recipes import Part, Recipe, part
from longtail.samplers import ClassBalanced, ProgressivelyBalanced, SquareRoot


def _sampled(protocol: Protocol, name: str, sampler: Part) -> Recipe:
    stage = dataclasses.replace(ce.classify(protocol, part(cross_entropy)), sampler=sampler)
    return Recipe(name, protocol.model, (stage,))


def balanced(protocol: Protocol) -> Recipe:
    """Every class drawn equally often."""
    return _sampled(protocol, "class-balanced-sampling", part(ClassBalanced))


def square_root(protocol: Protocol) -> Recipe:
    """Classes drawn by the square root of their frequency."""
    return _sampled(protocol, "square-root-sampling", part(SquareRoot))


def progressive(protocol: Protocol) -> Recipe:
    """From natural frequencies at the first epoch towards equal ones at the last."""
    return _sampled(protocol, "progressive-sampling", part(ProgressivelyBalanced))
