"""Rows of the history as they come, for the tools in which people watch training: a CSV file, TensorBoard, W&B."""

from __future__ import annotations

import csv
import importlib
import numbers
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from longtail.errors import InputError, unknown
from longtail.results import read
from longtail.results.formats import cell
from longtail.training.loop import Notify, Progress

KINDS = ("csv", "tensorboard", "wandb")
CSV = "history.csv"
FIRST = ("recipe", "seed", "stage", "epoch")

Write = Callable[[str, int, int, Mapping[str, Any]], object]
"""Takes a row of the history with its recipe, its seed and its number over all stages, from 1."""
Complete = Callable[[Iterable[pathlib.Path]], None]


@contextmanager
def logging(kind: str | None, folder: pathlib.Path, notify: Notify | None = None) -> Iterator[tuple[Notify, Complete]]:
    """Log the history of runs while they train.

    Use ``--log`` on the command line, or this from Python.

    Args:
        kind: ``csv`` (``history.csv`` in the folder), ``tensorboard`` (its files in ``tensorboard`` there), ``wandb``
            (a run of Weights and Biases for each run of ours), or None for nothing.
        folder: of the logs.
        notify: is told as well, whatever the kind.

    Yields:
        What ``train`` takes as ``notify``, and what takes the folders of finished runs in the end: rows of runs that
        were finished or begun before are then logged, too.

    Raises:
        InputError: another kind, or a library that is not installed.

    Example:
        >>> import tempfile
        >>> import longtail
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with logging("csv", pathlib.Path(place)) as (heard, complete):
        ...         record = longtail.train(
        ...             longtail.recipe("ce", data, epochs=2), data, seed=0, out=f"{place}/run", notify=heard
        ...         )
        ...         complete([pathlib.Path(place, "run")])
        ...     [line[:14] for line in pathlib.Path(place, "history.csv").read_text().splitlines()]
        ['recipe,seed,st', 'ce,0,classify,', 'ce,0,classify,']
    """
    told = notify or (lambda progress: None)
    if kind is None:
        yield told, lambda folders: None
        return
    if kind not in KINDS:
        raise unknown("log", kind, KINDS)
    writer = {"csv": _csv, "tensorboard": _tensorboard, "wandb": _wandb}[kind]
    seen: set[tuple[str, int, str, int]] = set()
    with writer(folder) as write:

        def log(recipe: str, seed: int, number: int, row: Mapping[str, Any]) -> None:
            key = (recipe, seed, str(row["stage"]), int(row["epoch"]))
            if key not in seen:
                seen.add(key)
                write(recipe, seed, number, row)

        def heard(progress: Progress) -> None:
            told(progress)
            if progress.row is not None:
                log(progress.recipe, progress.seed, progress.epoch, progress.row)

        def complete(folders: Iterable[pathlib.Path]) -> None:
            for place in folders:
                record = read(place).record
                for number, row in enumerate(record.history, start=1):
                    log(record.recipe, record.seed, number, row)

        yield heard, complete


@contextmanager
def _csv(folder: pathlib.Path) -> Iterator[Write]:
    """A new table each time; the columns are those of the first row, and what later rows have besides is one more.

    It is made with the first row: before, the folder may have to be empty.
    """
    columns: list[str] = []
    with ExitStack() as stack:
        opened: list[Any] = []

        def write(recipe: str, seed: int, number: int, row: Mapping[str, Any]) -> None:
            if not opened:
                folder.mkdir(parents=True, exist_ok=True)
                opened.append(stack.enter_context((folder / CSV).open("w", encoding="utf-8", newline="")))
                columns.extend(["number", *(name for name in row if name not in FIRST)])
                opened.append(csv.writer(opened[0], lineterminator="\n"))
                opened[1].writerow([*FIRST, *columns, "further"])
            file, table = opened
            values = {**row, "number": number}
            further = {name: value for name, value in row.items() if name not in (*FIRST, *columns)}
            first = (recipe, seed, row["stage"], row["epoch"])
            held = [*first, *(values.get(name) for name in columns), str(further) if further else ""]
            table.writerow([cell(value) for value in held])
            file.flush()

        yield write


@contextmanager
def _tensorboard(folder: pathlib.Path) -> Iterator[Write]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("--log tensorboard needs the library tensorboard: pip install 'longtail[log]'") from None
    writers: dict[tuple[str, int], Any] = {}

    def write(recipe: str, seed: int, number: int, row: Mapping[str, Any]) -> None:
        if (recipe, seed) not in writers:
            name = "".join(letter if letter.isalnum() or letter in "-_=@." else "-" for letter in recipe)
            writers[recipe, seed] = SummaryWriter(str(folder / "tensorboard" / f"{name}-seed-{seed}"))
        for name, value in _numbers(row).items():
            writers[recipe, seed].add_scalar(name, value, number)
        writers[recipe, seed].flush()

    try:
        yield write
    finally:
        for writer in writers.values():
            writer.close()


@contextmanager
def _wandb(folder: pathlib.Path) -> Iterator[Write]:
    try:
        wandb: Any = importlib.import_module("wandb")
    except ImportError:
        raise InputError("--log wandb needs the library wandb: pip install wandb") from None
    runs: dict[tuple[str, int], Any] = {}

    def write(recipe: str, seed: int, number: int, row: Mapping[str, Any]) -> None:
        if (recipe, seed) not in runs:
            runs[recipe, seed] = wandb.init(
                project="longtail", name=f"{recipe}, seed {seed}", group=recipe, dir=str(folder), reinit="create_new"
            )
        runs[recipe, seed].log(_numbers(row), step=number)

    try:
        yield write
    finally:
        for run in runs.values():
            run.finish()


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """What can be drawn of a row."""
    found = {name: value for name, value in row.items() if isinstance(value, numbers.Real)}
    return {name: float(value) for name, value in found.items() if name != "epoch"}
