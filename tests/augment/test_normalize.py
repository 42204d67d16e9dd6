from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from longtail.augment import normalize
from longtail.errors import InputError

MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)


def test_normalize_is_torchvisions(generator: torch.Generator) -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=generator)
    expected = tv.normalize(images.double() / 255, list(MEAN), list(STD))
    result = normalize(images, MEAN, STD)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=1e-6)
    for wrong in (normalize(images, MEAN[::-1], STD), normalize(images, MEAN, STD[::-1])):
        assert not torch.allclose(wrong.double(), expected, atol=1e-6)


def test_views_and_single_channels(generator: torch.Generator) -> None:
    images = torch.randint(0, 256, (2, 4, 1, 8, 8), dtype=torch.uint8, generator=generator)
    result = normalize(images, (0.3,), (0.2,))
    assert result.shape == images.shape
    torch.testing.assert_close(result[1], normalize(images[1], (0.3,), (0.2,)))


def test_plain_numbers_will_do() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)
    assert normalize(images, (0.0,), (1.0,)).flatten().tolist() == [0.0, pytest.approx(1.0)]


def test_meta() -> None:
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8, device="meta")
    result = normalize(images, MEAN, STD)
    assert result.is_meta
    assert (result.shape, result.dtype) == (images.shape, torch.float32)


def test_wrong_constants_are_errors() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(InputError, match="images of 1 channels need that many"):
        normalize(images, MEAN, STD)
    with pytest.raises(InputError, match="must be positive"):
        normalize(images, (0.5,), (0.0,))
