"""The archive's other dumps: papers with abstracts, links between papers and code, methods, data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from longtail.board.archive.layout import TWICE, Refused
from longtail.errors import InputError

Reader = Callable[[Any, str, Refused], dict[str, Any] | None]


def _text(given: dict[str, Any], name: str, *, needed: bool = False) -> str | None:
    value = given.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or (needed and not value.strip()):
        raise InputError(f"{name}: expected a text, found {'null' if value is None else type(value).__name__}")
    return value


def _texts(given: dict[str, Any], name: str) -> list[str]:
    """A list of names; where the archive has objects, their ``name`` or ``method`` counts."""
    found = []
    listed = given.get(name) or []
    if not isinstance(listed, list):
        raise InputError(f"{name}: expected a list, found {type(listed).__name__}")
    for each in listed:
        if isinstance(each, dict):
            each = each.get("name") or each.get("method") or each.get("collection") or each.get("task")
        if isinstance(each, str) and each.strip():
            found.append(each)
    return found


def _paper(given: dict[str, Any]) -> dict[str, Any]:
    texts = ("paper_url", "arxiv_id", "abstract", "url_abs", "url_pdf", "proceeding", "date")
    return {
        "title": _text(given, "title", needed=True),
        **{name: _text(given, name) for name in texts},
        **{name: _texts(given, name) for name in ("authors", "tasks", "methods")},
    }


def _link(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "repo_url": _text(given, "repo_url", needed=True),
        **{name: _text(given, name) for name in ("paper_url", "paper_title", "paper_arxiv_id", "framework")},
        **{name: given.get(name) is True for name in ("is_official", "mentioned_in_paper")},
    }


def _method(given: dict[str, Any]) -> dict[str, Any]:
    year = given.get("introduced_year")
    if isinstance(year, str) and year.strip().isdecimal():
        year = int(year[:6])
    paper = given.get("paper")
    return {
        "name": _text(given, "name", needed=True),
        **{name: _text(given, name) for name in ("full_name", "description")},
        "introduced_year": year if type(year) is int and 1900 <= year <= 2100 else None,
        "collections": _texts(given, "collections"),
        "paper_title": _text(paper, "title") if isinstance(paper, dict) else None,
    }


def _dataset(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _text(given, "name", needed=True),
        **{name: _text(given, name) for name in ("full_name", "description", "homepage")},
        **{name: _texts(given, name) for name in ("modalities", "tasks", "variants")},
    }


def _reader(read: Callable[[dict[str, Any]], dict[str, Any]]) -> Reader:
    def reader(given: Any, where: str, refused: Refused) -> dict[str, Any] | None:
        try:
            if not isinstance(given, dict) or TWICE in given:
                raise InputError("expected an object in which each key stands once")
            return read(given)
        except InputError as error:
            refused(where, str(error), given)
            return None

    return reader


READERS: dict[str, Reader] = {
    "papers": _reader(_paper),
    "links": _reader(_link),
    "methods": _reader(_method),
    "datasets": _reader(_dataset),
}


def kind_of(first: Any) -> str | None:
    """Which dump a file is, by the keys of its first element; ``None`` if it is none.

    Example:
        >>> kind_of({"repo_url": "https://example.org", "paper_url": None})
        'links'
    """
    marks = (
        ("tables", {"task", "datasets"}),
        ("tables", {"task", "subtasks"}),
        ("links", {"repo_url"}),
        ("papers", {"title", "abstract"}),
        ("papers", {"title", "paper_url"}),
        ("datasets", {"name", "homepage"}),
        ("datasets", {"name", "variants"}),
        ("methods", {"name", "introduced_year"}),
        ("methods", {"name", "collections"}),
        ("tables", {"task"}),
    )
    keys = set(first) if isinstance(first, dict) else set()
    return next((kind for kind, needed in marks if needed <= keys), None)
