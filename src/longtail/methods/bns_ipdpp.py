"""``bns-ipdpp``: contrastive pre-training with balanced negative sampling, then fine-tuning on IP-DPP subsets.

Paper: Lin and Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025.
Command: ``longtail compare bns-ipdpp bns-ipdpp@arm=uniform --data cifar100-lt --root DATA --model resnet34-cifar``
Cost: 1000 epochs of two views, then 100 epochs on a balanced subset, at ``--epochs 200``.
Expect: the paper reports 76.4 % on CIFAR-10-LT (ResNet-18) and 52.4 % on CIFAR-100-LT (ResNet-34), IF 100, mean of 5
(docs/bns.md). Its released subset sampler is a fixed uniform one, so ``arm=uniform`` is the control to beat.
"""

from __future__ import annotations

from longtail.methods.contrastive import ContrastiveLoss, pretrain
from longtail.methods.ip_dpp import Trains, fine_tune
from longtail.methods.protocols import Protocol
from longtail.recipes.sampling import Arm
from longtail.recipes.stages import Recipe


def recipe(
    protocol: Protocol,
    *,
    loss: ContrastiveLoss = "bns",
    temperature: float | None = None,
    positives: int | None = 2,
    negatives: int | None = None,
    partners: int = 1,
    arm: Arm = "ip-dpp",
    k: int | None = None,
    resample_every: int | None = None,
    trains: Trains = "all",
    strength: float = 1.0,
    diversity: bool = False,
    mislabelled: float = 0.0,
) -> Recipe:
    """The whole system; the options are those of its two halves (``contrastive.probe`` and ``ip_dpp.recipe``)."""
    first = pretrain(
        protocol, loss=loss, temperature=temperature, positives=positives, negatives=negatives, partners=partners
    )
    second = fine_tune(
        protocol,
        arm=arm,
        k=k,
        resample_every=resample_every,
        trains=trains,
        strength=strength,
        diversity=diversity,
        mislabelled=mislabelled,
    )
    return Recipe("bns-ipdpp", protocol.model, (first, second))
