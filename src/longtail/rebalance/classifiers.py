"""New or rescaled linear classifiers on the features of a trained network (Kang et al., ICLR 2020)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.metrics import evaluate
from longtail.rebalance.estimator import (
    Estimator,
    as_rows,
    balanced_weights,
    best_of,
    head,
    minimise,
    training_set,
)
from longtail.shapes import Counts, Float, Labels

TAUS = tuple(i / 10 for i in range(21))
"""Strengths among which tau-normalisation chooses: 0 to 2 in steps of 0.1."""


class TauNormalization(Estimator):
    r"""Divide the weight of each class by a power of its norm: the weights of frequent classes have grown larger.

    .. math:: \tilde w_c = w_c / \lVert w_c \rVert^\tau

    ``tau = 0`` is the classifier without its bias, ``tau = 1`` gives all classes weights of one length. The bias is
    left out, as in the authors' code. Use it when there is a trained linear classifier and no wish to train another:
    it needs its weights, and features of a validation set only to choose ``tau``.

    Args:
        tau: the power; None to choose the best of ``TAUS`` by balanced accuracy on the samples given to ``fit``, which
            should be held out from training.

    Example:
        >>> weight = torch.tensor([[4.0, 0.0], [0.0, 1.0]])  # the first class is frequent
        >>> features = torch.tensor([[1.0, 2.0]])
        >>> TauNormalization(tau=0.0).fit(weight=weight).predict(features).tolist()
        [0]
        >>> TauNormalization(tau=1.0).fit(weight=weight).predict(features).tolist()
        [1]

    References:
        Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020, section 4.
    """

    missing = "fit(weight=...)"
    tau_: float
    weight_: Tensor
    bias_: Tensor

    def __init__(self, tau: float | None = 1.0) -> None:
        self.tau = tau

    @property
    def held_out(self) -> bool:
        """Whether ``fit`` chooses by samples that should be held out from training."""
        return self.tau is None

    def fit(
        self,
        features: Float[Tensor, "N D"] | np.ndarray | None = None,
        target: Labels | None = None,
        *,
        weight: Float[Tensor, "K D"] | np.ndarray | None = None,
        bias: Float[Tensor, " K"] | np.ndarray | None = None,
        counts: Counts | None = None,
    ) -> TauNormalization:
        """Normalise the weights, and choose ``tau`` if it is None.

        Args:
            features: (N, D) held-out features; needed only to choose ``tau``.
            target: (N,) their classes.
            weight: (K, D) weights of the trained classifier.
            bias: not read; taken so that all estimators of heads are called alike.
            counts: not read; likewise.

        Returns:
            Itself, with ``tau_``, ``weight_`` (K, D) and ``bias_`` (K,), which is 0.

        Raises:
            InputError: no weights, no samples to choose ``tau`` by, or a class whose weight is 0.
        """
        known, none = head(weight)
        norm = known.norm(dim=1, keepdim=True)
        if bool((norm == 0).any()):
            raise InputError(f"the weight of class {int((norm == 0).flatten().nonzero()[0])} is 0 and has no direction")
        self.tau_ = 1.0 if self.tau is None else self.tau
        if self.tau is None:
            rows, classes, sizes = training_set(features, target, "features", num_classes=len(known))

            def score(tau: float) -> float:
                prediction = (rows @ (known / norm**tau).to(rows).T).argmax(dim=1)
                return evaluate(classes, prediction, counts=sizes).balanced_accuracy

            self.tau_ = best_of(TAUS, score)
        self.weight_, self.bias_ = known / norm**self.tau_, none
        self._seen(*known.shape)
        return self

    def scores(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Score the classes by the normalised weights.

        Args:
            rows: (N, D) features.

        Returns:
            (N, K) scores.
        """
        return rows @ self.weight_.to(rows).T


class ClassifierRetraining(Estimator):
    r"""Train a new linear classifier on frozen features, all classes counting alike (cRT).

    .. math:: \min_{W, b} \; \frac1K \sum_c \frac{1}{n_c} \sum_{i: y_i = c} -\log \mathrm{softmax}(W z_i + b)_c
        + \frac{\lambda}{2} \lVert W \rVert^2

    The minimum is what training with class-balanced sampling tends to. The problem is convex and solved to the end, so
    the result has no seed, learning rate or order; the recipe ``crt`` is the paper's own way, ten epochs of SGD on
    augmented images. Use it when the features are good and the classifier is not. A class without samples is never
    predicted.

    Args:
        weight_decay: lambda, above 0: without it the weights of separable classes grow without end.
        steps: largest number of iterations.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [0.2], [1.0]])
        >>> model = ClassifierRetraining(weight_decay=1e-3).fit(features, [0, 0, 0, 1])
        >>> model.predict(torch.tensor([[0.2], [0.8]])).tolist()
        [0, 1]

    References:
        Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020, section 4.
    """

    weight_: Tensor
    bias_: Tensor

    def __init__(self, weight_decay: float = 5e-4, steps: int = 1000) -> None:
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
    ) -> ClassifierRetraining:
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
            InputError: a weight decay that is not above 0, or features and classes that do not fit together.

        Warns:
            ConvergenceWarning: the fit did not converge in ``steps`` iterations.
        """
        if not self.weight_decay > 0:
            raise InputError(f"weight_decay must be above 0, not {self.weight_decay}")
        number = len(weight) if num_classes is None and weight is not None else num_classes
        rows, classes, sizes = training_set(features, target, "features", num_classes=number)
        weights = balanced_weights(classes, sizes)
        self.weight_, self.bias_ = softmax_regression(
            rows, functional.one_hot(classes, len(sizes)).double(), weights, decay=self.weight_decay, steps=self.steps
        )
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


def softmax_regression(
    rows: Float[Tensor, "N D"],
    wanted: Float[Tensor, "N K"],
    weights: Float[Tensor, " N"],
    *,
    decay: float,
    steps: int,
) -> tuple[Float[Tensor, "K D"], Float[Tensor, " K"]]:
    """Fit a linear classifier to probabilities that are wanted of each row, to the end.

    Args:
        rows: (N, D) features.
        wanted: (N, K) probabilities; a class of which no row wants any is left out.
        weights: (N,) of the rows, which sum to 1.
        decay: half of it times the squared norm of the weights is added to the mean cross-entropy.
        steps: largest number of iterations.

    Returns:
        Weights (K, D) and biases (K,); 0 and minus infinity for a class that is left out.

    Warns:
        ConvergenceWarning: the fit did not converge in ``steps`` iterations.

    Example:
        >>> rows, wanted = torch.tensor([[-1.0], [1.0]]), torch.eye(2).double()
        >>> weight, bias = softmax_regression(rows, wanted, torch.full((2,), 0.5).double(), decay=0.1, steps=100)
        >>> (rows @ weight.T + bias).argmax(dim=1)
        tensor([0, 1])
    """
    exact, absent = rows.double(), wanted.sum(dim=0) == 0

    def objective(parameters: Tensor) -> Tensor:
        logits = exact @ parameters[:, :-1].T + parameters[:, -1]
        own = (wanted * logits).sum(dim=1) / wanted.sum(dim=1)
        loss = logits.masked_fill(absent, -torch.inf).logsumexp(dim=1) - own
        return (weights * loss).sum() + decay / 2 * parameters[:, :-1].square().sum()

    start = torch.zeros(wanted.shape[1], rows.shape[1] + 1, device=rows.device)
    found = minimise(objective, start, steps=steps).to(rows.dtype)
    return found[:, :-1], found[:, -1].masked_fill(absent, -torch.inf)


class LearnableWeightScaling(Estimator):
    r"""Learn one factor for the weight of each class, all classes counting alike (LWS).

    .. math:: \tilde w_c = f_c w_c, \qquad \min_f \; \frac1K \sum_c \frac{1}{n_c} \sum_{i: y_i = c}
        -\log \mathrm{softmax}(\tilde W z_i)_c + \frac{\lambda}{2} \lVert f \rVert^2

    The directions of the trained classifier stay; the problem is convex in the K factors and solved to the end. The
    bias is left out, as in the authors' code. Use it when there are too few tail images to train a whole classifier
    anew. A class without samples is never predicted.

    Args:
        weight_decay: lambda, above 0.
        steps: largest number of iterations.

    Example:
        >>> weight = torch.tensor([[4.0, 0.0], [0.0, 1.0]])  # the first class is frequent
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 2.0]])
        >>> model = LearnableWeightScaling().fit(features, [0, 0, 1], weight=weight)
        >>> model.predict(features).tolist()
        [0, 0, 1]

    References:
        Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020, section 4.
    """

    missing = "fit(features, target, weight=...)"
    scale_: Tensor
    weight_: Tensor
    bias_: Tensor

    def __init__(self, weight_decay: float = 5e-4, steps: int = 1000) -> None:
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
    ) -> LearnableWeightScaling:
        """Learn one factor for each class.

        Args:
            features: (N, D) features of the training set.
            target: (N,) their classes.
            weight: (K, D) weights of the trained classifier.
            bias: not read; taken so that all estimators of heads are called alike.
            counts: not read; likewise.

        Returns:
            Itself, with ``scale_`` (K,), NaN for a class without samples, and ``weight_`` (K, D) and ``bias_`` (K,).

        Raises:
            InputError: a weight decay that is not above 0, or features, classes and weights that do not fit together.

        Warns:
            ConvergenceWarning: the fit did not converge in ``steps`` iterations.
        """
        if not self.weight_decay > 0:
            raise InputError(f"weight_decay must be above 0, not {self.weight_decay}")
        known, none = head(weight)
        rows, classes, sizes = training_set(features, target, "features", num_classes=len(known))
        logits = as_rows(rows, "features", width=known.shape[1]).double() @ known.double().to(rows.device).T
        weights, absent = balanced_weights(classes, sizes), sizes == 0

        def objective(scale: Tensor) -> Tensor:
            loss = functional.cross_entropy((scale * logits).masked_fill(absent, -torch.inf), classes, reduction="none")
            return (weights * loss).sum() + self.weight_decay / 2 * scale.square().sum()

        scale = minimise(objective, torch.ones(len(known), device=rows.device), steps=self.steps)
        gone = absent.to(known.device)
        self.scale_ = scale.to(known).masked_fill(gone, torch.nan)
        self.weight_ = self.scale_.nan_to_num()[:, None] * known
        self.bias_ = none.masked_fill(gone, -torch.inf)
        self._seen(*known.shape)
        return self

    def scores(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Score the classes by the scaled weights.

        Args:
            rows: (N, D) features.

        Returns:
            (N, K) scores; minus infinity for a class that had no samples.
        """
        return rows @ self.weight_.to(rows).T + self.bias_.to(rows)


class NearestClassMean(Estimator):
    r"""Predict the class whose mean feature is nearest (NCM).

    .. math:: \arg\min_c \lVert z - \mu_c \rVert, \qquad \mu_c = \frac{1}{n_c} \sum_{i: y_i = c} z_i

    With ``cosine`` features and means are scaled to length 1 first, so that the nearest mean is the one of the
    largest cosine. Probabilities are those of spherical Gaussians of unit variance and equal frequency. Use it as the
    simplest classifier that ignores how frequent classes are, and to judge features. A class without samples is never
    predicted.

    Args:
        cosine: whether features and means are scaled to length 1.

    Example:
        >>> model = NearestClassMean().fit(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), [0, 1, 1])
        >>> model.predict(torch.tensor([[5.0, 1.0], [1.0, 1.1]])).tolist()
        [0, 1]

    References:
        Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020, section 4;
        Guerriero et al., *DeepNCM: Deep Nearest Class Mean Classifiers*, ICLR 2018 workshop.
    """

    means_: Tensor
    weight_: Tensor
    bias_: Tensor

    def __init__(self, cosine: bool = True) -> None:
        self.cosine = cosine

    def fit(
        self,
        features: Float[Tensor, "N D"] | np.ndarray,
        target: Labels,
        *,
        weight: Float[Tensor, "K D"] | np.ndarray | None = None,
        bias: Float[Tensor, " K"] | np.ndarray | None = None,
        counts: Counts | None = None,
        num_classes: int | None = None,
    ) -> NearestClassMean:
        """Average the features of each class.

        Args:
            features: (N, D) features of the training set.
            target: (N,) their classes.
            weight: (K, D) only K is read, where ``num_classes`` is not given.
            bias: not read; taken so that all estimators of heads are called alike.
            counts: not read; likewise.
            num_classes: number of classes, K; one more than the largest of ``target`` where nothing says it.

        Returns:
            Itself, with ``means_`` (K, D), NaN for a class without samples, and the head that predicts the same:
            ``weight_``, the means, and ``bias_``, minus half their squared lengths (0 for cosines).

        Raises:
            InputError: features and classes that do not fit together.
        """
        number = len(weight) if num_classes is None and weight is not None else num_classes
        rows, classes, sizes = training_set(features, target, "features", num_classes=number)
        exact = functional.normalize(rows.double(), dim=1) if self.cosine else rows.double()
        sums = torch.zeros(len(sizes), rows.shape[1], dtype=torch.float64, device=rows.device)
        means = sums.index_add_(0, classes, exact) / sizes[:, None]
        self.means_ = (functional.normalize(means, dim=1) if self.cosine else means).to(rows.dtype)
        self.weight_ = self.means_.nan_to_num()
        shift = torch.zeros_like(self.means_[:, 0]) if self.cosine else -self.weight_.square().sum(dim=1) / 2
        self.bias_ = shift.masked_fill(sizes == 0, -torch.inf)
        self._seen(len(sizes), rows.shape[1])
        return self

    def scores(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Score the classes by half the squared distance from their mean, up to a constant of each row.

        Args:
            rows: (N, D) features.

        Returns:
            (N, K) scores, the largest for the nearest mean; minus infinity for a class that had no samples.
        """
        values = functional.normalize(rows, dim=1) if self.cosine else rows
        return values @ self.weight_.to(values).T + self.bias_.to(values)
