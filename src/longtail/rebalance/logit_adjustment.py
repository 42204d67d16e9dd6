"""Logit adjustment after training: no parameters, no training, often most of what re-balancing can give."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from longtail.counts import as_counts, as_labels, class_counts
from longtail.errors import InputError
from longtail.losses import adjust_logits
from longtail.metrics import evaluate
from longtail.rebalance.classifiers import TAUS
from longtail.rebalance.estimator import Estimator, as_rows, best_of, training_set
from longtail.shapes import Counts, Float, Labels


class LogitAdjustment(Estimator):
    """Subtract ``tau`` times the log-prior from the logits.

    ``adjusted_c = logits_c - tau * log prior_c`` (Menon et al., ICLR 2021, Eq. 9). With ``tau = 1`` and a network
    that has learned the class posterior of the training distribution this is the Bayes classifier for balanced error.
    Use it first: it needs the class counts and nothing else.

    Args:
        tau: strength; 0 leaves the logits as they are. None to choose the best of ``TAUS`` (0 to 2 in steps of 0.1) by
            balanced accuracy on the samples given to ``fit``, which should be held out from training.

    Example:
        >>> import torch
        >>> adjust = LogitAdjustment().fit(counts=[90, 10])
        >>> adjust.predict(torch.tensor([[1.0, 0.0]])).tolist()
        [1]

    References:
        Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021.
    """

    missing = "fit(counts=...)"
    reads = "logits"
    tau_: float
    counts_: Tensor

    def __init__(self, tau: float | None = 1.0) -> None:
        self.tau = tau

    def fit(
        self,
        logits: Float[Tensor, "N K"] | np.ndarray | None = None,
        target: Labels | None = None,
        *,
        counts: Counts | None = None,
    ) -> LogitAdjustment:
        """Take the log-prior from the training counts, or count the training targets; choose ``tau`` if it is None.

        Args:
            logits: (N, K) logits of the training set, of which only K is read; held-out ones to choose ``tau`` by.
            target: (N,) their classes; of the training set where ``counts`` is not given.
            counts: (K,) training images per class.

        Returns:
            Itself, with ``tau_`` and ``counts_``.

        Raises:
            InputError: neither counts nor targets, nothing to choose ``tau`` by, or a class without training images,
                whose log-prior would be minus infinity.
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
        self.tau_ = 1.0 if self.tau is None else self.tau
        if self.tau is None:
            rows, held, sizes = training_set(logits, target, "logits", num_classes=len(known))
            here = known.to(rows.device)

            def score(tau: float) -> float:
                prediction = adjust_logits(rows, counts=here, tau=tau).argmax(dim=1)
                return evaluate(held, prediction, counts=sizes).balanced_accuracy

            self.tau_ = best_of(TAUS, score)
        self.counts_ = known
        self._seen(len(known), len(known))
        return self

    def scores(self, rows: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Subtract the log-prior from logits.

        Args:
            rows: (N, K) logits.

        Returns:
            (N, K) adjusted logits.
        """
        return adjust_logits(rows, counts=self.counts_.to(rows.device), tau=self.tau_)

    def adjust(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Subtract the log-prior from logits: another name of ``decision_function``.

        Args:
            logits: (N, K).

        Returns:
            (N, K) adjusted logits.
        """
        return self.decision_function(logits)
