"""Fields of a file: checked against the types of the dataclass that they fill, and read one by one."""

from __future__ import annotations

import dataclasses
import datetime
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar

from longtail.board.schema import Link
from longtail.board.values import safe_url
from longtail.errors import InputError

Kind = TypeVar("Kind")

LARGEST = 2**53
"""Numbers of a file lie below it: up to here a float holds every whole number."""
TEXT = 600
"""Characters of a text of one line, at most."""
_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
_ADDRESS = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST = 90
_NUMBERS, _LISTS = frozenset({int, float}), frozenset({list, tuple})


class _Form(NamedTuple):
    """What a field takes: the types of a value, those of a list's items, both in words, and whether it takes texts."""

    values: frozenset[type]
    items: frozenset[type]
    words: str
    text: bool


def typed(kind: type, given: Mapping[str, Any], where: str, besides: Iterable[str] = ()) -> None:
    """Refuse a value that is not of its field's type; a list stands for a tuple, a whole number for a number.

    Args:
        kind: the dataclass.
        given: its fields as a file has them; those that hold dataclasses are not looked at.
        where: the file and place, for the error.
        besides: fields that a file writes in a form of their own.

    Raises:
        InputError: naming the field and what it must be.

    Example:
        >>> from longtail.board.schema import Method
        >>> typed(Method, {"year": 2021, "aliases": ["LA"]}, "methods/x.toml")
        >>> typed(Method, {"year": "2021"}, "methods/x.toml")
        Traceback (most recent call last):
        longtail.errors.InputError: methods/x.toml: 'year' must be a whole number, not '2021'
    """
    forms = _forms(kind)
    for name, value in given.items():
        form = forms.get(name)
        found = type(value)
        if form is None or (found is str and form.text) or name in besides:
            continue
        if found not in form.values or (found in _NUMBERS and not abs(value) < LARGEST):
            raise InputError(f"{where}: {name!r} must be {form.words}, not {_short(value)}")
        if found in _LISTS:
            for each in value:
                if type(each) not in form.items or (type(each) in _NUMBERS and not abs(each) < LARGEST):
                    raise InputError(f"{where}: {name!r} must be {form.words}; it holds {_short(each)}")


def made(kind: type[Kind], given: Mapping[str, Any]) -> Kind:
    """A frozen dataclass from fields that were checked already, without the call for each field of its constructor.

    A field that is left out keeps the default of its class. Use it where a board makes many thousand.

    Args:
        kind: the dataclass; no field of it has a default factory, slots or anything done after its constructor.
        given: its fields.

    Returns:
        What ``kind(**given)`` returns.

    Raises:
        TypeError: if a field is missing or unknown.

    Example:
        >>> from longtail.board.schema import Link
        >>> made(Link, {"title": "Code", "url": "https://example.org"})
        Link(title='Code', url='https://example.org')
    """
    hashed: Any = kind
    needed, known = _slots(hashed)
    names = given.keys()
    if not needed <= names or not names <= known:
        raise TypeError(f"{kind.__name__}: {', '.join(sorted((needed - names) | (names - known)))}")
    out = object.__new__(kind)
    out.__dict__.update(given)
    return out


@cache
def _slots(kind: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the fields that must be given, and of all."""
    fields = dataclasses.fields(kind)
    needed = (each.name for each in fields if each.default is dataclasses.MISSING)
    return frozenset(needed), frozenset(each.name for each in fields)


def address(entry: Mapping[str, Any], where: str, name: str = "id") -> str:
    """An identifier that is fit for the address of a page.

    Raises:
        InputError: if it is another text, or none.

    Example:
        >>> address({"id": "dro-lt"}, "papers/x.toml")
        'dro-lt'
    """
    found = entry.get(name)
    if not isinstance(found, str) or len(found) > _LONGEST or not _ADDRESS.fullmatch(found):
        raise InputError(
            f"{where}: {name!r} is {_short(found)}; it must be lower-case letters and digits joined by single hyphens,"
            f" at most {_LONGEST} characters"
        )
    return found


def field_names(kind: type) -> set[str]:
    """The names of a dataclass's fields."""
    return {each.name for each in dataclasses.fields(kind)}


def entries_of(table: Mapping[str, Any], kind: str, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the tables of a list in a file, each with its place for an error; none if there is no such list.

    Args:
        table: what the file says.
        kind: name of the list, and of one table of it.
        name: of the file.

    Raises:
        InputError: if the list holds something else.
    """
    for number, entry in enumerate(table.get(kind, ()), start=1):
        where = f"{name}, {kind} {number}"
        if not isinstance(entry, Mapping):
            raise InputError(f"{where}: expected a table")
        yield where, entry


def one_or_more(table: Mapping[str, Any], kind: str, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the tables of a list that a file holds and nothing beside it, or the file's table where it is one alone.

    Args:
        table: what the file says.
        kind: name of the list.
        name: of the file.

    Raises:
        InputError: if something stands beside the list, or in it.
    """
    if kind not in table:
        return iter([(name, table)])
    refuse_unknown(table, {kind}, name)
    return entries_of(table, kind, name)


def refuse_unknown(entry: Mapping[str, Any], allowed: Set[str], where: str) -> None:
    """Refuse a table with a key that is not allowed.

    Raises:
        InputError: naming the first such key, and those that are.
    """
    if not entry.keys() <= allowed:
        extra = sorted(set(entry) - allowed)
        raise InputError(f"{where}: unknown field {extra[0]!r}; known are {', '.join(sorted(allowed))}")


def text_of(entry: Mapping[str, Any], name: str, where: str, limit: int = TEXT) -> str:
    """A text that must be there, with something in it.

    Raises:
        InputError: if it is missing, empty, no text, or longer than the limit.
    """
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {name!r} must be a non-empty text")
    if len(value) > limit:
        raise InputError(f"{where}: {name!r} has {len(value)} characters, at most {limit} are allowed")
    return value


def date_of(value: object, where: str) -> str | None:
    """A date as YYYY-MM-DD; TOML's own dates are taken too.

    Raises:
        InputError: if it is another text, or a day that there is not.
    """
    if value is None:
        return None
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, str) and len(value) == 10 and (day := _day(value)) is not None:
        return day
    raise InputError(f"{where}: {value!r} is no date; write YYYY-MM-DD, or leave it out if it is unknown")


@lru_cache(maxsize=1 << 14)
def _day(text: str) -> str | None:
    """A day that there is, as YYYY-MM-DD."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        return None


def check_url(url: object, where: str) -> None:
    """Refuse what is no address of a page that can be linked to.

    Raises:
        InputError: if it is no http or https address.
    """
    if safe_url(url) is None:
        raise InputError(f"{where}: {_short(url)} is no http or https address")


def links_of(entries: Sequence[Mapping[str, Any]], where: str) -> tuple[Link, ...]:
    """Titled addresses.

    Raises:
        InputError: if one has no title, or its address is no http or https address.
    """
    for entry in entries:
        check_url(entry.get("url"), where)
    return tuple(Link(title=text_of(entry, "title", where), url=entry["url"]) for entry in entries)


def _short(value: object) -> str:
    try:
        return repr(value)[:60]
    except ValueError:
        return "a very long number"


@cache
def _forms(kind: type) -> dict[str, _Form]:
    out = {}
    for name, hint in typing.get_type_hints(kind).items():
        values: set[type] = set()
        items: set[type] = set()
        for each in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
            if typing.get_origin(each) is tuple:
                values |= {list, tuple}
                items |= {item for item in typing.get_args(each) if item is not ...}
            else:
                values.add(each)
        if any(dataclasses.is_dataclass(each) for each in values | items):
            continue
        words = [_WORDS[each] for each in values if each in _WORDS]
        words += [f"a list of {_WORDS[each].removeprefix('a ')}s" for each in items]
        values |= {int} if float in values else set()
        out[name] = _Form(frozenset(values), frozenset(items), " or ".join(words), str in values)
    return out
