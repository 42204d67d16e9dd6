"""Features of a frozen network, computed once: every picture goes through it one time, in batches, to a file.

The file is a data set (``features:PATH``). It is written in place beside its final name and moved there when it is
whole; a killed run goes on after the last batch that reached the disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from longtail.data import Data, Source, Split, features
from longtail.data.dataset import Drawn
from longtail.data.fingerprint import fingerprint
from longtail.data.streams import Pictures
from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.models import Backbone, Inputs, Network
from longtail.models.bridge import WEIGHTS, lacks_weights
from longtail.recipes import Part
from longtail.recipes.part import address, options_of
from longtail.shapes import Float, UInt8
from longtail.training import compute as computing
from longtail.training import seeds
from longtail.training.loader import loaded
from longtail.training.passes import as_input, eval_mode
from longtail.training.places import lock_of
from longtail.training.prepare import network_of
from longtail.training.store import locked

BATCH = 64
"""Pictures that go through the network at once: more do not make a processor faster and take more memory."""
KEPT = 1024
"""Pictures after which the features reach the disk: so many are computed again after a kill."""
FOLDED = 1e-4
"""Largest difference of a feature, over the largest feature, that folding batch norms may make."""
VERSION = 3
"""Of what is done to the pictures; raised when the features of one key would change."""
APART = frozenset(["head", "scale", "project", "weights", "init", "size", "checkpointing"])
"""Options of a network of ours that do not change what its weights, hashed apart, make of a picture of one size."""

Notify = Callable[[int, int], object]


def embedded(
    data: Data | Source,
    model: Part,
    out: pathlib.Path | str,
    *,
    image_size: int | None = None,
    notify: Notify = lambda done, total: None,
) -> pathlib.Path:
    """Write the features that a frozen network gives of every picture of a data set, once.

    Called again with the same pictures, weights and transform it returns at once; after a kill it goes on where it
    was. The network runs in eval mode, in float32.

    Args:
        data: pictures, with what is drawn from them (``longtail.load``), or all of a set (``longtail.data`` ``read``),
            from which ``features:PATH --imbalance`` then draws the usual subsets.
        model: the network; timm's models with weights have mean, deviation and interpolation of their own.
        out: the file, ``.safetensors``.
        image_size: side in pixels to which pictures are scaled; None: the network's own, else as they are.
        notify: called with how many pictures are done and how many there are.

    Returns:
        The file, to be loaded as ``features:PATH``.

    Raises:
        InputError: features instead of pictures, a file there that holds something else, weights that do not fit, or
            a network of timm without weights, unless it says ``init=random``.
    """
    refuse_random(model)
    path = pathlib.Path(out)
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: the features are written to a .safetensors file")
    if len(data.train.images.shape) != 4:
        raise InputError(f"{data.name} holds features already: give the pictures")
    channels, own = (int(side) for side in data.train.images.shape[1:3])
    if image_size and "size" in options_of(model.function):
        model, image_size = model.with_arguments(size=image_size), None
    network = network_of(
        model,
        num_classes=len(data.class_names),
        shape=(channels, image_size or own, image_size or own),
        generator=seeds.generator(0, "model"),
    )
    if image_size and network.inputs is None:
        network.inputs = Inputs(image_size)
    name = str(dict(model.arguments).get("timm_name") or network.name)
    return written(data, network.backbone, path, model=model, name=name, inputs=network.inputs, notify=notify)


def refuse_random(model: Part) -> None:
    """Refuse a network of timm that has no weights, unless it says that random ones are meant.

    Raises:
        InputError: says what to give.
    """
    if lacks_weights(dict(model.arguments)):
        raise InputError(
            f"the weights of {model['timm_name']} are random, so its features know nothing of pictures: give {WEIGHTS}"
        )


def written(
    data: Data | Source,
    backbone: Backbone,
    path: pathlib.Path,
    *,
    model: Part,
    name: str,
    inputs: Inputs | None,
    notify: Notify = lambda done, total: None,
) -> pathlib.Path:
    """Write what a backbone gives of every picture, as ``embedded`` does, where the backbone is there already.

    Args:
        data: pictures, on the device of the backbone.
        backbone: from pictures to features; it is run in eval mode and left as it was.
        path: the file.
        model: what the backbone was made by.
        name: short name of the network, for the file.
        inputs: size and statistics of the pictures that the network takes; None for those of the data.
        notify: called with how many pictures are done and how many there are.

    Returns:
        The file.
    """
    inputs = _inputs(data, inputs)
    facts = facts_of_network(data, backbone, model=model, name=name, inputs=inputs)
    if _finished(path, facts):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock_of(path)):
        if not _finished(path, facts):
            with eval_mode(backbone.to(memory_format=torch.channels_last)):
                _write(path, data, _splits(data), backbone, inputs, facts, notify)
    return path


def facts_of_network(
    data: Data | Source, backbone: nn.Module, *, model: Part, name: str, inputs: Inputs | None
) -> features.Facts:
    """Return what a file of this backbone's features will say of itself; see ``written`` for the arguments."""
    return facts_for(data, _splits(data), model, name, backbone, _inputs(data, inputs))


def _inputs(data: Data | Source, inputs: Inputs | None) -> Inputs:
    """What a network takes, with the data's own numbers where it has none."""
    mean, std = _statistics(data)
    known = inputs or Inputs(int(data.train.images.shape[-1]))
    return dataclasses.replace(known, mean=known.mean or mean, std=known.std or std)


def _statistics(data: Data | Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if data.mean is not None and data.std is not None:
        return data.mean, data.std
    from longtail.data import channel_statistics

    return channel_statistics(data.train.pixels)


def prepared(images: UInt8[Tensor, "N C H W"], inputs: Inputs) -> Float[Tensor, "N C S S"]:
    """Scale and standardise pictures as a network takes them, channels last.

    Args:
        images: (N, C, H, W).
        inputs: size, interpolation, mean and standard deviation.

    Returns:
        (N, C, S, S) float32.

    Example:
        >>> grey = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        >>> prepared(grey, Inputs(16, "bicubic", (0.5,), (0.5,))).shape
        torch.Size([2, 1, 16, 16])
    """
    return as_input(images, inputs, inputs.mean or (), inputs.std or ())


def frozen(backbone: nn.Module, images: Float[Tensor, "N C S S"]) -> Callable[[Tensor], Tensor]:
    """Return the backbone with batch norms folded into convolutions, if it then says the same; else as it is.

    Args:
        backbone: in eval mode.
        images: (N, C, S, S) as it will be given them.

    Returns:
        A function from images to features (N, D).

    Example:
        >>> backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> frozen(backbone.eval(), torch.ones(4, 3, 8, 8))(torch.ones(2, 3, 8, 8)).shape
        torch.Size([2, 4])
    """
    few = images[: max(1, len(images) // 3)]
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            traced = torch.jit.freeze(torch.jit.trace(backbone, images, check_trace=False))  # type: ignore[no-untyped-call]
            here, there = traced(few), backbone(few)
        if float((here - there).abs().max()) <= FOLDED * float(there.abs().max()):
            return cast("Callable[[Tensor], Tensor]", traced)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        pass  # what cannot be traced runs as it is
    return backbone


def facts_for(
    data: Data | Source, splits: dict[str, Split], model: Part, name: str, backbone: nn.Module, inputs: Inputs
) -> features.Facts:
    """Return what the file will say of itself; its key holds all that the features depend on."""
    weights = hashlib.sha256()
    for tensor_name, tensor in sorted(backbone.state_dict().items()):
        weights.update(f"{tensor_name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        weights.update(tensor.cpu().contiguous().numpy().tobytes())
    pictures = fingerprint(splits["train"], splits.get("validation"), splits["test"], data.rule)
    drawn = None
    if isinstance(data, Data) and data.profile is not None:
        drawn = {field.name: getattr(data, field.name) for field in dataclasses.fields(Drawn)}
    numbers = " ".join(f"{value:.4g}" for value in (*(inputs.mean or ()), *(inputs.std or ())))
    transform = f"{inputs.size} pixels, {inputs.interpolation}, mean and deviation {numbers}"
    if isinstance(data, Data) and data.scaling:
        transform += f", read {data.interpolation} with crop {data.crop:g}"
    told: dict[str, Any] = {
        "name": data.name,
        "model": f"{name}-{inputs.size}",
        "class_names": data.class_names,
        "many": data.many,
        "few": data.few,
        "imbalance": drawn["imbalance"] if drawn else data.imbalance if isinstance(data, Source) else None,
        "largest": data.largest if isinstance(data, Source) else None,
        "drawn": drawn,
        "pictures": pictures,
        "weights": weights.hexdigest(),
        "transform": transform,
        "precision": "float32",
        "notes": data.notes,
        "rule": data.rule,
    }
    key = hashlib.sha256(json.dumps([VERSION, told, _code(model)], sort_keys=True).encode()).hexdigest()
    return features.Facts(key=key, **told)


def _code(model: Part) -> str:
    """Address of what computes the features: equal weights say different things in different code."""
    if model.foreign:
        return address(model)
    kept = tuple((name, value) for name, value in model.arguments if name not in APART)
    return address(dataclasses.replace(model, arguments=kept))


def _splits(data: Data | Source) -> dict[str, Split]:
    named = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: split for name, split in named.items() if split is not None}


def _finished(path: pathlib.Path, facts: features.Facts) -> bool:
    """Whether the file is there; refused when it holds something else."""
    if not path.exists():
        return False
    there, _ = features.facts_of(path)
    if there.key != facts.key:
        names = [field.name for field in dataclasses.fields(facts) if field.name != "key"]
        differs = [name for name in names if getattr(there, name) != getattr(facts, name)]
        told = ", ".join(differs[:4]) or "the network's code or options"
        raise InputError(f"{path} holds other features (it differs in {told}); name another file")
    return True


def _pictures(data: Data | Source, splits: dict[str, Split], done: int) -> Iterator[tuple[str, int, Tensor]]:
    """The pictures from number ``done`` on, batch by batch: the name of their split, their first position, pixels."""
    before = 0
    for name, split in splits.items():
        starts = range(max(0, done - before), len(split), BATCH)
        parts = [torch.arange(start, min(start + BATCH, len(split))) for start in starts]
        before += len(split)
        if isinstance(split.images, Pictures):
            read = (batch.images.to(split.target.device) for batch in loaded(split.images, parts, data))
        else:
            held = split.images
            read = (held[part[0] : part[-1] + 1] for part in parts)
        yield from ((name, int(part[0]), pictures) for part, pictures in zip(parts, read, strict=True))


def _write(
    path: pathlib.Path,
    data: Data | Source,
    splits: dict[str, Split],
    backbone: Backbone,
    inputs: Inputs,
    facts: features.Facts,
    notify: Notify,
) -> None:
    unfinished, progress = (path.with_name(f".{path.name}.{kind}") for kind in ("unfinished", "progress"))
    width, total = backbone.width, sum(len(split) for split in splits.values())
    shapes = features.layout(splits, width)
    head = features.header(shapes, facts)
    rows = _mapped(unfinished, head, splits, width)
    done = _done(progress, facts.key, unfinished) if rows is not None else 0
    if rows is None or done == 0:
        rows = _begun(unfinished, head, splits, width)
    at = kept = done
    with torch.inference_mode(), _threads(backbone, inputs):
        forward: Callable[[Tensor], Tensor] | None = None
        for name, start, pictures in _pictures(data, splits, done):
            split = splits[name]
            at += len(pictures)
            first, images = at - len(pictures), prepared(pictures, inputs)
            forward = forward or frozen(backbone, images)
            found = forward(images).float().cpu()
            if not bool(torch.isfinite(found).all()):
                raise InputError(f"{path}: the features of {split.name(start)} or one after it are not finite")
            rows[first:at] = found.numpy()
            if at - kept >= KEPT:
                _keep(rows, progress, facts.key, at)
                kept = at
            notify(at, total)
    rows.flush()
    del rows
    checksum = features.digest(unfinished)
    with unfinished.open("r+b") as file:
        file.write(features.header(shapes, facts, checksum))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    progress.unlink(missing_ok=True)


def _threads(backbone: Backbone, inputs: Inputs) -> Any:
    from longtail.models import identity

    work = identity(Network(backbone, nn.Identity(), ""), channels=len(inputs.mean or ()), image_size=inputs.size)[
        "multiply_adds"
    ]
    return computing.threads_for(work * BATCH)


def _offset(head: bytes, splits: dict[str, Split]) -> int:
    return len(head) + 16 * sum(len(split) for split in splits.values())


def _mapped(path: pathlib.Path, head: bytes, splits: dict[str, Split], width: int) -> np.memmap[Any, Any] | None:
    """The features of all splits in a file that was begun, one after the other; None where there is none."""
    total, offset = sum(len(split) for split in splits.values()), _offset(head, splits)
    if not path.is_file() or path.stat().st_size != offset + 4 * total * width:
        return None
    return np.memmap(path, dtype="<f4", mode="r+", offset=offset, shape=(total, width))


def _begun(path: pathlib.Path, head: bytes, splits: dict[str, Split], width: int) -> np.memmap[Any, Any]:
    """A new file with everything but the features."""
    try:
        with path.open("wb") as file:
            file.write(head)
            for split in splits.values():
                for array in (split.index, split.target):
                    file.write(array.cpu().numpy().astype("<i8").tobytes())
            file.truncate(_offset(head, splits) + 4 * width * sum(len(split) for split in splits.values()))
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}") from None
    mapped = _mapped(path, head, splits, width)
    assert mapped is not None  # it was just made
    return mapped


def _done(progress: pathlib.Path, key: str, unfinished: pathlib.Path) -> int:
    """How many pictures are embedded already, by a run that was stopped."""
    try:
        told = json.loads(progress.read_bytes())
        return int(told["done"]) if told["key"] == key and unfinished.is_file() else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _keep(rows: np.memmap[Any, Any], progress: pathlib.Path, key: str, done: int) -> None:
    rows.flush()
    text = json.dumps({"key": key, "done": done})
    write_atomically(progress, lambda file: file.write_text(text, encoding="utf-8"))
