"""DRO-LT's loss on representations: make every class compact against the worst centroid that its samples allow.

The centroid of a class with few images is uncertain. The loss asks that a sample be nearer to the centroid of its class
than the rest of the batch, even when the true centroid lies anywhere in a ball around the estimated one. A radius for
each class says how large that ball is.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from longtail.counts import as_counts
from longtail.errors import InputError
from longtail.losses.labels import check_one_class
from longtail.shapes import Counts, Float, Int

Size = TypeVar("Size", float, Tensor)


def robustness_loss(
    features: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    centroids: Float[Tensor, "K D"],
    radii: Float[Tensor, " K"],
    temperature: float = 1.0,
    strict: bool = False,
    shift: float = 1.0,
) -> Float[Tensor, " N"]:
    r"""The robustness loss of every sample as anchor of its class, DRO-LT.

    Use it beside a classification loss to make the features of each class compact, rare classes above all.

    A softmax of each *centroid over the samples of the batch*, not over classes. With ``d`` the Euclidean distance (not
    squared), ``t`` the temperature and ``c = y_i``::

        loss_i = -log( exp(s_ii) / sum_j exp(s_ij) )                                                              (1)
        nominal    s_ij = -d(mu_c, z_j) / t                                                                       (2)
        surrogate  s_ij = -(d(mu_c, z_j) + shift * eps_c * [y_j = c]) / t                                         (3)
        strict     s_ij = -(d(mu_c, z_j) + 2 * eps_c * [j = i]) / t                                               (4)

    The strict form is a bound: it is never below the nominal loss of the anchor at any centroid within ``eps_c`` of
    ``mu_c``. The surrogate, the paper's form, moves all samples of the class together and is *not* a bound. With all
    radii 0 each of them is the nominal loss. The surrogate's mean over the k anchors of a class is at least ``log k``,
    so its value depends on how the batch is composed.

    A class that is absent from the batch has no anchor and costs nothing. A class whose centroid is unknown, a row of
    ``centroids`` with a NaN, has no loss: its samples get 0 and no gradient as anchors, but remain in the
    sums of the others (leave it out of the mean too, by weight 0 in :func:`class_mean`).

    Only distances from the anchors' own centroids are taken, min(K, N) x N of them. They have the digits of float32,
    under autocast as well: a loss is exact to about 1e-7 of the largest distance over the temperature.

    Args:
        features: z (N, D), in any floating-point type.
        target: (N,) class numbers in [0, K).
        centroids: mu (K, D); constants in the method, so pass them without a gradient.
        radii: eps (K,), at least 0, in units of the features.
        temperature: divisor t of the distances, above 0, in units of the features.
        strict: the bound (4), where ``shift`` has no meaning, instead of the surrogate (3).
        shift: how many radii the surrogate moves the samples of the class: 1 as in the authors' code, 2 as in the
            bound.

    Returns:
        Losses (N,) in nats, float32 or wider.

    Raises:
        InputError: shapes that do not fit together, ``temperature`` not above 0, or ``shift`` below 0.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0], [0.0, 0.5]])
        >>> target = torch.tensor([0, 1, 2, 0])
        >>> centroids = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
        >>> loss = robustness_loss(features, target, centroids=centroids, radii=torch.ones(3))
        >>> round(float(class_mean(loss, target)), 6)
        0.95396

    References:
        Samuel and Chechik, *Distributional Robustness Loss for Long-Tail Learning*, ICCV 2021, arXiv:2104.03066.
    """
    if features.ndim != 2 or target.shape != features.shape[:1]:
        raise InputError(
            f"features must be (N, D) and target (N,), not {tuple(features.shape)} and {tuple(target.shape)}"
        )
    check_one_class(target, len(features))
    if centroids.ndim != 2 or centroids.shape[1] != features.shape[1] or radii.shape != centroids.shape[:1]:
        raise InputError(
            f"for features of width {features.shape[1]}, centroids must be (K, {features.shape[1]}) and radii (K,), "
            f"not {tuple(centroids.shape)} and {tuple(radii.shape)}"
        )
    if not temperature > 0:
        raise InputError(f"the temperature of the robustness loss must be above 0, not {temperature}")
    if shift < 0:
        raise InputError(f"the shift of the robustness loss counts radii and must be at least 0, not {shift}")
    # Static shapes and no more rows than needed: all classes where they are few, else one row for each anchor.
    per_class = len(centroids) <= len(features)
    rows = centroids if per_class else centroids.index_select(0, target)
    known = ~rows.isnan().any(dim=1)
    distances = _distances(rows.where(known[:, None], 0.0), features, temperature)
    if per_class:
        distances, known = distances.index_select(0, target), known.index_select(0, target)
    if strict:
        moved, amount = torch.eye(len(target), dtype=torch.bool, device=target.device), 2.0
    else:
        moved, amount = target[:, None] == target, shift
    movement = radii.to(distances).index_select(0, target) * (amount / temperature)
    logits = -movement[:, None] * moved - distances
    anchors = torch.arange(len(target), device=target.device)
    loss = functional.cross_entropy(logits, anchors, reduction="none")
    # An anchor without a centroid costs nothing, but a diverged feature must not be hidden by that.
    return torch.where(known, loss, 0.0 * features.sum(dim=1))


def class_mean(
    loss: Float[Tensor, " N"], target: Int[Tensor, " N"], *, class_weights: Float[Tensor, " K"] | None = None
) -> Float[Tensor, ""]:
    """Average a loss over the classes of a batch, so that each class counts alike however many samples it has.

    ``L = sum_c w_c L_c / sum_c w_c`` over the classes c with samples in the batch, ``L_c`` being the mean over those
    samples. Weights of absent classes do not count. With total weight 0 the mean is 0.

    Args:
        loss: (N,) in nats.
        target: (N,) class numbers in [0, K).
        class_weights: w (K,), at least 0; all equal by default.

    Returns:
        The mean, a scalar.

    Raises:
        InputError: shapes that do not fit together.

    Example:
        >>> loss, target = torch.tensor([1.0, 3.0, 10.0]), torch.tensor([0, 0, 4])
        >>> float(class_mean(loss, target))
        6.0
        >>> float(class_mean(loss, target, class_weights=torch.tensor([3.0, 9.0, 9.0, 9.0, 1.0])))
        4.0
    """
    if loss.ndim != 1 or target.shape != loss.shape:
        raise InputError(f"loss and target must both be (N,), not {tuple(loss.shape)} and {tuple(target.shape)}")
    if class_weights is not None and class_weights.ndim != 1:
        raise InputError(f"class_weights must be (K,), not {tuple(class_weights.shape)}")
    # How many samples share the class of each one, without knowing K and without a table of N x N.
    ordered = target.sort().values
    same = torch.searchsorted(ordered, target, right=True) - torch.searchsorted(ordered, target)
    weight = 1.0 / same.to(loss.dtype)
    if class_weights is not None:
        weight = weight * class_weights.to(loss.dtype).index_select(0, target)
    total = weight.sum()
    return (weight * loss).sum() / torch.where(total > 0, total, 1.0)


def no_radius(counts: Counts) -> Float[Tensor, " K"]:
    """Radius 0 for every class: the nominal loss.

    Args:
        counts: training images per class (K,).

    Returns:
        Zeros (K,).

    Example:
        >>> no_radius(torch.tensor([500, 5])).tolist()
        [0.0, 0.0]
    """
    known = as_counts(counts)
    return torch.zeros(known.shape, device=known.device)


def shared_radius(counts: Counts, epsilon: float) -> Float[Tensor, " K"]:
    """The same radius for every class, whatever its size.

    Args:
        counts: training images per class (K,).
        epsilon: the radius, at least 0, in units of the features.

    Returns:
        Radii (K,).

    Raises:
        InputError: a negative ``epsilon``.

    Example:
        >>> shared_radius(torch.tensor([500, 5]), 0.5).tolist()
        [0.5, 0.5]
    """
    _check_not_negative("epsilon", epsilon)
    known = as_counts(counts)
    return torch.full(known.shape, float(epsilon), device=known.device)


def standard_error_radius(counts: Counts, epsilon: float) -> Float[Tensor, " K"]:
    """A radius that shrinks like the error of a mean of n_c samples: ``eps_c = epsilon / sqrt(n_c)``.

    Args:
        counts: training images per class (K,).
        epsilon: the radius of a class with one image, at least 0, in units of the features.

    Returns:
        Radii (K,).

    Raises:
        InputError: a negative ``epsilon``, or a class without images, whose mean has no error.

    Example:
        >>> standard_error_radius(torch.tensor([100, 4]), 2.0).tolist()
        [0.2..., 1.0]
    """
    _check_not_negative("epsilon", epsilon)
    known = as_counts(counts)
    if bool((known <= 0).any()):
        empty = int((known <= 0).nonzero()[0])
        raise InputError(f"class {empty} has no training images, so its mean has no standard error: remove the class")
    return epsilon / known.to(torch.get_default_dtype()).sqrt()


class LearnedRadii(nn.Module):
    """One learned radius for each class, ``softplus`` of a free parameter: never negative.

    The gradient of the loss in a radius is never negative, and weight decay would pull the same way: left to itself a
    radius only shrinks, and an unconstrained one would turn negative and make the robust loss an *easier* one than the
    nominal. Here it can at most fade towards 0, the nominal loss. Watch it; a learned radius that fell to 0 has
    chosen no robustness.

    The parameter carries ``no_decay = True``: leave it out of weight decay.

    Args:
        num_classes: number of classes, K.
        initial: the radius of every class at the start, above 0, in units of the features.

    Raises:
        InputError: ``initial`` not above 0, which softplus cannot reach.

    Example:
        >>> radii = LearnedRadii(3, initial=1.0)
        >>> [round(radius, 6) for radius in radii().tolist()]
        [1.0, 1.0, 1.0]
        >>> radii.free.no_decay
        True
    """

    def __init__(self, num_classes: int, initial: float) -> None:
        super().__init__()
        if not (initial > 0 and math.isfinite(initial)):
            raise InputError(f"learned radii must start above 0 (softplus never reaches 0), not at {initial}")
        # The inverse of softplus, in the form that does not overflow.
        self.free = nn.Parameter(torch.full((num_classes,), initial + math.log(-math.expm1(-initial))))
        self.free.no_decay = True  # type: ignore[attr-defined]

    def forward(self) -> Float[Tensor, " K"]:
        """Compute the radii, with their gradient.

        Returns:
            (K,) radii above 0, in units of the features.
        """
        return functional.softplus(self.free)


def radius_from_wasserstein(rho: Size) -> Size:
    """The radius of the ball of centroids in a 1-Wasserstein ball of distributions: ``eps = rho``.

    Means of distributions at 1-Wasserstein distance rho are at most rho apart, and a translation by rho attains it.

    Args:
        rho: radius of the ball of distributions, at least 0, in units of the features; a number or one for each class.

    Returns:
        The radius of the ball of centroids.

    Raises:
        InputError: a negative ``rho``.

    Example:
        >>> radius_from_wasserstein(0.3)
        0.3
    """
    _check_not_negative("rho", rho)
    return rho


def radius_from_gaussian_kl(rho: Size, sigma: float) -> Size:
    """The radius of the ball of centroids in a KL ball of isotropic Gaussians: ``eps = sigma * sqrt(2 rho)``.

    For two Gaussians with covariance ``sigma^2 I``, KL = |difference of means|^2 / (2 sigma^2), so the ball is exact.

    Args:
        rho: radius of the ball of distributions, at least 0, in nats; a number or one for each class.
        sigma: standard deviation of a feature within a class, at least 0, in units of the features.

    Returns:
        The radius of the ball of centroids.

    Raises:
        InputError: a negative ``rho`` or ``sigma``.

    Example:
        >>> radius_from_gaussian_kl(0.5, sigma=3.0)
        3.0
    """
    _check_not_negative("rho", rho)
    _check_not_negative("sigma", sigma)
    root: Size = (2.0 * rho) ** 0.5
    return sigma * root


def _check_not_negative(name: str, value: float | Tensor) -> None:
    if not bool(torch.as_tensor(value >= 0).all()):
        raise InputError(f"{name} must be at least 0, not {value}")


def _distances(rows: Float[Tensor, "R D"], features: Float[Tensor, "N D"], temperature: float) -> Float[Tensor, "R N"]:
    """Euclidean distances over the temperature, in float32 or wider, with gradient 0 where they are 0."""
    # |a|^2 - 2ab + |b|^2 cancels. In float64 that leaves float32 features their digits (and TF32 and autocast do not
    # touch it), and the shift of origin helps where there is no float64. One product of widened factors makes the
    # fewest passes over R x N, which is where the time goes; torch.cdist either cancels or is several times slower.
    dtype = torch.float32 if features.device.type == "mps" else torch.float64
    origin = features.detach().to(dtype).mean(dim=0)
    a, b = (rows.to(dtype) - origin) / temperature, (features.to(dtype) - origin) / temperature
    left = torch.cat([a.square().sum(dim=1, keepdim=True), -2.0 * a, torch.ones_like(a[:, :1])], dim=1)
    right = torch.cat([torch.ones_like(b[:, :1]), b, b.square().sum(dim=1, keepdim=True)], dim=1)
    squared = (left @ right.T).to(torch.promote_types(features.dtype, torch.float32))
    # Not `squared > 0`, which would turn a NaN into a distance of 0.
    zero = squared <= 0
    return torch.where(zero, 1.0, squared).sqrt().masked_fill(zero, 0.0)
