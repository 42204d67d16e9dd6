"""Protocols: everything about training that is not the method, so that methods are compared on equal terms.

A recipe is a method applied to a protocol. ``plain-200`` is LDAM's setting, ``strong-400`` PaCo's (facts in
docs/protocols.md); ``digits`` is a small one for scikit-learn's digits, chosen here so that a comparison with seeds
ends within a minute.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from longtail.augment import ColorJitter, RandomCrop, RandomResizedCrop, Views
from longtail.data import Data
from longtail.errors import unknown
from longtail.models import cifar_resnet, small_conv_net
from longtail.recipes import part, sgd, steps, text
from longtail.recipes.augmentations import FINE_TUNE, PLAIN, SIMCLR, STRONG
from longtail.recipes.part import Part


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The setting in which a method is trained.

    Args:
        name: how it is listed.
        model: the network.
        epochs: of the first stage, passes over the training set; later stages scale with it.
        batch_size: images in a step of natural sampling.
        optimizer: of supervised training.
        schedule: of supervised training.
        augmentation: of supervised training.
        quota_classes: classes in a class-aware batch.
        quota_images: images of each.
        contrastive_epochs: of a contrastive first stage, as a multiple of ``epochs``.
        contrastive_batch_size: images in a step of contrastive pre-training.
        views: the two views of contrastive pre-training.
        fine_tune_lr: of AdamW after pre-training.
        fine_tune_batch_size: images in a step after pre-training.
        fine_tune_beta2: AdamW's decay of the second moment after pre-training.
        fine_tune_views: augmentation after pre-training; none for that of supervised training.
        fine_tune_resample: share of the fine-tuning between two draws of a subset.
        stronger: the other augmentation among which ``tuned`` chooses.
        stated_epochs: of the first stage, as the source of the protocol has them.
    """

    name: str
    model: text.Model
    epochs: int
    batch_size: int
    optimizer: text.Optimizer
    schedule: text.Schedule
    augmentation: text.Augmentation
    stated_epochs: int
    quota_classes: int = 32
    quota_images: int = 4
    contrastive_epochs: float = 5.0
    contrastive_batch_size: int = 512
    views: text.Augmentation = SIMCLR
    fine_tune_lr: float = 2.5e-4
    fine_tune_batch_size: int = 64
    fine_tune_beta2: float = 0.95
    fine_tune_views: text.Augmentation | None = FINE_TUNE
    fine_tune_resample: float = 0.2
    stronger: text.Augmentation = STRONG

    @property
    def after_pretraining(self) -> tuple[Part, ...]:
        """The augmentation of a classifier that follows contrastive pre-training."""
        return self.augmentation if self.fine_tune_views is None else self.fine_tune_views

    def share(self, share: float) -> int:
        """Return that share of ``epochs``, at least one."""
        return max(1, round(share * self.epochs))


PROTOCOLS = {
    "plain-200": Protocol(
        name="plain-200",
        model=part(cifar_resnet, depth=32),
        epochs=200,
        stated_epochs=200,
        batch_size=128,
        optimizer=part(sgd, lr=0.1, momentum=0.9, weight_decay=2e-4),
        schedule=part(steps, warmup=0.025, at=(0.8, 0.9), factor=0.01),
        augmentation=PLAIN,
    ),
    "strong-400": Protocol(
        name="strong-400",
        model=part(cifar_resnet, depth=32),
        epochs=400,
        stated_epochs=400,
        batch_size=128,
        optimizer=part(sgd, lr=0.05, momentum=0.9, weight_decay=5e-4),
        schedule=part(steps, warmup=0.025, at=(0.8, 0.9), factor=0.1),
        augmentation=STRONG,
    ),
    "digits": Protocol(
        name="digits",
        model=part(small_conv_net),
        epochs=60,
        stated_epochs=60,
        batch_size=32,
        optimizer=part(sgd, lr=0.05, momentum=0.9, weight_decay=5e-4),
        schedule=part(steps, warmup=0.025, at=(0.8, 0.9), factor=0.1),
        augmentation=(part(RandomCrop, padding=1),),
        quota_classes=10,
        quota_images=4,
        contrastive_epochs=2.0,
        contrastive_batch_size=128,
        # A flipped digit is another sign, and a small part of one could be any: milder views than for photographs.
        views=(
            part(
                Views,
                operations=(
                    part(RandomResizedCrop, scale=(0.6, 1.0)),
                    part(ColorJitter, brightness=0.4, contrast=0.4),
                ),
            ),
        ),
        # A few steps an epoch instead of a hundred.
        fine_tune_lr=5e-3,
        fine_tune_batch_size=16,
        fine_tune_beta2=0.999,
        fine_tune_views=None,
        stronger=(part(RandomCrop, padding=2),),
    ),
}


CIFAR10: dict[str, Any] = {"contrastive_batch_size": 1024, "fine_tune_resample": 0.1}
"""What the released BNS + IP-DPP does otherwise on CIFAR-10-LT: batches of pre-training, and draws of a subset."""


def protocol_for(
    data: Data | None,
    *,
    protocol: str | None = None,
    model: str | Part | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    augmentation: str | tuple[Part, ...] | None = None,
) -> Protocol:
    """Return the protocol for a data set, with the few things changed that a user changes.

    Args:
        data: decides the default: ``digits`` for images of 8 pixels, else ``plain-200``.
        protocol: its name instead.
        model: the network, by name or as a part.
        epochs: another number of epochs; schedules and later stages scale with it.
        batch_size: another batch size; the learning rate is left as it is.
        augmentation: ``none``, ``plain`` (crop and flip), ``strong`` (and AutoAugment and Cutout), or parts; then also
            that of a classifier after pre-training.

    Raises:
        InputError: a name that is not known.
    """
    small = data is not None and data.train.images.shape[-1] == 8
    name = protocol or ("digits" if small else "plain-200")
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    released = CIFAR10 if data is not None and data.name.startswith("cifar10-lt") and not small else {}
    changes: dict[str, Any] = {
        "model": text.read(model, "model") if isinstance(model, str) else model,
        "epochs": epochs,
        "batch_size": batch_size,
        "augmentation": text.augmentation(augmentation) if isinstance(augmentation, str) else augmentation,
    }
    if augmentation is not None:
        changes["fine_tune_views"] = changes["augmentation"]
    found = dataclasses.replace(PROTOCOLS[name], **released)
    return dataclasses.replace(found, **{key: value for key, value in changes.items() if value is not None})
