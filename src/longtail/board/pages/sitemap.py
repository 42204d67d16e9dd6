"""The site map for search engines, where the public address of the site is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

LIMIT = 50_000
"""Addresses that one file of a site map may hold."""


def sitemap(pages: Sequence[str], url: str, part: int | None = None) -> str | None:
    """The site map, or one part of a long one.

    Args:
        pages: addresses of all pages, relative to the site.
        url: the public address of the site, with a slash at its end.
        part: which part, from 1; ``None`` for the first file.

    Returns:
        The XML; ``None`` if there is no such part.

    Example:
        >>> print(sitemap(["index.html"], "https://example.org/"))
        <?xml version="1.0" encoding="utf-8"?>
        <urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
        <url><loc>https://example.org/index.html</loc></url>
        </urlset>
        <BLANKLINE>
    """
    parts = parts_of(pages)
    if part is None and parts > 1:
        return _xml("sitemapindex", "sitemap", [f"{url}sitemap-{n}.xml" for n in range(1, parts + 1)])
    if part is not None and not 1 <= part <= parts:
        return None
    start = ((part or 1) - 1) * LIMIT
    return _xml("urlset", "url", [url + page for page in pages[start : start + LIMIT]])


def parts_of(pages: Sequence[str]) -> int:
    """How many files a site map of so many pages needs."""
    return max(1, math.ceil(len(pages) / LIMIT))


def _xml(outer: str, inner: str, addresses: Sequence[str]) -> str:
    lines = "\n".join(f"<{inner}><loc>{escape(each)}</loc></{inner}>" for each in addresses)
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f'{head}\n<{outer} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{lines}\n</{outer}>\n'
