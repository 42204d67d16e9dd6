"""The templates, and the one function that renders a page from one."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from longtail.board.archive.claims import FLAGS
from longtail.board.evidence import BADGES
from longtail.board.model import PROTOCOL, PROTOCOL_WORDS, TRACK_ORDER, Entry, stated_share
from longtail.board.reader import Index
from longtail.board.schema import TRACKS, Settings
from longtail.board.values import clean, safe_url, slug

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


def _fixed(value: float | int | None, digits: int = 1) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _code(text: str) -> Markup:
    """Text in which backquotes mark code, everything escaped."""
    parts = str(escape(text)).split("`")
    return Markup("".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)))


def _number(value: float | None, digits: int = 1) -> Markup:
    return Markup('<span class="dash" title="no value">–</span>') if value is None else Markup(_fixed(value, digits))


def _interval(entry: Entry) -> Markup:
    if entry.low is None or entry.high is None:
        return Markup('<span class="dash" title="no interval">–</span>')
    return Markup(f'<span class="interval">[{_fixed(entry.low, 2)}, {_fixed(entry.high, 2)}]</span>')


def _rank(entry: Entry) -> Markup:
    if entry.rank is None:
        return Markup('<span class="dash" title="not ranked">–</span>')
    if entry.rank_high in (None, entry.rank):
        return Markup(str(entry.rank))
    span = f"{entry.rank}–{entry.rank_high}"
    return Markup(f"{entry.rank}<small>{span}</small>")


def _spread(entry: Entry) -> Markup:
    if entry.kind == "scored" and entry.sd is not None:
        return Markup(f'<span class="sd">± {_fixed(entry.sd, 2)}</span> <span class="n">({entry.n})</span>')
    return Markup(f'<span class="n">({entry.n or 1})</span>' if entry.kind == "scored" or entry.n else "")


@cache
def _badge(name: str | None, root: str) -> Markup:
    """A badge, which says what it proves when one points at it."""
    if name is None:
        return Markup(
            f'<a class="badge none" href="{root}about.html#badges" title="The test set\'s labels are not known here:'
            ' shown as submitted, not ranked">As submitted</a>'
        )
    badge = next(each for each in BADGES if each.id == name)
    head = f'<a class="badge b{badge.level}" href="{root}about.html#badge-{badge.id}"'
    return Markup(f'{head} title="{escape(badge.proves)}">{escape(badge.name)}</a>')


def _link(text: str, url: object) -> Markup:
    """Text that leads to an address, if a page may link to it."""
    safe, shown = safe_url(url), escape(clean(text))
    return Markup(f'<a href="{escape(safe)}" rel="noopener nofollow">{shown}</a>') if safe else shown


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
        "stated_share": stated_share,
        "number": _number,
        "interval": _interval,
        "rank": _rank,
        "spread": _spread,
        "badge": _badge,
        "link": _link,
        "tojson_pretty": lambda value: json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)[:60_000],
    }
    made.globals |= {
        "navigation": NAVIGATION,
        "badges": {badge.id: badge for badge in BADGES},
        "tracks": TRACKS,
        "track_order": TRACK_ORDER,
        "ladder": BADGES,
        "protocol_words": [PROTOCOL_WORDS[name] for name in PROTOCOL],
        "flags": FLAGS,
        # What a page may leave out.
        "words": None,
        "message": None,
        "failed": False,
    }
    return made


def prepare() -> None:
    """Compile every template, so that no visitor waits for it."""
    made = environment()
    for name in made.list_templates(extensions=["html"]):
        made.get_template(name)


def fill(index: Index | None, template: str, path: str, live: bool, **values: Any) -> str:
    """A page from its template; ``path`` is its address, ``live`` whether a server answers.

    Args:
        index: the built index, for what the board says of itself; ``None`` for a page without one.
        template: its file.
        path: the page's address.
        live: whether a server answers.
        values: what the template needs; ``section`` is the part of the site that the page belongs to.
    """
    site = index.settings() if index is not None else Settings()
    values.setdefault("section", path)
    values.setdefault("preview", "previews/site.png")
    return (
        environment()
        .get_template(template)
        .render(root="../" * path.count("/"), path=path, live=live, site=site, talk=_talk(index, site, path), **values)
    )


def _talk(index: Index | None, site: Settings, path: str) -> dict[str, Any]:
    """What people say on a page, and the address that opens an issue about it with the page's own filled in."""
    on = path.removesuffix(".html")
    address = f"{site.url or ''}{path}"
    issue = None
    if site.issues:
        joint = "&" if "?" in site.issues else "?"
        issue = f"{site.issues}{joint}title={quote(on, safe='')}&body={quote(f'About {address}', safe='')}"
    return {"on": on, "notes": index.notes(on) if index is not None and path.count("/") == 1 else [], "issue": issue}


def near(page: int, pages: int) -> list[int]:
    """The pages of a long list that a page links to."""
    near = {1, pages, *range(page - 3, page + 4)}
    return sorted(n for n in near if 1 <= n <= pages)
