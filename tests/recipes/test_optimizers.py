from __future__ import annotations

import pytest
import torch
from torch import nn

from longtail.recipes.optimizers import adamw, by_name, cosine, segment, sgd, steps


def ldam_schedule(epoch: int) -> float:
    """The published schedule, in its own words: counted from 1, 200 epochs."""
    epoch += 1
    if epoch <= 5:
        return epoch / 5
    if epoch > 180:
        return 0.0001
    if epoch > 160:
        return 0.01
    return 1.0


def test_plain_200_is_the_published_schedule() -> None:
    assert [steps(epoch, 0.0, 200, warmup=0.025, at=(0.8, 0.9), factor=0.01) for epoch in range(200)] == pytest.approx(
        [ldam_schedule(epoch) for epoch in range(200)]
    )


def test_steps_scale_with_the_number_of_epochs() -> None:
    factors = [steps(epoch, 0.0, 30) for epoch in range(30)]
    assert factors[0] == 1.0  # a warm-up of one epoch ends at the full rate
    assert factors.count(pytest.approx(0.01)) == 3
    assert factors.count(pytest.approx(0.0001)) == 3
    assert factors == sorted(factors, reverse=True)


def test_cosine_warms_up_and_ends_at_zero() -> None:
    assert cosine(0, 0.0, 100, warmup=0.1) == 0.0
    assert cosine(5, 0.0, 100, warmup=0.1) == pytest.approx(0.5)
    assert cosine(10, 0.0, 100, warmup=0.1) == pytest.approx(1.0)
    assert cosine(55, 0.0, 100, warmup=0.1) == pytest.approx(0.5)
    assert cosine(99, 1.0, 100, warmup=0.1) == pytest.approx(0.0, abs=1e-12)


def test_a_schedule_gets_by_name_what_it_asks_for() -> None:
    def swapped(progress: float, epoch: int, epochs: int) -> float:
        return 100 * epochs + 10 * epoch + progress

    def two(epochs: int, *, epoch: int = 0) -> float:
        return 100 * epochs + 10 * epoch

    def unnamed(a: int, b: float, c: int) -> float:
        return 100 * c + 10 * a + b

    def in_place(epoch: int, progress: float, epochs: int, /) -> float:
        return 100 * epochs + 10 * epoch + progress

    assert [by_name(schedule)(1, 0.5, 4) for schedule in (swapped, two, unnamed, in_place)] == [
        410.5,
        410,
        410.5,
        410.5,
    ]
    stretch = [segment(1, 0.5, 2, of=schedule, before=2, total=4) for schedule in (swapped, two, unnamed, in_place)]
    assert stretch == [430.5, 430, 430.5, 430.5]


def test_what_is_decayed() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    radii = nn.Module()
    radii.raw = nn.Parameter(torch.zeros(5, 5))
    radii.raw.no_decay = True  # type: ignore[attr-defined]
    for optimizer, exempt in ((sgd([network, radii]), 25), (adamw([network, radii]), 25 + 4 + 8)):
        free = sum(
            parameter.numel()
            for group in optimizer.param_groups
            if group["weight_decay"] == 0
            for parameter in group["params"]
        )
        assert free == exempt


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Linear(3, 4)
    network.weight.requires_grad_(False)
    groups = sgd([network]).param_groups
    assert [parameter.shape for group in groups for parameter in group["params"]] == [network.bias.shape]
