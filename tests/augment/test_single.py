"""One picture at a time: torchvision's transforms in the place of ours, with the same distributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longtail.augment import (
    AutoAugment,
    ColorJitter,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandAugment,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    Views,
    compose,
)
from longtail.augment.single import pipeline
from longtail.errors import InputError

pytest.importorskip("torchvision")
SIDE = 12


def middle(picture: Tensor) -> Tensor:
    """A stand-in for scaling: the middle of the picture."""
    top, left = (picture.shape[1] - SIDE) // 2, (picture.shape[2] - SIDE) // 2
    return picture[:, top : top + SIDE, left : left + SIDE]


def drawn(operations: tuple[object, ...], picture: Tensor, number: int) -> Tensor:
    """So many results (n, C, S, S), each from a seed of its own."""
    transform, found = pipeline(operations, side=SIDE, fit=middle), []  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        for seed in range(number):
            torch.default_generator.manual_seed(seed)
            found.append(transform(picture))
    return torch.stack(found)


def picture(channels: int = 3, height: int = SIDE, width: int = SIDE) -> Tensor:
    values = torch.randint(256, (channels, height, width), generator=torch.Generator().manual_seed(1))
    return values.to(torch.uint8)


@pytest.mark.parametrize(
    "operation",
    [
        RandomCrop(padding=2, fill=7),
        HorizontalFlip(probability=0.3),
        Cutout(size=4, fill=9),
        Grayscale(probability=0.4),
    ],
)
def test_results_have_the_distribution_of_ours(operation: object) -> None:
    """The mean over many draws of each pixel; for a flip of another probability it is another one."""
    image = picture()
    ours = compose(
        (operation,),  # type: ignore[arg-type]
        image.expand(3000, -1, -1, -1).contiguous(),
        generator=torch.Generator().manual_seed(0),
    )
    theirs = drawn((operation,), image, 800)
    deviation = ours.float().std(dim=0) * (1 / 3000 + 1 / 800) ** 0.5
    apart = (ours.float().mean(0) - theirs.float().mean(0)).abs()
    # Among 432 pixels none is as far out as 5 deviations; half a level is what two ways of rounding grey may make.
    assert bool((apart <= 5 * deviation + 0.6).all())


def test_another_probability_would_be_seen() -> None:
    image = picture()
    ours = compose((HorizontalFlip(0.3),), image.expand(3000, -1, -1, -1), generator=torch.Generator())
    theirs = drawn((HorizontalFlip(0.5),), image, 800)
    deviation = ours.float().std(dim=0) * (1 / 3000 + 1 / 800) ** 0.5
    assert not bool(((ours.float().mean(0) - theirs.float().mean(0)).abs() <= 5 * deviation + 0.6).all())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "operation",
    [
        RandomResizedCrop(),
        Rotation(),
        ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, probability=0.8),
        GaussianBlur(),
        AutoAugment(),
        RandAugment(),
        Cutout(size=4),
    ],
)
def test_every_operation_gives_the_final_size_and_varies(operation: object, channels: int) -> None:
    found = drawn((operation,), picture(channels, 20, 16), 6)
    assert (found.shape, found.dtype) == ((6, channels, SIDE, SIDE), torch.uint8)
    assert len({one.numpy().tobytes() for one in found}) > 1


def test_a_resized_crop_sees_the_whole_picture_and_others_its_middle() -> None:
    """Only the border of a picture is bright: a crop of the whole shows it, one of the middle never does."""
    image = torch.zeros(1, 40, 40, dtype=torch.uint8)
    image[:, :, :12] = 255
    assert bool((drawn((RandomResizedCrop(scale=(0.9, 1.0)),), image, 5).flatten(1).max(1).values == 255).all())
    assert int(drawn((HorizontalFlip(), RandomResizedCrop(scale=(0.9, 1.0))), image, 5).max()) == 0
    assert int(drawn((), image, 1).max()) == 0


def test_views_are_drawn_independently() -> None:
    found = drawn((Views((RandomResizedCrop(), HorizontalFlip()), count=3),), picture(3, 20, 16), 4)
    assert found.shape == (4, 3, 3, SIDE, SIDE)
    assert not torch.equal(found[:, 0], found[:, 1])
    with pytest.raises(InputError, match="views must be the last operation"):
        pipeline((Views((HorizontalFlip(),)), HorizontalFlip()), side=SIDE, fit=middle)


def test_an_operation_of_somebody_s_own_runs_on_a_batch_of_one() -> None:
    class Darker:
        draws = 1

        def apply(self, images: Tensor, noise: Tensor) -> Tensor:
            assert images.shape == (1, 3, SIDE, SIDE)
            assert noise.shape == (1, 1)
            return (images.float() * noise[0, 0]).to(torch.uint8)

    found = drawn((Darker(),), picture(), 3)
    assert not torch.equal(found[0], found[1])
