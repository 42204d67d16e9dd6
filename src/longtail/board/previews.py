"""Pictures for links to the site: 1200 by 630 pixels, with what a page shows in large letters."""

from __future__ import annotations

import io
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from longtail.board.model import TRACK_ORDER
from longtail.board.reader import Index
from longtail.board.values import clean
from longtail.wording import counted

_SIZE = (1200, 630)
_PAPER, _INK, _SOFT, _ACCENT = "#fcfbf8", "#1d2126", "#565f6b", "#0b5d57"


def preview_paths(index: Index) -> Iterator[str]:
    """The addresses of all previews: the site's, and those of its boards and explained papers."""
    yield "previews/site.png"
    yield from (f"previews/boards/{board.slug}.png" for board in index.boards())
    yield from (f"previews/papers/{paper.id}.png" for paper in index.papers() if paper.facets)


def preview(index: Index, path: str) -> bytes | None:
    """The picture at an address, as PNG; ``None`` if there is none.

    Args:
        index: the built index.
        path: such as ``previews/boards/imagenet-lt.png``.
    """
    site = index.settings().name
    if path == "previews/site.png":
        return _drawn("Which method is best on a long tail, is the difference real, and who measured it?", [], site)
    found = re.fullmatch(r"previews/(boards|papers)/([a-z0-9-]{1,200})\.png", path)
    if found is None:
        return None
    if found[1] == "boards":
        board = index.board(found[2])
        if board is None:
            return None
        leaders, unit = index.leaders(board.slug), " %" if board.measure.unit == "%" else ""
        lines = [f"{board.measure.name}, {counted(board.entries, 'result')}, {board.scored} re-scored"]
        lines += [
            f"{leaders[track].value:.1f}{unit}  {leaders[track].method}" for track in TRACK_ORDER if track in leaders
        ]
        return _drawn(board.name, lines, site)
    paper = index.paper(found[2])
    if paper is None or not paper.facets:
        return None
    return _drawn(paper.title, [", ".join(paper.authors), " · ".join(filter(None, [paper.venue, paper.date]))], site)


def _plain(text: str) -> str:
    """Letters that the built-in font has."""
    spelled = clean(text, 300).replace("ρ", "imbalance ").replace("·", "-")
    return unicodedata.normalize("NFKD", spelled).encode("latin-1", "ignore").decode("latin-1")


def _drawn(title: str, lines: Sequence[str], site: str) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(image)
    draw.polygon([(70, 60), (84, 104), (118, 122), (190, 126), (190, 130), (70, 130)], fill=_ACCENT)
    draw.text((214, 84), _plain(site), fill=_SOFT, font=ImageFont.load_default(34))
    y = 180
    for line in textwrap.wrap(_plain(title), 40)[:4]:
        draw.text((70, y), line, fill=_INK, font=ImageFont.load_default(52))
        y += 66
    y += 16
    for line in [part for each in lines for part in textwrap.wrap(_plain(each), 66)[:2]][:4]:
        draw.text((70, y), line, fill=_SOFT, font=ImageFont.load_default(32))
        y += 46
    draw.rectangle((0, _SIZE[1] - 14, *_SIZE), fill=_ACCENT)
    out = io.BytesIO()
    # Few colours, so that a site with many boards stays small.
    image.quantize(32).save(out, "PNG", optimize=True)
    return out.getvalue()
