"""``features:PATH``: a data set of feature vectors, from ``longtail embed`` or from any table of numbers.

Three kinds of file are read, by their ending:

* ``.safetensors``: what ``longtail embed`` wrote, used as it is, without normalisation;
* ``.npz``: ``train_features``, ``train_target``, ``test_features``, ``test_target``, perhaps ``validation_*`` (or
  ``val_*``) and ``class_names``;
* ``.csv``: a header, a column ``label`` (``target`` or ``class``), perhaps ``split`` (train, validation, test), and
  columns of numbers. Without a split a fifth of each class is held out for testing, copies of a row on one side.

The columns of a table are standardised by mean and standard deviation of the training rows (``Data.mean``,
``Data.std``), since their units differ; the record says so.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.counts import class_counts
from longtail.data import arrays
from longtail.data.copies import groups
from longtail.data.dataset import Drawn, Source
from longtail.data.images import Split
from longtail.data.pictures import printable, shown
from longtail.data.splits import held_out_with_copies
from longtail.errors import InputError
from longtail.shapes import Float
from longtail.wording import counted

FORMAT = "longtail-features-1"
SPLITS = ("train", "validation", "test")
LABELS = ("label", "target", "class")
"""Names of the column of a table that holds the class, the first that is there."""
TEST_SHARE = 5
"""One row in this many is held out of each class of a table without a split."""
NO_CHECKSUM = "0" * 64


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a file of features says of itself.

    Args:
        key: SHA-256 of all that the features depend on.
        name: of the data set of pictures.
        model: short name of the network.
        class_names: K names.
        many: many-shot classes have more training images than this.
        few: few-shot classes have fewer.
        imbalance: what is drawn when nothing is asked for, or what was drawn; None: the set keeps its own images.
        largest: images of the largest class of a drawn subset, as in ``Source``.
        drawn: what was drawn from the pictures before: ``imbalance``, ``profile``, ``split_seed`` and
            ``validation_share``; None where every training picture is there.
        pictures: fingerprint of the pictures.
        weights: SHA-256 of the network's tensors.
        transform: what was done to the pictures, in words.
        precision: of the arithmetic.
        notes: of the data set.
        rule: of its held-out splits.
    """

    key: str
    name: str
    model: str
    class_names: tuple[str, ...]
    many: int
    few: int
    imbalance: float | int | None
    largest: int | None
    drawn: dict[str, Any] | None
    pictures: str
    weights: str
    transform: str
    precision: str
    notes: tuple[str, ...]
    rule: str

    @property
    def label(self) -> str:
        """What records call the data set of features."""
        return f"{self.name}-{self.model}"


def read(path: pathlib.Path) -> tuple[Source, Facts | None]:
    """Read a file of features whole.

    Args:
        path: a ``.safetensors``, ``.npz`` or ``.csv`` file.

    Returns:
        The data set before anything is drawn from it, and what a file of ``longtail embed`` says of itself.

    Raises:
        InputError: no such file, another kind, or a damaged one.
    """
    if not path.is_file():
        raise InputError(f"features:{shown(path)}: there is no such file")
    match path.suffix.lower():
        case ".safetensors":
            return _embedded(path)
        case ".npz":
            return _npz(path), None
        case ".csv":
            return _csv(path), None
    raise InputError(f"features:{shown(path)}: a .safetensors file of longtail embed, a .npz or a .csv file is needed")


# Files of ``longtail embed``.


def header(shapes: dict[str, tuple[str, tuple[int, ...]]], facts: Facts, checksum: str = NO_CHECKSUM) -> bytes:
    """Return the beginning of a safetensors file, before its tensors.

    Args:
        shapes: type (``F32`` or ``I64``) and shape of each tensor, in the order in which they lie.
        facts: what the file says of itself.
        checksum: SHA-256 of the tensors' bytes; the length does not depend on it.

    Returns:
        Length and JSON, a multiple of eight bytes.
    """
    places: dict[str, Any] = {
        "__metadata__": {"format": FORMAT, "facts": json.dumps(dataclasses.asdict(facts)), "sha256": checksum}
    }
    start = 0
    for name, (kind, shape) in shapes.items():
        end = start + math.prod(shape) * (4 if kind == "F32" else 8)
        places[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(places).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def layout(splits: dict[str, Split], width: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of each tensor of a file of features, in the order in which they lie.

    Args:
        splits: of the pictures, by name.
        width: D, the number of features.
    """
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, split in splits.items():
        for array in ("index", "target"):
            shapes[f"{name}.{array}"] = ("I64", (len(split),))
    for name, split in splits.items():
        shapes[name] = ("F32", (len(split), width))
    return shapes


def facts_of(path: pathlib.Path) -> tuple[Facts, str]:
    """Read what a file of features says of itself, without its features, and its checksum.

    Raises:
        InputError: it is none of ``longtail embed``, or damaged.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            told = json.loads(file.read(size) if size < 100_000_000 else b"")["__metadata__"]
        if told["format"] != FORMAT:
            raise KeyError
        found = json.loads(told["facts"])
        found |= {"class_names": tuple(found["class_names"]), "notes": tuple(found["notes"])}
        if found["drawn"] is not None:
            Drawn(**found["drawn"])  # has it the right fields
        return Facts(**found), str(told["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"features:{shown(path)} is no file of longtail embed, or a damaged one: embed the pictures again"
        ) from None


def _embedded(path: pathlib.Path) -> tuple[Source, Facts]:
    from safetensors import SafetensorError, safe_open

    facts, checksum = facts_of(path)
    try:
        found = digest(path)
        with safe_open(path, framework="pt") as file:
            # Tensors on the CPU are views of the file, which is mapped and not read until it is used.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"features:{shown(path)} is damaged ({str(error)[:80]}): embed the pictures again") from None
    if found != checksum:
        raise InputError(f"features:{shown(path)} is damaged: its checksum does not fit; embed the pictures again")
    splits = {
        name: Split(tensors[name], tensors[f"{name}.target"], tensors[f"{name}.index"])
        for name in SPLITS
        if name in tensors
    }
    note = f"features by {facts.model} ({facts.transform}; weights {facts.weights[:12]}, {facts.precision})"
    source = Source(
        name=facts.label,
        train=splits["train"],
        test=splits["test"],
        validation=splits.get("validation"),
        class_names=facts.class_names,
        imbalance=facts.imbalance,
        largest=facts.largest,
        many=facts.many,
        few=facts.few,
        mean=(),
        std=(),
        drawn=None if facts.drawn is None else Drawn(**facts.drawn),
        notes=(*facts.notes, note),
        rule=facts.rule,
    )
    return source, facts


def digest(path: pathlib.Path) -> str:
    """Return the SHA-256 of the tensors of a safetensors file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


# Tables.


def _source(
    path: pathlib.Path, splits: dict[str, Split], names: tuple[str, ...], notes: tuple[str, ...], rule: str = ""
) -> Source:
    rows = splits["train"].pixels.double()
    if len(names) < 2:
        raise InputError(f"{shown(path)} has one class only: at least two are needed")
    std = rows.std(dim=0, correction=0)
    return Source(
        name=f"features:{printable(path.stem)}",
        train=splits["train"],
        test=splits["test"],
        validation=splits.get("validation"),
        class_names=names,
        mean=tuple(rows.mean(dim=0).tolist()),
        std=tuple(torch.where(std > 0, std, 1.0).tolist()),
        notes=(*notes, "columns standardised by the training rows"),
        rule=rule,
    )


def _npz(path: pathlib.Path) -> Source:
    where = shown(path)
    found, notes = arrays.stored(path, _wanted)
    names = [name for name in ("train", *arrays.VALIDATION, "test") if f"{name}_features" in found]
    targets = [found[f"{name}_target"] for name in names]
    if any(
        target.dtype.kind not in "iu" or target.ndim != 1 or not len(target) or target.min() < 0 for target in targets
    ):
        raise InputError(f"{where}: targets must be rows of class numbers from 0")
    number = max(int(target.max()) for target in targets) + 1
    if "class_names" in found:
        classes = tuple(str(name) for name in found["class_names"].reshape(-1).tolist())
        if len(classes) < number:
            raise InputError(f"{where}: targets go to {number - 1}, and there are {len(classes)} class_names")
    else:
        classes = tuple(str(c) for c in range(number))
    width = math.prod(found["train_features"].shape[1:])
    splits = {
        "validation" if name in arrays.VALIDATION else name: _split(
            found[f"{name}_features"], found[f"{name}_target"], width, f"{where}: {name}_features"
        )
        for name in names
    }
    return _source(path, splits, classes, notes)


def _wanted(there: Collection[str], where: str) -> Sequence[str]:
    """The arrays of a table of features."""
    needed = ("train_features", "train_target", "test_features", "test_target")
    named = ("class_names",) if "class_names" in there else ()
    return (*needed, *arrays.validation_of(there, ("features", "target"), where), *named)


def _split(rows: NDArray[Any], target: NDArray[Any], width: int, where: str) -> Split:
    if rows.ndim != 2 or rows.dtype.kind not in "fiub" or rows.shape != (len(target), width) or 0 in rows.shape:
        raise InputError(
            f"{where} must be ({len(target)}, {width}) numbers, not {rows.dtype} of shape {list(rows.shape)}"
        )
    values = np.ascontiguousarray(rows, dtype=np.float32)
    if not np.isfinite(values).all():
        bad = int(np.argwhere(~np.isfinite(values))[0][0])
        raise InputError(f"{where}: row {bad} (counted from 0) holds a number that is not finite")
    return Split(
        torch.from_numpy(values),
        torch.from_numpy(target.astype(np.int64)),
        torch.arange(len(target), dtype=torch.int64),
    )


def _csv(path: pathlib.Path) -> Source:
    where = shown(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{where} is no table in UTF-8 ({str(error)[:80]})") from None
    if len(rows) < 2:
        raise InputError(f"{where}: a header and rows below it are needed")
    head, body = [name.strip() for name in rows[0]], rows[1:]
    lower = [name.lower() for name in head]
    label = next((name for name in LABELS if name in lower), None)
    if label is None:
        raise InputError(
            f"{where} has no column {', '.join(LABELS[:-1])} or {LABELS[-1]}; it has {', '.join(head[:10])}"
        )
    short = next((number for number, row in enumerate(body) if len(row) != len(head)), None)
    if short is not None:
        raise InputError(f"{where}: row {short + 2} has {len(body[short])} cells, the header {len(head)}")
    column = lower.index(label)
    words = [row[column].strip() for row in body]
    unnamed = next((place for place, word in enumerate(words) if not word), None)
    if unnamed is not None:
        raise InputError(f"{where}: row {unnamed + 2}: the {label} is missing")
    names = tuple(sorted(set(words), key=lambda word: (not word.isdigit(), int(word) if word.isdigit() else 0, word)))
    number = {name: c for c, name in enumerate(names)}
    target = torch.tensor([number[word] for word in words])
    used = [place for place, name in enumerate(lower) if name not in (label, "split")]
    if not used:
        raise InputError(f"{where} has no column of numbers beside {label}")
    values = _numbers(body, used, head, where)
    whole = Split(values, target, torch.arange(len(target)))
    if "split" in lower:
        told = [row[lower.index("split")].strip().lower() for row in body]
        strange = next((word for word in told if word not in SPLITS), None)
        if strange is not None:
            raise InputError(f"{where}: split {printable(strange)!r}: one of {', '.join(SPLITS)}")
        splits = {
            name: whole.at(torch.tensor([i for i, word in enumerate(told) if word == name]))
            for name in SPLITS
            if name in told
        }
        if not {"train", "test"} <= set(splits):
            raise InputError(f"{where}: its column split names no {'train' if 'train' not in splits else 'test'} row")
        return _source(path, splits, names, ())
    return _held_out(path, whole, names)


def _held_out(path: pathlib.Path, whole: Split, names: tuple[str, ...]) -> Source:
    """A table without splits, a fifth of each class held out for testing."""
    (alike,) = groups([whole.images])
    pairs = torch.unique(torch.stack([whole.target, alike]), dim=1)
    # Of copies of one row none can be held out without training on it.
    small = [names[c] for c in torch.nonzero(class_counts(pairs[0], len(names)) < 2).flatten().tolist()]
    if small:
        raise InputError(
            f"{shown(path)}: class {small[0]!r} has one row, or copies of one, and one is needed to train and one to "
            "test"
        )
    sizes = (class_counts(whole.target, len(names)) // TEST_SHARE).clamp(min=1)
    stay, out, rule = held_out_with_copies(whole.target, sizes, alike, seed=0)
    notes = [f"1 row in {TEST_SHARE} of each class held out for testing"]
    extra = len(alike) - len(torch.unique(alike))
    if extra:
        copies = counted(extra, "row is a copy", "rows are copies")
        notes.append(f"{copies} of another; copies were kept on one side of the test split")
    return _source(path, {"train": whole.at(stay), "test": whole.at(out)}, names, tuple(notes), rule)


def _numbers(body: list[list[str]], used: list[int], head: list[str], where: str) -> Float[Tensor, "N D"]:
    values = np.empty((len(body), len(used)), dtype=np.float32)
    for number, row in enumerate(body):
        for place, column in enumerate(used):
            try:
                values[number, place] = float(row[column])
            except ValueError:
                raise InputError(
                    f"{where}: row {number + 2}, column {printable(head[column])!r} is "
                    f"{printable(row[column][:30])!r}, no number: code words as numbers first"
                ) from None
    if not np.isfinite(values).all():
        row_, column_ = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"{where}: row {row_ + 2}, column {printable(head[used[column_]])!r} is not finite")
    return torch.from_numpy(values)
