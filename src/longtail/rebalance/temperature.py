"""Temperature scaling: probabilities that can be believed, from the logits of a finished network."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.rebalance.estimator import Estimator, as_rows, balanced_weights, not_fitted, training_set
from longtail.shapes import Float, Labels

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

    def __init__(self, balanced: bool = False) -> None:
        self.balanced = balanced
        self.temperature_: float | None = None

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
        values = as_rows(logits, "logits")
        rows, classes, counts = training_set(values, target, "logits", num_classes=values.shape[1])
        if not bool(torch.isfinite(rows).all()):
            raise InputError("logits must be finite to choose a temperature by")
        exact = rows.double()
        even = torch.full((len(rows),), 1.0 / len(rows), dtype=torch.float64, device=rows.device)
        weights = balanced_weights(classes, counts) if self.balanced else even
        own = exact.gather(1, classes[:, None]).squeeze(1)

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
        self.temperature_, self.classes_ = 1.0 / high, np.arange(rows.shape[1])
        return self

    def decision_function(self, rows: Float[Tensor, "N K"] | np.ndarray) -> Float[Tensor, "N K"]:
        """Divide logits by the temperature.

        Args:
            rows: (N, K) logits.

        Returns:
            (N, K) scaled logits.

        Raises:
            InputError: before ``fit``.
        """
        if self.temperature_ is None:
            raise not_fitted(self, "fit(logits, target)")
        return as_rows(rows, "logits") / self.temperature_
