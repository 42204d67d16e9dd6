"""Runs by test items: the counts that all intervals are made of, and the parts of a variance.

Which run got which item right is a crossed design: every run answers every item. The mean over the runs of a weighted
sum of recalls has three sources of chance: the items, the seeds, and what one run does with one item alone.
Everything is computed from counts, so no result depends on the order of the rows or of the runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Arm:
    """The runs of one method, as counts.

    Args:
        correct: (S, N), which of the N test items each run got right.
        sums: (N,) of the S runs, how many got the item right.
        right: (S, K) right answers of each run in each class.
    """

    correct: NDArray[np.bool_]
    sums: NDArray[np.int64]
    right: NDArray[np.int64]

    @property
    def runs(self) -> int:
        """S, the number of runs."""
        return len(self.right)


@dataclasses.dataclass(frozen=True)
class Rates:
    """M rates as weights of the recalls of K classes.

    Args:
        weights: (M, K), rows that sum to 1.
        sizes: (K,) test items of each class.
        target: (N,) true class of each item.
    """

    weights: NDArray[np.float64]
    sizes: NDArray[np.int64]
    target: NDArray[np.int64]

    @property
    def item(self) -> NDArray[np.float64]:
        """(M, K) weight of one item of each class in each rate; 0 for a class without items."""
        return self.weights / np.maximum(self.sizes, 1)


def rates(target: Int[Tensor, " N"], weights: Float[Tensor, "M K"]) -> Rates:
    """Check the weights of the recalls against the test set.

    Args:
        target: true class of each item.
        weights: one row for each rate; none below 0, and each row sums to 1.

    Returns:
        The rates, in float64.

    Raises:
        InputError: a class without a column, a weight on a class without items, or a row that is no weighted mean.
    """
    weight, classes = weights.cpu().numpy().astype(np.float64), target.cpu().numpy().astype(np.int64)
    sizes = np.bincount(classes, minlength=weight.shape[1])
    if len(sizes) != weight.shape[1] or bool((weight[:, sizes == 0] != 0).any()):
        raise InputError("weights must have a column for each class and be 0 where a class has no test item")
    total = weight.sum(axis=1, keepdims=True)
    if bool((weight < 0).any()) or not np.allclose(total, 1, atol=1e-4):
        raise InputError("each row of weights must be a mean of the recalls: numbers from 0 that sum to 1")
    return Rates(weight / total, sizes, classes)


def arm(correct: Bool[Tensor, "S N"] | Arm, made: Rates) -> Arm:
    """Count the right answers of S runs.

    Args:
        correct: which of the N test items each run got right, or what this function made of that on the same items.
        made: the rates on the same test items.

    Returns:
        The counts.

    Raises:
        InputError: other test items, or no run.
    """
    if isinstance(correct, Arm) and correct.correct.shape[1] == len(made.target):
        return correct
    found = correct.correct if isinstance(correct, Arm) else correct.cpu().numpy().astype(bool)
    if found.ndim != 2 or not len(found) or found.shape[1] != len(made.target):
        raise InputError(f"correct must be runs by {len(made.target)} test items, not {tuple(found.shape)}")
    right = np.stack([np.bincount(made.target[run], minlength=len(made.sizes)) for run in found])
    return Arm(found, found.sum(axis=0, dtype=np.int64), right)


def of_runs(made: Rates, right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rates (M, S) of each run, from right answers (S, K), or their differences from differences."""
    # Row by row, so that a rate has the same last digit whatever other rates are asked for.
    return np.asarray((made.item[:, None, :] * right).sum(axis=2))


def of_seeds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance (M,) over the seeds of rates (M, S), with S - 1 in the denominator; 0 for one run."""
    runs = values.shape[1]
    return np.sort(values, axis=1).var(axis=1, ddof=1) if runs > 1 else np.zeros(len(values))


def interaction(
    made: Rates,
    squares: NDArray[np.int64],
    cells: NDArray[np.int64],
    steps: NDArray[np.int64],
    right: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Variance (M,) of a mean over runs that comes from what one run does with one item, and nothing else.

    Args:
        made: the rates.
        squares: (K,) sum over runs and items of the squared answers.
        cells: (K, H) items of each class whose sum over the runs is each of ``steps``.
        steps: (H,) possible sums over the runs.
        right: (S, K) sum of the answers of each run in each class.

    Returns:
        One variance for each rate; 0 for one run, which cannot show it.
    """
    runs = len(right)
    if runs == 1:
        return np.zeros(len(made.weights))
    size = made.sizes.astype(np.float64)
    known = made.sizes > 1
    total = right.sum(axis=0).astype(np.float64)
    mean_square = np.divide(total**2, size * runs, out=np.zeros_like(total), where=size > 0)
    by_item = (cells @ steps**2) / runs - mean_square
    by_run = np.divide((right.astype(np.float64) ** 2).sum(axis=0), size, out=np.zeros_like(total), where=size > 0)
    rest = np.maximum(squares - mean_square - by_item - (by_run - mean_square), 0)
    each = np.divide(rest, (runs - 1) * (size - 1) * runs * size, out=np.zeros_like(rest), where=known)
    return np.asarray(made.weights**2 @ each)


def histogram(made: Rates, values: NDArray[np.int64], num: int) -> NDArray[np.int64]:
    """Items (K, num) of each class by a whole number from 0 to num - 1 that each item has."""
    classes = len(made.sizes)
    return np.bincount(made.target * num + values, minlength=classes * num).reshape(classes, num)


def spread(values: Sequence[NDArray[np.float64]], *, paired: bool) -> tuple[NDArray[np.float64], int]:
    """Variance over seeds within the arms of a table, pooled.

    Args:
        values: rates (M, S) of each arm.
        paired: all arms have the same seeds in the same order; then what a seed does to all arms is taken out.

    Returns:
        Variance (M,) of one run's rate, and its degrees of freedom: (arms - 1)(S - 1) if paired, else the sum of S - 1.
    """
    if paired and len(values) > 1:
        block = np.stack(values)  # arms, M, S
        of_arm, of_seed = block.mean(axis=2, keepdims=True), block.mean(axis=0)
        rest = block - of_arm - of_seed + of_seed.mean(axis=1, keepdims=True)
        freedom = (len(values) - 1) * (block.shape[2] - 1)
        squares = np.sort(np.moveaxis(rest**2, 1, 0).reshape(block.shape[1], -1), axis=1)
        return squares.sum(axis=1) / max(freedom, 1), freedom
    freedom = sum(part.shape[1] - 1 for part in values)
    squares = np.stack([of_seeds(part) * (part.shape[1] - 1) for part in values])
    return squares.sum(axis=0) / max(freedom, 1), freedom
