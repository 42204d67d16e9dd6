"""A subset chosen for a job, such as what to label or to look at: by the name of a way, kept as a list of items."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import SupportsIndex

import torch
from torch import Tensor

from longtail.dpp.kernels import Array
from longtail.errors import InputError, unknown
from longtail.files import write_atomically
from longtail.samplers import informative
from longtail.samplers.diverse import diverse, greedy
from longtail.shapes import Int

__all__ = ["WAYS", "read_selection", "select", "write_selection"]

WAYS = ("diverse", "greedy", "ip-dpp", "uniform")
"""The names that ``select`` knows."""

_VERSION = "longtail-selection-1"


def select(
    by: str,
    target: Array,
    *,
    k: SupportsIndex | Array,
    generator: torch.Generator | None,
    features: Array | None = None,
    probability: Array | None = None,
    log_probability: Array | None = None,
) -> Int[Tensor, " n"]:
    """Choose k items of every class, in one of the ways of ``WAYS``; classes of at most k items whole.

    Args:
        by: ``diverse`` or ``greedy`` (they need ``features``), ``ip-dpp`` (a probability; with features also spread
            out), or ``uniform``, the control.
        target: (N,), the classes.
        k: items per class, a number or one for each class.
        generator: of the draw; not used by ``greedy``.
        features: (N, D), of a trained or pre-trained network.
        probability: (N,), of the true label.
        log_probability: (N,), its logarithm: the better input.

    Returns:
        Indices into ``target``, ascending.

    Raises:
        InputError: ``by`` is unknown, or what it needs is missing.

    Example:
        >>> len(select("uniform", [0] * 9 + [1] * 2, k=3, generator=torch.Generator().manual_seed(0)))
        5
    """
    if by not in WAYS:
        raise unknown("way to select", by, WAYS)
    if by == "uniform":
        return informative.uniform(None, target, k=k, generator=generator)
    if by == "ip-dpp":
        if probability is None and log_probability is None:
            raise InputError("ip-dpp selects by the probability of the true label, and none was given: train a model")
        return informative.information_preserving(
            probability, target, k=k, generator=generator, log_probability=log_probability, features=features
        )
    if features is None:
        raise InputError(f"{by} selects by features, and none were given: embed the data first")
    if by == "greedy":
        return greedy(features, target, k=k)
    return diverse(features, target, k=k, generator=generator)


def write_selection(
    path: pathlib.Path,
    index: Array,
    target: Array,
    *,
    names: Sequence[str] | None = None,
    about: Mapping[str, str] | None = None,
) -> str:
    """Write a selection as a list, one line ``NAME LABEL`` for each item, below lines that begin with ``#``.

    Args:
        path: of the list.
        index: the items selected.
        target: (N,), the classes of all items.
        names: (N,), of all items, such as the paths of image files; None for their numbers.
        about: what else the head says, such as the way, the seed and the fingerprint of the data.

    Returns:
        The fingerprint, SHA-256 of the lines of the list, which its head says and ``read_selection`` checks.

    Raises:
        InputError: the folder cannot be written to, or a name begins with ``#`` or holds a line break.

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
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    return mark


def read_selection(path: pathlib.Path) -> tuple[list[str], Int[Tensor, " n"], dict[str, str]]:
    """Read the names, the labels and the head of a list that ``write_selection`` wrote.

    Args:
        path: of the list.

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
    return [name for name, _, _ in pairs], torch.tensor([int(label) for _, _, label in pairs], dtype=torch.int64), head


def _mark(lines: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
