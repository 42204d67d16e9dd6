from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from longtail.augment.variation import NAMES, STRENGTHS, magnitude, vary
from oracles import augment as oracle

ALL = frozenset(NAMES)
MOVEMENTS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
TORCHVISION = v2.RandAugment(fill=128)


def pictures(*shape: int) -> Tensor:
    return torch.from_numpy(oracle.pictures(*shape))


def one_for_all(images: Tensor, name: str, strength: float, fill: int = 128) -> Tensor:
    number = len(images)
    operation, strengths = torch.full((number,), NAMES.index(name)), torch.full((number,), strength)
    return vary(images, operation, strengths, among=ALL, fill=fill)


def strengths(name: str, height: int, width: int) -> list[float]:
    """The ten magnitudes, and their negatives where the sign is drawn."""
    values = [magnitude(name, level, 10, height, width) for level in range(10)]
    return sorted({*values, *(-value for value in values if STRENGTHS[name].signed)})


def check_reference(function: Callable[[Tensor, str, float], Tensor], name: str, shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    for strength in strengths(name, *shape[2:]):
        result = function(images, name, strength)
        for image, ours in zip(images, result, strict=True):
            assert np.array_equal(ours.numpy(), oracle.varied(image.numpy(), name, strength, 128))


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (3, 1, 8, 8)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_is_the_reference_exactly(name: str, shape: tuple[int, ...]) -> None:
    check_reference(one_for_all, name, shape)


def theirs(image: Tensor, name: str, strength: float) -> Tensor:
    strength = strength / 255 if name == "Solarize" else strength
    return TORCHVISION._apply_image_or_video_transform(
        image, name, strength, interpolation=TORCHVISION.interpolation, fill=TORCHVISION._fill
    )


# Where a value is an integer on paper torchvision may lose a level to rounding; we never do.
EXACT = ("Identity", *MOVEMENTS, "Posterize", "Solarize", "Equalize", "Invert")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_is_torchvisions(name: str, channels: int) -> None:
    images = pictures(6, channels, 32, 32)
    for strength in strengths(name, 32, 32):
        result = one_for_all(images, name, strength)
        for image, ours in zip(images, result, strict=True):
            reference = theirs(image, name, strength)
            if name in MOVEMENTS:
                sure = ~oracle.doubtful(image.numpy(), name, strength)
                assert torch.equal(ours[:, sure], reference[:, sure])
            elif name in EXACT:
                assert torch.equal(ours, reference)
            else:
                real = oracle.pixelwise(image.numpy(), name, strength)
                whole = np.abs(real - np.round(real)) < 1e-4
                assert np.array_equal(ours.numpy()[~whole], reference.numpy()[~whole])
                assert (ours.int() - reference.int()).abs().max() <= 1


def mutants(name: str) -> list[Callable[[Tensor, str, float], Tensor]]:
    def other(replacement: str, factor: float = 1.0) -> Callable[[Tensor, str, float], Tensor]:
        return lambda images, _, strength: one_for_all(images, replacement, factor * strength)

    wrong = [other("Equalize" if name == "AutoContrast" else "AutoContrast")]
    if STRENGTHS[name].signed:
        wrong += [other(name, -1.0), other(name, 1.1 if not name.startswith("Translate") else 2.0)]
    if name in MOVEMENTS:
        wrong += [
            lambda images, name, strength: one_for_all(images, name, strength, fill=0),
            lambda images, name, strength: one_for_all(images.mT, name, strength).mT,
        ]
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        # Rounded where the fraction is cut: half the pixels one level off.
        wrong += [
            lambda images, name, strength: torch.from_numpy(
                np.stack([oracle.rounded(oracle.pixelwise(image, name, strength)) for image in images.numpy()])
            )
        ]
    return wrong


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Identity"])
def test_mutants_of_each_operation_are_rejected(name: str) -> None:
    for mutant in mutants(name):
        with pytest.raises(AssertionError):
            check_reference(mutant, name, (4, 3, 32, 32))


def test_operations_of_a_batch_do_not_disturb_each_other(generator: torch.Generator) -> None:
    images = pictures(4 * len(NAMES), 3, 16, 16)
    operation = torch.arange(len(images)) % len(NAMES)
    operation = operation[torch.randperm(len(images), generator=generator)]
    strength = torch.tensor([magnitude(NAMES[k], 7, 10, 16, 16) for k in operation.tolist()])
    result = vary(images, operation, strength, among=ALL, fill=128)
    for image, k, s, ours in zip(images, operation.tolist(), strength.tolist(), result, strict=True):
        assert torch.equal(ours, one_for_all(image[None], NAMES[k], s)[0])


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_occur_need_not_be_computed(name: str) -> None:
    images = pictures(3, 3, 16, 16)
    strength = magnitude(name, 7, 10, 16, 16)
    operation = torch.full((3,), NAMES.index(name))
    alone = vary(images, operation, torch.full((3,), strength), among=frozenset({name}), fill=128)
    assert torch.equal(alone, one_for_all(images, name, strength))
    nothing = vary(images, operation, torch.full((3,), strength), among=frozenset({"Identity"}), fill=128)
    assert torch.equal(nothing, images)


@pytest.mark.parametrize("levels", [10, 31])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 8), (64, 48), (224, 224)])
def test_magnitudes_are_torchvisions(levels: int, height: int, width: int) -> None:
    space = v2.RandAugment._AUGMENTATION_SPACE
    assert set(space) | {"Invert"} == set(NAMES)
    for name, (function, signed) in space.items():
        assert STRENGTHS[name].signed == signed
        reference = function(levels, height, width)
        for level in range(levels):
            ours = magnitude(name, level, levels, height, width)
            if reference is None:
                assert ours == 0.0
                continue
            expected = float(reference[level])
            if name.startswith("Translate"):
                expected = float(int(expected))
            assert ours == pytest.approx(expected * (255 if name == "Solarize" else 1), rel=1e-6, abs=2e-5)


def test_tiny_images_are_not_sharpened() -> None:
    images = pictures(3, 3, 2, 9)
    assert torch.equal(one_for_all(images, "Sharpness", 0.9), images)
