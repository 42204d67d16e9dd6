"""A board for machines: CSV, JSON, an Atom feed and a badge."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from longtail.board.evidence import BADGES
from longtail.board.model import Board, Entry
from longtail.board.reader import Index
from longtail.board.values import clean, safe_url

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
    "id",
)


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry as the interface gives it: every field, unknown ones as null."""
    return {
        "id": entry.id,
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
        "completeness": entry.completeness,
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


def as_json(index: Index, board: Board) -> str:
    """A whole board as JSON."""
    body = {**board_json(board), "rows": [entry_json(entry) for entry in index.entries(board.slug)]}
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def _cell(value: object) -> str | int | float:
    """A cell that a spreadsheet will not take for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    text = clean(str(value)).replace("\r", " ").replace("\n", " ")
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text


def as_csv(index: Index, board: Board) -> str:
    """A whole board as CSV, with a header line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in index.entries(board.slug):
        given = {**entry_json(entry), "flags": " ".join(entry.flags), "options": "; ".join(entry.options)}
        writer.writerow([_cell(given[name]) for name in _COLUMNS])
    return out.getvalue()


def as_atom(index: Index, board: Board) -> str:
    """The latest entries of a board as an Atom feed; its addresses are relative to the feed's own."""
    entries = sorted(
        (entry for entry in index.entries(board.slug) if entry.date),
        key=lambda entry: (entry.date or "", entry.id),
        reverse=True,
    )[:50]
    updated = f"{board.updated or '1970-01-01'}T00:00:00Z"
    out = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<id>urn:longtail:board:{escape(board.slug)}</id>",
        f"<title>{escape(clean(board.name))}</title>",
        f"<updated>{updated}</updated>",
        f"<link rel={quoteattr('alternate')} href={quoteattr(board.slug + '.html')}/>",
        "<author><name>longtail board</name></author>",
    ]
    names = {badge.id: badge.name for badge in BADGES}
    for entry in entries:
        value = "" if entry.value is None else f": {entry.value:.2f} {board.measure.unit}".rstrip()
        badge = names.get(entry.badge or "", "not ranked: test set unknown")
        source = " ".join(part for part in (entry.source, entry.locator) if part)
        out += [
            "<entry>",
            f"<id>urn:longtail:entry:{escape(clean(entry.id))}</id>",
            f"<title>{escape(clean(entry.method, 300) + value)}</title>",
            f"<updated>{escape(entry.date or '')}T00:00:00Z</updated>",
            f"<link rel={quoteattr('alternate')} href={quoteattr(board.slug + '.html')}/>",
            f"<summary>{escape(clean(f'{badge}. {source}', 600))}</summary>",
            "</entry>",
        ]
    out.append("</feed>\n")
    return "\n".join(out)


def badge_svg(index: Index, board: Board) -> str:
    """A small picture for a README: the board, and the best number with the evidence behind it."""
    leaders = index.leaders(board.slug)
    best = next(
        (leaders[track] for track in ("scratch", "imagenet", "foundation", "unstated") if track in leaders), None
    )
    left = board.name[:40]
    names = {badge.id: badge.name.lower() for badge in BADGES}
    unit = " %" if board.measure.unit == "%" else ""
    right = (
        "no entries"
        if best is None or best.value is None
        else f"{best.value:.2f}{unit}, {names[best.badge or 'archive']}"
    )
    wide, narrow = 7 * len(left) + 16, 7 * len(right) + 16
    colour = (
        "#1f6f54" if best is not None and (best.badge or "").startswith(("re-scored", "independent")) else "#5b6472"
    )
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
