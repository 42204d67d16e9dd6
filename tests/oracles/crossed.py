"""The parts of a variance from their definitions, signs flipped one by one, and worlds in which the truth is known."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import torch
from torch import Tensor


def variance_parts(values: np.ndarray, target: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Parts of the variance of a weighted sum of class means of ``values`` (S, N): items, runs, both together."""
    runs = len(values)
    a = b = c = 0.0
    statistic = np.zeros(runs)
    for k, weight in enumerate(weights):
        block = values[:, target == k]
        n = block.shape[1]
        if n == 0:
            continue
        statistic += weight * block.mean(axis=1)
        if n > 1:
            a += weight**2 * np.var(block.mean(axis=0), ddof=1) / n
            for s in range(runs):
                for i in range(n):
                    rest = block[s, i] - block[:, i].mean() - block[s].mean() + block.mean()
                    c += weight**2 * rest**2 / ((runs - 1) * (n - 1) * runs * n) if runs > 1 else 0.0
    if runs > 1:
        b = float(np.var(statistic, ddof=1)) / runs
    return a, b, c


def sign_flips(differences: np.ndarray) -> float:
    """Share of all 2^n choices of signs whose sum is at least as far from 0: exact p-value of no difference."""
    seen = abs(differences.sum())
    signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    return float((np.abs(signs @ differences) >= seen - 1e-9).mean())


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
