"""What a search finds."""

from __future__ import annotations

from longtail.board.feeds import as_script
from longtail.board.pages.template import fill
from longtail.board.reader import Index
from longtail.board.values import clean


def search(index: Index, live: bool, words: str = "") -> str:
    """What a search finds; the static page searches titles by itself."""
    words = clean(words, 200)
    results, left_out = (index.search(words), 0) if live else ([], index.search_documents()[1])
    return fill(index, "search.html", "search.html", live, words=words, results=results, left_out=left_out)


def missing(live: bool, path: str, message: str | None = None, heading: str = "Not found") -> str:
    """The page for an address that is not there, or for whatever else went wrong."""
    return fill(None, "missing.html", path, live, section="", message=message, heading=heading)


def search_script(index: Index) -> str:
    """Titles for the search of the static site, as a script, because a page from a file may not fetch."""
    found = [[title[:140], kind, path, names[:200]] for title, kind, path, names in index.search_documents()[0]]
    return as_script("LONGTAIL_SEARCH", found)
