"""Passes over a whole split in eval mode: float32, large chunks, no gradients, whatever precision training uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from longtail.augment import compose, normalize, standardise
from longtail.data import Data, Split
from longtail.models import Network, Output
from longtail.recipes.contract import Chunk

CHUNK = 1000


@contextmanager
def eval_mode(network: Network) -> Iterator[None]:
    """Put the network in eval mode and back as each part was; a compiled backbone runs uncompiled meanwhile."""
    modes = {module: module.training for module in network.modules()}
    device = next(network.parameters()).device.type
    network.eval()
    try:
        # A pass may be asked for within a step, which runs under autocast.
        with torch.no_grad(), torch.autocast(device, enabled=False), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def images_of(
    split: Split,
    index: Tensor,
    data: Data,
    *,
    operations: Sequence[Any] = (),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Normalised images (n, C, H, W), channels last, or features (n, D) of at ``index``; augmented if asked."""
    images = split.images[index]
    features = images.ndim == 2
    if features:
        images = standardise(images, data.mean, data.std)
    if operations:
        assert generator is not None  # whoever augments says from which stream
        images = compose(operations, images, generator=generator)
    if features:
        return images
    images = normalize(images, data.mean, data.std)
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


def chunks(
    network: Network,
    split: Split,
    data: Data,
    index: Tensor,
    *,
    levels: bool = False,
    operations: Sequence[Any] = (),
    generator: torch.Generator | None = None,
) -> Iterator[Chunk]:
    """Levels of features and logits over the items at ``index``, chunk by chunk.

    The network is in eval mode only while a chunk is computed, so whoever iterates may train in between.
    """
    for chosen in torch.split(index, CHUNK):
        images = images_of(split, chosen, data, operations=operations, generator=generator)
        with eval_mode(network):
            pyramid = network.pyramid(images) if levels else (network.backbone(images),)
            logits = network.head(pyramid[-1])
        yield Chunk(tuple(level.float() for level in pyramid), logits.float(), split.target[chosen])


def outputs(network: Network, split: Split, data: Data) -> Output:
    """Features (N, D) and logits (N, K) of a whole split, in its order."""
    index = torch.arange(len(split), device=split.target.device)
    parts = list(chunks(network, split, data, index))
    return Output(torch.cat([part.levels[-1] for part in parts]), torch.cat([part.logits for part in parts]))
