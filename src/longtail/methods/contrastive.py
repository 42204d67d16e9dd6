"""``bns-probe``, ``supcon-probe``, ``simclr-probe``, ``released-probe``: contrastive pre-training, then a linear probe.

Papers: Lin and Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025 (BNS);
Khosla et al., *Supervised Contrastive Learning*, NeurIPS 2020 (SupCon, the natural control); Chen et al., *A Simple
Framework for Contrastive Learning of Visual Representations*, ICML 2020 (SimCLR, which reads no labels).
Command: ``longtail compare bns-probe supcon-probe simclr-probe released-probe --data cifar100-lt --root DATA``
Cost: 1000 epochs of two views at ``--epochs 200`` (contrastive stages last five times ``--epochs``, as published).
Expect: linear probe 68.2 % on CIFAR-10-LT (ResNet-18) and 47.1 % on CIFAR-100-LT (ResNet-34), mean of 5, on balanced
subsets of 100 and 50 images a class (docs/bns.md). ``released-probe`` is the probe that these numbers are of: a fixed
uniform subset; the others draw class-balanced batches from all images.

Chosen here, where the facts are silent or where stages must combine: inputs are standardised in every stage (the
released code feeds them without mean and deviation); the frozen backbone is in eval mode (released: batch norm in train
mode; a warm-up of 5 epochs on CIFAR-10-LT and 20 on CIFAR-100-LT, here 5 of 100 on both); temperature 0.5, m = 2 extra
positives (the paper: "m is small because minority classes have few samples") and all negatives of the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

from longtail import losses
from longtail.methods.protocols import Protocol
from longtail.recipes import Contrastive, Recipe, Stage, adamw, cosine, part
from longtail.samplers import ClassBalanced, InformativeSubset, InstanceBalanced, MinimumPerClass

_LOSSES: dict[str, Callable[..., Any]] = {
    "bns": losses.balanced_negative_sampling,
    "ns": losses.negative_sampling,
    "released-bns": losses.released_balanced_negative_sampling,
    "supcon": losses.supervised_contrastive,
    "simclr": losses.instance_contrastive,
}


def pretrain(
    protocol: Protocol,
    *,
    loss: Literal["bns", "ns", "released-bns", "supcon", "simclr"] = "bns",
    temperature: float | None = None,
    positives: int | None = 2,
    negatives: int | None = None,
    partners: int = 1,
    hidden: int = 2048,
) -> Stage:
    """Return stage 1: AdamW, no decay on biases and norms, warm-up of 20 in 1000 epochs, cosine to zero.

    Args:
        protocol: views, batch size and length.
        loss: pair loss.
        temperature: tau; none for 0.5, and 0.1 for SupCon, as in its paper.
        positives: m, further images of its class for each anchor; none for all in the batch. For ``bns`` alone.
        negatives: n, images of other classes for each anchor; none for all in the batch. For ``bns`` alone.
        partners: g, how many images of a class come into a batch together; 1 is natural sampling.
        hidden: width of the projector's hidden layer; 0 for no projector.
    """
    tau = temperature if temperature is not None else 0.1 if loss == "supcon" else 0.5
    drawn = {"positives": positives, "negatives": negatives} if loss == "bns" else {}
    return Stage(
        "pretrain",
        epochs=protocol.share(protocol.contrastive_epochs),
        batch_size=protocol.contrastive_batch_size,
        objective=part(Contrastive, loss=part(_LOSSES[loss], temperature=tau, **drawn), hidden=hidden),
        sampler=part(InstanceBalanced) if partners == 1 else part(MinimumPerClass, minimum=partners),
        optimizer=part(adamw, lr=1e-3 * protocol.contrastive_batch_size / 256, beta2=0.95, weight_decay=0.05),
        schedule=part(cosine, warmup=0.02),
        augmentation=protocol.views,
        trains="backbone",
    )


def probe(protocol: Protocol, *, per_class: int | None = None, **options: Annotated[Any, pretrain]) -> Recipe:
    """A contrastive first stage, then a linear classifier on the frozen features.

    Args:
        protocol: model, views and batch size.
        per_class: images of each class in one fixed uniform subset, as released; none for class-balanced batches drawn
            from all images.
        options: options of ``pretrain``.
    """
    epochs = protocol.share(0.5)
    fixed = part(InformativeSubset, arm="uniform", k=per_class, resample_every=epochs)
    classify = Stage(
        "probe",
        epochs=epochs,
        batch_size=protocol.fine_tune_batch_size,
        objective=part(losses.cross_entropy),
        sampler=part(ClassBalanced) if per_class is None else fixed,
        optimizer=part(adamw, lr=protocol.fine_tune_lr, beta2=protocol.fine_tune_beta2, weight_decay=0.05),
        schedule=part(cosine, warmup=0.05),
        augmentation=protocol.after_pretraining,
        trains="classifier",
        fresh_head=True,
    )
    name = f"{options.get('loss', 'bns')}-probe"
    return Recipe(name, protocol.model, (pretrain(protocol, **options), classify))


def supcon_probe(
    protocol: Protocol, *, temperature: float | None = None, partners: int = 1, hidden: int = 2048
) -> Recipe:
    """The same with SupCon in the first stage."""
    return probe(protocol, loss="supcon", temperature=temperature, partners=partners, hidden=hidden)


def simclr_probe(protocol: Protocol, *, temperature: float | None = None) -> Recipe:
    """The same without labels in the first stage.

    Args:
        protocol: model, views and batch size.
        temperature: tau; none for 0.5.
    """
    return probe(protocol, loss="simclr", temperature=temperature)


def released_probe(
    protocol: Protocol, *, per_class: int = 50, loss: Literal["bns", "released-bns", "supcon", "simclr"] = "bns"
) -> Recipe:
    """The probe of the released code: a linear classifier on one fixed balanced subset.

    Args:
        protocol: model, views and batch size.
        per_class: images of each class, smaller classes whole; 50 on CIFAR-100-LT, 100 on CIFAR-10-LT.
        loss: of the first stage.
    """
    return dataclasses.replace(probe(protocol, per_class=per_class, loss=loss), name="released-probe")
