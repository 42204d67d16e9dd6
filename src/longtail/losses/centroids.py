"""Class centroids from a whole pass over the data, in the memory of the centroids alone."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Float, Int


class CentroidSums:
    """Running sums of features per class: ``mu_c = (1 / n_c) sum of z_i over y_i = c``.

    Use it to average features over a whole pass through the training set in O(K D) memory. The pass may be natural or
    class-balanced, plain or augmented; evaluate the model in eval mode. ``sums`` (K, D) and ``counts`` (K,) are plain
    tensors: passes over parts of the data, in several processes too, are merged by adding both, with ``+`` or an
    all-reduce of the two tensors in place.

    Args:
        num_classes: number of classes, K.
        width: number of features, D.
        device: where the features are.
        dtype: type of the sums; float64 unless the device has none.

    Example:
        >>> sums = CentroidSums(2, 1)
        >>> sums.update(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))
        >>> sums.update(torch.tensor([[5.0]]), torch.tensor([1]))
        >>> sums.means().tolist()
        [[2.0], [5.0]]

    References:
        Samuel and Chechik, *Distributional Robustness Loss for Long-Tail Learning*, ICCV 2021, arXiv:2104.03066.
    """

    def __init__(
        self,
        num_classes: int,
        width: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.sums = torch.zeros((num_classes, width), device=device, dtype=dtype)
        self.counts = torch.zeros(num_classes, device=device, dtype=torch.int64)

    def update(self, features: Float[Tensor, "N D"], target: Int[Tensor, " N"]) -> None:
        """Add the features of a batch, without their gradient.

        Args:
            features: z (N, D).
            target: (N,) class numbers in [0, K).

        Raises:
            InputError: shapes that do not fit together.
        """
        if features.shape != (*target.shape, self.sums.shape[1]):
            raise InputError(
                f"features for these centroids must be (N, {self.sums.shape[1]}) and target (N,), "
                f"not {tuple(features.shape)} and {tuple(target.shape)}"
            )
        self.sums.index_add_(0, target, features.detach().to(self.sums.dtype))
        self.counts.index_add_(0, target, torch.ones_like(target, dtype=torch.int64))

    def __add__(self, other: CentroidSums) -> CentroidSums:
        """The sums over both passes."""
        if self.sums.shape != other.sums.shape:
            raise InputError(
                f"centroid sums of different shapes cannot be added: "
                f"{tuple(self.sums.shape)} and {tuple(other.sums.shape)}"
            )
        total = CentroidSums(*self.sums.shape, device=self.sums.device, dtype=self.sums.dtype)
        total.sums += self.sums + other.sums
        total.counts += self.counts + other.counts
        return total

    def means(self) -> Float[Tensor, "K D"]:
        """Divide the sums by the counts.

        Returns:
            (K, D) centroids in float32.

        Raises:
            InputError: a class without samples, which has no centroid.
        """
        empty = (self.counts == 0).nonzero().flatten().tolist()
        if empty:
            raise InputError(
                f"class {empty[0]} had no samples in the pass that averages centroids "
                f"({len(empty)} of {len(self.counts)} classes without): pass over all the data, or draw every class"
            )
        return (self.sums / self.counts[:, None]).float()
