"""Subsets of the training set by what the model finds informative: IP-DPP, and the control arms it is judged against.

Every arm has the same signature and, for the same ``k``, returns equally many indices, so that two arms differ in which
images are trained on and in nothing else. The preference of IP-DPP for hard items is mild (``docs/dpp.md``): a result
of it means something only beside ``uniform``.
"""

from __future__ import annotations

import warnings
from typing import SupportsIndex

import torch
from torch import Tensor

from longtail.dpp import segments
from longtail.dpp.kernels import Array, miss_and_hit, numbers
from longtail.errors import InputError
from longtail.samplers.diverse import counts_and_sizes, greedy, labels, spread
from longtail.shapes import Float, Int

__all__ = [
    "class_balanced",
    "easiest",
    "hardest",
    "information_preserving",
    "likeliest",
    "ten_times_smallest",
    "true_label_log_probability",
    "uniform",
]


def true_label_log_probability(logits: Float[Tensor, "N K"], target: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    r"""Log p of the true label in float64, with all the digits of 1 - p.

    .. math:: \log p_y = -\log(1 + \sum_{j \ne y} \exp(z_j - z_y))

    A softmax rounds p to 1 from a margin of 17 nats on in float32, of 37 in float64; beyond it no two items differ.

    Args:
        logits: logits of the model in eval mode on clean images.
        target: the true labels.

    Returns:
        (N,), at most 0.

    Example:
        >>> log_p = true_label_log_probability(torch.tensor([[40.0, 0.0]]), torch.tensor([0]))
        >>> f"{float(-torch.expm1(log_p)):.2e}"  # 1 - p
        '4.25e-18'
    """
    column = target.long()[:, None]
    logits = logits.to(torch.float64)
    margin = (logits - logits.gather(1, column)).scatter(1, column, -torch.inf).logsumexp(dim=1)
    return -torch.logaddexp(torch.zeros_like(margin), margin)


def ten_times_smallest(counts: Int[Tensor, " K"], *, times: int = 10) -> Int[Tensor, " K"]:
    """The rule k_c = min(10 N_min, N_c), where N_min is the smallest class that is not empty.

    Example:
        >>> ten_times_smallest(torch.tensor([500, 60, 5])).tolist()
        [50, 50, 5]
    """
    present = counts[counts > 0]
    return counts if len(present) == 0 else counts.clamp(max=times * int(present.min()))


def information_preserving(
    probability: Array | None,
    target: Array,
    *,
    k: SupportsIndex | Array,
    generator: torch.Generator | None,
    log_probability: Array | None = None,
    strength: float = 1.0,
    features: Array | None = None,
    mislabelled: float = 0.0,
) -> Int[Tensor, " n"]:
    r"""One exact k-DPP per class with the information kernel; classes of at most k items whole.

    .. math:: P(Y_c) \propto \det(S_{Y_c}), \quad S = \mathrm{diag}(1 - p_i \bar p) + p p^T / N_c

    All classes are drawn in one pass, in O(N); with features in O(N D^2), classes of like size together. Use it to pick
    what a trained model still has to learn, beside ``uniform``, its control.

    Beyond the paper: with ``features`` the kernel of a class is quality times diversity,
    L_ij = (d_i d_j)^(strength / 2) cos(f_i, f_j) with the same odds d_i = 1 - p_i mean(p), so that a subset is both
    informative and spread out.

    Args:
        probability: (N,), the model's probability of each item's true label, in [0, 1]; None when ``log_probability``
            is given.
        target: (N,), the true labels, 0 and above.
        k: items per class, a number or one for each class; ``ten_times_smallest(counts)`` is the rule 10 N_min.
        generator: a generator on the CPU or on the target's device; None for torch's default.
        log_probability: (N,), the logarithm of ``probability``, at most 0: the better input
            (``true_label_log_probability``).
        strength: the power to which the odds are raised: 1 is the paper, 0 all but forgets p.
        features: (N, D), one row for each item; a class then needs k at most the rank of its features, hence k <= D.
            None for the kernel of the paper.
        mislabelled: the share of each class that is assumed to have a wrong label: so many items of smallest p are set
            aside before the draw, unless fewer than k would remain. Classes kept whole are left alone.

    Returns:
        Indices into ``target``, ascending, each at most once.

    Raises:
        InputError: a probability is NaN or out of range (the first such index is named), lengths differ, ``k`` is
            negative or too short, ``mislabelled`` is not in [0, 1), or classes have features of too low a rank (they
            are named).

    Warns:
        RuntimeWarning: every p of a class is exactly 1. Its subset is then uniform: none has any mass.

    Example:
        >>> target = torch.tensor([0] * 6 + [1] * 2)
        >>> p = torch.tensor([0.9, 0.2, 0.8, 0.7, 0.99, 0.4, 0.1, 0.1])
        >>> index = information_preserving(p, target, k=3, generator=torch.Generator().manual_seed(0))
        >>> len(index), index[-2:].tolist()
        (5, [6, 7])

    References:
        Lin & Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025, section 3.3.
    """
    if not 0.0 <= mislabelled < 1.0:
        raise InputError(f"mislabelled is {mislabelled}: it is a share of a class, at least 0 and below 1")
    target = labels(target)
    counts, sizes = counts_and_sizes(target, k)
    with torch.no_grad():
        miss, hit = miss_and_hit(probability, log_probability)
    features = None if features is None else numbers(features, "features", "N, D").detach()
    for name, values in (("probability", hit), ("features", features)):
        if values is not None and len(values) != len(target):
            raise InputError(f"{name} has {len(values)} rows and target {len(target)}: give one for each item")

    # Class by class and, within a class, hardest first: what is set aside is then a prefix.
    order = (
        miss.argsort(descending=True, stable=True) if mislabelled else torch.arange(len(target), device=target.device)
    )
    order = order[target[order].argsort(stable=True)]
    aside = torch.minimum((mislabelled * counts).long(), counts - sizes)
    rank = _rank(counts)
    label = torch.repeat_interleave(counts)
    order = order[rank >= aside[label]]

    left = counts - aside
    partial = (sizes > 0) & (sizes < left)
    whole = torch.repeat_interleave(sizes == left, left)
    drawn = order[torch.repeat_interleave(partial, left)]
    if len(drawn) == 0:
        return order[whole].sort().values
    lengths, k_drawn = left[partial], sizes[partial]
    d, u2 = _odds(miss[drawn], hit[drawn], lengths, k_drawn, strength)
    if features is None:
        prepared = segments.prepare(d, u2, lengths, k_drawn)
        chosen = segments.draw(prepared, segments.beside(generator, target.device))
    else:
        scale = d.sqrt()
        chosen = spread(features[drawn], scale, lengths, k_drawn, partial.nonzero().squeeze(1), generator)
    return torch.cat([order[whole], drawn[chosen]]).sort().values


def uniform(
    probability: Array | None,
    target: Array,
    *,
    k: SupportsIndex | Array,
    generator: torch.Generator | None,
    log_probability: Array | None = None,
) -> Int[Tensor, " n"]:
    """The first control: from each class as many items as ``information_preserving`` takes, whatever their p.

    The sampler that was released with IP-DPP is this arm with one subset for the whole run.

    Example:
        >>> len(uniform(None, torch.tensor([0] * 6 + [1] * 2), k=3, generator=torch.Generator().manual_seed(0)))
        5
    """
    target = labels(target)
    counts, sizes = counts_and_sizes(target, k)
    order = target.argsort(stable=True)
    return order[segments.uniform(counts, sizes, segments.beside(generator, target.device))].sort().values


def hardest(
    probability: Array | None,
    target: Array,
    *,
    k: SupportsIndex | Array,
    generator: torch.Generator | None,
    log_probability: Array | None = None,
) -> Int[Tensor, " n"]:
    """Of each class the k items of smallest p; ties fall at random.

    Example:
        >>> p = torch.tensor([0.9, 0.2, 0.8, 0.7])
        >>> hardest(p, torch.zeros(4, dtype=torch.int64), k=2, generator=None).tolist()
        [1, 3]
    """
    miss, _ = miss_and_hit(probability, log_probability)
    return _first(-miss, target, k, generator)


def easiest(
    probability: Array | None,
    target: Array,
    *,
    k: SupportsIndex | Array,
    generator: torch.Generator | None,
    log_probability: Array | None = None,
) -> Int[Tensor, " n"]:
    """Of each class the k items of largest p; ties fall at random.

    Example:
        >>> p = torch.tensor([0.9, 0.2, 0.8, 0.7])
        >>> easiest(p, torch.zeros(4, dtype=torch.int64), k=2, generator=None).tolist()
        [0, 2]
    """
    miss, _ = miss_and_hit(probability, log_probability)
    return _first(miss, target, k, generator)


def class_balanced(
    probability: Array | None,
    target: Array,
    *,
    k: SupportsIndex | Array,
    generator: torch.Generator | None,
    log_probability: Array | None = None,
) -> Int[Tensor, " n"]:
    """As many items in all as the other arms, equally many of each class: small classes are repeated to get there.

    An item of a class is repeated at most once more often than any other of it. Classes that get one item more than the
    others, where the total does not divide, are chosen at random.

    Example:
        >>> target = torch.tensor([0] * 6 + [1] * 2)
        >>> index = class_balanced(None, target, k=4, generator=torch.Generator().manual_seed(0))
        >>> torch.bincount(target[index]).tolist()
        [3, 3]
    """
    target = labels(target)
    counts, sizes = counts_and_sizes(target, k)
    generator = segments.beside(generator, target.device)
    present = counts > 0
    classes = int(present.sum())
    if classes == 0:
        return target.new_zeros(0, dtype=torch.int64)
    total = int(sizes.sum())
    quota = torch.where(present, total // classes, 0)
    lucky = torch.randperm(classes, generator=generator, device=target.device)[: total % classes]
    quota[present.nonzero().squeeze(1)[lucky]] += 1
    order = target.argsort(stable=True)
    times = torch.where(present, quota // counts.clamp(min=1), 0)
    rest = segments.uniform(counts, quota - times * counts, generator)
    return torch.repeat_interleave(order, torch.repeat_interleave(times, counts) + rest.long()).sort().values


def likeliest(
    probability: Array | None,
    target: Array,
    *,
    k: SupportsIndex | Array,
    generator: torch.Generator | None,
    log_probability: Array | None = None,
    features: Array,
) -> Int[Tensor, " n"]:
    """Of each class the greedy set for the kernel of ``information_preserving`` with ``features``: no randomness.

    Item by item the one that enlarges det(L_Y) most (``longtail.dpp.greedy``): a control for drawing at random.

    Example:
        >>> p, rows = torch.tensor([0.1, 0.2, 0.9]), [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]
        >>> likeliest(p, torch.zeros(3, dtype=torch.int64), k=2, generator=None, features=rows).tolist()
        [0, 2]
    """
    target = labels(target)
    counts, sizes = counts_and_sizes(target, k)
    miss, hit = miss_and_hit(probability, log_probability)
    if len(hit) != len(target):
        raise InputError(f"probability has {len(hit)} rows and target {len(target)}: give one for each item")
    order = target.argsort(stable=True)
    there = counts > 0
    d, _ = _odds(miss[order], hit[order], counts[there], sizes[there], 1.0)
    return greedy(features, target, k=sizes, quality=torch.empty_like(d).index_copy(0, order, d.sqrt()))


def _rank(lengths: Int[Tensor, " G"]) -> Int[Tensor, " M"]:
    """0, 1, ... within each run."""
    start = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum()), device=lengths.device) - torch.repeat_interleave(start, lengths)


def _first(
    value: Tensor, target: Array, k: SupportsIndex | Array, generator: torch.Generator | None
) -> Int[Tensor, " n"]:
    """Of each class the k items of smallest value."""
    target = labels(target)
    counts, sizes = counts_and_sizes(target, k)
    if len(value) != len(target):
        raise InputError(f"probability has {len(value)} rows and target {len(target)}: give one for each item")
    order = torch.randperm(len(target), generator=segments.beside(generator, target.device), device=target.device)
    order = order[value[order].argsort(stable=True)]
    order = order[target[order].argsort(stable=True)]
    return order[_rank(counts) < torch.repeat_interleave(sizes, counts)].sort().values


def _odds(
    miss: Float[Tensor, " M"],
    hit: Float[Tensor, " M"],
    lengths: Int[Tensor, " G"],
    k: Int[Tensor, " G"],
    strength: float,
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Diagonals and squared factors of the information kernels, as ``dpp.information_kernel`` has them one by one."""
    mean = (segments.total(miss, lengths) / lengths).clamp(max=1.0)
    mean = torch.repeat_interleave(mean, lengths)
    d = miss * (1.0 - mean) + mean
    u2 = hit * hit / torch.repeat_interleave(lengths, lengths)
    largest = segments.largest(d, lengths)
    certain = largest == 0
    if bool((certain & (k >= 2)).any()):
        warnings.warn(
            f"every probability is exactly 1 in {int(certain.sum())} of {len(lengths)} classes, where the information"
            " kernel gives no subset of two or more items any mass: drawing theirs uniformly",
            RuntimeWarning,
            stacklevel=3,
        )
    d = torch.where(torch.repeat_interleave(certain, lengths), 1.0, d)
    u2 = torch.where(torch.repeat_interleave(certain, lengths), 0.0, u2)
    if strength == 1.0:
        return d, u2
    # The largest of a class counts as 1, so that no power overflows; below 1e-200 an item is never drawn anyway.
    largest = torch.repeat_interleave(torch.where(certain, 1.0, largest), lengths)
    raised = ((d / largest) ** strength).clamp(min=1e-200)
    return raised, u2 / d * raised
