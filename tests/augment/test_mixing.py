from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from longtail.augment import cutmix, cutmix_with, mixup, mixup_with
from longtail.augment.mixing import Mixed, symmetric_beta
from longtail.errors import InputError
from oracles import augment as oracle

LEVEL = 1e-5


# Counted in bins: at the ends float32 has coarse steps, where a small alpha puts much of its weight.
EDGES = np.array([1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.99, 0.999, 0.9999, 0.99999])


def check_beta(function: Callable[[Tensor, float], Tensor], generator: torch.Generator) -> None:
    for alpha in (0.1, 0.2, 0.5, 1.0, 2.0, 8.0):
        weight = function(torch.rand(2, 20_000, generator=generator), alpha)
        assert 0 <= weight.min() <= weight.max() <= 1
        cumulative = stats.beta(alpha, alpha).cdf(EDGES)
        means = 20_000 * np.diff(cumulative, prepend=0.0, append=1.0)
        counts = np.bincount(np.searchsorted(EDGES, weight.numpy()), minlength=len(means))
        common = means >= 5
        assert counts[~common].sum() <= 10
        counts, means = counts[common], means[common]
        assert stats.chisquare(counts, means * counts.sum() / means.sum()).pvalue > LEVEL


def test_weights_have_the_beta_distribution(generator: torch.Generator) -> None:
    check_beta(symmetric_beta, generator)


def test_beta_mutants_are_rejected(generator: torch.Generator) -> None:
    mutants: list[Callable[[Tensor, float], Tensor]] = [
        lambda noise, alpha: symmetric_beta(noise, 1.0),
        lambda noise, alpha: symmetric_beta(noise, 2 * alpha),
        lambda noise, alpha: torch.maximum(symmetric_beta(noise, alpha), 1 - symmetric_beta(noise, alpha)),
        lambda noise, alpha: symmetric_beta(noise[[0, 0]], alpha),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_beta(mutant, generator)


def test_weights_are_finite_at_the_ends() -> None:
    ends = torch.tensor([0.0, 1e-30, 2.0**-24, 0.5, 1 - 2.0**-24])
    noise = torch.cartesian_prod(ends, torch.tensor([0.0, 0.25, 0.5, 0.75, 1 - 2.0**-24])).T
    for alpha in (0.05, 0.2, 1.0, 10.0):
        weight = symmetric_beta(noise, alpha)
        assert weight.isfinite().all()
        assert 0 <= weight.min() <= weight.max() <= 1


def check_mixup(function: Callable[..., Mixed], generator: torch.Generator) -> None:
    images = torch.randn(9, 3, 4, 5, generator=generator)
    result = function(images, alpha=0.7, generator=generator)
    assert sorted(result.partner.tolist()) == list(range(9))
    reference = oracle.mixed(images.double().numpy(), result.partner.tolist(), result.weight.tolist())
    np.testing.assert_allclose(result.images.numpy(), reference, atol=1e-5)
    assert len(set(result.weight.tolist())) == 9


def test_mixup_is_the_average_it_says(generator: torch.Generator) -> None:
    check_mixup(mixup, generator)


def test_mixup_mutants_are_rejected(generator: torch.Generator) -> None:
    def changed(change: Callable[[Mixed], Mixed]) -> Callable[..., Mixed]:
        return lambda images, alpha, generator: change(mixup(images, alpha=alpha, generator=generator))

    for mutant in (
        changed(lambda m: m._replace(weight=1 - m.weight)),
        changed(lambda m: m._replace(partner=m.partner.argsort())),
        changed(lambda m: m._replace(weight=m.weight[:1].expand(9))),
        changed(lambda m: m._replace(images=m.images.roll(1, 0))),
    ):
        with pytest.raises(AssertionError):
            check_mixup(mutant, generator)


def test_partners_are_uniform_permutations(generator: torch.Generator) -> None:
    images = torch.zeros(4, 1, 1, 1)
    code = torch.tensor([64, 16, 4, 1])
    for function in (mixup, cutmix):
        drawn = torch.stack([(function(images, generator=generator).partner * code).sum() for _ in range(1500)])
        counts = drawn.unique(return_counts=True)[1].numpy()
        assert len(counts) == 24
        assert stats.chisquare(counts).pvalue > LEVEL


def check_cutmix(function: Callable[..., Mixed], generator: torch.Generator) -> None:
    number, height, width = 400, 9, 12
    # Every pixel of image n has value n, so that the result tells where it comes from.
    images = torch.arange(number, dtype=torch.float32)[:, None, None, None].expand(-1, 2, height, width)
    result = function(images, alpha=1.0, generator=generator)
    assert sorted(result.partner.tolist()) == list(range(number))
    assert torch.equal(result.images[:, 0], result.images[:, 1])
    partner = result.partner.float()[:, None, None]
    own = result.images[:, 0] == images[:, 0]
    assert (own | (result.images[:, 0] == partner)).all()
    other = result.partner != torch.arange(number)
    pasted = ~own[other]
    torch.testing.assert_close(result.weight[other], 1 - pasted.float().mean(dim=(1, 2)))
    # What is pasted is one box.
    rows, columns = pasted.any(dim=2), pasted.any(dim=1)
    assert torch.equal(pasted, rows[:, :, None] & columns[:, None, :])
    for lines in (rows, columns):
        jumps = torch.nn.functional.pad(lines.int(), (1, 1)).diff(dim=1).abs().sum(dim=1)
        assert set(jumps.tolist()) <= {0, 2}
    # Boxes reach every pixel, the corners included, and are of many sizes.
    assert pasted.any(dim=0).all()
    assert len(result.weight.unique()) > 20


def test_cutmix_pastes_a_box_and_says_how_much_is_left(generator: torch.Generator) -> None:
    check_cutmix(cutmix, generator)


def test_cutmix_mutants_are_rejected(generator: torch.Generator) -> None:
    def changed(change: Callable[[Mixed, Tensor], Mixed]) -> Callable[..., Mixed]:
        return lambda images, alpha, generator: change(cutmix(images, alpha=alpha, generator=generator), images)

    def unclipped(images: Tensor, alpha: float, generator: torch.Generator) -> Mixed:
        noise = torch.rand(5, len(images), generator=generator)
        return cutmix_with(images, noise, alpha=alpha)._replace(weight=symmetric_beta(noise[1:3], alpha))

    for mutant in (
        changed(lambda m, x: m._replace(weight=1 - m.weight)),
        changed(lambda m, x: m._replace(partner=m.partner.roll(1))),
        changed(lambda m, x: m._replace(images=x[m.partner])),
        unclipped,
    ):
        with pytest.raises(AssertionError):
            check_cutmix(mutant, generator)


def test_cutmix_boxes_have_the_papers_sides() -> None:
    # lambda = 1/2, so the sides are 0.707 of the image's; its centre decides how much of the box is inside.
    noise = torch.tensor([[0.1, 0.2], [0.5, 0.5], [0.25, 0.25], [0.5, 0.0], [0.5, 0.0]])
    result = cutmix_with(torch.zeros(2, 1, 32, 32), noise, alpha=1.0)
    assert result.weight.tolist() == [1 - (22 / 32) ** 2, 1 - (11 / 32) ** 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_mixing_keeps_the_type(dtype: torch.dtype, generator: torch.Generator) -> None:
    images = torch.randn(4, 3, 6, 6, generator=generator).to(dtype)
    for function in (mixup, cutmix):
        result = function(images, generator=generator)
        assert result.images.dtype == dtype
        assert result.weight.dtype == torch.float32


def test_meta(generator: torch.Generator) -> None:
    images = torch.zeros(4, 3, 6, 6, device="meta")
    for function in (mixup, cutmix):
        result = function(images, generator=generator)
        assert all(part.is_meta for part in result)
        assert (result.images.shape, result.partner.shape, result.weight.shape) == (images.shape, (4,), (4,))


def test_alpha_must_be_positive(generator: torch.Generator) -> None:
    images = torch.zeros(4, 3, 6, 6)
    for function in (mixup, cutmix):
        with pytest.raises(InputError, match="must be positive, not 0"):
            function(images, alpha=0.0, generator=generator)
    assert torch.equal(mixup_with(images, torch.rand(3, 4), alpha=1.0).images, images)
