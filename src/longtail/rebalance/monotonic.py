"""Class weights whose norms do not shrink with rarity (SAMN; Zhang et al., CVPR 2026), after training."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from longtail.errors import InputError
from longtail.rebalance.estimator import Estimator, head, training_counts, training_set
from longtail.shapes import Counts, Float, Labels


class SAMN(Estimator):
    r"""Give every class at least the weight norm of any more frequent one: self-adaptive monotonic normalisation.

    .. math:: \tilde w_c = m_c \, w_c / \lVert w_c \rVert, \qquad
        m = \arg\min_m \sum_c (m_c - \lVert w_c \rVert)^2 \quad \text{with } m_a \ge m_b \text{ where } n_a < n_b

    The nearest norms in that order are found by pooling adjacent violators, so there is nothing to tune. Norms that
    only fall with rarity, the usual case after training on a tail, are all pooled, and the result is tau-normalisation
    with ``tau = 1`` up to a factor; norms that are in order already stay as they are. Classes of one size are not
    ordered among themselves. The bias is left out. Use it where the norms are neither, such as after a loss or a
    weight decay that has turned some of them around. The authors keep the order while they train a classifier anew;
    this is their projection, once, on the classifier that is there.

    Example:
        >>> weight = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, -4.0]])
        >>> SAMN().fit(weight=weight, counts=[100, 10, 2]).weight_.norm(dim=1)
        tensor([2., 2., 4.])

    References:
        Zhang, Li and Zhu, *Why Not Hyperparameter-Friendly Optimisation? A Monotonic Adaptive Norm Rescaling Approach
        for Long-Tailed Recognition*, CVPR 2026.
    """

    missing = "fit(weight=..., counts=...)"
    weight_: Tensor
    bias_: Tensor

    def fit(
        self,
        features: Float[Tensor, "N D"] | np.ndarray | None = None,
        target: Labels | None = None,
        *,
        weight: Float[Tensor, "K D"] | np.ndarray | None = None,
        bias: Float[Tensor, " K"] | np.ndarray | None = None,
        counts: Counts | None = None,
    ) -> SAMN:
        """Bring the norms of the weights into the order of rarity.

        Args:
            features: (N, D) not read but for its number of rows; taken so that all estimators of heads are called
                alike.
            target: (N,) classes of the training set, counted where ``counts`` is not given.
            weight: (K, D) weights of the trained classifier.
            bias: not read.
            counts: (K,) training images per class.

        Returns:
            Itself, with ``weight_`` (K, D) and ``bias_`` (K,), which is 0.

        Raises:
            InputError: no weights, neither counts nor targets, or a class whose weight is 0.
        """
        known, none = head(weight)
        labels = None if target is None or counts is not None else training_set(features, target, "features")[1]
        sizes = training_counts(counts, labels, len(known))
        norm = known.norm(dim=1)
        if bool((norm == 0).any()):
            raise InputError(f"the weight of class {int((norm == 0).nonzero()[0])} is 0 and has no direction")
        wanted = monotone(norm.double().cpu().numpy(), sizes.cpu().numpy())
        self.weight_ = known * (torch.from_numpy(wanted).to(known) / norm)[:, None]
        self.bias_ = none
        self._seen(*known.shape)
        return self

    def scores(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Score the classes by the rescaled weights.

        Args:
            rows: (N, D) features.

        Returns:
            (N, K) scores.
        """
        return rows @ self.weight_.to(rows).T


def monotone(norms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the nearest norms that do not fall from a class to a rarer one.

    Args:
        norms: (K,) above 0.
        counts: (K,) training images per class; classes of one size have no order.

    Returns:
        (K,) the least-squares projection.

    Example:
        >>> monotone(np.array([3.0, 1.0, 4.0]), np.array([100, 10, 2])).tolist()
        [2.0, 2.0, 4.0]
    """
    order = np.lexsort((norms, -counts))  # within one size by norm, which is no constraint on them
    found = np.empty_like(norms)
    found[order] = isotonic_regression(norms[order])
    return found
