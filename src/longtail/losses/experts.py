"""Losses that make several classifiers of one network differ: the inverse softmax of SADE, the diversity of RIDE."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from longtail.counts import as_counts
from longtail.errors import InputError
from longtail.losses.cross_entropy import cross_entropy
from longtail.losses.labels import IGNORED, check_labels
from longtail.shapes import Counts, Float, Target

__all__ = ["expert_diversity", "inverse_softmax"]


def inverse_softmax(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    counts: Counts,
    tau: float = 2.0,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    r"""Cross-entropy that trains a classifier for the reversed class distribution: the tail expert of SADE.

    .. math:: \ell = -\log \frac{\exp(v_y + \log \pi_y - \tau \log \bar\pi_y)}
        {\sum_c \exp(v_c + \log \pi_c - \tau \log \bar\pi_c)}

    with the training frequencies :math:`\pi` and the reversed ones :math:`\bar\pi`, in which the rarest class has the
    frequency of the most frequent one and so on; of equally large classes the first counts as the rarer.
    ``tau = 0`` is :func:`balanced_softmax`, equal counts give cross-entropy, and where :math:`\pi_c \bar\pi_c` is the
    same for all classes, as with an exponential profile, it is logit adjustment of strength ``1 + tau``. Use it for the
    one of several experts that is to know the tail.

    A class without training images is left out of the sum; a sample of such a class has an infinite loss.

    Args:
        logits: v (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        counts: (K,) training images per class.
        tau: strength of the reversed prior.
        label_smoothing: share of each label that is spread evenly over the classes with images, in [0, 1].
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: counts of another number of classes than the logits, or shapes that do not fit together.

    Example:
        >>> loss = inverse_softmax(torch.zeros(1, 2), torch.tensor([1]), counts=[9, 1], tau=1.0)
        >>> round(float(loss.exp()))  # 1 + (9 / 1)**2
        82

    References:
        Zhang et al., *Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition*,
        NeurIPS 2022, arXiv:2107.09249, the inverse softmax loss.
    """
    target = check_labels(logits, target)
    known = as_counts(counts, num_classes=logits.shape[1], device=logits.device)
    wide = known.to(torch.promote_types(logits.dtype, torch.float32))
    order = wide.argsort(stable=True)  # the rarest first, after classes without images, which keep their place
    empty = (wide == 0).sum()
    rank = torch.arange(len(wide), device=wide.device)
    opposite = (len(wide) - 1 + empty - rank).clamp(max=len(wide) - 1)
    log_prior = (wide / wide.sum()).log()
    reversed_prior = torch.zeros_like(log_prior).index_copy(0, order, log_prior[order[opposite]])
    adjusted = logits + log_prior - tau * reversed_prior
    return cross_entropy(adjusted, target, label_smoothing=label_smoothing, ignore_index=ignore_index)


def expert_diversity(
    logits: Float[Tensor, "N E K"], *, counts: Counts, temperature: float = 1.0, share: float = 0.05
) -> Float[Tensor, " N"]:
    r"""Mean Kullback-Leibler divergence between the predictions of several experts, softened more for frequent classes.

    .. math:: d = \frac{1}{E (E - 1)} \sum_{i} \sum_{j \ne i}
        D_{KL}\left(\mathrm{softmax}(f_i / T) \,\|\, \mathrm{softmax}(f_j / T)\right), \quad
        T_c = \alpha (\beta_c + 1 - \max_k \beta_k), \quad
        \beta_c = \gamma \frac{n_c}{\tfrac1K \sum_k n_k} + 1 - \gamma

    The temperature is :math:`\alpha` for the most frequent class and lower for rare ones, so experts differ most where
    there are few images; equal counts give :math:`\alpha` for all. RIDE subtracts :math:`\lambda d` from the loss of
    each expert. Use it on the logits of experts that share a trunk.

    Args:
        logits: f (N, E, K), at least two experts.
        counts: (K,) training images per class, n.
        temperature: alpha, above 0.
        share: gamma, in [0, 1], small enough that every temperature is above 0.

    Returns:
        (N,) in nats, at least 0.

    Raises:
        InputError: fewer than two experts, counts that do not fit, or a temperature that is not above 0.

    Example:
        >>> same = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0)).expand(3, 2, 4)
        >>> expert_diversity(same, counts=[9, 5, 2, 1])
        tensor([0., 0., 0.])

    References:
        Wang et al., *Long-tailed Recognition by Routing Diverse Distribution-Aware Experts*, ICLR 2021,
        arXiv:2010.01809, the distribution-aware diversity loss.
    """
    if logits.ndim != 3 or logits.shape[1] < 2:
        raise InputError(f"logits of at least two experts (N, E, K) are needed, not {tuple(logits.shape)}")
    if not temperature > 0 or not 0 <= share <= 1:
        raise InputError(f"temperature {temperature:g} must be above 0 and share {share:g} in [0, 1]")
    experts = logits.shape[1]
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    soft = functional.log_softmax(wide / class_temperatures(counts, wide, temperature, share), dim=2)
    # sum over i, j of KL(i || j) = E sum_i <p_i, log p_i> - <sum_i p_i, sum_j log p_j>
    chances = soft.exp()
    own = experts * (chances * soft).sum(dim=(1, 2))
    crossed = (chances.sum(dim=1) * soft.sum(dim=1)).sum(dim=1)
    return (own - crossed).clamp(min=0) / (experts * (experts - 1))


def class_temperatures(
    counts: Counts, logits: Float[Tensor, "N E K"], temperature: float, share: float
) -> Float[Tensor, " K"]:
    """The temperatures of RIDE's diversity, never below a hundredth of the largest."""
    known = as_counts(counts, num_classes=logits.shape[-1], device=logits.device)
    sizes = known.to(logits.dtype)
    relative = share * sizes / sizes.mean() + 1.0 - share
    return temperature * (relative + 1.0 - relative.amax()).clamp(min=0.01)
