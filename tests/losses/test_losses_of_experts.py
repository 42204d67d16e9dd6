"""The inverse softmax and the diversity of experts: against sums written out, their propositions, and mutants."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from longtail.data import exponential_profile
from longtail.errors import InputError
from longtail.losses import (
    balanced_softmax,
    cross_entropy,
    expert_diversity,
    inverse_softmax,
    logit_adjusted_cross_entropy,
)
from longtail.testing import check_loss
from oracles import experts as oracle

COUNTS = [60, 200, 9, 31, 2]


def problem() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(2)
    return 3 * torch.randn(12, 5, generator=source, dtype=torch.float64), torch.arange(12) % 5


def experts() -> Tensor:
    return 2 * torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_inverse_softmax_is_its_formula_and_no_mutant() -> None:
    logits, target = problem()
    found = inverse_softmax(logits, target, counts=COUNTS, tau=1.5).tolist()
    assert found == pytest.approx(oracle.inverse_softmax(logits, target, counts=COUNTS, tau=1.5), rel=1e-9)
    for wrong in oracle.INVERSE_MUTANTS.values():
        assert found != pytest.approx(wrong(logits, target, counts=COUNTS, tau=1.5), rel=1e-2)


def test_inverse_softmax_reduces_to_what_the_paper_starts_from() -> None:
    logits, target = problem()
    equal = inverse_softmax(logits, target, counts=[30] * 5)
    assert torch.allclose(equal, cross_entropy(logits, target))
    at_0 = inverse_softmax(logits, target, counts=COUNTS, tau=0.0)
    assert torch.allclose(at_0, balanced_softmax(logits, target, counts=COUNTS))
    geometric = [1, 3, 9, 27, 81]  # where n times its reverse is the same for every class
    found = inverse_softmax(logits, target, counts=geometric, tau=2.0)
    assert torch.allclose(found, logit_adjusted_cross_entropy(logits, target, counts=geometric, tau=3.0))
    assert not torch.allclose(found, logit_adjusted_cross_entropy(logits, target, counts=geometric, tau=2.0))


def test_inverse_softmax_leaves_out_a_class_without_images() -> None:
    logits, target = problem()
    kept = target != 1
    found = inverse_softmax(logits, target, counts=[60, 0, 9, 31, 2])
    assert bool(found[~kept].isinf().all())
    without = inverse_softmax(logits[kept][:, [0, 2, 3, 4]], (target[kept] - 1).clamp(min=0), counts=[60, 9, 31, 2])
    assert torch.allclose(found[kept], without)


def test_inverse_softmax_keeps_the_contract() -> None:
    check_loss(functools.partial(inverse_softmax, counts=exponential_profile(5, 100, 20)))


def test_diversity_is_its_formula_and_no_mutant() -> None:
    logits = experts()
    options = {"temperature": 2.0, "share": 0.1}
    found = expert_diversity(logits, counts=COUNTS, **options).tolist()
    assert found == pytest.approx(oracle.diversity(logits, counts=COUNTS, **options), rel=1e-9)
    for wrong in oracle.DIVERSITY_MUTANTS.values():
        assert found != pytest.approx(wrong(logits, counts=COUNTS, **options), rel=1e-2)


def test_diversity_is_zero_for_one_opinion_and_does_not_know_the_order() -> None:
    logits = experts()
    assert expert_diversity(logits[:, :1].expand(-1, 3, -1), counts=COUNTS).abs().max() < 1e-12
    found = expert_diversity(logits, counts=COUNTS)
    assert torch.allclose(found, expert_diversity(logits[:, [2, 0, 1]], counts=COUNTS))
    assert bool((found > 0).all())


def test_equal_counts_give_one_temperature_and_a_hotter_one_less_diversity() -> None:
    logits = experts()
    even = expert_diversity(logits, counts=[7] * 5, temperature=2.0, share=0.1)
    assert torch.allclose(even, expert_diversity(logits / 2, counts=[7] * 5, share=0.0))
    assert bool((expert_diversity(logits, counts=[7] * 5, temperature=9.0) < even).all())


def test_what_diversity_does_not_take_is_refused() -> None:
    with pytest.raises(InputError, match="two experts"):
        expert_diversity(experts()[:, :1], counts=COUNTS)
    with pytest.raises(InputError, match="above 0"):
        expert_diversity(experts(), counts=COUNTS, temperature=0.0)
