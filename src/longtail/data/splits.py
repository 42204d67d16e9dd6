"""Which images a long-tailed subset and a held-out split consist of, drawn from isolated generators.

The generator is NumPy's legacy ``RandomState``: its streams are frozen, and the subsets of CIFAR that everyone compares
on were drawn from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.counts import class_counts
from longtail.errors import InputError
from longtail.shapes import Int

LARGEST_SEED = 2**32 - 1


def long_tailed_index(
    target: Int[Tensor, " N"], counts: Int[Tensor, " K"], *, seed: int, class_names: Sequence[str]
) -> Int[Tensor, " n"]:
    """The de-facto index list of a long-tailed subset (that of LDAM's code).

    For each class in turn: its images in the order of the original list are shuffled in place by one legacy NumPy
    generator that starts from ``seed``, and the first ``counts[c]`` are kept. Which images a class keeps therefore
    depends on the sizes of the full classes before it, but not on ``counts``: subsets of one seed are nested.

    Args:
        target: (N,) classes of the original list.
        counts: (K,) images wanted of each class.
        seed: 0 is the one that everyone uses.
        class_names: K names, for the error messages.

    Returns:
        (n,) indices into the original list, class after class, each class in its shuffled order.

    Raises:
        InputError: a class would be left without images, or has fewer than are wanted; a seed that is not one.

    Example:
        >>> target = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> long_tailed_index(target, torch.tensor([3, 1]), seed=0, class_names=["head", "tail"])
        tensor([2, 1, 0, 5])

    References:
        Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss*, NeurIPS 2019, code.
    """
    available = class_counts(target, len(counts))
    empty = torch.nonzero(counts < 1).flatten().tolist()
    if empty:
        others = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise InputError(
            f"class {class_names[empty[0]]!r}{others} would be left without images: the largest class has "
            f"{int(counts.max())}, so the imbalance can be at most about that"
        )
    short = torch.nonzero(counts > available).flatten().tolist()
    if short:
        raise InputError(
            f"class {class_names[short[0]]!r} has {int(available[short[0]])} images, {int(counts[short[0]])} are wanted"
        )
    generator = random_state(seed)
    kept = []
    for members, wanted in zip(_members(target, available), counts.tolist(), strict=True):
        generator.shuffle(members)
        kept.append(members[:wanted])
    return torch.from_numpy(np.concatenate(kept))


def held_out(
    target: Int[Tensor, " N"], sizes: Int[Tensor, " K"], *, seed: int | Sequence[int]
) -> tuple[Int[Tensor, " rest"], Int[Tensor, " held"]]:
    """Positions that stay and positions that are held out, ``sizes[c]`` random ones of each class.

    Args:
        target: (N,) classes.
        sizes: (K,) how many of each class to hold out, at most as many as there are.
        seed: of an isolated legacy NumPy generator.

    Returns:
        The rest and the held-out positions, both ascending; together they are 0..N-1, each once.

    Example:
        >>> rest, held = held_out(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 1]), seed=0)
        >>> rest, held
        (tensor([0, 1, 4]), tensor([2, 3]))
    """
    generator = random_state(seed)
    out = torch.zeros(len(target), dtype=torch.bool)
    for members, size in zip(_members(target, class_counts(target, len(sizes))), sizes.tolist(), strict=True):
        out[torch.from_numpy(generator.permutation(members)[:size])] = True
    return torch.nonzero(~out).flatten(), torch.nonzero(out).flatten()


def random_state(seed: int | Sequence[int]) -> np.random.RandomState:
    """An isolated legacy generator; the global one is neither read nor moved.

    Raises:
        InputError: a seed outside 0..2^32 - 1.
    """
    for number in [seed] if isinstance(seed, int) else seed:
        if not 0 <= number <= LARGEST_SEED:
            raise InputError(f"split seed {number}: give a whole number from 0 to {LARGEST_SEED}")
    return np.random.RandomState(seed)


def _members(target: Tensor, counts: Tensor) -> list[NDArray[np.int64]]:
    """The indices of each class in ascending order; each array may be shuffled in place."""
    order = np.argsort(target.cpu().numpy(), kind="stable")
    return np.split(order, np.cumsum(counts.cpu().numpy())[:-1])
