"""Numbers of things in sentences."""

from __future__ import annotations


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
