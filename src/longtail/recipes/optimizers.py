"""Optimisers and learning-rate schedules as descriptions.

The optimisers are PyTorch's fused ones: one call updates everything, and a learning rate that lives on the device is
read there, so a step can be captured whole.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import torch


def parameter_groups(
    modules: Iterable[torch.nn.Module], weight_decay: float, decay_bias_and_norm: bool
) -> list[dict[str, Any]]:
    """Trainable parameters in two groups, with and without weight decay.

    A parameter with the attribute ``no_decay`` (learned radii) is never decayed; biases and the weights of
    normalisation layers (at most one axis) only if ``decay_bias_and_norm``.
    """
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for module in modules:
        for parameter in module.parameters():
            if not parameter.requires_grad:
                continue
            exempt = getattr(parameter, "no_decay", False) or (parameter.ndim <= 1 and not decay_bias_and_norm)
            (free if exempt else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


@dataclasses.dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum; the defaults are those of the plain-200 protocol (LDAM's)."""

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 2e-4
    nesterov: bool = False

    def build(self, modules: Iterable[torch.nn.Module]) -> torch.optim.Optimizer:
        """The optimiser over the trainable parameters of ``modules``."""
        groups = parameter_groups(modules, self.weight_decay, decay_bias_and_norm=True)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=True)


@dataclasses.dataclass(frozen=True)
class AdamW:
    """AdamW; biases and normalisation weights are not decayed, as in BNS + IP-DPP."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.05

    def build(self, modules: Iterable[torch.nn.Module]) -> torch.optim.Optimizer:
        """The optimiser over the trainable parameters of ``modules``."""
        groups = parameter_groups(modules, self.weight_decay, decay_bias_and_norm=False)
        return torch.optim.AdamW(groups, lr=self.lr, betas=(self.beta1, self.beta2), fused=True)


@dataclasses.dataclass(frozen=True)
class Constant:
    """The learning rate as it is."""

    def multiplier(self, epoch: int, progress: float, epochs: int) -> float:
        """1 throughout."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class Steps:
    """Linear warm-up by whole epochs, then one factor at each milestone; milestones are shares of the run.

    With 200 epochs the defaults are LDAM's schedule: five epochs of warm-up, x0.01 after epoch 160 and x0.0001 after
    180. Any other number of epochs scales all three; a warm-up that is asked for lasts at least one epoch.
    """

    warmup: float = 0.025
    at: tuple[float, ...] = (0.8, 0.9)
    factor: float = 0.01

    def multiplier(self, epoch: int, progress: float, epochs: int) -> float:
        """The factor on the learning rate in ``epoch`` (from 0), constant over the epoch."""
        warmup = max(1, round(self.warmup * epochs)) if self.warmup else 0
        if epoch < warmup:
            return (epoch + 1) / warmup
        return float(self.factor ** sum(epoch >= round(share * epochs) for share in self.at))


@dataclasses.dataclass(frozen=True)
class Cosine:
    """Linear warm-up, then half a cosine to zero, both by the step (``progress`` is the share of the epoch done)."""

    warmup: float = 0.0

    def multiplier(self, epoch: int, progress: float, epochs: int) -> float:
        """The factor on the learning rate at ``epoch + progress``."""
        now, warmup = epoch + progress, self.warmup * epochs
        if now < warmup:
            return now / warmup
        return 0.5 * (1.0 + math.cos(math.pi * (now - warmup) / max(epochs - warmup, 1e-12)))


Optimizer = SGD | AdamW
Schedule = Constant | Steps | Cosine
CONSTANT = Constant()
