"""Probabilities for new images from a finished run; no data set is needed."""

from __future__ import annotations

import pathlib

import torch
from torch import Tensor

from longtail.augment import normalize
from longtail.errors import InputError
from longtail.recipes import Part
from longtail.recipes.part import revive
from longtail.results import read
from longtail.shapes import Float, UInt8
from longtail.training import seeds
from longtail.training.passes import CHUNK
from longtail.training.prepare import network_of
from longtail.training.restore import model_of, state_of
from longtail.training.store import load_network


@torch.no_grad()
def predict(
    folder: pathlib.Path | str, images: UInt8[Tensor, "N C H W"], *, model: Part | None = None
) -> Float[Tensor, "N K"]:
    """Return the probability of each class for each image, by the network of a finished run.

    Args:
        folder: folder of a finished run.
        images: (N, C, H, W) uint8, of the shape that it was trained on, values 0 to 255.
        model: the run's own network, where that is in a file of somebody's own and so must be named.

    Returns:
        Probabilities (N, K) float32, whose rows sum to 1. The recipe's adjustment of the logits is applied.

    Raises:
        InputError: no finished run there, images of another type or shape, or weights that are not the record's.
    """
    loaded = read(folder)
    data = loaded.record.data
    if "shape" not in data:
        raise InputError(f"{folder} was made by an earlier version, which did not keep the shape of its images")
    shape = tuple(data["shape"])
    if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != shape:
        wanted = f"uint8 images (N, {', '.join(map(str, shape))})"
        raise InputError(f"{folder} takes {wanted}, not {images.dtype} of shape {tuple(images.shape)}")
    counts = torch.tensor(data["counts"])
    network = network_of(
        model_of(loaded, model), num_classes=len(counts), shape=shape, generator=seeds.generator(0, "replaced")
    )
    load_network(network, state_of(loaded)[0])
    network = network.to(memory_format=torch.channels_last).eval()
    stored = loaded.record.config.get("adjustment")
    adjustment = None if stored is None else revive(stored).build().fit(counts=counts)
    found = []
    for chunk in torch.split(images, CHUNK):
        inputs = normalize(chunk, tuple(data["mean"]), tuple(data["std"])).contiguous(memory_format=torch.channels_last)
        logits = network(inputs).logits.float()
        found.append((logits if adjustment is None else adjustment.adjust(logits)).softmax(dim=1))
    return torch.cat(found) if found else torch.zeros(0, len(counts))
