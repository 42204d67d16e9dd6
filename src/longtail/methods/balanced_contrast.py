"""``kcl``, ``tsc``, ``sbcl``: balanced contrastive pre-training, then a classifier on the frozen backbone.

Papers: Kang et al., *Exploring Balanced Feature Spaces for Representation Learning*, ICLR 2021; Li et al., *Targeted
Supervised Contrastive Learning for Long-Tailed Recognition*, CVPR 2022; Hou et al., *Subclass-balancing Contrastive
Learning for Long-tailed Recognition*, ICCV 2023.
Command: ``longtail compare kcl tsc sbcl bns-probe --data cifar100-lt --imbalance 100 --root DATA``
Cost: 1000 epochs of two views at ``--epochs 200``, and for ``tsc`` and ``sbcl`` a pass over the training set at some.
Expect: ``kcl`` 42.8 % and ``tsc`` 43.8 % on CIFAR-100-LT IF 100 with ResNet-32, 77.6 % and 79.7 % on CIFAR-10-LT; under
the linear probe of ``bns-probe`` on CIFAR-10-LT 61.0, 63.8 and, for ``sbcl``, 64.7 % (docs/bns.md).

Chosen here: keys are the other views of the batch instead of a queue behind a slowly moving encoder; the optimiser,
batches and probe are those of ``bns-probe``, so that the losses are compared and nothing else.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from longtail.losses import k_positive_contrastive
from longtail.methods import contrastive
from longtail.methods.protocols import Protocol
from longtail.recipes import Contrastive, Part, Recipe, Subclassed, Targeted, part


def _with(protocol: Protocol, name: str, objective: Part) -> Recipe:
    first, probe = contrastive.probe(protocol).stages
    return Recipe(name, protocol.model, (dataclasses.replace(first, objective=objective), probe))


def kcl(protocol: Protocol, *, positives: int = 6, temperature: float = 0.07) -> Recipe:
    """The same number of positives for every class.

    Args:
        protocol: model, views and batch size.
        positives: k, of the class, besides the other view.
        temperature: tau.
    """
    loss = part(k_positive_contrastive, positives=positives, temperature=temperature)
    return _with(protocol, "kcl", part(Contrastive, loss=loss))


def tsc(protocol: Protocol, **options: Annotated[Any, Targeted]) -> Recipe:
    """KCL, and classes pulled to targets that lie evenly on the sphere.

    Args:
        protocol: model, views and batch size.
        options: of ``longtail.recipes.Targeted``.
    """
    return _with(protocol, "tsc", part(Targeted, **options))


def sbcl(protocol: Protocol, *, every: int | None = None, **options: Annotated[Any, Subclassed]) -> Recipe:
    """SupCon on subclasses of the head classes, and on classes beyond them.

    Args:
        protocol: model, views and batch size.
        every: epochs between clusterings, and before the first; none for a hundredth of the stage, 10 of 1000.
        options: of ``longtail.recipes.Subclassed``.
    """
    held = max(1, protocol.share(protocol.contrastive_epochs) // 100) if every is None else every
    return _with(protocol, "sbcl", part(Subclassed, every=held, **options))
