"""Passes over a whole split in eval mode: float32, large chunks, no gradients, whatever precision training uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from longtail.augment import compose, normalize, standardise
from longtail.data import Data, Split
from longtail.data.streams import Pictures
from longtail.models import Inputs, Network, Output
from longtail.recipes.contract import Chunk
from longtail.training.loader import PIXELS, Loaded, loaded, seeds_of

CHUNK = 1000
"""Images of a chunk; fewer where they are read from files (``loader.PIXELS``)."""
CHUNK_PIXELS = CHUNK * 32 * 32
"""Pixels of a chunk, where a network takes pictures larger than 32 pixels: a chunk of fewer images then."""


def chunk_size(network: Network) -> int:
    """Return how many images a pass takes at once: fewer where the network enlarges them."""
    return CHUNK if network.inputs is None else max(8, min(CHUNK, CHUNK_PIXELS // network.inputs.size**2))


def as_input(images: Tensor, inputs: Inputs | None, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return what a network takes: pictures of its own size, normalised, channels last.

    Args:
        images: (..., C, H, W) uint8, views in front or not.
        inputs: of the network; None for pictures as they are.
        mean: of the data, where the network has none of its own.
        std: likewise.

    Returns:
        float32 of the same shape, at the network's own size.
    """
    if inputs is not None:
        mean, std = inputs.mean or mean, inputs.std or std
        if images.ndim > 3 and images.shape[-2:] != (inputs.size, inputs.size):
            flat = images.reshape(-1, *images.shape[-3:]).to(torch.float32)
            size, kind = (inputs.size, inputs.size), inputs.interpolation
            flat = functional.interpolate(flat, size, mode=kind, align_corners=False, antialias=True)
            images = flat.round_().clamp_(0, 255).to(torch.uint8).reshape(*images.shape[:-2], *size)
    images = normalize(images, mean, std)
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
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
    inputs: Inputs | None = None,
) -> Tensor:
    """Normalised images (n, C, H, W), channels last, or features (n, D), of the items at ``index``; augmented if asked.

    Augmentation works on the pictures as they are; then they are brought to the size of the network's ``inputs``.
    """
    if isinstance(split.images, Pictures):
        (batch,) = read_in_chunks(split, [index], data, operations=operations, generator=generator)
        return as_input(batch.images.to(split.target.device), inputs, data.mean, data.std)
    images = split.images[index]
    features = images.ndim == 2
    if features:
        images = standardise(images, data.mean, data.std)
    if operations:
        assert generator is not None  # whoever augments says from which stream
        images = compose(operations, images, generator=generator)
    return images if features else as_input(images, inputs, data.mean, data.std)


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
    size, streamed = chunk_size(network), isinstance(split.images, Pictures)
    if streamed:
        size = min(size, max(1, PIXELS // (split.images.shape[2] * split.images.shape[3])))
    parts = torch.split(index, size)
    read = read_in_chunks(split, parts, data, operations=operations, generator=generator) if streamed else None
    for chosen in parts:
        if read is None:
            images = images_of(split, chosen, data, operations=operations, generator=generator, inputs=network.inputs)
        else:
            pictures = next(read).images.to(split.target.device, non_blocking=True)
            images = as_input(pictures, network.inputs, data.mean, data.std)
        with eval_mode(network):
            pyramid = network.pyramid(images) if levels else (network.backbone(images),)
            logits = network.head(pyramid[-1])
        yield Chunk(tuple(level.float() for level in pyramid), logits.float(), split.target[chosen])


def outputs(network: Network, split: Split, data: Data) -> Output:
    """Features (N, D) and logits (N, K) of a whole split, in its order."""
    index = torch.arange(len(split), device=split.target.device)
    parts = list(chunks(network, split, data, index))
    return Output(torch.cat([part.levels[-1] for part in parts]), torch.cat([part.logits for part in parts]))
