"""What the estimators share: scikit-learn's conventions, predictions from scores, and the fit of a convex loss."""

from __future__ import annotations

import abc
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from longtail.counts import as_labels, class_counts
from longtail.errors import InputError
from longtail.shapes import Float, Int, Labels, Shaped

Self = TypeVar("Self", bound="Estimator")


class Estimator(abc.ABC):
    """A classifier on the logits or features of a trained network, by scikit-learn's conventions.

    Arguments of the constructor are parameters, ``fit`` returns the estimator, and what was learned ends in an
    underscore. ``sklearn.base.clone`` and ``GridSearchCV`` take it, though scikit-learn is not imported.
    """

    @abc.abstractmethod
    def decision_function(self, rows: Float[Tensor, "N D"] | np.ndarray) -> Float[Tensor, "N K"]:
        """Score the classes.

        Args:
            rows: (N, D) features or (N, K) logits.

        Returns:
            (N, K) scores, of which the largest is predicted.
        """

    def predict(self, rows: Float[Tensor, "N D"] | np.ndarray) -> Int[Tensor, " N"]:
        """Predict the class of the largest score.

        Args:
            rows: (N, D) features or (N, K) logits.

        Returns:
            (N,) class numbers.
        """
        return self.decision_function(rows).argmax(dim=1)

    def predict_proba(self, rows: Float[Tensor, "N D"] | np.ndarray) -> Float[Tensor, "N K"]:
        """Predict the probability of each class, the softmax of the scores.

        Args:
            rows: (N, D) features or (N, K) logits.

        Returns:
            (N, K), rows that sum to 1.
        """
        return torch.softmax(self.decision_function(rows), dim=1)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor.

        Args:
            deep: not used; scikit-learn gives it.

        Returns:
            Their values by name.
        """
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self: Self, **params: Any) -> Self:
        """Change arguments of the constructor.

        Args:
            params: new values by name.

        Returns:
            Itself.

        Raises:
            InputError: an argument that the constructor does not have.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise InputError(
                    f"{type(self).__name__} has no parameter {name!r}: it has {', '.join(known) or 'none'}"
                )
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            transformer_tags=None,
            regressor_tags=None,
            input_tags=InputTags(),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"


def as_rows(rows: object, what: str, *, width: int | None = None) -> Float[Tensor, "N D"]:
    """Read features or logits, from an array or a tensor.

    Args:
        rows: (N, D) real numbers.
        what: what they are called in an error.
        width: D, where it is known.

    Returns:
        (N, D) floating-point.

    Raises:
        InputError: something else, or another width.

    Example:
        >>> as_rows(np.zeros((2, 3), dtype=np.float32), "features").shape
        torch.Size([2, 3])
    """
    try:
        found = torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{what} must be an array or tensor (N, D), not a {type(rows).__name__}") from None
    if found.ndim != 2 or (width is not None and found.shape[1] != width):
        raise InputError(f"{what} must be (N, {'D' if width is None else width}), not {tuple(found.shape)}")
    return found if found.is_floating_point() else found.to(torch.get_default_dtype())


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
    values = as_rows(rows, what)
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
        warnings.warn(f"the fit did not converge in {steps} steps: allow more", RuntimeWarning, stacklevel=3)
    return torch.as_tensor(found.x, dtype=torch.float64).view(start.shape).to(start.device)


def not_fitted(estimator: Estimator, how: str) -> InputError:
    """Make the error of an estimator that is asked before it was fitted.

    Args:
        estimator: the estimator.
        how: the call that is missing.

    Returns:
        The error, to be raised.

    Example:
        >>> from longtail.rebalance import NearestClassMean
        >>> str(not_fitted(NearestClassMean(), "fit(features, target)"))
        'NearestClassMean is not fitted yet: call fit(features, target) first'
    """
    return InputError(f"{type(estimator).__name__} is not fitted yet: call {how} first")
