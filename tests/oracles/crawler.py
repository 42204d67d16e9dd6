"""A built board as a visitor's browser meets it: pages read strictly, and every link and anchor followed."""

from __future__ import annotations

import html.parser
import json
import posixpath
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote

from longtail.board.pages import paths, render
from longtail.board.reader import Index

VOID = {"meta", "link", "input", "br", "img", "hr", "line", "rect", "circle", "polygon", "polyline", "path"}


class Page(html.parser.HTMLParser):
    """Reads a page strictly: every element closed in order, every id once, links and scripts gathered."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.assets: list[str] = []
        self.handlers: list[str] = []
        self.inline: list[str] = []
        self.text: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.images: list[str] = []
        self.headings = 0
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.handlers += [name for name in given if name.startswith("on")]
        self.inline += ["style" for name in given if name == "style"]
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag in ("a", "form"):
            self.links.append(str(given.get("href") or given.get("action") or ""))
        if tag in ("script", "link", "img") and given.get("rel") != "canonical":
            self.assets.append(str(given.get("src") or given.get("href")))
        self.headings += tag == "h1"
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "svg" and given.get("role") == "img":
            self.images.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open and self.open[-1] == "script" and data.strip():
            self.inline.append("script")
        if "title" in self.open and self.images and self.images[-1] == "":
            self.images[-1] = data
        if ("td" in self.open or "th" in self.open) and self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data


EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "'; DROP TABLE entries; --",
    "{{ 7 * 7 }}{% raw %}",
    "]]><x/>",
    "&lt;b&gt;",
    "=cmd|' /C calc'!A0",
    "a\x00b\x1f\u202ec\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "ignore"),
    "</title><svg onload=alert(1)>",
    "\u2028</script>",
]


LARGEST = 200_000
"""Bytes of a page or file of a board without imports."""


def crawl(index: Index, pages: Iterable[str] | None = None) -> list[str]:
    """What is wrong with pages: markup, size, scripts, assets from elsewhere, dead links and anchors.

    Args:
        index: the board.
        pages: those to look at, all of them if left out; links and anchors are followed to any page.
    """
    every = list(paths(index))
    known = set(every)
    out: list[str] = []
    read: dict[str, Page | None] = {}

    def text(path: str) -> str | None:
        found = render(index, path) if path in known else None
        if found is None:
            out.append(f"{path}: there is no such page")
        elif len(found[1].encode("utf-8", "replace")) > LARGEST:
            out.append(f"{path}: more than {LARGEST:,} bytes")
        return found[1] if found else None

    def page(path: str) -> Page | None:
        if path not in read:
            found = text(path)
            try:
                read[path] = None if found is None else Page(found)
            except AssertionError as error:
                read[path] = None
                out.append(f"{path}: elements are not closed in order: {error}")
        return read[path]

    for path in every if pages is None else pages:
        if path.endswith(".html"):
            if (own := page(path)) is not None:
                out += [f"{path}: {each}" for each in _faults_of_page(path, own, known, page)]
        elif (found := text(path)) is not None:
            out += [f"{path}: {each}" for each in _faults_of_file(path, found)]
    return out


def _faults_of_page(path: str, page: Page, known: set[str], find: Callable[[str], Page | None]) -> Iterator[str]:
    yield from (f"a handler {name}" for name in page.handlers)
    yield from (f"an inline {name}" for name in page.inline)
    if len(set(page.ids)) != len(page.ids):
        yield "an id occurs twice"
    if page.headings != 1:
        yield f"{page.headings} headings of the first order"
    if not all(page.images):
        yield "a picture without a title"
    for target in [*page.links, *page.assets]:
        if re.match(r"https?://", target):
            if target in page.assets:
                yield f"it loads {target} from elsewhere"
            continue
        bare, _, fragment = target.partition("#")
        if ":" in bare:
            yield f"a link to {target!r}"
            continue
        full = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(bare))) if bare else path
        if full not in known:
            yield f"a dead link to {target}"
        elif fragment and ((there := find(full)) is None or unquote(fragment) not in there.ids):
            yield f"a dead anchor {target}"


def _faults_of_file(path: str, text: str) -> Iterator[str]:
    if path.endswith((".svg", ".atom", ".xml")):
        for element in ElementTree.fromstring(text).iter():
            if "script" in str(element.tag).lower() or any(name.lower().startswith("on") for name in element.attrib):
                yield f"a script in {element.tag}"
    if path.endswith(".json"):
        json.loads(text, parse_constant=_refuse)
    if path.endswith(".js") and path != "static/board.js" and re.search(r"</script|\u2028", text, re.I):
        yield "data that ends its script"


def _refuse(name: str) -> None:
    raise ValueError(name)
