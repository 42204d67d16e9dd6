"""``Record``: the evidence behind a number. ``record.json`` and ``predictions.npz``, one folder for each run.

Records are superseded, never edited: ``write`` refuses to overwrite one. Reading trusts nothing: a record may have
been sent by anyone, so its schema, sizes and checksum are checked before a value is used, and no pickle is ever loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import stat
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.results.form import checked
from longtail.results.predictions import (
    MAX_PREDICTIONS_BYTES,
    PREDICTIONS,
    check_predictions,
    predictions_bytes,
    read_predictions,
)
from longtail.shapes import Int

RECORD = "record.json"
MAX_RECORD_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Record:
    """One finished run and everything that decided its numbers; docs/records.md describes each field.

    Args:
        schema: version of this layout.
        recipe: name under which the result is listed.
        config: the recipe in its plain form.
        seed: the number that decided every random draw.
        data: identity of the data set: name, fingerprint, imbalance, split_seed, sizes, counts, class names and
            thresholds of the groups.
        model: name, parameters, multiply-adds for one image, widths.
        numerics: version of the numerics, device, precision, whether compiled, threads.
        packages: versions that a number may depend on.
        hardware: what it ran on.
        revision: commit of the code and whether the tree was changed; None outside a checkout.
        selection: which epoch counts.
        history: one row for each epoch.
        report: ``longtail.metrics.Report`` in its JSON form.
        legacy: numbers selected on the test set, flagged as such; empty where none were measured.
        seconds: duration of training and evaluation; that of the trials of a tuned run is ``budget``'s.
        started: UTC, ISO 8601.
        predictions: name and SHA-256 of the file with the test predictions; filled in by ``write``.
        budget: ``epochs`` trained, ``stated`` by the recipe for these data, and optimiser ``steps``; of a tuned run
            ``trials``, the number of the ``chosen`` one, and ``trial_seconds``; empty in records that are older than
            the field, as are the two that follow.
        digests: SHA-256 of the sources and files that the run was made with, by part.
        plan: what was planned before the run; empty if nothing was.
        notes: what a reader of the run must know, in the words of its parts.

    Example:
        >>> import tempfile
        >>> import longtail
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=3, out=f"{folder}/ce")
        >>> record.recipe, record.seed, record.data["counts"][:3], record.budget["epochs"]
        ('ce', 3, [100, 64, 41], 1)
    """

    schema: int
    recipe: str
    config: dict[str, Any]
    seed: int
    data: dict[str, Any]
    model: dict[str, Any]
    numerics: dict[str, Any]
    packages: dict[str, Any]
    hardware: dict[str, Any]
    revision: dict[str, Any]
    selection: str
    history: list[dict[str, Any]]
    report: dict[str, Any]
    legacy: dict[str, Any]
    seconds: float
    started: str
    predictions: dict[str, Any]
    budget: dict[str, Any] = dataclasses.field(default_factory=dict)
    digests: dict[str, Any] = dataclasses.field(default_factory=dict)
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Turn the record into plain dictionaries, lists and numbers.

        Returns:
            The value of each field by its name, as ``record.json`` holds it; nothing is copied.
        """
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, data: object, where: str = "record") -> Record:
        """Read what ``to_json`` made, checked field by field.

        Args:
            data: parsed JSON from anywhere.
            where: name of the source in an error, a path for example.

        Returns:
            The record; fields that earlier records lack are empty.

        Raises:
            InputError: anything missing, unknown, of the wrong type or at odds with the rest.
        """
        return cls(**checked(data, where))


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A record with its test predictions.

    Args:
        record: what ``record.json`` says.
        folder: where it lies.
        index: identity of each test image in its original file or list.
        target: true class of each.
        prediction: predicted class of each.

    Example:
        >>> import tempfile
        >>> import longtail
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=f"{folder}/ce")
        ...     loaded = read(f"{folder}/ce")
        >>> loaded.record == record, loaded.folder.name, tuple(loaded.prediction.shape)
        (True, 'ce', (740,))
    """

    record: Record
    folder: pathlib.Path
    index: Int[Tensor, " N"]
    target: Int[Tensor, " N"]
    prediction: Int[Tensor, " N"]


def write(
    record: Record,
    folder: pathlib.Path | str,
    *,
    index: Int[Tensor, " N"],
    target: Int[Tensor, " N"],
    prediction: Int[Tensor, " N"],
) -> Record:
    """Write a record and its predictions, each whole or not at all, the record last.

    The same arguments make the same bytes.

    Args:
        record: ``predictions`` may be empty.
        folder: folder of the run, made if it is not there.
        index: identity of each test image in its original file or list.
        target: true class of each.
        prediction: predicted class of each.

    Returns:
        The record with the file and checksum of its predictions.

    Raises:
        InputError: the folder holds a record already or cannot be written to, or the record is not sound.

    Example:
        >>> import tempfile
        >>> import longtail
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=f"{folder}/ce")
        ...     run = read(f"{folder}/ce")
        ...     arrays = {"index": run.index, "target": run.target, "prediction": run.prediction}
        ...     same = write(record, f"{folder}/again", **arrays) == record
        ...     files = sorted(file.name for file in pathlib.Path(folder, "again").iterdir())
        >>> same, files
        (True, ['predictions.npz', 'record.json'])
    """
    folder = pathlib.Path(folder)
    if (folder / RECORD).exists():
        raise InputError(f"{folder} holds a record already; records are never overwritten, choose another folder")
    arrays = {"index": index.cpu(), "target": target.cpu(), "prediction": prediction.cpu()}
    where = str(folder / PREDICTIONS)
    content = predictions_bytes(arrays, num_classes=len(record.data["counts"]), where=where)
    predictions = {"file": PREDICTIONS, "sha256": hashlib.sha256(content).hexdigest()}
    record = Record.from_json({**record.to_json(), "predictions": predictions}, where=str(folder / RECORD))
    _check_fit(record, arrays, where)
    write_atomically(folder / PREDICTIONS, lambda file: file.write_bytes(content))
    write_atomically(folder / RECORD, lambda file: file.write_bytes(_text(record.to_json()).encode()))
    return record


def read(path: pathlib.Path | str) -> Loaded:
    """Read a record and its predictions.

    Args:
        path: its folder, or its ``record.json``.

    Returns:
        The record and its predictions.

    Raises:
        InputError: not there, damaged, not a record, or predictions that are not the ones the record was written with.

    Example:
        >>> import tempfile
        >>> import longtail
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=f"{folder}/ce")
        ...     found = read(f"{folder}/ce"), read(f"{folder}/ce/record.json")
        >>> [one.record == record for one in found]
        [True, True]
        >>> read("nowhere")
        Traceback (most recent call last):
        longtail.errors.InputError: nowhere does not exist; give the folder of a finished run
    """
    path = pathlib.Path(path)
    file = path / RECORD if path.is_dir() else path
    record = parse_record(_content(file, MAX_RECORD_BYTES, "give the folder of a finished run"), str(file))
    predictions = file.parent / PREDICTIONS
    content = _content(predictions, MAX_PREDICTIONS_BYTES, "a record is useless without it")
    return together(record, content, str(predictions), folder=file.parent)


def parse(record: bytes, predictions: bytes, where: str, *, folder: pathlib.Path = pathlib.Path()) -> Loaded:
    """Read a record and its predictions from their bytes, with every check of ``read``.

    Use it for what came over a network.

    Args:
        record: contents of a ``record.json``.
        predictions: contents of a ``predictions.npz``.
        where: name of the run in an error.
        folder: value of ``folder`` in the result; nothing is read from it.

    Returns:
        The record and its predictions.

    Raises:
        InputError: too large, damaged, not a record, or predictions that the record was not written with.

    Example:
        >>> import tempfile
        >>> import longtail
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=folder)
        ...     sent = [pathlib.Path(folder, name).read_bytes() for name in ("record.json", "predictions.npz")]
        >>> parse(*sent, where="upload").record == record
        True
        >>> parse(sent[0], b"other predictions", where="upload")
        Traceback (most recent call last):
        longtail.errors.InputError: upload, predictions.npz is not the file that its record was written with ...
    """
    return together(parse_record(record, where), predictions, f"{where}, {PREDICTIONS}", folder=folder)


def parse_record(content: bytes, where: str) -> Record:
    """Read a record from the bytes of its ``record.json``, without its predictions.

    Args:
        content: the file.
        where: its name in an error.

    Returns:
        The record, checked field by field.

    Raises:
        InputError: too large, not JSON, or not a record.
    """
    if len(content) > MAX_RECORD_BYTES:
        raise InputError(f"{where} is larger than {MAX_RECORD_BYTES >> 20} MiB: this is no record")
    try:
        data = json.loads(content, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{where} is damaged or is no record: it is not JSON ({str(error)[:80]})") from None
    except ValueError as error:
        raise InputError(f"{where} is damaged or is no record: {error}") from None
    return Record.from_json(data, where)


def budget_note(record: Record) -> str:
    """Say that a run was shorter than its recipe states; empty if it was not, or if the record does not tell.

    Returns:
        For example "short: 10 of 1000 epochs".
    """
    budget = record.budget
    if not budget or budget["epochs"] >= budget["stated"]:
        return ""
    return f"short: {budget['epochs']} of {budget['stated']} epochs"


def numerics_note(record: Record, current: int | None) -> str:
    """Say that a record was made by an earlier version of the numerics; empty if not, or if ``current`` is None.

    Args:
        record: to be shown.
        current: version of the numerics of this package.

    Returns:
        For example "numerics 1 (now 2)".
    """
    version = record.numerics["version"]
    return "" if current is None or version >= current else f"numerics {version} (now {current})"


def signature(record: Record) -> str:
    """What two records must have in common for their numbers to be comparable; the method and the seed are not in it.

    Args:
        record: a finished run.

    Returns:
        Data and its fingerprint, model and its size, epochs of each stage, selection, precision, and processes where
        the numbers depend on how many there are.

    Example:
        >>> import tempfile
        >>> import longtail
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=f"{folder}/ce")
        >>> signature(record)
        'data:digits-lt/50/...|model:small/24058/39808|epochs:1|selection:last epoch|precision:...'
    """
    return "|".join(f"{name}:{value}" for name, value in protocol(record).items())


def protocol(record: Record) -> dict[str, str]:
    """The parts of ``signature`` by name, so that a difference can be named; processes where numbers depend on them."""
    data, model, numerics = record.data, record.model, record.numerics
    apart = "for all" if numerics.get("sync_batch_norm") else "in each"
    several = {"processes": f"{numerics['divided']}, batch normalisation {apart}"} if "divided" in numerics else {}
    return {
        "data": f"{data['name']}/{data['imbalance']:g}/{data['fingerprint'][:16]}",
        "model": f"{model['name']}/{model['parameters']}/{model['multiply_adds']}",
        "epochs": "+".join(str(epochs) for epochs in stage_epochs(record)),
        "selection": record.selection,
        "precision": str(numerics["precision"]),
        **several,
    }


def stage_epochs(record: Record) -> tuple[int, ...]:
    """Epochs of each stage, in order, as the history has them."""
    lengths: list[int] = []
    for row in record.history:
        if row["epoch"] == 1:
            lengths.append(0)
        lengths[-1] = row["epoch"]
    return tuple(lengths)


def _text(data: Mapping[str, Any]) -> str:
    """JSON with one line for each field and each row of the history: small, and a difference is readable."""

    def line(value: object) -> str:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)

    parts = []
    for name, value in data.items():
        rows = (
            f"[\n  {(',' + chr(10) + '  ').join(map(line, value))}\n ]" if name == "history" and value else line(value)
        )
        parts.append(f" {line(name)}: {rows}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number")


def _content(file: pathlib.Path, most: int, hint: str) -> bytes:
    try:
        if not stat.S_ISREG((found := file.stat()).st_mode):
            raise InputError(f"{file} is no file; {hint}")
        if found.st_size > most:
            raise InputError(f"{file} is larger than {most >> 20} MiB: this belongs to no record")
        return file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{file} does not exist; {hint}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}; {hint}") from None


def together(record: Record, content: bytes, where: str, *, folder: pathlib.Path) -> Loaded:
    """Put a record and the bytes of its predictions together.

    Args:
        record: as it was read, so checked.
        content: of its ``predictions.npz``.
        where: name of the predictions in an error.
        folder: value of ``folder`` in the result; nothing is read from it.

    Raises:
        InputError: predictions that the record was not written with, or that do not fit it.
    """
    if hashlib.sha256(content).hexdigest() != record.predictions["sha256"]:
        raise InputError(f"{where} is not the file that its record was written with (SHA-256 differs); restore it")
    arrays = read_predictions(content, where)
    _check_fit(record, arrays, where)
    return Loaded(record, folder, **arrays)


def _check_fit(record: Record, arrays: Mapping[str, Tensor], where: str) -> None:
    num_classes, num_test = len(record.data["counts"]), record.data["num_test"]
    check_predictions(arrays, num_classes=num_classes, num_test=num_test, where=where)
