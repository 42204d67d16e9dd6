"""Training images chosen for a job by what a network makes of them, kept as a list."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import torch
from torch import Tensor

from longtail.data import Data
from longtail.data.selection import write_selection
from longtail.data.streams import Pictures
from longtail.errors import InputError
from longtail.recipes.text import read as read_part
from longtail.results import read
from longtail.samplers import select
from longtail.samplers.informative import true_label_log_probability
from longtail.training import seeds
from longtail.training.loader import loaded
from longtail.training.restore import features_of

SIDE = 8
"""Pixels to which images are brought where no network gives features: enough for shape, little enough to spread."""
READ = 64
"""Pictures that are held at once where they are read from their files."""


def write(
    name: str,
    options: dict[str, Any],
    data: Data,
    by: str,
    per_class: int,
    seed: int,
    out: pathlib.Path,
    run: pathlib.Path | None = None,
    model: str | None = None,
) -> dict[str, Any]:
    """Choose images of each class and write the list.

    Args:
        name: name of the data set.
        options: options that the data set was loaded with.
        data: the data set.
        by: one of the ways of ``longtail.samplers.select``.
        per_class: images of each class.
        seed: random seed of the draw.
        out: path of the list.
        run: a finished run on the data, for features and probabilities; pixels serve without one.
        model: the run's network, where it is in a file of somebody's own.

    Returns:
        Number of images and classes, way, fingerprint and file.

    Raises:
        InputError: an unknown way, a way that needs a run without one, or a run on other data.
    """
    features, log_probability = _pixels(data), None
    if run is not None:
        learned, _ = features_of(read(run), data, None if model is None else read_part(model, "model"))
        features, log_probability = learned.features, true_label_log_probability(learned.logits, data.train.target)
    elif by == "ip-dpp":
        raise InputError("ip-dpp selects by what a network knows: name a finished run on this data with --from")
    generator = seeds.generator(seed, "selection", by)
    spread = features if by in ("diverse", "greedy") else None
    known = log_probability if by == "ip-dpp" else None
    target = data.train.target
    index = select(by, target, k=per_class, generator=generator, features=spread, log_probability=known)
    about = {
        "data": name,
        "options": json.dumps(
            {key: str(v) if isinstance(v, pathlib.Path) else v for key, v in _drawn(options).items()}
        ),
        "of": data.fingerprint,
        "by": by,
        "seed": str(seed),
    }
    mark = write_selection(out, index, data.train.target, about=about)
    return {"images": len(index), "classes": data.num_classes, "by": by, "fingerprint": mark, "file": str(out)}


def _drawn(options: dict[str, Any]) -> dict[str, Any]:
    """The options that decide which images there are; where they lie may differ from machine to machine."""
    return {key: value for key, value in options.items() if key not in ("root", "download") and value is not None}


def _small(images: Tensor) -> Tensor:
    if images.dim() != 4:
        return images.float()  # features already
    scaled = images.float() / 255
    return torch.nn.functional.adaptive_avg_pool2d(scaled, SIDE) if images.shape[-1] > SIDE else scaled


def _pixels(data: Data) -> Tensor:
    held = data.train.images
    if isinstance(held, Pictures):
        parts = torch.split(torch.arange(len(held)), READ)
        small = torch.cat([_small(batch.images) for batch in loaded(held, parts, data)])
    else:
        small = _small(held)
    flat = small.flatten(1)
    return flat - flat.mean(dim=0)
