"""Temperature scaling, one for all or one for each group: probabilities that can be believed, from finished logits."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from longtail.counts import shot_groups
from longtail.rebalance.estimator import (
    Estimator,
    as_rows,
    balanced_weights,
    training_counts,
    training_set,
)
from longtail.shapes import Counts, Float, Int, Labels

LOWEST, HIGHEST = 0.01, 100.0
"""Range of the temperature; logits that are all right or all wrong would drive it to 0 or to infinity."""


class TemperatureScaling(Estimator):
    r"""Divide the logits by one temperature, chosen on held-out samples.

    .. math:: p = \mathrm{softmax}(f / T), \qquad T = \arg\min_T \sum_i w_i \, (-\log p_{i, y_i})

    No prediction changes, only how sure it is. Use it last, on held-out samples, after any other re-balancing; weigh
    classes alike where the test set is balanced and the held-out samples are not.

    Args:
        balanced: whether every class weighs alike instead of every sample.

    Example:
        >>> logits = torch.tensor([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0], [0.0, 8.0]])  # sure, and right in 3 of 4
        >>> model = TemperatureScaling().fit(logits, [0, 0, 1, 1])
        >>> [round(p, 2) for p in model.predict_proba(logits)[0].tolist()]
        [0.75, 0.25]

    References:
        Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, section 4.2.
    """

    missing = "fit(logits, target)"
    reads = "logits"
    temperature_: float

    def __init__(self, balanced: bool = False) -> None:
        self.balanced = balanced

    def fit(self, logits: Float[Tensor, "N K"] | np.ndarray, target: Labels) -> TemperatureScaling:
        """Choose the temperature on held-out samples.

        Args:
            logits: (N, K) logits of held-out samples.
            target: (N,) their classes.

        Returns:
            Itself, with ``temperature_`` in [0.01, 100].

        Raises:
            InputError: logits and classes that do not fit together, or logits that are not finite.
        """
        rows, classes, weights = _weighted(logits, target, self.balanced)
        self.temperature_ = temperature_of(rows, classes, weights)
        self._seen(rows.shape[1], rows.shape[1])
        return self

    def scores(self, rows: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Divide logits by the temperature.

        Args:
            rows: (N, K) logits.

        Returns:
            (N, K) scaled logits.
        """
        return rows / self.temperature_


class GroupTemperatureScaling(Estimator):
    r"""Divide the logits by a temperature of the group that the predicted class belongs to: many, medium or few shots.

    .. math:: p = \mathrm{softmax}(f / T_{g(\hat y)}), \qquad \hat y = \arg\max_c f_c

    A network is surer of its frequent classes than of its rare ones, so that one temperature is too high for the ones
    and too low for the others. The group is that of the predicted class, since the true one is not known; no
    prediction changes. A group that nothing is predicted in keeps the temperature of all samples. Use it where
    ``TemperatureScaling`` leaves a group that is overconfident, and there are held-out samples of every group.

    Args:
        balanced: whether every class weighs alike instead of every sample.
        many: many-shot classes have more training images than this.
        few: few-shot classes have fewer than this.

    Example:
        >>> logits = torch.tensor([[8.0, 0.0], [8.0, 0.0], [0.0, 8.0], [0.0, 8.0]])
        >>> model = GroupTemperatureScaling().fit(logits, [0, 0, 1, 0], counts=[200, 5])
        >>> [[round(value, 1) for value in row] for row in model.predict_proba(logits[1:3]).tolist()]
        [[1.0, 0.0], [0.5, 0.5]]

    References:
        Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, section 4.2, for the one temperature.
    """

    missing = "fit(logits, target)"
    reads = "logits"
    temperature_: dict[str, float]
    classwise_: Tensor

    def __init__(self, balanced: bool = False, many: int = 100, few: int = 20) -> None:
        self.balanced = balanced
        self.many = many
        self.few = few

    def fit(
        self, logits: Float[Tensor, "N K"] | np.ndarray, target: Labels, *, counts: Counts | None = None
    ) -> GroupTemperatureScaling:
        """Choose a temperature for each group on held-out samples.

        Args:
            logits: (N, K) logits of held-out samples.
            target: (N,) their classes.
            counts: (K,) training images per class, which make the groups; the held-out samples are counted where they
                are not given.

        Returns:
            Itself, with ``temperature_`` by group and ``classwise_`` (K,), the temperature of each predicted class.

        Raises:
            InputError: logits, classes and counts that do not fit together, or logits that are not finite.
        """
        rows, classes, weights = _weighted(logits, target, self.balanced)
        num_classes = rows.shape[1]
        groups = shot_groups(training_counts(counts, classes, num_classes), many=self.many, few=self.few)
        whole, predicted = temperature_of(rows, classes, weights), rows.argmax(dim=1)
        self.temperature_, self.classwise_ = {}, rows.new_full((num_classes,), whole, dtype=torch.float64)
        for name, members in groups.items():
            chosen = members.to(rows.device)[predicted]
            found = temperature_of(rows[chosen], classes[chosen], weights[chosen]) if bool(chosen.any()) else whole
            self.temperature_[name] = found
            self.classwise_[members.to(rows.device)] = found
        self._seen(num_classes, num_classes)
        return self

    def scores(self, rows: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Divide the logits of each row by the temperature of its predicted class.

        Args:
            rows: (N, K) logits.

        Returns:
            (N, K) scaled logits.
        """
        return rows / self.classwise_.to(rows)[rows.argmax(dim=1)][:, None]


def temperature_of(logits: Float[Tensor, "N K"], target: Int[Tensor, " N"], weights: Float[Tensor, " N"]) -> float:
    """Return the temperature of the smallest weighted negative log-likelihood, in [0.01, 100].

    Args:
        logits: (N, K), finite.
        target: (N,) class numbers.
        weights: (N,) of the rows, float64.

    Returns:
        T, by bisection of the slope to ten digits.

    Example:
        >>> logits = torch.tensor([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
        >>> round(temperature_of(logits, torch.tensor([0, 0, 1, 1]), torch.full((4,), 0.25).double()), 2)
        7.28
    """
    exact = logits.double()
    own = exact.gather(1, target[:, None]).squeeze(1)

    def slope(inverse: float) -> float:
        """Slope of the loss, which is convex in 1 / T: the expected logit less that of the true class."""
        expected = (functional.softmax(exact * inverse, dim=1) * exact).sum(dim=1)
        return float((weights * (expected - own)).sum())

    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    if slope(low) >= 0:
        high = low
    elif slope(high) <= 0:
        low = high
    while high / low - 1 > 1e-10:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1.0 / high


def _weighted(logits: object, target: Labels, balanced: bool) -> tuple[Tensor, Tensor, Tensor]:
    values = as_rows(logits, "logits")
    rows, classes, counts = training_set(values, target, "logits", num_classes=values.shape[1])
    even = torch.full((len(rows),), 1.0 / len(rows), dtype=torch.float64, device=rows.device)
    return rows, classes, balanced_weights(classes, counts) if balanced else even
