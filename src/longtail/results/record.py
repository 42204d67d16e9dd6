"""``Record``: the evidence behind a number. ``record.json`` and ``predictions.npz``, one folder for each run.

Records are superseded, never edited: ``write`` refuses to overwrite one. Reading trusts nothing: a record may have
been sent by anyone, so its schema, sizes and checksum are checked before a value is used, and no pickle is ever loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import io
import json
import math
import pathlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.metrics import Report
from longtail.shapes import Int

SCHEMA = 1
RECORD = "record.json"
PREDICTIONS = "predictions.npz"
SELECTIONS = ("last epoch", "best on validation")
_ARRAYS = ("index", "target", "prediction")
_UNSOUND = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError)
"""What a damaged archive raises."""
MAX_RECORD_BYTES = 64 << 20
MAX_PREDICTIONS_BYTES = 16 << 20
MAX_ITEMS = 1 << 20
"""Test items of a record. Records may come from anyone, so their sizes are bounded, here and nowhere else."""


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
        return cls(**_checked(data, where))


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
    num_classes = len(record.data["counts"])
    small = np.dtype(np.int16) if num_classes <= np.iinfo(np.int16).max else np.dtype(np.int32)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        index=index.cpu().numpy().astype(np.int64),
        target=target.cpu().numpy().astype(small),
        prediction=prediction.cpu().numpy().astype(small),
    )
    content = buffer.getvalue()
    if len(content) > MAX_PREDICTIONS_BYTES:
        raise InputError(f"{folder / PREDICTIONS} would be larger than {MAX_PREDICTIONS_BYTES >> 20} MiB")
    predictions = {"file": PREDICTIONS, "sha256": hashlib.sha256(content).hexdigest()}
    record = Record.from_json({**record.to_json(), "predictions": predictions}, where=str(folder / RECORD))
    _check_arrays(record, index.cpu(), target.cpu(), prediction.cpu(), str(folder / PREDICTIONS))
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
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
    ) as error:
        raise InputError(f"{where} is damaged: {error}") from None
    lengths = {name: len(array) for name, array in found.items()}
    if len(set(lengths.values())) != 1 or not lengths["index"]:
        raise InputError(f"{where}: the arrays must have one length and hold something, not {lengths}")
    return found


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
        Data and its fingerprint, model and its size, epochs of each stage, selection, precision.

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
    """The parts of ``signature`` by name, so that a difference can be named."""
    data, model = record.data, record.model
    return {
        "data": f"{data['name']}/{data['imbalance']:g}/{data['fingerprint'][:16]}",
        "model": f"{model['name']}/{model['parameters']}/{model['multiply_adds']}",
        "epochs": "+".join(str(epochs) for epochs in stage_epochs(record)),
        "selection": record.selection,
        "precision": str(record.numerics["precision"]),
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


Kind = Literal[
    "text",
    "whole number",
    "number",
    "object",
    "list",
    "truth value",
    "list of texts",
    "list of numbers",
    "list of whole numbers",
    "text or null",
    "whole number or null",
    "number or null",
]

_FIELDS: dict[str, Kind] = {
    "schema": "whole number",
    "recipe": "text",
    "config": "object",
    "seed": "whole number",
    "data": "object",
    "model": "object",
    "numerics": "object",
    "packages": "object",
    "hardware": "object",
    "revision": "object",
    "selection": "text",
    "history": "list",
    "report": "object",
    "legacy": "object",
    "seconds": "number",
    "started": "text",
    "predictions": "object",
}
_LATER: dict[str, Kind] = {"budget": "object", "digests": "object", "plan": "object", "notes": "list of texts"}
"""Fields that earlier records do not have."""
_BUDGET: dict[str, Kind] = {"epochs": "whole number", "stated": "whole number", "steps": "whole number"}
_PARTS: dict[str, dict[str, Kind]] = {
    "data": {
        "name": "text",
        "fingerprint": "text",
        "imbalance": "number",
        "split_seed": "whole number or null",
        "num_train": "whole number",
        "num_test": "whole number",
        "counts": "list of whole numbers",
        "class_names": "list of texts",
        "many": "whole number",
        "few": "whole number",
    },
    "model": {
        "name": "text",
        "parameters": "whole number",
        "multiply_adds": "whole number",
        "widths": "list of whole numbers",
    },
    "numerics": {"version": "whole number", "device": "text", "precision": "text", "threads": "whole number"},
    "predictions": {"file": "text", "sha256": "text"},
}
_PARTS_LATER: dict[str, dict[str, Kind]] = {
    "data": {
        "profile": "text or null",
        "validation_share": "number",
        "num_validation": "whole number",
        "notes": "list of texts",
        "hygiene": "text",
        "shape": "list of whole numbers",
        "mean": "list of numbers",
        "std": "list of numbers",
    },
    "numerics": {
        "compiled": "truth value",
        "state": "text",
        "divided": "whole number",
        "sync_batch_norm": "truth value",
        "package": "text",
    },
    "budget": {"trials": "whole number", "chosen": "whole number", "trial_seconds": "number"},
    "digests": {"run": "text", "model": "text", "logits": "text"},
    "revision": {"commit": "text or null"},
}
"""Fields that not every record has."""
_ROW: dict[str, Kind] = {
    "stage": "text",
    "epoch": "whole number",
    "loss": "number or null",
    "train_accuracy": "number or null",
    "learning_rate": "number or null",
    "seconds": "number",
}


def _is(value: object, kind: Kind) -> bool:
    match kind:
        case "text":
            return isinstance(value, str)
        case "object":
            return isinstance(value, dict)
        case "list":
            return isinstance(value, list)
        case "whole number":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case "truth value":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value)
        case "text or null":
            return value is None or _is(value, "text")
        case "whole number or null":
            return value is None or _is(value, "whole number")
        case "number or null":
            return value is None or _is(value, "number")
        case "list of texts":
            return isinstance(value, list) and all(_is(one, "text") for one in value)
        case "list of whole numbers":
            return isinstance(value, list) and all(_is(one, "whole number") for one in value)
        case "list of numbers":
            return isinstance(value, list) and all(_is(one, "number") for one in value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no fraction holds
        return False


def _require(data: Mapping[str, Any], fields: Mapping[str, Kind], where: str, prefix: str = "") -> None:
    for name, kind in fields.items():
        if name not in data:
            raise InputError(f"{where} is damaged or is no record: field {prefix + name!r} is missing")
        if not _is(data[name], kind):
            article = "an" if kind == "object" else "a"
            shown = json.dumps(data[name], default=repr)[:60]
            raise InputError(f"{where} is damaged: field {prefix + name!r} must be {article} {kind}, not {shown}")


def _checked(data: object, where: str) -> dict[str, Any]:
    def refuse(problem: str) -> InputError:
        return InputError(f"{where} is damaged: {problem}")

    if not isinstance(data, dict):
        raise InputError(f"{where} is no record: it holds no JSON object")
    # The version comes first: everything else about a file of another version is a guess.
    _require(data, {"schema": "whole number"}, where)
    if data["schema"] != SCHEMA:
        raise InputError(f"{where} has schema {data['schema']}; this version of longtail reads schema {SCHEMA}")
    data = {**{name: {} if kind == "object" else [] for name, kind in _LATER.items()}, **data}
    _require(data, {**_FIELDS, **_LATER}, where)
    extra = sorted(set(data) - set(_FIELDS) - set(_LATER))
    if extra:
        raise refuse(f"field {extra[0]!r} is not known")
    for part, fields in _PARTS.items():
        _require(data[part], fields, where, prefix=f"{part}.")
    if data["budget"]:
        _require(data["budget"], _BUDGET, where, prefix="budget.")
    for part, fields in _PARTS_LATER.items():
        here = {name: kind for name, kind in fields.items() if name in data[part]}
        _require(data[part], here, where, prefix=f"{part}.")
    stages = data["config"].get("stages", [])
    if not isinstance(stages, list) or not all(_is(stage, "object") for stage in stages):
        raise refuse("config.stages must be a list of objects")
    for place, stage in enumerate(stages):
        if "batch_size" in stage:
            _require(stage, {"batch_size": "whole number"}, where, prefix=f"config.stages.{place}.")
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise refuse("it holds half of a character, which no text has") from None

    facts, num_classes = data["data"], len(data["data"]["counts"])
    if not num_classes:
        raise refuse("data.counts names no class; it has a whole number for each")
    if len(facts["class_names"]) != num_classes:
        raise refuse(f"data.class_names must be {num_classes} texts, as data.counts has {num_classes} numbers")
    if sum(facts["counts"]) != facts["num_train"]:
        raise refuse(f"data.counts sum to {sum(facts['counts'])}, but data.num_train is {facts['num_train']}")
    if data["selection"] not in SELECTIONS:
        raise refuse(f"selection is {data['selection'][:60]!r}; it is one of {', '.join(SELECTIONS)}")
    _check_history(data["history"], where)
    if data["budget"]:
        _check_budget(data, where)
    try:
        report = Report.from_json(data["report"])
    except InputError as error:
        raise refuse(str(error)) from None
    if len(report.per_class) != num_classes or report.num_samples != facts["num_test"]:
        raise refuse("report and data disagree about the number of classes or of test items")
    try:
        datetime.datetime.fromisoformat(data["started"])
    except ValueError:
        raise refuse(f"started is {data['started'][:60]!r}, which is no ISO 8601 time") from None
    data = {**data, "seconds": float(data["seconds"])}
    if data["predictions"]["file"] != PREDICTIONS:
        raise refuse(f"predictions.file is {data['predictions']['file'][:60]!r}; it is always {PREDICTIONS!r}")
    if not re.fullmatch(r"[0-9a-f]{64}", data["predictions"]["sha256"]):
        raise refuse("predictions.sha256 must be 64 hexadecimal digits")
    return data


def _check_budget(data: Mapping[str, Any], where: str) -> None:
    """Refuse a budget that the recipe and the history do not have, where these say it."""
    config = data["config"]
    trials = config.get("trials")
    parts = [config, *(trials if isinstance(trials, list) else [])]
    lists = [part.get("stages") if isinstance(part, dict) else None for part in parts]
    stages = [stage for held in lists if isinstance(held, list) for stage in held]
    epochs: list[Any] = [stage.get("epochs") if isinstance(stage, dict) else None for stage in stages]
    told: dict[str, int] = {}
    if epochs and all(_is(number, "whole number") for number in epochs):
        told = {"epochs": sum(epochs), "stated": config.get("stated") or sum(epochs)}
    steps: list[Any] = [row.get("steps") if isinstance(row, dict) else None for row in data["history"]]
    if all(_is(number, "whole number") for number in steps):
        told["steps"] = sum(steps)
    for name, number in told.items():
        if data["budget"][name] != number:
            raise InputError(
                f"{where} is damaged: its budget has {data['budget'][name]} {name}, its recipe and history {number}"
            )


def _check_history(rows: Iterable[Any], where: str) -> None:
    previous = 0
    for place, row in enumerate(rows):
        prefix = f"history.{place}."
        if not isinstance(row, dict):
            raise InputError(f"{where} is damaged: history.{place} must be an object")
        _require(row, _ROW, where, prefix=prefix)
        # Anything a part of the training adds is a number, or one number for each class, such as learned radii.
        lists = {name: value for name, value in row.items() if name not in _ROW and isinstance(value, list)}
        for name, values in lists.items():
            if not all(_is(value, "number") for value in values):
                raise InputError(f"{where} is damaged: field {prefix + name!r} must hold numbers only")
        others: dict[str, Kind] = {name: "number or null" for name in row if name not in _ROW and name not in lists}
        _require(row, others, where, prefix=prefix)
        if row["epoch"] not in (1, previous + 1) or row["epoch"] == 0:
            raise InputError(f"{where} is damaged: {prefix}epoch is {row['epoch']} after {previous}")
        previous = row["epoch"]


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
    index, target, prediction = (arrays[name] for name in _ARRAYS)
    _check_arrays(record, index, target, prediction, where)
    return Loaded(record, folder, index, target, prediction)


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


def _check_arrays(record: Record, index: Tensor, target: Tensor, prediction: Tensor, where: str) -> None:
    num_classes, num_test = len(record.data["counts"]), record.data["num_test"]
    for name, array in (("index", index), ("target", target), ("prediction", prediction)):
        if len(array) != num_test:
            raise InputError(f"{where}: {name} has {len(array)} items, the record {num_test} test items")
        if name != "index" and bool(((array < 0) | (array >= num_classes)).any()):
            raise InputError(f"{where}: {name} holds a class outside 0 to {num_classes - 1}")
    ordered = index.sort().values
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise InputError(f"{where}: index names a test image twice, {int(twice[0])}")
