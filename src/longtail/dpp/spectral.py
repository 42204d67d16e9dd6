"""Low-rank and dense kernels: choose eigenvectors, then draw from the projection onto them.

A DPP with kernel L = sum_n lambda_n v_n v_n^T chooses eigenvectors by independent coins lambda_n / (1 + lambda_n), a
k-DPP by the same coins given that they show k heads: the k-DPP of diag(lambda), so the linear-time sampler serves.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from longtail.dpp.kernels import Dense, LowRank
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int

__all__ = ["Spectrum", "log_determinant", "project", "spectrum"]


class Spectrum(NamedTuple):
    """The eigenvalues that are not 0 to rounding, and their eigenvectors in the columns."""

    values: Float[Tensor, " r"]
    vectors: Float[Tensor, "N r"]


def spectrum(kernel: LowRank | Dense) -> Spectrum:
    """Eigenvalues and eigenvectors, O(N D^2) through the dual when the kernel is of low rank."""
    if isinstance(kernel, Dense):
        values, vectors = torch.linalg.eigh(kernel.matrix)
        least, most = (float(v) for v in torch.aminmax(values)) if len(values) else (0.0, 0.0)
        if least < -1e-8 * most:
            raise InputError(f"matrix has the eigenvalue {least:.3g}: a kernel has none below 0")
        keep = values > len(values) * torch.finfo(values.dtype).eps * most
        return Spectrum(values[keep], vectors[:, keep])
    features = kernel.features
    wide = features.shape[1] > features.shape[0]
    # The dual problem, of the smaller side, is solved on the triangle: forming B^T B would square the condition number.
    frame, triangle = torch.linalg.qr(features.T if wide else features)
    left, singular, _ = torch.linalg.svd(triangle.T if wide else triangle)
    keep = singular > max(features.shape) * torch.finfo(singular.dtype).eps * singular[:1]
    vectors = left[:, keep] if wide else frame @ left[:, keep]
    return Spectrum(singular[keep].square(), vectors)


def project(
    vectors: Float[Tensor, "N r"], chosen: Bool[Tensor, "B r"], generator: torch.Generator | None
) -> Bool[Tensor, "B N"]:
    """One set per row of ``chosen`` from the projection DPP onto the chosen eigenvectors: as many items as vectors.

    Items come one at a time, each with probability its squared distance from the span of those already drawn: the
    chain rule of the determinant, with that distance kept up to date as in a Cholesky factorisation, O(N k^2).
    """
    batch, count = len(chosen), len(vectors)
    sizes = chosen.sum(1)
    most = int(sizes.max()) if batch else 0
    order = chosen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    columns = vectors[:, order].permute(1, 0, 2) * chosen.gather(1, order)[:, None, :]
    left = columns.square().sum(2)
    basis = torch.zeros_like(columns)
    drawn = torch.zeros(batch, count, dtype=torch.bool, device=vectors.device)
    row = torch.arange(batch, device=vectors.device)
    for step in range(most):
        item = _weighted(left, generator)
        drawn[row, item] |= step < sizes
        new = torch.bmm(columns, columns[row, item, :, None])
        new -= torch.bmm(basis[:, :, :step], basis[row, item, :step, None])
        scale = left[row, item].clamp(min=torch.finfo(left.dtype).tiny).rsqrt()
        basis[:, :, step] = new.squeeze(2) * torch.where(step < sizes, scale, 0.0)[:, None]
        left = (left - basis[:, :, step].square()).clamp_(min=0.0)
        left[row, item] = 0.0
    return drawn


def log_determinant(kernel: LowRank | Dense, items: Int[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """Log of det(L_Y), -inf where it is singular."""
    if isinstance(kernel, Dense):
        sign, log = torch.linalg.slogdet(kernel.matrix[items[..., :, None], items[..., None, :]])
        return torch.where(sign > 0, log, -torch.inf)
    rows = kernel.features[items]
    if rows.shape[-2] > rows.shape[-1]:
        return rows.new_full(rows.shape[:-2], -torch.inf)
    # The triangle has the digits that det(B_Y B_Y^T) would square away.
    triangle = torch.linalg.qr(rows.mT, mode="r").R
    half: Tensor = triangle.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return 2.0 * half


def _weighted(weight: Float[Tensor, "B N"], generator: torch.Generator | None) -> Int[Tensor, " B"]:
    """One item per row, by weight; rounding cannot lead to one that weighs nothing."""
    cumulative = weight.cumsum(1)
    total = cumulative[:, -1:]
    place = torch.rand(total.shape, dtype=total.dtype, device=total.device, generator=generator) * total
    last = torch.searchsorted(cumulative, total.contiguous())
    return (
        torch.minimum(torch.searchsorted(cumulative, place, right=True), last).squeeze(1).clamp(max=weight.shape[1] - 1)
    )
