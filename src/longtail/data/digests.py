"""What each of very many picture files is: its SHA-256, grey or colour, its size; kept, so that it is read only once.

A file is known by its path, its length and the time of its last change. What is known stands in ``files-2.sqlite`` in
the folder ``longtail`` of the user's cache (``$XDG_CACHE_HOME``, else ``~/.cache``); it may be deleted at any time.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from longtail.data.names import Names
from longtail.data.pictures import header
from longtail.errors import InputError

CHUNK = 500
"""So many files are looked up at once; SQLite takes at least 999 values in a statement."""
READERS = 8
"""Threads that read files; a disc gives no more for more of them."""
TABLE = (
    "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, "
    "sha256 BLOB, kind TEXT, width INTEGER, height INTEGER, transparent INTEGER, frames INTEGER) WITHOUT ROWID"
)

Row = tuple[str, int, int, bytes, str, int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the files are, in their order.

    Args:
        digests: (N, 32) uint8, SHA-256 of each file; zeros for one that is missing or no picture.
        grey: (N,) whether a picture has one channel.
        sizes: (N, 2) width and height, upright.
        transparent: (N,) whether a picture has an alpha channel or a transparent colour.
        frames: (N,) whether it has several frames.
        missing: places of the files that are not there.
        problems: places of the files that are no pictures, and why.
    """

    digests: NDArray[np.uint8]
    grey: NDArray[np.bool_]
    sizes: NDArray[np.int32]
    transparent: NDArray[np.bool_]
    frames: NDArray[np.bool_]
    missing: tuple[int, ...]
    problems: tuple[tuple[int, str], ...]


def facts_of(
    root: pathlib.Path,
    names: Names,
    *,
    fresh: bool = False,
    notify: Callable[[int, int], None] | None = None,
) -> Facts:
    """Say what each file is, reading those of which it is not known.

    Args:
        root: folder of the files.
        names: their paths below it.
        fresh: read all of them, whatever is known.
        notify: called with how many files are done and how many there are.
    """
    number = len(names)
    grey, transparent, frames = np.zeros((3, number), np.bool_)
    digests, sizes = np.zeros((number, 32), np.uint8), np.zeros((number, 2), np.int32)
    missing: list[int] = []
    problems: list[tuple[int, str]] = []
    with closing(_Known()) as known, concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        for start in range(0, number, CHUNK):
            paths = [os.path.abspath(os.path.join(root, names[i])) for i in range(start, min(start + CHUNK, number))]
            before = {} if fresh else known.rows(paths)
            # Pillow and its warnings are no matter for threads; the bytes of files are.
            changed = [path for path in paths if not _is_known(path, before.get(path))]
            hashed = dict(zip(changed, readers.map(_digest, changed), strict=True))
            rows = [_row(path, hashed[path]) if path in hashed else before[path] for path in paths]
            for place, row in enumerate(rows, start):
                if row is None:
                    missing.append(place)
                elif isinstance(row, str):
                    problems.append((place, row))
                else:
                    digests[place] = np.frombuffer(row[3], np.uint8)
                    grey[place] = row[4] == "L"
                    sizes[place] = row[5:7]
                    transparent[place], frames[place] = row[7:]
            known.keep([row for row in rows if isinstance(row, tuple) and before.get(row[0]) != row])
            if notify is not None:
                notify(start + len(paths), number)
    return Facts(digests, grey, sizes, transparent, frames, tuple(missing), tuple(problems))


def place() -> pathlib.Path:
    """Return the file in which is kept what the files are."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "longtail" / "files-2.sqlite"


def _is_known(path: str, known: Row | None) -> bool:
    """Whether a file is as it was when it was last read."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return False
    return known is not None and known[1:3] == (status.st_size, status.st_mtime_ns)


def _digest(path: str) -> tuple[int, int, bytes] | None:
    """Length, time of the last change and SHA-256 of a file; None if it is not there or no ordinary file."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            return None if not os.path.lexists(path) else (0, 0, b"")
        with open(path, "rb") as file:
            return status.st_size, status.st_mtime_ns, hashlib.file_digest(file, "sha256").digest()
    except PermissionError:
        return 0, 0, b""
    except (OSError, ValueError):
        return None


def _row(path: str, hashed: tuple[int, int, bytes] | None) -> Row | str | None:
    """What a file is; why it is no picture; or None if it is not there."""
    if hashed is None:
        return None
    try:
        found = header(pathlib.Path(path))
    except InputError as error:
        return str(error)
    return path, *hashed, found.kind, *found.size, int(found.transparent), int(found.frames)


class _Known:
    """The table of what is known; an empty one where none can be kept."""

    def __init__(self) -> None:
        self._table: sqlite3.Connection | None = None
        try:
            file = place()
            file.parent.mkdir(parents=True, exist_ok=True)
            self._table = sqlite3.connect(file, timeout=60)
            self._table.execute("PRAGMA journal_mode=WAL")
            self._table.execute(TABLE)
        except (OSError, sqlite3.Error):
            self.close()

    def rows(self, paths: Sequence[str]) -> dict[str, Row]:
        """What is known of some files."""
        return {row[0]: row for row in self._asked(paths)}

    def _asked(self, paths: Sequence[str]) -> Iterator[Row]:
        if self._table is None:
            return
        asked = [path for path in paths if path.isprintable()]  # no bytes that are no UTF-8
        marks = ",".join("?" * len(asked))
        try:
            yield from self._table.execute(f"SELECT * FROM files WHERE path IN ({marks})", asked).fetchall()
        except sqlite3.Error:
            self.close()

    def keep(self, rows: Sequence[Row]) -> None:
        """Add to what is known."""
        if self._table is None or not rows:
            return
        try:
            with self._table:
                kept = [row for row in rows if row[0].isprintable()]
                self._table.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?)", kept)
        except sqlite3.Error:  # such as a full disc: what is not kept is read again
            self.close()

    def close(self) -> None:
        """Let go of the table."""
        if self._table is not None:
            self._table.close()
            self._table = None
