"""``tuned``: any recipe with its ordinary settings chosen on held-out images, so that tuned is compared with tuned.

Paper: none of its own; a tuned cross-entropy is reported to equal many special methods (docs/methods.md).
Command: ``longtail compare ce tuned tuned@of=balanced-softmax --data cifar100-lt --imbalance 100 --root DATA``
Cost: ``trials`` + 1 times that of the recipe, 9 by default.
Expect: nothing published under these protocols; a row that tuned ``ce`` does not reach is a claim for its method.

One search space for every recipe: learning rate from a quarter to four times the protocol's, weight decay from a
quarter to sixteen times, batch size half, as it is or double, label smoothing 0 to 0.2, augmentation the protocol's or
its stronger one. The trials are the protocol as it is and the first points of a Kronecker sequence in these five, the
same for every recipe, data set and seed. Each is trained on the training split less a fifth (or on the training split,
where the data has a validation split) and judged by balanced accuracy on the rest; the test split is never seen. The
best is trained on the whole training split. Its record says what was chosen, and which trials diverged.
"""

from __future__ import annotations

import dataclasses

from longtail.errors import InputError
from longtail.methods.names import named, ready
from longtail.methods.protocols import Protocol, smoothed
from longtail.recipes import Recipe
from longtail.recipes.part import options_of

RATE, DECAY, BATCH, SMOOTHING = (0.25, 4.0), (0.25, 16.0), (0.5, 1.0, 2.0), (0.0, 0.05, 0.1, 0.2)
"""Factors of the protocol's own learning rate and weight decay (from, to), of its batch size, and label smoothings."""


def recipe(protocol: Protocol, *, of: str = "ce", trials: int = 8) -> Recipe:
    """The best of several settings of a recipe.

    Args:
        protocol: as it is for trial 0, and the centre of the search for the others.
        of: a recipe as it is typed, with options in parentheses: ``tuned@of=(focal@gamma=1)``.
        trials: how many settings are tried, from 2.
    """
    if not 2 <= trials <= 200:
        raise InputError(f"trials {trials}: how many settings are tried, from 2 to 200")
    if ready(of) is not None:
        raise InputError(f"tuned@of={of}: a complete recipe has no protocol, in which trials differ; name a method")
    tried = [_at(protocol, number, of) for number in range(trials)]
    if tried[0].trials:
        raise InputError("tuned@of=tuned: a recipe is tuned once")
    return dataclasses.replace(tried[0], name="tuned", trials=tuple(tried), stated=None)


def _at(protocol: Protocol, number: int, of: str) -> Recipe:
    """The recipe at a point of the search; number 0 is the protocol as it is."""
    if number == 0:
        return named(of, protocol)
    rate, decay, batch, smoothing, augmentation = point(number)
    optimizer = protocol.optimizer
    known = options_of(optimizer.function)
    changes = {
        "lr": _rounded(optimizer["lr"] * _between(RATE, rate)) if "lr" in known else None,
        "weight_decay": _rounded(optimizer["weight_decay"] * _between(DECAY, decay))
        if "weight_decay" in known
        else None,
    }
    choices = (protocol.augmentation, protocol.stronger)
    changed = dataclasses.replace(
        protocol,
        optimizer=optimizer.with_arguments(**{key: value for key, value in changes.items() if value is not None}),
        batch_size=max(2, round(protocol.batch_size * _one_of(BATCH, batch))),
        augmentation=choices[int(augmentation * len(choices))],
    )
    made = named(of, changed)
    objective = smoothed(made.stages[0].objective, _one_of(SMOOTHING, smoothing), anew=True)
    first = dataclasses.replace(made.stages[0], objective=objective)
    return dataclasses.replace(made, stages=(first, *made.stages[1:]))


def point(number: int) -> tuple[float, ...]:
    r"""Return a term of the Kronecker sequence in the unit cube of five axes: evenly spread however few are taken.

    .. math:: u_k = (1/2 + n \phi^{-k}) \bmod 1, \quad \phi^6 = \phi + 1

    Args:
        number: n, from 1.

    Returns:
        Learning rate, weight decay, batch size, smoothing and augmentation, each in [0, 1).

    Example:
        >>> [round(share, 2) for share in point(1)]
        [0.38, 0.28, 0.18, 0.1, 0.03]

    References:
        Roberts, *The Unreasonable Effectiveness of Quasirandom Sequences*, 2018.
    """
    return tuple((0.5 + number * RATIO**-axis) % 1.0 for axis in range(1, 6))


RATIO = 1.1347241384015194
"""The root of x^6 = x + 1 above 1."""


def _between(ends: tuple[float, float], share: float) -> float:
    return float(ends[0] * (ends[1] / ends[0]) ** share)


def _one_of(choices: tuple[float, ...], share: float) -> float:
    return choices[int(share * len(choices))]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
