"""``bns-ipdpp``: contrastive pre-training with balanced negative sampling, then fine-tuning on IP-DPP subsets.

Paper: Lin and Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025.
Command: ``longtail compare bns-ipdpp bns-ipdpp@arm=uniform --data cifar100-lt --root DATA --model resnet34-cifar``
Cost: 1000 epochs of two views, then 100 epochs on a balanced subset, at ``--epochs 200``.
Expect: the paper reports 76.4 % on CIFAR-10-LT (ResNet-18) and 52.4 % on CIFAR-100-LT (ResNet-34), IF 100, mean of 5
(docs/bns.md). Its released subset sampler is a fixed uniform one, so ``arm=uniform`` is the control to beat.
"""

from __future__ import annotations

from typing import Annotated, Any

from longtail.methods.contrastive import pretrain
from longtail.methods.ip_dpp import fine_tune
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe
from longtail.recipes.part import chosen


def recipe(protocol: Protocol, **options: Annotated[Any, pretrain, fine_tune]) -> Recipe:
    """The whole system.

    Args:
        protocol: model, views, augmentation, batch sizes and length.
        options: options of its two halves, ``contrastive.pretrain`` and ``ip_dpp.fine_tune``.
    """
    first, second = chosen(options, pretrain, fine_tune)
    stages = (pretrain(protocol, **first), fine_tune(protocol, **second))
    return Recipe("bns-ipdpp", protocol.model, stages)
