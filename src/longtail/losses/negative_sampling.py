"""Negative sampling and balanced negative sampling: two views of an image against the other views of a batch.

Every loss here costs one similarity product per batch. The product is walked through in blocks of ``chunk`` rows, and
with ``chunk=None`` in one block; a block is recomputed in the backward pass instead of being kept.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from longtail.errors import InputError
from longtail.losses.labels import check_one_class
from longtail.shapes import Bool, Float, Int

__all__ = [
    "BalancedTerms",
    "balanced_negative_sampling",
    "balanced_negative_sampling_terms",
    "negative_sampling",
    "released_balanced_negative_sampling",
]


class BalancedTerms(NamedTuple):
    """The two parts of Eq. 12; they add up to the loss."""

    instance: Float[Tensor, " N"]
    """The term with q* = q_i, divided by the number of q*."""
    classes: Float[Tensor, " N"]
    """The terms with q* = q_k of the same class, divided by the number of q*; 0 where there is no such q_k."""

    @property
    def total(self) -> Float[Tensor, " N"]:
        """The loss of Eq. 12."""
        return self.instance + self.classes


def negative_sampling(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "M D"],
    target: Int[Tensor, " N"],
    *,
    temperature: float,
    key_target: Int[Tensor, " M"] | None = None,
    own: Int[Tensor, " N"] | None = None,
    chunk: int | None = None,
) -> Float[Tensor, " N"]:
    r"""Negative sampling: the other view of an image against every view with another label (Eq. 11).

    .. math:: \ell_i = -\log\sigma(q_i \cdot v_i^+ / \tau)
        - \sum_{j:\, y_j \neq y_i} \log\sigma(-q_i \cdot v_j^- / \tau)

    Use it as the control of :func:`balanced_negative_sampling`. The negatives are summed, not averaged. An anchor with
    no negative in the batch keeps its first term alone. The arithmetic is in float32 at least, whatever the features
    come in.

    Args:
        queries: (N, D) the anchors' Q views, of any length: rows are scaled to length 1 here.
        keys: (M, D) the V views, scaled in the same way. M = N, row for row, unless ``key_target`` and ``own`` say
            otherwise (V views gathered from several processes).
        target: (N,) labels of the anchors.
        temperature: divisor tau of the similarities, above 0.
        key_target: (M,) labels of the keys; ``target`` when absent.
        own: (N,) which key is the anchor's own other view; ``0 .. N - 1`` when absent.
        chunk: rows of the similarity matrix held at a time: memory O(M chunk). Absent: all N.

    Returns:
        (N,) losses in nats.

    Raises:
        InputError: a temperature or chunk out of range, or keys that cannot be paired with the anchors.

    Example:
        >>> views = torch.eye(3)
        >>> negative_sampling(views, views, torch.tensor([0, 1, 2]), temperature=0.5)  # softplus(-2) + 2 softplus(0)
        tensor([1.5132, 1.5132, 1.5132])

    References:
        Lin & Yuan, Long-Tailed Recognition via Information-Preservable Two-Stage Learning, NeurIPS 2025, Eq. 11.
    """
    batch = _pair(queries, keys, target, key_target, own, temperature)

    def rows(queries: Tensor, keys: Tensor, start: int) -> tuple[Tensor, ...]:
        part = slice(start, start + queries.shape[0])
        other = batch.target[part, None] != batch.key_target
        surprise = _surprise(queries, keys, other, temperature)
        return (_own(surprise, batch.own[part]) + (surprise * other).sum(1),)

    with _full_precision(queries):
        blocks = _by_rows(rows, batch.queries, batch.keys, chunk)
        return torch.cat([block[0] for block in blocks])


def balanced_negative_sampling(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "M D"],
    target: Int[Tensor, " N"],
    *,
    temperature: float,
    positives: int | None = None,
    negatives: int | None = None,
    generator: torch.Generator | None = None,
    key_target: Int[Tensor, " M"] | None = None,
    own: Int[Tensor, " N"] | None = None,
    chunk: int | None = None,
) -> Float[Tensor, " N"]:
    r"""Balanced negative sampling: negative sampling shared among the images of a class (Eq. 12).

    .. math:: \ell_i = -\frac{1}{m_i + 1} \sum_{q^* \in \{q_i\} \cup Q^+_{i,m}} \Big[ \log\sigma(q^* \cdot v_i^+ / \tau)
        + \sum_{j=1}^{n} \log\sigma(-q^* \cdot v_j^- / \tau) \Big]

    Use it to pre-train a representation on long-tailed data with labels. :math:`Q^+_{i,m}` holds the Q views of other
    images of the class; all q* of an anchor meet the anchor's own other view and the anchor's negatives. The paper
    leaves open what follows.

    * An anchor with fewer than m partners in the batch uses those there are, and :math:`m_i` is their number: the
      loss is the mean over the q* that exist. Without a partner it is the loss of Eq. 11.
    * An anchor with fewer than n negatives sums over those there are; the sum is not scaled up.
    * Drawn sets are uniform for every anchor: m partners, and n negatives, without replacement. They are windows of
      one random cyclic order per batch, so every partner is drawn equally often, and anchors of one class share their
      negatives: Eq. 12 then needs one product per batch, and a draw needs O(N + M) random numbers.

    Args:
        queries: (N, D) the anchors' Q views, of any length: rows are scaled to length 1 here.
        keys: (M, D) the V views, scaled in the same way. M = N, row for row, unless ``key_target`` and ``own`` say
            otherwise (V views gathered from several processes).
        target: (N,) labels of the anchors.
        temperature: divisor tau of the similarities, above 0.
        positives: m, the extra images of the same class per anchor; absent: all in the batch. 0 is Eq. 11.
        negatives: n, the negatives per anchor; absent: all in the batch.
        generator: where the draws of ``positives`` and ``negatives`` come from, on the device of the features;
            absent: torch's default generator. Not used when both are absent.
        key_target: (M,) labels of the keys; ``target`` when absent.
        own: (N,) which key is the anchor's own other view; ``0 .. N - 1`` when absent.
        chunk: rows of the similarity matrix held at a time: memory O((N + M) chunk). Absent: all N.

    Returns:
        (N,) losses in nats.

    Raises:
        InputError: a number out of range, or keys that cannot be paired with the anchors.

    Example:
        >>> views = torch.eye(3)
        >>> balanced_negative_sampling(views, views, torch.tensor([0, 0, 1]), temperature=0.5)
        tensor([1.1032, 1.1032, 1.5132])
        >>> generator = torch.Generator().manual_seed(0)
        >>> balanced_negative_sampling(
        ...     views, views, torch.tensor([0, 0, 1]), temperature=0.5, negatives=1, generator=generator
        ... )
        tensor([1.1032, 1.1032, 0.8201])

    References:
        Lin & Yuan, Long-Tailed Recognition via Information-Preservable Two-Stage Learning, NeurIPS 2025, Eq. 12.
    """
    return balanced_negative_sampling_terms(
        queries,
        keys,
        target,
        temperature=temperature,
        positives=positives,
        negatives=negatives,
        generator=generator,
        key_target=key_target,
        own=own,
        chunk=chunk,
    ).total


def balanced_negative_sampling_terms(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "M D"],
    target: Int[Tensor, " N"],
    *,
    temperature: float,
    positives: int | None = None,
    negatives: int | None = None,
    generator: torch.Generator | None = None,
    key_target: Int[Tensor, " M"] | None = None,
    own: Int[Tensor, " N"] | None = None,
    chunk: int | None = None,
) -> BalancedTerms:
    r"""The instance-level and the class-level part of balanced negative sampling (Eq. 12), for logging or weighting.

    .. math:: \ell_i = \frac{\ell(q_i)}{m_i + 1} + \sum_{q_k \in Q^+_{i,m}} \frac{\ell(q_k)}{m_i + 1}, \quad
        \ell(q^*) = -\log\sigma(q^* \cdot v_i^+ / \tau) - \sum_{j=1}^{n} \log\sigma(-q^* \cdot v_j^- / \tau)

    Args:
        queries: (N, D) the anchors' Q views; see :func:`balanced_negative_sampling` for this and all other arguments.
        keys: (M, D) the V views.
        target: (N,) labels of the anchors.
        temperature: divisor tau of the similarities, above 0.
        positives: m, the extra images of the same class per anchor; absent: all in the batch.
        negatives: n, the negatives per anchor; absent: all in the batch.
        generator: random generator of the draws, on the device of the features.
        key_target: (M,) labels of the keys.
        own: (N,) which key is the anchor's own other view.
        chunk: rows of the similarity matrix held at a time.

    Returns:
        Two tensors (N,) in nats, which add up to :func:`balanced_negative_sampling`, computed together.

    Raises:
        InputError: a number out of range, or keys that cannot be paired with the anchors.

    Example:
        >>> views = torch.eye(3)
        >>> terms = balanced_negative_sampling_terms(views, views, torch.tensor([0, 0, 1]), temperature=0.5)
        >>> terms.instance
        tensor([0.4100, 0.4100, 1.5132])
        >>> terms.classes
        tensor([0.6931, 0.6931, 0.0000])

    References:
        Lin & Yuan, Long-Tailed Recognition via Information-Preservable Two-Stage Learning, NeurIPS 2025, Eq. 12.
    """
    if positives is not None and positives < 0:
        raise InputError(f"positives is {positives}: give the number of extra images of the class, 0 or more")
    if negatives is not None and negatives < 1:
        raise InputError(f"negatives is {negatives}: give the number of negatives per anchor, 1 or more")
    batch = _pair(queries, keys, target, key_target, own, temperature)
    partners = None if positives is None else _partners(batch.target, positives, generator)
    window = None
    if negatives is not None:
        # In a random order of the keys, the first n negatives met from any place that the order does not depend on
        # are a uniform draw. Spreading these places by class keeps a batch from using the same n keys throughout.
        batch = batch.shuffled(generator)
        below = torch.searchsorted(batch.target.sort().values, batch.target)
        window = below * batch.keys.shape[0] // batch.queries.shape[0]
    anchors = torch.arange(batch.target.shape[0], device=batch.target.device)

    def rows(queries: Tensor, keys: Tensor, start: int) -> tuple[Tensor, ...]:
        part = slice(start, start + queries.shape[0])
        other = batch.target[part, None] != batch.key_target
        surprise = _surprise(queries, keys, other, temperature)
        against = other if window is None or negatives is None else _window(other, window[part], negatives)
        rejection = (surprise * against).sum(1)
        if partners is None:
            helps = (batch.target[part, None] == batch.target) & (anchors[part, None] != anchors)
        else:
            helps = _helped_by(partners, start, queries.shape[0])
        weight = helps.to(surprise.dtype)
        attraction = (surprise if batch.paired else surprise[:, batch.own]) * weight
        return (
            _own(surprise, batch.own[part]) + rejection,
            attraction.sum(0) + rejection @ weight,
            weight.sum(0),
        )

    with _full_precision(queries):
        blocks = _by_rows(rows, batch.queries, batch.keys, chunk)
        share = 1 / (1 + functools.reduce(torch.add, [block[2] for block in blocks]))
        return BalancedTerms(
            instance=torch.cat([block[0] for block in blocks]) * share,
            classes=functools.reduce(torch.add, [block[1] for block in blocks]) * share,
        )


def released_balanced_negative_sampling(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    temperature: float = 0.5,
    chunk: int | None = None,
) -> Float[Tensor, " N"]:
    r"""The loss that the paper's released code computes, which is not Eq. 12: kept for comparison under its own name.

    .. math:: \ell_a = -\log\sigma\Big(\operatorname*{mean}_{b \neq a:\, y_b = y_a} e^{z_a \cdot z_b / \tau}\Big)
        - \log\sigma\Big(-\frac{1}{2N} \sum_{b:\, y_b \neq y_a} e^{z_a \cdot z_b / \tau}\Big)

    over all 2N views :math:`z`, each of them an anchor; an image's loss is the mean of its two views' losses. The
    exponential inside the sigmoid bounds the positive term: at :math:`\tau = 0.5` two opposed views of one image cost
    0.63 nats (Eq. 12: 2.13) and two orthogonal ones 0.31 (0.69). An anchor without negatives pays the constant
    :math:`\log 2` for its second term, which has no gradient.

    Args:
        queries: (N, D) the Q views, of any length: rows are scaled to length 1 here.
        keys: (N, D) the V views of the same images, scaled in the same way.
        target: (N,) class numbers.
        temperature: divisor tau of the similarities, above 0. The exponentials overflow float32 below about 0.012.
        chunk: rows of the (2N, 2N) similarity matrix held at a time: memory O(N chunk). Absent: all.

    Returns:
        (N,) losses in nats.

    Raises:
        InputError: a temperature or chunk out of range, or views of unequal number.

    Example:
        >>> views = torch.eye(2)
        >>> released_balanced_negative_sampling(views, -views, torch.tensor([0, 1]))  # 0.6277 + softplus(0.5)
        tensor([1.6018, 1.6018])

    References:
        Lin & Yuan, Long-Tailed Recognition via Information-Preservable Two-Stage Learning, NeurIPS 2025: released code.
    """
    if queries.shape[0] != keys.shape[0]:
        raise InputError(f"{queries.shape[0]} queries but {keys.shape[0]} keys: give one of each per image")
    batch = _pair(queries, keys, target, None, None, temperature)
    views, label = torch.cat([batch.queries, batch.keys]), batch.target.repeat(2)
    anchors = torch.arange(label.shape[0], device=label.device)

    def rows(queries: Tensor, keys: Tensor, start: int) -> tuple[Tensor, ...]:
        part = slice(start, start + queries.shape[0])
        same = label[part, None] == label
        partner = same & (anchors[part, None] != anchors)
        weight = (queries @ keys.T / temperature).exp()
        positive = (weight * partner).sum(1) / partner.sum(1)
        negative = (weight * ~same).sum(1) / label.shape[0]
        return (-functional.logsigmoid(positive) - functional.logsigmoid(-negative),)

    with _full_precision(queries):
        blocks = _by_rows(rows, views, views, chunk)
        return torch.cat([block[0] for block in blocks]).view(2, -1).mean(0)


class _Batch(NamedTuple):
    queries: Tensor
    keys: Tensor
    target: Tensor
    key_target: Tensor
    own: Tensor
    paired: bool
    """Whether key i is the own view of anchor i."""

    def shuffled(self, generator: torch.Generator | None) -> _Batch:
        """The same batch with its keys in a random order."""
        order = _random_order(self.keys.shape[0], self.keys.device, generator)
        return self._replace(
            keys=self.keys.index_select(0, order),
            key_target=self.key_target[order],
            own=order.argsort()[self.own],
            paired=False,
        )


def _pair(
    queries: Tensor,
    keys: Tensor,
    target: Tensor,
    key_target: Tensor | None,
    own: Tensor | None,
    temperature: float,
) -> _Batch:
    if temperature <= 0:
        raise InputError(f"temperature is {temperature}: it must be above 0")
    anchors, others = queries.shape[0], keys.shape[0]
    if target.shape[0] != anchors:
        raise InputError(f"{anchors} queries but {target.shape[0]} targets: give one label per query")
    if anchors != others and (key_target is None or own is None):
        raise InputError(
            f"{anchors} queries but {others} keys: give key_target and own, the keys' labels and each query's own key"
        )
    if key_target is not None and key_target.shape[0] != others:
        raise InputError(f"{others} keys but {key_target.shape[0]} labels in key_target: give one label per key")
    check_one_class(target, anchors)
    return _Batch(
        queries=_unit(queries),
        keys=_unit(keys),
        target=target,
        key_target=target if key_target is None else key_target,
        own=torch.arange(anchors, device=target.device) if own is None else own,
        paired=own is None,
    )


def _unit(features: Tensor) -> Tensor:
    """Rows scaled to length 1, in float32 at least: half precision would lose the similarities of close views."""
    return functional.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=1)


def _full_precision(features: Tensor) -> contextlib.AbstractContextManager[object]:
    """No autocast: it would turn the similarity product back to half precision. The meta device knows no autocast."""
    kind = features.device.type
    return contextlib.nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


def _by_rows(
    rows: Callable[[Tensor, Tensor, int], tuple[Tensor, ...]], queries: Tensor, keys: Tensor, chunk: int | None
) -> list[tuple[Tensor, ...]]:
    """What ``rows`` gives for every block of queries; with blocks, each is recomputed where its gradient is needed."""
    if chunk is None:
        return [rows(queries, keys, 0)]
    if chunk < 1:
        raise InputError(f"chunk is {chunk}: give the number of rows per block, 1 or more")
    return [
        checkpoint(rows, block, keys, index * chunk, use_reentrant=False, preserve_rng_state=False)
        for index, block in enumerate(torch.split(queries, chunk))
    ]


def _surprise(queries: Tensor, keys: Tensor, other: Tensor, temperature: float) -> Tensor:
    """-log sigma(s) where the labels agree and -log sigma(-s) where they differ: no entry is needed with both signs."""
    similarity = queries @ keys.T / temperature
    return -functional.logsigmoid(torch.where(other, -similarity, similarity))


def _own(surprise: Tensor, own: Tensor) -> Tensor:
    return surprise.gather(1, own[:, None]).squeeze(1)


def _random_order(size: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    # Doubles do not tie, so that every order is equally likely.
    return torch.rand(size, generator=generator, device=device, dtype=torch.float64).argsort()


def _window(other: Bool[Tensor, "C M"], start: Int[Tensor, " C"], count: int) -> Bool[Tensor, "C M"]:
    """The first ``count`` entries of each row that are true, met from ``start`` on and round the end."""
    met = other.cumsum(1, dtype=torch.int32)
    before_start = torch.where(start > 0, met.gather(1, (start - 1).clamp(min=0)[:, None]).squeeze(1), 0)
    wrapped = torch.arange(other.shape[1], device=other.device) < start[:, None]
    met = met - before_start[:, None] + torch.where(wrapped, met[:, -1:], 0)
    return other & (met <= count)


class _Partners(NamedTuple):
    row: Tensor
    """(N, m) the rows of each anchor's extra positives."""
    exists: Tensor
    """(N, m) false where the class has fewer; the row is then of no meaning."""


def _partners(target: Tensor, count: int, generator: torch.Generator | None) -> _Partners:
    """The ``count`` anchors that follow each anchor in a random cyclic order of its class."""
    size = target.shape[0]
    order = _random_order(size, target.device, generator)
    order = order[target[order].argsort(stable=True)]
    label = target[order]
    first = torch.searchsorted(label, target)
    length = torch.searchsorted(label, target, right=True) - first
    step = torch.arange(1, min(count, size - 1) + 1, device=target.device)
    place = (order.argsort() - first)[:, None] + step
    return _Partners(order[first[:, None] + place % length[:, None]], step < length[:, None])


def _helped_by(partners: _Partners, start: int, rows: int) -> Bool[Tensor, "C N"]:
    """Whether row ``start + r`` is among the partners of each anchor."""
    place = partners.row - start
    inside = partners.exists & (place >= 0) & (place < rows)
    size = partners.row.shape[0]
    found = torch.zeros(size, rows, dtype=torch.int8, device=place.device)
    return found.scatter_add(1, place.clamp(0, rows - 1), inside.to(torch.int8)).T > 0
