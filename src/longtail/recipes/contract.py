"""The contract between training and the parts of a recipe.

When a stage starts, a part is handed those of these that its parameters name: ``target`` (N,) of the training split,
``counts`` (K,), ``num_classes``, ``widths`` (features of each level of the network), ``device``, ``batch_size``,
``rank`` and ``world_size`` (0 and 1 in one process), ``generator`` (its own stream) and further streams by purpose:
``subset_generator``, ``projector_generator``. A model is handed ``num_classes``, ``channels`` or ``in_chans``,
``image_size`` or ``img_size``, and ``generator``; an optimiser ``modules`` or ``params``.

Optional attributes, and nothing else is looked for:

* objective: ``start_epoch(context)``; ``history()``, numbers that go into the epoch's row; ``pyramid``, true if it
  reads lower levels of the network; ``eager``, true if Python must run it at every step; ``pictures``, true if it
  takes no features; ``representation``, true if it is in vain without a backbone that moves; ``on_features``, true if
  it sees a batch only through features and logits; ``whole``, true if a batch cannot be divided; parameters of its
  own, if it is a ``torch.nn.Module``;
* sampler: ``draw()``, the whole epoch as a tensor (n,); ``batch_size``, where its batches must stay together;
  ``start_epoch(context)``; ``state_dict()`` and ``load_state_dict(state)``; ``history()``; ``notes``, lines that
  a reader of the run must know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from longtail.models import Network, Output


@dataclasses.dataclass(frozen=True)
class Batch:
    """One step's data on the device.

    ``images`` (N, C, H, W) float32, normalised; several views come as (V, N, C, H, W). ``target`` and ``index`` (N,)
    int64, where ``index`` is the position in the training split.
    """

    images: Tensor
    target: Tensor
    index: Tensor


class Forward:
    """The network as an objective sees it: each pass is computed once a step, however many terms ask for it.

    ``logits`` are those that count for the training accuracy, one row for each image of the batch, or None. A call sets
    them; an objective that passes other images through the network, or its own heads, sets them itself or leaves them.

    The terms of a sum call the model independently of one another; without this a two-term loss would pay for two
    forward passes and move the running statistics of batch normalisation twice.

    Args:
        network: the network being trained.
        pyramid: also compute the pooled features below the last level.
        frozen_backbone: no gradient enters the backbone, so its pass keeps nothing for a backward one.
    """

    def __init__(self, network: Network, *, pyramid: bool = False, frozen_backbone: bool = False) -> None:
        self.network = network
        self.logits: Tensor | None = None
        self._pyramid = pyramid
        self._frozen_backbone = frozen_backbone
        self._images: Tensor | None = None
        self._levels: tuple[Tensor, ...] = ()

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """Pooled features (N, D_l) level by level; the last are the features that the head reads."""
        if images is not self._images:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen_backbone):
                levels = self.network.pyramid(images) if self._pyramid else (self.network.backbone(images),)
            self._images, self._levels, self.logits = images, levels, None
        return self._levels

    def features(self, images: Tensor) -> Tensor:
        """Features (N, D)."""
        return self.levels(images)[-1]

    def __call__(self, images: Tensor) -> Output:
        """Features (N, D) and logits (N, K)."""
        features = self.features(images)
        if self.logits is None:
            self.logits = self.network.head(features)
        return Output(features, self.logits)


@runtime_checkable
class Objective(Protocol):
    """(model, batch) -> the loss of each image, (N,). A ``torch.nn.Module`` if it has parameters of its own."""

    def __call__(self, model: Forward, batch: Batch) -> Tensor:
        """Losses (N,) in nats."""


class Chunk(NamedTuple):
    """A part of a pass over the training set in eval mode: ``levels`` (n, D_l) each, ``logits`` (n, K), float32."""

    levels: tuple[Tensor, ...]
    logits: Tensor
    target: Tensor


@dataclasses.dataclass(frozen=True)
class Context:
    """What ``start_epoch`` receives: the one moment at which a part may look at the whole training set.

    Args:
        epoch: the epoch about to start, from 0.
        epochs: epochs of the stage.
        target: labels of the training split (N,).
        counts: images per class (K,).
        generator: the stage's own generator for whatever the part draws.
        outputs: ``outputs(index, augmented, levels)`` runs the network in eval mode over the training images at
            ``index``, chunk by chunk; ``augmented`` uses the stage's augmentation, ``levels`` asks for the pyramid.
        trained: ``trained(features)`` gives the logits (n, K) of features (n, D) of all training images by the
            classifier that earlier stages trained, or by one fitted to these features if none did.
    """

    epoch: int
    epochs: int
    target: Tensor
    counts: Tensor
    generator: torch.Generator
    outputs: Callable[[Tensor, bool, bool], Iterator[Chunk]]
    trained: Callable[[Tensor], Tensor]
