"""Draws, probabilities and sizes of a determinantal point process, whatever the form of its kernel."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple, SupportsIndex, TypeVar

import numpy as np
import torch
from torch import Tensor

from longtail.dpp import completion, normalizer, projection, segments, spectral
from longtail.dpp.kernels import Array, Dense, DiagonalPlusRankOne, Kernel, LowRank, check_generator, indices, whole
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int

__all__ = ["expected_size", "inclusion_probabilities", "log_prob", "sample", "sample_masks"]

Result = TypeVar("Result")

_TOGETHER = 1 << 12  # ground sets up to here are drawn many at a time
_ITEMS = 1 << 21  # of so many items in all


def sample(
    kernel: Kernel, *, k: SupportsIndex | None = None, generator: torch.Generator | None = None
) -> Int[Tensor, " k"]:
    r"""One exact draw, P(Y) proportional to det(L_Y) over all subsets, or over those of ``k`` items.

    .. math:: P(Y) = \det(L_Y) / \det(L + I), \qquad P_k(Y) = \det(L_Y) / \sum_{|Y'| = k} \det(L_{Y'})

    Diagonal plus rank one: O(N) time and memory. What depends on the kernel and ``k`` alone is kept on the kernel, so
    a further draw is some ten times faster. Low rank: O(N D^2) once, dense: O(N^3) once, and a further draw of either
    O(k^3 log k), whatever N, or O(N k^2) where that is less (see ``projection``).

    Args:
        kernel: L.
        k: the number of items; None for a set of any size.
        generator: random generator on the CPU or on the kernel's device; None for torch's default.

    Returns:
        (k,), the items in ascending order, on the kernel's device.

    Raises:
        InputError: k is negative or no whole number, or no subset of k items has positive probability. A diagonal that
            is 0 throughout (an information kernel with every p = 1) is excepted: its k-subsets are drawn uniformly,
            with a warning, as they would be if all p were equal and a little less than 1.

    Example:
        >>> from longtail.dpp import information_kernel
        >>> kernel = information_kernel(torch.linspace(0, 1, 1000))
        >>> items = sample(kernel, k=100, generator=torch.Generator().manual_seed(0))
        >>> items.shape, bool((items.diff() > 0).all())
        (torch.Size([100]), True)

    References:
        Kulesza & Taskar, *k-DPPs: Fixed-Size Determinantal Point Processes*, ICML 2011.
        Bassino & Sportiello, *Linear-time generation of specifiable combinatorial structures*, 2013.
        Barthelmé, Tremblay & Amblard, *A faster sampler for discrete determinantal point processes*, AISTATS 2023.
    """
    k = _size(kernel, k)
    check_generator(generator)
    if isinstance(kernel, LowRank | Dense):
        return _draw_low_rank(kernel, 1, k, generator)[0]
    if len(kernel) == 0 or kernel.diagonal.device.type != "cpu":
        return sample_masks(kernel, 1, k=k, generator=generator)[0].nonzero().squeeze(1)
    forced = None if k is None else _forced(kernel, k)
    if forced is not None:
        return _draw_forced(forced, 1, generator)[0].nonzero().squeeze(1)
    return torch.from_numpy(completion.draw(_prepared(kernel, k), _numpy_generator(generator)))


def sample_masks(
    kernel: Kernel, draws: SupportsIndex, *, k: SupportsIndex | None = None, generator: torch.Generator | None = None
) -> Bool[Tensor, "draws N"]:
    """Independent exact draws at once: row by row, true where an item is in the set.

    Small ground sets are drawn thousands at a time, at a fraction of what as many calls of ``sample`` would take.

    Args:
        kernel: L.
        draws: how many.
        k: the number of items; None for sets of any size.
        generator: random generator on the CPU or on the kernel's device; None for torch's default.

    Returns:
        (draws, N), on the kernel's device.

    Raises:
        InputError: as for ``sample``, or ``draws`` is negative or no whole number.

    Example:
        >>> from longtail.dpp import LowRank
        >>> masks = sample_masks(LowRank(torch.eye(4)), 1000, k=2, generator=torch.Generator().manual_seed(0))
        >>> masks.shape, set(masks.sum(1).tolist())
        (torch.Size([1000, 4]), {2})
    """
    k, times = _size(kernel, k), whole(draws, "draws", "draws")
    if times is None or times < 0:
        raise InputError(f"draws is {times}: give 0 or more")
    if isinstance(kernel, LowRank | Dense):
        sets = _draw_low_rank(kernel, times, k, generator)
        masks = torch.zeros(times, len(kernel), dtype=torch.bool, device=_device(kernel))
        for mask, items in zip(masks, sets, strict=True):
            mask[items] = True
        return masks
    generator = segments.beside(generator, kernel.diagonal.device)
    forced = None if k is None else _forced(kernel, k)
    if forced is not None:
        return _draw_forced(forced, times, generator)
    d, u = kernel.diagonal.detach(), kernel.factor.detach()
    if k is None:
        return _draw_unsized(d, u, times, generator)
    if d.device.type == "cpu" and (len(d) > _TOGETHER or times < 8):
        masks = torch.zeros(times, len(d), dtype=torch.bool)
        for mask in masks:
            mask[sample(kernel, k=k, generator=generator)] = True
        return masks
    one = _once(
        kernel,
        "segments",
        k,
        lambda: segments.prepare(d, u * u, torch.tensor([len(d)], device=d.device), torch.tensor([k], device=d.device)),
    )
    together = max(1, _ITEMS // len(d))
    sizes = [min(together, times - start) for start in range(0, times, together)]
    parts = [segments.draw(one.repeat(size), generator).view(size, len(d)) for size in sizes]
    return torch.cat(parts)


def log_prob(
    kernel: Kernel, items: Int[Tensor, "*batch k"] | Array, *, k: SupportsIndex | None = None
) -> Float[Tensor, "*batch"]:
    """Log of the probability of drawing exactly ``items``.

    Args:
        kernel: L.
        items: (..., k) distinct items, in any order; leading dimensions are several sets.
        k: number of items, as in ``sample``; None for the process over sets of any size.

    Returns:
        (...), in nats, float64; -inf for a set that cannot be drawn. Gradients pass to the kernel's diagonal and
        factor, its features or its matrix, and from an information kernel to its probabilities.

    Raises:
        InputError: items are no whole numbers, an item is there twice or out of range, k differs from their number, or
            no set of k items can be drawn.

    Example:
        >>> from longtail.dpp import DiagonalPlusRankOne
        >>> kernel = DiagonalPlusRankOne(torch.ones(4), torch.zeros(4))
        >>> [round(float(log_prob(kernel, torch.tensor([0, 3]), k=k).exp()), 6) for k in (None, 2)]
        [0.0625, 0.166667]
    """
    k = _size(kernel, k)
    items = indices(items, "items", "(..., k), the numbers of the items in a set", _device(kernel))
    _check_items(items, len(kernel), k)
    if isinstance(kernel, DiagonalPlusRankOne):
        d, u = kernel.diagonal, kernel.factor
        if k is not None and _is_uniform(kernel, k):
            log_choose = math.lgamma(len(d) + 1) - math.lgamma(k + 1) - math.lgamma(len(d) - k + 1)
            return d.new_full(items.shape[:-1], -log_choose)
        log_det = normalizer.log_determinant(d[items], u[items])
    else:
        log_det = spectral.log_determinant(kernel, items)
        d = spectral.differentiable(kernel, _spectrum(kernel, k)[0])
        u = torch.zeros_like(d)
    if k is None:
        return log_det - torch.log1p(d).sum() - torch.log1p((u * u / (1.0 + d)).sum())
    log_total = normalizer.log_normalizer(d, u, k)
    if log_total == -torch.inf:
        raise _no_mass(kernel, k)
    return log_det - log_total


def inclusion_probabilities(kernel: Kernel, *, k: SupportsIndex | None = None) -> Float[Tensor, " N"]:
    """P(i in Y) for every item: the diagonal of L (L + I)^-1 without ``k``, exact to rounding with it.

    Args:
        kernel: L.
        k: the number of items; None for sets of any size.

    Returns:
        (N,), float64; sums to the expected size, which is k where it is given.

    Raises:
        InputError: no set of k items can be drawn.

    Example:
        >>> from longtail.dpp import information_kernel
        >>> p = torch.tensor([0.99, 0.9, 0.2])  # the hardest item is drawn most
        >>> [round(float(v), 3) for v in inclusion_probabilities(information_kernel(p), k=1)]
        [0.296, 0.299, 0.406]
        >>> [round(float(v), 3) for v in inclusion_probabilities(information_kernel(p), k=2)]
        [0.61, 0.614, 0.776]
    """
    k = _size(kernel, k)
    if isinstance(kernel, DiagonalPlusRankOne):
        return _inclusion(kernel, k)
    spectrum, eigenvalues = _spectrum(kernel, k)
    return spectrum.squares(_inclusion(eigenvalues, k)).clamp_(max=1.0)


def expected_size(kernel: Kernel) -> Float[Tensor, ""]:
    """Expected number of items, E|Y|, of the process over sets of any size: the trace of L (L + I)^-1.

    Use it to see how many items a kernel asks for before ``k`` is chosen.

    Args:
        kernel: L, of N items.

    Returns:
        A scalar from 0 to N, float64, on the kernel's device, without gradients.

    Example:
        >>> from longtail.dpp import information_kernel
        >>> p = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
        >>> round(float(expected_size(information_kernel(p))) / len(p), 3)  # not 1 - ln 2 = 0.307
        0.425
    """
    if isinstance(kernel, LowRank | Dense):
        kernel = _spectrum(kernel, None)[1]
    return _inclusion(kernel, None).sum()


def _draw_low_rank(
    kernel: LowRank | Dense, draws: int, k: int | None, generator: torch.Generator | None
) -> list[Int[Tensor, " k"]]:
    """Independent sets: eigenvectors first, then items from the projection onto them."""
    spectrum, eigenvalues = _spectrum(kernel, k)
    generator = segments.beside(generator, spectrum.values.device)
    if k is not None and draws == 1 and k == len(eigenvalues):
        chosen = torch.ones(1, k, dtype=torch.bool, device=spectrum.values.device)
    else:
        chosen = sample_masks(eigenvalues, draws, k=k, generator=generator)
    most = int(chosen.sum(1).max()) if draws else 0
    count, width = spectrum.rows.shape
    sets: list[Tensor] = []
    if most and projection.rejection_is_cheaper(count, width, most, draws):
        table = _once(kernel, "blocks", None, lambda: projection.blocks(spectrum))
        rng = _numpy_generator(generator)
        together = max(1, _ITEMS // (2 * most * (projection.BLOCK * width + most)))
        for part in torch.split(chosen, together):
            sets += projection.rejection(spectrum, table, part, rng)
        return sets
    together = max(1, _ITEMS // max(1, count * most))
    for part in torch.split(chosen, together):
        masks = projection.chain(*_columns(spectrum, part), generator)
        sets += [mask.nonzero().squeeze(1) for mask in masks]
    return sets


def _columns(spectrum: spectral.Spectrum, chosen: Bool[Tensor, "B r"]) -> tuple[Tensor, Tensor]:
    """The chosen eigenvectors of each set, (B, N, m), with 0 for those a set lacks, and how many it has, (B,)."""
    sizes = chosen.sum(1)
    most = int(sizes.max()) if len(chosen) else 0
    order = chosen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    columns = spectrum.vectors()[:, order].permute(1, 0, 2) * chosen.gather(1, order)[:, None, :]
    return columns, sizes


class _Forced(NamedTuple):
    """A k-DPP with little or nothing left to chance."""

    certain: Bool[Tensor, " N"]  # in every set
    weight: Float[Tensor, " N"] | None  # one more item, by weight
    uniform: int  # so many more items, uniformly


def _forced(kernel: DiagonalPlusRankOne, k: int) -> _Forced | None:
    """How to draw when the items with d > 0 are all in or all out; None when the sampler proper is needed."""
    return _once(kernel, "forced", k, lambda: _find_forced(kernel, k))


def _find_forced(kernel: DiagonalPlusRankOne, k: int) -> _Forced | None:
    d = kernel.diagonal.detach()
    if 0 < k < len(d) and _range(kernel)[0] > 0.0:
        return None
    positive = d > 0
    count = int(positive.sum())
    none = torch.zeros_like(positive)
    if k in (0, len(d)) and count in (k, len(d)):
        return _Forced(none if k == 0 else ~none, None, 0)
    if _is_uniform(kernel, k):
        return _Forced(none, None, k)
    # Without d an item can only be the special one.
    loose = torch.where(positive, 0.0, kernel.factor.detach().square())
    possible = count + int(loose.sum() > 0)
    if k > possible:
        raise _no_mass(kernel, k)
    if k == 0 or (k == count and possible == count):
        return _Forced(positive if k else none, None, 0)
    return _Forced(positive, loose, 0) if k == count + 1 else None


def _draw_forced(forced: _Forced, draws: int, generator: torch.Generator | None) -> Bool[Tensor, "draws N"]:
    masks = forced.certain.repeat(draws, 1)
    if forced.weight is not None:
        row = torch.arange(draws, device=masks.device)
        masks[row, _weighted(forced.weight, draws, generator)] = True
    if forced.uniform:
        warnings.warn(
            "a kernel with a diagonal of 0 throughout (every p is 1) gives no set of two or more items any probability:"
            f" drawing {forced.uniform} of {masks.shape[1]} uniformly",
            RuntimeWarning,
            stacklevel=3,
        )
        lengths = torch.full((draws,), masks.shape[1], device=masks.device)
        masks = segments.uniform(lengths, torch.full_like(lengths, forced.uniform), generator).view(masks.shape)
    return masks


def _is_uniform(kernel: DiagonalPlusRankOne, k: int) -> bool:
    """Whether sets of k items have no mass because every d is 0, for which uniform sets stand in."""
    return k >= 1 and _range(kernel)[1] == 0.0 and (k >= 2 or not bool(kernel.factor.any()))


def _draw_unsized(
    d: Float[Tensor, " N"], u: Float[Tensor, " N"], draws: int, generator: torch.Generator | None
) -> Bool[Tensor, "draws N"]:
    """Independent coins d / (1 + d), and, with probability W / (1 + W), one special item beside them."""
    coin, weight = d / (1.0 + d), u * u / (1.0 + d)
    masks = torch.rand(draws, len(d), dtype=d.dtype, device=d.device, generator=generator) < coin
    total = float(weight.sum())
    special = torch.rand(draws, dtype=d.dtype, device=d.device, generator=generator) * (1.0 + total) >= 1.0
    rows = special.nonzero().squeeze(1)
    if total > 0.0:
        masks[rows, _weighted(weight, len(rows), generator)] = True
    return masks


def _weighted(weight: Float[Tensor, " N"], draws: int, generator: torch.Generator | None) -> Int[Tensor, " draws"]:
    cumulative = weight.cumsum(0)
    place = torch.rand(draws, dtype=weight.dtype, device=weight.device, generator=generator) * cumulative[-1]
    last = torch.searchsorted(cumulative, cumulative[-1])
    return torch.minimum(torch.searchsorted(cumulative, place, right=True), last)


def _inclusion(kernel: DiagonalPlusRankOne, k: int | None) -> Float[Tensor, " N"]:
    d, u = kernel.diagonal.detach(), kernel.factor.detach()
    if k is None:
        absent = 1.0 / (1.0 + d)
        weight = u * u * absent
        return d * absent + weight * absent / (1.0 + weight.sum())
    if k and _is_uniform(kernel, k):
        return torch.full_like(d, k / len(d))
    inclusion = normalizer.inclusion(d, u, k)
    if len(d) and bool(inclusion[0].isnan()):
        raise _no_mass(kernel, k)
    return inclusion


def _range(kernel: DiagonalPlusRankOne) -> tuple[float, float]:
    """The smallest and the largest d."""

    def find() -> tuple[float, float]:
        least, most = torch.aminmax(kernel.diagonal.detach())
        return float(least), float(most)

    return _once(kernel, "range", None, find)


def _prepared(kernel: DiagonalPlusRankOne, k: int | None) -> completion.Prepared:
    @np.errstate(over="ignore", invalid="ignore")  # what is out of range is refused
    def prepare() -> completion.Prepared:
        d, u = kernel.diagonal.detach().numpy(), kernel.factor.detach().numpy()
        special = u if u[:1024].any() or u.any() else None
        if k is None:
            return completion.prepare_unsized(d, special)
        least, most = _range(kernel)
        if not 1e-100 < most < 1e100:
            # The scale of L does not matter to a k-DPP, and squares of extreme numbers leave the range of float64.
            d, special = d / most, None if special is None else special / math.sqrt(most)
            least, most = least / most, 1.0
        return completion.prepare(d, special, k, least=least, most=most)

    return _once(kernel, "prepared", k, prepare)


def _spectrum(kernel: LowRank | Dense, k: int | None) -> tuple[spectral.Spectrum, DiagonalPlusRankOne]:
    """The spectrum, and the kernel whose items are the eigenvectors; there must be k of them."""

    def decompose() -> tuple[spectral.Spectrum, DiagonalPlusRankOne]:
        found = spectral.spectrum(kernel)
        return found, DiagonalPlusRankOne(found.values, torch.zeros_like(found.values))

    found = _once(kernel, "spectrum", None, decompose)
    if k is not None and k > len(found[1]):
        raise _no_mass(kernel, k)
    return found


def _once(kernel: Kernel, name: str, key: object, make: Callable[[], Result]) -> Result:
    """``make()``, or what it returned last time if neither the key nor the kernel's tensors have changed since."""
    tensors = [value for value in vars(kernel).values() if isinstance(value, Tensor)]
    full = (key, *(-1 if tensor.is_inference() else tensor._version for tensor in tensors))
    kept = kernel._prepared.get(name)
    if kept is None or kept[0] != full:
        kept = kernel._prepared[name] = (full, make())
    result: Result = kept[1]
    return result


def _numpy_generator(generator: torch.Generator | None) -> np.random.Generator:
    """A NumPy stream that continues ``generator``: it makes bits several times faster on the CPU."""
    device = "cpu" if generator is None else generator.device
    seed = torch.randint(0, 1 << 32, (4,), generator=generator, device=device).tolist()
    # By way of a SeedSequence, since SFC64 takes twice as long to make one itself.
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))


def _device(kernel: Kernel) -> torch.device:
    if isinstance(kernel, DiagonalPlusRankOne):
        return kernel.diagonal.device
    return kernel.features.device if isinstance(kernel, LowRank) else kernel.matrix.device


def _size(kernel: Kernel, k: SupportsIndex | None) -> int | None:
    k = whole(k)
    if k is not None and not 0 <= k <= len(kernel):
        raise InputError(f"k is {k}, and the kernel has {len(kernel)} items: k must be between 0 and that")
    return k


def _check_items(items: Tensor, count: int, k: int | None) -> None:
    if items.ndim == 0:
        raise InputError(f"items is {int(items)}: give the numbers of the items in a set, (..., k)")
    if k is not None and items.shape[-1] != k:
        raise InputError(f"items has {items.shape[-1]} entries in a set, and k is {k}: they must agree")
    if items.numel() == 0:
        return
    least, most = (int(v) for v in torch.aminmax(items))
    if least < 0 or most >= count:
        raise InputError(f"items has the entry {least if least < 0 else most}: the kernel has items 0 to {count - 1}")
    if bool((items.sort(dim=-1).values.diff(dim=-1) == 0).any()):
        raise InputError("items has an item twice: a set has every item at most once")


def _no_mass(kernel: Kernel, k: int) -> InputError:
    return InputError(f"no set of {k} items has positive probability: the kernel's rank is below {k}")
