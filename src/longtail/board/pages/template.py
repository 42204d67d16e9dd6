"""The templates, and the one function that renders a page from one."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from longtail.board.archive.claims import FLAGS
from longtail.board.content import TRACKS
from longtail.board.evidence import BADGES
from longtail.board.measures import find_measure
from longtail.board.model import TRACK_ORDER
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
        "measure": lambda name: find_measure(name).id,
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


def fill(template: str, path: str, live: bool, **values: Any) -> str:
    """A page from its template; ``path`` is its address, ``live`` whether a server answers."""
    return (
        environment()
        .get_template(template)
        .render(root="../" * path.count("/"), live=live, section=values.pop("section", path), **values)
    )


def near(page: int, pages: int) -> list[int]:
    """The pages of a long list that a page links to."""
    near = {1, pages, *range(page - 3, page + 4)}
    return sorted(n for n in near if 1 <= n <= pages)
