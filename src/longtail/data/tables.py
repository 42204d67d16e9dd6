"""``csv:PATH``: a table of pictures with a column ``path``, one ``label``, and perhaps one ``split``."""

from __future__ import annotations

import csv
import io
import itertools
import pathlib

import torch

from longtail.data import lists
from longtail.data.layout import SPLITS, first
from longtail.data.listing import Listed, Listing
from longtail.data.names import Names
from longtail.data.pictures import printable, shown
from longtail.errors import InputError

DELIMITERS = ",;\t"


def read_table(path: pathlib.Path, *, root: pathlib.Path | None) -> Listing:
    """List the pictures of a table.

    Classes are called as the column ``label`` says, in the order of their names, or of their numbers if all are whole
    numbers. A split is called ``train``, ``val`` or ``test``, or one of their usual synonyms.

    Args:
        path: of the table, separated by commas, semicolons or tabs; its first line names the columns.
        root: folder of the pictures; that of the table if None.

    Raises:
        InputError: no such file, a missing column, a line without path or label, an unknown split, or a class that only
            other splits than ``train`` have.
    """
    where, text = shown(path), lists.text_of(path)
    top = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=top.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = [column.strip().lower() for column in next(rows, [])]
        for needed in ("path", "label"):
            if needed not in columns:
                raise InputError(
                    f"{where}: its first line names no column {needed!r}; the columns are path, label and, if there "
                    "are splits, split"
                )
        found: dict[str, tuple[list[str], list[str]]] = {}
        for row in rows:
            if not any(row):
                continue
            at = f"{where}, line {rows.line_num}"
            if any(cell.strip() for cell in row[len(columns) :]):
                raise InputError(f"{at}: it has {len(row)} cells, the first line {len(columns)}")
            _add(dict(itertools.zip_longest(columns, row[: len(columns)], fillvalue="")), at, found)
    except csv.Error as error:
        raise InputError(f"{where}, line {rows.line_num}: no table ({error})") from None
    if "train" not in found:
        raise InputError(f"{where} has no row to train on")
    classes = _ordered(set(found["train"][1]))
    number = {name: place for place, name in enumerate(classes)}
    foreign = _ordered({label for _, labels in found.values() for label in labels if label not in number})
    if foreign:
        raise InputError(f"{where}: no training picture has the label {first([printable(name) for name in foreign])}")
    if len(classes) < 2:
        raise InputError(f"{where} has one class only, {printable(classes[0])!r}: at least two are needed")
    listed = {
        split: Listed(Names(found[split][0]), torch.tensor([number[label] for label in found[split][1]]))
        for split in lists.SPLITS
        if split in found
    }
    base, listed = lists.below(path, path.parent if root is None else root, listed)
    return Listing(f"csv:{printable(path.stem)}", where, base, tuple(classes), listed, (), "row")


def _add(row: dict[str, str], where: str, found: dict[str, tuple[list[str], list[str]]]) -> None:
    name, label = row.get("path", "").strip(), row.get("label", "").strip()
    if not name or not label:
        raise InputError(f"{where}: the {'label' if name else 'path'} is missing")
    split = row.get("split", "train").strip()
    if split.lower() not in SPLITS:
        raise InputError(f"{where}: the split is {printable(split[:40])!r}; it must be train, val or test")
    names, labels = found.setdefault(SPLITS[split.lower()], ([], []))
    names.append(name)
    labels.append(label)


def _ordered(names: set[str]) -> list[str]:
    numbers = all(name.isascii() and name.isdigit() and len(name) < 18 for name in names)
    return sorted(names, key=int if numbers else str)
