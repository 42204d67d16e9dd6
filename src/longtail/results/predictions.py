"""The predictions behind a record, ``predictions.npz``: which test image, its true class and the predicted one."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from tokenize import TokenError

import numpy as np
import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Int

PREDICTIONS = "predictions.npz"
MAX_PREDICTIONS_BYTES = 16 << 20
MAX_ITEMS = 1 << 20
"""Test items of a record. Records may come from anyone, so their sizes are bounded, here and nowhere else."""
_ARRAYS = ("index", "target", "prediction")
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError)
"""What a damaged archive raises."""


def predictions_bytes(arrays: Mapping[str, Int[Tensor, " N"]], *, num_classes: int, where: str) -> bytes:
    """Return the contents of a ``predictions.npz``; the same arrays make the same bytes.

    Args:
        arrays: ``index``, ``target`` and ``prediction``.
        num_classes: K, which decides how wide a class is written.
        where: name of the file in an error.

    Raises:
        InputError: more than such a file may hold.

    Example:
        >>> arrays = {name: torch.arange(3) for name in ("index", "target", "prediction")}
        >>> found = read_predictions(predictions_bytes(arrays, num_classes=3, where="a file"), "a file")
        >>> found["index"].tolist()
        [0, 1, 2]
    """
    small = np.int16 if num_classes <= np.iinfo(np.int16).max else np.int32
    index, target, prediction = (arrays[name].cpu().numpy() for name in _ARRAYS)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, index=index.astype(np.int64), target=target.astype(small), prediction=prediction.astype(small)
    )
    content = buffer.getvalue()
    if len(content) > MAX_PREDICTIONS_BYTES:
        raise InputError(f"{where} would be larger than {MAX_PREDICTIONS_BYTES >> 20} MiB")
    return content


def read_predictions(content: bytes, where: str) -> dict[str, Int[Tensor, " N"]]:
    """Read the arrays of a ``predictions.npz``, trusting nothing about it and loading no pickle.

    Args:
        content: the file.
        where: its name in an error.

    Returns:
        ``index``, ``target`` and ``prediction``, each (N,) int64, in the order of the file.

    Raises:
        InputError: too large, not an archive of exactly these three vectors of integers, or vectors that differ in
            length or hold nothing.

    Example:
        >>> read_predictions(b"nothing", "upload")
        Traceback (most recent call last):
        longtail.errors.InputError: upload is damaged: File is not a zip file
    """
    if len(content) > MAX_PREDICTIONS_BYTES:
        raise InputError(f"{where} is larger than {MAX_PREDICTIONS_BYTES >> 20} MiB, more than predictions can be")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in _ARRAYS):
                raise InputError(f"{where} must hold exactly the arrays {', '.join(_ARRAYS)}")
            found = {name: _array(archive, f"{name}.npy", where) for name in _ARRAYS}
    except DAMAGED as error:
        raise InputError(f"{where} is damaged: {error}") from None
    lengths = {name: len(array) for name, array in found.items()}
    if len(set(lengths.values())) != 1 or not lengths["index"]:
        raise InputError(f"{where}: the arrays must have one length and hold something, not {lengths}")
    return found


def _array(archive: zipfile.ZipFile, name: str, where: str) -> Tensor:
    """One integer vector; its declared sizes are checked before anything is decompressed or allocated."""
    member = archive.getinfo(name)
    if member.file_size > MAX_ITEMS * 8 + 1024:
        raise InputError(f"{where}: {name} declares more than {MAX_ITEMS:,} items")
    if member.flag_bits & 1:
        raise InputError(f"{where}: {name} is encrypted")
    raw = archive.read(name)
    stream = io.BytesIO(raw)
    values = None
    with contextlib.suppress(ValueError, KeyError, SyntaxError, TypeError, MemoryError, RecursionError, TokenError):
        if np.lib.format.read_magic(stream) == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            integers = dtype.kind in "iu" and len(shape) == 1
            if integers and shape[0] * dtype.itemsize == len(raw) - stream.tell():
                values = np.frombuffer(raw, dtype, offset=stream.tell())
    if values is None:
        raise InputError(f"{where}: {name} must be one vector of integers")
    if values.dtype.kind == "u" and len(values) and int(values.max()) > np.iinfo(np.int64).max:
        raise InputError(f"{where}: {name} holds a number that is no 64-bit integer")
    return torch.from_numpy(values.astype(np.int64))


def check_predictions(arrays: Mapping[str, Int[Tensor, " N"]], *, num_classes: int, num_test: int, where: str) -> None:
    """Refuse predictions that are not of a test set: one of each image, and classes that there are.

    Args:
        arrays: ``index``, ``target`` and ``prediction``.
        num_classes: K.
        num_test: images of the test set.
        where: name of the file in an error.

    Raises:
        InputError: another number of items, a class outside 0 to K - 1, or an image that is named twice.

    Example:
        >>> arrays = {name: torch.tensor([0, 1, 1]) for name in ("index", "target", "prediction")}
        >>> check_predictions(arrays, num_classes=2, num_test=3, where="a file")
        Traceback (most recent call last):
        longtail.errors.InputError: a file: index names a test image twice, 1
    """
    for name in _ARRAYS:
        if len(arrays[name]) != num_test:
            raise InputError(f"{where}: {name} has {len(arrays[name])} items, the record {num_test} test items")
        if name != "index" and bool(((arrays[name] < 0) | (arrays[name] >= num_classes)).any()):
            raise InputError(f"{where}: {name} holds a class outside 0 to {num_classes - 1}")
    ordered = arrays["index"].sort().values
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise InputError(f"{where}: index names a test image twice, {int(twice[0])}")
