from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from longtail.augment.color import ColorJitter, GaussianBlur, Grayscale, blur, jitter, turn_hue
from longtail.augment.pixels import nearest
from longtail.errors import InputError
from oracles import augment as oracle

LEVEL = 1e-5
BNS = ColorJitter(brightness=1.6, contrast=1.6, saturation=1.6, hue=0.4, probability=0.8)


def pictures(*shape: int) -> Tensor:
    return torch.from_numpy(oracle.pictures(*shape))


# --- jitter ---

ORDERS = list(itertools.permutations(range(4)))


def strengths(number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    factors = 2.6 * torch.rand(3, number, generator=generator)
    return factors, 0.8 * torch.rand(number, generator=generator) - 0.4


def split(order: tuple[int, ...]) -> tuple[list[int], int]:
    """The order of the first three, and how many of them come before the hue."""
    return [kind for kind in order if kind != 3], order.index(3)


def check_jitter(function: Callable[..., Tensor], channels: int, generator: torch.Generator) -> None:
    """All 24 orders, one image each."""
    images = pictures(24, channels, 6, 7)
    factors, shift = strengths(24, generator)
    order = torch.tensor([split(order)[0] for order in ORDERS]).T
    before = torch.tensor([split(order)[1] for order in ORDERS])
    result = function(images, factors, shift, order, before)
    for n, image in enumerate(images):
        reference = oracle.jittered(image.numpy(), factors[:, n].tolist(), shift[n].item(), list(ORDERS[n]))
        np.testing.assert_allclose(result[n].numpy(), reference, atol=2e-2)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_in_every_order(channels: int, generator: torch.Generator) -> None:
    check_jitter(jitter, channels, generator)


def test_jitter_mutants_are_rejected(generator: torch.Generator) -> None:
    mutants: list[Callable[..., Tensor]] = [
        lambda x, f, s, o, b: jitter(x, f, -s, o, b),
        lambda x, f, s, o, b: jitter(x, f[[1, 0, 2]], s, o, b),
        lambda x, f, s, o, b: jitter(x, f, s, torch.tensor([0, 1, 2])[:, None].expand_as(o), b),
        lambda x, f, s, o, b: jitter(x, f, s, o, torch.full_like(b, 3)),
        lambda x, f, s, o, b: jitter(x, f, s, o, 3 - b),
        lambda x, f, s, o, b: jitter(x, f.clamp(max=1.0), s, o, b),
        lambda x, f, s, o, b: jitter(x, f[:, :1].expand_as(f), s, o, b),
        lambda x, f, s, o, b: jitter(x, f, s[:1].expand_as(s), o, b),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_jitter(mutant, 3, generator)


def torchvision_jitter(image: Tensor, factors: list[float], shift: float, order: tuple[int, ...]) -> Tensor:
    steps: list[Callable[[Tensor], Tensor]] = [
        lambda x: tv.adjust_brightness(x, factors[0]),
        lambda x: tv.adjust_contrast(x, factors[1]),
        lambda x: tv.adjust_saturation(x, factors[2]),
        lambda x: tv.adjust_hue(x, shift),
    ]
    for kind in order:
        image = steps[kind](image)
    return image


def test_jitter_is_torchvisions_on_real_values_and_near_it_on_bytes(generator: torch.Generator) -> None:
    images = pictures(48, 3, 16, 16)
    factors, shift = strengths(48, generator)
    orders = ORDERS * 2
    order = torch.tensor([split(order)[0] for order in orders]).T
    before = torch.tensor([split(order)[1] for order in orders])
    levels = jitter(images, factors, shift, order, before)
    real = [
        torchvision_jitter(image.double() / 255, factors[:, n].tolist(), shift[n].item(), orders[n])
        for n, image in enumerate(images)
    ]
    torch.testing.assert_close(levels.double(), 255 * torch.stack(real), atol=2e-2, rtol=0)
    bytewise = torch.stack(
        [
            torchvision_jitter(image, factors[:, n].tolist(), shift[n].item(), orders[n])
            for n, image in enumerate(images)
        ]
    )
    # torchvision loses up to a level in each of four steps, and a later factor of up to 2.6 enlarges it.
    error = (nearest(levels).int() - bytewise.int()).abs()
    assert error.float().mean() < 1.2
    assert error.max() <= 12


@pytest.mark.parametrize("channels", [1, 3])
def test_strength_zero_changes_nothing(channels: int, generator: torch.Generator) -> None:
    images = pictures(24, channels, 8, 8)
    assert torch.equal(ColorJitter()(images, generator=generator), images)
    strong = ColorJitter(brightness=1.6, contrast=1.6, saturation=1.6, hue=0.4, probability=0.0)
    assert torch.equal(strong(images, generator=generator), images)


def test_hue_of_every_corner_of_the_colour_cube() -> None:
    corners = torch.tensor(list(itertools.product([0.0, 100.0, 255.0], repeat=3))).view(-1, 3, 1, 1)
    for shift in (-0.4, -1 / 3, 0.0, 0.1, 1 / 3, 0.5, 1.0):
        turned = turn_hue(corners, torch.full((len(corners),), shift))
        for corner, ours in zip(corners, turned, strict=True):
            np.testing.assert_allclose(ours, oracle.hue_turned(corner.double().numpy(), shift), atol=1e-3)


def test_a_third_of_the_circle_moves_the_channels(generator: torch.Generator) -> None:
    images = 255 * torch.rand(3, 3, 5, 5, generator=generator)
    torch.testing.assert_close(turn_hue(images, torch.full((3,), 1 / 3)), images.roll(1, dims=1), atol=1e-3, rtol=0)


def test_jitter_parameters_have_their_distributions(generator: torch.Generator) -> None:
    noise = torch.rand(7, 48_000, generator=generator)
    factors, shift, order, before = BNS.parameters(noise)
    changed = factors[0] != 1
    assert stats.binomtest(int(changed.sum()), 48_000, 0.8).pvalue > LEVEL
    # An image is changed in all or in nothing.
    for values in (*(factors[1:] != 1), shift != 0):
        assert torch.equal(values, changed)
    for values in factors[:, changed]:
        assert stats.kstest(values.numpy(), stats.uniform(0, 2.6).cdf).pvalue > LEVEL
    assert stats.kstest(shift[changed].numpy(), stats.uniform(-0.4, 0.8).cdf).pvalue > LEVEL
    for a, b in itertools.combinations((*factors[:, changed], shift[changed]), 2):
        assert abs(stats.pearsonr(a.numpy(), b.numpy()).statistic) < 4.5 / int(changed.sum()) ** 0.5
    assert torch.equal(order.sort(dim=0).values, torch.arange(3)[:, None].expand(3, 48_000))
    code = before + 4 * (order[0] + 3 * order[1])
    counts = torch.bincount(code)
    counts = counts[counts > 0].numpy()
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > LEVEL


def test_small_strengths_are_symmetric_about_no_change(generator: torch.Generator) -> None:
    factors, _, _, _ = ColorJitter(brightness=0.2, contrast=0.4, saturation=1.0).parameters(
        torch.rand(7, 20_000, generator=generator)
    )
    for values, low, width in zip(factors, (0.8, 0.6, 0.0), (0.4, 0.8, 2.0), strict=True):
        assert stats.kstest(values.numpy(), stats.uniform(low, width).cdf).pvalue > LEVEL


# --- greyness ---


def check_grey(function: Callable[[Tensor], Tensor]) -> None:
    images = pictures(6, 3, 16, 16)
    result = function(images)
    for image, ours in zip(images, result, strict=True):
        assert np.array_equal(ours.numpy(), np.stack([oracle.grey_level(image.numpy())] * 3).astype(np.uint8))
        assert torch.equal(ours, tv.rgb_to_grayscale(image, num_output_channels=3))


def test_grey_images_are_torchvisions(generator: torch.Generator) -> None:
    check_grey(lambda images: Grayscale(probability=1.0)(images, generator=generator))
    mutants: list[Callable[[Tensor], Tensor]] = [
        lambda images: images.float().mean(dim=1, keepdim=True).expand_as(images).to(torch.uint8),
        lambda images: Grayscale(probability=1.0)(images.flip(1), generator=generator),
        lambda images: Grayscale(probability=0.5)(images, generator=generator),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_grey(mutant)


def test_grey_images_stay_grey(generator: torch.Generator) -> None:
    images = pictures(4, 1, 8, 8)
    assert torch.equal(Grayscale(probability=1.0)(images, generator=generator), images)


def test_greying_has_its_probability(generator: torch.Generator) -> None:
    greyed = Grayscale().parameters(torch.rand(1, 20_000, generator=generator))
    assert stats.binomtest(int(greyed.sum()), 20_000, 0.2).pvalue > LEVEL


# --- blur ---


def check_blur(function: Callable[..., Tensor], generator: torch.Generator) -> None:
    sigma = torch.tensor([0.1, 0.3, 0.7, 1.1, 2.0, 5.0])
    for channels, kernel in ((3, 3), (1, 5), (3, 7)):
        images = pictures(6, channels, 9, 12)
        result = function(images, sigma, kernel=kernel)
        for image, width, ours in zip(images, sigma.tolist(), result, strict=True):
            real = oracle.blurred(image.numpy(), width, kernel)
            clear = np.abs(real + 0.5 - np.round(real + 0.5)) > 1e-3
            assert np.array_equal(ours.numpy()[clear], oracle.rounded(real)[clear])
            assert np.abs(ours.numpy() - real).max() < 0.5 + 1e-3
            theirs = tv.gaussian_blur(image, [kernel, kernel], [width, width]).numpy()
            assert np.array_equal(ours.numpy()[clear], theirs[clear])


def test_blur_is_torchvisions(generator: torch.Generator) -> None:
    check_blur(blur, generator)


def test_blur_mutants_are_rejected(generator: torch.Generator) -> None:
    def zeros_around(images: Tensor, sigma: Tensor, kernel: int) -> Tensor:
        padded = torch.nn.functional.pad(images, (kernel,) * 4)
        return blur(padded, sigma, kernel=kernel)[..., kernel:-kernel, kernel:-kernel]

    mutants: list[Callable[..., Tensor]] = [
        zeros_around,
        lambda x, s, kernel: blur(x, 2**0.5 * s, kernel=kernel),
        lambda x, s, kernel: blur(x, s, kernel=3),
        lambda x, s, kernel: blur(x, s[:1].expand_as(s), kernel=kernel),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_blur(mutant, generator)


def test_blur_widths_are_uniform(generator: torch.Generator) -> None:
    sigma = GaussianBlur().parameters(torch.rand(1, 20_000, generator=generator))
    assert stats.kstest(sigma.numpy(), stats.uniform(0.1, 1.9).cdf).pvalue > LEVEL


def test_bad_fields_are_errors(generator: torch.Generator) -> None:
    for make, message in (
        (lambda: ColorJitter(brightness=-0.1), "brightness must be 0 or more"),
        (lambda: ColorJitter(hue=0.6), "at most 0.5"),
        (lambda: ColorJitter(probability=2.0), "probability must be between"),
        (lambda: Grayscale(probability=-1.0), "probability must be between"),
        (lambda: GaussianBlur(kernel=4), "odd number of pixels"),
        (lambda: GaussianBlur(sigma=(0.0, 1.0)), "increasing positive"),
        (lambda: GaussianBlur(kernel=17)(pictures(2, 3, 8, 8), generator=generator), "does not fit"),
        (lambda: Grayscale()(torch.zeros(1, 2, 4, 4, dtype=torch.uint8), generator=generator), "1 or 3 channels"),
        (lambda: BNS(torch.zeros(1, 4, 4, 4, dtype=torch.uint8), generator=generator), "1 or 3 channels"),
    ):
        with pytest.raises(InputError, match=message):
            make()
