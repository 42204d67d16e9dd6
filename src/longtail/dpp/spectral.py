"""Eigenvalues and eigenvectors of low-rank and dense kernels; of a low-rank one through its features, O(N D^2).

The eigenvectors of L = B B^T are never written out. With the singular value decomposition B = V S W^T they are
V = B W S^-1: any of their rows is a row of B times a small matrix.

B^T B has the square of the condition number of B, and its small eigenvalues are noise where that is beyond the digits
of float64. So it is used where it is well conditioned, which its own eigenvalues tell, and else S and W come from the
triangle of a QR factorisation, block of rows by block of rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from longtail.dpp.kernels import Dense, LowRank, floor, rounding
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int

__all__ = ["CONDITION", "Correction", "Spectrum", "correction", "differentiable", "log_determinant", "spectrum"]

ROWS = 1024  # rows at a time: a block of them in float64 stays in the second-level cache

CONDITION = 1e5
"""The largest condition number of B^T B at which its eigenvalues are used: ten digits are left."""


class Spectrum(NamedTuple):
    """The r eigenvalues that are not 0 to rounding, and their eigenvectors V = rows turn, (N, r), not written out."""

    values: Float[Tensor, " r"]
    rows: Float[Tensor, "N C"]
    turn: Float[Tensor, "C r"] | None  # None: V = rows

    def vectors(self, items: Int[Tensor, " n"] | slice = slice(None)) -> Float[Tensor, "n r"]:
        """Rows of V."""
        rows = self.rows[items].to(torch.float64)
        return rows if self.turn is None else rows @ self.turn

    def squares(self, weight: Float[Tensor, " r"]) -> Float[Tensor, " N"]:
        """The sums over n of weight_n V_in^2, weights being 0 or more: the diagonal of V diag(weight) V^T."""
        half = weight.sqrt()
        scaled = torch.diag(half) if self.turn is None else self.turn * half
        parts = [(part.to(torch.float64) @ scaled).square_().sum(1) for part in torch.split(self.rows, ROWS)]
        return torch.cat(parts)


class Correction(NamedTuple):
    """How far a given matrix was from a kernel, by rounding; see ``correction``."""

    asymmetry: float
    eigenvalue: float


def spectrum(kernel: LowRank | Dense) -> Spectrum:
    """Eigenvalues and eigenvectors."""
    if isinstance(kernel, LowRank):
        singular, directions = _decompose(kernel.features.detach())
        most = float(singular.max()) if len(singular) else 1.0
        check_scale(most)
        return Spectrum(singular.square(), kernel.features.detach(), directions / singular)
    values, vectors = torch.linalg.eigh(kernel.matrix.detach())
    least, most = _ends(values)
    if least < -kernel.tolerance * most:
        raise InputError(_indefinite(values, least, most))
    keep = ~_nothing(kernel, values, vectors)
    return Spectrum(values[keep], vectors[:, keep], None)


def check_features(features: Float[Tensor, "N D"]) -> None:
    """Refuse features whose squares are no numbers; all of them may be 0."""
    if features.numel():
        least, most = (float(v) for v in torch.aminmax(features.detach()))
        if least or most:
            check_scale(max(-least, most))


def check_scale(most: float) -> None:
    """Refuse features, of the largest size ``most``, whose squares are no numbers."""
    if not 1e-150 < most < 1e150:
        raise InputError(f"features have the norm {most:.3g}, whose square is out of the range of float64: scale them")


def _nothing(kernel: Dense, values: Float[Tensor, " N"], vectors: Float[Tensor, "N N"]) -> Bool[Tensor, " N"]:
    """Which eigenvalues are 0 to rounding."""
    least, most = _ends(values)
    # Rounding that pushed some below 0 pushed others above it. Where few are 0 perhaps none is below it: then the
    # errors of the entries tell, which move v^T L v by about the mean of theirs on the diagonal, weighted by v^2.
    bound = max(len(values) * torch.finfo(values.dtype).eps * most, -2.0 * least)
    return values <= (vectors.square().T @ kernel.noise).clamp(min=bound)


def correction(kernel: Dense) -> Correction:
    """Say what was put right in a matrix that was a kernel but for rounding.

    Use it to see whether a Gram matrix formed in float32 was accurate enough for what it is to be used for.

    Args:
        kernel: kernel (N, N) as made from the matrix.

    Returns:
        The largest difference between the matrix and its transpose, whose mean was taken, and how far below 0 its
        least eigenvalue was, which now counts as 0; both in the units of the matrix.

    Raises:
        InputError: the matrix is no kernel.

    Example:
        >>> found = correction(Dense([[1.0, 1.0], [1.0, 1.0 - 1e-9]]))
        >>> found.asymmetry, round(found.eigenvalue, 11)
        (0.0, 5e-10)
    """
    values = torch.linalg.eigvalsh(kernel.matrix.detach())
    least, most = _ends(values)
    if least < -kernel.tolerance * most:
        raise InputError(_indefinite(values, least, most))
    return Correction(kernel.asymmetry, max(0.0, -least))


def differentiable(kernel: LowRank | Dense, found: Spectrum) -> Float[Tensor, " r"]:
    """The eigenvalues of ``found``, through which gradients reach the features or the matrix."""
    if isinstance(kernel, Dense):
        if not (kernel.matrix.requires_grad and torch.is_grad_enabled()):
            return found.values
        values, vectors = torch.linalg.eigh(kernel.matrix)
        nothing = _nothing(kernel, values.detach(), vectors.detach())
        # All of them: those at 0 have a derivative, too.
        exact: Tensor = values - torch.where(nothing, values.detach(), 0.0)
        return exact
    if not (kernel.features.requires_grad and torch.is_grad_enabled()):
        return found.values
    assert found.turn is not None
    directions = found.turn * found.values.sqrt()
    applied: Tensor = _Values.apply(kernel.features, found.values, directions)
    return applied


class _Values(torch.autograd.Function):
    """Eigenvalues as a function of the features: d lambda_n = 2 w_n^T B^T dB w_n, without a gap in a denominator."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, values: Tensor, directions: Tensor) -> Tensor:
        ctx.save_for_backward(features, directions)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        features, directions = ctx.saved_tensors
        middle = (2.0 * directions * gradients[0]) @ directions.T
        return (features.to(torch.float64) @ middle).to(features.dtype), None, None


def log_determinant(kernel: LowRank | Dense, items: Int[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """Log of det(L_Y), -inf where it is singular to rounding."""
    if isinstance(kernel, Dense):
        part = kernel.matrix[items[..., :, None], items[..., None, :]]
        factor, failed = torch.linalg.cholesky_ex(part.detach())
        left = factor.diagonal(dim1=-2, dim2=-1).square()
        singular = (failed > 0) | (left <= floor(kernel)[items]).any(-1)
        log = torch.linalg.slogdet(_regular(part, singular)).logabsdet
        return torch.where(singular, -torch.inf, log)
    rows = kernel.features[items].to(torch.float64)
    count, width = rows.shape[-2:]
    if count > width:
        return rows.new_full(rows.shape[:-2], -torch.inf)
    singular = (_distances(rows.detach()) <= rounding(width) * rows.detach().norm(dim=-1)).any(-1)
    return torch.where(singular, -torch.inf, 2.0 * _distances(_regular(rows, singular)).log().sum(-1))


def _distances(rows: Float[Tensor, "*batch k D"]) -> Float[Tensor, "*batch k"]:
    """Of each row from the span of those before it, with the digits that det(B_Y B_Y^T) would square away."""
    distances: Tensor = torch.linalg.qr(rows.mT).R.diagonal(dim1=-2, dim2=-1).abs()
    return distances


def _regular(matrices: Float[Tensor, "*batch k D"], singular: Bool[Tensor, "*batch"]) -> Float[Tensor, "*batch k D"]:
    """The singular ones replaced by parts of the identity, so that no gradient of theirs is NaN."""
    if not bool(singular.any()):
        return matrices
    unit = torch.eye(*matrices.shape[-2:], dtype=matrices.dtype, device=matrices.device)
    return torch.where(singular[..., None, None], unit, matrices)


def _decompose(features: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " r"], Float[Tensor, "D r"]]:
    """The singular values that are not 0 to rounding, and their right singular vectors."""
    count, width = features.shape
    if count < width:
        frame, triangle = torch.linalg.qr(features.T.to(torch.float64))
        _, singular, turned = torch.linalg.svd(triangle.T, full_matrices=False)
        directions = frame @ turned.T
    else:
        gram = torch.zeros(width, width, dtype=torch.float64, device=features.device)
        for part in torch.split(features, ROWS):
            rows = part.to(torch.float64)
            gram.addmm_(rows.T, rows)
        if bool(gram.isfinite().all()):
            values, directions = torch.linalg.eigh(gram)
            if well_conditioned(values):
                return values.sqrt(), directions
        triangle = features.new_zeros(0, width, dtype=torch.float64)
        for part in torch.split(features, ROWS):
            triangle = torch.linalg.qr(torch.cat([triangle, part.to(torch.float64)]), mode="r").R
        _, singular, turned = torch.linalg.svd(triangle, full_matrices=False)
        directions = turned.T
    keep = singular > max(features.shape) * torch.finfo(singular.dtype).eps * singular[:1]
    return singular[keep], directions[:, keep]


def well_conditioned(values: Float[Tensor, "*batch r"]) -> bool:
    """Whether the ascending eigenvalues of a matrix B^T B are accurate enough to be used."""
    return values.shape[-1] > 0 and bool((values[..., 0] * CONDITION > values[..., -1]).all())


def _ends(values: Float[Tensor, " N"]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    return float(values[0]), max(0.0, float(values[-1]))


def _indefinite(values: Float[Tensor, " N"], least: float, most: float) -> str:
    """The refusal, with a hint where most eigenvalues are small beside the largest, as those of X X^T are."""
    small = int((values.abs() <= 2.0 * abs(least)).sum())
    hint = ""
    if 2 * small >= len(values) and -least < 1e-2 * most:
        hint = "; if it is X X^T for features X, give LowRank(X), and if it was formed in float32, give it in float32"
    return f"matrix has the eigenvalue {least:.3g}, and {most:.3g} is its largest: a kernel has none below 0{hint}"
