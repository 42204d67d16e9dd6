"""Predictions from strangers: an ``.npz`` read under caps, without pickles, and a test set known by a hash.

The test set of a board is not in the repository. What is, is the SHA-256 of its image ids and true classes, so labels
that travel with the predictions are believed exactly if they are the known ones.
"""

from __future__ import annotations

import ast
import hashlib
import io
import struct
import tomllib
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from longtail.errors import InputError

MAX_FILE = 8 << 20
MAX_ITEMS = 1 << 20
NAMES = ("index", "prediction", "target")


@dataclass(frozen=True)
class Predictions:
    """Ids, true classes and predicted classes of test images, sorted by id."""

    index: NDArray[np.int64]
    target: NDArray[np.int64]
    prediction: NDArray[np.int64]


@dataclass(frozen=True)
class Key:
    """A test set that the scorer knows: how many images and classes, and the hash of ids and true classes."""

    id: str
    sha256: str
    num_test: int
    num_classes: int
    provenance: str


def read_predictions(content: bytes, where: str, *, num_classes: int) -> Predictions:
    """Read one ``.npz`` of test ids, true classes and predictions, trusting nothing about it.

    Args:
        content: the file.
        where: what to call it in an error.
        num_classes: K; classes must lie in [0, K).

    Returns:
        The three vectors, sorted by id.

    Raises:
        InputError: if the file is too large, is no ``.npz`` of exactly these three integer vectors, would need a
            pickle, unpacks to more than the cap, holds an id twice, or a class out of range.
    """
    if len(content) > MAX_FILE:
        raise InputError(f"{where}: {len(content):,} bytes; at most {MAX_FILE:,} are taken")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if sorted(member.filename for member in members) != [f"{name}.npy" for name in NAMES]:
                raise InputError(f"{where}: must hold exactly the arrays {', '.join(NAMES)}")
            # Sizes are those that the file declares; unpacking stops there, and a checksum catches a lie.
            for member in members:
                if member.file_size > 8 * MAX_ITEMS + 512:
                    raise InputError(f"{where}: {member.filename} unpacks to more than {MAX_ITEMS:,} items")
                if member.flag_bits & 1:
                    raise InputError(f"{where}: {member.filename} is encrypted")
            arrays = {name: _vector(archive.read(f"{name}.npy"), f"{where}: {name}") for name in NAMES}
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        struct.error,
    ) as error:
        raise InputError(f"{where}: is no sound .npz file: {error}") from None
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{where}: the arrays differ in length: {lengths}")
    if not lengths["index"]:
        raise InputError(f"{where}: holds no predictions")
    for name in ("target", "prediction"):
        low, high = int(arrays[name].min()), int(arrays[name].max())
        if low < 0 or high >= num_classes:
            wrong = low if low < 0 else high
            raise InputError(f"{where}: {name} holds class {wrong}; classes are 0 to {num_classes - 1}")
    order = np.argsort(arrays["index"], kind="stable")
    index = arrays["index"][order]
    if len(index) > 1 and bool((index[1:] == index[:-1]).any()):
        twice = int(index[1:][index[1:] == index[:-1]][0])
        raise InputError(f"{where}: the id {twice} occurs more than once")
    return Predictions(index, arrays["target"][order], arrays["prediction"][order])


def _vector(raw: bytes, where: str) -> NDArray[np.int64]:
    """One ``.npy`` of integers, parsed by its header alone so that no pickle can be reached."""
    if raw[:8] != b"\x93NUMPY\x01\x00":
        raise InputError(f"{where} is no .npy array of format 1.0")
    (size,) = struct.unpack("<H", raw[8:10])
    try:
        header = ast.literal_eval(raw[10 : 10 + size].decode("latin1")) if size <= 1024 else None
        kind = np.dtype(header["descr"]) if isinstance(header["descr"], str) else None  # type: ignore[index]
        shape, order = header["shape"], header["fortran_order"]  # type: ignore[index]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise InputError(f"{where} has a header that cannot be read") from None
    if kind is None or kind.hasobject or kind.kind not in "iu":
        raise InputError(f"{where} must hold integers, not {header['descr']!r:.60}")  # type: ignore[index]
    body = raw[10 + size :]
    if not (isinstance(shape, tuple) and len(shape) == 1 and isinstance(shape[0], int) and order is False):
        raise InputError(f"{where} must be one vector")
    if shape[0] * kind.itemsize != len(body):
        raise InputError(f"{where} holds {len(body)} bytes where its header says {shape[0]} items")
    array = np.frombuffer(body, kind)
    if kind.kind == "u" and len(array) and int(array.max()) > np.iinfo(np.int64).max:
        raise InputError(f"{where} holds a number that is no 64-bit integer")
    return array.astype(np.int64)


def fingerprint(index: NDArray[np.int64], target: NDArray[np.int64]) -> str:
    """The hash by which a test set is known: SHA-256 of its sorted ids, then of its true classes in that order.

    Args:
        index: (N,) ids.
        target: (N,) true classes.

    Returns:
        64 hexadecimal digits.
    """
    order = np.argsort(index, kind="stable")
    digest = hashlib.sha256()
    for array in (index, target):
        digest.update(array[order].astype("<i8").tobytes())
    return digest.hexdigest()


@cache
def keys() -> dict[str, Key]:
    """The test sets that the scorer knows."""
    table = tomllib.loads(files("longtail.board").joinpath("content/keys.toml").read_text("utf-8"))
    return {entry["id"]: Key(**entry) for entry in table["key"]}


def is_trusted(predictions: Predictions, key: Key | None, where: str) -> bool:
    """Whether the true classes are the known ones; false where no key is known for the data set.

    Raises:
        InputError: if a key is known and the ids or the true classes are others.
    """
    if key is None:
        return False
    num = len(predictions.index)
    if num != key.num_test:
        raise InputError(f"{where}: {num} predictions; the test set {key.id!r} has {key.num_test} images")
    if fingerprint(predictions.index, predictions.target) != key.sha256:
        raise InputError(
            f"{where}: ids or true classes are not those of the test set {key.id!r}; ids number the images of the"
            " original file from 0, and every image occurs once"
        )
    return True
