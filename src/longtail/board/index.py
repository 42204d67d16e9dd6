"""The SQLite index that is built from the files: what pages, search and interface read, and nothing writes to."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from longtail.board.archive import claims_of, tables
from longtail.board.content import Claim, Content, Dataset, Facet, Link, Method, Paper, Variant, load
from longtail.board.evidence import BADGES, submission_badge
from longtail.board.measures import Measure, find_measure
from longtail.board.values import clean, slug
from longtail.board.verdicts import (
    Verdict,
    half_width,
    mean_half_width,
    mean_sd,
    paired_half_width,
    pooled_sd,
    reproduction,
    shared_ranks,
)

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE boards (slug TEXT PRIMARY KEY, name TEXT, variant TEXT, dataset TEXT, notable INTEGER, entries INTEGER,
  scored INTEGER, best REAL, updated TEXT, payload TEXT);
CREATE TABLE entries (id TEXT PRIMARY KEY, board TEXT, place INTEGER, track TEXT, badge TEXT, method TEXT,
  method_id TEXT, paper TEXT, backbone TEXT, protocol TEXT, selection TEXT, value REAL, ranked INTEGER, payload TEXT);
CREATE TABLE listings (entry TEXT, task TEXT);
CREATE TABLE tasks (slug TEXT PRIMARY KEY, name TEXT, description TEXT, categories TEXT);
CREATE TABLE things (kind TEXT, id TEXT, title TEXT, date TEXT, payload TEXT, PRIMARY KEY (kind, id));
CREATE TABLE paper_tasks (paper TEXT, task TEXT);
CREATE TABLE changes (date TEXT, title TEXT, path TEXT, board TEXT, results INTEGER);
CREATE VIRTUAL TABLE search USING fts5 (title, body, kind UNINDEXED, path UNINDEXED, tokenize = 'unicode61');
"""
_INDICES = """
CREATE INDEX entries_board ON entries (board, place);
CREATE INDEX entries_method ON entries (method_id);
CREATE INDEX entries_paper ON entries (paper);
CREATE INDEX listings_task ON listings (task);
CREATE INDEX listings_entry ON listings (entry);
CREATE INDEX paper_tasks_task ON paper_tasks (task);
CREATE INDEX changes_board ON changes (board, date);
"""
TRACK_ORDER = ("scratch", "imagenet", "foundation", "unstated")


@dataclass(frozen=True)
class Board:
    """One ranking: a variant of a data set and a measure."""

    slug: str
    name: str
    variant: Variant
    measure: Measure
    resolution: float | None
    tasks: tuple[str, ...]
    entries: int
    scored: int
    updated: str | None
    notable: bool


@dataclass(frozen=True)
class Entry:
    """One line of a board, claimed or re-scored, on the board's scale."""

    id: str
    board: str
    kind: str
    method: str
    method_id: str | None
    paper: str | None
    track: str
    badge: str | None
    value: float | None
    raw: str
    metric: str
    dataset_name: str
    sd: float | None = None
    n: int | None = None
    test_half: float | None = None
    seed_half: float | None = None
    many: float | None = None
    medium: float | None = None
    few: float | None = None
    backbone: str | None = None
    epochs: int | None = None
    augmentation: str | None = None
    selection: str | None = None
    extra_data: str | None = None
    date: str | None = None
    source: str | None = None
    locator: str | None = None
    quote: str | None = None
    url: str | None = None
    second_hand: bool = False
    catalogued: bool = False
    note: str | None = None
    flags: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    paper_title: str | None = None
    submission: str | None = None
    submitter: str | None = None
    supersedes: str | None = None
    superseded_by: str | None = None
    rank: int | None = None
    values: tuple[float, ...] = ()
    split: str | None = None
    order: int = 0

    @property
    def protocol(self) -> str:
        """Epochs and augmentation in words; empty where nothing is stated."""
        parts = [f"{self.epochs} epochs" if self.epochs else "", self.augmentation or ""]
        return ", ".join(part for part in parts if part)

    @property
    def ranked(self) -> bool:
        """Whether the entry takes part in the ranking."""
        return self.rank is not None


@dataclass
class _Draft:
    """A board while its entries are gathered."""

    variant: Variant
    measure: Measure
    entries: list[Entry] = field(default_factory=list)


class Index(AbstractContextManager["Index"]):
    """Read access to a built index; one connection, for one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, root: Path | None) -> None:
        self.connection = connection
        self.root = root

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def close(self) -> None:
        """Let the connection go."""
        self.connection.close()

    def boards(self, *, notable: bool = False) -> list[Board]:
        """All boards, the fullest first."""
        where = "WHERE notable = 1" if notable else ""
        found = self.connection.execute(f"SELECT payload FROM boards {where} ORDER BY entries DESC, slug")
        return [_board(row[0]) for row in found]

    def board(self, name: str) -> Board | None:
        """The board at an address."""
        row = self.connection.execute("SELECT payload FROM boards WHERE slug = ?", (name,)).fetchone()
        return _board(row[0]) if row else None

    def entries(self, board: str, *, track: str | None = None, limit: int = -1, offset: int = 0) -> list[Entry]:
        """The lines of a board in the order of its page: by track, then by place; unranked ones last."""
        where, values = ("AND track = ?", [track]) if track else ("", [])
        found = self.connection.execute(
            f"SELECT payload FROM entries WHERE board = ? {where} ORDER BY place LIMIT ? OFFSET ?",
            (board, *values, limit, offset),
        )
        return [_entry(row[0]) for row in found]

    def filtered(
        self, board: str, filters: dict[str, str], *, limit: int, offset: int
    ) -> tuple[list[Entry], int, dict[str, list[str]]]:
        """The lines that pass the filters, how many there are, and what each filter could be set to."""
        options = {}
        for name in ("backbone", "protocol", "selection", "badge"):
            found = self.connection.execute(
                f"SELECT DISTINCT {name} FROM entries WHERE board = ? AND {name} IS NOT NULL AND {name} != ''"
                f" ORDER BY {name} LIMIT 200",
                (board,),
            )
            options[name] = [row[0] for row in found]
        chosen = {name: value for name, value in filters.items() if name in options and value}
        where = "".join(f" AND {name} = ?" for name in chosen)
        values = (board, *chosen.values())
        count = self.connection.execute(f"SELECT count(*) FROM entries WHERE board = ?{where}", values).fetchone()[0]
        found = self.connection.execute(
            f"SELECT payload FROM entries WHERE board = ?{where} ORDER BY place LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [_entry(row[0]) for row in found], count, options

    def leaders(self, board: str) -> dict[str, Entry]:
        """The first line of each track of a board."""
        found = self.connection.execute(
            "SELECT payload FROM entries WHERE board = ? AND ranked = 1 GROUP BY track HAVING place = min(place)",
            (board,),
        )
        return {entry.track: entry for entry in (_entry(row[0]) for row in found)}

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
        return [_entry(row[0]) for row in found]

    def entry(self, name: str) -> Entry | None:
        """One line by its identifier."""
        row = self.connection.execute("SELECT payload FROM entries WHERE id = ?", (name,)).fetchone()
        return _entry(row[0]) if row else None

    def tasks(self) -> list[dict[str, Any]]:
        """Tasks with how many boards and papers each has."""
        found = self.connection.execute(
            "SELECT t.slug, t.name, t.description, t.categories,"
            " (SELECT count(DISTINCT e.board) FROM listings l JOIN entries e ON e.id = l.entry WHERE l.task = t.slug),"
            " (SELECT count(*) FROM paper_tasks p WHERE p.task = t.slug) FROM tasks t ORDER BY 5 DESC, 6 DESC, t.name"
        )
        names = ("slug", "name", "description", "categories", "boards", "papers")
        out = [dict(zip(names, row, strict=True)) for row in found]
        for each in out:
            each["categories"] = json.loads(each["categories"])
        return out

    def task_boards(self, task: str) -> list[Board]:
        """The boards that a task lists."""
        found = self.connection.execute(
            "SELECT payload FROM boards WHERE slug IN (SELECT DISTINCT e.board FROM listings l JOIN entries e"
            " ON e.id = l.entry WHERE l.task = ?) ORDER BY entries DESC, slug",
            (task,),
        )
        return [_board(row[0]) for row in found]

    def task_papers(self, task: str) -> list[Paper]:
        """The papers under a task, newest first."""
        found = self.connection.execute(
            "SELECT payload FROM things JOIN paper_tasks ON paper = id WHERE kind = 'paper' AND task = ?"
            " ORDER BY date DESC, id",
            (task,),
        )
        return [_paper(row[0]) for row in found]

    def _things(self, kind: str, make: Callable[[str], Any], order: str = "title COLLATE NOCASE, id") -> list[Any]:
        found = self.connection.execute(f"SELECT payload FROM things WHERE kind = ? ORDER BY {order}", (kind,))
        return [make(row[0]) for row in found]

    def _thing(self, kind: str, name: str, make: Callable[[str], Any]) -> Any:
        row = self.connection.execute("SELECT payload FROM things WHERE kind = ? AND id = ?", (kind, name)).fetchone()
        return make(row[0]) if row else None

    def papers(self) -> list[Paper]:
        """All papers, those with their own page first, then the newest."""
        return self._things("paper", _paper, "json_array_length(payload, '$.facets') > 0 DESC, date DESC, id")

    def paper(self, name: str) -> Paper | None:
        """One paper."""
        paper: Paper | None = self._thing("paper", name, _paper)
        return paper

    def methods(self) -> list[Method]:
        """All methods by name."""
        return self._things("method", _method)

    def method(self, name: str) -> Method | None:
        """One method."""
        method: Method | None = self._thing("method", name, _method)
        return method

    def datasets(self) -> list[Dataset]:
        """All data sets by name."""
        return self._things("dataset", _dataset)

    def dataset(self, name: str) -> Dataset | None:
        """One data set."""
        dataset: Dataset | None = self._thing("dataset", name, _dataset)
        return dataset

    def submissions(self) -> list[dict[str, Any]]:
        """All submissions with their scores."""
        return self._things("submission", json.loads, "date DESC, id")

    def submission(self, name: str) -> dict[str, Any] | None:
        """One submission with its score."""
        submission: dict[str, Any] | None = self._thing("submission", name, json.loads)
        return submission

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
        """Full-text search; the words are taken as words, whatever characters they hold."""
        terms = [term.replace('"', '""') for term in words.replace("\x00", " ").split()[:12]]
        if not terms:
            return []
        query = " ".join(f'"{term}"*' for term in terms)
        # Excerpts are cut for what is shown alone, not for everything that matches.
        found = self.connection.execute(
            "SELECT title, kind, path, snippet(search, 1, '', '', ' … ', 18) FROM search WHERE search MATCH ?1"
            " AND rowid IN (SELECT rowid FROM search WHERE search MATCH ?1"
            " ORDER BY bm25(search, 8.0, 1.0), rowid LIMIT ?2)"
            " ORDER BY bm25(search, 8.0, 1.0), rowid",
            (query, limit),
        )
        return [dict(zip(("title", "kind", "path", "excerpt"), row, strict=True)) for row in found]

    def search_documents(self, limit: int = 1500) -> list[tuple[str, str, str]]:
        """Title, kind and path of what can be searched, for the static page."""
        found = self.connection.execute("SELECT title, kind, path FROM search ORDER BY rowid LIMIT ?", (limit,))
        return found.fetchall()

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
        computed = [each for each in (_paper(row[0]) for row in found) if each.id not in known]
        return (named + computed)[: max(limit, len(named))]


def _board(text: str) -> Board:
    given = json.loads(text)
    variant = given.pop("variant")
    measure = given.pop("measure")
    given["tasks"] = tuple(given["tasks"])
    return Board(variant=_variant(variant), measure=Measure(**{**measure, "aliases": ()}), **given)


def _variant(given: dict[str, Any]) -> Variant:
    for name in ("groups", "counts", "aliases"):
        given[name] = tuple(given[name]) if given[name] is not None else None
    return Variant(**given)


def _entry(text: str) -> Entry:
    given = json.loads(text)
    for name in ("flags", "tasks", "values"):
        given[name] = tuple(given.get(name, ()))
    return Entry(**given)


def _paper(text: str) -> Paper:
    given = json.loads(text)
    for name in ("authors", "tasks", "methods", "controls", "related"):
        given[name] = tuple(given[name])
    given["links"] = tuple(Link(**link) for link in given["links"])
    given["code"] = tuple(Link(**link) for link in given["code"])
    given["facets"] = tuple(Facet(**{**facet, "points": tuple(facet["points"])}) for facet in given["facets"])
    return Paper(**given)


def _method(text: str) -> Method:
    given = json.loads(text)
    given["notes"], given["aliases"] = tuple(given["notes"]), tuple(given["aliases"])
    return Method(**given)


def _dataset(text: str) -> Dataset:
    given = json.loads(text)
    given["variants"] = tuple(_variant(each) for each in given["variants"])
    return Dataset(**given)


def _dump(thing: Any) -> str:
    # Fields at their defaults are left out: a large board is then read several times faster.
    if isinstance(thing, Entry):
        return json.dumps({name: value for name, value in vars(thing).items() if value not in (None, (), False)
                           or name in _REQUIRED}, ensure_ascii=False)  # fmt: skip
    return json.dumps(dataclasses.asdict(thing), ensure_ascii=False)


_REQUIRED = {each.name for each in dataclasses.fields(Entry) if each.default is dataclasses.MISSING}


def board_slug(variant: Variant, measure: Measure) -> str:
    """The address of a board: the variant's, with the measure where it is not the accuracy."""
    return variant.id if measure.id == "accuracy" else f"{variant.id}-{measure.id}"


def build_index(root: Path | None = None, database: str = ":memory:") -> Index:
    """Build the index anew from the shipped content and a board's own folder.

    Args:
        root: the board's folder; ``None`` for the shipped content alone.
        database: where SQLite keeps it.

    Returns:
        The index, open.
    """
    root = Path(root) if root is not None else None
    content = load(root)
    drafts: dict[str, _Draft] = {}
    papers = dict(content.papers)
    paper_of = _paper_finder(papers)
    method_of = {
        slug(name): each.id for each in content.methods.values() for name in (*each.aliases, each.name, each.id)
    }
    superseded = {claim.supersedes: claim.id for claim in content.claims if claim.supersedes}
    printed: dict[tuple[str, str, float | None, str], Entry] = {}
    changes: dict[tuple[str, str, str, str], int] = defaultdict(int)

    def draft(variant: Variant, measure: Measure) -> _Draft:
        return drafts.setdefault(board_slug(variant, measure), _Draft(variant, measure))

    for order, claim in enumerate(content.claims):
        variant = content.variants.get(claim.dataset) or Variant(
            id=slug(claim.dataset), dataset=slug(claim.dataset), name=claim.dataset
        )
        at = draft(variant, find_measure(claim.measure))
        method_id = claim.method_id or method_of.get(slug(claim.method))
        entry = _claim_entry(claim, at, method_id, claim.paper, superseded.get(claim.id), order)
        at.entries.append(entry)
        printed[entry.board, slug(claim.method), claim.value, claim.track] = entry
        if claim.added:
            paper = content.papers.get(claim.paper or "")
            method = content.methods.get(entry.method_id or "")
            if paper:
                title, path = paper.title, f"papers/{paper.id}.html"
            elif method:
                title, path = method.name, f"methods/{method.id}.html"
            else:
                title, path = claim.method, f"boards/{entry.board}.html"
            changes[claim.added, title, path, entry.board] += 1
    if root is not None:
        _add_archive(root, content, draft, method_of, papers, paper_of, printed)
    submissions = _add_submissions(root, content, draft, changes) if root is not None else []

    connection = sqlite3.connect(database, check_same_thread=False)
    connection.executescript(_SCHEMA)
    documents: list[tuple[str, str, str, str]] = []
    _write_boards(connection, drafts, documents)
    _write_tasks(connection, root, papers, documents)
    _write_things(connection, content, papers, submissions, documents)
    connection.executemany(
        "INSERT INTO changes VALUES (?, ?, ?, ?, ?)",
        [
            (date, clean(title, 300), path, board, count)
            for (date, title, path, board), count in sorted(changes.items())
        ],
    )
    connection.executemany("INSERT INTO search (title, body, kind, path) VALUES (?, ?, ?, ?)", documents)
    connection.executescript(_INDICES)
    connection.commit()
    return Index(connection, root)


def _paper_finder(papers: dict[str, Paper]) -> dict[str, str]:
    """Paper identifiers by arXiv number and by title."""
    found = {}
    for paper in papers.values():
        found[slug(paper.title)] = paper.id
        if paper.arxiv:
            found[paper.arxiv] = paper.id
    return found


def _claim_entry(
    claim: Claim,
    at: _Draft,
    method_id: str | None,
    paper: str | None,
    superseded_by: str | None = None,
    order: int = 0,
) -> Entry:
    number, variant = claim.value, at.variant
    test = (
        half_width(number, variant.num_test)
        if number is not None and variant.num_test and at.measure.unit == "%"
        else None
    )
    return Entry(
        id=claim.id,
        board=board_slug(variant, at.measure),
        kind=claim.kind,
        method=claim.method,
        method_id=method_id,
        paper=paper,
        track=claim.track,
        badge=BADGES[1].id if claim.kind == "reported" else BADGES[0].id,
        value=number,
        raw=claim.raw,
        metric=claim.metric,
        dataset_name=variant.name,
        sd=claim.spread,
        n=claim.trials,
        test_half=test,
        many=claim.many,
        medium=claim.medium,
        few=claim.few,
        backbone=claim.backbone,
        epochs=claim.epochs,
        augmentation=claim.augmentation,
        selection=claim.selection,
        extra_data=claim.extra_data,
        date=claim.date,
        source=claim.source,
        locator=claim.locator,
        quote=claim.quote,
        url=claim.url,
        second_hand=claim.second_hand,
        catalogued=claim.catalogued,
        note=claim.note,
        flags=claim.flags,
        tasks=claim.tasks,
        paper_title=claim.paper_title,
        supersedes=claim.supersedes,
        superseded_by=superseded_by,
        order=order,
    )


def _add_archive(
    root: Path,
    content: Content,
    draft: Callable[[Variant, Measure], _Draft],
    method_of: dict[str, str],
    papers: dict[str, Paper],
    paper_of: dict[str, str],
    printed: dict[tuple[str, str, float | None, str], Entry],
) -> None:
    same = {key[:3]: entry for key, entry in printed.items()}
    for claim, variant in claims_of(root, content):
        at = draft(variant, find_measure(claim.measure))
        name = slug(claim.method)
        listed = same.get((board_slug(variant, at.measure), name, claim.value))
        if listed is not None:
            # The archive repeats a claim that we hold with its source: one line, and a note that it does.
            entries = at.entries
            place = next(i for i, entry in enumerate(entries) if entry.id == listed.id)
            if "also-in-archive" not in entries[place].flags:
                entries[place] = dataclasses.replace(entries[place], flags=(*entries[place].flags, "also-in-archive"))
            continue
        paper = None
        if claim.paper_title:
            number = (claim.paper_url or "").rsplit("/", 1)[-1].split("v")[0]
            paper = paper_of.get(number) or paper_of.get(slug(claim.paper_title))
            if paper is None:
                paper = slug(claim.paper_title)
                paper_of[paper] = paper
                papers[paper] = Paper(
                    id=paper,
                    title=clean(claim.paper_title, 600),
                    date=claim.date,
                    links=(Link("Paper", claim.url),) if claim.url else (),
                    source="Papers with Code archive (CC-BY-SA 4.0)",
                    kind="archive",
                )
            held = papers[paper]
            if held.kind == "archive":
                tasks = tuple(dict.fromkeys((*held.tasks, *claim.tasks)))
                code = tuple(dict.fromkeys((*held.code, *claim.code)))
                if tasks != held.tasks or code != held.code:
                    papers[paper] = dataclasses.replace(held, tasks=tasks, code=code)
        at.entries.append(_claim_entry(claim, at, method_of.get(name), paper))


def _add_submissions(
    root: Path,
    content: Content,
    draft: Callable[[Variant, Measure], _Draft],
    changes: dict[tuple[str, str, str, str], int],
) -> list[dict[str, Any]]:
    from longtail.board.submissions import scored_submissions

    out = []
    accuracy = find_measure("accuracy")
    found = list(scored_submissions(root))
    replaced = {each["supersedes"]: each["id"] for each, _ in found if each.get("supersedes")}
    for submission, score in found:
        data = submission["data"]
        variant = content.variants.get(data.get("variant") or "")
        if variant is None:
            variant = Variant(
                id=slug(data["name"]),
                dataset=slug(data["name"]),
                name=data["name"],
                num_test=score["runs"][0]["num_samples"],
                num_classes=len(data["counts"]),
                images=sum(data["counts"]),
                counts=tuple(data["counts"]),
                many=data["many"],
                few=data["few"],
            )
        # A linear probe measures features, and stands on a board of its own.
        probe = submission["recipe"].split("@")[0].endswith("-probe")
        measure = find_measure("linear-probe") if probe else accuracy
        at = draft(variant, measure)
        values = tuple(100 * run["accuracy"] for run in score["runs"])
        mean, sd = mean_sd(values)
        badge = submission_badge(
            trusted=score["trusted"], num_seeds=len(values), selection=submission["selection"]
        )  # fmt: skip

        def over(name: str, runs: Sequence[dict[str, Any]]) -> float | None:
            found = [run[name] for run in runs if run[name] is not None]
            return 100 * sum(found) / len(found) if found else None

        entry = Entry(
            id=submission["id"],
            board=board_slug(variant, measure),
            kind="scored",
            method=clean(submission["name"], 200),
            method_id=submission["method"] if submission["method"] in content.methods else None,
            paper=content.methods[submission["method"]].paper if submission["method"] in content.methods else None,
            track=submission["track"],
            badge=badge.id if badge else None,
            value=mean,
            raw=f"{mean:.2f}",
            metric=measure.name,
            dataset_name=variant.name,
            sd=sd,
            n=len(values),
            test_half=half_width(mean, score["runs"][0]["num_samples"]),
            seed_half=mean_half_width(values),
            many=over("many", score["runs"]),
            medium=over("medium", score["runs"]),
            few=over("few", score["runs"]),
            backbone=clean(submission["backbone"], 80),
            epochs=submission["epochs"],
            augmentation=submission["augmentation"],
            selection=submission["selection"],
            extra_data=submission.get("extra_data"),
            date=submission["created"][:10],
            source="Predictions re-scored here",
            locator=f"submission {submission['id']}",
            submission=submission["id"],
            submitter=submission.get("submitter"),
            supersedes=submission.get("supersedes"),
            superseded_by=replaced.get(submission["id"]),
            tasks=("Long-tail Learning",),
            values=values,
            split=data["fingerprint"],
        )
        at.entries.append(entry)
        changes[entry.date or "", f"{entry.method}, {variant.name}", f"submissions/{entry.id}.html", entry.board] += 1
        out.append({**submission, "score": score, "board": entry.board, "badge": entry.badge})
    return out


def _independent(entries: list[Entry]) -> set[str]:
    """Entries that another submitter has found again under the same protocol."""
    out: set[str] = set()
    scored = [entry for entry in entries if entry.badge == BADGES[3].id and entry.method_id and not entry.superseded_by]
    for i, first in enumerate(scored):
        for second in scored[i + 1 :]:
            if (
                first.method_id == second.method_id
                and first.submitter
                and second.submitter
                and first.submitter.strip().casefold() != second.submitter.strip().casefold()
                and not differing(first, second)[0]
                and first.values != second.values
                and first.value is not None
                and second.value is not None
            ):
                forth = reproduction(first.value, second.value, second.n or 0, second.sd)
                back = reproduction(second.value, first.value, first.n or 0, first.sd)
                if forth.word == back.word == "agrees":
                    out |= {first.id, second.id}
    return out


def differing(claim: Entry, measured: Entry) -> tuple[list[str], list[str]]:
    """The protocol fields in which two entries differ, and those that one of them does not state.

    Returns:
        ``(differ, unstated)``, each a list of sentences' beginnings fit for a page.
    """
    differ, unstated = [], []
    for name in ("track", "backbone", "epochs", "augmentation", "selection", "split"):
        first, second = getattr(claim, name), getattr(measured, name)
        if name == "split" and "scored" not in (claim.kind, measured.kind):
            continue
        missing = {None, "", "unstated"}
        if first in missing or second in missing:
            if name != "split":
                unstated.append(name)
        elif slug(str(first)).replace("-", "") != slug(str(second)).replace("-", ""):
            differ.append(
                f"{name}: {first} against {second}" if name != "split" else "training images: another selection"
            )
    return differ, unstated


CORE = ("track", "backbone", "epochs")


def published_against_measured(entries: Sequence[Entry]) -> list[tuple[Entry, Entry, Verdict, list[str]]]:
    """Each re-scored entry of a board beside each claim for the same method.

    Numbers are compared only where track, backbone and epochs are stated and equal and no other protocol field differs;
    the standard deviation is pooled over the board where a method has fewer than five seeds.

    Returns:
        ``(claim, measured, verdict, unstated)`` for every pair; the verdict says what differs.
    """
    scored = [
        entry
        for entry in entries
        if entry.kind == "scored" and entry.method_id and entry.badge and not entry.superseded_by
    ]
    pooled = pooled_sd([entry.values for entry in scored])
    out = []
    for measured in scored:
        assert measured.value is not None
        for claim in entries:
            if claim.kind == "scored" or claim.method_id != measured.method_id or claim.value is None:
                continue
            if claim.superseded_by:
                continue
            differ, unstated = differing(claim, measured)
            if differ:
                verdict = Verdict("not comparable", "; ".join(differ), claim.value - measured.value)
            elif missing := [name for name in CORE if name in unstated]:
                verdict = Verdict(
                    "not comparable", f"the claim does not state: {', '.join(missing)}", claim.value - measured.value
                )
            else:
                n = measured.n or 0
                sd, degrees = (pooled or (None, 0)) if n < 5 else (measured.sd, n - 1)
                verdict = reproduction(claim.value, measured.value, n, sd, degrees=degrees)
            out.append((claim, measured, verdict, unstated))
    return out


def _ranked(at: _Draft) -> list[Entry]:
    """A board's entries in the order of its page, with their ranks."""
    independent = _independent(at.entries)
    entries = [
        dataclasses.replace(entry, badge=BADGES[4].id) if entry.id in independent else entry for entry in at.entries
    ]
    higher = at.measure.higher_is_better
    resolution = _resolution(at)
    out: list[Entry] = []
    for track in TRACK_ORDER:
        inside = [entry for entry in entries if entry.track == track]
        takes_part = [
            entry
            for entry in inside
            if entry.value is not None
            and higher is not None
            and not entry.superseded_by
            and entry.badge is not None
            and "two-names-one-metric" not in entry.flags
        ]
        ranks = shared_ranks(
            [entry.value for entry in takes_part if entry.value is not None],
            resolution,
            bool(higher),
            [entry.seed_half or 0.0 for entry in takes_part],
        )
        sign = -1.0 if higher else 1.0
        placed = sorted(
            (dataclasses.replace(entry, rank=rank) for entry, rank in zip(takes_part, ranks, strict=True)),
            key=lambda entry: (entry.rank, sign * (entry.value or 0.0), entry.method, entry.id),
        )
        names = {entry.id for entry in takes_part}
        rest = sorted((entry for entry in inside if entry.id not in names), key=lambda entry: (entry.method, entry.id))
        out += placed + rest
    return out


def _resolution(at: _Draft) -> float | None:
    if at.measure.unit != "%" or not at.variant.num_test or not at.measure.id.endswith(("accuracy", "linear-probe")):
        return None
    return paired_half_width(at.variant.num_test)


def _write_boards(
    connection: sqlite3.Connection, drafts: dict[str, _Draft], documents: list[tuple[str, str, str, str]]
) -> None:
    for address, at in sorted(drafts.items()):
        entries = _ranked(at)
        tasks = sorted({task for entry in entries for task in entry.tasks})
        name = at.variant.name if at.measure.id == "accuracy" else f"{at.variant.name}, {at.measure.name.lower()}"
        values = [entry.value for entry in entries if entry.ranked and entry.value is not None]
        best = (max if at.measure.higher_is_better else min)(values) if values else None
        scored = sum(entry.kind == "scored" for entry in entries)
        updated = max((entry.date for entry in entries if entry.date), default=None)
        board = Board(
            slug=address,
            name=name,
            variant=at.variant,
            measure=at.measure,
            resolution=_resolution(at),
            tasks=tuple(tasks),
            entries=len(entries),
            scored=scored,
            updated=updated,
            notable=at.variant.notable and at.measure.id == "accuracy",
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
                _dump(board),
            ),
        )
        connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    entry.id,
                    address,
                    place,
                    entry.track,
                    entry.badge,
                    entry.method,
                    entry.method_id,
                    entry.paper,
                    entry.backbone,
                    entry.protocol,
                    entry.selection,
                    entry.value,
                    entry.ranked,
                    _dump(entry),
                )
                for place, entry in enumerate(entries)
            ],
        )
        connection.executemany(
            "INSERT INTO listings VALUES (?, ?)", [(entry.id, slug(task)) for entry in entries for task in entry.tasks]
        )
        names = sorted({entry.method for entry in entries})
        documents.append((clean(name), clean(" ".join(names), 60_000), "board", f"boards/{address}.html"))


def _write_tasks(
    connection: sqlite3.Connection,
    root: Path | None,
    papers: dict[str, Paper],
    documents: list[tuple[str, str, str, str]],
) -> None:
    tasks: dict[str, tuple[str, str, list[str]]] = {}

    def add(task: dict[str, Any]) -> None:
        tasks.setdefault(slug(task["task"]), (task["task"], task["description"], task["categories"]))
        for child in task["subtasks"]:
            add(child)

    if root is not None:
        for table in tables(root):
            add(table)
    for (payload,) in connection.execute("SELECT payload FROM boards").fetchall():
        for task in json.loads(payload)["tasks"]:
            tasks.setdefault(slug(task), (task, "", []))
    for paper in papers.values():
        for task in paper.tasks:
            tasks.setdefault(slug(task), (task, "", []))
    for address, (name, description, categories) in sorted(tasks.items()):
        connection.execute(
            "INSERT INTO tasks VALUES (?, ?, ?, ?)",
            (address, clean(name, 300), clean(description), json.dumps(categories)),
        )
        documents.append((clean(name, 300), clean(description), "task", f"tasks/{address}.html"))
    connection.executemany(
        "INSERT INTO paper_tasks VALUES (?, ?)",
        [(paper.id, slug(task)) for paper in papers.values() for task in paper.tasks],
    )


def _write_things(
    connection: sqlite3.Connection,
    content: Content,
    papers: dict[str, Paper],
    submissions: list[dict[str, Any]],
    documents: list[tuple[str, str, str, str]],
) -> None:
    things: list[tuple[str, str, str, str | None, str]] = []
    for paper in papers.values():
        things.append(("paper", paper.id, paper.title, paper.date, _dump(paper)))
        body = " ".join([*paper.authors, paper.summary or "", *(p for facet in paper.facets for p in facet.points)])
        documents.append((clean(paper.title), clean(body, 20_000), "paper", f"papers/{paper.id}.html"))
    for method in content.methods.values():
        things.append(("method", method.id, method.name, None, _dump(method)))
        body = " ".join([method.summary, *method.aliases, method.family])
        documents.append((method.name, clean(body), "method", f"methods/{method.id}.html"))
    for dataset in content.datasets.values():
        things.append(("dataset", dataset.id, dataset.name, None, _dump(dataset)))
        documents.append((dataset.name, dataset.summary, "data set", f"datasets/{dataset.id}.html"))
    for submission in submissions:
        things.append(
            ("submission", submission["id"], submission["name"], submission["created"], json.dumps(submission))
        )
        title = f"{submission['name']}, {submission['data']['name']}"
        documents.append((clean(title, 300), "", "submission", f"submissions/{submission['id']}.html"))
    connection.executemany("INSERT INTO things VALUES (?, ?, ?, ?, ?)", things)


def own_tables(index: Index) -> Iterator[dict[str, Any]]:
    """The board's own lines in the archive's layout, one task after another."""
    for task in index.tasks():
        datasets = []
        for board in index.task_boards(task["slug"]):
            rows: list[dict[str, Any]] = [
                {
                    "model_name": entry.method,
                    "paper_title": entry.paper_title or (paper.title if paper else ""),
                    "paper_url": paper.links[0].url if paper and paper.links else entry.url,
                    "paper_date": entry.date,
                    "code_links": [{"title": link.title, "url": link.url} for link in (paper.code if paper else ())],
                    "model_links": [],
                    "metrics": {entry.metric: entry.raw},
                    "uses_additional_data": entry.extra_data is not None,
                }
                for entry in index.entries(board.slug)
                if task["name"] in entry.tasks and not entry.superseded_by
                for paper in [index.paper(entry.paper) if entry.paper else None]
            ]
            metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
            datasets.append(
                {
                    "dataset": board.variant.name,
                    "description": "",
                    "dataset_links": [],
                    "dataset_citations": [],
                    "sota": {"metrics": metrics, "rows": rows},
                    "subdatasets": [],
                }
            )
        if datasets:
            yield {
                "task": task["name"],
                "description": task["description"],
                "categories": task["categories"],
                "datasets": datasets,
                "subtasks": [],
                "synonyms": [],
                "source_link": None,
            }
