"""Class weights, and the losses that weigh samples by class or by difficulty."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.losses.cross_entropy import cross_entropy
from longtail.losses.reweighting import (
    class_balanced,
    class_balanced_focal,
    class_weighted_cross_entropy,
    effective_number_weights,
    focal,
    inverse_frequency_weights,
    relative_frequency_weights,
)
from oracles import logit_losses as oracle

Loss = Callable[..., Tensor]

COUNTS = torch.tensor([500, 60, 8, 5])


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    return 2 * torch.randn((9, 4), generator=generator, dtype=torch.float64), torch.arange(9) % 4


def check_class_balanced(loss: Loss) -> None:
    logits, target = batch()
    for beta in (0.9, 0.9999):
        weights = oracle.effective_number_weights(COUNTS.tolist(), beta)
        expected = oracle.cross_entropy(logits.tolist(), target.tolist(), weights)
        values = loss(logits, target, counts=COUNTS, beta=beta)
        assert torch.allclose(values, torch.tensor(expected).double(), rtol=1e-5)


def by_number_itself(logits: Tensor, target: Tensor, *, counts: Tensor, beta: float) -> Tensor:
    number = 1 - beta ** counts.double()
    return cross_entropy(logits, target, class_weights=number * len(counts) / number.sum())


def not_normalised(logits: Tensor, target: Tensor, *, counts: Tensor, beta: float) -> Tensor:
    return cross_entropy(logits, target, class_weights=(1 - beta) / (1 - beta ** counts.double()))


def check_focal(loss: Loss) -> None:
    logits, target = batch()
    for gamma in (0.5, 1.0, 2.0):
        expected = oracle.focal(logits.tolist(), target.tolist(), gamma)
        assert torch.allclose(loss(logits, target, gamma=gamma), torch.tensor(expected).double(), rtol=1e-6)


def fading_for_hard_samples(logits: Tensor, target: Tensor, *, gamma: float) -> Tensor:
    loss = cross_entropy(logits, target)
    return loss * (-loss).exp() ** gamma


def of_the_largest_probability(logits: Tensor, target: Tensor, *, gamma: float) -> Tensor:
    return cross_entropy(logits, target) * (1 - logits.softmax(dim=1).amax(dim=1)) ** gamma


@pytest.mark.parametrize(
    ("check", "loss", "mutants"),
    [
        (check_class_balanced, class_balanced, [by_number_itself, not_normalised]),
        (check_focal, focal, [fading_for_hard_samples, of_the_largest_probability]),
    ],
)
def test_loss_is_the_oracle_and_its_mutants_are_not(
    check: Callable[[Loss], None], loss: Loss, mutants: list[Loss]
) -> None:
    check(loss)
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check(mutant)


def test_focal_propositions() -> None:
    """gamma = 0 is cross-entropy; a sample at p = 0.9 costs 100 times less with gamma = 2, as the paper says."""
    logits, target = batch()
    assert torch.allclose(focal(logits, target, gamma=0.0), cross_entropy(logits, target))
    easy = torch.tensor([[0.9, 0.1]]).double().log()
    ratio = cross_entropy(easy, torch.tensor([0])) / focal(easy, torch.tensor([0]), gamma=2.0)
    assert float(ratio) == pytest.approx(100, rel=1e-6)
    ladder = [focal(logits, target, gamma=gamma) for gamma in (0.0, 0.5, 1.0, 5.0)]
    assert all(bool((high > low).all()) for high, low in itertools.pairwise(ladder))


CHOICES = {
    "inverse": inverse_frequency_weights(COUNTS),
    "effective": effective_number_weights(COUNTS, beta=0.99),
    "prior": relative_frequency_weights(COUNTS),
}


def check_class_weighted(loss: Loss) -> None:
    """The mean over the batch is PyTorch's reduced loss, and samples cost what the weights of their classes say."""
    logits, target = batch()
    for name, weights in CHOICES.items():
        values = loss(logits, target, counts=COUNTS, weight=name, beta=0.99)
        expected = torch.nn.functional.cross_entropy(logits, target, weight=weights.double())
        assert torch.allclose(values.mean(), expected, rtol=1e-6)
        cost = values / cross_entropy(logits, target)
        assert torch.allclose(cost / cost[0], (weights[target] / weights[target[0]]).double(), rtol=1e-6)
        scaled = loss(logits, target, counts=7 * COUNTS, weight=name, beta=0.99)
        assert name == "effective" or torch.allclose(scaled, values, rtol=1e-6)


def class_weighted_without_the_mean(logits: Tensor, target: Tensor, *, counts: Tensor, weight: str, beta: float):
    weights = inverse_frequency_weights(counts) if weight == "inverse" else CHOICES[weight]
    return cross_entropy(logits, target, class_weights=weights)


def class_weighted_by_the_mean_of_all_classes(
    logits: Tensor, target: Tensor, *, counts: Tensor, weight: str, beta: float
) -> Tensor:
    return cross_entropy(logits, target, class_weights=CHOICES[weight] / CHOICES[weight].mean())


def class_weighted_mean_for_everyone(logits: Tensor, target: Tensor, *, counts: Tensor, weight: str, beta: float):
    value = torch.nn.functional.cross_entropy(logits, target, weight=CHOICES[weight].double())
    return value.expand(len(target))


def test_class_weighted_cross_entropy() -> None:
    check_class_weighted(class_weighted_cross_entropy)
    for mutant in (
        class_weighted_without_the_mean,
        class_weighted_by_the_mean_of_all_classes,
        class_weighted_mean_for_everyone,
    ):
        with pytest.raises(AssertionError):
            check_class_weighted(mutant)
    logits, target = batch()
    equal = torch.full((4,), 37)
    for name in CHOICES:
        values = class_weighted_cross_entropy(logits, target, counts=equal, weight=name)
        assert torch.allclose(values, cross_entropy(logits, target))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_of_a_certain_sample_has_a_gradient(gamma: float) -> None:
    """1 - p is exactly 0 in float32, where a power below 1 has no finite slope."""
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    values = focal(logits, torch.tensor([0]), gamma=gamma)
    assert values.tolist() == [0.0]
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert bool((gradient == 0).all())


def test_inverse_frequency_makes_every_class_weigh_the_same() -> None:
    weights = inverse_frequency_weights(COUNTS)
    mass = weights * COUNTS
    assert torch.allclose(mass, mass[0].expand(4))
    assert float(weights.mean()) == pytest.approx(1)


def test_effective_number_lies_between_equal_and_inverse_weights() -> None:
    assert torch.equal(effective_number_weights(COUNTS, beta=0.0), torch.ones(4))
    assert torch.allclose(effective_number_weights(COUNTS, beta=1 - 1e-9), inverse_frequency_weights(COUNTS), rtol=1e-4)
    expected = torch.tensor(oracle.effective_number_weights(COUNTS.tolist(), 0.99))
    assert torch.allclose(effective_number_weights(COUNTS, beta=0.99), expected, rtol=1e-5)
    ratios = [float(w[3] / w[0]) for w in (effective_number_weights(COUNTS, beta=b) for b in (0.0, 0.9, 0.99, 0.9999))]
    assert ratios == sorted(ratios)
    with pytest.raises(InputError, match="beta"):
        effective_number_weights(COUNTS, beta=1.0)


def test_relative_frequency() -> None:
    assert relative_frequency_weights(COUNTS).tolist() == pytest.approx([1, 0.12, 0.016, 0.01])


@pytest.mark.parametrize("weigh", [inverse_frequency_weights, effective_number_weights, relative_frequency_weights])
def test_a_class_without_images_has_weight_zero_and_no_influence(weigh: Callable[[Tensor], Tensor]) -> None:
    weights = weigh(torch.tensor([500, 0, 5]))
    assert weights[1] == 0
    assert torch.allclose(weights[[0, 2]], weigh(torch.tensor([500, 5])))


def test_class_balanced_focal_lies_between_its_two_parts() -> None:
    logits, target = batch()
    balanced = class_balanced_focal(logits, target, counts=COUNTS, beta=0.99, gamma=0.0)
    assert torch.allclose(balanced, class_balanced(logits, target, counts=COUNTS, beta=0.99), rtol=1e-6)
    assert torch.allclose(class_balanced_focal(logits, target, counts=COUNTS, beta=0.0), focal(logits, target))
    both = class_balanced_focal(logits, target, counts=COUNTS, beta=0.99, gamma=1.5)
    weights = torch.tensor(oracle.effective_number_weights(COUNTS.tolist(), 0.99)).double()
    assert torch.allclose(both, weights[target] * focal(logits, target, gamma=1.5), rtol=1e-5)


def test_powers_of_the_inverse_frequency() -> None:
    """A class with 100 times the images weighs 100^power times less; 0 is no weighting, 1 the inverse frequency."""
    for power in (0.0, 0.5, 1.0, 1.5):
        weights = inverse_frequency_weights(COUNTS, power=power)
        assert float(weights[3] / weights[0]) == pytest.approx(100**power, rel=1e-5)
        assert float(weights.mean()) == pytest.approx(1)
    logits, target = batch()
    values = class_weighted_cross_entropy(logits, target, counts=COUNTS, power=0.5)
    expected = torch.nn.functional.cross_entropy(logits, target, weight=COUNTS.double() ** -0.5)
    assert torch.allclose(values.mean(), expected, rtol=1e-6)
    assert inverse_frequency_weights([4, 0], power=0.5).tolist() == [1, 0]
