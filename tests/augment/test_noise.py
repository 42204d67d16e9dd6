from __future__ import annotations

import pytest
import torch

from longtail.augment.noise import between, constant, integer, uniform
from longtail.errors import InputError

CPU = torch.device("cpu")


def test_uniform_numbers_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first = uniform((3, 4), generator=torch.Generator().manual_seed(5), device=CPU)
    again = uniform((3, 4), generator=torch.Generator().manual_seed(5), device=CPU)
    assert torch.equal(first, again)
    assert 0 <= first.min() <= first.max() < 1
    assert torch.equal(torch.get_rng_state(), before)


def test_meta_numbers_leave_the_generator_alone(generator: torch.Generator) -> None:
    before = generator.get_state()
    numbers = uniform((3, 4), generator=generator, device=torch.device("meta"))
    assert numbers.shape == (3, 4)
    assert numbers.is_meta
    assert torch.equal(generator.get_state(), before)


def test_generator_of_another_device_is_an_error(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="images are on cuda, the generator on cpu"):
        uniform((3,), generator=generator, device=torch.device("cuda"))


def test_integers_are_equally_wide_and_never_reach_the_count() -> None:
    numbers = torch.arange(0, 1, 1 / 512)
    assert torch.equal(torch.bincount(integer(numbers, 8)), torch.full((8,), 64))
    largest = torch.tensor([1 - 2.0**-24])
    for count in (1, 2, 3, 9, 32, 1000, 2**23 + 1):
        assert integer(largest, count).item() <= count - 1
    counts = torch.tensor([1, 2, 3])
    assert integer(torch.full((3,), 0.99), counts).tolist() == [0, 1, 2]


def test_between_reaches_from_low_to_high() -> None:
    assert between(torch.tensor([0.0, 0.25]), -2.0, 2.0).tolist() == [-2.0, -1.0]


def test_constant_is_one_tensor_per_device() -> None:
    assert constant((1.0, 2.0), CPU) is constant((1.0, 2.0), CPU)
    assert constant((1.0, 2.0), torch.device("meta")).is_meta


def test_constant_first_asked_for_in_inference_can_be_trained_with() -> None:
    with torch.inference_mode():
        made = constant((1.5, 2.5), CPU)
    assert not made.is_inference()
