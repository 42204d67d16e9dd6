"""BCL and ProCo: against sums written out and scipy's Bessel functions, their propositions, and mutants."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from scipy.special import ive
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.losses import (
    class_averaged_contrastive,
    concentrations,
    cross_entropy,
    log_normaliser,
    probabilistic_contrastive,
    supervised_contrastive,
)
from longtail.testing import check_loss
from oracles import sphere as oracle

COUNTS = [60, 25, 9, 4]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    queries, keys = torch.randn(2, 9, 12, generator=generator(4), dtype=torch.float64)
    prototypes = torch.randn(4, 12, generator=generator(5), dtype=torch.float64)
    return queries, keys, torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 3]), prototypes


# Class-averaged.


def test_class_averaged_is_its_formula_and_no_mutant() -> None:
    queries, keys, target, prototypes = problem()
    for given in (prototypes, None):
        options = {"prototypes": given, "temperature": 0.4}
        found = class_averaged_contrastive(queries, keys, target, **options).tolist()
        assert found == pytest.approx(oracle.class_averaged(queries, keys, target, **options), rel=1e-9)
    options = {"prototypes": prototypes, "temperature": 0.4}
    found = class_averaged_contrastive(queries, keys, target, **options).tolist()
    for wrong in oracle.CLASS_AVERAGED_MUTANTS.values():
        assert found != pytest.approx(wrong(queries, keys, target, **options), rel=1e-2)


def test_classes_that_have_collapsed_give_a_softmax_over_classes_whatever_their_sizes() -> None:
    _, _, target, prototypes = problem()
    centres = functional.normalize(prototypes, dim=1)
    expected = cross_entropy(centres @ centres.T / 0.4, torch.arange(4))[target]
    views = centres[target]
    for given in (prototypes, None):
        found = class_averaged_contrastive(views, views, target, prototypes=given, temperature=0.4)
        assert torch.allclose(found, expected)
    assert not torch.allclose(supervised_contrastive(views, views, target, temperature=0.4), expected, rtol=0.1)


def test_a_class_that_comes_twice_weighs_no_more_for_the_others() -> None:
    """Class averaging: repeating the images of class 0 leaves the losses of other classes alone."""
    queries, keys, target, _ = problem()
    again = torch.cat([torch.arange(9), torch.arange(4)])  # class 0 is the first four

    def losses(loss: object) -> tuple[Tensor, Tensor]:
        one = loss(queries, keys, target)  # type: ignore[operator]
        return one[4:], loss(queries[again], keys[again], target[again])[4:9]  # type: ignore[operator]

    before, after = losses(functools.partial(class_averaged_contrastive, temperature=0.4))
    assert torch.allclose(before, after)
    before, after = losses(functools.partial(supervised_contrastive, temperature=0.4))
    assert not torch.allclose(before, after, rtol=1e-3)


def test_a_lone_class_has_a_positive_in_every_batch() -> None:
    """Class complement: with prototypes, pulling a class's prototype closer lowers its loss."""
    queries, keys, target, prototypes = problem()
    near = prototypes.clone()
    near[3] = queries[8] + keys[8]
    losses = [
        class_averaged_contrastive(queries, keys, target, prototypes=held, temperature=0.4)[8]
        for held in (prototypes, near)
    ]
    assert losses[1] < losses[0]


def test_views_can_be_exchanged_and_a_temperature_is_positive() -> None:
    queries, keys, target, prototypes = problem()
    options = {"prototypes": prototypes, "temperature": 0.4}
    one, other = (class_averaged_contrastive(*views, target, **options) for views in ((queries, keys), (keys, queries)))
    assert torch.allclose(one, other)
    with pytest.raises(InputError, match="above 0"):
        class_averaged_contrastive(queries, keys, target, temperature=0.0)


def test_class_averaged_keeps_the_contract() -> None:
    prototypes = torch.randn(5, 8, generator=generator(3))

    def loss(features: Tensor, target: Tensor) -> Tensor:
        turned = features.roll(1, dims=1)
        return class_averaged_contrastive(features, turned, target, prototypes=prototypes.to(features), temperature=0.5)

    check_loss(loss, width=8, per_sample=False)


# Von Mises-Fisher.


@pytest.mark.parametrize(("dimension", "tolerance"), [(8, 1e-4), (32, 1e-7), (128, 1e-9)])
def test_the_normaliser_is_scipys(dimension: int, tolerance: float) -> None:
    kappa = torch.logspace(-2, 3, 40, dtype=torch.float64)
    zero = dimension / 2 * math.log(2 * math.pi) - (dimension / 2 - 1) * math.log(2) - math.lgamma(dimension / 2)
    expected = [oracle.log_normaliser(value, dimension) - zero for value in kappa.tolist()]
    assert log_normaliser(kappa, dimension).tolist() == pytest.approx(expected, abs=tolerance, rel=tolerance)
    flat = [value**2 / (2 * dimension) for value in kappa.tolist()]  # the mutant that is right near 0
    assert flat != pytest.approx(expected, rel=1e-2)


def test_the_slope_of_the_normaliser_is_the_ratio_of_bessel_functions() -> None:
    kappa = torch.logspace(-1, 2, 20, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(log_normaliser(kappa, 64).sum(), kappa)
    held = kappa.detach().numpy()
    assert slope.tolist() == pytest.approx((ive(32, held) / ive(31, held)).tolist(), rel=1e-6)


def test_the_expectation_is_that_of_samples() -> None:
    """C(kappa~) / C(kappa) is the mean of exp(z z' / tau): by points of the whole sphere, weighted."""
    mean, z = functional.normalize(torch.randn(2, 8, generator=generator(1), dtype=torch.float64), dim=1)
    points = functional.normalize(torch.randn(400_000, 8, generator=generator(2), dtype=torch.float64), dim=1)
    kappa, temperature = 3.0, 0.7
    weight = (kappa * points @ mean).exp()
    sampled = float((weight * (points @ z / temperature).exp()).sum() / weight.sum())
    moved = (kappa * mean + z / temperature).norm()
    found = float((log_normaliser(moved, 8) - log_normaliser(torch.tensor(kappa, dtype=torch.float64), 8)).exp())
    assert found == pytest.approx(sampled, rel=0.01)
    assert math.exp(float(z @ mean) / temperature) != pytest.approx(sampled, rel=0.05)  # the mutant: the mean alone


def test_probabilistic_is_its_formula_and_no_mutant() -> None:
    queries, _, target, prototypes = problem()
    means = torch.tensor([0.3, 0.8, 0.5, 0.9])[:, None] * functional.normalize(prototypes, dim=1)
    options = {"counts": COUNTS, "means": means, "temperature": 0.3}
    found = probabilistic_contrastive(queries, target, **options).tolist()
    assert found == pytest.approx(oracle.probabilistic(queries, target, **options), rel=1e-4)
    for wrong in oracle.PROBABILISTIC_MUTANTS.values():
        assert found != pytest.approx(wrong(queries, target, **options), rel=1e-2)


def test_classes_that_were_not_seen_leave_the_prior() -> None:
    queries, _, target, _ = problem()
    found = probabilistic_contrastive(queries, target, counts=COUNTS, means=torch.zeros(4, 12).double())
    share = torch.tensor(COUNTS).double() / sum(COUNTS)
    assert torch.allclose(found, -share.log()[target])
    even = probabilistic_contrastive(queries, target, counts=[5] * 4, means=torch.zeros(4, 12).double())
    assert torch.allclose(even, torch.full_like(even, math.log(4)))


def test_points_give_the_balanced_softmax_of_cosines() -> None:
    """As concentrated as classes get, the loss is cross-entropy of cosines to the means with the log-prior."""
    z = torch.randn(9, 128, generator=generator(6), dtype=torch.float64)
    means = functional.normalize(torch.randn(4, 128, generator=generator(7), dtype=torch.float64), dim=1)
    _, _, target, _ = problem()
    found = probabilistic_contrastive(z, target, counts=COUNTS, means=0.99 * means, temperature=1.0)
    cosine = functional.normalize(z, dim=1) @ means.T
    expected = cross_entropy(cosine + (torch.tensor(COUNTS).double() / sum(COUNTS)).log(), target)
    assert torch.allclose(found, expected, atol=2e-3)
    assert not torch.allclose(found, cross_entropy(cosine, target), atol=2e-2)


def test_concentration_grows_with_the_mean_and_ends() -> None:
    lengths = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    means = lengths[:, None] * torch.eye(5, 16)
    found = concentrations(means)
    assert found[0] == 0
    assert bool((found.diff() > 0).all())
    assert bool(found.isfinite().all())


def test_probabilistic_keeps_the_contract() -> None:
    means = 0.7 * functional.normalize(torch.randn(5, 16, generator=generator(8)), dim=1)
    check_loss(functools.partial(probabilistic_contrastive, counts=[9, 7, 5, 3, 1], means=means), width=16)
    with pytest.raises(InputError, match="at least 8"):
        log_normaliser(torch.ones(1), 4)
