"""The layout of the archive's evaluation tables: what stands where, what may be left out, and what costs a row.

A file is read as the reference loader reads it: keys with a default may be missing. What that loader refuses costs the
row, the data set or the task that it stands in, which is listed with its place and its reason, and never the file.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from typing import Any

from longtail.errors import InputError

DEPTH = 12
TWICE = "\x00twice"
"""Marks an object in which one key came twice with two meanings; see :mod:`longtail.board.archive.stream`."""

_TASK: dict[str, Any] = {
    "task": ...,
    "description": "",
    "categories": [],
    "datasets": [],
    "subtasks": [],
    "synonyms": [],
    "source_link": None,
}
_DATASET: dict[str, Any] = {
    "dataset": ...,
    "description": "",
    "dataset_links": [],
    "dataset_citations": [],
    "sota": ...,
    "subdatasets": [],
}
_ROW: dict[str, Any] = {
    "model_name": ...,
    "paper_title": ...,
    "paper_url": None,
    "paper_date": None,
    "code_links": [],
    "model_links": [],
    "metrics": ...,
    "uses_additional_data": False,
}

Refused = Callable[[str, str, Any], None]
"""Called with the place, the reason, and what was refused."""


def read_task(given: Any, where: str, refused: Refused, depth: int = 0) -> dict[str, Any] | None:
    """One task with every default filled in, without what cannot be read.

    Args:
        given: parsed JSON.
        where: the place, for the reasons.
        refused: told of each part that is left out.
        depth: how many tasks stand above this one.

    Returns:
        The task in the reference schema, or ``None`` if not even its name can be read.
    """
    try:
        if depth > DEPTH:
            raise InputError(f"nested more than {DEPTH} deep")
        task = _filled(given, _TASK, where, refused)
        _string(task["task"], "task", filled=True)
        _string(task["description"], "description")
        for name in ("categories", "synonyms"):
            for each in _list(task[name], name):
                _string(each, name)
        if task["source_link"] is not None:
            if isinstance(task["source_link"], str):
                task["source_link"] = {"title": task["source_link"], "url": task["source_link"]}
            _links([task["source_link"]], "source_link")
        datasets, subtasks = _list(task["datasets"], "datasets"), _list(task["subtasks"], "subtasks")
    except InputError as error:
        refused(where, str(error), given)
        return None
    found = [_read_dataset(each, f"{where}.datasets[{i}]", refused, 0) for i, each in enumerate(datasets)]
    task["datasets"] = [each for each in found if each is not None]
    children = [read_task(each, f"{where}.subtasks[{i}]", refused, depth + 1) for i, each in enumerate(subtasks)]
    task["subtasks"] = [each for each in children if each is not None]
    return task


def _read_dataset(given: Any, where: str, refused: Refused, depth: int) -> dict[str, Any] | None:
    try:
        if depth > DEPTH:
            raise InputError(f"nested more than {DEPTH} deep")
        nested = _nested(given)
        if isinstance(given, dict):
            given = {name: value for name, value in given.items() if name != "subdataset"}
        entry = _filled(given, _DATASET, where, refused)
        _string(entry["dataset"], "dataset", filled=True)
        _string(entry["description"], "description")
        _links(entry["dataset_links"], "dataset_links")
        _links(entry["dataset_citations"], "dataset_citations")
        sota = _filled(entry["sota"], {"metrics": [], "rows": []}, f"{where}.sota", refused)
        for name in _list(sota["metrics"], "sota.metrics"):
            _string(name, "sota.metrics", filled=True)
        rows, children = _list(sota["rows"], "sota.rows"), [*_list(entry["subdatasets"], "subdatasets"), *nested]
    except InputError as error:
        refused(where, str(error), given)
        return None
    kept = []
    for i, row in enumerate(rows):
        try:
            kept.append(_read_row(row, f"{where}.sota.rows[{i}]", refused))
        except InputError as error:
            refused(f"{where}.sota.rows[{i}]", str(error), row)
    entry["sota"] = {"metrics": sota["metrics"], "rows": kept}
    found = [_read_dataset(each, f"{where}.subdatasets[{i}]", refused, depth + 1) for i, each in enumerate(children)]
    entry["subdatasets"] = [each for each in found if each is not None]
    return entry


def _nested(given: Any) -> list[Any]:
    """Data sets under the key ``subdataset``, which in other files holds the name of the one above, or nothing."""
    inner = given.get("subdataset") if isinstance(given, dict) else None
    return inner if isinstance(inner, list) else [inner] if isinstance(inner, dict) else []


def _read_row(given: Any, where: str, refused: Refused) -> dict[str, Any]:
    row = _filled(given, _ROW, where, refused)
    _string(row["model_name"], "model_name", filled=True)
    _string(row["paper_title"], "paper_title")
    _string(row["paper_url"], "paper_url", optional=True)
    if (date := row["paper_date"]) is not None:
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date, re.ASCII):
                raise ValueError
            datetime.date.fromisoformat(date)
        except (TypeError, ValueError):
            raise InputError(f"paper_date: {_short(date)} is neither YYYY-MM-DD nor null") from None
    _links(row["code_links"], "code_links")
    _links(row["model_links"], "model_links")
    if not isinstance(row["metrics"], dict) or TWICE in row["metrics"]:
        raise InputError("metrics: expected an object in which each metric stands once")
    for name, value in row["metrics"].items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"metrics[{_short(name)}]: expected a text or a number, found {_short(value)}")
    if not isinstance(row["uses_additional_data"], bool):
        raise InputError(f"uses_additional_data: expected true or false, found {_short(row['uses_additional_data'])}")
    return row


def _filled(given: Any, layout: dict[str, Any], where: str, refused: Refused) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InputError(f"expected an object, found {_kind(given)}")
    if TWICE in given:
        raise InputError(f"the key {_short(given[TWICE])} stands twice, with two values")
    for name in sorted(set(given) - set(layout)):
        refused(f"{where}.{name}", "the layout has no such key; it is left out", given[name])
    if lost := [name for name, default in layout.items() if default is ... and name not in given]:
        raise InputError(f"the key {lost[0]!r} is missing")
    out = {}
    for name, default in layout.items():
        value = given.get(name)
        # An explicit null stands for a default that is no null, as a missing key does.
        out[name] = (list(default) if isinstance(default, list) else default) if value is None else value
        if default is ... and value is None:
            out[name] = None
    return out


def _list(thing: Any, where: str) -> list[Any]:
    if not isinstance(thing, list):
        raise InputError(f"{where}: expected a list, found {_kind(thing)}")
    return thing


def _string(thing: Any, where: str, *, optional: bool = False, filled: bool = False) -> None:
    if thing is None and optional:
        return
    if not isinstance(thing, str):
        raise InputError(f"{where}: expected a text, found {_kind(thing)}")
    if filled and not thing.strip():
        raise InputError(f"{where}: is empty; write null or leave the entry out")


def _links(things: Any, where: str) -> None:
    for link in _list(things, where):
        if not isinstance(link, dict) or set(link) != {"title", "url"}:
            raise InputError(f"{where}: a link has exactly 'title' and 'url'")
        _string(link["title"], f"{where}.title")
        _string(link["url"], f"{where}.url")


def _kind(thing: Any) -> str:
    return "null" if thing is None else type(thing).__name__


def _short(thing: Any) -> str:
    try:
        return repr(thing)[:80]
    except ValueError:
        return "a very long number"


def check_task(task: Any, where: str = "task") -> dict[str, Any]:
    """One task, if it is the reference schema's in every part: what an export may hold.

    Raises:
        InputError: naming the first place and what would be right.
    """

    def refuse(place: str, reason: str, _: Any) -> None:
        raise InputError(f"{place}: {reason}")

    found = read_task(task, where, refuse)
    if found is None or found != task:
        raise InputError(f"{where}: a key is missing, or null where the layout has a list or a text")
    return found


def task_rows(task: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every row of a task and of its sub-tasks, with the name of the task and the data set that it stands under."""

    def under(entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        for row in entry["sota"]["rows"]:
            yield task["task"], entry, row
        for child in entry["subdatasets"]:
            yield from under(child)

    for entry in task["datasets"]:
        yield from under(entry)
    for child in task["subtasks"]:
        yield from task_rows(child)
