"""Optimisers and learning-rate schedules.

An optimiser is a function of ``modules`` (the network and an objective with parameters of its own) or of ``params``
(the parameters that move), so ``torch.optim:RMSprop`` is one too. Ours are PyTorch's fused ones: one call updates
everything, and a learning rate that lives on the device is read there, so a step can be captured whole. A schedule is a
function of those of ``epoch`` (from 0), ``progress`` (share of the epoch that is done) and ``epochs`` that it names; it
returns the factor on the rate.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.recipes import text


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


def max_norm_sgd(
    modules: Iterable[torch.nn.Module],
    *,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    share: float = 0.1,
) -> torch.optim.Optimizer:
    r"""Return stochastic gradient descent that keeps the classifier's weights within a ball: MaxNorm by projection.

    .. math:: w_c \leftarrow \min(1, \delta / \lVert w_c \rVert) \, w_c \text{ after each step}, \quad
        \delta = \min_c \lVert w_c \rVert + s (\max_c \lVert w_c \rVert - \min_c \lVert w_c \rVert)

    with the norms of the classifier that the stage begins with. Use it with weight decay for the classifier of a
    network whose head classes have grown large weights.

    Args:
        modules: whose trainable parameters move; the first has the classifier as its ``head``.
        lr: learning rate, before the schedule.
        momentum: share of the last update that is kept.
        weight_decay: of every parameter.
        share: s, in [0, 1]; 1 leaves the largest weight as long as it is.

    Raises:
        InputError: a share outside [0, 1], or a head without weights (K, D).

    References:
        Alshammari et al., *Long-Tailed Recognition via Weight Balancing*, CVPR 2022, section 3.
    """
    if not 0 <= share <= 1:
        raise InputError(f"share {share:g}: of the range of the weights' norms, from 0 to 1")
    held = list(modules)
    weight = getattr(getattr(held[0], "head", None), "weight", None) if held else None
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise InputError("max-norm-sgd needs a network whose head has weights (K, D)")
    norms = weight.detach().norm(dim=1)
    radius = norms.amin() + share * (norms.amax() - norms.amin())
    made = sgd(held, lr=lr, momentum=momentum, weight_decay=weight_decay)

    @torch.no_grad()
    def project(*_: Any) -> None:
        weight.mul_((radius / weight.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0))

    made.register_step_post_hook(project)
    return made


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


def adamw_by_layer(
    modules: Iterable[torch.nn.Module],
    *,
    lr: float = 5e-4,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.05,
    layer_decay: float = 0.75,
) -> torch.optim.Optimizer:
    """Return AdamW whose learning rate falls from layer to layer towards the images.

    The classifier moves at ``lr``, the uppermost layer at ``lr * layer_decay``, the one below it at
    ``lr * layer_decay**2``. What a layer is timm knows for its networks (``param_groups_layer_decay``); of another each
    stage is one. Use it to fine-tune a network whose lower layers are good already.

    Args:
        modules: whose trainable parameters move.
        lr: learning rate of the classifier, before the schedule.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        weight_decay: of weights with more than one axis.
        layer_decay: factor from a layer to the one below, in (0, 1].

    Raises:
        InputError: a factor out of range.
    """
    if not 0 < layer_decay <= 1:
        raise InputError(f"adamw-by-layer: layer-decay is above 0 and at most 1, not {layer_decay}")
    held = list(modules)
    scales = {key: factor for module in held for key, factor in _layer_scales(module, layer_decay).items()}
    groups = []
    for group in parameter_groups(held, weight_decay, decay_bias_and_norm=False):
        for factor in sorted({scales.get(id(weight), 1.0) for weight in group["params"]}, reverse=True):
            own = [weight for weight in group["params"] if scales.get(id(weight), 1.0) == factor]
            groups.append({**group, "params": own, "lr": lr * factor})
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), fused=True)


def _layer_scales(module: torch.nn.Module, layer_decay: float) -> dict[int, float]:
    """The factors on the learning rates of a backbone's parameters, by their ``id``."""
    backbone = getattr(module, "backbone", None)
    stages: list[torch.nn.Module] = list(getattr(backbone, "stages", ()))
    if len(stages) == 1 and hasattr(stages[0], "group_matcher"):
        from timm.optim._param_groups import param_groups_layer_decay

        # The classifier of timm's model is ours here, one layer above its last.
        groups = param_groups_layer_decay(stages[0], layer_decay=layer_decay, verbose=False)
        return {id(weight): group["lr_scale"] * layer_decay for group in groups for weight in group["params"]}
    return {
        id(weight): layer_decay ** (len(stages) - place)
        for place, stage in enumerate(stages)
        for weight in stage.parameters()
    }


def by_name(schedule: Callable[..., float]) -> Callable[[int, float, int], float]:
    """Return a schedule as a function of epoch, progress and epochs.

    Args:
        schedule: gets those of the three that it has parameters for, by name; all three in this order if it names none.

    Example:
        >>> by_name(lambda epochs, epoch: epoch / epochs)(1, 0.5, 4)
        0.25
    """
    try:
        parameters = inspect.signature(schedule).parameters.values()
    except (TypeError, ValueError):
        return schedule
    names = [held.name for held in parameters if held.kind is not held.POSITIONAL_ONLY]
    asked = [name for name in ("epoch", "progress", "epochs") if name in names]
    if not asked:
        return schedule

    def factor(epoch: int, progress: float, epochs: int) -> float:
        given = {"epoch": epoch, "progress": progress, "epochs": epochs}
        return schedule(**{name: given[name] for name in asked})

    return factor


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


def segment(
    epoch: int,
    progress: float,
    epochs: int,
    *,
    of: text.Schedule | Callable[..., float] = constant,
    before: int = 0,
    total: int = 1,
) -> float:
    """Return the factor of a stretch of a longer schedule: two stages of one run, such as deferred re-weighting.

    Args:
        epoch: from 0, of the stretch.
        progress: share of the epoch that is done.
        epochs: of the stretch; not read.
        of: the whole schedule.
        before: epochs of the whole that lie before the stretch.
        total: epochs of the whole.

    Example:
        >>> [segment(epoch, 0.0, 40, of=steps, before=160, total=200) for epoch in (0, 19, 20)]
        [0.01, 0.01, 0.0001]
    """
    return by_name(of)(before + epoch, progress, total)  # type: ignore[arg-type]
