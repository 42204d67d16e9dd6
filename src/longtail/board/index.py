"""The SQLite index, built anew from the files; nothing else writes to it."""

from __future__ import annotations

import gc
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

from longtail.board.archive.claims import tables
from longtail.board.content import Content, load
from longtail.board.entries import Gathered, gather
from longtail.board.imported import paper_document, write_imported
from longtail.board.model import MISSING, PROTOCOL, Board, Draft, dump, parse
from longtail.board.ranking import ranked, resolution
from longtail.board.reader import Index
from longtail.board.references import unknown_names, unread
from longtail.board.relations import judged
from longtail.board.schema import Paper
from longtail.board.search import SCHEMA, Document, add_documents, finish
from longtail.board.values import clean, slug

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE boards (slug TEXT PRIMARY KEY, name TEXT, variant TEXT, dataset TEXT, notable INTEGER, entries INTEGER,
  scored INTEGER, best REAL, updated TEXT, payload TEXT);
CREATE TABLE entries (id TEXT, board TEXT, place INTEGER, track TEXT, badge TEXT, method TEXT, method_id TEXT,
  scored INTEGER, paper TEXT, backbone TEXT, protocol TEXT, selection TEXT, value REAL, ranked INTEGER, payload TEXT);
CREATE TABLE tasks (slug TEXT PRIMARY KEY, name TEXT, description TEXT, categories TEXT, boards INTEGER,
  papers INTEGER);
CREATE TABLE task_boards (task TEXT, board TEXT, PRIMARY KEY (task, board)) WITHOUT ROWID;
CREATE TABLE pairs (first TEXT, second TEXT, scored INTEGER, PRIMARY KEY (first, second)) WITHOUT ROWID;
CREATE TABLE things (kind TEXT, id TEXT, title TEXT, date TEXT, payload TEXT, PRIMARY KEY (kind, id));
CREATE TABLE paper_tasks (paper TEXT, task TEXT);
CREATE TABLE warnings (text TEXT);
CREATE TABLE changes (date TEXT, title TEXT, path TEXT, board TEXT, results INTEGER);
"""
_INDICES = """
CREATE UNIQUE INDEX entries_id ON entries (id);
CREATE INDEX entries_board ON entries (board, place);
CREATE INDEX entries_leaders ON entries (board, track, place) WHERE ranked = 1;
CREATE INDEX entries_method ON entries (method_id);
CREATE INDEX entries_paper ON entries (paper);
CREATE INDEX paper_tasks_task ON paper_tasks (task);
CREATE INDEX paper_tasks_paper ON paper_tasks (paper);
CREATE INDEX changes_board ON changes (board, date);
"""


_COUNTED = """
UPDATE tasks SET boards = (SELECT count(*) FROM task_boards b WHERE b.task = slug),
  papers = (SELECT count(*) FROM paper_tasks p WHERE p.task = slug);
WITH standing AS (SELECT DISTINCT board, method_id, scored FROM entries WHERE method_id IS NOT NULL)
  INSERT INTO pairs SELECT a.method_id, b.method_id, max(a.scored AND b.scored) FROM standing a JOIN standing b
  ON a.board = b.board AND a.method_id < b.method_id GROUP BY a.method_id, b.method_id;
"""
_PROTOCOL_OF = attrgetter(*PROTOCOL)


def build_index(
    root: Path | None = None,
    database: str = ":memory:",
    numerics: int | None = None,
    content: tuple[Content, list[str]] | None = None,
) -> Index:
    """Build the index anew from the shipped content and a board's own folder.

    Args:
        root: the board's folder; ``None`` for the shipped content alone.
        database: where SQLite keeps it.
        numerics: current version of the numerics; records of an earlier one are marked.
        content: what the files of the folder say, with what was skipped, where that has been read already.

    Returns:
        The index, open.
    """
    root = Path(root) if root is not None else None
    with _no_search_for_cycles():
        if content is None:
            warnings: list[str] = []
            content = load(root, warnings), warnings
        return _built(root, database, numerics, *content)


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Let Python not look for garbage in cycles: a large board is a million objects that all stay, in no cycle."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _built(root: Path | None, database: str, numerics: int | None, content: Content, warnings: list[str]) -> Index:
    found = gather(root, content, numerics)
    connection = sqlite3.connect(database, check_same_thread=False)
    index = Index(connection, root)
    try:
        _fill(connection, root, content, found)
        said = [*warnings, *found.warnings, *unknown_names(index, content), *(unread(root) if root is not None else ())]
        connection.executemany("INSERT INTO warnings VALUES (?)", [(each,) for each in dict.fromkeys(said)])
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return index


def _fill(connection: sqlite3.Connection, root: Path | None, content: Content, found: Gathered) -> None:
    connection.executescript(_SCHEMA)
    connection.executescript(SCHEMA)
    documents: list[Document] = []
    if root is not None:
        documents += write_imported(connection, root, content, found)
    _write_boards(connection, found.drafts, documents)
    _write_talk(connection, content, found)
    _write_tasks(connection, root, content, found.papers, documents)
    _write_things(connection, content, found, documents)
    connection.executemany(
        "INSERT INTO changes VALUES (?, ?, ?, ?, ?)",
        [
            (date, clean(title, 300), path, board, count)
            for (date, title, path, board), count in sorted(found.changes.items())
        ],
    )
    add_documents(connection, documents)
    finish(connection)
    connection.executescript(_INDICES)
    connection.executescript(_COUNTED)
    connection.commit()


def _write_boards(connection: sqlite3.Connection, drafts: dict[str, Draft], documents: list[Document]) -> None:
    for address, at in sorted(drafts.items()):
        entries, best_of_tracks = ranked(at)
        tasks = sorted({task for entry in entries for task in entry.tasks})
        name = clean(at.variant.name, 300)
        if at.measure.id != "accuracy":
            name = f"{name}, {_within_a_line(clean(at.measure.name, 200))}"
        values = [entry.value for entry in entries if entry.ranked and entry.value is not None]
        best = (max if at.measure.higher_is_better else min)(values) if values else None
        scored = sum(entry.kind == "scored" for entry in entries)
        columns = zip(*map(_PROTOCOL_OF, entries), strict=True)
        shares = tuple(sum(value not in MISSING for value in column) / len(entries) for column in columns)
        updated = max((entry.date for entry in entries if entry.date), default=None)
        board = Board(
            slug=address,
            name=name,
            variant=at.variant,
            measure=at.measure,
            resolution=resolution(at),
            tasks=tuple(tasks),
            entries=len(entries),
            scored=scored,
            updated=updated,
            notable=at.variant.notable and at.measure.id == "accuracy",
            best=tuple(best_of_tracks),
            completeness=sum(shares) / len(shares) if shares else None,
            stated=shares,
        )
        connection.execute(
            "INSERT INTO boards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                address,
                name,
                at.variant.id,
                at.variant.dataset,
                board.notable,
                len(entries),
                scored,
                best,
                updated,
                dump(board),
            ),
        )
        connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    entry.id,
                    address,
                    place,
                    entry.track,
                    entry.badge,
                    entry.method,
                    entry.method_id,
                    entry.kind == "scored",
                    entry.paper,
                    entry.backbone,
                    entry.protocol,
                    entry.selection,
                    entry.value,
                    entry.ranked,
                    dump(entry),
                )
                for place, entry in enumerate(entries)
            ],
        )
        connection.executemany(
            "INSERT OR IGNORE INTO task_boards VALUES (?, ?)", [(slug(task), address) for task in tasks]
        )
        names = sorted({entry.method for entry in entries})
        documents.append(Document(name, at.variant.id, " ".join(names), "board", f"boards/{address}.html"))


def _write_talk(connection: sqlite3.Connection, content: Content, found: Gathered) -> None:
    """Relations with their verdicts, what people say on pages, and what the board says of itself."""
    connection.executemany(
        "INSERT INTO things VALUES ('judged', ?, ?, ?, ?)",
        [
            (each.relation.id, f"{each.better} over {each.than}", each.relation.added, dump(each))
            for each in judged(content, found.drafts)
        ],
    )
    for each in content.relations:
        if each.added and (paper := content.papers.get(each.paper or "")):
            found.changes[each.added, f"{paper.title}: comparisons", f"papers/{paper.id}.html", each.dataset] += 1
    connection.executemany(
        "INSERT INTO things VALUES ('note', ?, ?, ?, ?)",
        [
            (f"{place:06d}", each.on, each.date, dump(each))
            for place, each in enumerate(sorted(content.notes, key=lambda note: (note.date, note.by, note.text)))
        ],
    )
    if content.settings is not None:
        connection.execute("INSERT INTO things VALUES ('settings', '', '', NULL, ?)", (dump(content.settings),))


def _write_tasks(
    connection: sqlite3.Connection,
    root: Path | None,
    content: Content,
    papers: dict[str, Paper],
    documents: list[Document],
) -> None:
    tasks: dict[str, tuple[str, str, list[str]]] = {}

    def add(task: dict[str, Any], parents: tuple[str, ...] = ()) -> None:
        areas = list(dict.fromkeys((*task["categories"], *parents)))
        tasks.setdefault(slug(task["task"]), (task["task"], task["description"], areas))
        for child in task["subtasks"]:
            add(child, (task["task"],))

    for task in content.tasks.values():
        tasks[slug(task.name)] = (task.name, task.description, [*task.categories, *filter(None, [task.parent])])
    if root is not None:
        for table in tables(root):
            add(table)
    for (payload,) in connection.execute("SELECT payload FROM boards").fetchall():
        for name in parse(Board, payload).tasks:
            tasks.setdefault(slug(name), (name, "", []))
    for paper in papers.values():
        for name in paper.tasks:
            tasks.setdefault(slug(name), (name, "", []))
    for address, (name, description, categories) in sorted(tasks.items()):
        connection.execute(
            "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, 0, 0)",
            (address, clean(name, 300), clean(description), json.dumps(categories)),
        )
        documents.append(Document(clean(name, 300), "", description, "task", f"tasks/{address}.html"))
    connection.executemany(
        "INSERT INTO paper_tasks VALUES (?, ?)",
        [(paper.id, slug(task)) for paper in papers.values() for task in paper.tasks],
    )


def _within_a_line(name: str) -> str:
    """A measure's name after a comma: in small letters but for its acronyms."""
    words = name.split(" ")
    return " ".join(word if any(map(str.isupper, word[1:])) or word.isupper() else word.lower() for word in words)


def _write_things(
    connection: sqlite3.Connection,
    content: Content,
    found: Gathered,
    documents: list[Document],
) -> None:
    things: list[tuple[str, str, str, str | None, str]] = []
    for paper in found.papers.values():
        things.append(("paper", paper.id, clean(paper.title, 600), paper.date, dump(paper)))
        methods = tuple(content.methods[name] for name in paper.methods if name in content.methods)
        documents.append(paper_document(paper, methods))
    for method in content.methods.values():
        things.append(("method", method.id, method.name, None, dump(method)))
        names = " ".join([method.id, *method.aliases, method.family, method.recipe or "", method.venue or ""])
        documents.append(Document(method.name, names, method.summary, "method", f"methods/{method.id}.html"))
    for dataset in content.datasets.values():
        things.append(("dataset", dataset.id, dataset.name, None, dump(dataset)))
        names = " ".join([dataset.full_name, *(variant.name for variant in dataset.variants)])
        documents.append(Document(dataset.name, names, dataset.summary, "data set", f"datasets/{dataset.id}.html"))
    for submission in found.submissions:
        things.append(
            ("submission", submission["id"], submission["name"], submission["created"], json.dumps(submission))
        )
        variant = content.variants.get(submission["data"].get("variant") or "")
        data = submission["data"]["name"] if variant is None else variant.name
        title = f"{', '.join((submission['name'], *submission['options']))}: {data}"
        names = " ".join([submission["data"]["name"], submission["submitter"] or ""])
        documents.append(Document(clean(title, 300), names, "", "submission", f"submissions/{submission['id']}.html"))
    connection.executemany("INSERT OR REPLACE INTO things VALUES (?, ?, ?, ?, ?)", things)
