"""Optimisers and learning-rate schedules.

An optimiser is a function of ``modules`` (the network and an objective with parameters of its own) or of ``params``
(the parameters that move), so ``torch.optim:RMSprop`` is one too. Ours are PyTorch's fused ones: one call updates
everything, and a learning rate that lives on the device is read there, so a step can be captured whole. A schedule is a
function of ``epoch`` (from 0), ``progress`` (share of the epoch that is done) and ``epochs``; it returns the factor on
the rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch


def parameter_groups(
    modules: Iterable[torch.nn.Module], weight_decay: float, decay_bias_and_norm: bool
) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups, with and without weight decay.

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


def sgd(
    modules: Iterable[torch.nn.Module],
    *,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 2e-4,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Return stochastic gradient descent with momentum; the defaults are those of plain-200 (LDAM's).

    Args:
        modules: modules whose trainable parameters move.
        lr: learning rate, before the schedule.
        momentum: share of the last update that is kept.
        weight_decay: decay of every parameter, biases and normalisation layers included.
        nesterov: look ahead.
    """
    groups = parameter_groups(modules, weight_decay, decay_bias_and_norm=True)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


def adamw(
    modules: Iterable[torch.nn.Module],
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.95,
    weight_decay: float = 0.05,
) -> torch.optim.Optimizer:
    """Return AdamW; biases and normalisation weights are not decayed, as in BNS + IP-DPP.

    Args:
        modules: modules whose trainable parameters move.
        lr: learning rate, before the schedule.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        weight_decay: decay of weights with more than one axis.
    """
    groups = parameter_groups(modules, weight_decay, decay_bias_and_norm=False)
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), fused=True)


def constant(epoch: int, progress: float, epochs: int) -> float:
    """Return 1: the learning rate as it is."""
    return 1.0


def steps(
    epoch: int,
    progress: float,
    epochs: int,
    *,
    warmup: float = 0.025,
    at: tuple[float, ...] = (0.8, 0.9),
    factor: float = 0.01,
) -> float:
    """Return the factor of a linear warm-up by whole epochs, then one factor at each milestone.

    With 200 epochs the defaults are LDAM's schedule: five epochs of warm-up, x0.01 after epoch 160 and x0.0001 after
    180. Any other number of epochs scales all three; a warm-up that is asked for lasts at least one epoch.

    Args:
        epoch: number of the epoch, from 0.
        progress: without influence; the factor is constant over an epoch.
        epochs: number of epochs of the stage.
        warmup: its length as a share of the stage.
        at: milestones as shares of the stage.
        factor: factor on the learning rate at each drop.

    Example:
        >>> [steps(epoch, 0.0, 200) for epoch in (0, 4, 5, 160)]
        [0.2, 1.0, 1.0, 0.01]
    """
    lead = max(1, round(warmup * epochs)) if warmup else 0
    if epoch < lead:
        return (epoch + 1) / lead
    return float(factor ** sum(epoch >= round(share * epochs) for share in at))


def cosine(epoch: int, progress: float, epochs: int, *, warmup: float = 0.0) -> float:
    """Return the factor of a linear warm-up, then half a cosine to zero, both by the step.

    Args:
        epoch: number of the epoch, from 0.
        progress: share of the epoch that is done.
        epochs: number of epochs of the stage.
        warmup: its length as a share of the stage.

    Example:
        >>> [round(cosine(epoch, 0.5, 2), 3) for epoch in (0, 1)]
        [0.854, 0.146]
    """
    now, lead = epoch + progress, warmup * epochs
    if now < lead:
        return now / lead
    return 0.5 * (1.0 + math.cos(math.pi * (now - lead) / max(epochs - lead, 1e-12)))
