"""Natural batches, each beside a batch in which rare classes come more often: for methods that mix the two."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.samplers.frequency import ByClass
from longtail.shapes import Float, Int, Labels


class Paired(ByClass):
    r"""Batches of 2 B indices: B images as they come, then B partners drawn with weights that favour rare classes.

    The first halves go through the images in random order; an image is a partner with probability

    .. math:: p_i \propto n_{y_i}^{-r}

    with replacement: natural at r = 0, every class alike at r = 1, rare classes most often beyond. An epoch has whole
    batches only: the last goes on with another permutation. Use it for CMO and GLMC, which paste or mix the second half
    into the first.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        batch_size: B, images of the first half.
        power: r, at least 0.
        num_samples: indices in an epoch of all ranks, both halves counted; 2 N by default, rounded up to batches.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: a power below 0, a batch without images, targets that are no row of class numbers from 0, or
            another argument out of range.

    Example:
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> sampler = Paired(target, batch_size=50, generator=torch.Generator().manual_seed(0))
        >>> natural, partners = target[sampler.draw()].view(-1, 2, 50).unbind(1)
        >>> int(natural.sum()), 30 < int(partners.sum()) < 70
        (10, True)

    References:
        Park et al., *The Majority Can Help the Minority: Context-rich Minority Oversampling for Long-tailed
        Classification*, CVPR 2022 (the weighted distribution of its code); Du et al., *Global and Local Mixture
        Consistency Cumulative Learning for Long-tailed Visual Recognitions*, CVPR 2023.
    """

    def __init__(
        self,
        target: Labels,
        *,
        batch_size: int,
        power: float = 1.0,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not power >= 0 or batch_size < 1:
            raise InputError(f"power {power:g} must be at least 0 and batch_size {batch_size} at least 1")
        self._power, self._half = power, batch_size
        self.batch_size = 2 * batch_size
        number = 2 * len(target) if num_samples is None else num_samples
        super().__init__(
            target,
            num_samples=number,
            unit=self.batch_size,
            generator=generator,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        self._size = len(self._order)

    def weights(self) -> Float[Tensor, " K"]:
        """Return what the classes of the second halves are drawn by.

        Returns:
            (K,) float64.
        """
        sizes = self.counts.double()
        return torch.where(self.counts > 0, sizes ** (1.0 - self._power), 0.0)

    def _draw(self, generator: torch.Generator, number: int) -> Int[Tensor, " n"]:
        half = number // 2
        passes = -(-half // self._size)
        device = generator.device
        natural = torch.cat([torch.randperm(self._size, generator=generator, device=device) for _ in range(passes)])
        partners = super()._draw(generator, half)
        return torch.stack([natural[:half].view(-1, self._half), partners.view(-1, self._half)], dim=1).flatten()
