"""Plain and class-weighted cross-entropy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from longtail.losses.cross_entropy import cross_entropy
from oracles import logit_losses as oracle

WEIGHTS = torch.tensor([0.1, 1.0, 3.0, 7.0])


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    return torch.randn((9, 4), generator=generator, dtype=torch.float64), torch.arange(9) % 4


def check(loss: Callable[..., Tensor]) -> None:
    logits, target = batch()
    for weights in (None, WEIGHTS):
        expected = oracle.cross_entropy(logits.tolist(), target.tolist(), None if weights is None else weights.tolist())
        assert torch.allclose(loss(logits, target, class_weights=weights), torch.tensor(expected).double(), rtol=1e-6)


def weighted_by_position(logits: Tensor, target: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
    loss = functional.cross_entropy(logits, target, reduction="none")
    return loss if class_weights is None else loss * class_weights[target.sort().values]


def normalised_in_the_batch(logits: Tensor, target: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
    loss = functional.cross_entropy(logits, target, reduction="none")
    if class_weights is None:
        return loss
    weight = class_weights[target]
    return loss * weight * len(target) / weight.sum()


def test_is_the_oracle() -> None:
    check(cross_entropy)


@pytest.mark.parametrize("mutant", [weighted_by_position, normalised_in_the_batch])
def test_check_rejects_mutant(mutant: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        check(mutant)


def test_weights_that_normalise_give_the_reduced_loss_of_pytorch() -> None:
    logits, target = batch()
    values = cross_entropy(logits, target, class_weights=WEIGHTS)
    expected = functional.cross_entropy(logits, target, weight=WEIGHTS.double())
    assert torch.allclose(values.sum() / WEIGHTS[target].sum(), expected, rtol=1e-6)
