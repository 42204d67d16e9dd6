"""Passes over a whole split in eval mode: float32, large chunks, no gradients, whatever precision training uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from longtail.augment import compose, normalize
from longtail.data import Data, Split
from longtail.data.streams import Pictures
from longtail.models import Network, Output
from longtail.recipes.contract import Chunk
from longtail.training.loader import PIXELS, Loaded, loaded, seeds_of

CHUNK = 1000
"""Images of a chunk; fewer where they are read from files (``loader.PIXELS``)."""


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
    """Normalised images (n, C, H, W), channels last, of the split's items at ``index``; augmented if asked."""
    if isinstance(split.images, Pictures):
        (batch,) = read_in_chunks(split, [index], data, operations=operations, generator=generator)
        return normalized(batch.images, data, device=split.target.device)
    images = split.images[index]
    if operations:
        assert generator is not None  # whoever augments says from which stream
        images = compose(operations, images, generator=generator)
    return normalized(images, data, device=images.device)


def normalized(images: Tensor, data: Data, *, device: torch.device) -> Tensor:
    """Images (n, C, H, W) uint8 as a network takes them: on its device, normalised, channels last."""
    images = normalize(images.to(device, non_blocking=True), data.mean, data.std)
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


def read_in_chunks(
    split: Split,
    parts: Sequence[Tensor],
    data: Data,
    *,
    operations: Sequence[Any] = (),
    generator: torch.Generator | None = None,
) -> Iterator[Loaded]:
    """Batches of a split whose images are files, augmented if asked; a picture that cannot be read ends it."""
    assert isinstance(split.images, Pictures)
    seeds = None
    if operations:
        assert generator is not None  # whoever augments says from which stream
        seeds = seeds_of(sum(len(part) for part in parts), generator=generator)
    return loaded(split.images, parts, data, operations=operations, seeds=seeds)


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
    streamed = isinstance(split.images, Pictures)
    size = min(CHUNK, max(1, PIXELS // (split.images.shape[2] * split.images.shape[3]))) if streamed else CHUNK
    parts = torch.split(index, size)
    read = read_in_chunks(split, parts, data, operations=operations, generator=generator) if streamed else None
    for chosen in parts:
        if read is None:
            images = images_of(split, chosen, data, operations=operations, generator=generator)
        else:
            images = normalized(next(read).images, data, device=split.target.device)
        with eval_mode(network):
            pyramid = network.pyramid(images) if levels else (network.backbone(images),)
            logits = network.head(pyramid[-1])
        yield Chunk(tuple(level.float() for level in pyramid), logits.float(), split.target[chosen])


def outputs(network: Network, split: Split, data: Data) -> Output:
    """Features (N, D) and logits (N, K) of a whole split, in its order."""
    index = torch.arange(len(split), device=split.target.device)
    parts = list(chunks(network, split, data, index))
    return Output(torch.cat([part.levels[-1] for part in parts]), torch.cat([part.logits for part in parts]))
