"""Two methods beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longtail.board import charts
from longtail.board.feeds import as_script
from longtail.board.model import Entry
from longtail.board.pages.template import fill
from longtail.board.reader import Index
from longtail.board.verdicts import agreement, contrasts, same_items

PAIRED_SUBMISSIONS = 8


def pairs(index: Index) -> list[tuple[str, tuple[str, str], tuple[str, str], bool]]:
    """Methods that share a board: address, names, identifiers, and whether both were re-scored there."""
    found = index.connection.execute(
        "SELECT first, second, scored FROM pairs ORDER BY scored DESC, first, second"
    ).fetchall()
    names = {each.id: each.name for each in index.methods()}
    return [
        (f"{first}--{second}", (names[first], names[second]), (first, second), bool(both))
        for first, second, both in found
        if first in names and second in names
    ]


def pairs_script(index: Index) -> str:
    """The addresses of all pairs, as a script, so that the static page knows which there are."""
    return as_script("LONGTAIL_PAIRS", [address for address, _, _, _ in pairs(index)])


def compare(index: Index, live: bool) -> str:
    """The choice of two methods."""
    found = pairs(index)
    chosen = [each for each in index.methods() if any(each.id in ids for _, _, ids, _ in found)]
    first = next((ids for _, _, ids, both in found if both), None) or next((ids for _, _, ids, _ in found), None)
    names = {each.id: each.name for each in chosen}
    return fill(
        index,
        "compare.html",
        "compare.html",
        live,
        pairs=[(address, " against ".join(both_names)) for address, both_names, _, both in found if both],
        total=len(found),
        methods=chosen,
        first=[names[each] for each in first] if first else ["", ""],
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
            (", ".join((entry.method, *entry.options, *filter(None, [entry.protocol]))), entry.value, entry.low,
             entry.high, entry.kind == "scored")
            for entry in lines
            if entry.current and entry.value is not None and entry.low is not None and entry.high is not None
        ]  # fmt: skip
        tracks = {entry.track for entry in lines}
        note = "These rows stand in different tracks and are not ranked together." if len(tracks) > 1 else None
        rows.append(
            {
                "board": standing,
                "entries": lines,
                "chart": charts.intervals(
                    dots[:14],
                    name=f"{a.name} and {b.name} on {standing.name}",
                    unit=" %" if standing.measure.unit == "%" else "",
                ),
                "paired": _paired(index, lines, a.id, b.id),
                "note": note,
            }
        )
    rows.sort(key=lambda each: not each["paired"])
    return (
        fill(index, "pair.html", f"compare/{name}.html", live, section="compare.html", a=a, b=b, rows=rows)
        if rows
        else None
    )


def _paired(index: Index, lines: Sequence[Entry], first: str, second: str) -> list[dict[str, Any]]:
    """Re-scored submissions of both methods on the same images: what ``compare`` says of the two."""
    scored = [entry for entry in lines if entry.kind == "scored" and entry.badge and entry.current]
    ours = [entry for entry in scored if entry.method_id == first][:PAIRED_SUBMISSIONS]
    theirs = [entry for entry in scored if entry.method_id == second][:PAIRED_SUBMISSIONS]
    out = []
    for one in ours:
        for other in theirs:
            arms = [index.answers(entry.id) for entry in (one, other)]
            if arms[0] is None or arms[1] is None or not same_items(arms[0], arms[1]):
                continue
            (found,) = contrasts([arms[0], arms[1]])
            out.append({"first": one, "second": other, "found": found, "table": agreement(arms[0], arms[1])})
    return out
