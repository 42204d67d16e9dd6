from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from longtail.augment import tables
from oracles import augment as oracle


def pictures(*shape: int) -> Tensor:
    return torch.from_numpy(oracle.pictures(*shape))


def test_look_up_reads_each_channels_own_table(generator: torch.Generator) -> None:
    images = pictures(4, 3, 5, 6)
    table = torch.randint(0, 256, (4, 3, 256), dtype=torch.uint8, generator=generator)
    result = tables.look_up(images, table, tables.positions(images))
    for n in range(4):
        for c in range(3):
            assert torch.equal(result[n, c], table[n, c][images[n, c].long()])


def test_identity_and_inverse() -> None:
    images = pictures(3, 1, 5, 5)
    position = tables.positions(images)
    assert torch.equal(tables.look_up(images, tables.identity(images), position), images)
    assert torch.equal(tables.look_up(images, tables.inverted(images), position), 255 - images)


def check_equalized(images: Tensor, result: Tensor) -> None:
    for image, ours in zip(images, result, strict=True):
        reference = np.stack([oracle.equalized(channel) for channel in image.numpy()])
        assert np.array_equal(ours.numpy(), reference)
        assert torch.equal(ours, tv.equalize(image))


@pytest.mark.parametrize("shape", [(8, 3, 32, 32), (5, 1, 20, 13), (4, 3, 8, 8), (3, 1, 70, 80)], ids=str)
def test_equalizing_is_pillows_rule_exactly(shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    position = tables.positions(images)
    check_equalized(images, tables.look_up(images, tables.equalized(images, position), position))


def test_equalizing_mutants_are_rejected() -> None:
    images = pictures(8, 3, 32, 32)
    flat = images.flatten(2).long()
    histogram = torch.zeros(8, 3, 256, dtype=torch.long).scatter_add_(2, flat, torch.ones_like(flat))
    textbook = (histogram.cumsum(2) * 255 // 1024).to(torch.uint8)
    image_wide = tables.equalized(images, tables.positions(images))[:, :1].expand(-1, 3, -1)
    for table in (textbook, image_wide):
        with pytest.raises(AssertionError):
            check_equalized(images, tables.look_up(images, table, tables.positions(images)))


def test_stretching_reaches_from_0_to_255_and_leaves_one_level_alone() -> None:
    images = pictures(6, 3, 16, 16)
    result = tables.look_up(images, tables.stretched(images), tables.positions(images))
    assert torch.equal(result[0], images[0])
    assert (result[1:].amin((2, 3)) == 0).all()
    assert (result[1:].amax((2, 3)) == 255).all()


@pytest.mark.parametrize("bits", range(9))
def test_posterizing_keeps_the_high_bits(bits: int) -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    table = tables.posterized(images, torch.tensor([bits]))
    assert torch.equal(table[0, 0], tv.posterize(images, bits).flatten())


@pytest.mark.parametrize("threshold", [0.0, 28.3, 170.0, 255.0])
def test_solarizing_inverts_from_the_threshold_on(threshold: float) -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    table = tables.solarized(images, torch.tensor([threshold]))
    assert torch.equal(table[0, 0], tv.solarize(images, threshold).flatten())
