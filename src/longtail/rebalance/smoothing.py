"""A new linear classifier whose labels are almost uniform (LOS; Sun et al., ICLR 2025)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.rebalance.classifiers import softmax_regression
from longtail.rebalance.estimator import Estimator, training_set
from longtail.shapes import Counts, Float, Labels


class LabelOverSmoothing(Estimator):
    r"""Train a new linear classifier on frozen features with labels smoothed until they are almost uniform (LOS).

    .. math:: \min_{W, b} \; \frac1N \sum_i \mathrm{CE}\big((1 - \delta) e_{y_i} + \tfrac{\delta}{K} 1, \;
        \mathrm{softmax}(W z_i + b)\big) + \frac{\lambda}{2} \lVert W \rVert^2

    With :math:`\delta` near 1 no logit needs to be large, and what the norms of frequent classes had gained goes away,
    though no class prior enters. The problem is convex and solved to the end; samples count alike. Probabilities are
    near uniform by design: put ``TemperatureScaling`` after it. Use it where the class sizes are not known or not to be
    believed. A class without samples is never predicted.

    Args:
        smoothing: delta, the share of the label that is spread over the classes, in [0, 1).
        weight_decay: lambda, above 0. The gradients shrink by ``1 - smoothing``, so it acts the more strongly.
        steps: largest number of iterations.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [0.2], [1.0]])
        >>> model = LabelOverSmoothing(weight_decay=1e-6).fit(features, [0, 0, 0, 1])
        >>> model.predict(torch.tensor([[0.2], [0.8]])).tolist()
        [0, 1]

    References:
        Sun et al., *Rethinking Classifier Re-Training in Long-Tailed Recognition: Label Over-Smooth Can Balance*, ICLR
        2025.
    """

    weight_: Tensor
    bias_: Tensor

    def __init__(self, smoothing: float = 0.98, weight_decay: float = 5e-4, steps: int = 1000) -> None:
        self.smoothing = smoothing
        self.weight_decay = weight_decay
        self.steps = steps

    def fit(
        self,
        features: Float[Tensor, "N D"] | np.ndarray,
        target: Labels,
        *,
        weight: Float[Tensor, "K D"] | np.ndarray | None = None,
        bias: Float[Tensor, " K"] | np.ndarray | None = None,
        counts: Counts | None = None,
        num_classes: int | None = None,
    ) -> LabelOverSmoothing:
        """Train the new classifier on frozen features.

        Args:
            features: (N, D) features of the training set.
            target: (N,) their classes.
            weight: (K, D) only K is read, where ``num_classes`` is not given.
            bias: not read; taken so that all estimators of heads are called alike.
            counts: not read; likewise.
            num_classes: number of classes, K; one more than the largest of ``target`` where nothing says it.

        Returns:
            Itself, with ``weight_`` (K, D) and ``bias_`` (K,).

        Raises:
            InputError: a smoothing outside [0, 1), a weight decay that is not above 0, or features and classes that do
                not fit together.

        Warns:
            ConvergenceWarning: the fit did not converge in ``steps`` iterations.
        """
        if not 0 <= self.smoothing < 1:
            raise InputError(f"smoothing must be from 0 to below 1, not {self.smoothing}")
        if not self.weight_decay > 0:
            raise InputError(f"weight_decay must be above 0, not {self.weight_decay}")
        number = len(weight) if num_classes is None and weight is not None else num_classes
        rows, classes, sizes = training_set(features, target, "features", num_classes=number)
        wanted = smoothed(functional.one_hot(classes, len(sizes)).double(), sizes > 0, self.smoothing)
        even = torch.full((len(rows),), 1.0 / len(rows), dtype=torch.float64, device=rows.device)
        self.weight_, self.bias_ = softmax_regression(rows, wanted, even, decay=self.weight_decay, steps=self.steps)
        self._seen(len(sizes), rows.shape[1])
        return self

    def scores(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Score the classes by the new classifier.

        Args:
            rows: (N, D) features.

        Returns:
            (N, K) logits.
        """
        return rows @ self.weight_.to(rows).T + self.bias_.to(rows)


def smoothed(hot: Float[Tensor, "N K"], present: Tensor, smoothing: float) -> Float[Tensor, "N K"]:
    """Spread a share of each label evenly over the classes that occur.

    Args:
        hot: (N, K) one-hot labels.
        present: (K,) bool, whether the class has samples.
        smoothing: the share, in [0, 1].

    Returns:
        (N, K) rows that sum to 1.

    Example:
        >>> smoothed(torch.eye(2), torch.tensor([True, True]), 0.98)
        tensor([[0.5100, 0.4900],
                [0.4900, 0.5100]])
    """
    return (1 - smoothing) * hot + smoothing * present.to(hot) / present.sum()
