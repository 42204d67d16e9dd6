"""LDAM: margins that grow as the fourth root of rarity, and a class that must win by its margin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from longtail.losses.cross_entropy import cross_entropy
from longtail.losses.margin import ldam, ldam_margins
from oracles import logit_losses as oracle

Loss = Callable[..., Tensor]

COUNTS = torch.tensor([500, 60, 8, 5])


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return 2 * torch.rand((9, 4), generator=generator, dtype=torch.float64) - 1, torch.arange(9) % 4


def _with(margins: Callable[[Tensor], Tensor], sign: float = -1.0) -> Loss:
    def loss(logits: Tensor, target: Tensor, *, counts: Tensor, max_margin: float = 0.5, scale: float = 30.0) -> Tensor:
        raw = margins(counts.double())
        own = torch.nn.functional.one_hot(target, len(counts))
        return cross_entropy(scale * (logits + sign * own * (max_margin * raw / raw.max())[target][:, None]), target)

    return loss


def check_oracle(loss: Loss) -> None:
    logits, target = batch()
    for options in ({}, {"max_margin": 0.3, "scale": 10.0}):
        expected = oracle.ldam(
            logits.tolist(),
            target.tolist(),
            COUNTS.tolist(),
            options.get("max_margin", 0.5),
            options.get("scale", 30.0),
        )
        values = loss(logits, target, counts=COUNTS, **options)
        assert torch.allclose(values, torch.tensor(expected).double(), rtol=1e-5, atol=1e-9)


def check_boundary(loss: Loss) -> None:
    """With two classes the loss is log 2 exactly where the true class wins by its margin."""
    counts = torch.tensor([1, 16])
    values = loss(torch.tensor([[0.5, 0.0], [0.0, 0.25]]).double(), torch.tensor([0, 1]), counts=counts, max_margin=0.5)
    assert torch.allclose(values, torch.full((2,), 2.0).double().log(), atol=1e-6)


@pytest.mark.parametrize("check", [check_oracle, check_boundary])
def test_holds(check: Callable[[Loss], None]) -> None:
    check(ldam)


@pytest.mark.parametrize("check", [check_oracle, check_boundary])
@pytest.mark.parametrize(
    "mutant",
    [
        _with(lambda n: n**-0.25, sign=1.0),
        _with(lambda n: n**-0.5),
        _with(lambda n: n**0.25),
        _with(lambda n: torch.ones_like(n)),
    ],
)
def test_check_rejects_mutant(mutant: Loss, check: Callable[[Loss], None]) -> None:
    with pytest.raises(AssertionError):
        check(mutant)


def test_mutants_are_wrong_only_on_purpose() -> None:
    check_oracle(_with(lambda n: n**-0.25))


def test_margins() -> None:
    margins = ldam_margins(COUNTS)
    assert float(margins.max()) == pytest.approx(0.5)
    assert margins.argsort(descending=True).tolist() == [3, 2, 1, 0]
    # A class with 16 times the images has half the margin.
    assert float(ldam_margins(torch.tensor([80, 5]))[0]) == pytest.approx(0.25)
    # The margins that balance the bound of Cao et al. for two classes: gamma_1 / gamma_2 = (n_2 / n_1)^(1/4).
    assert float(margins[0] / margins[3]) == pytest.approx((5 / 500) ** 0.25)


def test_margin_zero_is_scaled_cross_entropy_and_a_margin_costs() -> None:
    logits, target = batch()
    without = ldam(logits, target, counts=COUNTS, max_margin=0.0)
    assert torch.allclose(without, cross_entropy(30 * logits, target))
    assert bool((ldam(logits, target, counts=COUNTS) > without).all())


def test_a_class_without_images_has_no_margin_and_no_influence() -> None:
    margins = ldam_margins(torch.tensor([500, 0, 5]))
    assert margins[1] == 0
    assert torch.equal(margins[[0, 2]], ldam_margins(torch.tensor([500, 5])))


def test_deferred_weights_are_those_of_the_effective_number() -> None:
    """The second stage of LDAM-DRW: the same loss, times a weight for each class; without beta nothing changes."""
    logits, target = batch()
    weights = torch.tensor(oracle.effective_number_weights(COUNTS.tolist(), 0.999)).double()
    weighted = ldam(logits, target, counts=COUNTS, beta=0.999)
    assert torch.allclose(weighted, weights[target] * ldam(logits, target, counts=COUNTS), rtol=1e-5)
    assert not torch.allclose(weighted, ldam(logits, target, counts=COUNTS), rtol=0.1)
    assert torch.equal(ldam(logits, target, counts=COUNTS, beta=0.0), ldam(logits, target, counts=COUNTS))


def test_it_says_that_it_needs_cosines() -> None:
    assert ldam.head == "cosine"
