"""Probabilities for new images from a finished run; no data set is needed."""

from __future__ import annotations

import pathlib

import torch
from torch import Tensor

from longtail.augment import standardise
from longtail.errors import InputError
from longtail.recipes import Part
from longtail.recipes.stages import changes_head
from longtail.results import read
from longtail.shapes import Float, UInt8
from longtail.training import seeds
from longtail.training.head import replace_head
from longtail.training.passes import as_input, chunk_size
from longtail.training.prepare import network_of
from longtail.training.restore import adjustment_of, model_of, state_of
from longtail.training.store import load_network


@torch.no_grad()
def predict(
    folder: pathlib.Path | str, images: UInt8[Tensor, "N C H W"] | Float[Tensor, "N D"], *, model: Part | None = None
) -> Float[Tensor, "N K"]:
    """Return the probability of each class for each image, by the network of a finished run.

    Args:
        folder: folder of a finished run.
        images: (N, C, H, W) uint8, of the shape that it was trained on, values 0 to 255; (N, D) float32 for a run on
            features.
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
    kind = torch.float32 if len(shape) == 1 else torch.uint8
    if images.dtype != kind or tuple(images.shape[1:]) != shape:
        wanted = f"{'float32 features' if len(shape) == 1 else 'uint8 images'} (N, {', '.join(map(str, shape))})"
        raise InputError(f"{folder} takes {wanted}, not {images.dtype} of shape {tuple(images.shape)}")
    counts = torch.tensor(data["counts"])
    network = network_of(
        model_of(loaded, model),
        num_classes=len(counts),
        shape=shape,
        generator=seeds.generator(0, "replaced"),
        first_weights=False,
    )
    fitted = adjustment_of(loaded)
    replace_head(network, fitted)
    load_network(network, state_of(loaded)[0])
    network = network.to(memory_format=torch.channels_last).eval()
    on_logits = fitted is not None and not changes_head(fitted)
    adjustment = fitted.build().fit(counts=counts) if fitted is not None and on_logits else None
    found = []
    for chunk in torch.split(images, chunk_size(network)):
        mean, std = tuple(data["mean"]), tuple(data["std"])
        inputs = standardise(chunk, mean, std) if len(shape) == 1 else as_input(chunk, network.inputs, mean, std)
        logits = network(inputs).logits.float()
        found.append((logits if adjustment is None else adjustment.adjust(logits)).softmax(dim=1))
    return torch.cat(found) if found else torch.zeros(0, len(counts))
