"""Chi-square on counts over all subsets, and samplers that are known to be wrong.

Counts, not proportions: the statistic of proportions is smaller by the number of draws, and a test on it accepts
anything.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import torch
from scipy import stats
from torch import Tensor

from longtail.dpp import DiagonalPlusRankOne, information_kernel, printed
from oracles import law


def p_value(masks: Tensor, subsets: Tensor, probability: Tensor) -> float:
    """Of the draws (n, N) under the law ``probability`` over ``subsets``; 0 when one of them is impossible."""
    weights = 2 ** torch.arange(masks.shape[1])
    place = torch.full((2 ** masks.shape[1],), len(subsets))
    place[(subsets * weights).sum(1)] = torch.arange(len(subsets))
    counts = torch.bincount(place[(masks * weights).sum(1)], minlength=len(subsets) + 1).double()
    if counts[-1] > 0:
        return 0.0
    expected = probability * len(masks)
    counts = counts[:-1]
    if float(counts[probability < 1e-12].sum()) > 0:
        return 0.0
    # Subsets of less than 5 expected draws are counted with the rarest of the others.
    order = expected.argsort(descending=True)
    counts, expected = counts[order], expected[order]
    often = max(1, int((expected >= 5).sum()))
    counts = torch.cat([counts[: often - 1], counts[often - 1 :].sum()[None]])
    expected = torch.cat([expected[: often - 1], expected[often - 1 :].sum()[None]])
    if len(counts) < 2:
        return 1.0
    return float(stats.chi2.sf(float(((counts - expected) ** 2 / expected).sum()), len(counts) - 1))


def exact_log_normalizer(d: list[Fraction], u: list[Fraction], k: int) -> float:
    """Log of the sum of det(L_Y) over k-subsets in rational arithmetic: the coefficient of z^k, by polynomials."""
    plain, special = [Fraction(1)] + [Fraction(0)] * k, [Fraction(0)] * (k + 1)
    for di, ui in zip(d, u, strict=True):
        for r in range(k, 0, -1):
            special[r] += di * special[r - 1] + ui * ui * plain[r - 1]
            plain[r] += di * plain[r - 1]
    total = plain[k] + special[k]
    return math.log(total.numerator) - math.log(total.denominator)


def subset_masks(count: int, k: int) -> Tensor:
    """All k-subsets of range(count), (S, count)."""
    masks = torch.zeros(math.comb(count, k), count, dtype=torch.bool)
    for row, subset in zip(masks, itertools.combinations(range(count), k), strict=True):
        row[list(subset)] = True
    return masks


def mutants(p: Tensor, k: int, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draws (n, N) from samplers that resemble the k-DPP of the information kernel and are wrong."""
    kernel = information_kernel(p)
    d, u2, count = kernel.diagonal, kernel.factor.square(), len(p)
    masks = subset_masks(count, k)

    def from_law(weight: Tensor) -> Tensor:
        return masks[torch.multinomial(weight, draws, replacement=True, generator=generator)]

    def from_items(items: Tensor) -> Tensor:
        return torch.zeros(len(items), count, dtype=torch.bool).scatter(1, items, True)

    def symmetric(values: Tensor, size: int) -> Tensor:
        chosen = torch.tensor(list(itertools.combinations(range(len(values)), size)), dtype=torch.int64)
        return values[chosen].prod(1).sum()

    # The special item by its own weight, the rest conditioned on their number: each step is sound, and the product is
    # short of the ratio of symmetric polynomials e_{k-1}(d without i) / e_k(d).
    unweighted = torch.zeros(len(masks), dtype=d.dtype)
    for row, mask in enumerate(masks):
        inside = mask.nonzero().flatten()
        unweighted[row] = d[inside].prod() / symmetric(d, k)
        for i in inside:
            others = inside[inside != i]
            rest = torch.cat([d[:i], d[i + 1 :]])
            unweighted[row] += u2[i] * d[others].prod() / symmetric(rest, k - 1)

    squared = DiagonalPlusRankOne(1.0 - p * p.sum() / count**2, p / count)
    fixed = printed.released(count, k=k)
    first_come = [printed.algorithm_1(kernel, k=k, generator=generator) for _ in range(min(draws, 1000))]
    return {
        "special weight without its symmetric polynomial": from_law(unweighted),
        "1/N^2 kernel": from_law(law.enumeration(squared, k=k)[1]),
        "first-come eigenvectors": torch.stack(
            [torch.zeros(count, dtype=torch.bool).index_fill(0, items, True) for items in first_come]
        ),
        "successive sampling": from_items(torch.multinomial(d.expand(draws, -1), k, generator=generator)),
        "no special item": from_law(law.enumeration(DiagonalPlusRankOne(d, torch.zeros_like(d)), k=k)[1]),
        "every trial accepted": _unconditional(kernel, k, draws, generator),
        "uniform": from_law(torch.ones(len(masks), dtype=d.dtype)),
        "fixed subset": from_items(fixed.expand(draws, -1)),
    }


def _unconditional(kernel: DiagonalPlusRankOne, k: int, draws: int, generator: torch.Generator) -> Tensor:
    """Mark, thin and complete without paying, in step 3, for the number of candidates that were there."""
    d, u2 = kernel.diagonal, kernel.factor.square()
    coin, weight = d / (1.0 + d), u2 / (1.0 + d)
    rows = torch.arange(2 * draws)
    candidates = torch.rand(2 * draws, len(d), generator=generator, dtype=d.dtype) < coin / coin.max()
    marked = torch.rand(2 * draws, generator=generator) * (1.0 + weight.sum()) >= 1.0
    mark = torch.multinomial(weight.expand(2 * draws, -1), 1, generator=generator).squeeze(1)
    candidates[rows[marked], mark[marked]] = False
    m = k - marked.long()
    enough = candidates.sum(1) >= m
    key = torch.rand(candidates.shape, generator=generator).where(candidates, torch.tensor(2.0))
    masks = key.argsort(1).argsort(1) < m[:, None]
    masks[rows[marked], mark[marked]] = True
    return masks[enough][:draws]
