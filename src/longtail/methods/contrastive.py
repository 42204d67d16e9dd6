"""``bns-probe`` and ``supcon-probe``: contrastive pre-training on two views, then a classifier on the frozen backbone.

Papers: Lin and Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025 (BNS);
Khosla et al., *Supervised Contrastive Learning*, NeurIPS 2020 (SupCon, the natural control).
Command: ``longtail compare bns-probe supcon-probe --data cifar100-lt --imbalance 100 --root DATA --epochs 200``
Cost: 1000 epochs of two views at ``--epochs 200`` (contrastive stages last five times ``--epochs``, as published).
Expect: linear probe 68.2 % on CIFAR-10-LT (ResNet-18) and 47.1 % on CIFAR-100-LT (ResNet-34), mean of 5, on balanced
subsets of 100 and 50 images a class (docs/bns.md).

Chosen here, where the facts are silent or where stages must combine: inputs are standardised in every stage (the
released code feeds stage 1 without mean and deviation); temperature 0.5, m = 2 extra positives (the paper: "m is small
because minority classes have few samples") and all negatives of the batch.
"""

from __future__ import annotations

from typing import Literal

from longtail.methods.protocols import Protocol
from longtail.recipes.objectives import Contrastive, CrossEntropy, Supervised
from longtail.recipes.optimizers import AdamW, Cosine
from longtail.recipes.sampling import Balanced, Natural
from longtail.recipes.stages import Recipe, Stage

ContrastiveLoss = Literal["bns", "ns", "released-bns", "supcon"]


def pretrain(
    protocol: Protocol,
    *,
    loss: ContrastiveLoss,
    temperature: float | None,
    positives: int | None,
    negatives: int | None,
    partners: int,
) -> Stage:
    """Stage 1: AdamW, no decay on biases and norms, warm-up of 20 in 1000 epochs, cosine to zero."""
    if temperature is None:
        temperature = 0.1 if loss == "supcon" else 0.5
    if loss != "bns":  # the others use all that a batch has; one description of each, so that their runs are shared
        positives = negatives = None
    return Stage(
        "pretrain",
        epochs=protocol.share(protocol.contrastive_epochs),
        objective=Contrastive(loss=loss, temperature=temperature, positives=positives, negatives=negatives),
        sampler=Natural(protocol.contrastive_batch_size, minimum=partners),
        optimizer=AdamW(lr=1e-3 * protocol.contrastive_batch_size / 256, beta2=0.95, weight_decay=0.05),
        schedule=Cosine(warmup=0.02),
        augmentation=(protocol.views,),
        trains="backbone",
    )


def probe(
    protocol: Protocol,
    *,
    loss: ContrastiveLoss = "bns",
    temperature: float | None = None,
    positives: int | None = 2,
    negatives: int | None = None,
    partners: int = 1,
) -> Recipe:
    """A contrastive first stage, then a linear classifier on class-balanced batches of the frozen features.

    Args:
        protocol: model, views and batch size.
        loss: of the first stage.
        temperature: tau; none for 0.5, and 0.1 for SupCon, as in its paper.
        positives: m; none for all in the batch.
        negatives: n; none for all in the batch.
        partners: g, how many images of a class come into a batch together; 1 is natural sampling.
    """
    first = pretrain(
        protocol, loss=loss, temperature=temperature, positives=positives, negatives=negatives, partners=partners
    )
    classify = Stage(
        "probe",
        epochs=protocol.share(0.5),
        objective=Supervised(CrossEntropy()),
        sampler=Balanced(protocol.fine_tune_batch_size),
        optimizer=AdamW(lr=protocol.fine_tune_lr, beta2=0.999, weight_decay=0.05),
        schedule=Cosine(warmup=0.05),
        augmentation=protocol.augmentation,
        trains="classifier",
        fresh_head=True,
    )
    return Recipe(f"{loss}-probe", protocol.model, (first, classify))


def supcon_probe(protocol: Protocol, *, temperature: float | None = None, partners: int = 1) -> Recipe:
    """The same with SupCon in the first stage."""
    return probe(protocol, loss="supcon", temperature=temperature, partners=partners)
