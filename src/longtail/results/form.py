"""The form of a ``record.json``: its fields and their types, and what in it must agree."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from longtail.errors import InputError
from longtail.metrics import Report
from longtail.results.predictions import PREDICTIONS

SCHEMA = 1
SELECTIONS = ("last epoch", "best on validation")

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


def checked(data: object, where: str) -> dict[str, Any]:
    """Return the fields of a record, each checked; those that earlier records lack are empty.

    Args:
        data: parsed JSON from anywhere.
        where: name of the source in an error.

    Raises:
        InputError: anything missing, unknown, of the wrong type or at odds with the rest.

    Example:
        >>> checked({"schema": 2}, "record.json")
        Traceback (most recent call last):
        longtail.errors.InputError: record.json has schema 2; this version of longtail reads schema 1
    """

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
