"""``tau-norm``, ``lws``, ``ncm``, ``samn``, ``los``: another classifier on the features of ``ce``, without training it.

Papers: Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020, section 4; for
``samn`` Zhang et al., *Why Not Hyperparameter-Friendly Optimisation?*, CVPR 2026; for ``los`` Sun et al., *Rethinking
Classifier Re-Training in Long-Tailed Recognition*, ICLR 2025.
Command: ``longtail compare ce tau-norm lws ncm samn los crt --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``ce`` (shared with it), one pass over the training images and seconds of a convex fit.
Expect: ``tau-norm`` 41.0 % on CIFAR-100-LT IF 100 and 72.7 % on CIFAR-10-LT IF 100, ``lws`` 40.2 % and 72.6 %, ``los``
54.9 % on CIFAR-100-LT IF 100 from a first stage with tuned decay, ``ncm`` and ``samn`` nothing in the sources at hand
for this network (docs/protocols.md).

Chosen here: features are of clean images; ``lws`` is solved to its minimum instead of by ten epochs of SGD; ``tau`` is
1 unless ``tau-norm@tau=none`` chooses it on a validation split; ``samn`` is the authors' projection, once, on the
classifier that is there, and ``los`` solved to its minimum on the features of plain ``ce``. Each can follow any
finished run: ``longtail train tau-norm --from RECORD``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from longtail.methods import ce
from longtail.methods.protocols import Protocol
from longtail.rebalance import SAMN, LabelOverSmoothing, LearnableWeightScaling, NearestClassMean, TauNormalization
from longtail.recipes import Part, Recipe, part


def _after_ce(protocol: Protocol, name: str, estimator: Part) -> Recipe:
    return dataclasses.replace(ce.recipe(protocol), name=name, adjustment=estimator)


def tau_norm(protocol: Protocol, *, tau: float | None = 1.0) -> Recipe:
    """The weights of each class divided by a power of their norm.

    Args:
        protocol: model and training.
        tau: the power; none to choose it by balanced accuracy on the validation split.
    """
    return _after_ce(protocol, "tau-norm", part(TauNormalization, tau=tau))


def lws(protocol: Protocol, *, weight_decay: float = 5e-4) -> Recipe:
    """One learned factor for the weights of each class.

    Args:
        protocol: model and training.
        weight_decay: of the factors.
    """
    return _after_ce(protocol, "lws", part(LearnableWeightScaling, weight_decay=weight_decay))


def samn(protocol: Protocol) -> Recipe:
    """Every class at least the weight norm of any more frequent one."""
    return _after_ce(protocol, "samn", part(SAMN))


def los(protocol: Protocol, *, smoothing: float = 0.98, weight_decay: float = 5e-4) -> Recipe:
    """A new classifier from labels that are smoothed until they are almost uniform.

    Args:
        protocol: model and training.
        smoothing: share of a label that is spread over the classes, in [0, 1).
        weight_decay: of the classifier.
    """
    return _after_ce(protocol, "los", part(LabelOverSmoothing, smoothing=smoothing, weight_decay=weight_decay))


def ncm(protocol: Protocol, *, cosine: bool = True) -> Recipe:
    """The class whose mean feature is nearest.

    Args:
        protocol: model and training.
        cosine: by the angle instead of the distance.
    """
    return _after_ce(protocol, "ncm", part(NearestClassMean, cosine=cosine))


METHODS: dict[str, Callable[[Protocol], Recipe]] = {
    "tau-norm": tau_norm,
    "lws": lws,
    "ncm": ncm,
    "samn": samn,
    "los": los,
}
"""The methods of this page by name."""
