"""What is measured: one name, its aliases, and which direction is better, for every metric that the board ranks."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from longtail.board.fields import address, typed
from longtail.errors import InputError, unknown


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


class Measures:
    """A table of measures, found by any of their names.

    Args:
        known: measures by identifier.
    """

    def __init__(self, known: Mapping[str, Measure]) -> None:
        self.known = dict(known)
        self._names = {_key(name): each for each in self.known.values() for name in (each.id, each.name, *each.aliases)}
        self._seen: dict[str, Measure] = {}

    def find(self, name: str) -> Measure:
        """The measure that a printed name stands for; an unknown name makes a measure without a direction."""
        found = self._seen.get(name)
        if found is None:
            from longtail.board.values import slug

            found = self._names.get(_key(name)) or Measure(slug(name), name, "", None, None)
            if len(self._seen) < _REMEMBERED:
                self._seen[name] = found
        return found

    def canonical(self, measure: Measure, number: float) -> tuple[Measure, float]:
        """Bring a printed number to the measure that its board ranks by (an error rate becomes an accuracy)."""
        if measure.complement is None:
            return measure, number
        # Decimal places of the print survive: 100 - 52.67 is 47.33, not 47.330000000000005.
        return self.known[measure.complement], round(100.0 - number, 6)

    def with_own(self, own: Sequence[Measure]) -> Measures:
        """This table and a board's own measures, which may not take a name that is there.

        Raises:
            InputError: naming the measure and the one that has its name already.
        """
        for each in own:
            for name in (each.id, each.name, *each.aliases):
                held = self._names.get(_key(name))
                if held is not None:
                    raise InputError(f"measure {each.id!r}: {name!r} is a name of {held.id!r} already")
            if each.complement is not None and each.complement not in {**self.known, **{one.id: one for one in own}}:
                raise unknown("measure", each.complement, self.known)
        return Measures({**self.known, **{each.id: each for each in own}})


_REMEMBERED = 20_000
"""Names are remembered as they were spelled up to so many, so that a stranger's file cannot fill the memory."""


def measure_from(entry: Mapping[str, Any], where: str) -> Measure:
    """One measure as a file states it.

    Args:
        entry: the fields of :class:`Measure`; ``id``, ``name`` and ``higher_is_better`` are needed.
        where: the file, for the error.

    Raises:
        InputError: for a field that is missing, unknown or of the wrong form.
    """
    known = [each.name for each in dataclasses.fields(Measure)]
    for name in entry:
        if name not in known:
            raise unknown(f"{where}: field", name, known)
    typed(Measure, entry, where)
    if lost := [name for name in ("id", "name", "higher_is_better") if name not in entry]:
        raise InputError(f"{where}: {lost[0]!r} is missing")
    address(entry, where)
    if entry.get("unit", "") not in ("", "%"):
        raise InputError(f"{where}: 'unit' must be '%' or left out")
    return Measure(
        id=entry["id"],
        name=entry["name"],
        unit=entry.get("unit", ""),
        higher_is_better=entry["higher_is_better"],
        complement=entry.get("complement"),
        proportion=entry.get("proportion", False),
        aliases=tuple(entry.get("aliases", ())),
    )


@cache
def shipped_measures() -> Measures:
    """The measures that come with the package, from ``content/measures.toml``."""
    table = tomllib.loads(files("longtail.board").joinpath("content/measures.toml").read_text("utf-8"))["measure"]
    found = [measure_from(entry, "content/measures.toml") for entry in table]
    return Measures({measure.id: measure for measure in found})


def measures() -> dict[str, Measure]:
    """The shipped measures by identifier."""
    return dict(shipped_measures().known)


def find_measure(name: str) -> Measure:
    """The shipped measure that a metric's printed name stands for; see :meth:`Measures.find`.

    Example:
        >>> find_measure("Top 1 Accuracy").id, find_measure("Error Rate").complement
        ('accuracy', 'accuracy')
        >>> find_measure("Wow factor").higher_is_better is None
        True
    """
    return shipped_measures().find(name)


def canonical(measure: Measure, number: float) -> tuple[Measure, float]:
    """Bring a printed number to the scale of its board, by the shipped table; see :meth:`Measures.canonical`.

    Example:
        >>> board, value = canonical(find_measure("Error Rate"), 52.67)
        >>> board.id, round(value, 2)
        ('accuracy', 47.33)
    """
    return shipped_measures().canonical(measure, number)
