"""The CIFAR ResNet written out from its paper, in float64, from the numbers of a state dictionary alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, relu


def logits(weights: dict[str, Tensor], images: Tensor, blocks: int) -> Tensor:
    """Evaluation-mode logits of a network with three stages of ``blocks`` blocks."""
    weights = {name: tensor.double() for name, tensor in weights.items()}
    maps = relu(_norm(weights, "backbone.stages.0.1", _conv(weights, "backbone.stages.0.0", images.double(), 1)))
    for stage in range(3):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            prefix = f"backbone.stages.{stage}.{block + 3 if stage == 0 else block}"
            inner = relu(_norm(weights, f"{prefix}.norm1", _conv(weights, f"{prefix}.conv1", maps, stride)))
            inner = _norm(weights, f"{prefix}.norm2", _conv(weights, f"{prefix}.conv2", inner, 1))
            maps = relu(inner + option_a(maps, inner.shape[1], stride))
    features = maps.sum((2, 3)) / (maps.shape[2] * maps.shape[3])
    return features @ weights["head.weight"].T + weights["head.bias"]


def option_a(maps: Tensor, width: int, stride: int) -> Tensor:
    """Every second pixel and zeros for the missing channels, half of them before, one number at a time."""
    if stride == 1:
        return maps
    number, channels, height, breadth = maps.shape
    out = torch.zeros(number, width, (height + 1) // 2, (breadth + 1) // 2, dtype=maps.dtype)
    before = (width - channels) // 2
    for channel in range(channels):
        for row in range(0, height, 2):
            for column in range(0, breadth, 2):
                out[:, before + channel, row // 2, column // 2] = maps[:, channel, row, column]
    return out


def _conv(weights: dict[str, Tensor], name: str, maps: Tensor, stride: int) -> Tensor:
    return conv2d(maps, weights[f"{name}.weight"], stride=stride, padding=1)


def _norm(weights: dict[str, Tensor], name: str, maps: Tensor) -> Tensor:
    def column(part: str) -> Tensor:
        return weights[f"{name}.{part}"][:, None, None]

    standard = (maps - column("running_mean")) / (column("running_var") + 1e-5).sqrt()
    return standard * column("weight") + column("bias")
