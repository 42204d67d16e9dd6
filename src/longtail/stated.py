"""Options that a file states for a function: which it may state, and of which kind each must be."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from longtail.errors import InputError, unknown

_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Sequence[str]: "a list of texts",
    Sequence[int]: "a list of whole numbers",
}
_NOT_STATED = ("notify", "root")
"""What belongs to the machine and not to what is meant."""


def known(*functions: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of functions that a file can state, with the hint of each: what can be given by name only."""
    found: dict[str, Any] = {}
    for function in functions:
        hints = typing.get_type_hints(function)
        parameters = inspect.signature(function).parameters.values()
        named = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in _NOT_STATED]
        found |= {name: hints[name] for name in named}
    return found


def looked_at(options: Mapping[str, Any], *functions: Callable[..., Any], where: str) -> None:
    """Refuse an option that none of the functions has, and a value of another kind than it takes.

    Args:
        options: as the file states them.
        functions: that will be called with them, each with those that it has.
        where: what to call the file in an error.

    Raises:
        InputError: the first that is wrong, with what would be right.

    Example:
        >>> def load(*, imbalance: float | None = None, no_flip: bool = False) -> None: ...
        >>> looked_at({"imbalance": 50}, load, where="plan.toml")
        >>> looked_at({"no_flip": 1}, load, where="plan.toml")
        Traceback (most recent call last):
        longtail.errors.InputError: plan.toml: option no_flip must be true or false, not 1
        >>> looked_at({"imbalanec": 50}, load, where="plan.toml")
        Traceback (most recent call last):
        longtail.errors.InputError: unknown option of plan.toml 'imbalanec': did you mean 'imbalance'? ...
    """
    hints = known(*functions)
    for name, value in options.items():
        if name not in hints:
            raise unknown(f"option of {where}", name, hints)
        several = typing.get_origin(hints[name]) in (typing.Union, types.UnionType)
        kinds = typing.get_args(hints[name]) if several else (hints[name],)
        if not any(_is(value, kind) for kind in kinds):
            wanted = " or ".join(said for kind, said in _KINDS.items() if kind in kinds)
            raise InputError(f"{where}: option {name} must be {wanted}, not {value!r}")


def _is(value: Any, kind: Any) -> bool:
    if kind in (Sequence[str], Sequence[int]):
        (each,) = typing.get_args(kind)
        return isinstance(value, list) and all(type(one) is each for one in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is kind if kind in (*_KINDS, type(None)) else False
