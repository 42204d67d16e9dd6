from __future__ import annotations

import numpy as np
import pytest
import torch

from longtail.augment.pixels import check_channels, cut, luminance, luminance_level, nearest, select
from longtail.errors import InputError
from oracles import augment as oracle


def test_select_is_where(generator: torch.Generator) -> None:
    yes, no = torch.randint(0, 256, (2, 6, 3, 5, 7), dtype=torch.uint8, generator=generator)
    mask = torch.tensor([True, False, True, True, False, False])
    assert torch.equal(select(mask, yes, no), torch.where(mask[:, None, None, None], yes, no))
    assert torch.equal(select(mask, yes[:, 0, 0], no[:, 0, 0]), torch.where(mask[:, None], yes[:, 0, 0], no[:, 0, 0]))


def test_cut_drops_the_fraction_and_forgives_rounding() -> None:
    # 99.99999 is what 100 may come out as; 99.9999 is a value that float32 can tell from it.
    values = torch.tensor([-3.0, 0.0, 0.9, 99.99999, 99.9999, 254.5, 255.0, 300.0])
    assert cut(values).tolist() == [0, 0, 0, 100, 99, 254, 255, 255]


def test_nearest_rounds() -> None:
    values = torch.tensor([-3.0, 0.4, 0.6, 99.49, 99.51, 254.6, 255.4, 300.0])
    assert nearest(values).tolist() == [0, 0, 1, 99, 100, 255, 255, 255]


def test_greyness_cut_to_a_level_is_exact_for_every_colour_of_a_lattice() -> None:
    steps = torch.arange(0, 256, 5)
    colours = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 1, -1).float()
    level = luminance_level(colours)[0, 0, 0]
    red, green, blue = colours[0, :, 0].long()
    assert torch.equal(level.long(), (2989 * red + 5870 * green + 1140 * blue) // 10000)
    torch.testing.assert_close(luminance(colours).floor()[0, 0, 0], level, atol=1, rtol=0)


def test_greyness_of_one_channel_is_itself() -> None:
    images = torch.from_numpy(oracle.pictures(2, 1, 4, 4)).float()
    assert luminance(images) is images
    assert luminance_level(images) is images


def test_greyness_against_the_reference() -> None:
    images = oracle.pictures(4, 3, 6, 5)
    ours = luminance(torch.from_numpy(images).float())[:, 0].numpy()
    np.testing.assert_allclose(ours, [oracle.grey(image.astype(float)) for image in images], atol=1e-4)


def test_two_channels_have_no_colour() -> None:
    with pytest.raises(InputError, match="1 or 3 channels, not 2"):
        check_channels(torch.zeros(1, 2, 4, 4))
