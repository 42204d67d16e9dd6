"""Logit adjustment after training: no parameters, no training, often most of what re-balancing can give."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.losses import adjust_logits
from longtail.shapes import Float, Int


class LogitAdjustment:
    """Subtract ``tau`` times the log-prior from the logits.

    ``adjusted_c = logits_c - tau * log prior_c`` (Menon et al., ICLR 2021, Eq. 9). With ``tau = 1`` and a network
    that has learned the class posterior of the training distribution this is the Bayes classifier for balanced error.

    Args:
        tau: strength; 0 leaves the logits as they are.

    Example:
        >>> import torch
        >>> adjust = LogitAdjustment().fit(counts=torch.tensor([90, 10]))
        >>> adjust.predict(torch.tensor([[1.0, 0.0]])).tolist()
        [1]

    References:
        Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021.
    """

    def __init__(self, tau: float = 1.0) -> None:
        self.tau = tau
        self.counts: Tensor | None = None

    def fit(self, *, counts: Int[Tensor, " K"]) -> LogitAdjustment:
        """Take the log-prior from the training counts.

        Args:
            counts: training images per class (K,).

        Raises:
            InputError: a class without training images, whose log-prior would be minus infinity.
        """
        if bool((counts <= 0).any()):
            empty = int((counts <= 0).nonzero()[0])
            raise InputError(f"class {empty} has no training images, so its prior is 0: remove the class or add images")
        self.counts = counts
        return self

    def adjust(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """The adjusted logits.

        Raises:
            InputError: before ``fit``.
        """
        if self.counts is None:
            raise InputError("this logit adjustment knows no class counts yet: call fit(counts=...) first")
        return adjust_logits(logits, counts=self.counts.to(logits.device), tau=self.tau)

    def predict(self, logits: Float[Tensor, "N K"]) -> Int[Tensor, " N"]:
        """The most probable class of each row."""
        return self.adjust(logits).argmax(dim=1)

    def predict_proba(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """The softmax of the adjusted logits."""
        return torch.softmax(self.adjust(logits), dim=1)
