"""What the server's interface answers, typed: one model for each thing, from which OpenAPI is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.exceptions import HTTPException
from pydantic import BaseModel, Field

from longtail.board.feeds import board_json, entry_json
from longtail.board.model import Board, Entry, Judged
from longtail.board.schema import Dataset, Method, Paper
from longtail.board.statement import json_schema
from longtail.board.values import slug

Limit = Annotated[int, Query(ge=1, le=1000, description="how many at most")]
Offset = Annotated[int, Query(ge=0, le=10**9, description="how many to leave out at the beginning")]
Name = Annotated[str | None, Query(max_length=200)]


class Failure(BaseModel):
    """What went wrong."""

    error: str


class LinkModel(BaseModel):
    """A titled address."""

    title: str
    url: str


class BestModel(BaseModel):
    """What is known about the best of one track."""

    track: str
    possibly: list[str]
    corrected: float | None
    contrasts: int


class Row(BaseModel):
    """One line of a board; what is not known is null."""

    id: str
    board: str
    rank: int | None = Field(description="one more than the number of entries known to be better")
    rank_high: int | None
    method: str
    method_id: str | None
    options: list[str]
    marks: list[str]
    paper: str | None
    track: str
    badge: str | None
    value: float | None = Field(description="on the scale that the board ranks by")
    sd: float | None
    n: int | None
    low: float | None
    high: float | None
    half_width: float | None
    many: float | None
    medium: float | None
    few: float | None
    backbone: str | None
    epochs: int | None
    augmentation: str | None
    selection: str | None
    extra_data: str | None
    completeness: float
    unstated: list[str]
    date: str | None
    added: str | None
    metric_as_printed: str
    value_as_printed: str
    source: str | None
    locator: str | None
    quote: str | None
    url: str | None
    second_hand: bool
    note: str | None
    flags: list[str]
    tasks: list[str]
    submission: str | None
    supersedes: str | None
    superseded_by: str | None
    withdrawn: str | None


class BoardModel(BaseModel):
    """A board without its rows."""

    slug: str
    name: str
    dataset: str
    variant: str
    imbalance: float | None
    num_test: int | None
    measure: str
    measure_name: str
    unit: str
    higher_is_better: bool | None
    resolution: float | None
    completeness: float | None
    best: list[BestModel]
    tasks: list[str]
    entries: int
    rescored: int
    updated: str | None


class Paged(BaseModel):
    """One page of a list."""

    total: int
    next: str | None = Field(description="the address of the next page; null on the last")


class BoardList(Paged):
    """Boards."""

    items: list[BoardModel]


class BoardRows(BoardModel, Paged):
    """A board with a page of its rows."""

    rows: list[Row]


class PaperModel(BaseModel):
    """A paper."""

    id: str
    title: str
    authors: list[str]
    date: str | None
    venue: str | None
    arxiv: str | None
    tasks: list[str]
    explained: bool


class FacetModel(BaseModel):
    """One side of a paper."""

    name: str
    quick: str | None
    points: list[str]
    where: str
    written_by: str
    by_program: bool
    checked_by: str | None


class RelationModel(BaseModel):
    """A claim that one method beats another, with its verdict."""

    id: str
    board: str
    better: str
    than: str
    claimed_gap: float
    measured_gap: float | None
    low: float | None
    high: float | None
    verdict: Literal["holds", "smaller", "reversed", "undecided", "not comparable", "not measured"]
    reason: str
    submissions: list[str]
    protocol: str
    source: str
    locator: str
    quote: str
    url: str | None
    paper: str | None


class PaperDetail(PaperModel):
    """A paper with what is said of it."""

    summary: str | None
    summary_by: str | None
    links: list[LinkModel]
    code: list[LinkModel]
    methods: list[str]
    facets: list[FacetModel]
    results: list[Row]
    relations: list[RelationModel]


class PaperList(Paged):
    """Papers."""

    items: list[PaperModel]


class MethodModel(BaseModel):
    """A method."""

    id: str
    name: str
    family: str
    summary: str
    recipe: str | None
    paper: str | None
    venue: str | None
    year: int | None
    aliases: list[str]


class MethodDetail(MethodModel):
    """A method with its results."""

    results: list[Row]
    relations: list[RelationModel]


class MethodList(Paged):
    """Methods."""

    items: list[MethodModel]


class VariantModel(BaseModel):
    """One data set at one imbalance."""

    id: str
    name: str
    imbalance: float | None
    images: int | None
    num_classes: int | None
    largest: int | None
    smallest: int | None
    num_test: int | None
    counts: list[int] | None


class DatasetModel(BaseModel):
    """A data set."""

    id: str
    name: str
    full_name: str
    summary: str
    modality: str
    homepage: str | None
    licence: str | None
    variants: list[VariantModel]


class DatasetList(Paged):
    """Data sets."""

    items: list[DatasetModel]


class TaskModel(BaseModel):
    """A task."""

    slug: str
    name: str
    description: str
    areas: list[str]
    boards: int
    papers: int


class TaskList(Paged):
    """Tasks."""

    items: list[TaskModel]


class RelationList(Paged):
    """Claims that one method beats another."""

    items: list[RelationModel]


class SubmissionModel(BaseModel):
    """A submission without its runs."""

    id: str
    board: str
    badge: str | None
    name: str
    options: list[str]
    submitter: str | None
    created: str
    seeds: list[int]
    accuracy: list[float]


class SubmissionList(Paged):
    """Submissions."""

    items: list[SubmissionModel]


class Change(BaseModel):
    """Something that was added."""

    date: str
    title: str
    path: str
    results: int


class ChangeList(BaseModel):
    """What was added last."""

    items: list[Change]


class Hit(BaseModel):
    """Something that a search found."""

    title: str
    kind: str
    path: str
    excerpt: str


class Hits(BaseModel):
    """What a search found, the best first."""

    query: str
    results: list[Hit]


def _row(entry: Entry) -> dict[str, Any]:
    return entry_json(entry)


def _board(board: Board) -> dict[str, Any]:
    return board_json(board)


def _paper(paper: Paper) -> dict[str, Any]:
    names = ("id", "title", "authors", "date", "venue", "arxiv", "tasks")
    return {**{name: getattr(paper, name) for name in names}, "explained": bool(paper.facets)}


def _method(method: Method) -> dict[str, Any]:
    return {name: getattr(method, name) for name in MethodModel.model_fields}


def _dataset(dataset: Dataset) -> dict[str, Any]:
    variants = [{name: getattr(each, name) for name in VariantModel.model_fields} for each in dataset.variants]
    return {name: getattr(dataset, name) for name in DatasetModel.model_fields if name != "variants"} | {
        "variants": variants
    }


def relation_json(each: Judged) -> dict[str, Any]:
    """A claim that one method beats another as the interface gives it.

    Args:
        each: the claim with its verdict.
    """
    kept = ("id", "better", "than", "protocol", "source", "locator", "quote", "url", "paper")
    return {
        **{name: getattr(each.relation, name) for name in kept},
        "board": each.board,
        "claimed_gap": each.relation.gap,
        "measured_gap": each.gap,
        "low": each.low,
        "high": each.high,
        "verdict": each.word,
        "reason": each.reason,
        "submissions": list(each.pair),
    }


def _submission(each: dict[str, Any]) -> dict[str, Any]:
    kept = {name: each[name] for name in ("id", "board", "badge", "name", "options", "submitter", "created")}
    runs = each["score"]["runs"]
    return {**kept, "seeds": [run["seed"] for run in runs], "accuracy": [run["accuracy"] for run in runs]}


def paged(found: list[Any], path: str, limit: int, offset: int, **asked: object) -> dict[str, Any]:
    """One page of a list, with the address of the next.

    Args:
        found: everything that was found.
        path: of the question.
        limit: how many at most.
        offset: how many to leave out at the beginning.
        asked: the rest of the question, which the next address repeats.
    """
    from urllib.parse import quote

    rest = "".join(f"&{name}={quote(str(value), safe='')}" for name, value in asked.items() if value is not None)
    following = f"{path}?limit={limit}&offset={offset + limit}{rest}" if offset + limit < len(found) else None
    return {"total": len(found), "next": following, "items": found[offset : offset + limit]}


def _sorted(rows: list[Entry], board: Board, sort: str, order: str | None) -> list[Entry]:
    if sort == "rank":
        return rows[::-1] if order == "down" else rows
    if sort == "value":
        sign = -1.0 if board.measure.higher_is_better is not False else 1.0
        if order is not None:
            sign = 1.0 if order == "up" else -1.0
        return sorted(rows, key=lambda entry: (entry.value is None, sign * (entry.value or 0.0), entry.id))

    def key(entry: Entry) -> str:
        return str(getattr(entry, sort) or "")

    down = order == "down" or (order is None and sort in ("date", "added"))
    known = sorted((row for row in rows if key(row)), key=lambda row: (key(row).casefold(), row.id), reverse=down)
    return known + [row for row in rows if not key(row)]


def router(reading: Any) -> APIRouter:
    """The questions of ``/api/v1``.

    Args:
        reading: a context manager that gives an open :class:`longtail.board.reader.Index`.
    """
    api = APIRouter(prefix="/api/v1", responses={404: {"model": Failure}, 422: {"model": Failure}})

    def gone(what: str) -> HTTPException:
        return HTTPException(404, f"no such {what}")

    @api.get("/boards", response_model=BoardList)
    def boards(
        limit: Limit = 100, offset: Offset = 0, dataset: Name = None, task: Name = None, measure: Name = None
    ) -> dict[str, Any]:
        """All boards, those of one variant of a data set, of one measure, or those that a task lists."""
        with reading() as index:
            found = index.boards(dataset=dataset) if task is None else index.task_boards(slug(task))
        found = [each for each in found if dataset in (None, each.variant.id) and measure in (None, each.measure.id)]
        asked = {"dataset": dataset, "task": task, "measure": measure}
        return paged([_board(each) for each in found], "/api/v1/boards", limit, offset, **asked)

    @api.get("/boards/{name}", response_model=BoardRows)
    def board(
        name: str,
        limit: Limit = 100,
        offset: Offset = 0,
        track: Name = None,
        badge: Name = None,
        backbone: Name = None,
        protocol: Name = None,
        selection: Name = None,
        method: Annotated[str | None, Query(max_length=200, description="identifier or name")] = None,
        extra: Annotated[bool | None, Query(description="with (true) or without (false) extra data")] = None,
        ranked: Annotated[bool | None, Query(description="only those that are ranked, or are not")] = None,
        sort: Literal["rank", "value", "date", "added", "method"] = "rank",
        order: Literal["up", "down"] | None = None,
    ) -> dict[str, Any]:
        """One board with its rows, a page at a time."""
        given = {"backbone": backbone, "protocol": protocol, "selection": selection, "badge": badge}
        chosen = {key: value for key, value in given.items() if value is not None}
        with reading() as index:
            found = index.board(name)
            if found is None:
                raise gone("board")
            if chosen:
                rows, _ = index.filtered(name, chosen, index.spellings(name), limit=-1, offset=0)
            else:
                rows = index.entries(name, track=track)
        rows = [
            row
            for row in rows
            if track in (None, row.track)
            and method in (None, row.method_id, row.method)
            and extra in (None, row.extra_data is not None)
            and ranked in (None, row.ranked)
        ]
        page = _sorted(rows, found, sort, order)[offset : offset + limit]
        asked: dict[str, object] = {"track": track, **chosen, "method": method, "order": order}
        asked |= {"extra": None if extra is None else str(extra).lower()}
        asked |= {"ranked": None if ranked is None else str(ranked).lower(), "sort": None if sort == "rank" else sort}
        link = paged(rows, f"/api/v1/boards/{name}", limit, offset, **asked)["next"]
        return {**_board(found), "total": len(rows), "next": link, "rows": [_row(row) for row in page]}

    @api.get("/papers", response_model=PaperList)
    def papers(
        limit: Limit = 100,
        offset: Offset = 0,
        q: Annotated[str | None, Query(max_length=200, description="words of the title, an author or a venue")] = None,
        task: Name = None,
        explained: bool | None = None,
        sort: Literal["explained", "date", "title"] = "explained",
        order: Literal["up", "down"] | None = None,
    ) -> dict[str, Any]:
        """All papers, or those that fit."""
        with reading() as index:
            found = index.papers() if task is None else index.task_papers(slug(task))
        if q is not None:
            words = q.casefold().split()
            texts = {each.id: " ".join((each.title, *each.authors, each.venue or "")).casefold() for each in found}
            found = [each for each in found if all(word in texts[each.id] for word in words)]
        if explained is not None:
            found = [each for each in found if bool(each.facets) is explained]
        if sort != "explained":
            down = order == "down" or (order is None and sort == "date")
            found = sorted(found, key=lambda each: (str(getattr(each, sort) or "").casefold(), each.id), reverse=down)
        elif order == "down":
            found = found[::-1]
        asked = {"q": q, "task": task, "explained": None if explained is None else str(explained).lower()}
        asked |= {"sort": None if sort == "explained" else sort, "order": order}
        page = paged(found, "/api/v1/papers", limit, offset, **asked)
        return {**page, "items": [_paper(each) for each in page["items"]]}

    @api.get("/papers/{name}", response_model=PaperDetail)
    def paper(name: str) -> dict[str, Any]:
        """One paper with its facets, results and comparisons."""
        with reading() as index:
            found = index.paper(name)
            if found is None:
                raise gone("paper")
            rows = [entry for entry in index.entries_where("paper", name) if entry.kind != "scored"]
            relations = index.relations(paper=name)
        facets = [{key: getattr(each, key) for key in FacetModel.model_fields} for each in found.facets]
        links = {key: [vars(link) for link in getattr(found, key)] for key in ("links", "code")}
        return {
            **_paper(found),
            **links,
            "summary": found.summary,
            "summary_by": found.summary_by,
            "methods": found.methods,
            "facets": facets,
            "results": [_row(row) for row in rows],
            "relations": [relation_json(each) for each in relations],
        }

    @api.get("/methods", response_model=MethodList)
    def methods(
        limit: Limit = 100,
        offset: Offset = 0,
        family: Name = None,
        recipe: Annotated[bool | None, Query(description="with or without a recipe in the library")] = None,
    ) -> dict[str, Any]:
        """All methods, or those that fit."""
        with reading() as index:
            found = index.methods()
        found = [each for each in found if family in (None, each.family) and recipe in (None, each.recipe is not None)]
        asked = {"family": family, "recipe": None if recipe is None else str(recipe).lower()}
        return paged([_method(each) for each in found], "/api/v1/methods", limit, offset, **asked)

    @api.get("/methods/{name}", response_model=MethodDetail)
    def method(name: str) -> dict[str, Any]:
        """One method with its results on all boards."""
        with reading() as index:
            found = index.method(name)
            if found is None:
                raise gone("method")
            rows, relations = index.entries_where("method_id", name), index.relations(method=name)
        return {
            **_method(found),
            "results": [_row(row) for row in rows],
            "relations": [relation_json(each) for each in relations],
        }

    @api.get("/datasets", response_model=DatasetList)
    def datasets(limit: Limit = 100, offset: Offset = 0) -> dict[str, Any]:
        """All data sets with their variants."""
        with reading() as index:
            page = paged(index.datasets(), "/api/v1/datasets", limit, offset)
        return {**page, "items": [_dataset(each) for each in page["items"]]}

    @api.get("/tasks", response_model=TaskList)
    def tasks(limit: Limit = 100, offset: Offset = 0) -> dict[str, Any]:
        """All tasks."""
        with reading() as index:
            found = [{**each, "areas": each["categories"]} for each in index.tasks()]
        return paged(found, "/api/v1/tasks", limit, offset)

    @api.get("/relations", response_model=RelationList)
    def relations(limit: Limit = 100, offset: Offset = 0, board: Name = None, method: Name = None) -> dict[str, Any]:
        """Claims that one method beats another, with their verdicts."""
        asked = {"board": board, "method": method}
        with reading() as index:
            found = index.relations(**{key: value for key, value in asked.items() if value is not None})
        return paged([relation_json(each) for each in found], "/api/v1/relations", limit, offset, **asked)

    @api.get("/submissions", response_model=SubmissionList)
    def submissions(limit: Limit = 100, offset: Offset = 0, board: Name = None) -> dict[str, Any]:
        """All re-scored submissions, the latest first."""
        with reading() as index:
            found = [each for each in index.submissions() if board in (None, each["board"])]
        return paged([_submission(each) for each in found], "/api/v1/submissions", limit, offset, board=board)

    @api.get("/submissions/{name}")
    def submission(name: str) -> dict[str, Any]:
        """One submission with its scores, its configuration and what the scorer found."""
        with reading() as index:
            found: dict[str, Any] | None = index.submission(name)
        if found is None:
            raise gone("submission")
        return found

    @api.get("/changes", response_model=ChangeList)
    def changes(limit: Limit = 100, board: Name = None) -> dict[str, Any]:
        """What was added last, to all boards or to one."""
        with reading() as index:
            return {"items": index.changes(board, limit)}

    @api.get("/search", response_model=Hits)
    def find(
        q: Annotated[str, Query(max_length=200)] = "", limit: Annotated[int, Query(ge=1, le=100)] = 40
    ) -> dict[str, Any]:
        """Full-text search."""
        with reading() as index:
            return {"query": q, "results": index.search(q, limit)}

    @api.get("/statement.schema.json")
    def statement_schema() -> dict[str, Any]:
        """The JSON schema of what a submission of any framework states."""
        return json_schema()

    return api
