"""Pages from the index: one function from an address to its content, the same for the static site and the server."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby, pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from longtail.board import charts, feeds
from longtail.board.archive import FLAGS
from longtail.board.content import QUESTIONS, TRACKS, Method, exponential_counts
from longtail.board.evidence import BADGES
from longtail.board.index import TRACK_ORDER, Board, Entry, Index, published_against_measured
from longtail.board.measures import find_measure
from longtail.board.submissions import MAX_SEEDS
from longtail.board.values import clean, safe_url, slug
from longtail.board.verdicts import best_of_inflation, half_width, paired, paired_half_width, reproduction

NAVIGATION = (
    ("tasks.html", "Tasks"),
    ("sota.html", "SotA"),
    ("datasets.html", "Datasets"),
    ("papers.html", "Papers"),
    ("methods.html", "Methods"),
    ("compare.html", "Compare"),
    ("submit.html", "Submit"),
    ("about.html", "About"),
)
ROWS = 100
"""Lines of a board on one page."""
PAPERS = 400
SOTA = 250
PAIRED_SUBMISSIONS = 8
UPLOAD_MIB = 16


def _fixed(value: float | int | None, digits: int = 1) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _code(text: str) -> Markup:
    """Text in which backquotes mark code, everything escaped."""
    parts = str(escape(text)).split("`")
    return Markup("".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)))


@cache
def environment() -> Environment:
    """The templates; every value is escaped, and a name that is missing is an error."""
    made = Environment(
        loader=PackageLoader("longtail.board", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    made.filters |= {
        "fixed": _fixed,
        "probability": lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}",
        "href": safe_url,
        "slug": slug,
        "code": _code,
        "tojson_pretty": lambda value: json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)[:60_000],
    }
    made.globals |= {
        "navigation": NAVIGATION,
        "badges": {badge.id: badge for badge in BADGES},
        "tracks": TRACKS,
        "track_order": TRACK_ORDER,
        "ladder": BADGES,
        "flags": FLAGS,
        # What a page may leave out.
        "words": None,
        "message": None,
        "failed": False,
    }
    return made


def _page(template: str, path: str, live: bool, **values: Any) -> str:
    return (
        environment()
        .get_template(template)
        .render(root="../" * path.count("/"), live=live, section=values.pop("section", path), **values)
    )


def _card(index: Index, board: Board) -> dict[str, Any]:
    leaders = index.leaders(board.slug)
    return {"board": board, "leaders": [(track, leaders[track]) for track in TRACK_ORDER if track in leaders]}


def home(index: Index, live: bool) -> str:
    """Notable benchmarks and the latest changes."""
    notable = index.boards(notable=True)
    count = index.connection.execute("SELECT count(*), (SELECT count(*) FROM boards),"
        " (SELECT count(*) FROM things WHERE kind = 'paper') FROM entries").fetchone()  # fmt: skip
    return _page(
        "home.html",
        "index.html",
        live,
        cards=[_card(index, board) for board in notable],
        changes=index.changes(),
        totals={"entries": count[0], "boards": count[1], "papers": count[2]},
        tail=[round(150 * value / 500) + 3 for value in exponential_counts(500, 100, 40)],
    )


def tasks(index: Index, live: bool) -> str:
    """All tasks."""
    return _page("tasks.html", "tasks.html", live, tasks=index.tasks())


def task(index: Index, live: bool, name: str) -> str | None:
    """One task with its boards and papers."""
    found = next((each for each in index.tasks() if each["slug"] == name), None)
    if found is None:
        return None
    cards = [_card(index, board) for board in index.task_boards(name)[:60]]
    papers = index.task_papers(name)[:PAPERS]
    return _page("task.html", f"tasks/{name}.html", live, section="tasks.html", task=found, cards=cards, papers=papers)


def sota(index: Index, live: bool) -> str:
    """All boards."""
    boards = index.boards()
    cards = [_card(index, board) for board in boards[:SOTA]]
    return _page("sota.html", "sota.html", live, cards=cards, more=max(0, len(boards) - SOTA))


def _tracks(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    return [(track, list(group)) for track, group in groupby(entries, key=lambda entry: entry.track)]


def _gaps(entries: Sequence[Entry], resolution: float | None) -> tuple[int, int] | None:
    """Of the gaps between neighbours of one track, how many the test set cannot tell, and how many there are."""
    if not resolution:
        return None
    small = total = 0
    for _, group in _tracks(entries):
        values = sorted(entry.value for entry in group if entry.rank and entry.value is not None)
        for low, high in pairwise(values):
            small += high - low < resolution
            total += 1
    return (small, total) if total >= 5 else None


def board_path(name: str, page: int = 1) -> str:
    """The address of a board's page."""
    return f"boards/{name}.html" if page == 1 else f"boards/{name}.page-{page}.html"


def board(index: Index, live: bool, name: str, page: int = 1, query: Mapping[str, str] | None = None) -> str | None:
    """One board: its tracks, filters, state of the art over time, and published against measured."""
    found = index.board(name)
    if found is None:
        return None
    chosen = {
        key: value for key, value in (query or {}).items() if key in ("backbone", "protocol", "selection", "badge")
    }
    chosen = {key: value[:200] for key, value in chosen.items() if value}
    shown, count, options = index.filtered(name, chosen, limit=ROWS, offset=(page - 1) * ROWS)
    pages = max(1, math.ceil(count / ROWS))
    if page > pages:
        return None
    everything = shown if count == found.entries and pages == 1 else index.entries(name, limit=5 * ROWS)
    against = _against(index, found) if page == 1 and found.scored else []
    points = [charts.Point(date, track, value, method, badge.startswith(("re-", "ind")))
              for date, track, value, method, badge in index.points(name)]  # fmt: skip
    chart: Markup | None = None
    steps: list[charts.Step] = []
    if page == 1 and points and found.measure.higher_is_better is not None:
        steps = charts.steps(points, found.resolution, found.measure.higher_is_better)
        chart = charts.progress(
            points,
            resolution=found.resolution,
            higher_is_better=found.measure.higher_is_better,
            name=found.name,
            axis=f"{found.measure.name}{', %' if found.measure.unit == '%' else ''}",
        )
    suffix = "".join(f"&{key}={_quote(value)}" for key, value in chosen.items())
    links = [
        (n, f"{name}.html?page={n}{suffix}" if chosen else board_path(name, n).removeprefix("boards/"))
        for n in _pages_near(page, pages)
    ]
    return _page(
        "board.html",
        board_path(name, page),
        live,
        section="sota.html",
        board=found,
        dataset=found.variant.dataset if index.dataset(found.variant.dataset) else None,
        board_tasks=[(slug(each), each) for each in found.tasks[:12]],
        groups=_tracks(shown),
        options=options,
        chosen=chosen,
        shown_total=len(shown),
        complete=pages == 1 and not chosen,
        page=page,
        pages=pages,
        page_links=links,
        gaps=_gaps(everything, found.resolution) if len(everything) == found.entries else None,
        chart=chart,
        chart_tracks=[track for track in TRACK_ORDER if any(step.track == track for step in steps)],
        steps=steps,
        against=against,
    )


def _pages_near(page: int, pages: int) -> list[int]:
    near = {1, pages, *range(page - 3, page + 4)}
    return sorted(n for n in near if 1 <= n <= pages)


def _quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _against(index: Index, board: Board) -> list[Any]:
    """Published against measured on one board; only its scored methods' lines are read."""
    found = index.connection.execute(
        "SELECT id FROM entries WHERE board = ? AND method_id IN (SELECT method_id FROM entries WHERE board = ?"
        " AND json_extract(payload, '$.kind') = 'scored') ORDER BY place LIMIT 400",
        (board.slug, board.slug),
    ).fetchall()
    entries = [entry for (name,) in found if (entry := index.entry(name)) is not None]
    return published_against_measured(entries)


def datasets(index: Index, live: bool) -> str:
    """All data sets and their variants."""
    known = {board.slug for board in index.boards()}
    return _page("datasets.html", "datasets.html", live, datasets=index.datasets(), known=known)


def dataset(index: Index, live: bool, name: str) -> str | None:
    """One data set: variants, class-count curves, boards."""
    found = index.dataset(name)
    if found is None:
        return None
    boards = index.boards()
    curves = {
        variant.id: charts.class_counts(variant.counts, many=variant.many, few=variant.few, name=variant.name)
        if variant.counts
        else None
        for variant in found.variants
    }
    standing = {variant.id: [board for board in boards if board.variant.id == variant.id] for variant in found.variants}
    return _page(
        "dataset.html",
        f"datasets/{name}.html",
        live,
        section="datasets.html",
        d=found,
        charts=curves,
        boards=standing,
    )


def papers_path(page: int) -> str:
    """The address of a page of the list of papers."""
    return "papers.html" if page == 1 else f"papers.page-{page}.html"


def papers(index: Index, live: bool, page: int = 1) -> str | None:
    """The list of papers."""
    found = index.papers()
    pages = max(1, math.ceil(len(found) / PAPERS))
    if page > pages:
        return None
    return _page(
        "papers.html",
        papers_path(page),
        live,
        section="papers.html",
        papers=found[(page - 1) * PAPERS : page * PAPERS],
        total=len(found),
        page=page,
        pages=pages,
        page_links=[(n, papers_path(n)) for n in _pages_near(page, pages)],
    )


def paper(index: Index, live: bool, name: str) -> str | None:
    """One paper: what it says, what it claims, and what was measured here."""
    found = index.paper(name)
    if found is None:
        return None
    entries = sorted(
        (entry for entry in index.entries_where("paper", name) if entry.kind != "scored"),
        key=lambda entry: (entry.order, entry.board),
    )
    catalogued = [entry for entry in entries if entry.catalogued]
    results = catalogued or entries
    all_tasks = list(dict.fromkeys(each for entry in results for each in entry.tasks))
    listed: list[tuple[str | None, Entry]]
    if catalogued:
        listed = [(each, entry) for each in all_tasks for entry in results if each in entry.tasks]
    else:
        listed = [(entry.tasks[0] if entry.tasks else None, entry) for entry in results]
    methods = [method for method in (index.method(each) for each in found.methods) if method]
    against = [row for method in methods for row in _against_method(index, method)]
    tasks = list(dict.fromkeys((*found.tasks, *(all_tasks if catalogued else ()))))
    return _page(
        "paper.html",
        f"papers/{name}.html",
        live,
        section="papers.html",
        p=found,
        task_links=[(slug(each), each) for each in tasks],
        quick=[
            (question, facet) for each, question in QUESTIONS.items() for facet in found.facets
            if facet.name == each and facet.quick
        ],
        listed=listed[:300],
        num_results=len({entry.id for _, entry in listed}),
        further=[entry for entry in entries if not entry.catalogued] if catalogued else [],
        directions={entry.metric: find_measure(entry.metric).higher_is_better for entry in results},
        methods=methods,
        method_names=[method.name for method in methods],
        recipes=[method.recipe for method in methods if method.recipe],
        against=against,
        related=index.related(found),
    )  # fmt: skip


def _against_method(index: Index, method: Method) -> list[Any]:
    entries = index.entries_where("method_id", method.id)
    boards = dict.fromkeys(entry.board for entry in entries if entry.kind == "scored")
    out = []
    for name in boards:
        found = index.board(name)
        if found is not None:
            out += [row for row in _against(index, found) if row[1].method_id == method.id]
    return out


def methods(index: Index, live: bool) -> str:
    """All methods by family."""
    families: dict[str, list[Method]] = {}
    for each in index.methods():
        families.setdefault(each.family, []).append(each)
    order = sorted(families.items(), key=lambda item: (-sum(each.recipe is not None for each in item[1]), item[0]))
    return _page("methods.html", "methods.html", live, families=order)


def method(index: Index, live: bool, name: str) -> str | None:
    """One method over all boards."""
    found = index.method(name)
    if found is None:
        return None
    others = [
        (address, " against ".join(names)) for address, names, ids, _ in pairs(index) if name in ids
    ]  # fmt: skip
    return _page(
        "method.html",
        f"methods/{name}.html",
        live,
        section="methods.html",
        x=found,
        paper=index.paper(found.paper) if found.paper else None,
        against=_against_method(index, found),
        entries=index.entries_where("method_id", name)[:300],
        others=others,
    )


def submission(index: Index, live: bool, name: str) -> str | None:
    """One submission: what was run, and what the scorer found."""
    found, entry = index.submission(name), index.entry(name)
    if found is None or entry is None:
        return None
    standing = index.board(found["board"])
    assert standing is not None
    against = [row for row in _against(index, standing) if row[1].id == name]
    return _page(
        "submission.html",
        f"submissions/{name}.html",
        live,
        section="sota.html",
        s=found,
        e=entry,
        board=standing,
        against=against,
    )


def pairs(index: Index) -> list[tuple[str, tuple[str, str], tuple[str, str], bool]]:
    """Methods that share a board: address, names, identifiers, and whether both were re-scored there."""
    found = index.connection.execute(
        "SELECT a.method_id, b.method_id, max(a.scored AND b.scored) FROM"
        " (SELECT DISTINCT board, method_id, json_extract(payload, '$.kind') = 'scored' AS scored FROM entries"
        "  WHERE method_id IS NOT NULL) a JOIN"
        " (SELECT DISTINCT board, method_id, json_extract(payload, '$.kind') = 'scored' AS scored FROM entries"
        "  WHERE method_id IS NOT NULL) b ON a.board = b.board AND a.method_id < b.method_id"
        " GROUP BY a.method_id, b.method_id ORDER BY 3 DESC, 1, 2"
    ).fetchall()
    names = {each.id: each.name for each in index.methods()}
    return [
        (f"{first}--{second}", (names[first], names[second]), (first, second), bool(both))
        for first, second, both in found
        if first in names and second in names
    ]


def compare(index: Index, live: bool) -> str:
    """The choice of two methods."""
    found = pairs(index)
    chosen = [each for each in index.methods() if any(each.id in ids for _, _, ids, _ in found)]
    return _page(
        "compare.html",
        "compare.html",
        live,
        pairs=[(address, " against ".join(names), both) for address, names, _, both in found],
        methods=chosen,
    )


def pair(index: Index, live: bool, name: str) -> str | None:
    """Two methods on every board that both stand on."""
    first, _, second = name.partition("--")
    a, b = index.method(first), index.method(second)
    if a is None or b is None or first >= second:
        return None
    entries = {each.id: index.entries_where("method_id", each.id) for each in (a, b)}
    shared = sorted({entry.board for entry in entries[a.id]} & {entry.board for entry in entries[b.id]})
    rows = []
    for address in shared:
        standing = index.board(address)
        assert standing is not None
        lines = [entry for each in (a, b) for entry in entries[each.id] if entry.board == address]
        dots = [
            (f"{entry.method}{', ' + entry.protocol if entry.protocol else ''}", entry.value, entry.test_half,
             entry.kind == "scored")
            for entry in lines if entry.value is not None and entry.test_half is not None
        ]  # fmt: skip
        tracks = {entry.track for entry in lines}
        note = "These rows stand in different tracks and are not ranked together." if len(tracks) > 1 else None
        rows.append(
            {
                "board": standing,
                "entries": lines,
                "chart": charts.intervals(dots[:14], name=f"{a.name} and {b.name} on {standing.name}"),
                "paired": _paired(index, lines, a.id, b.id),
                "note": note,
            }
        )
    rows.sort(key=lambda each: not each["paired"])
    return (
        _page("pair.html", f"compare/{name}.html", live, section="compare.html", a=a, b=b, rows=rows) if rows else None
    )


def _paired(index: Index, lines: Sequence[Entry], first: str, second: str) -> list[dict[str, Any]]:
    """Re-scored runs of both methods, image by image, seed for seed."""
    from longtail.board.predictions import read_predictions

    scored = [entry for entry in lines if entry.kind == "scored" and entry.badge and not entry.superseded_by]
    ours = [entry for entry in scored if entry.method_id == first][:PAIRED_SUBMISSIONS]
    theirs = [entry for entry in scored if entry.method_id == second][:PAIRED_SUBMISSIONS]
    out = []
    for one in ours:
        for other in theirs:
            runs = [
                {run["seed"]: run for run in (index.submission(entry.id) or {"score": {"runs": []}})["score"]["runs"]}
                for entry in (one, other)
            ]
            for seed in sorted(set(runs[0]) & set(runs[1]))[:5]:
                assert index.root is not None
                found = []
                for entry, own in zip((one, other), runs, strict=True):
                    file = index.root / "submissions" / entry.id / f"predictions-seed-{seed}.npz"
                    found.append(
                        read_predictions(file.read_bytes(), file.name, num_classes=len(own[seed]["per_class"]))
                    )
                if len(found[0].index) != len(found[1].index):
                    continue
                result = paired(*((each.prediction == each.target).tolist() for each in found))
                word = (
                    "indistinguishable at 95 %" if result.p >= 0.05 else "better" if result.difference > 0 else "worse"
                )
                out.append({"label": f"seed {seed}", "result": result, "word": word})
    return out


def submit(index: Index, live: bool, message: str | None = None, failed: bool = False) -> str:
    """How to send results, and the form where there is a server."""
    limits = {"mib": UPLOAD_MIB, "seeds": MAX_SEEDS}
    return _page("submit.html", "submit.html", live, limits=limits, message=message, failed=failed)


def about(index: Index, live: bool) -> str:
    """What the badges prove, how ranks and verdicts come about, licences."""
    example = [
        (name, published, measured, reproduction(published, measured, 3, 0.34, degrees=8))
        for name, published, measured in (("CE", 38.6, 38.50), ("CE + CMO", 43.9, 42.11))
    ]
    return _page(
        "about.html",
        "about.html",
        live,
        example=example,
        paired_half=paired_half_width(10_000),
        single_half=half_width(50.0, 10_000),
        inflation=[best_of_inflation(n) for n in (3, 5, 10)],
    )


def search(index: Index, live: bool, words: str = "") -> str:
    """What a search finds; the static page searches titles by itself."""
    words = clean(words, 200)
    return _page("search.html", "search.html", live, words=words, results=index.search(words) if live else [])


def missing(live: bool, path: str, message: str | None = None) -> str:
    """The page for an address that is not there."""
    return _page("missing.html", path, live, section="", message=message)


def search_script(index: Index) -> str:
    """Titles for the search of the static site, as a script, because a page from a file may not fetch."""
    text = json.dumps([[title[:140], kind, path] for title, kind, path in index.search_documents()], ensure_ascii=False)
    # A closing tag or a line separator inside a string must not end the script.
    for sign, code in (("<", "\\u003c"), (">", "\\u003e"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(sign, code)
    return f"window.LONGTAIL_SEARCH = {text};\n"


_FIXED: dict[str, Callable[[Index, bool], str]] = {
    "index.html": home,
    "tasks.html": tasks,
    "sota.html": sota,
    "datasets.html": datasets,
    "papers.html": lambda index, live: papers(index, live) or "",
    "methods.html": methods,
    "compare.html": compare,
    "submit.html": submit,
    "about.html": about,
    "search.html": search,
}
_NAMED: dict[str, Callable[[Index, bool, str], str | None]] = {
    "tasks": task,
    "datasets": dataset,
    "papers": paper,
    "methods": method,
    "submissions": submission,
    "compare": pair,
}
_FEEDS: dict[str, tuple[str, Callable[[Index, Board], str]]] = {
    "csv": ("text/csv; charset=utf-8", feeds.as_csv),
    "json": ("application/json", feeds.as_json),
    "atom": ("application/atom+xml", feeds.as_atom),
    "svg": ("image/svg+xml", feeds.badge_svg),
}
_STATIC = {"style.css": "text/css", "board.js": "text/javascript", "favicon.svg": "image/svg+xml"}
_HTML = "text/html; charset=utf-8"


def render(
    index: Index, path: str, *, live: bool = False, query: Mapping[str, str] | None = None
) -> tuple[str, str] | None:
    """The content at an address of the site.

    Args:
        index: the built index.
        path: such as ``boards/imagenet-lt.html``.
        live: whether a server answers, which has a form and a search of its own.
        query: filters of a board.

    Returns:
        Media type and text, or ``None`` if there is no such page.
    """
    if path in _FIXED:
        return _HTML, _FIXED[path](index, live)
    if found := re.fullmatch(r"papers\.page-(\d{1,6})\.html", path):
        page = papers(index, live, int(found[1])) if int(found[1]) > 1 else None
        return (_HTML, page) if page else None
    if path == "static/search.js":
        return "text/javascript", search_script(index)
    if path.startswith("static/") and path.removeprefix("static/") in _STATIC:
        name = path.removeprefix("static/")
        return _STATIC[name], files("longtail.board").joinpath("static", name).read_text("utf-8")
    if found := re.fullmatch(r"boards/([a-z0-9-]{1,200})(?:\.page-(\d{1,6}))?\.(html|csv|json|atom|svg)", path):
        name, number, kind = found[1], int(found[2] or 1), found[3]
        if kind == "html":
            if found[2] is None and query and query.get("page", "").isdecimal():
                number = max(1, min(int(query["page"][:6]), 100_000))
            page = board(index, live, name, number, query)
            return (_HTML, page) if page else None
        standing = index.board(name) if found[2] is None else None
        return (_FEEDS[kind][0], _FEEDS[kind][1](index, standing)) if standing else None
    if found := re.fullmatch(r"(tasks|datasets|papers|methods|submissions|compare)/([a-z0-9-]{1,200})\.html", path):
        page = _NAMED[found[1]](index, live, found[2])
        return (_HTML, page) if page else None
    return None


def paths(index: Index) -> Iterator[str]:
    """Every address of the static site."""
    yield from _FIXED
    yield from (f"static/{name}" for name in (*_STATIC, "search.js"))
    boards = index.boards()
    for standing in boards:
        for page in range(1, max(1, math.ceil(standing.entries / ROWS)) + 1):
            yield board_path(standing.slug, page)
        for kind in _FEEDS:
            yield f"boards/{standing.slug}.{kind}"
    found = index.papers()
    for page in range(2, max(1, math.ceil(len(found) / PAPERS)) + 1):
        yield papers_path(page)
    yield from (f"papers/{each.id}.html" for each in found)
    yield from (f"tasks/{each['slug']}.html" for each in index.tasks())
    yield from (f"datasets/{each.id}.html" for each in index.datasets())
    yield from (f"methods/{each.id}.html" for each in index.methods())
    yield from (f"submissions/{each['id']}.html" for each in index.submissions())
    yield from (f"compare/{address}.html" for address, _, _, _ in pairs(index))
