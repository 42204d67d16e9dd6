"""The network of a finished run as one module: from the pixels of pictures to what the run answers."""

from __future__ import annotations

import dataclasses
import pathlib

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from longtail.augment import standardise
from longtail.errors import InputError
from longtail.models import Network
from longtail.recipes import Part
from longtail.recipes.stages import changes_head
from longtail.results import Loaded, read
from longtail.shapes import Float, UInt8
from longtail.training import seeds
from longtail.training.head import replace_head
from longtail.training.prepare import network_of
from longtail.training.restore import adjustment_of, model_of, state_of
from longtail.training.store import load_network

SAME = 1e-4
"""An adjustment of the logits counts as a shift of each class if it differs from one by less than this."""


class Classifier(nn.Module):
    """Pixels to logits: normalisation, network, and the shift of the logits that the run's recipe ends with.

    Args:
        network: trained, in eval mode.
        mean: mean of each channel, of pixels scaled to [0, 1].
        std: standard deviation of each channel, likewise.
        shift: (K,), added to the logits.
    """

    scale: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(self, network: Network, mean: tuple[float, ...], std: tuple[float, ...], shift: Tensor) -> None:
        super().__init__()
        self.network = network
        inputs = network.inputs  # where the network and not the data decides
        self.resized = None if inputs is None else (int(inputs.size), str(inputs.interpolation))
        self.mean, self.std = (mean, std) if inputs is None else (inputs.mean or mean, inputs.std or std)
        mean, std = self.mean, self.std
        # As longtail.training.passes.as_input does it, operation by operation, so that both give the same numbers.
        self.register_buffer("scale", torch.tensor([1.0 / (255.0 * s) for s in std])[:, None, None])
        self.register_buffer("offset", torch.tensor([m / s for m, s in zip(mean, std, strict=True)])[:, None, None])
        self.register_buffer("shift", shift)

    def forward(self, images: UInt8[Tensor, "N C H W"] | Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Return the logits (N, K) of images (N, C, H, W), levels from 0 to 255, or of features (N, D)."""
        if images.ndim == 2:
            features = self.network.backbone(standardise(images, self.mean, self.std))
            return self.network.head(features) + self.shift  # type: ignore[no-any-return]
        pixels = images.to(torch.float32)
        if self.resized is not None and images.shape[-1] != self.resized[0]:
            size, kind = self.resized
            pixels = interpolate(pixels, (size, size), mode=kind, align_corners=False, antialias=True)
            pixels = pixels.round().clamp(0, 255)
        inputs = pixels * self.scale - self.offset
        logits: Tensor = self.network.head(self.network.backbone(inputs)) + self.shift
        return logits


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A finished run, ready to be used without its data set.

    Args:
        loaded: the run.
        part: the network's part of its recipe.
        classifier: its network as one module, in eval mode on the CPU.
        shape: (C, H, W) of its images, or (D,) of its features.
        class_names: K names.
    """

    loaded: Loaded
    part: Part
    classifier: Classifier
    shape: tuple[int, ...]
    class_names: tuple[str, ...]

    @property
    def sides(self) -> tuple[int, int, int]:
        """(C, H, W) of the pictures that it takes."""
        channels, height, width = self.shape
        return channels, height, width


def trained(folder: pathlib.Path | str, model: Part | None = None, *, features: bool = False) -> Trained:
    """Return the network of a finished run.

    Args:
        folder: of the run.
        model: the run's own network, where that is in a file of somebody's own and so must be named.
        features: whether a run that was trained on features will do.

    Raises:
        InputError: no finished run there, one that was not trained on images, or weights that are not the record's.
    """
    loaded = read(folder)
    data = loaded.record.data
    if "shape" not in data:
        raise InputError(f"{folder} was made by an earlier version, which did not keep the shape of its images")
    shape = tuple(data["shape"])
    if len(shape) != 3 and not features:
        raise InputError(f"{folder} was trained on rows of {shape[-1]} numbers, not on images, so it takes no pictures")
    part = model_of(loaded, model)
    counts = torch.tensor(data["counts"])
    network = network_of(
        part, num_classes=len(counts), shape=shape, generator=seeds.generator(0, "replaced"), first_weights=False
    )
    replace_head(network, adjustment_of(loaded))
    load_network(network, state_of(loaded)[0])
    network = network.to(memory_format=torch.channels_last).eval()
    classifier = Classifier(network, tuple(data["mean"]), tuple(data["std"]), _shift(loaded, counts))
    return Trained(loaded, part, classifier.eval(), shape, tuple(data["class_names"]))


def _shift(loaded: Loaded, counts: Tensor) -> Tensor:
    """What the recipe's adjustment adds to the logits of each class (K,)."""
    fitted = adjustment_of(loaded)
    if fitted is None or changes_head(fitted):
        return torch.zeros(len(counts))
    adjustment = fitted.build().fit(counts=counts)
    tried = torch.linspace(-3.0, 3.0, len(counts))[None] * torch.tensor([[0.0], [1.0], [-2.0]])
    found = adjustment.adjust(tried) - tried
    if float((found - found[0]).abs().max()) > SAME:
        raise InputError(f"{loaded.folder}: its recipe changes logits by more than a shift, which is not known here")
    shift: Tensor = found[0]
    return shift
