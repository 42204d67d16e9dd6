"""One field of a recipe changed by its dotted name: ``stages.0.optimizer=adamw@lr=1e-3``, ``stages.0.epochs=20``."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, TypeVar

from longtail.errors import InputError, unknown
from longtail.recipes.part import Part, hints_of, options_of
from longtail.recipes.text import Augmentation
from longtail.recipes.text import value as parse

T = TypeVar("T")


def change(description: T, setting: str) -> T:
    """Return a copy with one field changed.

    Args:
        description: a recipe, a protocol or a stage.
        setting: ``PATH=VALUE``. The path goes through fields, positions in lists and options of parts; the value is
            parsed to the field's own type, whole parts included.

    Raises:
        InputError: no such field (the nearest is suggested), or a value that is not of its type.
    """
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise InputError(f"--set {setting!r}: it should read PATH=VALUE, as in stages.0.epochs=20")
    return typing.cast(T, _changed(description, path.split("."), text, path, None))


def _changed(held: Any, steps: list[str], text: str, path: str, hint: Any) -> Any:
    where = f"--set {path}"
    if not steps:
        return parse(hint, text, where)
    head, rest = steps[0].replace("-", "_"), steps[1:]
    if isinstance(held, tuple):
        if not head.isdecimal() or int(head) >= len(held):
            last = f" (0 to {len(held) - 1})" if held else ""
            raise InputError(f"{where}: {head!r} is no position in a list of {len(held)}{last}")
        position = int(head)
        item = held[position]
        listed = "augmentation" in typing.get_args(hint)[1:]
        inner = Augmentation if listed and not rest else Part if isinstance(item, Part) else type(item)
        new = _changed(item, rest, text, path, inner)
        if listed and not rest:  # one operation replaced by those that the text names, perhaps several or none
            return (*held[:position], *new, *held[position + 1 :])
        return (*held[:position], new, *held[position + 1 :])
    if isinstance(held, Part):
        known = options_of(held.function)
        if head not in known and head not in dict(held.arguments):
            raise (
                unknown(f"option of {held.name}", head, known)
                if known
                else InputError(f"{where}: {held.name} has no options")
            )
        inner = hints_of(held.function).get(head, type(dict(held.arguments).get(head)))
        return held.with_arguments(**{head: _changed(dict(held.arguments).get(head), rest, text, path, inner)})
    if not dataclasses.is_dataclass(held) or isinstance(held, type):
        raise InputError(f"{where}: {type(held).__name__} has no field {head!r}")
    names = [field.name for field in dataclasses.fields(held)]
    if head not in names:
        raise unknown(f"field of {type(held).__name__}", head, names)
    hints = typing.get_type_hints(type(held), include_extras=True)
    return dataclasses.replace(held, **{head: _changed(getattr(held, head), rest, text, path, hints[head])})
