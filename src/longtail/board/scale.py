"""Fractions among per cents: numbers that cannot stand on the scale of the others of their board."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from longtail.board.measures import Measure, Measures, shipped_measures
from longtail.board.model import Entry
from longtail.board.values import parse_value

_GAP = 5.0
"""Numbers up to 1 are doubted where the next larger one is more than this many times the largest of them."""


def on_one_scale(entries: Sequence[Entry], measure: Measure, measures: Measures | None = None) -> list[Entry]:
    """Flag the claims of a board in per cent whose printed number looks like a fraction.

    Among per cents such a number is neither read nor ranked. If every number of a metric on the board is at most 1,
    accuracies and their kind are read as fractions; error rates might be either, and keep their number without a rank.

    Args:
        entries: of one board.
        measure: that the board ranks by.
        measures: the board's; those shipped if left out.

    Returns:
        The entries in the same order.
    """
    if measure.unit != "%":
        return list(entries)
    table = measures or shipped_measures()
    small: dict[str, list[tuple[int, float]]] = defaultdict(list)
    large: list[float] = []
    for place, entry in enumerate(entries):
        if entry.value is None:
            continue
        # Only what is small as it stands, or as an error, can have been printed as a small number.
        near = entry.value <= 1 or entry.value >= 99
        read = near and entry.kind != "scored" and "%" not in entry.raw
        printed = parse_value(entry.raw).number if read else None
        if printed is not None and 0 < printed <= 1:
            small[table.find(entry.metric).id].append((place, printed))
        elif entry.value:
            large.append(entry.value)
    out = list(entries)
    for metric, found in small.items():
        printed_as = table.find(metric)
        # Error rates of the board's accuracies, where errors are printed.
        others = [100 - value if printed_as.complement else value for value in large]
        beyond = [value for value in others if value > 1]
        if beyond and min(beyond) <= _GAP * max(number for _, number in found):
            continue
        for place, number in found:
            if beyond:
                out[place] = _flagged(out[place], "fraction-among-per-cents", None)
            elif printed_as.higher_is_better:
                out[place] = _flagged(out[place], "read-as-fraction", table.canonical(printed_as, 100 * number)[1])
            else:
                out[place] = _flagged(out[place], "scale-unknown", out[place].value)
    return out


def _flagged(entry: Entry, flag: str, value: float | None) -> Entry:
    flags = tuple(dict.fromkeys((*entry.flags, flag)))
    return dataclasses.replace(entry, flags=flags, value=value, low=None, high=None)
