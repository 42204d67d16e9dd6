"""The list of boards, and the page of each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from longtail.board import charts
from longtail.board.model import TRACK_ORDER, Board, Entry, parse
from longtail.board.pages.template import fill, near
from longtail.board.ranking import published_against_measured
from longtail.board.reader import FILTERS, PAGE, Index, board_path
from longtail.board.schema import Paper
from longtail.board.values import slug

SOTA = 250
OTHERS = 4
"""Further metrics that a board shows beside its own."""


def card(index: Index, board: Board) -> dict[str, Any]:
    """A board with the leader of each of its tracks."""
    leaders = index.leaders(board.slug)
    return {"board": board, "leaders": [(track, leaders[track]) for track in TRACK_ORDER if track in leaders]}


def sota(index: Index, live: bool) -> str:
    """All boards."""
    boards = index.boards()
    cards = [card(index, board) for board in boards[:SOTA]]
    return fill(index, "sota.html", "sota.html", live, cards=cards, more=max(0, len(boards) - SOTA))


def _tracks(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    return [(track, list(group)) for track, group in groupby(entries, key=lambda entry: entry.track)]


def _gaps(index: Index, board: Board) -> tuple[int, int] | None:
    """Of the gaps between neighbours of one track, how many the test set cannot tell, and how many there are."""
    if not board.resolution:
        return None
    tracks = index.ranked_values(board.slug).values()
    gaps = [high - low for values in tracks for low, high in pairwise(sorted(values))]
    return (sum(gap < board.resolution for gap in gaps), len(gaps)) if len(gaps) >= 5 else None


def board(index: Index, live: bool, name: str, page: int = 1, query: Mapping[str, str] | None = None) -> str | None:
    """One board: its tracks, filters, state of the art over time, and published against measured."""
    found = index.board(name)
    if found is None:
        return None
    chosen = {key: value[:200] for key, value in (query or {}).items() if key in (*FILTERS, "extra") and value}
    spelled = index.spellings(name)
    if live or chosen:
        shown, count = index.filtered(name, chosen, spelled, limit=PAGE, offset=(page - 1) * PAGE)
    else:  # Every page is wanted, and the files with all lines after them.
        shown, count = index.entries(name)[(page - 1) * PAGE : page * PAGE], found.entries
    pages = max(1, math.ceil(count / PAGE))
    if page > pages:
        return None
    against = against_board(index, found) if page == 1 and found.scored else []
    dated = index.points(name) if page == 1 else []
    points = [
        charts.Point(day, track, value, method, badge.startswith(("re-", "ind")))
        for day, track, value, method, badge in dated
    ]
    chart: Markup | None = None
    steps: list[charts.Step] = []
    if points and found.measure.higher_is_better is not None:
        steps = charts.steps(points, found.resolution, found.measure.higher_is_better)
        chart = charts.progress(
            points,
            resolution=found.resolution,
            higher_is_better=found.measure.higher_is_better,
            name=found.name,
            axis=f"{found.measure.name}{', %' if found.measure.unit == '%' else ''}",
        )
    suffix = "".join(f"&{key}={quote(value)}" for key, value in chosen.items())
    links = [
        (n, f"{name}.html?page={n}{suffix}" if chosen else board_path(name, n).removeprefix("boards/"))
        for n in near(page, pages)
    ]
    return fill(
        index,
        "board.html",
        board_path(name, page),
        live,
        section="sota.html",
        board=found,
        dataset=found.variant.dataset if index.dataset(found.variant.dataset) else None,
        board_tasks=[(slug(each), each) for each in found.tasks[:12]],
        groups=_tracks(shown),
        options={each: sorted(set(known.values())) for each, known in spelled.items()},
        spelled=defaultdict(str, {each: standing for known in spelled.values() for each, standing in known.items()}),
        bests={each.track: each for each in found.best},
        shows={
            "groups": any(value is not None for entry in shown for value in (entry.many, entry.medium, entry.few)),
            "extra": any(entry.extra_data for entry in shown),
        },
        others=_other_measures(index, found, shown),
        papers=_papers(index, shown),
        recipes=index.recipes(),
        where=lambda each: index.anchor(each) or "sota.html",
        known_papers=index.known_papers(entry.paper for entry in shown),
        chosen=chosen,
        shown_total=len(shown),
        complete=pages == 1 and not chosen,
        rows_script=f"{name}.rows.js" if pages > 1 and not live else None,
        page=page,
        pages=pages,
        page_links=links,
        gaps=_gaps(index, found),
        chart=chart,
        chart_tracks=[track for track in TRACK_ORDER if any(step.track == track for step in steps)],
        steps=steps,
        against=against,
        relations=index.relations(board=name) if page == 1 else [],
        preview=f"previews/boards/{name}.png",
    )


def _papers(index: Index, shown: Sequence[Entry]) -> dict[str, Paper | None]:
    """For each line its paper, if it has one: the one that prints it for its own method, else its method's."""
    owner: dict[str, str | None] = {}
    for name in {entry.method_id for entry in shown if entry.method_id}:
        method = index.method(name)
        owner[name] = method.paper if method else None
    known: dict[str, Paper | None] = {}
    out: dict[str, Paper | None] = {}
    for entry in shown:
        out[entry.id] = None
        for at in (owner.get(entry.method_id or ""), entry.paper):
            if at is not None and at not in known:
                known[at] = index.paper(at)
            if at is not None and (paper := known[at]) is not None:
                out[entry.id] = paper
                break
    return out


def _other_measures(index: Index, board: Board, shown: Sequence[Entry]) -> list[dict[str, Any]]:
    """Further metrics that rows of the board state of the same source, each as a column.

    Only lines that stand are joined, and only where one line on either side is of that method, source and protocol.
    """
    out = []
    places = _alone(shown)
    for other in index.boards(dataset=board.variant.id):
        if other.slug == board.slug:
            continue
        lines = [entry for entry in index.entries(other.slug, limit=5 * PAGE) if entry.kind != "scored"]
        values = {
            places[key].id: "–" if entry.value is None else f"{entry.value:.2f}"
            for key, entry in _alone(lines).items()
            if key in places
        }
        if 10 * len(values) >= len(shown):
            out.append({"name": other.measure.name, "shown": values})
    return out[:OTHERS]


def _alone(lines: Sequence[Entry]) -> dict[tuple[object, ...], Entry]:
    """Lines that stand, by what tells the metrics of one result from those of another, where it does."""
    found: dict[tuple[object, ...], list[Entry]] = {}
    for entry in lines:
        if entry.current:
            told = (entry.method, entry.options, entry.url, entry.paper_title, entry.date)
            found.setdefault((*told, entry.track, entry.backbone, entry.protocol, entry.selection), []).append(entry)
    return {key: held[0] for key, held in found.items() if len(held) == 1}


def against_board(index: Index, board: Board) -> list[Any]:
    """Published against measured on one board; only its scored methods' lines are read."""
    found = index.connection.execute(
        "SELECT payload FROM entries WHERE board = :board AND method_id IN"
        " (SELECT method_id FROM entries WHERE board = :board AND scored = 1) ORDER BY place LIMIT 400",
        {"board": board.slug},
    )
    return published_against_measured([parse(Entry, payload) for (payload,) in found])
