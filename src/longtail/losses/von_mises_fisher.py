"""Contrastive learning against the distribution of each class on the sphere instead of samples of it (ProCo)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from longtail.counts import as_counts
from longtail.errors import InputError
from longtail.losses.labels import check_one_class
from longtail.losses.similarity import products
from longtail.shapes import Counts, Float, Int

__all__ = ["concentrations", "log_normaliser", "probabilistic_contrastive"]


def log_normaliser(kappa: Float[Tensor, " *any"], dimension: int) -> Float[Tensor, " *any"]:
    r"""Logarithm of the integral of :math:`\exp(\kappa \mu \cdot z)` over the unit sphere, up to a constant.

    .. math:: \log C_p(\kappa) - \log C_p(0), \quad C_p(\kappa) = (2 \pi)^{p/2} I_\nu(\kappa) / \kappa^\nu,
        \quad \nu = p / 2 - 1

    The modified Bessel function is taken from its uniform expansion for large orders (four terms), which holds for all
    :math:`\kappa` at once and has a gradient; the error of the logarithm is below 1e-4 from dimension 8 on and below
    1e-7 from 32 on. Use it for likelihoods of von Mises-Fisher distributions in the dimensions of embeddings.

    Args:
        kappa: concentrations, at least 0, of any shape.
        dimension: p, at least 8.

    Returns:
        Of the same shape; 0 at kappa 0.

    Raises:
        InputError: a dimension below 8.

    Example:
        >>> [round(float(value), 4) for value in log_normaliser(torch.tensor([0.0, 1.0]), 128)]  # kappa^2 / (2 p)
        [0.0, 0.0039]

    References:
        Abramowitz and Stegun, *Handbook of Mathematical Functions*, 9.7.7.
    """
    if dimension < 8:
        raise InputError(f"dimension {dimension}: embeddings need at least 8")
    order = dimension / 2 - 1
    wide = kappa.to(torch.promote_types(kappa.dtype, torch.float32))
    root = torch.sqrt(1.0 + (wide / order).square())
    ratio = 1.0 / root
    # log I_v(v x) = v eta - log(1 + x^2) / 4 + log(1 + u_1 / v + ...) + constant, eta = root + log(x / (1 + root))
    leading = order * (root - 1.0 - torch.log((1.0 + root) / 2.0)) - 0.5 * root.log()
    return leading + torch.log(_debye(ratio, order)) - math.log(_debye(1.0, order))


def _debye(t: Any, order: float) -> Any:
    """1 + u_1(t) / v + ... + u_4(t) / v^4, of a tensor or a number."""
    square = t * t
    first = t * (3 - 5 * square) / 24
    second = square * (81 - 462 * square + 385 * square**2) / 1152
    third = t**3 * (30375 - 369603 * square + 765765 * square**2 - 425425 * square**3) / 414720
    fourth = (
        square**2
        * (4465125 - 94121676 * square + 349922430 * square**2 - 446185740 * square**3 + 185910725 * square**4)
        / 39813120
    )
    return 1 + first / order + second / order**2 + third / order**3 + fourth / order**4


def concentrations(means: Float[Tensor, "K D"]) -> Float[Tensor, " K"]:
    r"""Concentrations of von Mises-Fisher distributions from the means of their unit vectors.

    .. math:: \kappa = \frac{R (p - R^2)}{1 - R^2}, \quad R = \lVert \bar z \rVert

    Use it for classes of which only the mean embedding is known. R is held below 0.99, so a class of one image is no
    point.

    Args:
        means: (K, p) means of unit vectors; 0 for a class that was not seen, whose distribution is uniform.

    Returns:
        (K,), at least 0.

    Example:
        >>> concentrations(torch.tensor([[0.6, 0.0], [0.0, 0.0]]))
        tensor([1.5375, 0.0000])

    References:
        Banerjee et al., *Clustering on the Unit Hypersphere using von Mises-Fisher Distributions*, JMLR 2005, Eq. 4.4.
    """
    length = means.norm(dim=1).clamp(max=0.99)
    found: Tensor = length * (means.shape[1] - length.square()) / (1.0 - length.square())
    return found


def probabilistic_contrastive(
    embeddings: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    counts: Counts,
    means: Float[Tensor, "K D"],
    temperature: float = 0.1,
) -> Float[Tensor, " N"]:
    r"""Contrastive loss against infinitely many samples of each class's von Mises-Fisher distribution.

    .. math:: \ell = -\log \frac{\pi_y \, C_p(\tilde\kappa_y) / C_p(\kappa_y)}
        {\sum_c \pi_c \, C_p(\tilde\kappa_c) / C_p(\kappa_c)}, \quad
        \tilde\kappa_c = \lVert \kappa_c \mu_c + z / \tau \rVert

    since :math:`C_p(\tilde\kappa) / C_p(\kappa)` is the mean of :math:`\exp(z \cdot z' / \tau)` over samples z' of the
    distribution. Classes that were not seen have the uniform one. Use it beside a classification loss, so that no batch
    has to hold every class.

    Args:
        embeddings: z (N, p), of any length: rows are scaled to length 1 here; p at least 8.
        target: (N,) class numbers.
        counts: (K,) training images per class, whose shares are pi.
        means: (K, p) mean embeddings of the classes, each of unit vectors.
        temperature: tau, above 0.

    Returns:
        (N,) losses in nats.

    Raises:
        InputError: a temperature that is not above 0, or shapes that do not fit together.

    Example:
        >>> z, means = torch.eye(2, 8), 0.9 * torch.eye(2, 8)
        >>> loss = probabilistic_contrastive(z, torch.tensor([0, 1]), counts=[9, 1], means=means, temperature=0.5)
        >>> bool(loss[0] < loss[1])
        True

    References:
        Du et al., *Probabilistic Contrastive Learning for Long-Tailed Visual Recognition*, IEEE TPAMI 2024,
        arXiv:2403.06726, the loss L_in.
    """
    if temperature <= 0:
        raise InputError(f"temperature is {temperature}: it must be above 0")
    check_one_class(target, embeddings.shape[0])
    kind = torch.promote_types(embeddings.dtype, torch.float32)
    sizes = as_counts(counts, num_classes=len(means), device=embeddings.device).to(kind)
    z, known = functional.normalize(embeddings.to(kind), dim=1), means.to(kind)
    kappa = concentrations(known)
    mean = kappa[:, None] * functional.normalize(known, dim=1)
    # |k mu + z / tau|^2, without a tensor (N, K, p)
    square = kappa.square() + temperature**-2 + 2.0 / temperature * products(z, mean)
    dimension = embeddings.shape[1]
    expected = log_normaliser(square.clamp(min=1e-12).sqrt(), dimension) - log_normaliser(kappa, dimension)
    return functional.cross_entropy(expected + (sizes / sizes.sum()).log(), target, reduction="none")
