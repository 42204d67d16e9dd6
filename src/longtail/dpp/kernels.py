"""The kernels L of a determinantal point process, P(Y) proportional to det(L_Y), in three forms."""

from __future__ import annotations

import dataclasses
import math
import operator
import warnings
from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Float, Int

__all__ = ["Array", "Dense", "DiagonalPlusRankOne", "Kernel", "LowRank", "information_kernel", "matrix"]

Array: TypeAlias = Tensor | np.ndarray | Sequence[Any]
"""What a kernel is made from: a tensor, a NumPy array or a list of numbers."""

ULPS = 16
"""Units in the last place of numbers up to which what is left of them counts as 0 to rounding."""

_LARGEST = torch.finfo(torch.float64).max  # an infinity is out of range, too


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class DiagonalPlusRankOne:
    """L = diag(diagonal) + factor factor^T: everything about it costs O(N).

    Use it where items have qualities and one direction in common, as the information kernel has.

    Args:
        diagonal: d, (N,), not negative. Kept in float64.
        factor: u, (N,), any sign, at most 1e150 in size. Kept in float64.

    Raises:
        InputError: an entry is NaN, infinite, on the diagonal negative or, of the factor, too large to be squared.

    Example:
        >>> kernel = DiagonalPlusRankOne(torch.ones(5), torch.zeros(5))  # L = I: all subsets are alike
        >>> len(kernel)
        5
    """

    diagonal: Float[Tensor, " N"]
    factor: Float[Tensor, " N"]
    items: Int[Tensor, " N"] | None
    """The items' numbers in the kernel that this one was conditioned from; None where it was not."""
    # What a draw computes first (the tilt, the thresholds) is the same for the next draw of the same size.
    _prepared: dict[str, Any] = dataclasses.field(repr=False)

    def __init__(self, diagonal: Array, factor: Array) -> None:
        diagonal = numbers(diagonal, "diagonal", "N").to(torch.float64)
        factor = numbers(factor, "factor", "N").to(torch.float64)
        if len(diagonal) != len(factor):
            raise InputError(f"diagonal has {len(diagonal)} entries and factor {len(factor)}: give N of each")
        _check_range(diagonal, "diagonal", 0.0, _LARGEST, "finite and not negative")
        _check_range(factor, "factor", -1e150, 1e150, "finite and at most 1e+150 in size, as it is squared: scale L")
        _set(self, diagonal=diagonal, factor=factor, items=None, _prepared={})

    def __len__(self) -> int:
        return len(self.diagonal)


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class LowRank:
    """L = features features^T: items that resemble one another are seldom drawn together.

    The norm of a row is the item's quality, its direction what is to be diverse. One pass of O(N D^2) is kept for all
    draws, and a draw of k items costs O(k^3 log k) whatever N; no subset has more than ``rank`` items.

    Args:
        features: (N, D). Kept as given, without a copy; all arithmetic is in float64. What is known of a kernel is
            computed anew when the tensor is changed in place, but not when the memory of a NumPy array is.

    Raises:
        InputError: an entry is NaN or infinite.

    Example:
        >>> kernel = LowRank([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> len(kernel)
        3
    """

    features: Float[Tensor, "N D"]
    items: Int[Tensor, " N"] | None
    """The items' numbers in the kernel that this one was conditioned from; None where it was not."""
    _prepared: dict[str, Any] = dataclasses.field(repr=False)

    def __init__(self, features: Array) -> None:
        features = numbers(features, "features", "N, D")
        _check_finite(features, "features")
        _set(self, features=features, items=None, _prepared={})

    def __len__(self) -> int:
        return len(self.features)


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Dense:
    """Any symmetric positive semi-definite L, by eigendecomposition, O(N^3).

    Rounding leaves a matrix a little asymmetric or with eigenvalues a little below 0. What the precision of the given
    numbers explains (float32 or float64) is put right: the mean with the transpose is taken, and eigenvalues that are 0
    to rounding count as 0, below it or above; ``correction`` says how much that was. Use ``LowRank`` where L = X X^T
    and X is at hand.

    Args:
        matrix: (N, N). Kept in float64.

    Raises:
        InputError: an entry is NaN or infinite, or the matrix is not square and symmetric.

    Example:
        >>> len(Dense([[2.0, 1.0], [1.0, 3.0]]))
        2
    """

    matrix: Float[Tensor, "N N"]
    asymmetry: float
    """The largest difference between the given matrix and its transpose."""
    tolerance: float
    """How far below 0 an eigenvalue may be by rounding, as a share of the largest."""
    noise: Float[Tensor, " N"]
    """How far rounding of the given numbers may have moved each entry of the diagonal."""
    items: Int[Tensor, " N"] | None
    """The items' numbers in the kernel that this one was conditioned from; None where it was not."""
    _prepared: dict[str, Any] = dataclasses.field(repr=False)

    def __init__(self, matrix: Array) -> None:
        given = numbers(matrix, "matrix", "N, N")
        _check_finite(given, "matrix")
        if given.shape[0] != given.shape[1]:
            raise InputError(f"matrix is {tuple(given.shape)}: a kernel is square")
        # The error bound of an eigenvalue; 16 more ulps for entries that are themselves functions of rounded numbers.
        tolerance = max(1e-8, (len(given) + 16) * torch.finfo(given.dtype).eps)
        result = given.to(torch.float64)
        fixed = result.detach()
        asymmetry = float((fixed - fixed.T).abs().max()) if len(fixed) else 0.0
        if asymmetry > tolerance * (float(fixed.abs().max()) if len(fixed) else 0.0):
            raise InputError(f"matrix differs from its transpose by up to {asymmetry:.3g}: a kernel is symmetric")
        if asymmetry > 0.0:
            result = 0.5 * (result + result.T)
        noise = ULPS * torch.finfo(given.dtype).eps * result.detach().diagonal()
        _set(self, matrix=result, asymmetry=asymmetry, tolerance=tolerance, noise=noise, items=None, _prepared={})

    def __len__(self) -> int:
        return len(self.matrix)


Kernel = DiagonalPlusRankOne | LowRank | Dense


def information_kernel(
    probability: Array | None = None,
    *,
    log_probability: Array | None = None,
    strength: float = 1.0,
) -> DiagonalPlusRankOne:
    r"""The kernel S of IP-DPP over the items of one class, from the probability of the true label.

    .. math:: S_{ij} = p_i p_j / N \ (i \ne j), \quad S_{ii} = 1 - \sum_{k \ne i} p_i p_k / N

    which is diag(d) + p p^T / N with d_i = 1 - p_i mean(p). It is formed from q = 1 - p as d_i = q_i + mean(q) -
    q_i mean(q), so nothing cancels where p is near 1: there the log-probability is the better input, since float32
    rounds p to 1 (Lin & Yuan 2025, section 3.3).

    Args:
        probability: p, (N,), in [0, 1]. Gradients pass through it to ``log_prob``.
        log_probability: log p, (N,), at most 0; given instead of ``probability``.
        strength: the odds d_i of every item are raised to this power: L_ij = S_ij (d_i d_j)^((strength - 1) / 2), so
            P(Y) is proportional to det(S_Y) * prod_Y d_i^(strength - 1). 1 is the paper; more prefers hard items more.

    Returns:
        The kernel of the N items, its diagonal and its factor (N,) in float64.

    Raises:
        InputError: both or neither given, a value is NaN or out of range (its index is named), or ``strength`` is no
            finite number.

    Example:
        >>> p = torch.tensor([0.9, 0.5, 0.1])
        >>> kernel = information_kernel(p)
        >>> matrix = torch.diag(kernel.diagonal) + torch.outer(kernel.factor, kernel.factor)
        >>> [round(float(row), 6) for row in matrix.sum(0)]
        [1.0, 1.0, 1.0]

    References:
        Lin & Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025.
    """
    if not math.isfinite(strength):
        raise InputError(f"strength is {strength}: give a finite number")
    diagonal, factor = miss_and_hit(probability, log_probability)
    if len(factor) == 0:
        return DiagonalPlusRankOne(diagonal, factor)
    # Rounding may leave the mean of values <= 1 above 1 by an ulp, and d must not become negative.
    mean = diagonal.mean().clamp(max=1.0)
    scale = 1.0 / math.sqrt(len(factor))
    if diagonal.requires_grad:
        diagonal, factor = diagonal * (1.0 - mean) + mean, factor * scale
    else:
        diagonal.mul_(1.0 - mean).add_(mean)  # q + qbar - q qbar, in the memory of q
        factor.mul_(scale)
    if strength != 1.0:
        # Where d is 0 every p is 1: nothing is harder than anything else, and there is no odds to raise.
        raised = torch.where(diagonal > 0, diagonal, 1.0) ** (strength - 1.0)
        diagonal, factor = diagonal * raised, factor * raised.sqrt()
    return DiagonalPlusRankOne(diagonal, factor)


def matrix(kernel: Kernel) -> Float[Tensor, "N N"]:
    """L, written out in float64: for kernels of a few thousand items.

    Example:
        >>> matrix(DiagonalPlusRankOne([1.0, 2.0], [1.0, 1.0])).tolist()
        [[2.0, 1.0], [1.0, 3.0]]
    """
    if isinstance(kernel, Dense):
        return kernel.matrix
    if isinstance(kernel, LowRank):
        features = kernel.features.to(torch.float64)
        return features @ features.T
    return torch.diag(kernel.diagonal) + torch.outer(kernel.factor, kernel.factor)


def numbers(values: Array, name: str, shape: str) -> Tensor:
    """A tensor in float32 or float64, without a copy where it is one already; ``shape`` is named in the refusal."""
    if isinstance(values, Tensor):
        tensor = values
    else:
        try:
            array = np.asarray(values)
            if array.dtype.kind not in "biuf":
                raise ValueError
            if not array.dtype.isnative or array.dtype.itemsize > 8:
                array = array.astype(np.float64)
        except ValueError:
            raise InputError(f"{name} is not an array of real numbers: give one of shape ({shape})") from None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)  # nothing writes to it
            tensor = torch.as_tensor(array)
    if tensor.ndim != shape.count(",") + 1 or tensor.is_complex():
        raise InputError(f"{name} has shape {tuple(tensor.shape)}: give real numbers of shape ({shape})")
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.to(torch.float32 if tensor.is_floating_point() else torch.float64)


def whole(k: SupportsIndex | None, name: str = "k", of: str = "items") -> int | None:
    """A number of items as an int, whatever kind of integer it is."""
    if k is None:
        return None
    try:
        if isinstance(k, bool) or (isinstance(k, Tensor) and k.dtype == torch.bool):
            raise TypeError
        return operator.index(k)
    except TypeError:
        raise InputError(f"{name} is {k!r}: give a whole number of {of}") from None


def indices(given: Array, name: str, wanted: str, device: torch.device | None) -> Int[Tensor, "*shape"]:
    """Whole numbers in int64, in any shape; ``wanted`` says in the refusal which."""
    try:
        found = torch.as_tensor(given, device=device)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"{name} is no array of whole numbers: give {wanted}") from None
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise InputError(f"{name} has the shape {tuple(found.shape)} and {found.dtype}: give whole numbers, {wanted}")
    return found.to(torch.int64)


def check_generator(generator: torch.Generator | None) -> None:
    """Refuse a seed, or a generator of another library."""
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise InputError(f"generator is {generator!r}: give a torch.Generator, or None for torch's default")


def rounding(terms: int) -> float:
    """The share of a row's length up to which what is left of it counts as 0, after sums of so many terms."""
    return max(terms, ULPS) * torch.finfo(torch.float64).eps


def floor(kernel: Dense) -> Float[Tensor, " N"]:
    """Up to here what is left of an entry of the diagonal beside other items counts as 0."""
    return torch.maximum(kernel.noise, len(kernel) * torch.finfo(torch.float64).eps * kernel.matrix.detach().diagonal())


def miss_and_hit(
    probability: Array | None, log_probability: Array | None
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """(1 - p, p), new tensors in float64, from p or log p, checked; 1 - p keeps its digits when p is near 1."""
    if (probability is None) == (log_probability is None):
        raise InputError("give either probability or log_probability, the probability of each item's true label")
    if probability is not None:
        given = numbers(probability, "probability", "N")
        _check_range(given, "probability", 0.0, 1.0, "in [0, 1]")
        if given.requires_grad and torch.is_grad_enabled():
            return 1.0 - given.to(torch.float64), given.to(torch.float64)
        miss, hit = _two(given)
        return miss.neg_().add_(1.0), hit
    assert log_probability is not None
    given = numbers(log_probability, "log_probability", "N")
    _check_range(given, "log_probability", -math.inf, 0.0, "at most 0, the logarithm of a probability")
    if given.requires_grad and torch.is_grad_enabled():
        return -torch.expm1(given.to(torch.float64)), given.to(torch.float64).exp()
    miss, hit = _two(given)
    return miss.expm1_().neg_(), hit.exp_()


def _two(values: Tensor) -> Tensor:
    """``values`` twice, (2, N), in float64 and in one piece."""
    shape = (2, len(values))
    if values.device.type == "cpu":
        # NumPy asks for huge pages, without which the first touch of so much memory takes ten times the arithmetic.
        return torch.from_numpy(np.empty(shape)).copy_(values.detach())
    return torch.empty(shape, dtype=torch.float64, device=values.device).copy_(values.detach())


def _set(kernel: Kernel, **fields: object) -> None:
    for name, value in fields.items():
        object.__setattr__(kernel, name, value)


def conditioned(kernel: Kernel, parent: Kernel, kept: Int[Tensor, " n"]) -> None:
    """Note on ``kernel`` that its items are ``kept`` of ``parent``, in the numbering of the kernel first given."""
    _set(kernel, items=kept if parent.items is None else parent.items[kept])


def _check_finite(values: Tensor, name: str) -> None:
    """Refuse NaN and infinities, naming the first; their sum tells in one pass that there is none."""
    if not math.isfinite(float(values.detach().sum())):
        _check_range(values, name, -_LARGEST, _LARGEST, "finite")


def _check_range(values: Tensor, name: str, least: float, most: float, rule: str) -> None:
    """Refuse NaN and values outside [least, most], naming the first."""
    if values.numel() == 0:
        return
    low, high = (float(v) for v in torch.aminmax(values.detach()))
    if least <= low and high <= most:  # false when either is NaN
        return
    values = values.detach().to(torch.float64)
    first = [int(i) for i in (~((values >= least) & (values <= most))).nonzero()[0]]
    raise InputError(f"{name}{first} is {float(values[tuple(first)])}: every value must be {rule}")
