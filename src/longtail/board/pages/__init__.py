"""Pages from the index: one function from an address to its content, the same for the static site and the server."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files

from longtail.board import feeds
from longtail.board.model import Board
from longtail.board.pages.about import about
from longtail.board.pages.boards import board, sota
from longtail.board.pages.datasets import dataset, datasets
from longtail.board.pages.home import home
from longtail.board.pages.interface import interface
from longtail.board.pages.methods import method, methods
from longtail.board.pages.pairs import compare, pair, pairs, pairs_script
from longtail.board.pages.papers import PAPERS, paper, papers, papers_path
from longtail.board.pages.search import search, search_script
from longtail.board.pages.sitemap import parts_of, sitemap
from longtail.board.pages.submissions import submission, submit
from longtail.board.pages.tasks import task, tasks
from longtail.board.reader import PAGE, Index, board_path

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
    "api.html": interface,
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
    "rows.js": ("text/javascript", feeds.rows_script),
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
    if found := re.fullmatch(r"papers\.page-([1-9]\d{0,5})\.html", path):
        page = papers(index, live, int(found[1])) if int(found[1]) > 1 else None
        return (_HTML, page) if page else None
    if path == "feed.atom":
        return "application/atom+xml", feeds.site_atom(index)
    if found := re.fullmatch(r"methods/([a-z0-9-]{1,200})\.svg", path):
        picture = feeds.rank_svg(index, found[1])
        return ("image/svg+xml", picture) if picture else None
    if path == "static/search.js":
        return "text/javascript", search_script(index)
    if path == "static/pairs.js":
        return "text/javascript", pairs_script(index)
    if found := re.fullmatch(r"sitemap(?:-(\d{1,4}))?\.xml", path):
        url = index.settings().url
        text = sitemap(_mapped(index), url, int(found[1]) if found[1] else None) if url else None
        return ("application/xml", text) if text else None
    if path == "robots.txt":
        url = index.settings().url
        return ("text/plain; charset=utf-8", f"User-agent: *\nAllow: /\nSitemap: {url}sitemap.xml\n") if url else None
    if path.startswith("static/") and path.removeprefix("static/") in _STATIC:
        name = path.removeprefix("static/")
        return _STATIC[name], files("longtail.board").joinpath("static", name).read_text("utf-8")
    if found := re.fullmatch(
        r"boards/([a-z0-9-]{1,200})(?:\.page-([1-9]\d{0,5}))?\.(html|csv|json|atom|svg|rows\.js)", path
    ):
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


def _mapped(index: Index) -> list[str]:
    """The pages that a search engine should know."""
    return [path for path in _pages(index) if path.endswith(".html") and path != "search.html"]


def paths(index: Index) -> Iterator[str]:
    """Every address of the static site but its pictures, which :func:`longtail.board.previews.preview` draws."""
    yield from _pages(index)
    if index.settings().url:
        count = parts_of(_mapped(index))
        yield from ("sitemap.xml", "robots.txt")
        yield from (f"sitemap-{number}.xml" for number in range(1, count + 1) if count > 1)


def _pages(index: Index) -> Iterator[str]:
    yield from _FIXED
    yield from (f"static/{name}" for name in (*_STATIC, "search.js", "pairs.js"))
    yield "feed.atom"
    boards = index.boards()
    for standing in boards:
        for page in range(1, max(1, math.ceil(standing.entries / PAGE)) + 1):
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
    yield from (f"methods/{name}.svg" for name in index.ranked_methods())
    yield from (f"submissions/{each['id']}.html" for each in index.submissions())
    yield from (f"compare/{address}.html" for address, _, _, _ in pairs(index))
