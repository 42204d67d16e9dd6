"""Read access to a built index: what pages, search and interface ask."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from longtail.board.content import shipped_root
from longtail.board.model import Answers, Board, Entry, Judged, parse
from longtail.board.schema import Dataset, Method, Note, Paper, Settings
from longtail.board.search import find
from longtail.board.values import slug

Kind = TypeVar("Kind")
Found = TypeVar("Found")

SEARCHED = 5000
"""Documents that the static page searches."""
ANSWERS = 256
"""Submissions whose answers a connection keeps in memory."""
PAGE = 100
"""Lines of a board on one page."""
FILTERS = ("backbone", "protocol", "selection", "badge")
"""Columns of a board by which its lines can be chosen."""


def board_path(name: str, page: int = 1) -> str:
    """The address of a board's page."""
    return f"boards/{name}.html" if page == 1 else f"boards/{name}.page-{page}.html"


class Index(AbstractContextManager["Index"]):
    """Read access to a built index; one connection, for one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, root: Path | None) -> None:
        self.connection = connection
        self.root = root
        self._last: tuple[str, dict[str, Any]] = ("", {})
        self._answers: dict[str, Answers | None] = {}
        self.url: str | None = None
        """The public address, where it is another than the board's own settings say."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def close(self) -> None:
        """Let the connection go."""
        self.connection.close()

    @property
    def warnings(self) -> list[str]:
        """What was left out when the index was built, or names what is not there; a line each."""
        return [row[0] for row in self.connection.execute("SELECT text FROM warnings ORDER BY rowid")]

    def boards(self, *, notable: bool = False, dataset: str | None = None) -> list[Board]:
        """All boards, the notable ones, or those of one variant of a data set; the fullest first."""
        where, values = ("WHERE notable = 1", []) if notable else ("", [])
        if dataset is not None:
            where, values = "WHERE variant = ?", [dataset]
        found = self.connection.execute(f"SELECT payload FROM boards {where} ORDER BY entries DESC, slug", values)
        return [parse(Board, row[0]) for row in found]

    def board(self, name: str) -> Board | None:
        """The board at an address."""
        row = self.connection.execute("SELECT payload FROM boards WHERE slug = ?", (name,)).fetchone()
        return parse(Board, row[0]) if row else None

    def entries(self, board: str, *, track: str | None = None, limit: int = -1, offset: int = 0) -> list[Entry]:
        """The lines of a board in the order of its page: by track, then by place; unranked ones last."""
        if track is None and limit < 0 and offset == 0:
            return list(self._once(board, self._entries))
        where, values = ("AND track = ?", [track]) if track else ("", [])
        found = self.connection.execute(
            f"SELECT payload FROM entries WHERE board = ? {where} ORDER BY place LIMIT ? OFFSET ?",
            (board, *values, limit, offset),
        )
        return [parse(Entry, row[0]) for row in found]

    def _once(self, board: str, find: Callable[[str], Found]) -> Found:
        """What is asked of one board by all of its pages and files, which are made one after another."""
        if self._last[0] != board:
            self._last = (board, {})
        kept = self._last[1]
        if find.__name__ not in kept:
            kept[find.__name__] = find(board)
        found: Found = kept[find.__name__]
        return found

    def _entries(self, board: str) -> tuple[Entry, ...]:
        found = self.connection.execute("SELECT payload FROM entries WHERE board = ? ORDER BY place", (board,))
        return tuple(parse(Entry, row[0]) for row in found)

    def spellings(self, board: str) -> dict[str, dict[str, str]]:
        """For each field that can be filtered by, every spelling that occurs, with the one that stands for it.

        ``ResNet-32`` and ``ResNet32`` are one choice: the spelling found most often stands for all.
        """
        return self._once(board, self._spellings)

    def _spellings(self, board: str) -> dict[str, dict[str, str]]:
        out: dict[str, dict[str, str]] = {}
        for name in FILTERS:
            found = self.connection.execute(
                f"SELECT {name}, count(*) FROM entries WHERE board = ? AND {name} IS NOT NULL AND {name} != ''"
                f" GROUP BY {name} ORDER BY 2 DESC, 1 LIMIT 1000",
                (board,),
            )
            first: dict[str, str] = {}
            out[name] = {each: first.setdefault(slug(each).replace("-", ""), each) for each, _ in found}
        return out

    def filtered(
        self,
        board: str,
        chosen: Mapping[str, str],
        spelled: Mapping[str, Mapping[str, str]],
        *,
        limit: int,
        offset: int,
    ) -> tuple[list[Entry], int]:
        """The lines that pass the filters, and how many there are.

        Args:
            board: its address.
            chosen: a value for some of ``FILTERS``, and ``extra`` for those without extra data alone.
            spelled: from :meth:`spellings`; all spellings of a value pass.
            limit: the most lines to return.
            offset: lines to leave out at the beginning.
        """
        where, values = "board = ?", [board]
        for name in FILTERS:
            if wanted := chosen.get(name):
                known = spelled[name]
                same = [each for each, standing in known.items() if standing == known.get(wanted, wanted)] or [wanted]
                where += f" AND {name} IN ({', '.join('?' * len(same))})"
                values += same
        if chosen.get("extra"):
            where += " AND json_extract(payload, '$.extra_data') IS NULL"
        count = self.connection.execute(f"SELECT count(*) FROM entries WHERE {where}", values).fetchone()[0]
        found = self.connection.execute(
            f"SELECT payload FROM entries WHERE {where} ORDER BY place LIMIT ? OFFSET ?", (*values, limit, offset)
        )
        return [parse(Entry, row[0]) for row in found], count

    def ranked_values(self, board: str) -> dict[str, list[float]]:
        """The numbers that are ranked on a board, by track."""
        return self._once(board, self._ranked_values)

    def _ranked_values(self, board: str) -> dict[str, list[float]]:
        out: dict[str, list[float]] = {}
        for track, value in self.connection.execute(
            "SELECT track, value FROM entries WHERE board = ? AND ranked = 1", (board,)
        ):
            out.setdefault(track, []).append(value)
        return out

    def ranked_methods(self) -> list[str]:
        """Identifiers of the methods that are ranked on some board."""
        found = self.connection.execute(
            "SELECT DISTINCT method_id FROM entries JOIN things ON kind = 'method' AND things.id = method_id"
            " WHERE ranked = 1 ORDER BY method_id"
        )
        return [row[0] for row in found]

    def recipes(self) -> dict[str, str]:
        """The library's recipe of each method that has one."""
        found = self.connection.execute(
            "SELECT id, json_extract(payload, '$.recipe') AS r FROM things WHERE kind = 'method' AND r IS NOT NULL"
        )
        return dict(found.fetchall())

    def leaders(self, board: str) -> dict[str, Entry]:
        """The first line of each track of a board."""
        found = self.connection.execute(
            "SELECT payload FROM entries WHERE board = :board AND place IN"
            " (SELECT min(place) FROM entries WHERE board = :board AND ranked = 1 GROUP BY track)",
            {"board": board},
        )
        return {entry.track: entry for entry in (parse(Entry, row[0]) for row in found)}

    def points(self, board: str) -> list[tuple[str, str, float, str, str]]:
        """Date, track, value, method and badge of every ranked and dated line of a board, by date."""
        found = self.connection.execute(
            "SELECT json_extract(payload, '$.date') AS d, track, value, method, badge FROM entries"
            " WHERE board = ? AND ranked = 1 AND d IS NOT NULL ORDER BY d, place",
            (board,),
        )
        return found.fetchall()

    def entries_where(self, column: str, value: str) -> list[Entry]:
        """The lines of one method or one paper, over all boards."""
        assert column in ("method_id", "paper")
        found = self.connection.execute(
            f"SELECT payload FROM entries WHERE {column} = ? ORDER BY board, place", (value,)
        )
        return [parse(Entry, row[0]) for row in found]

    def entry(self, name: str) -> Entry | None:
        """One line by its identifier."""
        row = self.connection.execute("SELECT payload FROM entries WHERE id = ?", (name,)).fetchone()
        return parse(Entry, row[0]) if row else None

    def anchor(self, name: str) -> str | None:
        """The address of one line: its submission's page, or its place on the page of its board."""
        row = self.connection.execute("SELECT board, place, scored FROM entries WHERE id = ?", (name,)).fetchone()
        if row is None:
            return None
        board, place, scored = row
        return f"submissions/{name}.html" if scored else f"{board_path(board, place // PAGE + 1)}#{name}"

    def tasks(self) -> list[dict[str, Any]]:
        """Tasks with how many boards and papers each has."""
        found = self.connection.execute(
            "SELECT slug, name, description, categories, boards, papers FROM tasks"
            " ORDER BY boards DESC, papers DESC, name"
        )
        names = ("slug", "name", "description", "categories", "boards", "papers")
        out = [dict(zip(names, row, strict=True)) for row in found]
        for each in out:
            each["categories"] = json.loads(each["categories"])
        return out

    def task_boards(self, task: str) -> list[Board]:
        """The boards that a task lists."""
        found = self.connection.execute(
            "SELECT payload FROM boards WHERE slug IN (SELECT board FROM task_boards WHERE task = ?)"
            " ORDER BY entries DESC, slug",
            (task,),
        )
        return [parse(Board, row[0]) for row in found]

    def task_papers(self, task: str) -> list[Paper]:
        """The papers under a task, newest first."""
        found = self.connection.execute(
            "SELECT payload FROM things JOIN paper_tasks ON paper = id WHERE kind = 'paper' AND task = ?"
            " ORDER BY date DESC, id",
            (task,),
        )
        return [parse(Paper, row[0]) for row in found]

    def _all(self, kind: type[Kind], order: str = "title COLLATE NOCASE, id") -> list[Kind]:
        found = self.connection.execute(
            f"SELECT payload FROM things WHERE kind = ? ORDER BY {order}", (kind.__name__.lower(),)
        )
        return [parse(kind, row[0]) for row in found]

    def _one(self, kind: type[Kind], name: str) -> Kind | None:
        row = self.connection.execute(
            "SELECT payload FROM things WHERE kind = ? AND id = ?", (kind.__name__.lower(), name)
        ).fetchone()
        return parse(kind, row[0]) if row else None

    def papers(self) -> list[Paper]:
        """All papers, those with their own page first, then the newest."""
        return self._all(Paper, "json_array_length(payload, '$.facets') > 0 DESC, date DESC, id")

    def paper(self, name: str) -> Paper | None:
        """One paper."""
        return self._one(Paper, name)

    def known_papers(self, names: Iterable[str | None]) -> set[str]:
        """Which of some papers have a page."""
        wanted = sorted({name for name in names if name})
        found = self.connection.execute(
            f"SELECT id FROM things WHERE kind = 'paper' AND id IN ({', '.join('?' * len(wanted))})", wanted
        )
        return {row[0] for row in found}

    def methods(self) -> list[Method]:
        """All methods by name."""
        return self._all(Method)

    def method(self, name: str) -> Method | None:
        """One method."""
        return self._one(Method, name)

    def datasets(self) -> list[Dataset]:
        """All data sets by name."""
        return self._all(Dataset)

    def dataset(self, name: str) -> Dataset | None:
        """One data set."""
        return self._one(Dataset, name)

    def submissions(self) -> list[dict[str, Any]]:
        """All submissions with their scores, the latest first."""
        found = self.connection.execute("SELECT payload FROM things WHERE kind = 'submission' ORDER BY date DESC, id")
        return [json.loads(row[0]) for row in found]

    def submission(self, name: str) -> dict[str, Any] | None:
        """One submission with its score."""
        row = self.connection.execute(
            "SELECT payload FROM things WHERE kind = 'submission' AND id = ?", (name,)
        ).fetchone()
        return dict(json.loads(row[0])) if row else None

    def answers(self, name: str) -> Answers | None:
        """Which test images the runs of a submission got right, read from its predictions."""
        # One submission is compared with many others, one after another.
        if name not in self._answers:
            if len(self._answers) >= ANSWERS:
                self._answers.pop(next(iter(self._answers)))
            self._answers[name] = self._read_answers(name)
        return self._answers[name]

    def _read_answers(self, name: str) -> Answers | None:
        from longtail.board.scorer import Scored, answers
        from longtail.results.predictions import MAX_PREDICTIONS_BYTES, read_predictions

        submission = self.submission(name)
        if submission is None:
            return None
        folders = [base / "submissions" / name for base in (self.root, shipped_root()) if base is not None]
        folder = next((each for each in folders if each.is_dir()), folders[-1])
        runs, seeds = [], sorted(run["seed"] for run in submission["score"]["runs"])
        for seed in seeds:
            file = folder / f"predictions-seed-{seed}.npz"
            if not file.is_file() or file.stat().st_size > MAX_PREDICTIONS_BYTES:
                return None
            runs.append(Scored(**read_predictions(file.read_bytes(), file.name)))
        return answers(runs, seeds)

    def relations(self, **wanted: str) -> list[Judged]:
        """Claims that a method beats another, with verdicts: of a ``board``, ``paper`` or ``method``, or all."""
        found = self._all(Judged, "id")
        if "board" in wanted:
            found = [each for each in found if each.board == wanted["board"]]
        if "paper" in wanted:
            found = [each for each in found if each.relation.paper == wanted["paper"]]
        if "method" in wanted:
            found = [each for each in found if wanted["method"] in (each.relation.better, each.relation.than)]
        return found

    def notes(self, on: str) -> list[Note]:
        """What people say on a page, the oldest first; ``on`` is its address without the ending."""
        found = self.connection.execute(
            "SELECT payload FROM things WHERE kind = 'note' AND title = ? ORDER BY id", (on,)
        )
        return [parse(Note, row[0]) for row in found]

    def settings(self) -> Settings:
        """What the board says of itself."""
        found = self._one(Settings, "") or Settings()
        return dataclasses.replace(found, url=self.url.rstrip("/") + "/") if self.url else found

    def changes(self, board: str | None = None, limit: int = 8) -> list[dict[str, Any]]:
        """What was added last."""
        where, values = ("WHERE board = ?", [board]) if board else ("", [])
        found = self.connection.execute(
            f"SELECT date, title, path, sum(results) FROM changes {where} GROUP BY date, title, path"
            " ORDER BY date DESC, path LIKE 'submissions/%' DESC, 4 DESC, title LIMIT ?",
            (*values, limit),
        )
        return [dict(zip(("date", "title", "path", "results"), row, strict=True)) for row in found]

    def search(self, words: str, limit: int = 40) -> list[dict[str, str]]:
        """What a search finds; see :mod:`longtail.board.search`."""
        return find(self.connection, words, limit)

    def search_documents(self, limit: int = SEARCHED) -> tuple[list[tuple[str, str, str, str]], int]:
        """Title, kind, path and other names of what the static page searches, and how many more there are.

        Papers and submissions, of which an import brings hundreds of thousands, come last, the board's own first.
        """
        (count,) = self.connection.execute("SELECT count(*) FROM search").fetchone()
        found = self.connection.execute(
            "SELECT title, kind, path, names FROM search ORDER BY kind IN ('paper', 'submission'), rowid DESC LIMIT ?",
            (limit,),
        )
        return found.fetchall(), max(0, count - limit)

    def related(self, paper: Paper, limit: int = 8) -> list[Paper]:
        """Papers related to one: those it names, then those that share most of its tasks, the newest first."""
        named = [found for found in (self.paper(name) for name in paper.related) if found]
        found = self.connection.execute(
            "SELECT t.payload FROM paper_tasks a JOIN paper_tasks b ON a.task = b.task JOIN things t"
            " ON t.kind = 'paper' AND t.id = b.paper WHERE a.paper = ? AND b.paper != ?"
            " GROUP BY b.paper ORDER BY count(*) DESC, t.date DESC, t.id LIMIT ?",
            (paper.id, paper.id, limit + len(named)),
        )
        known = {each.id for each in named}
        computed = [each for each in (parse(Paper, row[0]) for row in found) if each.id not in known]
        return (named + computed)[: max(limit, len(named))]
