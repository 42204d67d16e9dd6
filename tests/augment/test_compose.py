from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap

import pytest
import torch

from longtail.augment import (
    AutoAugment,
    ColorJitter,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Operation,
    RandAugment,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    Views,
    apply,
    compose,
    noise_for,
    simclr,
)
from longtail.errors import InputError
from oracles import augment as oracle

OPERATIONS: list[Operation] = [
    RandomCrop(padding=4),
    RandomCrop(padding=2, fill=9),
    HorizontalFlip(),
    RandomResizedCrop(),
    RandomResizedCrop(size=20),
    Rotation(),
    Cutout(size=7),
    Cutout(size=8, fill=77),
    ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, probability=0.8),
    Grayscale(probability=0.5),
    GaussianBlur(kernel=5),
    AutoAugment(),
    RandAugment(count=3),
]
SHAPES = [(6, 3, 32, 32), (5, 1, 32, 32), (4, 3, 10, 14), (3, 1, 8, 8)]


def name_of(operation: Operation) -> str:
    return type(operation).__name__


def pictures(*shape: int) -> torch.Tensor:
    return torch.from_numpy(oracle.pictures(*shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_an_image_depends_on_its_own_numbers_alone(
    operation: Operation, shape: tuple[int, ...], generator: torch.Generator
) -> None:
    images = pictures(*shape)
    noise = noise_for((operation,), images, generator=generator)
    together = operation.apply(images, noise)
    assert together.dtype == torch.uint8
    assert together.shape[:2] == images.shape[:2]
    order = torch.randperm(len(images), generator=generator)
    assert torch.equal(operation.apply(images[order], noise[:, order]), together[order])
    for i in range(len(images)):
        assert torch.equal(operation.apply(images[i : i + 1], noise[:, i : i + 1])[0], together[i])


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_the_images_given_are_not_changed(operation: Operation, generator: torch.Generator) -> None:
    images = pictures(6, 3, 32, 32)
    before = images.clone()
    compose((operation,), images, generator=generator)
    assert torch.equal(images, before)


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_any_memory_layout_will_do(operation: Operation, generator: torch.Generator) -> None:
    images = pictures(6, 3, 32, 32)
    noise = noise_for((operation,), images, generator=generator)
    expected = operation.apply(images, noise)
    assert torch.equal(operation.apply(images.contiguous(memory_format=torch.channels_last), noise), expected)
    assert torch.equal(operation.apply(images.flip(0).flip(0)[:, :, :, :], noise), expected)


@pytest.mark.parametrize("operation", [*OPERATIONS, simclr(), Views((HorizontalFlip(),), count=3)], ids=name_of)
@pytest.mark.parametrize("channels", [1, 3])
def test_meta_images(operation: Operation, channels: int, generator: torch.Generator) -> None:
    images = pictures(4, channels, 32, 32)
    expected = compose((operation,), images, generator=generator)
    result = compose((operation,), images.to("meta"), generator=generator)
    assert result.is_meta
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("operation", [*OPERATIONS, simclr()], ids=name_of)
def test_operations_are_values(operation: Operation) -> None:
    assert dataclasses.is_dataclass(operation)
    fields = {field.name: getattr(operation, field.name) for field in dataclasses.fields(operation)}
    copy = type(operation)(**fields)
    assert copy == operation
    assert hash(copy) == hash(operation)
    with pytest.raises(dataclasses.FrozenInstanceError):
        operation.draws = 3  # type: ignore[misc]


def test_compose_draws_once_and_applies_in_order(generator: torch.Generator) -> None:
    images = pictures(8, 3, 32, 32)
    operations = (RandomCrop(padding=4), HorizontalFlip(), Cutout(size=8))
    state = generator.get_state()
    result = compose(operations, images, generator=generator)
    generator.set_state(state)
    noise = noise_for(operations, images, generator=generator)
    assert noise.shape == (5, 8)
    assert torch.equal(result, apply(operations, images, noise))
    step = operations[0].apply(images, noise[:2])
    step = operations[1].apply(step, noise[2:3])
    assert torch.equal(result, operations[2].apply(step, noise[3:]))
    # Order matters: a square cut out before the flip lands elsewhere.
    swapped = (operations[0], operations[2], operations[1])
    reordered = noise[[0, 1, 3, 4, 2]]
    assert not torch.equal(result, apply(swapped, images, reordered))


def test_calling_an_operation_is_composing_it_alone() -> None:
    images = pictures(8, 3, 32, 32)
    for operation in (*OPERATIONS, simclr()):
        alone = operation(images, generator=torch.Generator().manual_seed(3))  # type: ignore[operator]
        assert torch.equal(alone, compose((operation,), images, generator=torch.Generator().manual_seed(3)))


def test_same_seed_same_images_next_draw_others() -> None:
    images = pictures(8, 3, 32, 32)
    operations = (RandomCrop(), HorizontalFlip(), AutoAugment(), Cutout())
    first, second = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    results = [compose(operations, images, generator=g) for g in (first, second)]
    assert torch.equal(*results)
    assert not torch.equal(results[0], compose(operations, images, generator=first))


def test_no_operations_no_change(generator: torch.Generator) -> None:
    images = pictures(3, 3, 8, 8)
    assert torch.equal(compose((), images, generator=generator), images)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8, dtype=torch.int64)],
    ids=["float", "one image", "int64"],
)
def test_other_images_are_an_error(images: torch.Tensor, generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="uint8 images"):
        compose((HorizontalFlip(),), images, generator=generator)


@pytest.mark.slow
def test_everything_after_the_draw_compiles_whole() -> None:
    # In a process of its own: the shape checks of the tests cannot be traced.
    program = """
        import warnings
        import torch
        warnings.simplefilter("error")
        from longtail.augment import *

        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator)
        strong = (RandomCrop(), HorizontalFlip(), Rotation(), AutoAugment(), RandAugment(), Cutout())
        for operations in (strong, (simclr(),)):
            noise = noise_for(operations, images, generator=generator)
            traced = torch.compile(lambda x, n: apply(operations, x, n), fullgraph=True, backend="eager")
            assert torch.equal(traced(images, noise), apply(operations, images, noise))

        def step(x, n):
            x = normalize(x, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
            return mixup_with(x, n[:3], alpha=0.4), cutmix_with(x, n)

        noise = torch.rand(5, 6, generator=generator)
        traced = torch.compile(step, fullgraph=True, backend="eager")
        for ours, reference in zip(traced(images, noise), step(images, noise)):
            for a, b in zip(ours, reference):
                torch.testing.assert_close(a, b)
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
