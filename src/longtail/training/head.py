"""The head that an estimator of ``longtail.rebalance`` gives a trained network: the last step of a recipe."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from longtail.data import Data
from longtail.errors import InputError
from longtail.models import CosineHead, LinearHead, Network
from longtail.recipes.part import Part, parameters_of
from longtail.recipes.stages import changes_head
from longtail.recipes.text import short
from longtail.training.passes import outputs
from longtail.training.processes import ALONE, Ranks


def fit_head(network: Network, adjustment: Part, data: Data, ranks: Ranks = ALONE) -> None:
    """Fit an estimator on the network's features of clean images and make it the network's head, in place.

    It is fitted on the training split, or, where it chooses by held-out images, on the validation split.

    Args:
        network: trained, on its device.
        adjustment: an estimator on features.
        data: on the device.
        ranks: the processes that share the pass; the head is that of the first.

    Raises:
        InputError: an estimator that reads the classifier's weights where that is not linear, one that needs a
            validation split that is not there, or one that gives no weights.
    """
    estimator = adjustment.build()
    held_out = bool(getattr(estimator, "held_out", False))
    split = data.validation if held_out else data.train
    if split is None:
        raise InputError(f"{short(adjustment)} chooses by held-out images: load the data with validation=0.1")
    asked = parameters_of(type(estimator).fit)
    found, head = outputs(network, split, data, ranks), network.head
    given: dict[str, Any] = {
        "features": found.features.cpu(),
        "target": split.target.cpu(),
        "counts": data.counts.cpu(),
        "num_classes": data.num_classes,
    }
    if isinstance(head, LinearHead):
        given |= {"weight": head.weight.detach().cpu(), "bias": head.bias.detach().cpu()}
    try:
        estimator.fit(**{name: value for name, value in given.items() if name in asked})
    except InputError as error:
        kind = type(head).__name__
        which = "" if isinstance(head, LinearHead) else f" (it reads those of a linear head, and this is a {kind})"
        raise InputError(f"{short(adjustment)}: {error}{which}") from None
    replace_head(network, adjustment)
    weight, bias = _parameters(estimator)
    absent = weight.isnan().any(dim=1) | (bias == -torch.inf)
    if isinstance(network.head, CosineHead) and bool(absent.any()):
        raise InputError(f"{short(adjustment)}: class {int(absent.nonzero()[0])} has no training images, so no mean")
    with torch.no_grad():
        made: Any = network.head
        made.weight.copy_(torch.where(absent[:, None], 0.0, weight))
        if isinstance(made, LinearHead):
            made.bias.copy_(bias.masked_fill(absent, -torch.inf))
    ranks.copy(network.head.parameters())


def replace_head(network: Network, adjustment: Part | None) -> None:
    """Give a network a head of the kind that an estimator makes of it, its weights still to be set."""
    if not changes_head(adjustment):
        return
    assert adjustment is not None
    before = network.head
    if not isinstance(before, (LinearHead, CosineHead)):
        raise InputError(f"{short(adjustment)} replaces a single linear or cosine head, not a {type(before).__name__}")
    classes, width = before.weight.shape
    cosine = bool(getattr(adjustment.build(), "cosine", False))
    scale = before.scale if isinstance(before, CosineHead) else 1.0
    head: nn.Module = CosineHead(width, classes, scale=scale) if cosine else LinearHead(width, classes)
    network.head = head.to(before.weight.device).train(before.training)


def _parameters(estimator: Any) -> tuple[Tensor, Tensor]:
    """Weights (K, D) and bias (K,) of a fitted estimator."""
    weight, bias = getattr(estimator, "weight_", None), getattr(estimator, "bias_", None)
    if weight is None:
        raise InputError(f"{type(estimator).__name__} gave no weights, so it cannot become a head")
    return weight.float(), torch.zeros(len(weight)) if bias is None else bias.float()
