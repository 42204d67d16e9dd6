"""What is measured: one name, its aliases, and which direction is better, for every metric that the board ranks."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files


@dataclass(frozen=True)
class Measure:
    """A metric.

    Args:
        id: its address.
        name: as pages show it.
        unit: ``%`` or empty.
        higher_is_better: ``None`` where nobody has said; such a measure is shown and sorted, and not ranked.
        complement: the measure that this one is 100 minus of.
        proportion: it is the share of a test set's items, so that the size of the set gives it a binomial interval.
        aliases: other names found in papers and catalogues.
    """

    id: str
    name: str
    unit: str
    higher_is_better: bool | None
    complement: str | None
    proportion: bool = False
    aliases: tuple[str, ...] = ()


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold())


@cache
def measures() -> dict[str, Measure]:
    """All measures by identifier, as shipped in ``content/measures.toml``."""
    table = tomllib.loads(files("longtail.board").joinpath("content/measures.toml").read_text("utf-8"))["measure"]
    found = [
        Measure(
            id=entry["id"],
            name=entry["name"],
            unit=entry.get("unit", ""),
            higher_is_better=entry["higher_is_better"],
            complement=entry.get("complement"),
            proportion=entry.get("proportion", False),
            aliases=tuple(entry.get("aliases", ())),
        )
        for entry in table
    ]
    return {measure.id: measure for measure in found}


@cache
def _aliases() -> dict[str, Measure]:
    return {_key(name): each for each in measures().values() for name in (each.id, each.name, *each.aliases)}


@lru_cache(maxsize=4096)
def find_measure(name: str) -> Measure:
    """The measure that a metric's printed name stands for; an unknown name makes a measure without a direction.

    Example:
        >>> find_measure("Top 1 Accuracy").id, find_measure("Error Rate").complement
        ('accuracy', 'accuracy')
        >>> find_measure("Wow factor").higher_is_better is None
        True
    """
    known = _aliases().get(_key(name))
    if known is not None:
        return known
    from longtail.board.values import slug

    return Measure(id=slug(name), name=name, unit="", higher_is_better=None, complement=None)


def canonical(measure: Measure, number: float) -> tuple[Measure, float]:
    """Bring a printed number to the measure that its board ranks by (an error rate becomes an accuracy).

    Example:
        >>> board, value = canonical(find_measure("Error Rate"), 52.67)
        >>> board.id, round(value, 2)
        ('accuracy', 47.33)
    """
    if measure.complement is None:
        return measure, number
    # Decimal places of the print survive: 100 - 52.67 is 47.33, not 47.330000000000005.
    return measures()[measure.complement], round(100.0 - number, 6)
