"""The kernels L of a determinantal point process, P(Y) proportional to det(L_Y), in three forms."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Float

__all__ = ["Dense", "DiagonalPlusRankOne", "Kernel", "LowRank", "information_kernel"]

_LARGEST = torch.finfo(torch.float64).max  # an infinity is out of range, too


@dataclasses.dataclass(frozen=True, eq=False)
class DiagonalPlusRankOne:
    """L = diag(diagonal) + factor factor^T: everything about it costs O(N).

    Args:
        diagonal: d, (N,), not negative. Kept in float64.
        factor: u, (N,), any sign. Kept in float64.

    Raises:
        InputError: an entry is NaN, infinite or, on the diagonal, negative.

    Example:
        >>> kernel = DiagonalPlusRankOne(torch.ones(5), torch.zeros(5))  # L = I: all subsets are alike
        >>> len(kernel)
        5
    """

    diagonal: Float[Tensor, " N"]
    factor: Float[Tensor, " N"]
    # What a draw computes first (the tilt, the thresholds) is the same for the next draw of the same size.
    _prepared: dict[str, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.diagonal) != len(self.factor):
            raise InputError(f"diagonal has {len(self.diagonal)} entries and factor {len(self.factor)}: give N of each")
        diagonal, factor = self.diagonal.to(torch.float64), self.factor.to(torch.float64)
        _check_range(diagonal, "diagonal", 0.0, _LARGEST, "finite and not negative")
        _check_finite(factor, "factor")
        object.__setattr__(self, "diagonal", diagonal)
        object.__setattr__(self, "factor", factor)

    def __len__(self) -> int:
        return len(self.diagonal)


@dataclasses.dataclass(frozen=True, eq=False)
class LowRank:
    """L = features features^T: items that resemble one another are seldom drawn together.

    The norm of a row is the item's quality, its direction what is to be diverse. A draw costs O(N D^2), through the
    dual D x D matrix; no subset has more than ``rank`` items.

    Args:
        features: (N, D). Kept in float64.

    Raises:
        InputError: an entry is NaN or infinite.
    """

    features: Float[Tensor, "N D"]
    _prepared: dict[str, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        features = self.features.to(torch.float64)
        _check_finite(features, "features")
        object.__setattr__(self, "features", features)

    def __len__(self) -> int:
        return len(self.features)


@dataclasses.dataclass(frozen=True, eq=False)
class Dense:
    """Any symmetric positive semi-definite L, by eigendecomposition, O(N^3): the oracle for the other two.

    Args:
        matrix: (N, N). Kept in float64.

    Raises:
        InputError: an entry is NaN or infinite, or the matrix is not square and symmetric.
    """

    matrix: Float[Tensor, "N N"]
    _prepared: dict[str, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        matrix = self.matrix.to(torch.float64)
        _check_finite(matrix, "matrix")
        if matrix.shape[0] != matrix.shape[1]:
            raise InputError(f"matrix is {tuple(matrix.shape)}: a kernel is square")
        asymmetry = float((matrix - matrix.T).abs().max()) if len(matrix) else 0.0
        if asymmetry > 1e-8 * float(matrix.abs().max() if len(matrix) else 0.0):
            raise InputError(f"matrix differs from its transpose by up to {asymmetry:.3g}: a kernel is symmetric")
        object.__setattr__(self, "matrix", matrix)

    def __len__(self) -> int:
        return len(self.matrix)


Kernel = DiagonalPlusRankOne | LowRank | Dense


def information_kernel(
    probability: Float[Tensor, " N"] | None = None,
    *,
    log_probability: Float[Tensor, " N"] | None = None,
    strength: float = 1.0,
) -> DiagonalPlusRankOne:
    r"""The kernel S of IP-DPP over the items of one class, from the probability of the true label.

    .. math:: S_{ij} = p_i p_j / N \ (i \ne j), \quad S_{ii} = 1 - \sum_{k \ne i} p_i p_k / N

    which is diag(d) + p p^T / N with d_i = 1 - p_i mean(p). It is formed from q = 1 - p as d_i = q_i + mean(q) -
    q_i mean(q), so nothing cancels where p is near 1: there the log-probability is the better input, since float32
    rounds p to 1 (Lin & Yuan 2025, section 3.3).

    Args:
        probability: p, (N,), in [0, 1].
        log_probability: log p, (N,), at most 0; given instead of ``probability``.
        strength: the odds d_i of every item are raised to this power: L_ij = S_ij (d_i d_j)^((strength - 1) / 2), so
            P(Y) is proportional to det(S_Y) * prod_Y d_i^(strength - 1). 1 is the paper; more prefers hard items more.

    Raises:
        InputError: both or neither given, or a value is NaN or out of range (its index is named).

    Example:
        >>> p = torch.tensor([0.9, 0.5, 0.1])
        >>> kernel = information_kernel(p)
        >>> matrix = torch.diag(kernel.diagonal) + torch.outer(kernel.factor, kernel.factor)
        >>> [round(float(row), 6) for row in matrix.sum(0)]
        [1.0, 1.0, 1.0]

    References:
        Lin & Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025.
    """
    diagonal, factor = miss_and_hit(probability, log_probability)
    if len(factor) == 0:
        return DiagonalPlusRankOne(diagonal, factor)
    # Rounding may leave the mean of values <= 1 above 1 by an ulp, and d must not become negative.
    mean = diagonal.mean().clamp_(max=1.0)
    diagonal.mul_(1.0 - mean).add_(mean)  # q + qbar - q qbar, in the memory of q
    factor.mul_(1.0 / math.sqrt(len(factor)))
    if strength != 1.0:
        # Where d is 0 every p is 1: nothing is harder than anything else, and there is no odds to raise.
        scale = torch.where(diagonal > 0, diagonal, 1.0) ** (strength - 1.0)
        diagonal, factor = diagonal * scale, factor * scale.sqrt()
    return DiagonalPlusRankOne(diagonal, factor)


def miss_and_hit(
    probability: Float[Tensor, " N"] | None, log_probability: Float[Tensor, " N"] | None
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """(1 - p, p), new tensors in float64, from p or log p, checked; 1 - p keeps its digits when p is near 1."""
    if (probability is None) == (log_probability is None):
        raise InputError("give either probability or log_probability, the probability of each item's true label")
    if probability is not None:
        _check_range(probability, "probability", 0.0, 1.0, "in [0, 1]")
        miss, hit = _two(probability)
        return miss.neg_().add_(1.0), hit
    assert log_probability is not None
    _check_range(log_probability, "log_probability", -math.inf, 0.0, "at most 0, the logarithm of a probability")
    miss, hit = _two(log_probability)
    return miss.expm1_().neg_(), hit.exp_()


def _two(values: Tensor) -> Tensor:
    """``values`` twice, (2, N), in float64 and in one piece."""
    shape = (2, len(values))
    if values.device.type == "cpu":
        # NumPy asks for huge pages, without which the first touch of so much memory takes ten times the arithmetic.
        return torch.from_numpy(np.empty(shape)).copy_(values.detach())
    return torch.empty(shape, dtype=torch.float64, device=values.device).copy_(values.detach())


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
    first = [int(i) for i in (~((values >= least) & (values <= most))).nonzero()[0]]
    raise InputError(f"{name}{first} is {float(values[tuple(first)])}: every value must be {rule}")
