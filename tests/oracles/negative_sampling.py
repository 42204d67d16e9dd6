"""Negative sampling written out term by term in float64, and the ways of writing it wrongly."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def positive_term(s: Tensor) -> Tensor:
    return (1 + (-s).exp()).log()


def negative_term(s: Tensor) -> Tensor:
    return (1 + s.exp()).log()


def total(terms: Sequence[Tensor]) -> Tensor:
    return sum(terms, torch.zeros((), dtype=torch.float64))


def average(terms: Sequence[Tensor]) -> Tensor:
    return total(terms) / max(len(terms), 1)


def unit(row: Tensor) -> Tensor:
    return row / (row * row).sum().sqrt()


def balanced_negative_sampling(
    queries: Tensor,
    keys: Tensor,
    target: Tensor,
    *,
    temperature: float,
    partners: Sequence[Sequence[int]] | None = None,
    negatives: Sequence[Sequence[int]] | None = None,
    key_target: Tensor | None = None,
    own: Sequence[int] | None = None,
    # What follows exists to be got wrong.
    attract: Callable[[Tensor], Tensor] = positive_term,
    repel: Callable[[Tensor], Tensor] = negative_term,
    over_negatives: Callable[[Sequence[Tensor]], Tensor] = total,
    over_queries: Callable[[Sequence[Tensor]], Tensor] = average,
    scale: Callable[[Tensor], Tensor] = unit,
    itself: bool = True,
    own_is_negative: bool = False,
    class_is_negative: bool = False,
    negatives_from_queries: bool = False,
    partners_meet_their_own_view: bool = False,
    partners_from_keys: bool = False,
) -> Tensor:
    """Eq. 12 for given sets: ``partners[i]`` rows of ``queries``, ``negatives[i]`` rows of ``keys``; absent: all."""
    q = [scale(row) for row in queries.double()]
    v = [scale(row) for row in keys.double()]
    label = target.tolist()
    other = label if key_target is None else key_target.tolist()
    place = list(range(len(q))) if own is None else list(own)
    losses = []
    for i in range(len(q)):
        helpers = [k for k in range(len(q)) if label[k] == label[i] and k != i] if partners is None else partners[i]
        against = [j for j in range(len(v)) if other[j] != label[i]] if negatives is None else list(negatives[i])
        if own_is_negative:
            against = [*against, place[i]]
        if class_is_negative:
            against = [j for j in range(len(v)) if j != place[i]]
        pool = q if negatives_from_queries else v
        source = v if partners_from_keys else q
        stars = ([(i, q[i])] if itself else []) + [(k, source[k]) for k in helpers]
        losses.append(
            over_queries(
                [
                    attract(star @ v[place[k if partners_meet_their_own_view else i]] / temperature)
                    + over_negatives([repel(star @ pool[j] / temperature) for j in against])
                    for k, star in stars
                ]
            )
        )
    return torch.stack(losses)


def negative_sampling(
    queries: Tensor, keys: Tensor, target: Tensor, *, temperature: float, **options: object
) -> Tensor:
    """Eq. 11: Eq. 12 in which every anchor is alone."""
    alone: list[list[int]] = [[] for _ in target]
    return balanced_negative_sampling(
        queries,
        keys,
        target,
        temperature=temperature,
        partners=alone,
        **options,  # type: ignore[arg-type]
    )


def released(queries: Tensor, keys: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """The released form: exponentials averaged inside the sigmoid, over the views of both kinds."""
    z = [unit(row) for row in torch.cat([queries, keys]).double()]
    label = target.tolist() * 2
    size = len(target)
    losses = []
    for a in range(2 * size):
        s = [torch.exp(z[a] @ z[b] / temperature) for b in range(2 * size)]
        positive = average([s[b] for b in range(2 * size) if b != a and label[b] == label[a]])
        negative = total([s[b] for b in range(2 * size) if label[b] != label[a]]) / (2 * size)
        losses.append(positive_term(positive) + negative_term(negative))
    return torch.stack([(losses[i] + losses[i + size]) / 2 for i in range(size)])


def _mutant(**change: object) -> Callable[..., Tensor]:
    return functools.partial(balanced_negative_sampling, **change)  # type: ignore[arg-type]


MUTANTS: dict[str, Callable[..., Tensor]] = {
    "mean over the negatives instead of their sum": _mutant(over_negatives=average),
    "exponential inside the sigmoid": _mutant(
        attract=lambda s: positive_term(s.exp()), repel=lambda s: negative_term(s.exp())
    ),
    "own view counted among the negatives": _mutant(own_is_negative=True),
    "views of the class counted among the negatives": _mutant(class_is_negative=True),
    "sum over q* without the division by m + 1": _mutant(over_queries=total),
    "division by m": _mutant(over_queries=lambda terms: total(terms) / max(len(terms) - 1, 1)),
    "anchor left out of its q*": _mutant(itself=False),
    "partners meet their own other view": _mutant(partners_meet_their_own_view=True),
    "partners from the V view": _mutant(partners_from_keys=True),
    "negatives from the Q view": _mutant(negatives_from_queries=True),
    "features of any length": _mutant(scale=lambda row: row),
    "sign of the negatives forgotten": _mutant(repel=positive_term),
    "softmax over the negatives": _mutant(over_negatives=lambda terms: torch.logsumexp(torch.stack([*terms]), 0)),
}


def pairwise(queries: Tensor, keys: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """Eq. 12 as it is often written: a cosine similarity broadcast to (N, N, D)."""
    s = torch.nn.functional.cosine_similarity(queries[:, None], keys[None], dim=-1) / temperature
    same = (target[:, None] == target).to(s.dtype)
    rejection = (torch.nn.functional.softplus(s) * (1 - same)).sum(1)
    return (same * (torch.nn.functional.softplus(-s) + rejection[:, None])).sum(0) / same.sum(0)
