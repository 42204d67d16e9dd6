"""Subsets of each class that cover what its items look like: drawn at random, or the greedy best."""

from __future__ import annotations

from typing import SupportsIndex, cast

import torch
from torch import Tensor

from longtail.dpp import groups, maximum
from longtail.dpp.kernels import Array, LowRank, indices, numbers, whole
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int

__all__ = ["diverse", "greedy"]


def diverse(
    features: Array,
    target: Array,
    *,
    k: SupportsIndex | Array,
    quality: Array | None = None,
    generator: torch.Generator | None,
) -> Int[Tensor, " n"]:
    r"""One exact k-DPP per class by what its items look like; classes of at most k items whole.

    .. math:: P(Y_c) \propto \det(L_{Y_c}), \quad L_{ij} = q_i q_j \cos(f_i, f_j)

    Items that resemble one another are seldom drawn together. Use it where a random subset is wanted that wastes no
    place on near-duplicates.

    Args:
        features: (N, D); of a row the direction counts, its length does not.
        target: (N,), the classes, 0 and above.
        k: items per class, a number or one for each class; at most the rank of the class's features, hence at most D.
        quality: (N,), 0 or more; how much each item is wanted. None for all alike.
        generator: a generator on the CPU or on the features' device; None for torch's default.

    Returns:
        Indices into ``target``, ascending, each at most once.

    Raises:
        InputError: lengths differ, a quality is negative, or classes have features of too low a rank (they are named).

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # the first two are twins
        >>> index = diverse(features, [0, 0, 0, 1], k=2, generator=torch.Generator().manual_seed(0))
        >>> len(index), 2 in index.tolist(), 3 in index.tolist()
        (3, True, True)
    """
    rows, target, wanted = _checked(features, target, quality)
    counts, sizes = counts_and_sizes(target, k)
    order = target.argsort(stable=True)
    partial = (sizes > 0) & (sizes < counts)
    index = order[torch.repeat_interleave(sizes == counts, counts)]
    drawn = order[torch.repeat_interleave(partial, counts)]
    if len(drawn):
        scale = None if wanted is None else wanted[drawn]
        chosen = spread(rows[drawn], scale, counts[partial], sizes[partial], partial.nonzero().squeeze(1), generator)
        index = torch.cat([index, drawn[chosen]])
    return index.sort().values


def greedy(
    features: Array, target: Array, *, k: SupportsIndex | Array, quality: Array | None = None
) -> Int[Tensor, " n"]:
    """Of each class the greedy set of ``longtail.dpp.greedy`` for the kernel of ``diverse``: no randomness.

    Use it where one best subset is wanted, and the same one each time.

    Args:
        features: (N, D); of a row the direction counts, its length does not.
        target: (N,), the classes, 0 and above.
        k: items per class, a number or one for each class.
        quality: (N,), 0 or more; how much each item is wanted. None for all alike.

    Returns:
        Indices into ``target``, ascending, each at most once.

    Raises:
        InputError: as for ``diverse``.

    Example:
        >>> greedy([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 0, 0], k=2).tolist()
        [0, 2]
    """
    rows, target, wanted = _checked(features, target, quality)
    counts, sizes = counts_and_sizes(target, k)
    order = target.argsort(stable=True)
    index = []
    parts = torch.split(order, counts.tolist())
    for name, (part, size) in enumerate(zip(parts, sizes.tolist(), strict=True)):
        if size == len(part):
            index.append(part)
            continue
        kernel = LowRank(_directions(rows[part], None if wanted is None else wanted[part]))
        try:
            index.append(part[maximum.greedy(kernel, k=size)])
        except InputError as error:
            raise InputError(f"class {name}: {error}") from None
    return torch.cat(index).sort().values if index else order


def spread(
    features: Float[Tensor, "M D"],
    quality: Float[Tensor, " M"] | None,
    lengths: Int[Tensor, " G"],
    k: Int[Tensor, " G"],
    names: Int[Tensor, " G"],
    generator: torch.Generator | None,
) -> Bool[Tensor, " M"]:
    """One k-DPP with the kernel q_i q_j cos(f_i, f_j) for each run of items; ``names`` are the runs' classes."""
    chosen, rank = groups.draw(_directions(features, quality), lengths, k, generator)
    short = (rank < k).nonzero().squeeze(1).tolist()
    if short:
        told = "; ".join(
            f"class {int(names[g])} wants {int(k[g])} items, and its features have rank {int(rank[g])}"
            for g in short[:5]
        )
        more = f"; and {len(short) - 5} more classes" if len(short) > 5 else ""
        raise InputError(
            f"{told}{more}: too few to be diverse; take k at most {int(rank[short].min())}, or wider features"
        )
    return chosen


def labels(target: Array) -> Int[Tensor, " N"]:
    """The classes as whole numbers, from a tensor, an array or a list."""
    try:
        found = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError("target is no array: give whole numbers, (N,), the class of each item") from None
    if found.ndim != 1 or (len(found) and (found.is_floating_point() or found.is_complex())):
        raise InputError(f"target has shape {tuple(found.shape)} and {found.dtype}: give whole numbers, (N,)")
    return found.to(torch.int64)


def counts_and_sizes(
    target: Int[Tensor, " N"], k: SupportsIndex | Array
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Items of each class, and how many of them to take."""
    if len(target) and int(target.min()) < 0:
        raise InputError(f"target has the label {int(target.min())}: labels are 0 and above")
    counts = torch.bincount(target)
    if isinstance(k, SupportsIndex) and getattr(k, "ndim", 0) == 0:
        wanted = torch.tensor(whole(k), device=counts.device)
    else:
        wanted = indices(cast("Array", k), "k", "a whole number of items, or one for each class", counts.device)
        if wanted.ndim != 1:
            raise InputError(f"k is {k!r}: give a whole number of items, or one for each class")
        if len(wanted) < len(counts):
            raise InputError(
                f"k has {len(wanted)} entries, and target has the label {len(counts) - 1}: give one per class"
            )
        counts = torch.nn.functional.pad(counts, (0, len(wanted) - len(counts)))
    wanted = wanted.to(counts.dtype).expand(len(counts))
    if len(wanted) and int(wanted.min()) < 0:
        raise InputError(f"k is {int(wanted.min())}: a class gives 0 or more items")
    return counts, torch.minimum(wanted, counts)


def _directions(features: Float[Tensor, "M D"], quality: Float[Tensor, " M"] | None) -> Float[Tensor, "M D"]:
    directions = torch.nn.functional.normalize(features.to(torch.float64), dim=1)
    return directions if quality is None else directions * quality[:, None]


def _checked(features: Array, target: Array, quality: Array | None) -> tuple[Tensor, Tensor, Tensor | None]:
    rows, classes = numbers(features, "features", "N, D").detach(), labels(target)
    wanted = None if quality is None else numbers(quality, "quality", "N").detach().to(torch.float64)
    for name, values in (("features", rows), ("quality", wanted)):
        if values is not None and len(values) != len(classes):
            raise InputError(f"{name} has {len(values)} rows and target {len(classes)}: give one for each item")
    if wanted is not None and not bool(((wanted >= 0) & wanted.isfinite()).all()):
        wrong = int((~((wanted >= 0) & wanted.isfinite())).nonzero()[0])
        raise InputError(f"quality[{wrong}] is {float(wanted[wrong])}: every value must be finite and not negative")
    if not bool(rows.isfinite().all()):
        wrong = int((~rows.isfinite().all(1)).nonzero()[0])
        raise InputError(f"features[{wrong}] has an entry that is not finite")
    return rows, classes, wanted
