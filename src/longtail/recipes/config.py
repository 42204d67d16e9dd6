"""Descriptions as plain data: frozen dataclasses to JSON and back, one field changed by its dotted name, one hash.

A description is a frozen dataclass whose fields are numbers, strings, None, tuples or further descriptions. Its plain
form is a dictionary whose ``"type"`` names the class. Reading one back only ever instantiates classes that are handed
in: a file cannot name code to run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from longtail.errors import InputError, unknown

T = TypeVar("T")


def plain(value: Any) -> Any:
    """The JSON form of a description.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass(frozen=True)
        ... class Flip:
        ...     probability: float = 0.5
        >>> plain((Flip(),))
        [{'type': 'Flip', 'probability': 0.5}]
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a description holds numbers, strings, None, tuples and descriptions, not {type(value).__name__}")


def revive(data: Any, kinds: Mapping[str, type]) -> Any:
    """The description that ``plain`` wrote, built only from the classes in ``kinds``.

    Raises:
        InputError: a kind that is not known, or fields that do not fit it.
    """
    if isinstance(data, dict):
        name = data.get("type")
        if not isinstance(name, str) or name not in kinds:
            raise unknown("part of a recipe", str(name), kinds)
        fields = {key: revive(item, kinds) for key, item in data.items() if key != "type"}
        try:
            return kinds[name](**fields)
        except TypeError as error:
            raise InputError(f"the stored {name} does not fit this version: {error}") from None
    if isinstance(data, list):
        return tuple(revive(item, kinds) for item in data)
    return data


def digest(value: Any) -> str:
    """SHA-256 of the plain form, in hex: equal descriptions have equal digests on every machine."""
    text = json.dumps(plain_or_json(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def plain_or_json(value: Any) -> Any:
    """``plain`` for values that mix descriptions with dictionaries."""
    if isinstance(value, dict):
        return {str(key): plain_or_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain_or_json(item) for item in value]
    return plain(value)


def override(description: T, path: str, text: str) -> T:
    """A copy with one field changed, named by a dotted path and parsed to the field's own type.

    Args:
        description: a frozen dataclass.
        path: such as ``stages.0.epochs``; a number walks into a tuple.
        text: the new value as typed on a command line.

    Raises:
        InputError: no such field (the nearest is suggested), or text that is not of its type.
    """
    value: Any = _override(description, path.split("."), text, path)
    return typing.cast(T, value)


def _override(value: Any, steps: list[str], text: str, path: str) -> Any:
    head, rest = steps[0], steps[1:]
    if isinstance(value, tuple):
        if not head.isdigit() or int(head) >= len(value):
            raise InputError(f"--{path}: {head!r} is no position in a list of {len(value)} (0 to {len(value) - 1})")
        position = int(head)
        new = _override(value[position], rest, text, path) if rest else parse(type(value[position]), text, path)
        return (*value[:position], new, *value[position + 1 :])
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise InputError(f"--{path}: {type(value).__name__} has no field {head!r}")
    names = [field.name for field in dataclasses.fields(value)]
    head = head.replace("-", "_")
    if head not in names:
        raise unknown(f"field of {type(value).__name__}", head, names)
    current = getattr(value, head)
    kind = typing.get_type_hints(type(value))[head]
    new = _override(current, rest, text, path) if rest else parse(kind, text, path)
    try:
        return dataclasses.replace(value, **{head: new})
    except ValueError as error:
        raise InputError(f"--{path}: {error}") from None


def parse(kind: Any, text: str, path: str) -> Any:
    """``text`` as a value of the annotated type ``kind``; unions and literals take the first that fits."""
    for choice in _choices(kind):
        if isinstance(choice, _Literal):
            if text == str(choice.value):
                return choice.value
        elif choice is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
        elif choice is type(None):
            if text.lower() == "none":
                return None
        elif choice in (int, float, str):
            try:
                return choice(text)
            except ValueError:
                continue
        elif typing.get_origin(choice) is tuple:
            item = typing.get_args(choice)[0]
            return tuple(parse(item, part.strip(), path) for part in text.split(",") if part.strip())
    names = " or ".join(_describe(choice) for choice in _choices(kind))
    raise InputError(f"--{path}: {text!r} is not {names}")


@dataclasses.dataclass(frozen=True)
class _Literal:
    value: Any


def _choices(kind: Any) -> Iterable[Any]:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(kind) for choice in _choices(part)]
    if origin is typing.Literal:
        return [_Literal(value) for value in typing.get_args(kind)]
    return [kind]


def _describe(choice: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "none"}
    if isinstance(choice, _Literal):
        return repr(choice.value)
    if typing.get_origin(choice) is tuple:
        return "a list separated by commas"
    return names.get(choice, f"settable as a whole ({getattr(choice, '__name__', choice)}): set one of its fields")
