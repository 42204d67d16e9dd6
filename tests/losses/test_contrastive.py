from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from longtail.errors import InputError
from longtail.losses.contrastive import supervised_contrastive
from oracles import contrastive as oracle

TARGET = torch.tensor([0, 1, 0, 2, 0, 1, 3, 1])


def views(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    q, v = torch.randn(2, len(TARGET), 5, dtype=torch.float64, generator=generator)
    return q.requires_grad_(), (q.detach() + v).requires_grad_()


def deviation(loss: Callable[..., Tensor], q: Tensor, v: Tensor, **options: object) -> float:
    """The largest difference from the oracle, in values and in gradients of an unevenly weighted sum."""

    def everything(loss: Callable[..., Tensor]) -> Tensor:
        value = loss(q, v, **options)
        weight = torch.linspace(0.5, 2, len(value), dtype=value.dtype)
        gradient = torch.autograd.grad((value * weight).sum(), (q, v))
        return torch.cat([value.detach(), *(part.flatten() for part in gradient)])

    return float((everything(loss) - everything(oracle.supervised_contrastive)).abs().max())


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
def test_values_and_gradients_equal_the_oracle(generator, temperature):
    q, v = views(generator)
    assert deviation(supervised_contrastive, q, v, target=TARGET, temperature=temperature) < 1e-10


@pytest.mark.parametrize("mutant", oracle.MUTANTS.values(), ids=oracle.MUTANTS)
def test_the_comparison_rejects_what_is_not_eq_2(generator, mutant):
    q, v = views(generator)
    assert deviation(mutant, q, v, target=TARGET, temperature=0.5) > 1e-2


def test_with_a_class_for_each_image_it_is_the_loss_of_simclr(generator):
    q, v = views(generator)
    z = normalize(torch.cat([q, v]), dim=1)
    s = (z @ z.T / 0.2).masked_fill(torch.eye(16, dtype=torch.bool), -torch.inf)
    expected = cross_entropy(s, torch.arange(16).roll(8), reduction="none").view(2, 8).mean(0)
    torch.testing.assert_close(
        supervised_contrastive(q, v, torch.arange(8), temperature=0.2), expected, rtol=0, atol=1e-12
    )


def test_the_sum_outside_the_logarithm_is_an_upper_bound_on_the_sum_inside(generator):
    q, v = views(generator)
    outside = supervised_contrastive(q, v, TARGET, temperature=0.1)
    inside = oracle.INSIDE(q, v, TARGET, temperature=0.1)
    assert (outside >= inside - 1e-12).all()
    assert (outside[0] - inside[0]) > 1e-2
    # A class with one image has one positive, and the two forms agree.
    torch.testing.assert_close(outside[6], inside[6], rtol=0, atol=1e-12)


def test_identical_views_cost_the_logarithm_of_their_number():
    z = torch.ones(6, 3)
    loss = supervised_contrastive(z, z, torch.tensor([0, 0, 0, 1, 1, 2]), temperature=0.07)
    torch.testing.assert_close(loss, torch.full((6,), math.log(11)))


def test_classes_collapsed_to_a_simplex_beat_every_small_move(generator):
    target = torch.arange(3).repeat_interleave(4)
    corners = torch.eye(3, dtype=torch.float64) - 1 / 3
    best = supervised_contrastive(corners[target], corners[target], target, temperature=0.5).mean()
    for _ in range(50):
        q, v = corners[target] + 0.05 * torch.randn(2, 12, 3, dtype=torch.float64, generator=generator)
        assert supervised_contrastive(q, v, target, temperature=0.5).mean() > best


def test_rotations_lengths_order_and_the_two_views_are_interchangeable(generator):
    q, v = views(generator)
    expected = supervised_contrastive(q, v, TARGET, temperature=0.3)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=generator)).Q
    order = torch.randperm(len(TARGET), generator=generator)
    for found in (
        supervised_contrastive(q @ rotation, v @ rotation, TARGET, temperature=0.3),
        supervised_contrastive(3 * q, v / 7, TARGET, temperature=0.3),
        supervised_contrastive(v, q, TARGET, temperature=0.3),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    permuted = supervised_contrastive(q[order], v[order], TARGET[order], temperature=0.3)
    torch.testing.assert_close(permuted, expected[order], rtol=0, atol=1e-12)
    assert (supervised_contrastive(q @ rotation, v, TARGET, temperature=0.3) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_features_lose_nothing_after_they_arrive(generator, autocast):
    q, v = (part.detach().bfloat16() for part in views(generator))
    expected = supervised_contrastive(q.double(), v.double(), TARGET, temperature=0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = supervised_contrastive(q, v, TARGET, temperature=0.07)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_gradients_stay_finite_at_a_temperature_of_a_hundredth(generator):
    q, v = (part.detach().float().requires_grad_() for part in views(generator))
    loss = supervised_contrastive(q, v, TARGET, temperature=0.01)
    gradient = torch.autograd.grad(loss.sum(), (q, v))
    assert loss.isfinite().all()
    assert all(part.isfinite().all() for part in gradient)


def test_runs_on_the_meta_device():
    q, v = (torch.empty(8, 5, device="meta", requires_grad=True) for _ in range(2))
    loss = supervised_contrastive(q, v, torch.empty(8, dtype=torch.int64, device="meta"), temperature=0.1)
    assert loss.shape == (8,)
    loss.sum().backward()


def test_a_temperature_that_is_not_positive_is_named(generator):
    q, v = views(generator)
    with pytest.raises(InputError, match=r"temperature is -1\.0: it must be above 0"):
        supervised_contrastive(q, v, TARGET, temperature=-1.0)
