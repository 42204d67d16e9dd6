"""Selections: lists of training images that were chosen for a job, kept as text and read as a data set."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from longtail.counts import class_counts
from longtail.data.dataset import Data
from longtail.data.fingerprint import fingerprint
from longtail.errors import InputError
from longtail.files import check_replaceable, write_atomically
from longtail.shapes import Int

_VERSION = "longtail-selection-1"


def kept_only(data: Data, path: pathlib.Path) -> Data:
    """Return a data set whose training split holds the images of a selection alone.

    Args:
        data: the data set that the selection was made of.
        path: of the list that ``write_selection`` wrote; its head names the fingerprint of ``data`` as ``of``.

    Raises:
        InputError: no such list, one of other data, or a class without an image in it.
    """
    names, target, head = read_selection(path)
    if head.get("of") != data.fingerprint:
        there = head.get("of", "unknown")
        raise InputError(f"{path} was selected from other data: fingerprint {there[:16]}, not {data.fingerprint[:16]}")
    positions = torch.tensor([_number(name, path, name) for name in names], dtype=torch.int64)
    outside = positions[positions >= len(data.train)]
    if len(outside):
        raise InputError(f"{path}: item {int(outside[0])} of {data.name}, which has {len(data.train)} training images")
    train = data.train.at(positions)
    if not torch.equal(train.target.cpu(), target):
        raise InputError(f"{path}: its labels are not those of {data.name}")
    counts = class_counts(train.target, data.num_classes)
    empty = [data.class_names[int(c)] for c in (counts == 0).nonzero().flatten()]
    if empty:
        raise InputError(f"{path} holds no image of {len(empty)} classes: {', '.join(map(repr, empty[:10]))}")
    note = f"{len(train)} of {len(data.train)} training images, selected by {head.get('by', 'a list')}"
    return dataclasses.replace(
        data,
        name=f"{data.name}-selection-{head['fingerprint'][:8]}",
        train=train,
        counts=counts,
        fingerprint=fingerprint(train, data.validation, data.test, rule=data.rule),
        imbalance=float(counts.max() / counts.min()),
        profile=None,  # whatever the data were drawn by, the sizes of a selection follow no profile
        split_seed=None,
        notes=(*data.notes, note),
    )


def is_selection(path: pathlib.Path) -> bool:
    """Return whether a file begins as ``write_selection`` begins one, so that it is no list of picture files.

    Args:
        path: of the list.
    """
    try:
        with path.open("rb") as file:
            return file.readline(80).decode("utf-8", "replace").strip() == f"# {_VERSION}" if path.is_file() else False
    except OSError:
        return False


def options_of(path: pathlib.Path) -> tuple[str, dict[str, Any]]:
    """Return the name of the data set that a selection was made of, and the options that it was loaded with.

    Raises:
        InputError: no such list, or one that does not say it.
    """
    head = read_selection(path)[2]
    try:
        options = json.loads(head["options"])
        name = head["data"]
    except (KeyError, ValueError):
        raise InputError(f"{path} does not say of which data set it is a selection") from None
    if not isinstance(options, dict):
        raise InputError(f"{path}: its options are no object")
    return name, options


def write_selection(
    path: pathlib.Path,
    index: Int[Tensor, " n"] | Sequence[int],
    target: Int[Tensor, " N"] | Sequence[int],
    *,
    names: Sequence[str] | None = None,
    about: Mapping[str, str] | None = None,
) -> str:
    """Write a selection as a list, one line ``NAME LABEL`` for each item, below lines that begin with ``#``.

    Args:
        path: file of the list.
        index: the items selected.
        target: (N,), the classes of all items.
        names: (N,), of all items, such as the paths of image files; None for their numbers.
        about: what else the head says, such as the way, the seed and the fingerprint of the data.

    Returns:
        The fingerprint, SHA-256 of the lines of the list, which its head says and ``read_selection`` checks.

    Raises:
        InputError: the folder cannot be written to, another file is there, or a name begins with ``#`` or holds a line
            break.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "chosen.txt"
        ...     names = ["a.png", "b.png", "c.png"]
        ...     mark = write_selection(file, [0, 2], [1, 1, 0], names=names, about={"by": "greedy"})
        ...     [line.split(" ")[0] for line in file.read_text().splitlines()]
        ['#', '#', '#', 'a.png', 'c.png']
    """
    chosen, classes = torch.as_tensor(index).tolist(), torch.as_tensor(target).tolist()
    odd = [name for name in names or () if name.startswith("#") or len(name.splitlines()) != 1]
    if odd:
        raise InputError(f"the name {odd[0]!r} cannot stand in a list: it begins with # or holds a line break")
    lines = [f"{i if names is None else names[i]} {classes[i]}" for i in chosen]
    mark = _mark(lines)
    head = [f"# {_VERSION}", f"# fingerprint {mark}", *(f"# {key} {value}" for key, value in (about or {}).items())]
    text = "".join(f"{line}\n" for line in [*head, *lines])
    check_replaceable(path, head[0].encode())
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    return mark


def read_selection(path: pathlib.Path) -> tuple[list[str], Int[Tensor, " n"], dict[str, str]]:
    """Read the names, the labels and the head of a list that ``write_selection`` wrote.

    Args:
        path: file of the list.

    Raises:
        InputError: the file is no such list, or was changed since.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "chosen.txt"
        ...     mark = write_selection(file, [0, 2], [1, 1, 0])
        ...     names, target, head = read_selection(file)
        >>> names, target.tolist(), head["fingerprint"] == mark
        (['0', '2'], [1, 0], True)
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if lines[:1] != [f"# {_VERSION}"]:
        raise InputError(f"{path} is no selection: its first line is not '# {_VERSION}'")
    head = dict(line[2:].partition(" ")[::2] for line in lines[1:] if line.startswith("# "))
    items = [line for line in lines if not line.startswith("#")]
    if head.get("fingerprint") != _mark(items):
        raise InputError(f"{path} was changed since it was written: its lines do not fit the fingerprint in its head")
    pairs = [line.rpartition(" ") for line in items]
    labels = [_number(label, path, line) for line, (_, _, label) in zip(items, pairs, strict=True)]
    return [name for name, _, _ in pairs], torch.tensor(labels, dtype=torch.int64), head


def _number(text: str, path: pathlib.Path, line: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError(f"{path}: {line[:80]!r} must be an item and the number of its class or place, from 0")
    return int(text)


def _mark(lines: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
