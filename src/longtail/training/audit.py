"""A finished run checked from end to end: files against checksums, record against run, numbers against predictions."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from longtail.data import Data
from longtail.errors import InputError
from longtail.files import sha256
from longtail.metrics import Report
from longtail.results import Loaded, Record, read
from longtail.results import rescore as check_numbers
from longtail.training import checkpoint
from longtail.training.run import LOGITS, MODEL, check_begun
from longtail.training.tuning import TRIALS


def runs_below(folders: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Return the folders with a record among and below these, each once, in the order of their paths.

    Links to folders are followed; a run that is reached by two paths counts under the first.

    Raises:
        InputError: no such folder, or no record below one.
    """
    found: dict[pathlib.Path, pathlib.Path] = {}
    for folder in folders:
        if folder.name == "record.json":
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; give the folder of a finished run, or one with runs")
        below = [folder] if (folder / "record.json").exists() else sorted(_with_record(folder))
        below = [path for path in below if TRIALS not in path.relative_to(folder).parts]  # rows of no table
        if not below:
            raise InputError(f"{folder} holds no finished run (a folder with record.json)")
        for path in below:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _with_record(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folders below one that hold a record; a link that leads back is not followed again."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(place)
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        if "record.json" in (*files, *folders):  # what is no file is refused where it is read, by its name
            yield pathlib.Path(place)


def audit(folder: pathlib.Path, data: Callable[[Record], Data | None] = lambda record: None) -> tuple[Loaded, Report]:
    """Check a finished run and return it with its report, computed again.

    Args:
        folder: folder of a finished run.
        data: loads the data set of a record; without one, the labels that are stored are believed.

    Raises:
        InputError: a damaged file, a model, logits or ``run.json`` of another run, a number that its predictions do not
            give.
    """
    loaded = read(folder)
    digests = loaded.record.digests
    for name in ("run.json", MODEL, LOGITS):
        if (folder / name).exists() and not (folder / name).is_file():
            raise InputError(f"{folder / name} is no file; remove it")
    if "model" in digests:  # early records name none
        path = folder / MODEL
        if path.exists():
            checkpoint.load(path, expected=digests["model"])
        logits = folder / LOGITS
        # Logits may be missing, as the model may.
        if "logits" in digests and logits.exists() and sha256(logits) != digests["logits"]:
            raise InputError(f"{logits} is not the file that its record was written with; remove it")
        if (folder / "run.json").exists():
            check_begun(folder, loaded.record, _run(folder))
    return loaded, check_numbers(loaded, data(loaded.record))


def rescore(folder: pathlib.Path | str, data: Data | None = None) -> Report:
    """Check a finished run from end to end and return its report, computed again from its predictions.

    Use it before you show a number that somebody sent you, or that you made a month ago.

    Args:
        folder: folder of a finished run.
        data: the data set that it should have been made with; without one, the labels that are stored are believed.

    Raises:
        InputError: a damaged file, files that do not belong together, or a number that the predictions do not give.
    """
    return audit(pathlib.Path(folder), lambda record: data)[1]


def _run(folder: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder}/run.json is damaged: {str(error)[:80]}") from None
    return found if isinstance(found, dict) else {}
