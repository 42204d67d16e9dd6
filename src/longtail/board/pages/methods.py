"""The list of methods, and the page of each."""

from __future__ import annotations

from typing import Any

from longtail.board.pages.boards import against_board
from longtail.board.pages.pairs import pairs
from longtail.board.pages.template import fill
from longtail.board.reader import Index
from longtail.board.schema import Method


def against_method(index: Index, method: Method) -> list[Any]:
    """Published against measured for one method, over all boards."""
    entries = index.entries_where("method_id", method.id)
    boards = dict.fromkeys(entry.board for entry in entries if entry.kind == "scored")
    out = []
    for name in boards:
        found = index.board(name)
        if found is not None:
            out += [row for row in against_board(index, found) if row[1].method_id == method.id]
    return out


def methods(index: Index, live: bool) -> str:
    """All methods by family."""
    families: dict[str, list[Method]] = {}
    for each in index.methods():
        families.setdefault(each.family, []).append(each)
    order = sorted(families.items(), key=lambda item: (-sum(each.recipe is not None for each in item[1]), item[0]))
    return fill(index, "methods.html", "methods.html", live, families=order)


def method(index: Index, live: bool, name: str) -> str | None:
    """One method over all boards."""
    found = index.method(name)
    if found is None:
        return None
    others = [
        (address, " against ".join(names)) for address, names, ids, _ in pairs(index) if name in ids
    ]  # fmt: skip
    return fill(
        index,
        "method.html",
        f"methods/{name}.html",
        live,
        section="methods.html",
        x=found,
        paper=index.paper(found.paper) if found.paper else None,
        against=against_method(index, found),
        entries=index.entries_where("method_id", name)[:300],
        others=others,
        relations=index.relations(method=name),
        ranked=name in index.ranked_methods(),
    )
