"""Logit adjustment after training: no parameters, no training, often most of what re-balancing can give."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.counts import as_counts
from longtail.errors import InputError
from longtail.losses import adjust_logits
from longtail.shapes import Counts, Float, Int


class LogitAdjustment:
    """Subtract ``tau`` times the log-prior from the logits.

    ``adjusted_c = logits_c - tau * log prior_c`` (Menon et al., ICLR 2021, Eq. 9). With ``tau = 1`` and a network
    that has learned the class posterior of the training distribution this is the Bayes classifier for balanced error.
    Use it first: it needs the class counts and nothing else.

    Args:
        tau: strength; 0 leaves the logits as they are.

    Example:
        >>> import torch
        >>> adjust = LogitAdjustment().fit(counts=[90, 10])
        >>> adjust.predict(torch.tensor([[1.0, 0.0]])).tolist()
        [1]

    References:
        Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021.
    """

    def __init__(self, tau: float = 1.0) -> None:
        self.tau = tau
        self.counts: Tensor | None = None

    def fit(self, *, counts: Counts) -> LogitAdjustment:
        """Take the log-prior from the training counts.

        Args:
            counts: (K,) training images per class.

        Returns:
            Itself.

        Raises:
            InputError: a class without training images, whose log-prior would be minus infinity.
        """
        known = as_counts(counts)
        if bool((known <= 0).any()):
            empty = int((known <= 0).nonzero()[0])
            raise InputError(f"class {empty} has no training images, so its prior is 0: remove the class or add images")
        self.counts = known
        return self

    def adjust(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Subtract the log-prior from logits.

        Args:
            logits: (N, K).

        Returns:
            (N, K) adjusted logits.

        Raises:
            InputError: before ``fit``, or logits of another number of classes.
        """
        if self.counts is None:
            raise InputError("this logit adjustment knows no class counts yet: call fit(counts=...) first")
        return adjust_logits(logits, counts=self.counts.to(logits.device), tau=self.tau)

    def predict(self, logits: Float[Tensor, "N K"]) -> Int[Tensor, " N"]:
        """Predict the most probable class after the adjustment.

        Args:
            logits: (N, K).

        Returns:
            (N,) class numbers.
        """
        return self.adjust(logits).argmax(dim=1)

    def predict_proba(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Predict the probability of each class after the adjustment.

        Args:
            logits: (N, K).

        Returns:
            (N, K), rows that sum to 1.
        """
        return torch.softmax(self.adjust(logits), dim=1)
