"""The identity of a data set: equal on two machines exactly when index list, labels and pixels are.

What is hashed, by SHA-256, for each of the splits ``train``, ``validation`` (where there is one) and ``test``, in this
order, and for each of its arrays ``index``, ``target`` and ``images``, in this order:

    the line ``longtail-fingerprint-1 SPLIT ARRAY DTYPE SHAPE`` (shape as ``3x1x8x8``), a newline, and the array's bytes
    in C order: ``index`` and ``target`` as little-endian 64-bit integers, ``images`` as bytes (N, C, H, W), or, of a
    data set of features (N, D), as little-endian 32-bit floats.

Where the images are files that are read while training, the part ``files`` stands for ``images``: the line has the type
``sha256`` and the shape of the images, and the SHA-256 of each file follows, 32 bytes each.

Each of these is a part; ``parts`` gives them by name. The fingerprint is the SHA-256 of the lines ``SPLIT.ARRAY HEX``
of all parts, each with a newline, in the same order. Names of classes, of files and of the data set are no part of it,
and neither is how the images came to be chosen: two ways to the same images in the same order have one fingerprint.
Where a held-out split was drawn so as to keep copies on one side, and differs for it from the plain draw, a last line
``rule NAME`` says so (``longtail.data.splits.TOGETHER``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from longtail.data.images import Split
from longtail.data.streams import Pictures

VERSION = "longtail-fingerprint-1"


def parts(train: Split, validation: Split | None, test: Split) -> dict[str, str]:
    """SHA-256 of each array of each split, under names such as ``train.images``."""
    found = {}
    for name, split in (("train", train), ("validation", validation), ("test", test)):
        if split is not None:
            for array, tensor in (("index", split.index), ("target", split.target)):
                found[f"{name}.{array}"] = _digest(name, array, "<i8", tensor)
            if isinstance(split.images, Pictures):
                found[f"{name}.files"] = _hashed(name, "files", "sha256", split.images.shape, split.images.digest())
            else:
                kind = "<f4" if split.images.ndim == 2 else "|u1"
                found[f"{name}.images"] = _digest(name, "images", kind, split.images)
    return found


def combine(found: dict[str, str], rule: str = "") -> str:
    """The fingerprint of a data set from its parts and the rule of its held-out splits: 64 hexadecimal digits."""
    lines = [f"{name} {digest}\n" for name, digest in found.items()] + ([f"rule {rule}\n"] if rule else [])
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def fingerprint(train: Split, validation: Split | None, test: Split, rule: str = "") -> str:
    """The fingerprint of a data set: 64 hexadecimal digits."""
    return combine(parts(train, validation, test), rule)


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """The parts that are not the same in both, a missing one included.

    Example:
        >>> differences({"train.index": "aa", "test.index": "bb"}, {"train.index": "aa", "test.index": "cc"})
        ['test.index']
    """
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _digest(split: str, array: str, kind: str, tensor: Tensor) -> str:
    values = np.ascontiguousarray(tensor.cpu().numpy(), dtype=kind)
    return _hashed(split, array, kind, values.shape, values)


def _hashed(split: str, array: str, kind: str, shape: Sequence[int], values: NDArray[Any]) -> str:
    written = "x".join(str(size) for size in shape)
    digest = hashlib.sha256(f"{VERSION} {split} {array} {kind} {written}\n".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
