"""The imported files of a board's folder: which there are, what they hold, and whether they are as they were."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.board.archive.dumps import READERS
from longtail.board.archive.layout import read_task
from longtail.files import sha256

KINDS = ("tables", *READERS)
"""Evaluation tables, and the other dumps of the archive."""
REFUSED = ".refused"


def stored(root: Path, kind: str) -> list[Path]:
    """The imported files of one kind, by name; a name without a kind is a table's."""
    folder = root / "archive"
    found = sorted(folder.glob("[!.]*.jsonl")) if folder.is_dir() else []
    return [path for path in found if not path.stem.endswith(REFUSED) and _kind(path) == kind]


def day_file(path: Path) -> Path:
    """Where the day is kept on which a file was imported."""
    return path.with_name(f"{path.stem}.imported.json")


def imported_on(path: Path) -> str | None:
    """The day on which a file was imported, if that was noted.

    Args:
        path: of :func:`stored`.
    """
    if not day_file(path).is_file():
        return None
    try:
        day = json.loads(day_file(path).read_text("utf-8"))["day"]
        return datetime.date.fromisoformat(day).isoformat()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kind(path: Path) -> str:
    start = path.name.split("--")[0]
    return start if start in KINDS else "tables"


def lines(path: Path, warnings: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """What an imported file holds; a line that cannot be read is skipped, and ``warnings`` is told.

    Lines of tables come with every default filled in, and without the rows that cannot be read.
    """
    told = warnings if warnings is not None else []
    tables = _kind(path) == "tables"
    if path.exists() and not path.is_file():  # A pipe or a device may never end.
        told.append(f"archive/{path.name}: skipped, it is no file")
        return
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        told.append(f"archive/{path.name}: skipped, it cannot be read ({error.strerror})")
        return
    with file:
        for number, line in enumerate(file, 1):
            where = f"archive/{path.name}, line {number}"
            try:
                found = json.loads(line.decode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError) as error:
                told.append(f"{where}: skipped, it cannot be read ({str(error)[:80]})")
                continue
            read = read_task if tables else READERS[_kind(path)]
            kept = read(found, where, lambda place, reason, _: told.append(f"{place}: skipped, {reason}"))
            if kept is not None:
                yield kept


def refused_rows(root: Path) -> list[tuple[str, str, str]]:
    """File, place and reason of everything that imports have refused."""
    folder, out = root / "archive", []
    found = sorted(folder.glob(f"[!.]*{REFUSED}.jsonl")) if folder.is_dir() else []
    for path in filter(Path.is_file, found):
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                each = json.loads(line)
                out.append((path.stem.removesuffix(REFUSED), str(each["place"]), str(each["reason"])))
            except (ValueError, KeyError, TypeError):
                continue
    return out


def archive_findings(root: Path) -> list[str]:
    """What is wrong with the imported files: changed since, or not readable; one line for each."""
    findings: list[str] = []
    for path in (path for kind in KINDS for path in stored(root, kind)):
        if path.is_file() and sha256(path)[:12] != path.stem.rsplit("-", 1)[-1]:
            findings.append(f"archive/{path.name}: has been changed since it was imported")
        for _ in lines(path, findings):
            pass
    return findings
