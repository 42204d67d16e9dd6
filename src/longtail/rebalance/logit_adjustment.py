"""Logit adjustment after training: no parameters, no training, often most of what re-balancing can give."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from longtail.counts import as_counts, as_labels, class_counts
from longtail.errors import InputError
from longtail.losses import adjust_logits
from longtail.rebalance.estimator import Estimator, as_rows, not_fitted
from longtail.shapes import Counts, Float, Labels


class LogitAdjustment(Estimator):
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

    def fit(
        self,
        logits: Float[Tensor, "N K"] | np.ndarray | None = None,
        target: Labels | None = None,
        *,
        counts: Counts | None = None,
    ) -> LogitAdjustment:
        """Take the log-prior from the training counts, or count the training targets.

        Args:
            logits: (N, K) logits of the training set; only K is read.
            target: (N,) classes of the training set, where ``counts`` is not given.
            counts: (K,) training images per class.

        Returns:
            Itself.

        Raises:
            InputError: neither counts nor targets, or a class without training images, whose log-prior would be minus
                infinity.
        """
        if counts is None:
            if target is None:
                raise InputError("give fit the training images per class, counts=..., or the training targets")
            labels = as_labels(target)
            classes = int(labels.max()) + 1 if logits is None else as_rows(logits, "logits").shape[1]
            known = class_counts(labels, classes)
        else:
            known = as_counts(counts)
        if bool((known <= 0).any()):
            empty = int((known <= 0).nonzero()[0])
            raise InputError(f"class {empty} has no training images, so its prior is 0: remove the class or add images")
        self.counts, self.classes_ = known, np.arange(len(known))
        return self

    def decision_function(self, rows: Float[Tensor, "N K"] | np.ndarray) -> Float[Tensor, "N K"]:
        """Subtract the log-prior from logits.

        Args:
            rows: (N, K) logits.

        Returns:
            (N, K) adjusted logits.

        Raises:
            InputError: before ``fit``, or logits of another number of classes.
        """
        if self.counts is None:
            raise not_fitted(self, "fit(counts=...)")
        logits = as_rows(rows, "logits")
        return adjust_logits(logits, counts=self.counts.to(logits.device), tau=self.tau)

    def adjust(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Subtract the log-prior from logits: another name of ``decision_function``.

        Args:
            logits: (N, K).

        Returns:
            (N, K) adjusted logits.
        """
        return self.decision_function(logits)
