"""Test sets that the scorer knows by a hash.

The test set of a board is not in the repository. What is, is the SHA-256 of its image ids and true classes, so labels
that travel with the predictions are believed exactly if they are the known ones.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from longtail.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Key:
    """A test set that the scorer knows: how many images and classes, and the hash of ids and true classes."""

    id: str
    sha256: str
    num_test: int
    num_classes: int
    provenance: str


def fingerprint(index: Tensor, target: Tensor) -> str:
    """The hash by which a test set is known: SHA-256 of its sorted ids, then of its true classes in that order.

    Args:
        index: (N,) ids.
        target: (N,) true classes.

    Returns:
        64 hexadecimal digits.
    """
    order = index.argsort(stable=True)
    digest = hashlib.sha256()
    for array in (index, target):
        digest.update(array[order].numpy().astype("<i8").tobytes())
    return digest.hexdigest()


@cache
def keys() -> dict[str, Key]:
    """The test sets that the scorer knows."""
    table = tomllib.loads(files("longtail.board").joinpath("content/keys.toml").read_text("utf-8"))
    return {entry["id"]: Key(**entry) for entry in table["key"]}


def is_trusted(index: Tensor, target: Tensor, key: Key | None, where: str) -> bool:
    """Whether the true classes are the known ones; false where no key is known for the data set.

    Raises:
        InputError: if a key is known and the ids or the true classes are others.
    """
    if key is None:
        return False
    num = len(index)
    if num != key.num_test:
        raise InputError(f"{where}: {num} predictions; the test set {key.id!r} has {key.num_test} images")
    if fingerprint(index, target) != key.sha256:
        raise InputError(
            f"{where}: ids or true classes are not those of the test set {key.id!r}; ids number the images of the"
            " original file from 0, and every image occurs once"
        )
    return True
