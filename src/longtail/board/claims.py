"""Claims and relations from the tables of their files: each with its source, and with a quote that holds its number.

Claims are append-only. A claim is never edited; a later one names it in ``supersedes`` and takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from longtail.board.fields import (
    TEXT,
    check_url,
    date_of,
    entries_of,
    field_names,
    links_of,
    made,
    refuse_unknown,
    text_of,
    typed,
)
from longtail.board.measures import Measures, shipped_measures
from longtail.board.schema import TRACKS, Claim, Relation
from longtail.board.values import look_alike, parse_table, parse_value
from longtail.errors import InputError

_CLAIM_INPUT = field_names(Claim) - {"raw", "measure", "kind", "flags", "paper_title", "paper_url", "dataset_name"}


_CLAIM_TEXTS = ("id", "method", "dataset", "metric", "source", "locator", "quote")


def claim_from(entry: Mapping[str, Any], where: str, measures: Measures | None = None) -> Claim:
    """Check one typed-in claim and bring its value to its board's scale.

    Args:
        entry: the fields of :class:`Claim` as written; ``value`` is the number as printed, text or number, and
            ``quote`` what the source prints (the value itself where no more is known).
        where: the file and position, for the error.
        measures: the board's; those shipped if left out.

    Raises:
        InputError: for an unknown field, a missing source, locator or quote, a number that cannot be read, or one
            that does not occur in its own quote.
    """
    refuse_unknown(entry, _CLAIM_INPUT, where)
    typed(Claim, entry, where, ("value", "date", "added"))
    given = dict(entry)
    for name in _CLAIM_TEXTS:
        text = given.get(name)
        if type(text) is not str or len(text) > TEXT or not text.strip():
            text_of(given, name, where)
    _claim_id(given["id"], where)
    if given.get("track", "unstated") not in TRACKS:
        raise InputError(f"{where}: unknown track {given['track']!r}; known are {', '.join(TRACKS)}")
    if given.get("url") is not None:
        check_url(given["url"], where)
    printed = given.pop("value", None)
    if not isinstance(printed, str | int | float):
        raise InputError(f"{where}: 'value' must be the number as printed")
    value = parse_value(printed)
    if value.number is None:
        raise InputError(f"{where}: {printed!r} is no number")
    if not _quoted(str(printed).strip(), given["quote"]):
        raise InputError(f"{where}: the quote {given['quote']!r} does not contain the value {printed!r} as a number")
    table = measures or shipped_measures()
    measure, number = table.canonical(table.find(given["metric"]), value.number)
    if measure.unit == "%" and not 0 <= number <= 100:
        raise InputError(f"{where}: {printed!r} is no percentage")
    for name in ("many", "medium", "few", "spread"):
        if given.get(name) is not None:
            given[name] = float(given[name])
    flags = ("look-alike-letters",) if look_alike(f"{given['method']} {given['dataset']}") else ()
    given |= {
        "raw": value.raw if isinstance(printed, str) else str(printed),
        "value": number,
        "measure": measure.id,
        "flags": (*value.flags, *flags),
        "tasks": tuple(given.get("tasks", ())),
    }
    for name in ("date", "added"):
        if name in given:
            given[name] = date_of(given[name], where)
    if "code" in given:
        given["code"] = links_of(given["code"], where)
    return made(Claim, given)


_RELATION = field_names(Relation) - {"measure"}


def relation_from(entry: Mapping[str, Any], where: str, measures: Measures | None = None) -> Relation:
    """Check one claim that a method beats another.

    Args:
        entry: the fields of :class:`Relation` as written; ``gap`` is the difference as printed, or the difference of
            two numbers that ``quote`` holds.
        where: the file and position, for the error.
        measures: the board's; those shipped if left out.

    Raises:
        InputError: for an unknown field, a missing source, locator or quote, or a gap that the quote does not give.
    """
    refuse_unknown(entry, _RELATION, where)
    typed(Relation, entry, where, ("gap", "added"))
    for name in ("id", "better", "than", "dataset", "metric", "source", "locator", "quote", "protocol"):
        text_of(entry, name, where)
    _claim_id(entry["id"], where)
    if entry["better"] == entry["than"]:
        raise InputError(f"{where}: a method is compared with itself")
    if entry.get("url") is not None:
        check_url(entry["url"], where)
    printed = str(entry.get("gap", "")).strip()
    gap = parse_value(printed).number
    if gap is None or gap <= 0:
        raise InputError(f"{where}: 'gap' must be a number above 0, by how much the one is better")
    held = [float(each) for each in re.findall(r"(?<![\d.,])\d+(?:\.\d+)?(?![\d.,]*\d)", entry["quote"])]
    if not _quoted(printed, entry["quote"]) and not any(
        abs(abs(first - second) - gap) < 1e-6 for first in held for second in held
    ):
        raise InputError(
            f"{where}: the quote {entry['quote']!r} holds neither {printed!r} nor two numbers so far apart"
        )
    table = measures or shipped_measures()
    measure = table.find(entry["metric"])
    kept: dict[str, Any] = {name: entry.get(name) for name in _RELATION - {"gap", "added"}}
    return Relation(
        **{**kept, "gap": gap, "measure": measure.complement or measure.id, "added": date_of(entry.get("added"), where)}
    )


_CLAIM_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,119}")


def _claim_id(name: str, where: str) -> None:
    if not _CLAIM_ID.fullmatch(name) or name.startswith("archive-"):
        raise InputError(
            f"{where}: id {name[:120]!r} must be lower-case letters, digits, '.' and '-', and not begin with 'archive-'"
        )


def _quoted(value: str, quote: str) -> bool:
    """Whether a quote holds the value as a whole token: 2.4 does not stand in 52.4, nor in 2.45."""
    if value == quote and value:
        return True
    at = quote.find(value)
    while at >= 0:
        before, after = quote[max(at - 1, 0) : at], quote[at + len(value) : at + len(value) + 2]
        joined = before.isdigit() or (before in (".", ",") and value[:1].isdigit())
        if not joined and not after[:1].isdigit() and not (after[:1] in (".", ",") and after[1:].isdigit()):
            return True
        at = quote.find(value, at + 1)
    return False


def claims_in(text: str, name: str) -> list[Claim]:
    """The claims of one file: a table ``defaults`` and a list ``claim`` whose entries override it.

    The date among the defaults is that of the paper that prints the numbers; a second-hand number does not take it.
    """
    return claims_of(claims_table(text, name), name)


def claims_table(text: str, name: str) -> dict[str, Any]:
    """The table of one file of claims: lists ``claim``, ``relation`` and ``withdraw``, and ``defaults``.

    Raises:
        InputError: if it is no such table.
    """
    table = parse_table(text, name)
    lists = ("claim", "withdraw", "relation")
    if not isinstance(table, dict) or not any(isinstance(table.get(kind), list) for kind in lists):
        raise InputError(f"{name}: expected a list named 'claim', 'relation' or 'withdraw'")
    refuse_unknown(table, {"defaults", *lists}, name)
    if not isinstance(table.get("defaults", {}), Mapping):
        raise InputError(f"{name}: expected a table named 'defaults'")
    return dict(table)


def claims_of(table: Mapping[str, Any], name: str, measures: Measures | None = None) -> list[Claim]:
    """The claims of a table (``claims_table``).

    Args:
        table: what one file says.
        name: of the file, for the error.
        measures: the board's; those shipped if left out.

    Raises:
        InputError: as ``claim_from`` does, naming the place.
    """
    found = []
    for where, entry in entries_of(table, "claim", name):
        given = {**table.get("defaults", {}), **entry}
        if given.get("second_hand") and "date" not in entry:
            given.pop("date", None)
        found.append(claim_from(given, where, measures))
    return found


def relations_of(table: Mapping[str, Any], name: str, measures: Measures | None = None) -> list[Relation]:
    """The relations of a table (``claims_table``); of the defaults they take what a relation has.

    Args:
        table: what one file says.
        name: of the file, for the error.
        measures: the board's; those shipped if left out.

    Raises:
        InputError: as ``relation_from`` does, naming the place.
    """
    given = {key: value for key, value in table.get("defaults", {}).items() if key in _RELATION}
    return [relation_from({**given, **entry}, where, measures) for where, entry in entries_of(table, "relation", name)]


def withdrawals_of(table: Mapping[str, Any], name: str) -> dict[str, str]:
    """Identifiers that are withdrawn, with the reason as pages show it."""
    out = {}
    for where, entry in entries_of(table, "withdraw", name):
        refuse_unknown(entry, {"id", "reason", "by", "date"}, where)
        parts = [text_of(entry, "reason", where), entry.get("by"), date_of(entry.get("date"), where)]
        if (name := text_of(entry, "id", where)) in out:
            raise InputError(f"{where}: {name!r} is withdrawn twice")
        out[name] = ", ".join(str(part) for part in parts if part)
    return out
