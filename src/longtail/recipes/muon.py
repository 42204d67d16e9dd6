"""Muon for the matrices within a network, AdamW for the rest, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import InputError
from longtail.recipes.optimizers import parameter_groups


class MuonAndAdamW(torch.optim.Optimizer):
    """torch's Muon on some weights, seen as matrices, and its AdamW on others; one state, one list of groups.

    Args:
        matrices: weights with two axes or more; a convolution's are seen as one row for each output channel.
        others: groups of parameters for AdamW.
        muon: options of ``torch.optim.Muon``.
        adamw: options of ``torch.optim.AdamW``.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[dict[str, Any]],
        *,
        muon: dict[str, Any],
        adamw: dict[str, Any],
    ) -> None:
        self._seen = {weight: _as_matrix(weight) for weight in matrices}
        self._muon = torch.optim.Muon(self._seen.values(), **muon) if matrices else None
        self._adamw = torch.optim.AdamW(others, fused=True, **adamw) if others else None
        groups = [] if self._muon is None else [{**self._muon.param_groups[0], "params": matrices}]
        groups += [] if self._adamw is None else [dict(group) for group in self._adamw.param_groups]
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient; the arguments are those of ``torch.optim.Optimizer``."""
        if closure is not None:
            raise InputError("muon takes no closure")
        inner = [held for held in (self._muon, self._adamw) if held is not None]
        for own, theirs in zip(
            self.param_groups, (group for held in inner for group in held.param_groups), strict=True
        ):
            theirs.update({key: value for key, value in own.items() if key != "params"})
        for weight, matrix in self._seen.items():
            matrix.grad = None if weight.grad is None else _rows(weight.grad, like=weight)
        for held in inner:
            pairs: list[tuple[Tensor, Tensor]] = (
                list(self._seen.items()) if held is self._muon else [(weight, weight) for weight in _weights(held)]
            )
            for own_weight, moved in pairs:
                if self.state.get(own_weight):
                    held.state[moved] = self.state[own_weight]
            held.step()  # type: ignore[no-untyped-call]
            for own_weight, moved in pairs:
                if held.state.get(moved):
                    self.state[own_weight] = held.state[moved]


def _weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _rows(tensor: Tensor, *, like: Tensor) -> Tensor:
    """A tensor as a matrix, its columns in the order in which the weights of ``like`` lie in memory."""
    if like.ndim == 4 and not like.is_contiguous():
        tensor = tensor.permute(0, 2, 3, 1)  # channels last
    return tensor.reshape(len(tensor), -1)


def _as_matrix(weight: nn.Parameter) -> nn.Parameter:
    matrix = _rows(weight.detach(), like=weight)
    if matrix.data_ptr() != weight.data_ptr():
        raise InputError(f"muon: a weight of shape {tuple(weight.shape)} does not lie in memory row by row")
    return nn.Parameter(matrix)


def muon(
    modules: Iterable[nn.Module],
    *,
    lr: float = 1e-3,
    momentum: float = 0.95,
    beta1: float = 0.9,
    beta2: float = 0.95,
    weight_decay: float = 0.05,
) -> torch.optim.Optimizer:
    r"""Return Muon for the matrices within the network and AdamW for the rest.

    .. math:: B \leftarrow \mu B + G, \quad
        W \leftarrow (1 - \eta \lambda) W - 0.2 \sqrt{\max(r, c)} \, \eta \, \mathrm{NS}(G + \mu B)

    for a weight W (r, c), where NS makes all singular values of a matrix about 1 by five Newton-Schulz steps (in
    bfloat16, by torch). The factor gives updates the size that AdamW's have, so one learning rate does for both.

    Muon moves the weights with two axes or more, a convolution's as a matrix of one row for each output channel. AdamW
    moves the first such weight of the network, which reads the images, all of the classifier, and whatever has one
    axis: biases and normalisation, which are not decayed. It is not known to help on long tails; use it as an ordinary
    setting to compare with SGD. On a GPU its steps run as they are, since torch's Muon cannot be captured in a graph.

    Args:
        modules: whose trainable parameters move; the first is the network, with its classifier as ``head``.
        lr: learning rate of both, before the schedule.
        momentum: mu, share of the last update that Muon keeps.
        beta1: decay of AdamW's first moment.
        beta2: decay of AdamW's second moment.
        weight_decay: lambda, of weights with more than one axis.

    References:
        Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024; Liu et al., *Muon is Scalable
        for LLM Training*, 2025, arXiv:2502.16982 (the factor); ``torch.optim.Muon``.
    """
    held = list(modules)
    head = {id(weight) for module in held[:1] for weight in getattr(module, "head", nn.Identity()).parameters()}
    wide = [
        weight
        for module in held
        for weight in module.parameters()
        if weight.ndim > 1 and id(weight) not in head and not getattr(weight, "no_decay", False)
    ]
    matrices = [weight for weight in wide[1:] if weight.requires_grad]
    chosen = {id(weight) for weight in matrices}
    groups = [
        {**group, "params": [weight for weight in group["params"] if id(weight) not in chosen]}
        for group in parameter_groups(held, weight_decay, decay_bias_and_norm=False)
    ]
    return MuonAndAdamW(
        matrices,
        [group for group in groups if group["params"]],
        muon={"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "adjust_lr_fn": "match_rms_adamw"},
        adamw={"lr": lr, "betas": (beta1, beta2)},
    )
