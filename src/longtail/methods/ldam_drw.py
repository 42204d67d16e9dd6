"""``ldam-drw``: margins that are larger for rarer classes on a cosine head, with re-weighting in the last fifth.

Paper: Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss*, NeurIPS 2019.
Command: ``longtail compare ce ldam-drw --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``ce``.
Expect: 42.0 to 42.9 % on CIFAR-100-LT IF 100 and 77.0 to 77.8 % on CIFAR-10-LT IF 100 (docs/protocols.md).

The model's head is made a cosine one of scale 1, since the loss scales by itself. In the last fifth the loss is divided
by the mean weight of the batch, as the authors' code does.
"""

from __future__ import annotations

from longtail.errors import InputError
from longtail.losses import ldam
from longtail.methods.deferred import deferred
from longtail.methods.protocols import Protocol
from longtail.recipes import Part, Recipe, part
from longtail.recipes.part import options_of


def recipe(
    protocol: Protocol, *, max_margin: float = 0.5, scale: float = 30.0, beta: float = 0.9999, after: float = 0.8
) -> Recipe:
    """LDAM, then LDAM weighted by the inverse effective number of the class, with the same optimiser.

    Args:
        protocol: model and training.
        max_margin: margin of the smallest class, in units of the cosine.
        scale: factor of the cosines.
        beta: base of the effective number, in [0, 1).
        after: share of the run before the weights come in, in [0, 1).
    """
    plain = part(ldam, max_margin=max_margin, scale=scale)
    weighted = part(ldam, max_margin=max_margin, scale=scale, beta=beta, relative=True)
    return Recipe("ldam-drw", cosine_head(protocol.model, scale=1.0), deferred(protocol, plain, weighted, after))


def cosine_head(model: Part, *, scale: float) -> Part:
    """Return a model with a cosine head.

    Args:
        model: one of ours, or a foreign one with the options ``head`` and ``scale``.
        scale: of the head.

    Raises:
        InputError: a foreign model that has no such options.
    """
    if not {"head", "scale"} <= set(options_of(model.function)):
        raise InputError(f"{model.name} has no options head and scale, and this method needs a cosine head")
    return model.with_arguments(head="cosine", scale=scale)
