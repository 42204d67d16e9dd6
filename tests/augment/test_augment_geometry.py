from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from longtail.augment.geometry import (
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    affine,
    crop,
    resized_crop,
    rotation,
)
from longtail.errors import InputError
from oracles import augment as oracle

LEVEL = 1e-5


def pictures(*shape: int) -> Tensor:
    return torch.from_numpy(oracle.pictures(*shape))


def offsets(number: int, padding: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    top, left = torch.randint(0, 2 * padding + 1, (2, number), generator=generator)
    top[:2], left[:2] = torch.tensor([0, 2 * padding]), torch.tensor([2 * padding, 0])
    return top, left


# --- crop ---


def check_crop(function: Callable[..., Tensor], generator: torch.Generator) -> None:
    for shape, padding, fill in (((6, 3, 9, 12), 4, 0), ((4, 1, 8, 8), 1, 50)):
        images = pictures(*shape)
        top, left = offsets(len(images), padding, generator)
        result = function(images, top, left, padding=padding, fill=fill)
        for image, i, j, ours in zip(images, top.tolist(), left.tolist(), result, strict=True):
            assert np.array_equal(ours.numpy(), oracle.crop(image.numpy(), i, j, padding, fill))
            padded = tv.pad(image, [padding], fill=fill)
            assert torch.equal(ours, tv.crop(padded, i, j, *image.shape[1:]))


def test_crop_is_pad_and_crop(generator: torch.Generator) -> None:
    check_crop(crop, generator)


def test_crop_mutants_are_rejected(generator: torch.Generator) -> None:
    mutants: list[Callable[..., Tensor]] = [
        lambda x, top, left, padding, fill: crop(x, left, top, padding=padding, fill=fill),
        lambda x, top, left, padding, fill: crop(x, 2 * padding - top, left, padding=padding, fill=fill),
        lambda x, top, left, padding, fill: crop(x, top, left, padding=padding, fill=fill + 1),
        lambda x, top, left, padding, fill: crop(x, top[:1].expand_as(top), left, padding=padding, fill=fill),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_crop(mutant, generator)


def check_crop_places(parameters: Callable[[Tensor], tuple[Tensor, Tensor]], generator: torch.Generator) -> None:
    top, left = parameters(torch.rand(2, 40_000, generator=generator))
    counts = torch.bincount(9 * top + left, minlength=81)
    assert len(counts) == 81
    assert stats.chisquare(counts.numpy()).pvalue > LEVEL


def test_crop_places_are_uniform(generator: torch.Generator) -> None:
    check_crop_places(RandomCrop(padding=4).parameters, generator)
    for mutant in (
        lambda noise: ((noise[0] * 8).long(), (noise[1] * 8).long()),
        lambda noise: ((noise[0] * 8).round().long(), (noise[1] * 8).round().long()),
        lambda noise: ((noise[0] * 9).long(), (noise[0] * 9).long()),
    ):
        with pytest.raises(AssertionError):
            check_crop_places(mutant, generator)


def test_crop_without_padding_changes_nothing(generator: torch.Generator) -> None:
    images = pictures(4, 3, 8, 8)
    assert torch.equal(RandomCrop(padding=0)(images, generator=generator), images)


# --- flip ---


def test_flip_is_the_mirror_image(generator: torch.Generator) -> None:
    images = pictures(5, 3, 6, 9)
    result = HorizontalFlip(probability=1.0)(images, generator=generator)
    for image, ours in zip(images, result, strict=True):
        assert np.array_equal(ours.numpy(), oracle.flip(image.numpy()))
        assert torch.equal(ours, tv.horizontal_flip(image))
    assert not torch.equal(result, images.flip(-2))


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_flips_have_their_probability(probability: float, generator: torch.Generator) -> None:
    flipped = HorizontalFlip(probability).parameters(torch.rand(1, 20_000, generator=generator))
    assert stats.binomtest(int(flipped.sum()), 20_000, probability).pvalue > LEVEL


# --- resized crop ---


def boxes(height: int, width: int) -> list[tuple[int, int, int, int]]:
    return [(0, 0, height, width), (1, 2, 3, 5), (0, 0, 1, 1), (height - 4, width - 3, 4, 3), (2, 1, height - 3, 2)]


def check_resized_crop(function: Callable[..., Tensor]) -> None:
    for shape, size in (((5, 3, 12, 10), (12, 10)), ((5, 1, 8, 8), (5, 13))):
        images = pictures(*shape)
        chosen = boxes(*shape[2:])
        result = function(images, *torch.tensor(chosen).T, size=size)
        for image, box, ours in zip(images, chosen, result, strict=True):
            reference = oracle.resized_crop(image.numpy(), *box, size)
            # Rounded to the nearest, so half a level away at most.
            assert np.abs(ours.numpy() - reference).max() < 0.5 + 1e-3
            exact = tv.resized_crop(image.double(), *box, list(size), antialias=True).numpy()
            np.testing.assert_allclose(reference, exact, atol=1e-3)
            # torchvision resizes bytes in whole numbers, line by line, rounding twice.
            bytewise = tv.resized_crop(image, *box, list(size), antialias=True)
            assert (ours.int() - bytewise.int()).abs().max() <= 1


def test_resized_crop_is_torchvisions() -> None:
    check_resized_crop(resized_crop)


def test_resized_crop_mutants_are_rejected() -> None:
    mutants: list[Callable[..., Tensor]] = [
        lambda x, top, left, h, w, size: resized_crop(x, top, left, w.clamp(max=x.shape[2] - top), h, size=size),
        lambda x, top, left, h, w, size: resized_crop(x, top, left, h, w, size=size).roll(1, dims=-1),
        # No antialiasing: every other pixel where the result is half as large.
        lambda x, top, left, h, w, size: torch.nn.functional.interpolate(x.float(), size, mode="bilinear").to(
            torch.uint8
        ),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_resized_crop(mutant)


def test_resized_crop_keeps_its_precision_under_autocast() -> None:
    images = pictures(4, 3, 16, 16)
    box = torch.tensor([[1, 2, 9, 11]] * 4).T
    expected = resized_crop(images, *box, size=(16, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resized_crop(images, *box, size=(16, 16)), expected)


def check_boxes(
    parameters: Callable[[Tensor, int, int], tuple[Tensor, ...]], height: int, width: int, generator: torch.Generator
) -> None:
    """Against torchvision's own draws: heights, widths and places, jointly coarse and each one fine."""
    number = 6000
    top, left, tall, wide = parameters(torch.rand(22, number, generator=generator), height, width)
    for start, length, limit in ((top, tall, height), (left, wide, width)):
        assert int(start.min()) >= 0
        assert int(length.min()) >= 1
        assert int((start + length).max()) <= limit
    ours = torch.stack((top, left, tall, wide), dim=1).numpy()
    reference = v2.RandomResizedCrop(8)
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        drawn = [reference.make_params([picture]) for _ in range(number)]
    theirs = np.array([[d["top"], d["left"], d["height"], d["width"]] for d in drawn])
    coarse = [(4 * (x[:, 2] // 4) + 100 * (x[:, 3] // 4)) * 100 + x[:, 0] // 6 for x in (ours, theirs)]
    for a, b in [(ours[:, k], theirs[:, k]) for k in range(4)] + [(coarse[0], coarse[1])]:
        values, where = np.unique(np.concatenate([a, b]), return_inverse=True)
        table = np.zeros((2, len(values)))
        np.add.at(table, (np.repeat([0, 1], number), where), 1)
        table = table[:, table.sum(axis=0) >= 10]
        if table.shape[1] > 1:
            assert stats.chi2_contingency(table).pvalue > LEVEL


@pytest.mark.parametrize(("height", "width"), [(32, 32), (12, 40)])
def test_boxes_are_drawn_as_torchvision_draws_them(height: int, width: int, generator: torch.Generator) -> None:
    check_boxes(RandomResizedCrop().parameters, height, width, generator)


def test_box_mutants_are_rejected(generator: torch.Generator) -> None:
    plain = RandomResizedCrop()

    def transposed(noise: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
        top, left, tall, wide = plain.parameters(noise, height, width)
        return left.clamp(max=height - 1), top, wide.clamp(max=height), tall

    def first_try_only(noise: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
        return plain.parameters(
            torch.cat((noise[:1].expand(10, -1), noise[10:11].expand(10, -1), noise[20:])), height, width
        )

    mutants = [
        (RandomResizedCrop(scale=(0.2, 1.0)).parameters, 32, 32),
        (RandomResizedCrop(ratio=(0.5, 2.0)).parameters, 32, 32),
        (lambda noise, h, w: (*plain.parameters(noise, h, w)[:1], *plain.parameters(noise * 0.9, h, w)[1:]), 32, 32),
        (first_try_only, 12, 40),
        (transposed, 12, 40),
    ]
    for mutant, height, width in mutants:
        with pytest.raises(AssertionError):
            check_boxes(mutant, height, width, generator)


def test_box_that_never_fits_is_central() -> None:
    # A strip: no box of 90 % of its area has an allowed ratio.
    crop_ = RandomResizedCrop(scale=(0.9, 1.0))
    noise = torch.rand(22, 5, generator=torch.Generator().manual_seed(0))
    for height, width, expected in ((10, 40, (0, 13, 10, 13)), (40, 10, (13, 0, 13, 10))):
        assert torch.stack(crop_.parameters(noise, height, width)).T.tolist() == [list(expected)] * 5


# --- affine ---


def test_rotation_is_torchvisions() -> None:
    images = pictures(7, 3, 32, 32)
    degrees = torch.tensor([0.0, 15.0, -15.0, 6.666667, -30.0, 3.3, 90.0])
    result = affine(images, rotation(degrees), fill=128)
    for image, angle, ours in zip(images, degrees.tolist(), result, strict=True):
        doubtful = oracle.doubtful(image.numpy(), "Rotate", angle)
        assert doubtful.mean() < 0.02 or angle % 90 == 0
        assert torch.equal(ours[:, ~doubtful], tv.rotate(image, angle, fill=128)[:, ~doubtful])
        assert np.array_equal(
            ours.numpy()[:, ~doubtful], oracle.moved(image.numpy(), "Rotate", angle, 128)[:, ~doubtful]
        )


def test_rotation_of_oblong_images_and_the_wrong_way() -> None:
    image = pictures(2, 3, 20, 31)[1:]
    ours = affine(image, rotation(torch.tensor([11.0])), fill=0)
    sure = ~oracle.doubtful(image[0].numpy(), "Rotate", 11.0)
    assert torch.equal(ours[0][:, sure], tv.rotate(image[0], 11.0, fill=[0])[:, sure])
    clockwise = affine(image, rotation(torch.tensor([-11.0])), fill=0)
    assert not torch.equal(clockwise[0][:, sure], tv.rotate(image[0], 11.0, fill=[0])[:, sure])


def test_angles_are_uniform(generator: torch.Generator) -> None:
    angles = Rotation(degrees=15.0).parameters(torch.rand(1, 20_000, generator=generator))
    assert stats.kstest(angles.numpy(), stats.uniform(-15, 30).cdf).pvalue > LEVEL
    assert stats.kstest(angles.abs().numpy(), stats.uniform(-15, 30).cdf).pvalue < LEVEL


def test_half_a_turn_twice_is_no_turn() -> None:
    images = pictures(3, 1, 16, 16)
    turn = rotation(torch.full((3,), 180.0))
    assert torch.equal(affine(affine(images, turn, fill=0), turn, fill=0), images)
    assert torch.equal(affine(images, turn, fill=0), images.flip(-1, -2))


def test_bad_fields_are_errors() -> None:
    for make, message in (
        (lambda: RandomCrop(padding=-1), "padding must be 0 or more"),
        (lambda: RandomCrop(fill=256), "fill must be between 0 and 255"),
        (lambda: HorizontalFlip(probability=1.5), "probability must be between 0 and 1"),
        (lambda: HorizontalFlip(probability=math.nan), "probability must be between 0 and 1"),
        (lambda: RandomResizedCrop(scale=(0.5, 0.1)), "scale must be two increasing shares"),
        (lambda: RandomResizedCrop(scale=(0.5, 1.1)), "scale must be two increasing shares"),
        (lambda: RandomResizedCrop(ratio=(0.0, 1.0)), "ratio must be two increasing"),
        (lambda: RandomResizedCrop(size=0), "size must be at least 1"),
        (lambda: Rotation(degrees=-1.0), "0 degrees or more"),
        (lambda: Rotation(fill=-1), "fill must be between 0 and 255"),
    ):
        with pytest.raises(InputError, match=message):
            make()
