from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from longtail.augment import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Views,
    apply,
    noise_for,
    simclr,
)
from longtail.errors import InputError
from oracles import augment as oracle


def pictures(*shape: int) -> Tensor:
    return torch.from_numpy(oracle.pictures(*shape))


def test_views_are_separate_draws_of_one_pipeline(generator: torch.Generator) -> None:
    images = pictures(20, 3, 32, 32)
    views = Views((RandomCrop(padding=4), HorizontalFlip()), count=3)
    noise = noise_for((views,), images, generator=generator)
    result = views.apply(images, noise)
    assert result.shape == (3, 20, 3, 32, 32)
    for view, own in zip(result, noise.chunk(3), strict=True):
        assert torch.equal(view, apply(views.operations, images, own))
    assert not torch.equal(result[0], result[1])
    assert not torch.equal(result[1], result[2])


def test_one_view_has_its_axis(generator: torch.Generator) -> None:
    assert Views((HorizontalFlip(),), count=1)(pictures(4, 1, 8, 8), generator=generator).shape == (1, 4, 1, 8, 8)


def test_simclr_has_the_papers_parameters() -> None:
    assert simclr() == Views(
        (
            RandomResizedCrop(size=None, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)),
            HorizontalFlip(probability=0.5),
            ColorJitter(brightness=1.6, contrast=1.6, saturation=1.6, hue=0.4, probability=0.8),
            Grayscale(probability=0.2),
            GaussianBlur(kernel=3, sigma=(0.1, 2.0)),
        ),
        count=2,
    )
    assert simclr(size=24)(pictures(2, 3, 32, 32), generator=torch.Generator()).shape == (2, 2, 3, 24, 24)


def test_simclr_looks_like_torchvisions_on_the_whole(generator: torch.Generator) -> None:
    """Mean, spread, colours, roughness and share of grey ones of many views, ours against torchvision's own."""
    theirs = v2.Compose(
        [
            v2.RandomResizedCrop(16, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(1.6, 1.6, 1.6, 0.4)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.GaussianBlur(3, (0.1, 2.0)),
        ]
    )

    def features(images: Tensor) -> np.ndarray:
        x = images.double()
        return torch.stack(
            (
                x.mean(dim=(1, 2, 3)),
                x.mean(dim=(1, 2, 3)) ** 2,
                x.std(dim=(2, 3)).mean(dim=1),
                (x.amax(dim=1) - x.amin(dim=1)).mean(dim=(1, 2)),
                x.diff(dim=-1).abs().mean(dim=(1, 2, 3)),
                ((x - x[:, :1]).abs().amax(dim=(1, 2, 3)) < 1.5).double(),
            ),
            dim=1,
        ).numpy()

    def distance(pipeline: Views) -> float:
        """The largest difference of means over the features, in standard errors."""
        a, b = features(pipeline(images, generator=generator).flatten(0, 1)), reference
        error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
        return float(np.abs((a.mean(axis=0) - b.mean(axis=0)) / error).max())

    _, wave, noise, _ = pictures(4, 3, 16, 16)
    images = (wave // 2 + noise // 4).expand(1000, -1, -1, -1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        reference = features(torch.stack([theirs(image) for image in images]))
    assert distance(simclr()) < 5
    operations = simclr().operations
    for k in range(len(operations)):
        if k != 1:  # The mirror image has the same statistics.
            assert distance(Views((*operations[:k], *operations[k + 1 :]))) > 5


def test_grey_images_have_views(generator: torch.Generator) -> None:
    assert simclr()(pictures(4, 1, 8, 8), generator=generator).shape == (2, 4, 1, 8, 8)


def test_no_views_is_an_error() -> None:
    with pytest.raises(InputError, match="at least 1 view"):
        Views((), count=0)
