"""``npz:PATH``: a data set in one NumPy file.

It holds ``train_images``, ``train_target``, ``test_images``, ``test_target`` and ``class_names``. Images are uint8, as
(N, H, W, C), (N, C, H, W) or (N, H, W) for grey, with C = 1 or 3. Pickled objects are not read.
"""

from __future__ import annotations

import pathlib
import zipfile
import zlib
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.data.dataset import Source
from longtail.data.images import Split
from longtail.errors import InputError

KEYS = ("train_images", "train_target", "test_images", "test_target", "class_names")


def read(path: pathlib.Path) -> Source:
    """The data set in the file, under the name of the file.

    Raises:
        InputError: no such file, a damaged one, a missing array, or one of the wrong type, shape or range.
    """
    found = _arrays(path)
    names = _names(found["class_names"], path)
    train, test = (_split(found, split, len(names), path) for split in ("train", "test"))
    if train.images.shape[1:] != test.images.shape[1:]:
        ours, theirs = (list(split.images.shape[1:]) for split in (train, test))
        raise InputError(f"{path}: train images are {ours} (channels, height, width), test images {theirs}")
    return Source(name=f"npz:{path.stem}", train=train, test=test, class_names=names)


def _arrays(path: pathlib.Path) -> dict[str, NDArray[np.generic]]:
    try:
        with path.open("rb") as file:
            return _contents(file, path)
    except FileNotFoundError:
        raise InputError(f"npz:{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"npz:{path}: the file cannot be read ({error.strerror or error})") from None


def _contents(file: BinaryIO, path: pathlib.Path) -> dict[str, NDArray[np.generic]]:
    try:
        archive = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile):
        archive = None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(f"{path} is no .npz file, or a damaged one; numpy.savez writes them")
    with archive:
        missing = [key for key in KEYS if key not in archive]
        if missing:
            held = ", ".join(archive.files) or "nothing"
            raise InputError(f"{path} lacks {', '.join(missing)}; it holds {held}, and {', '.join(KEYS)} are needed")
        return {key: _array(archive, key, path) for key in KEYS}


def _array(archive: np.lib.npyio.NpzFile, key: str, path: pathlib.Path) -> NDArray[np.generic]:
    try:
        found: NDArray[np.generic] = archive[key]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" not in str(error):
            raise InputError(f"{path}: {key} is damaged ({error})") from None
        raise InputError(
            f"{path}: {key} holds pickled Python objects, which are not read; "
            "store names as numpy.array(names, dtype=str)"
        ) from None
    return found


def _names(names: NDArray[np.generic], path: pathlib.Path) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US" or len(names) == 0:
        raise InputError(
            f"{path}: class_names must be a row of strings, one for each class, "
            f"not {names.dtype} of shape {list(names.shape)}"
        )
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in names.tolist()]
    if len(set(words)) < len(words):
        raise InputError(f"{path}: class_names holds a name twice")
    return tuple(words)


def _split(found: dict[str, NDArray[np.generic]], split: str, num_classes: int, path: pathlib.Path) -> Split:
    images, target = found[f"{split}_images"], found[f"{split}_target"]
    if target.ndim != 1 or target.dtype.kind not in "iu":
        raise InputError(
            f"{path}: {split}_target must be a row of class numbers, not {target.dtype} of shape {list(target.shape)}"
        )
    if len(images) != len(target) or len(target) == 0:
        raise InputError(f"{path}: {len(images)} {split}_images and {len(target)} {split}_target; as many are needed")
    classes = target.astype(np.int64)
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= num_classes:
        raise InputError(
            f"{path}: {split}_target holds {low if low < 0 else high}, but {num_classes} class_names are for "
            f"0..{num_classes - 1}"
        )
    return Split(
        _channels_first(images, f"{path}: {split}_images"), torch.from_numpy(classes), torch.arange(len(classes))
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
