"""A board for machines: CSV, JSON, an Atom feed and a badge."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import unicodedata
from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from longtail.board.evidence import BADGES
from longtail.board.model import Board, Entry, stated_share
from longtail.board.reader import PAGE, Index, board_path
from longtail.board.values import clean, safe_url, slug
from longtail.wording import counted

_COLUMNS = (
    "rank",
    "rank_high",
    "method",
    "options",
    "value",
    "low",
    "high",
    "sd",
    "n",
    "many",
    "medium",
    "few",
    "track",
    "backbone",
    "epochs",
    "augmentation",
    "selection",
    "extra_data",
    "date",
    "badge",
    "metric_as_printed",
    "value_as_printed",
    "source",
    "locator",
    "url",
    "second_hand",
    "flags",
    "marks",
    "withdrawn",
    "superseded_by",
    "id",
)
_RENAMED = {"metric_as_printed": "metric", "value_as_printed": "raw"}
_CELLS = attrgetter(*(_RENAMED.get(name, name) for name in _COLUMNS))
_URL, _OPTIONS, _FLAGS, _MARKS = (_COLUMNS.index(name) for name in ("url", "options", "flags", "marks"))
_AS_THEY_ARE = frozenset({int, float, type(None)})


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry as the interface gives it: every field, unknown ones as null."""
    unstated = entry.unstated
    return {
        "id": entry.id,
        "board": entry.board,
        "rank": entry.rank,
        "method": entry.method,
        "method_id": entry.method_id,
        "paper": entry.paper,
        "track": entry.track,
        "badge": entry.badge,
        "value": entry.value,
        "sd": entry.sd,
        "n": entry.n,
        "low": entry.low,
        "high": entry.high,
        "half_width": entry.half_width,
        "rank_high": entry.rank_high,
        "options": list(entry.options),
        "marks": list(entry.marks),
        "completeness": stated_share(unstated),
        "unstated": list(unstated),
        "added": entry.added,
        "withdrawn": entry.withdrawn,
        "many": entry.many,
        "medium": entry.medium,
        "few": entry.few,
        "backbone": entry.backbone,
        "epochs": entry.epochs,
        "augmentation": entry.augmentation,
        "selection": entry.selection,
        "extra_data": entry.extra_data,
        "date": entry.date,
        "metric_as_printed": entry.metric,
        "value_as_printed": entry.raw,
        "source": entry.source,
        "locator": entry.locator,
        "quote": entry.quote,
        "url": safe_url(entry.url),
        "second_hand": entry.second_hand,
        "note": entry.note,
        "flags": list(entry.flags),
        "tasks": list(entry.tasks),
        "submission": entry.submission,
        "supersedes": entry.supersedes,
        "superseded_by": entry.superseded_by,
    }


def board_json(board: Board) -> dict[str, Any]:
    """What a board is, without its entries."""
    return {
        "slug": board.slug,
        "name": board.name,
        "dataset": board.variant.dataset,
        "variant": board.variant.id,
        "imbalance": board.variant.imbalance,
        "num_test": board.variant.num_test,
        "measure": board.measure.id,
        "measure_name": board.measure.name,
        "unit": board.measure.unit,
        "higher_is_better": board.measure.higher_is_better,
        "resolution": board.resolution,
        "completeness": board.completeness,
        "best": [dataclasses.asdict(best) for best in board.best],
        "tasks": list(board.tasks),
        "entries": board.entries,
        "rescored": board.scored,
        "updated": board.updated,
    }


_JSON = json.JSONEncoder(ensure_ascii=False)


def as_json(index: Index, board: Board) -> str:
    """A whole board as JSON."""
    # A row a line: as easy to read as one field a line, and several times as fast to write.
    rows = ",\n".join(_JSON.encode(entry_json(entry)) for entry in index.entries(board.slug))
    head = json.dumps({**board_json(board), "rows": []}, ensure_ascii=False, indent=1)
    return f"{head.removesuffix('[]' + chr(10) + '}')}[\n{rows}\n]\n}}\n"


def _cell(value: object) -> str:
    """A text that a spreadsheet will not take for a formula."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = clean(str(value)).replace("\r", " ").replace("\n", " ")
    if text[:1].isascii() and text[:1].isalnum():
        return text
    # Some programs read the wide forms of these signs as the signs themselves.
    return "'" + text if unicodedata.normalize("NFKC", text[:1]) in ("=", "+", "-", "@", "\t") else text


def as_script(name: str, value: object) -> str:
    """A value as a script, for pages from a disk, which may not fetch."""
    text = json.dumps(value, ensure_ascii=False)
    # A closing tag or a line separator inside a string must not end the script.
    for sign, code in (("<", "\\u003c"), (">", "\\u003e"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(sign, code)
    return f"window.{name} = {text};\n"


def rows_script(index: Index, board: Board) -> str:
    """All rows of a board with what they are filtered and sorted by, for the pages of the static edition."""
    spelled = {each: standing for known in index.spellings(board.slug).values() for each, standing in known.items()}
    rows = []
    for place, entry in enumerate(index.entries(board.slug)):
        rows.append(
            {
                "track": entry.track,
                "rank": entry.rank,
                "method": clean(", ".join((entry.method, *entry.options)), 300),
                "path": f"{board_path(board.slug, place // PAGE + 1).removeprefix('boards/')}#{entry.id}",
                "value": entry.value,
                "low": entry.low,
                "high": entry.high,
                "date": entry.date,
                "extra": "yes" if entry.extra_data else "no",
                "badge": entry.badge or "",
                **{name: spelled.get(getattr(entry, name) or "", "") for name in ("backbone", "protocol", "selection")},
            }
        )
    return as_script("LONGTAIL_ROWS", rows)


def as_csv(index: Index, board: Board) -> str:
    """A whole board as CSV, with a header line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in index.entries(board.slug):
        cells = list(_CELLS(entry))
        cells[_URL] = safe_url(cells[_URL])
        cells[_OPTIONS], cells[_FLAGS] = "; ".join(cells[_OPTIONS]), " ".join(cells[_FLAGS])
        cells[_MARKS] = "; ".join(cells[_MARKS])
        writer.writerow([each if type(each) in _AS_THEY_ARE else _cell(each) for each in cells])
    return out.getvalue()


def as_atom(index: Index, board: Board) -> str:
    """The entries of a board by the day they were added, as an Atom feed; addresses are relative to the feed's own."""
    # What has no day is not news: a paper's own date says nothing of when its number came here.
    found = [entry for entry in index.entries(board.slug) if entry.added]
    entries = sorted(found, key=lambda entry: (entry.added or "", entry.id), reverse=True)[:50]
    names = {badge.id: badge.name for badge in BADGES}
    items = []
    for entry in entries:
        value = "" if entry.value is None else f": {entry.value:.2f} {board.measure.unit}".rstrip()
        badge = names.get(entry.badge or "", "not ranked: test set unknown")
        name = ", ".join((entry.method, *entry.options))
        words = " ".join(part for part in (f"{badge}.", entry.source, entry.locator) if part)
        place = index.anchor(entry.id) or board_path(board.slug)
        items.append((f"entry:{entry.id}", name + value, entry.added, place, words))
    return _atom(f"board:{board.slug}", board.name, board_path(board.slug), items, index.settings().url or "../")


def site_atom(index: Index) -> str:
    """What was added to the whole site, by the day."""
    items = [
        (f"change:{each['date']}:{each['path']}:{slug(each['title'])}",
         f"{each['title']} ({counted(each['results'], 'result')})", each["date"], each["path"], "")
        for each in index.changes(limit=100)
    ]  # fmt: skip
    site = index.settings()
    return _atom("site", site.name, "index.html", items, site.url or "")


def _atom(
    name: str, title: str, page: str, items: Sequence[tuple[str, str, str | None, str, str]], base: str = ""
) -> str:
    """A feed of ``(identifier, title, day, path, words)``; ``base`` is the public address that paths follow."""
    updated = max((day for _, _, day, _, _ in items if day), default="1970-01-01")
    out = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<id>urn:longtail:{escape(name)}</id>",
        f"<title>{escape(clean(title))}</title>",
        f"<updated>{updated}T00:00:00Z</updated>",
        f"<link rel={quoteattr('alternate')} href={quoteattr(base + page)}/>",
        "<author><name>longtail board</name></author>",
    ]
    for identifier, heading, day, path, words in items:
        out += [
            "<entry>",
            f"<id>urn:longtail:{escape(clean(identifier))}</id>",
            f"<title>{escape(clean(heading, 300))}</title>",
            f"<updated>{escape(day or '1970-01-01')}T00:00:00Z</updated>",
            f"<link rel={quoteattr('alternate')} href={quoteattr(base + path)}/>",
            f"<summary>{escape(clean(words, 600))}</summary>",
            "</entry>",
        ]
    out.append("</feed>\n")
    return "\n".join(out)


def rank_svg(index: Index, name: str) -> str | None:
    """A small picture for a method's own README: its best rank on a notable board, and the evidence behind it."""
    method = index.method(name)
    found = [entry for entry in index.entries_where("method_id", name) if entry.rank is not None]
    if method is None or not found:
        return None
    notable = {board.slug: board.name for board in index.boards()}
    best = min(found, key=lambda entry: (entry.kind != "scored", entry.rank or 0, entry.board))
    span = f"{best.rank}" if best.rank_high == best.rank else f"{best.rank}-{best.rank_high}"
    badge = next(each for each in BADGES if each.id == best.badge)
    return _picture(
        f"{method.name} on {notable[best.board]}"[:48], f"rank {span}, {badge.name.lower()}", badge.level >= 2
    )


def badge_svg(index: Index, board: Board) -> str:
    """A small picture for a README: the board, and the best number with the evidence behind it."""
    leaders = index.leaders(board.slug)
    best = next(
        (leaders[track] for track in ("scratch", "imagenet", "foundation", "unstated") if track in leaders), None
    )
    names = {badge.id: badge.name.lower() for badge in BADGES}
    unit = " %" if board.measure.unit == "%" else ""
    right = (
        "no entries"
        if best is None or best.value is None
        else f"{best.value:.2f}{unit}, {names[best.badge or 'archive']}"
    )
    rescored = best is not None and (best.badge or "").startswith(("re-scored", "independent"))
    return _picture(board.name[:40], right, rescored)


def _picture(left: str, right: str, rescored: bool) -> str:
    wide, narrow = 7 * len(left) + 16, 7 * len(right) + 16
    colour = "#1f6f54" if rescored else "#5b6472"
    title = clean(f"{left}: {right}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide + narrow}" height="22" role="img"'
        f" aria-label={quoteattr(title)}>"
        f"<title>{escape(title)}</title>"
        f'<rect width="{wide + narrow}" height="22" rx="4" fill="#30363f"/>'
        f'<path d="M{wide} 0h{narrow - 4}a4 4 0 0 1 4 4v14a4 4 0 0 1-4 4h-{narrow - 4}z" fill="{colour}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="8" y="15" textLength="{wide - 16}">{escape(clean(left))}</text>'
        f'<text x="{wide + 8}" y="15" textLength="{narrow - 16}">{escape(clean(right))}</text></g></svg>\n'
    )
