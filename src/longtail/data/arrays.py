"""``npz:PATH``: a data set in one NumPy file.

It holds ``train_images``, ``train_target``, ``test_images``, ``test_target`` and ``class_names``, perhaps
``validation_images`` and ``validation_target`` (or ``val_``). Images are uint8, as (N, H, W, C), (N, C, H, W) or
(N, H, W) for grey, with C = 1 or 3. Pickled objects are not read. The files of MedMNIST are read as they are:
``train_images``, ``train_labels``, and so on for ``val`` and ``test``.
"""

from __future__ import annotations

import math
import pathlib
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.data import memory
from longtail.data.dataset import Source
from longtail.data.images import Split
from longtail.data.pictures import is_utf8, printable, shown
from longtail.data.splits import NAMED
from longtail.errors import InputError
from longtail.wording import counted

KEYS = ("train_images", "train_target", "test_images", "test_target", "class_names")
MEDMNIST = ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels")
"""Yang et al., MedMNIST v2, Scientific Data 2023; the names of its classes are not in its files."""
VALIDATION = ("val", "validation")
"""What the names of validation arrays begin with."""
COPIES = 2
"""Of each array that are held at once, at most: as it is stored, and in the order of axes that is used."""


def read(path: pathlib.Path) -> Source:
    """The data set in the file, under the name of the file.

    Raises:
        InputError: no such file, a damaged one, a missing array, or one of the wrong type, shape or range.
    """
    where = shown(path)
    found, notes = stored(path, _wanted)
    if "train_labels" in found:
        names, found = _of_medmnist(found, where)
    else:
        names = _names(found["class_names"], where)
    splits = {
        split: _split(found, split, len(names), where)
        for split in ("train", *VALIDATION, "test")
        if f"{split}_images" in found
    }
    for name, split in splits.items():
        if split.images.shape[1:] != splits["train"].images.shape[1:]:
            ours, theirs = (list(splits[held].images.shape[1:]) for held in ("train", name))
            raise InputError(f"{where}: train images are {ours} (channels, height, width), {name} images {theirs}")
    held = next((splits[prefix] for prefix in VALIDATION if prefix in splits), None)
    if held is not None:
        notes = (f"the validation images of the file are used as validation: {len(held):,}", *notes)
    return Source(
        name=f"npz:{printable(path.stem)}",
        train=splits["train"],
        test=splits["test"],
        class_names=names,
        validation=held,
        notes=notes,
    )


def _of_medmnist(
    found: dict[str, NDArray[np.generic]], where: str
) -> tuple[tuple[str, ...], dict[str, NDArray[np.generic]]]:
    """The names of the classes, which are numbers, and the arrays under the names that they have here."""
    arrays = {}
    for split in ("train", "val", "test"):
        labels = found[f"{split}_labels"]
        if labels.ndim == 2 and labels.shape[1] > 1:
            raise InputError(
                f"{where}: {split}_labels has {labels.shape[1]} labels for each image; sets with one are read here"
            )
        arrays[f"{split}_images"], arrays[f"{split}_target"] = found[f"{split}_images"], labels.reshape(-1)
    target = arrays["train_target"]
    if target.dtype.kind not in "iu" or len(target) == 0:
        raise InputError(f"{where}: train_labels must be whole numbers, one for each image")
    return tuple(map(str, range(max(int(target.max()) + 1, 2)))), arrays


def stored(
    path: pathlib.Path, wanted: Callable[[Collection[str], str], Sequence[str]]
) -> tuple[dict[str, NDArray[np.generic]], tuple[str, ...]]:
    """Read arrays of a .npz file: nothing is unpacked that is damaged, pickled, or does not fit into memory.

    Args:
        path: of the file.
        wanted: gives the names of the arrays to read, from the names that are there and what messages call the file.

    Returns:
        The arrays by name, and a note that names those that are not read; no note if all are.

    Raises:
        InputError: no such file, a damaged one, or a missing array.
    """
    where = shown(path)
    try:
        # Opening a fifo would wait for its other end for ever.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"npz:{where} is no ordinary file")
        with path.open("rb") as file:
            return _contents(file, where, wanted)
    except FileNotFoundError:
        raise InputError(f"npz:{where}: there is no such file") from None
    except OSError as error:
        raise InputError(f"npz:{where[:200]}: the file cannot be read ({error.strerror or error})") from None


def validation_of(there: Collection[str], kinds: Sequence[str], where: str) -> tuple[str, ...]:
    """The names of the validation arrays of these kinds, all of them if one is there.

    Raises:
        InputError: there are some under both names.
    """
    found = [prefix for prefix in VALIDATION if any(f"{prefix}_{kind}" in there for kind in kinds)]
    if len(found) > 1:
        raise InputError(f"{where} holds arrays of {found[0]}_ and of {found[1]}_: keep those of one name")
    return tuple(f"{prefix}_{kind}" for prefix in found for kind in kinds)


def _wanted(there: Collection[str], where: str) -> Sequence[str]:
    """The arrays of a data set of images: those of MedMNIST, or ours."""
    if {"train_labels", "val_labels"} & set(there):
        return MEDMNIST
    return (*KEYS, *validation_of(there, ("images", "target"), where))


def _contents(
    file: BinaryIO, where: str, wanted: Callable[[Collection[str], str], Sequence[str]]
) -> tuple[dict[str, NDArray[np.generic]], tuple[str, ...]]:
    try:
        archive = zipfile.ZipFile(file)
    except Exception:  # zipfile raises whatever it makes of a damaged directory
        raise InputError(f"{where} is no .npz file, or a damaged one; numpy.savez writes them") from None
    with archive:
        members = Counter(archive.namelist())
        names = [name.removesuffix(".npy") for name in members]
        keys = wanted([name for name in names if f"{name}.npy" in members], where)
        missing = [key for key in keys if f"{key}.npy" not in members]
        if missing:
            held = ", ".join(map(printable, names[:NAMED])) or "nothing"
            raise InputError(f"{where} lacks {', '.join(missing)}; it holds {held}, and {', '.join(keys)} are needed")
        twice = [key for key in keys if members[f"{key}.npy"] > 1]
        if twice:
            raise InputError(f"{where} holds {twice[0]} twice")
        # All headers first: what does not fit, or is of another kind than it says, is never unpacked.
        sizes = {key: _size(archive, key, where) for key in keys}
        memory.check(COPIES * sum(sizes.values()), f"{where} holds {len(keys)} arrays", "make it smaller")
        others = [printable(name) for name in names if name not in keys]
        told = f"{counted(len(others), 'array')} of the file not read: {', '.join(others[:NAMED])}"
        return {key: _array(archive, key, where) for key in keys}, (told,) if others else ()


def _size(archive: zipfile.ZipFile, key: str, where: str) -> int:
    """The bytes of an array by its header, which must be the bytes that the archive holds."""
    try:
        with archive.open(f"{key}.npy") as member:
            version = np.lib.format.read_magic(member)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(member)
            start = member.tell()
    except Exception as error:
        raise InputError(f"{where}: {key} is damaged ({_reason(error)})") from None
    if dtype.hasobject:
        raise InputError(
            f"{where}: {key} holds pickled Python objects, which are not read; "
            "store names as numpy.array(names, dtype=str)"
        )
    size, held = math.prod(shape) * dtype.itemsize, archive.getinfo(f"{key}.npy").file_size - start
    if min(shape, default=0) < 0 or size != held:
        raise InputError(f"{where}: {key} is damaged (its header says {size:,} bytes, the file holds {held:,})")
    return size


def _array(archive: zipfile.ZipFile, key: str, where: str) -> NDArray[np.generic]:
    try:
        with archive.open(f"{key}.npy") as member:
            found: NDArray[np.generic] = np.lib.format.read_array(member, allow_pickle=False)
            # The checksum is compared at the end of the member, which an array may not reach.
            member.read()
            return found
    except MemoryError:
        raise InputError(f"{where}: there is not enough memory for {key}") from None
    except Exception as error:
        raise InputError(f"{where}: {key} is damaged ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return printable(" ".join(str(error).split())[:200]) or type(error).__name__


def _names(names: NDArray[np.generic], where: str) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US" or len(names) == 0:
        raise InputError(
            f"{where}: class_names must be a row of strings, one for each class, "
            f"not {names.dtype} of shape {list(names.shape)}"
        )
    words = [
        word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else str(word) for word in names.tolist()
    ]
    unnamed = [printable(word) for word in words if not is_utf8(word)]
    if unnamed:
        raise InputError(f"{where}: class_names holds names that are no UTF-8: {', '.join(unnamed[:NAMED])}")
    if len(set(words)) < len(words):
        twice = [printable(word) for word, times in Counter(words).items() if times > 1]
        raise InputError(f"{where}: class_names holds a name twice: {', '.join(twice[:NAMED])}")
    if len(words) < 2:
        raise InputError(f"{where} has one class only, {printable(words[0])!r}: at least two are needed")
    return tuple(words)


def _split(found: dict[str, NDArray[np.generic]], split: str, num_classes: int, where: str) -> Split:
    images, target = found[f"{split}_images"], found[f"{split}_target"]
    if target.ndim != 1 or target.dtype.kind not in "iu":
        raise InputError(
            f"{where}: {split}_target must be a row of class numbers, not {target.dtype} of shape {list(target.shape)}"
        )
    if len(images) != len(target) or len(target) == 0:
        raise InputError(f"{where}: {len(images)} {split}_images and {len(target)} {split}_target; as many are needed")
    classes = target.astype(np.int64)
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= num_classes:
        raise InputError(
            f"{where}: {split}_target holds {low if low < 0 else high}, but {num_classes} class_names are for "
            f"0..{num_classes - 1}"
        )
    return Split(
        _channels_first(images, f"{where}: {split}_images"), torch.from_numpy(classes), torch.arange(len(classes))
    )


def _channels_first(images: NDArray[np.generic], where: str) -> Tensor:
    """(N, C, H, W), whichever of the three layouts was given."""
    if images.dtype != np.uint8:
        raise InputError(f"{where} must be uint8 (0..255), not {images.dtype}")
    shape = list(images.shape)
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim != 4:
        raise InputError(f"{where} must be (N, H, W, C), (N, C, H, W) or (N, H, W), not {shape}")
    else:
        first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
        if first and last:
            raise InputError(
                f"{where} {shape} could be (N, C, H, W) or (N, H, W, C): images this small are not told apart"
            )
        if not first and not last:
            raise InputError(f"{where} must have 1 or 3 channels, as (N, H, W, C) or (N, C, H, W), not {shape}")
        if last:
            images = images.transpose(0, 3, 1, 2)
    if 0 in images.shape:
        raise InputError(f"{where} {shape}: there is nothing in them")
    return torch.from_numpy(np.ascontiguousarray(images))
