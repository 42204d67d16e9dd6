"""One low-rank process for each of many groups of items at once: a class each, among thousands of classes.

Groups of like size are decomposed and drawn together. The rules are those of ``spectral`` and ``projection`` for one.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from longtail.dpp import projection, segments, spectral
from longtail.dpp.kernels import Array, LowRank, indices, numbers
from longtail.dpp.process import sample
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int

__all__ = ["draw", "sample_groups"]

_TOGETHER = 1 << 19  # numbers of the features of groups that are drawn together: they stay in the cache
_ALONE = 1 << 22  # a group of more is drawn by itself


def sample_groups(
    features: Float[Tensor, "M D"] | Array,
    lengths: Int[Tensor, " G"] | Array,
    *,
    k: Int[Tensor, " G"] | Array | None = None,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, " M"]:
    """One exact draw from the low-rank kernel of each group, as ``sample(LowRank(rows), k=k)`` for its rows.

    Use it for many small ground sets, where as many calls of ``sample`` would take several times as long.

    Args:
        features: (M, D), the groups' rows, one group after another.
        lengths: (G,), rows of each group.
        k: (G,), items of each set; None for sets of any size.
        generator: random generator on the CPU or on the features' device; None for torch's default.

    Returns:
        (M,), true where an item is in its group's set, on the features' device.

    Raises:
        InputError: lengths or k are no whole numbers of 0 or more, the lengths do not add up, or k is more than the
            rank of a group.

    Example:
        >>> features = torch.eye(3).repeat(4, 1)  # 4 groups of 3 items
        >>> mask = sample_groups(features, [3] * 4, k=[0, 1, 2, 3], generator=torch.Generator().manual_seed(0))
        >>> mask.view(4, 3).sum(1).tolist()
        [0, 1, 2, 3]
    """
    rows = numbers(features, "features", "M, D")
    lengths = _sizes(lengths, "lengths", rows.device)
    if int(lengths.sum()) != len(rows):
        raise InputError(f"lengths add up to {int(lengths.sum())}, and features have {len(rows)} rows: they must agree")
    sizes = None if k is None else _sizes(k, "k", rows.device)
    if sizes is not None and len(sizes) != len(lengths):
        raise InputError(f"k must hold {len(lengths)} sizes, one for each group, and holds {len(sizes)}")
    mask, ranks = draw(rows, lengths, sizes, generator)
    if sizes is not None and bool((ranks < sizes).any()):
        first = int((ranks < sizes).nonzero()[0])
        raise InputError(
            f"no set of {int(sizes[first])} items of group {first} has positive probability:"
            f" its rank is {int(ranks[first])}"
        )
    return mask


def _sizes(given: Array, name: str, device: torch.device) -> Int[Tensor, " G"]:
    """Numbers of items, one for each group."""
    wanted = "(G,), 0 or more for each group"
    sizes = indices(given, name, wanted, device)
    if sizes.ndim != 1:
        raise InputError(f"{name} has the shape {tuple(sizes.shape)}: give {wanted}")
    if bool((sizes < 0).any()):
        raise InputError(f"{name} has the entry {int(sizes.min())}: give {wanted}")
    return sizes


def draw(
    features: Float[Tensor, "M D"],
    lengths: Int[Tensor, " G"],
    k: Int[Tensor, " G"] | None,
    generator: torch.Generator | None,
) -> tuple[Bool[Tensor, " M"], Int[Tensor, " G"]]:
    """The sets as a mask, and the rank of each group: where it is less than k the group has no set."""
    features = features.detach()
    generator = segments.beside(generator, features.device)
    mask = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    ranks = torch.zeros_like(lengths)
    starts = lengths.cumsum(0) - lengths
    for groups in _alike(lengths, features.shape[1]):
        there = torch.tensor(groups, device=features.device)
        longest = int(lengths[there].max())
        place = starts[there, None] + torch.arange(longest, device=features.device)
        real = torch.arange(longest, device=features.device) < lengths[there, None]
        sizes = None if k is None else k[there]
        if longest * features.shape[1] > _ALONE:
            kernel = LowRank(features[place[0]])
            ranks[there] = len(spectral.spectrum(kernel).values) if sizes is not None else 0
            if sizes is None or int(ranks[there]) >= int(sizes):
                mask[place[0][sample(kernel, k=None if sizes is None else int(sizes), generator=generator)]] = True
            continue
        rows = features[place.clamp(max=len(features) - 1)].to(torch.float64) * real[:, :, None]
        values, vectors = _spectra(rows, lengths[there])
        ranks[there] = rank = (values > 0).sum(1)
        chosen = _choose(values, rank, sizes, generator)
        count = chosen.sum(1)
        most = int(count.max())
        order = chosen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
        columns = vectors.gather(2, order[:, None, :].expand(-1, longest, -1)) * chosen.gather(1, order)[:, None, :]
        mask[place[real]] = projection.chain(columns, count, generator)[real]
    return mask, ranks


def _alike(lengths: Int[Tensor, " G"], width: int) -> Iterator[list[int]]:
    """Groups to be drawn together: of one size while it is below D, of sizes within a quarter above."""
    order = lengths.argsort().tolist()
    sizes = lengths.tolist()
    bunch: list[int] = []
    for group in order:
        size = sizes[group]
        if size == 0:
            continue
        first = sizes[bunch[0]] if bunch else size
        apart = size != first if first < width else size > 1.25 * first
        if bunch and (apart or (len(bunch) + 1) * size * width > _TOGETHER):
            yield bunch
            bunch = []
        bunch.append(group)
    if bunch:
        yield bunch


def _spectra(
    rows: Float[Tensor, "g n D"], lengths: Int[Tensor, " g"]
) -> tuple[Float[Tensor, "g r"], Float[Tensor, "g n r"]]:
    """Eigenvalues, 0 where they are 0 to rounding, and eigenvectors."""
    _, count, width = rows.shape
    wide = count < width
    gram = torch.bmm(rows, rows.mT) if wide else torch.bmm(rows.mT, rows)
    values, vectors = torch.linalg.eigh(gram)
    turned = torch.bmm(rows.mT if wide else rows, vectors)
    singular = turned.square().sum(1).sqrt()
    most = values[:, -1:].clamp(min=0.0)
    good = values * spectral.CONDITION > most
    nothing = singular <= max(count, width) * torch.finfo(singular.dtype).eps * most.sqrt()
    if not wide:
        vectors = turned / torch.where(nothing, 1.0, singular)[:, None, :]
    values = torch.where(good, singular.square(), 0.0)
    # Eigenvalues that are neither large enough to be exact nor 0 to rounding need the other factorisation.
    for one in (~(good | nothing).all(1)).nonzero().squeeze(1).tolist():
        length = int(lengths[one])
        found = spectral.spectrum(LowRank(rows[one, :length]))
        rank = len(found.values)
        values[one] = 0.0
        values[one, :rank] = found.values
        vectors[one, :length, :rank] = found.vectors()
    return values, vectors


def _choose(
    values: Float[Tensor, "g r"],
    rank: Int[Tensor, " g"],
    k: Int[Tensor, " g"] | None,
    generator: torch.Generator | None,
) -> Bool[Tensor, "g r"]:
    """The eigenvectors of each group: independent coins lambda / (1 + lambda), given that k show heads where k is."""
    positive = values > 0
    if k is None:
        coins = torch.rand(values.shape, dtype=values.dtype, device=values.device, generator=generator)
        return coins * (1.0 + values) < values
    chosen = positive & (k == rank)[:, None]
    open_ = (k > 0) & (k < rank)
    if bool(open_.any()):
        places = positive & open_[:, None]
        d = values[places]
        prepared = segments.prepare(d, torch.zeros_like(d), rank[open_], k[open_])
        chosen[places] = segments.draw(prepared, generator)
    return chosen
