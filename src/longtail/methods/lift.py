"""``lift``: a pre-trained network with a cosine classifier that begins at the class means, logit-adjusted.

Paper: Shi et al., *Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts*, ICML 2024.
Command: ``longtail train lift --data folder:PATH --model vit_base_patch16_224@weights=timm``
Cost: a twentieth of the epochs of ``ce``, the classifier alone.
Expect: 81.7 % on CIFAR-100-LT IF 100 with CLIP ViT-B/16, which saw other data: another track than training from scratch
(docs/protocols.md).

Chosen here: the backbone is frozen by default where the paper adapts it by small modules (AdaptFormer), and the class
means of the training images take the place of the features of class names, for which a text encoder is needed.
"""

from __future__ import annotations

from typing import Literal

from longtail.losses import logit_adjusted_cross_entropy
from longtail.methods.ldam_drw import cosine_head
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, Stage, cosine, part, sgd
from longtail.samplers import InstanceBalanced


def recipe(
    protocol: Protocol,
    *,
    tau: float = 1.0,
    scale: float = 25.0,
    trains: Literal["classifier", "all"] = "classifier",
    means: bool = True,
) -> Recipe:
    """A cosine classifier from the class means, trained with the logit-adjusted loss.

    Args:
        protocol: model, batch size and augmentation.
        tau: weight of the log-prior.
        scale: of the cosine head, above 0.
        trains: the classifier on a frozen backbone, or everything.
        means: begin at the class means; else at random directions.
    """
    stage = Stage(
        "adapt",
        epochs=protocol.share(0.05),
        batch_size=protocol.batch_size,
        objective=part(logit_adjusted_cross_entropy, tau=tau),
        sampler=part(InstanceBalanced),
        optimizer=part(sgd, lr=0.01, momentum=0.9, weight_decay=5e-4),
        schedule=part(cosine),
        augmentation=protocol.augmentation,
        trains=trains,
        class_means=means,
    )
    return Recipe("lift", cosine_head(protocol.model, scale=scale), (stage,))
