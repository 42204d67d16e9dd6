"""How many seeds and test images it takes to see a difference, from the spread of runs that were made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import torch

from longtail.errors import InputError, unknown
from longtail.results.comparison import (
    announcing,
    correct_items,
    deciding,
    in_order,
    pooled_spread,
    rate_weights,
    read_together,
)
from longtail.results.copies import distinct
from longtail.results.record import Loaded
from longtail.results.rescoring import rescore
from longtail.results.statistics import FEWEST, smallest_difference

RUNS = (3, 5, 10, 20)
MANY = 10_000
"""Seeds that leave the test images as the only source of chance."""


@dataclasses.dataclass(frozen=True)
class Need:
    """What one contrast needs.

    Args:
        method: method that is compared.
        baseline: method that it is compared with.
        measure: one of ``RATES``.
        family: number of intervals that hold together, as in a report of the same rows.
        smallest: seeds to the smallest difference that they show, in [0, 1].
        seeds: that show the difference asked for on these test images; None where no number does.
        images: test images like these that show the difference, with many seeds; one of each tested class at least.
    """

    method: str
    baseline: str
    measure: str
    family: int
    smallest: dict[int, float]
    seeds: int | None
    images: int


def needed(
    rows: Mapping[str, Sequence[Loaded]],
    *,
    against: str | None = None,
    difference: float,
    measure: str | None = None,
    contrasts: int | None = None,
) -> list[Need]:
    """Return what each method needs to be told from the baseline when it differs by ``difference`` in truth.

    Use it before a long comparison, on a few cheap runs of the same kind. Intervals are those of ``compare_records`` of
    the same rows: they hold together for all methods, and the spread over seeds is pooled where it may be.

    Args:
        rows: runs by method; at least three seeds each (``with_spread`` leaves out the others).
        against: the baseline; the first row if None.
        difference: difference in the measure, in (0, 1].
        measure: one of ``RATES``; the one that the runs' plan decides by if None.
        contrasts: whose intervals hold together, with those of rows that are left out here; these rows alone if None.

    Raises:
        InputError: a difference outside (0, 1], fewer than two methods, an unknown baseline or measure, a group without
            classes, fewer than three seeds, or runs on different data.
    """
    if len(rows) < 2:
        raise InputError("power needs runs of at least two methods")
    baseline = against or next(iter(rows))
    if baseline not in rows:
        raise InputError(f"--against {baseline!r} is no row here: {', '.join(rows)}")
    rows = in_order(rows)
    announced = {name: [run.record for run in runs] for name, runs in rows.items()}
    if not 0 < difference <= 1:
        raise InputError(f"difference {difference:g}: a share in (0, 1]; 1 point is 0.01")
    rows = {name: distinct(runs) for name, runs in rows.items()}
    few = [name for name, runs in rows.items() if len(runs) < FEWEST]
    if few:
        raise InputError(
            f"power needs three runs of each method that differ, to know their spread; {', '.join(few)} "
            f"{'has' if len(few) == 1 else 'have'} fewer (runs with the same predictions count once): train more seeds"
        )
    first = rows[baseline][0]
    order = first.index.argsort()
    target, data = first.target[order], first.record.data
    weights = rate_weights(target, torch.tensor(data["counts"]), many=data["many"], few=data["few"])
    measure = measure or deciding(announcing(announced), weights)
    if measure not in weights:
        raise unknown("measure", measure, weights)
    for run in (run for runs in rows.values() for run in runs):
        rescore(run)
    correct = {name: torch.stack([correct_items(run) for run in runs]) for name, runs in rows.items()}
    spread = pooled_spread(rows, correct, target, {measure: weights[measure]})
    seeds = {name: [run.record.seed for run in runs] for name, runs in rows.items()}
    family = read_together(contrasts or len(rows) - 1, measure, weights)
    found = []
    for name in rows:
        if name == baseline:
            continue

        def half(runs: int, name: str = name) -> float:
            return smallest_difference(
                correct[name],
                correct[baseline],
                target,
                weights=weights[measure][None],
                paired=seeds[name] == seeds[baseline],
                runs=runs,
                arms=len(rows),
                family=family,
                seeds=spread,
            )[0]

        limit = half(MANY)
        images = max(math.ceil(len(target) * (limit / difference) ** 2), int(target.bincount().count_nonzero()))
        needs = None if limit > difference else _fewest(half, difference)
        found.append(Need(name, baseline, measure, family, {runs: half(runs) for runs in RUNS}, needs, images))
    return found


def with_spread(rows: Mapping[str, Sequence[Loaded]]) -> tuple[dict[str, Sequence[Loaded]], list[str]]:
    """Return the methods whose spread over seeds is known, with three runs that differ or more, and the others' names.

    Use it where one method is a rule without a draw: all its seeds give the same predictions, which are one run.

    Args:
        rows: runs by method.
    """
    few = [name for name, runs in rows.items() if len(distinct(runs)) < FEWEST]
    return {name: runs for name, runs in rows.items() if name not in few}, few


def _fewest(half: Callable[[int], float], difference: float) -> int:
    """The smallest number of seeds, from 3, whose interval is no wider than the difference, by bisection."""
    low, high = 2, 3
    while half(high) > difference and high < MANY:
        low, high = high, min(2 * high, MANY)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if half(middle) <= difference else (middle, high)
    return high
