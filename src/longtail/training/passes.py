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
from longtail.training.processes import ALONE, Division, Ranks

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
    division: Division | None = None,
) -> Tensor:
    """Normalised images (n, C, H, W), channels last, or features (n, D), of the items at ``index``; augmented if asked.

    Augmentation works on the pictures as they are; then they are brought to the size of the network's ``inputs``. Of a
    batch that is divided among processes it returns this process's part.
    """
    if isinstance(split.images, Pictures):
        (batch,) = read_in_chunks(split, [index], data, operations=operations, generator=generator)
        return as_input(batch.images.to(split.target.device), inputs, data.mean, data.std)
    places = None if division is None else division.own
    images = split.images[index if division is None else division.taken(index)]
    features = images.ndim == 2
    if features:
        images = standardise(images, data.mean, data.std)
    if operations:
        assert generator is not None  # whoever augments says from which stream
        images = compose(operations, images, generator=generator, places=places, total=len(index))
    return images if features else as_input(images, inputs, data.mean, data.std)


def read_in_chunks(
    split: Split,
    parts: Sequence[Tensor],
    data: Data,
    *,
    operations: Sequence[Any] = (),
    generator: torch.Generator | None = None,
    own: Sequence[int] | None = None,
) -> Iterator[Loaded]:
    """Batches of a split whose images are files, augmented if asked; a picture that cannot be read ends it.

    With ``own``, the numbers of some of the parts, only those are read.
    """
    assert isinstance(split.images, Pictures)
    seeds = None
    if operations:
        assert generator is not None  # whoever augments says from which stream
        seeds = seeds_of(sum(len(part) for part in parts), generator=generator)
    if own is not None:
        if seeds is not None:
            of_parts = torch.split(seeds, [len(part) for part in parts])
            seeds = torch.cat([seeds[:0], *(of_parts[number] for number in own)])
        parts = [parts[number] for number in own]
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
    ranks: Ranks = ALONE,
) -> Iterator[Chunk]:
    """Levels of features and logits over the items at ``index``, chunk by chunk.

    The network is in eval mode only while a chunk is computed, so whoever iterates may train in between. Several
    processes take the chunks in turn, and each gets all of them; so every image is computed once, and its numbers are
    those of one process.
    """
    size, streamed = chunk_size(network), isinstance(split.images, Pictures)
    if streamed:
        size = min(size, max(1, PIXELS // (split.images.shape[2] * split.images.shape[3])))
    parts = torch.split(index, size)
    own = range(ranks.rank, len(parts), ranks.size)
    read = None
    if streamed:
        read = read_in_chunks(split, parts, data, operations=operations, generator=generator, own=own)
    for first in range(0, len(parts), ranks.size):
        found, drawn = None, parts[first : first + ranks.size]
        for number, chosen in enumerate(drawn, start=first):
            if read is not None:
                if number not in own:
                    continue
                pictures = next(read).images.to(split.target.device, non_blocking=True)
                images = as_input(pictures, network.inputs, data.mean, data.std)
            elif number in own or operations:  # what another process augments has its random numbers all the same
                images = images_of(
                    split, chosen, data, operations=operations, generator=generator, inputs=network.inputs
                )
            if number in own:
                found = _answers(network, images, levels)
        if ranks.size == 1:
            assert found is not None
            held = [(*found, split.target[drawn[0]])]
        else:
            held = _exchanged(network, split, data, found, levels, drawn, ranks)
        for pyramid, logits, target in held:
            yield Chunk(pyramid, logits, target)


def _answers(network: Network, images: Tensor, levels: bool) -> tuple[tuple[Tensor, ...], Tensor]:
    """Levels of features and logits, in float32."""
    with eval_mode(network):
        pyramid = network.pyramid(images) if levels else (network.backbone(images),)
        logits = network.head(pyramid[-1])
    return tuple(level.float() for level in pyramid), logits.float()


def _exchanged(
    network: Network,
    split: Split,
    data: Data,
    found: tuple[tuple[Tensor, ...], Tensor] | None,
    levels: bool,
    drawn: Sequence[Tensor],
    ranks: Ranks,
) -> list[tuple[tuple[Tensor, ...], Tensor, Tensor]]:
    """The chunks of all processes, of which each has computed at most one."""
    if found is None:  # there were fewer chunks than processes: none of the rows of an empty picture is used
        kind = torch.uint8 if isinstance(split.images, Pictures) else split.images.dtype
        empty = torch.zeros((1, *split.images.shape[1:]), dtype=kind, device=split.target.device)
        seen = empty if empty.ndim == 2 else as_input(empty, network.inputs, data.mean, data.std)
        pyramid, logits = _answers(network, seen, levels)
        found = tuple(level[:0] for level in pyramid), logits[:0]
    sizes = [len(part) for part in drawn] + [0] * (ranks.size - len(drawn))
    together = [torch.split(ranks.gather(held, sizes), sizes) for held in (*found[0], found[1])]
    return [
        (tuple(level[place] for level in together[:-1]), together[-1][place], split.target[chosen])
        for place, chosen in enumerate(drawn)
    ]


def outputs(network: Network, split: Split, data: Data, ranks: Ranks = ALONE) -> Output:
    """Features (N, D) and logits (N, K) of a whole split, in its order."""
    index = torch.arange(len(split), device=split.target.device)
    parts = list(chunks(network, split, data, index, ranks=ranks))
    return Output(torch.cat([part.levels[-1] for part in parts]), torch.cat([part.logits for part in parts]))
