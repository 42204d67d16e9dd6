"""What the estimators share: scikit-learn's conventions, predictions from scores, and the fit of a convex loss."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from torch import Tensor

from longtail.counts import as_counts, as_labels, class_counts
from longtail.errors import InputError
from longtail.shapes import Counts, Float, Int, Labels, Shaped

A = TypeVar("A", Tensor, np.ndarray)


class UnfittedError(InputError, NotFittedError):  # type: ignore[misc]
    """An estimator was asked before it was fitted: an error of ours that scikit-learn knows, too."""


class Estimator(ClassifierMixin, BaseEstimator, abc.ABC):  # type: ignore[misc]
    """A classifier on the logits or features of a trained network, by scikit-learn's conventions.

    Arguments of the constructor are parameters, ``fit`` returns the estimator, and what was learned ends in an
    underscore, so ``sklearn.base.clone``, ``Pipeline`` and ``GridSearchCV`` take it. Tensors give tensors on their own
    device, arrays give arrays. Classes are numbers from 0, and all K of them have a score.

    An estimator on features that is a linear head says so by ``weight_`` (K, D) and ``bias_`` (K,), tensors: features
    times ``weight_`` plus ``bias_`` are its scores, up to a positive factor and a constant for each row. A class
    without samples has weights of 0 and a bias of minus infinity.
    """

    classes_: np.ndarray
    n_features_in_: int

    @abc.abstractmethod
    def scores(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Score the classes, tensors in and out.

        Args:
            rows: (N, D) features or (N, K) logits.

        Returns:
            (N, K) scores, of which the largest is predicted.
        """

    def decision_function(self, rows: A) -> A:
        """Score the classes.

        Args:
            rows: (N, D) features or (N, K) logits.

        Returns:
            (N, K) scores, of which the largest is predicted; minus infinity for a class that had no samples.

        Raises:
            InputError: before ``fit``, or rows of another width.
        """
        if not hasattr(self, "classes_"):
            raise UnfittedError(f"{type(self).__name__} is not fitted yet: call {self.missing} first")
        return _as(self.scores(as_rows(rows, self.reads, width=self.n_features_in_)), rows)

    def predict(self, rows: A) -> A:
        """Predict the class of the largest score.

        Args:
            rows: (N, D) features or (N, K) logits.

        Returns:
            (N,) class numbers.
        """
        return _as(torch.as_tensor(self.decision_function(rows)).argmax(dim=1), rows)

    def predict_proba(self, rows: A) -> A:
        """Predict the probability of each class, the softmax of the scores.

        Args:
            rows: (N, D) features or (N, K) logits.

        Returns:
            (N, K), rows that sum to 1.
        """
        return _as(torch.softmax(torch.as_tensor(self.decision_function(rows)), dim=1), rows)

    missing = "fit(features, target)"
    """The call that comes before any prediction, for the error that says so."""
    reads = "features"
    """What the rows are called in an error."""

    def _seen(self, num_classes: int, width: int) -> None:
        """Keep what scikit-learn asks of a fitted classifier."""
        self.classes_, self.n_features_in_ = np.arange(num_classes), width


def _as(values: Tensor, like: A) -> A:
    """A tensor where a tensor was given, else an array."""
    return values if isinstance(like, Tensor) else values.cpu().numpy()


def as_rows(rows: object, what: str, *, width: int | None = None, finite: bool = False) -> Float[Tensor, "N D"]:
    """Read features or logits, from an array, a tensor or nested lists.

    Args:
        rows: (N, D) real numbers.
        what: what they are called in an error.
        width: D, where it is known.
        finite: whether NaN and infinity are refused.

    Returns:
        (N, D) floating-point.

    Raises:
        InputError: something else, another width, no rows or no columns, or numbers that are not finite.

    Example:
        >>> as_rows(np.zeros((2, 3), dtype=np.float32), "features").shape
        torch.Size([2, 3])
    """
    try:
        found = rows if isinstance(rows, Tensor) else torch.as_tensor(_array(rows))
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{what} must be an array or tensor (N, D), not a {type(rows).__name__}") from None
    if found.ndim != 2 or 0 in found.shape or found.is_complex():
        raise InputError(
            f"{what} must be (N, {'D' if width is None else width}) real numbers with N and D at least 1, not "
            f"{found.dtype} of shape {tuple(found.shape)}"
        )
    if width is not None and found.shape[1] != width:
        raise InputError(f"{what} must be (N, {width}), not {tuple(found.shape)}")
    found = found if found.is_floating_point() else found.to(torch.get_default_dtype())
    if finite and not bool(torch.isfinite(found).all()):
        raise InputError(f"{what} must be finite; there is a NaN or an infinity among them")
    return found


def _array(rows: object) -> np.ndarray:
    """Nested lists and frames as an array of numbers that may be written to."""
    if hasattr(rows, "toarray"):
        raise InputError("sparse matrices are not taken: give rows.toarray()")
    found = np.asarray(rows)
    if found.dtype == object:
        found = found.astype(np.float64)
    return found if found.flags.writeable else found.copy()


def training_set(
    rows: object, target: Labels | None, what: str, *, num_classes: int | None = None
) -> tuple[Float[Tensor, "N D"], Int[Tensor, " N"], Int[Tensor, " K"]]:
    """Read what an estimator is fitted on.

    Args:
        rows: (N, D) features or logits.
        target: (N,) class numbers from 0.
        what: what the rows are called in an error.
        num_classes: number of classes, K; one more than the largest of ``target`` where it is not given.

    Returns:
        Rows (N, D), class numbers (N,), and samples of each class (K,).

    Raises:
        InputError: rows and targets that do not fit together, or no samples.

    Example:
        >>> _, _, counts = training_set(torch.zeros(3, 2), [0, 2, 0], "features")
        >>> counts.tolist()
        [2, 0, 1]
    """
    values = as_rows(rows, what, finite=True)
    if target is None:
        raise InputError("fit needs the class of each row as its second argument, (N,) class numbers")
    classes = as_labels(target, device=values.device)
    if len(values) != len(classes) or len(values) == 0:
        raise InputError(f"there are {len(values)} rows of {what} and {len(classes)} classes: give one class for each")
    return values, classes, class_counts(classes, int(classes.max()) + 1 if num_classes is None else num_classes)


def balanced_weights(target: Int[Tensor, " N"], counts: Int[Tensor, " K"]) -> Float[Tensor, " N"]:
    """Weigh samples so that every class that has any counts alike: the expectation under class-balanced sampling.

    Args:
        target: (N,) class numbers.
        counts: (K,) samples of each class.

    Returns:
        (N,) float64 that sums to 1.

    Example:
        >>> balanced_weights(torch.tensor([0, 0, 1]), torch.tensor([2, 1]))
        tensor([0.2500, 0.2500, 0.5000], dtype=torch.float64)
    """
    return 1.0 / (counts.index_select(0, target).double() * (counts > 0).sum())


def minimise(objective: Callable[[Tensor], Tensor], start: Shaped[Tensor, ...], *, steps: int) -> Shaped[Tensor, ...]:
    """Find the minimum of a convex function by L-BFGS in float64.

    Args:
        objective: maps a tensor of the shape of ``start`` to a scalar, with a gradient.
        start: where the search begins.
        steps: largest number of iterations.

    Returns:
        The minimum, of the shape and on the device of ``start``, float64.

    Example:
        >>> minimise(lambda x: ((x - 3) ** 2).sum(), torch.zeros(1), steps=50)
        tensor([3.], dtype=torch.float64)
    """
    from scipy.optimize import minimize

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.as_tensor(flat, dtype=torch.float64).view(start.shape).to(start.device).requires_grad_()
        with torch.enable_grad():
            value = objective(point)
        (gradient,) = torch.autograd.grad(value, point)
        return float(value.detach()), gradient.cpu().numpy().ravel()

    found = minimize(
        value_and_gradient,
        start.double().cpu().numpy().ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-14, "gtol": 1e-8, "maxcor": 20},
    )
    if found.nit >= steps:
        warnings.warn(f"the fit did not converge in {steps} steps: allow more", ConvergenceWarning, stacklevel=3)
    return torch.as_tensor(found.x, dtype=torch.float64).view(start.shape).to(start.device)


def head(
    weight: Float[Tensor, "K D"] | np.ndarray | None, bias: Float[Tensor, " K"] | np.ndarray | None = None
) -> tuple[Float[Tensor, "K D"], Float[Tensor, " K"]]:
    """Read the weights of a trained linear classifier.

    Args:
        weight: (K, D).
        bias: (K,); None for a classifier that has none.

    Returns:
        Both as tensors that no gradient follows; a missing bias is 0.

    Raises:
        InputError: no weights, or a bias of another length.

    Example:
        >>> head(torch.eye(2))[1]
        tensor([0., 0.])
    """
    if weight is None:
        raise InputError("give fit the weights of the trained classifier, weight=... (K, D)")
    known = as_rows(weight, "weight", finite=True).detach()
    if bias is None:
        return known, known.new_zeros(len(known))
    held = torch.as_tensor(bias).detach().to(known)
    if held.shape != (len(known),):
        raise InputError(f"bias must be ({len(known)},), one number for each row of weight, not {tuple(held.shape)}")
    return known, held


def training_counts(counts: Counts | None, target: Int[Tensor, " N"] | None, num_classes: int) -> Int[Tensor, " K"]:
    """Read the training images per class, or count the targets where they are not given.

    Args:
        counts: (K,) training images per class.
        target: (N,) class numbers; counted where ``counts`` is None.
        num_classes: K.

    Returns:
        (K,) int64.

    Raises:
        InputError: neither is given, or counts of another length.

    Example:
        >>> training_counts(None, torch.tensor([0, 0, 1]), 2)
        tensor([2, 1])
    """
    if counts is not None:
        return as_counts(counts, num_classes=num_classes)
    if target is None:
        raise InputError("give fit the training images per class, counts=..., or the training targets")
    return class_counts(target, num_classes)


def best_of(values: tuple[float, ...], score: Callable[[float], float]) -> float:
    """Return the value of the highest score; of equal ones the first.

    Args:
        values: candidates, the mildest first.
        score: maps a candidate to its score on samples that were held out.

    Returns:
        One of ``values``.

    Example:
        >>> best_of((0.0, 1.0, 2.0), lambda tau: min(tau, 1.0))
        1.0
    """
    scores = [score(value) for value in values]
    return values[scores.index(max(scores))]
