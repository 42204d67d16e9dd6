"""Which images a long-tailed subset and a held-out split consist of, drawn from isolated generators.

The generator is NumPy's legacy ``RandomState``: its streams are frozen, and the subsets of CIFAR that everyone compares
on were drawn from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.counts import class_counts
from longtail.errors import InputError
from longtail.shapes import Int

LARGEST_SEED = 2**32 - 1
TOGETHER = "copies-together-1"
"""The rule by which a held-out split keeps the copies of an image on one side; in the fingerprint where it mattered."""
NAMED = 10
"""So many classes are named in one message."""


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
        named = ", ".join(repr(class_names[c]) for c in empty[:NAMED])
        others = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        most, taken = int(available.max()), int(counts.max())
        subset = "" if taken == most else f", of which the subset takes {taken}"
        raise InputError(
            f"class {named}{others} would be left without images: the largest class has {most}{subset}, "
            f"so the imbalance can be at most about {taken}"
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
        seed: seed of an isolated legacy NumPy generator.

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


def held_out_with_copies(
    target: Int[Tensor, " N"], sizes: Int[Tensor, " K"], copies: Int[Tensor, " N"], *, seed: int | Sequence[int]
) -> tuple[Int[Tensor, " rest"], Int[Tensor, " held"], str]:
    """Hold out about ``sizes[c]`` images of each class so that the copies of an image are on one side.

    Each class is gone through in the random order of ``held_out``. An image goes out, with all its copies in whichever
    class, if no class then has more held out than its size. A class of which nothing fits gives the copies that exceed
    the sizes least and leave an image of each class. Where no image has a copy this is ``held_out``.

    Args:
        target: (N,) classes.
        sizes: (K,) how many of each class to hold out, fewer than there are.
        copies: (N,) a number for each image, the same for equal images (``longtail.data.copies.groups``).
        seed: random seed, as in ``held_out``.

    Returns:
        The rest and the held-out positions, both ascending, and the rule ``TOGETHER``, empty if the positions are those
        of ``held_out``.

    Example:
        >>> target, sizes = torch.zeros(6, dtype=torch.int64), torch.tensor([2])
        >>> held_out_with_copies(target, sizes, torch.tensor([0, 0, 0, 1, 1, 1]), seed=0)
        (tensor([0, 1, 2]), tensor([3, 4, 5]), 'copies-together-1')
    """
    rest, held = held_out(target, sizes, seed=seed)
    if len(torch.unique(copies)) == len(copies):
        return rest, held, ""
    generator = random_state(seed)
    orders = [generator.permutation(m).tolist() for m in _members(target, class_counts(target, len(sizes)))]
    out = torch.tensor(_kept_together(target.tolist(), sizes.tolist(), copies.tolist(), orders))
    together = torch.nonzero(out).flatten()
    return torch.nonzero(~out).flatten(), together, "" if torch.equal(together, held) else TOGETHER


def _kept_together(target: list[int], sizes: list[int], copies: list[int], orders: list[list[int]]) -> list[bool]:
    """Whether each image is held out; see ``held_out_with_copies``."""
    alike: dict[int, list[int]] = {}
    for position, number in enumerate(copies):
        alike.setdefault(number, []).append(position)
    held, out, too_many = [0] * len(sizes), [False] * len(target), set[int]()

    def after(position: int) -> dict[int, int]:
        """How many are held out of each class that it concerns, once an image and its copies are."""
        concerned = Counter(target[other] for other in alike[copies[position]])
        return {c: held[c] + number for c, number in concerned.items()}

    def take(position: int) -> None:
        for other in alike[copies[position]]:
            out[other] = True
            held[target[other]] += 1

    for c, order in enumerate(orders):
        for position in order:
            if held[c] >= sizes[c]:
                break
            if out[position] or copies[position] in too_many:
                continue
            if all(number <= sizes[k] for k, number in after(position).items()):
                take(position)
            else:
                too_many.add(copies[position])
    for c, order in enumerate(orders):
        if held[c] == 0 and sizes[c] > 0:
            one_each = {copies[p]: p for p in reversed(order)}
            possible = [p for p in one_each.values() if all(n < len(orders[k]) for k, n in after(p).items())]
            if possible:
                take(min(possible, key=lambda p: sum(max(n - sizes[k], 0) for k, n in after(p).items())))
    return out


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
