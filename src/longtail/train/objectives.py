"""Objectives: what a stage minimises, as descriptions that build the callables when the stage starts.

``Supervised(loss)`` puts a loss on the logits, ``Robust`` is DRO-LT's loss on representations, ``Contrastive`` the
pre-training on two views. ``Sum`` (or ``+``) adds objectives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from longtail import losses, samplers
from longtail.losses.centroids import CentroidSums
from longtail.models import Projector
from longtail.train.batch import Batch, Context, Forward, Objective, Setting

Loss = Callable[[Tensor, Tensor], Tensor]


class Added:
    """``description + description`` is the sum of both."""

    def __add__(self, other: Any) -> Sum:
        mine = self.parts if isinstance(self, Sum) else (self,)
        return Sum((*mine, *(other.parts if isinstance(other, Sum) else (other,))))


@dataclasses.dataclass(frozen=True)
class Sum(Added):
    """The sum of several objectives on the same batch; the model is evaluated once for all of them."""

    parts: tuple[Any, ...]

    def build(self, setting: Setting) -> Objective:
        """The objective."""
        return _Sum([part.build(setting) for part in self.parts])


class _Sum(nn.Module):
    def __init__(self, parts: list[Objective]) -> None:
        super().__init__()
        self._parts = parts
        self._modules.update({str(i): part for i, part in enumerate(parts) if isinstance(part, nn.Module)})
        self.pyramid = any(getattr(part, "pyramid", False) for part in parts)

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        return torch.stack([part(model, batch) for part in self._parts]).sum(dim=0)

    def start_epoch(self, context: Context) -> None:
        for part in self._parts:
            if hasattr(part, "start_epoch"):
                part.start_epoch(context)

    def history(self) -> dict[str, Any]:
        return {key: value for part in self._parts if hasattr(part, "history") for key, value in part.history().items()}


@dataclasses.dataclass(frozen=True)
class Supervised(Added):
    """A loss on the logits of the batch, ``weight`` times."""

    loss: Any
    weight: float = 1.0

    def build(self, setting: Setting) -> Objective:
        """The objective."""
        loss, weight = self.loss.build(setting), self.weight

        def supervised(model: Forward, batch: Batch) -> Tensor:
            values: Tensor = loss(model(batch.images).logits, batch.target)
            return weight * values

        return supervised


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy, optionally weighted by class.

    Args:
        weight: ``none``; ``inverse`` frequency; ``effective`` number of samples with ``beta``; ``prior``, n_c / n_max,
            as the released DRO-LT weighs its representation stage.
        beta: of the effective number.
    """

    weight: Literal["none", "inverse", "effective", "prior"] = "none"
    beta: float = 0.9999

    def build(self, setting: Setting) -> Loss:
        """The loss."""
        raise NotImplementedError
