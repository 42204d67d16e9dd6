"""Files of the archive taken into a board's folder: checked as they stream by, put in place whole or not at all."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.board.archive.claims import claims_of, row_claims, tables
from longtail.board.archive.dumps import READERS, kind_of
from longtail.board.archive.files import REFUSED, day_file
from longtail.board.archive.layout import Refused, read_task, task_rows
from longtail.board.archive.stream import stream_file
from longtail.board.content import Content, load
from longtail.board.schema import Claim, Variant
from longtail.board.values import slug
from longtail.errors import InputError
from longtail.files import write_atomically

_SHOWN = 20
_ACROSS = 20_000
"""Up to so many rows the summary also counts what shows only beside other rows; the index flags it for any number."""


def import_archive(file: Path, *, root: Path, noted: bool = True) -> dict[str, Any]:
    """Take a file of the archive (``.json`` or ``.json.gz``) into a board's folder.

    Evaluation tables, papers with abstracts, links between papers and code, methods and data sets are told apart by
    their keys. What cannot be read costs its own row and is listed, here and in ``archive/NAME.refused.jsonl``.

    Args:
        file: the archive; it is read as a stream.
        root: the board's folder; one file in ``archive/`` is added to it, the day beside it, and a list of what was
            refused if anything was.
        noted: keep the day of the import, by which feeds are ordered.

    Returns:
        What was found: the file written, its kind, elements and rows, how many were refused and the first of them; for
        tables also boards, rows without a readable number, and how often each flag was raised.

    Raises:
        InputError: if the file cannot be read, is no list, holds nothing of the archive's, or is there already.
    """
    file, root = Path(file), Path(root)
    content = load(root)
    stream = stream_file(file)
    first = next(stream, None)
    kind = kind_of(first)
    if kind is None:
        raise InputError(f"{file.name}: its first element is no task, paper, link, method or data set of the archive")
    lost: list[dict[str, Any]] = []

    def refused(place: str, reason: str, what: Any) -> None:
        lost.append({"place": place, "reason": reason, "what": json.dumps(what, default=str)[:2000]})

    def read(each: Any, where: str) -> dict[str, Any] | None:
        return _task(each, where, refused, content) if kind == "tables" else READERS[kind](each, where, refused)

    folder = root / "archive"
    folder.mkdir(parents=True, exist_ok=True)
    digest, elements, rows = hashlib.sha256(), 0, 0
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as out:
            for number, each in enumerate(_chain(first, stream), 1):
                kept = read(each, f"{'task' if kind == 'tables' else kind} {number}")
                if kept is None:
                    continue
                line = (json.dumps(kept, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "surrogatepass")
                digest.update(line)
                out.write(line)
                elements += 1
                rows += sum(1 for _ in task_rows(kept)) if kind == "tables" else 1
            out.flush()
            os.fsync(out.fileno())
        if not elements:
            shown = f": {lost[0]['place']}: {lost[0]['reason']}" if lost else ""
            raise InputError(f"{file.name}: nothing in it can be read{shown}")
        name = slug(file.name.removesuffix(".gz").removesuffix(".json"))
        path = folder / f"{kind}--{name}-{digest.hexdigest()[:12]}.jsonl"
        if path.exists():
            raise InputError(f"{file} is imported already, as {path.name}")
        if lost:
            listed = "".join(json.dumps(each) + "\n" for each in lost)
            path.with_name(f"{path.stem}{REFUSED}.jsonl").write_text(listed, encoding="utf-8")
        os.chmod(temporary, 0o644)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise InputError(f"{file} is imported already, as {path.name}") from None
        if noted:
            day = datetime.datetime.now(datetime.UTC).date().isoformat()
            text = json.dumps({"day": day, "file": file.name}) + "\n"
            write_atomically(day_file(path), lambda target: target.write_text(text, encoding="utf-8"))
    finally:
        os.unlink(temporary)
    found: dict[str, Any] = {"file": str(path), "kind": kind, "elements": elements, "rows": rows, "refused": len(lost)}
    found["refused_first"] = [f"{each['place']}: {each['reason']}" for each in lost[:_SHOWN]]
    if kind == "tables":
        found |= {"tasks": elements, **_summary(root, content, path, rows <= _ACROSS)}
    return found


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _task(given: Any, where: str, refused: Refused, content: Content) -> dict[str, Any] | None:
    """A task whose every row has been turned into claims once, so that no row can break a build later."""
    task = read_task(given, where, refused)
    for name, entry, row in list(task_rows(task)) if task else ():
        try:
            list(row_claims(name, entry, row, content))
        except (InputError, ValueError, ArithmeticError, TypeError) as error:
            refused(f"{where}: {row['model_name'][:80]}", str(error), row)
            entry["sota"]["rows"].remove(row)
    return task


def _summary(root: Path, content: Content, path: Path, across: bool) -> dict[str, Any]:
    flags: dict[str, int] = defaultdict(int)
    boards, unreadable = set(), 0
    claims = claims_of(root, content, only=path) if across else _one_by_one(root, content, path)
    for claim, _ in claims:
        boards.add((claim.dataset, claim.measure))
        unreadable += claim.value is None
        for flag in claim.flags:
            flags[flag] += 1
    return {"boards": len(boards), "unreadable": unreadable, "flags": dict(sorted(flags.items()))}


def _one_by_one(root: Path, content: Content, path: Path) -> Iterator[tuple[Claim, Variant]]:
    """The claims of a large file, none of them kept."""
    for task in tables(root, path):
        for name, entry, row in task_rows(task):
            yield from row_claims(name, entry, row, content)
