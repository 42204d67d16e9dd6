"""The crossed bootstrap drawn item by item and run by run, and worlds in which the truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor


def literal_draws(values: np.ndarray, target: np.ndarray, weights: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Deviations of a weighted mean of class means of ``values`` (S, N): S - 1 of S runs, n - 1 of n items a class."""
    rng = np.random.default_rng(seed)
    runs = len(values)
    recalls = np.array([values[:, target == k].mean() for k in range(len(weights))])
    found = np.empty(draws)
    for d in range(draws):
        chosen = rng.integers(runs, size=runs - 1) if runs > 1 else [0]
        total = 0.0
        for k, weight in enumerate(weights):
            (items,) = np.nonzero(target == k)
            drawn = rng.choice(items, len(items) - 1) if len(items) > 1 else items
            total += weight * values[np.ix_(chosen, drawn)].mean()
        found[d] = total - recalls @ weights
    return found


@dataclasses.dataclass(frozen=True)
class World:
    """Methods whose runs on a test set can be drawn again and again.

    Each item of class k is right with probability recall_k + (how easy it is) + (how good the run is) + the method's
    own part. Easiness and luck are partly shared by the methods, as they are in truth.

    Args:
        runs: seeds of each method.
        items: test items of each class.
        recalls: of the classes.
        easiness: an item's probability differs by this much, up or down.
        spread: standard deviation of a run's own part: what seeds differ by beyond chance on single items.
        shared: share of the items and of the luck that two methods have in common.
    """

    runs: int
    items: int = 50
    recalls: tuple[float, ...] = (0.7, 0.6, 0.5, 0.35)
    easiness: float = 0.15
    spread: float = 0.0
    shared: float = 0.5

    @property
    def accuracy(self) -> float:
        """The true one, on all the items and runs that there could be."""
        return float(np.mean(self.recalls))

    @property
    def target(self) -> Tensor:
        return torch.arange(self.items * len(self.recalls)) % len(self.recalls)

    @property
    def weights(self) -> Tensor:
        """Of the classes in the accuracy."""
        return torch.full((1, len(self.recalls)), 1 / len(self.recalls))

    def pair(self, rng: np.random.Generator, gain: float = 0.0) -> tuple[Tensor, Tensor]:
        """Right and wrong (S, N) of two methods, the first better by ``gain``."""
        number = self.items * len(self.recalls)
        recall = np.asarray(self.recalls)[self.target.numpy()]
        easy = rng.choice([-self.easiness, self.easiness], (2, number))
        luck = rng.random((2, self.runs, number))
        easy[1] = np.where(rng.random(number) < self.shared, easy[0], easy[1])
        luck[1] = np.where(rng.random((self.runs, number)) < self.shared, luck[0], luck[1])
        run = rng.normal(0, self.spread, (2, self.runs, 1))
        first, second = luck < recall + easy[:, None] + run + np.array([gain, 0.0])[:, None, None]
        return torch.from_numpy(first), torch.from_numpy(second)
