"""A large JSON list, one element after another, in constant memory."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.board.archive.layout import TWICE
from longtail.errors import InputError

_LONGEST_INTEGER = 300
LONGEST = 1 << 28
"""Characters that one element may have; the largest task of the real archive has a tenth of it."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        for name, value in pairs:
            if out[name] != value:
                out[TWICE] = name
    return out


def stream_list(file: io.TextIOBase, name: str, chunk: int = 1 << 20) -> Iterator[Any]:
    """The elements of one JSON list, one after another, with only the current one in memory.

    What is no JSON number (``NaN``, or digits without end) is handed on as the text it is, an object in which a key
    has two values under a mark; both cost the row that they stand in.

    Raises:
        InputError: if the file is no JSON list, or is cut off.
    """
    decoder = json.JSONDecoder(
        parse_constant=str,
        parse_float=lambda text: float(text) if math.isfinite(float(text)) else text,
        parse_int=lambda text: int(text) if len(text) <= _LONGEST_INTEGER else text,
        object_pairs_hook=_once,
    )
    text, started, need, place = "", False, 0, 0
    while True:
        more = file.read(chunk)
        text += more
        if not started:
            text = text.lstrip("\ufeff \t\r\n")
            if text and text[0] != "[":
                raise InputError(f"{name}: expected a JSON list of tasks")
            started, text = bool(text), text[1:]
        while started and (len(text) >= need or not more):
            text = text.lstrip(" \t\r\n")
            if text.startswith("]"):
                if (text[1:] + file.read(64)).strip():
                    raise InputError(f"{name}: something follows the end of the list")
                return
            if place and text and not text.startswith(","):
                raise InputError(f"{name}: a comma is missing after element {place}")
            body = text[1:].lstrip(" \t\r\n") if place else text
            try:
                thing, end = decoder.raw_decode(body)
            except json.JSONDecodeError as error:
                if not more:
                    raise InputError(f"{name}: element {place + 1} cannot be read: {error.msg}") from None
                if len(text) > LONGEST:
                    raise InputError(f"{name}: element {place + 1} has more than {LONGEST:,} characters") from None
                # Wait until the text has doubled, so that a large element costs linear time in all.
                need = max(2 * len(text), chunk)
                break
            except RecursionError:
                raise InputError(f"{name}: element {place + 1} is nested too deeply") from None
            if end == len(body) and more:
                # A number may go on in the next piece.
                need = max(2 * len(text), chunk)
                break
            text, need, place = body[end:], 0, place + 1
            yield thing
        if not more:
            raise InputError(f"{name}: the list does not end" if started else f"{name}: the file is empty")


def stream_file(file: Path) -> Iterator[Any]:
    """The elements of the JSON list in a file, ``.json`` or ``.json.gz``.

    Raises:
        InputError: if it cannot be read.
    """
    opener: Any = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8") as source:
            yield from stream_list(source, file.name)
    except (OSError, EOFError, UnicodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
