"""Logits aligned with a balanced distribution by a scale and a shift of each class (DisAlign, CVPR 2021)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.rebalance.estimator import Estimator, as_rows, head, minimise, training_counts, training_set
from longtail.shapes import Counts, Float, Int, Labels


class DisAlign(Estimator):
    r"""Learn a scale and a shift for each logit, and for each sample how far they apply.

    .. math:: \hat f_c = \sigma \, (\alpha_c f_c + \beta_c) + (1 - \sigma) f_c, \qquad f = W z + b, \quad
        \sigma = \mathrm{sigmoid}(v^\top z + u)

    (Eq. 3 and 4), under the generalised re-weighting of Eq. 7, cross-entropy with class weights
    :math:`n_c^{-\rho} / \sum_k n_k^{-\rho}`, plus half of ``weight_decay`` times the squared distance of
    (alpha, beta, v, u) from the identity, where the search begins. The problem is not convex; L-BFGS goes to the
    minimum below the identity, without a seed. With ``confidence=False`` sigma is 1 and the result a linear head,
    ``weight_`` and ``bias_``; else there is none. Use it where logit adjustment is too coarse: it has 2 K + D + 1
    numbers to learn.

    Args:
        rho: how far rare classes weigh more: 0 as they occur, 1 all classes alike.
        confidence: whether sigma is learned; else it is 1.
        weight_decay: pull towards the identity, above 0.
        steps: largest number of iterations.

    Example:
        >>> weight = torch.tensor([[4.0, 0.0], [0.0, 1.0]])  # the first class is frequent
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 2.0]])
        >>> DisAlign().fit(features, [0, 0, 1], weight=weight).predict(features).tolist()
        [0, 0, 1]

    References:
        Zhang et al., *Distribution Alignment: A Unified Framework for Long-tail Visual Recognition*, CVPR 2021.
    """

    missing = "fit(features, target, weight=...)"
    scale_: Tensor
    shift_: Tensor
    gate_: Tensor
    given_: tuple[Tensor, Tensor]

    def __init__(
        self, rho: float = 1.0, confidence: bool = True, weight_decay: float = 5e-4, steps: int = 1000
    ) -> None:
        self.rho = rho
        self.confidence = confidence
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
    ) -> DisAlign:
        """Learn scales, shifts and confidence on the training set.

        Args:
            features: (N, D) features of the training set.
            target: (N,) their classes.
            weight: (K, D) weights of the trained classifier.
            bias: (K,) its bias; None for 0.
            counts: (K,) training images per class; the targets are counted where they are not given.

        Returns:
            Itself, with ``scale_`` (K,), ``shift_`` (K,) and ``gate_`` (D + 1,), v and then u; and, without
            confidence, ``weight_`` (K, D) and ``bias_`` (K,).

        Raises:
            InputError: a weight decay that is not above 0, or features, classes and weights that do not fit together.

        Warns:
            ConvergenceWarning: the fit did not converge in ``steps`` iterations.
        """
        if not self.weight_decay > 0:
            raise InputError(f"weight_decay must be above 0, not {self.weight_decay}")
        known, held = head(weight, bias)
        rows, classes, _ = training_set(features, target, "features", num_classes=len(known))
        exact = as_rows(rows, "features", width=known.shape[1]).double()
        logits = exact @ known.double().to(exact.device).T + held.double().to(exact.device)
        weights = generalised_weights(classes, training_counts(counts, classes, len(known)), self.rho)
        number = len(known)

        def objective(moved: Tensor) -> Tensor:
            scale, shift, gate = 1 + moved[:number], moved[number : 2 * number], moved[2 * number :]
            aligned = _aligned(exact, logits, scale, shift, gate if self.confidence else None)
            loss = functional.cross_entropy(aligned, classes, reduction="none")
            return (weights * loss).sum() + self.weight_decay / 2 * moved.square().sum()

        start = torch.zeros(2 * number + exact.shape[1] + 1, device=exact.device)
        moved = minimise(objective, start, steps=self.steps).to(rows)
        self.scale_, self.shift_ = 1 + moved[:number], moved[number : 2 * number]
        self.gate_, self.given_ = moved[2 * number :], (known, held)
        for name in ("weight_", "bias_"):
            self.__dict__.pop(name, None)  # of an earlier fit without confidence
        if not self.confidence:
            self.weight_ = self.scale_.to(known)[:, None] * known
            self.bias_ = self.scale_.to(known) * held + self.shift_.to(known)
        self._seen(*known.shape)
        return self

    def scores(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Align the logits of the given classifier.

        Args:
            rows: (N, D) features.

        Returns:
            (N, K) aligned logits.
        """
        weight, bias = (held.to(rows) for held in self.given_)
        scale, shift, gate = (held.to(rows) for held in (self.scale_, self.shift_, self.gate_))
        return _aligned(rows, rows @ weight.T + bias, scale, shift, gate if self.confidence else None)


def _aligned(rows: Tensor, logits: Tensor, scale: Tensor, shift: Tensor, gate: Tensor | None) -> Tensor:
    aligned = scale * logits + shift
    if gate is None:
        return aligned
    sure = torch.sigmoid(rows @ gate[:-1] + gate[-1])[:, None]
    return sure * aligned + (1 - sure) * logits


def generalised_weights(target: Int[Tensor, " N"], counts: Int[Tensor, " K"], rho: float) -> Float[Tensor, " N"]:
    """Weigh samples by a power of how rare their class is (Eq. 7), so that they sum to 1.

    Args:
        target: (N,) class numbers.
        counts: (K,) training images per class; a class that occurs has at least one.
        rho: the power; 0 weighs all samples alike, 1 all classes.

    Returns:
        (N,) float64.

    Raises:
        InputError: a class that occurs has a count of 0.

    Example:
        >>> generalised_weights(torch.tensor([0, 0, 1]), torch.tensor([2, 1]), 1.0)
        tensor([0.2500, 0.2500, 0.5000], dtype=torch.float64)
    """
    own = counts.to(target.device).index_select(0, target)
    if bool((own <= 0).any()):
        raise InputError(f"class {int(target[own <= 0][0])} occurs in the target, but its count is 0")
    weights = own.double() ** -rho
    return weights / weights.sum()
