"""What sentences are made of: numbers of things, and the fields in which two things differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what it counts, in the singular for one; thousands are set apart by commas.

    Args:
        number: how many there are.
        one: the thing, and what follows where it changes with the number, in the singular.
        many: the same in the plural; by default with an "s", or "es" after one.

    Example:
        >>> counted(12_000, "image"), counted(2, "class"), counted(1, "class has", "classes have")
        ('12,000 images', '2 classes', '1 class has')
    """
    return f"{number:,} {one if number == 1 else many or one + ('es' if one.endswith('s') else 's')}"


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """The fields, by path, in which two values that were read from JSON differ, with both contents as they are printed.

    Example:
        >>> list(differences({"stages": [{"epochs": 3}], "seed": 0}, {"stages": [{"epochs": 5}], "seed": None}))
        [('seed', '0', 'None'), ('stages.0.epochs', '3', '5')]
        >>> list(differences({"weights": None}, {}))
        [('weights', 'None', 'absent')]
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            inner = f"{path}.{key}".lstrip(".")
            if key in ours and key in theirs:
                yield from differences(ours[key], theirs[key], inner)
            else:
                yield (
                    inner,
                    repr(ours[key]) if key in ours else "absent",
                    repr(theirs[key]) if key in theirs else "absent",
                )
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(a, b, f"{path}.{place}".lstrip("."))
    elif ours != theirs:
        yield path, repr(ours), repr(theirs)
