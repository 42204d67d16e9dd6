"""A balanced subset of the training set, drawn anew every so many epochs by what the network now knows (IP-DPP)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.samplers import informative
from longtail.shapes import Int

Arm = Literal["ip-dpp", "uniform", "hardest", "easiest", "class-balanced", "greedy"]
Scorer = Literal["fresh", "trained"]


class InformativeSubset:
    """Every image of the current subset once an epoch, in random order; the subset is part of the state.

    Before an epoch with a new draw the whole training set is scored: clean images, eval mode, float64 log-softmax.
    ``ip-dpp`` draws one exact k-DPP per class with the information-preserving kernel; the other arms are controls of
    equal size. Use it to fine-tune on balanced subsets, always beside the arm ``uniform``.

    Args:
        target: (N,) classes of the training images.
        counts: (K,) images of each class.
        generator: random stream of the order of the epochs.
        subset_generator: random stream of the subsets, one of its own, so arms that hold the same subset train alike.
        arm: how the subset is chosen; ``uniform`` is also the law of the released sampler, ``greedy`` the likeliest set
            of ``diversity``, item by item.
        k: images of each class, classes of at most k whole; None for the rule min(10 * smallest class, N_c).
        resample_every: epochs between draws.
        strength: power of the odds; 1 is the paper's kernel.
        diversity: also spread the subset out in feature space (quality times diversity).
        mislabelled: share of each class assumed wrongly labelled and set aside, by smallest probability.
        scorer: whose probabilities the first draw uses: ``fresh``, the stage's own new classifier, whose answers are
            nearly uniform; ``trained``, the classifier before it, or one fitted to the frozen features if none was
            trained.

    Raises:
        InputError: a number below 1, or an option of the arm ip-dpp given to another.

    Example:
        >>> sampler = InformativeSubset(
        ...     torch.tensor([0] * 30 + [1] * 2),
        ...     counts=torch.tensor([30, 2]),
        ...     generator=torch.Generator().manual_seed(0),
        ...     subset_generator=torch.Generator().manual_seed(1),
        ...     arm="uniform",
        ... )
        >>> len(sampler)  # nothing is drawn before start_epoch
        0

    References:
        Lin and Yuan, Long-Tailed Recognition via Information-Preservable Two-Stage Learning, NeurIPS 2025, Section 4.
    """

    def __init__(
        self,
        target: Int[Tensor, " N"],
        *,
        counts: Int[Tensor, " K"],
        generator: torch.Generator,
        subset_generator: torch.Generator,
        arm: Arm = "ip-dpp",
        k: int | None = None,
        resample_every: int = 20,
        strength: float = 1.0,
        diversity: bool = False,
        mislabelled: float = 0.0,
        scorer: Scorer = "fresh",
    ) -> None:
        for name, value in {"k": 1 if k is None else k, "resample_every": resample_every}.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        if arm != "ip-dpp" and (strength != 1.0 or diversity or mislabelled):
            raise InputError(f"strength, diversity and mislabelled are options of the arm ip-dpp, not of {arm}")
        self._generator, self._subset_generator = generator, subset_generator
        self._resample_every, self._scorer = resample_every, scorer
        self._needs_features = diversity or arm == "greedy"
        counts = counts.to(target.device)
        self._sizes = informative.ten_times_smallest(counts) if k is None else counts.clamp(max=k)
        preserving = functools.partial(informative.information_preserving, strength=strength, mislabelled=mislabelled)
        arms: dict[Arm, Callable[..., Tensor]] = {
            "ip-dpp": preserving,
            "uniform": informative.uniform,
            "hardest": informative.hardest,
            "easiest": informative.easiest,
            "class-balanced": informative.class_balanced,
            "greedy": informative.likeliest,
        }
        self._choose = arms[arm]
        self.index = torch.zeros(0, dtype=torch.int64, device=target.device)
        self._seconds = {"scoring_seconds": 0.0, "drawing_seconds": 0.0}
        self.notes: tuple[str, ...] = ()
        if int(self._sizes.sum()) == len(target):
            self.notes = ("The subset is the whole training set (k keeps every image), so its arms cannot differ.",)
        elif arm == "ip-dpp" and scorer == "fresh":
            self.notes = (
                "The first subset is scored by a fresh classifier, so it is nearly uniform; scorer=trained is not.",
            )

    def start_epoch(self, context: Any) -> None:
        """Score the training set and draw a new subset, if it is time.

        Args:
            context: where the run stands (``longtail.recipes.contract.Context``).
        """
        self._seconds = {"scoring_seconds": 0.0, "drawing_seconds": 0.0}
        if context.epoch % self._resample_every:
            return
        clock = time.perf_counter()
        everything = torch.arange(len(context.target), device=context.target.device)
        chunks = list(context.outputs(everything, False, False))
        logits = torch.cat([chunk.logits for chunk in chunks])
        features = torch.cat([chunk.levels[-1] for chunk in chunks])
        if context.epoch == 0 and self._scorer == "trained":
            logits = context.trained(features)
        log_probability = informative.true_label_log_probability(logits, context.target)
        scored = time.perf_counter()
        options = {"features": features} if self._needs_features else {}
        self.index = self._choose(
            None,
            context.target,
            k=self._sizes,
            generator=self._subset_generator,
            log_probability=log_probability,
            **options,
        )
        drawn = time.perf_counter()
        self._seconds = {"scoring_seconds": scored - clock, "drawing_seconds": drawn - scored}

    def history(self) -> dict[str, float]:
        """Return the seconds that scoring and drawing took before this epoch.

        Returns:
            ``scoring_seconds`` and ``drawing_seconds``, 0 where nothing was drawn.
        """
        return self._seconds

    def draw(self) -> Int[Tensor, " n"]:
        """Return the subset in random order.

        Returns:
            Indices (n,).
        """
        order = torch.randperm(len(self.index), generator=self._generator, device=self._generator.device)
        return self.index[order.to(self.index.device)]

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return len(self.index)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold besides the generators.

        Returns:
            The subset.
        """
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up the subset of a checkpoint.

        Args:
            state: what ``state_dict`` returned.
        """
        self.index = state["index"].to(self.index.device)
