"""``bench`` times the steps that training takes, part by part, and stores nothing."""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

import pytest
import torch

from longtail.analysis import bench as benching
from longtail.data import Data, load
from longtail.methods import recipe as named
from longtail.models import Network
from longtail.training.compute import Compute
from longtail.training.step import Step

CPU = Compute("cpu", "float32", compiled=False)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def test_every_stage_is_timed_and_nothing_is_stored(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = named("dro-lt", digits, epochs=2)
    told: list[tuple[int, int]] = []
    speed = benching.bench(recipe, digits, compute=CPU, seconds=0.2, notify=lambda *turn: told.append(turn))
    assert [stage.stage for stage in speed.stages] == [stage.name for stage in recipe.stages]
    assert told == [(i + 1, 15) for i in range(15)]
    assert list(tmp_path.iterdir()) == []
    for stage in speed.stages:
        assert stage.steps_per_second > 0
        assert stage.images_per_second == pytest.approx(stage.steps_per_second * stage.batch_size)
        low, high = stage.of_ceiling[1:]
        assert 0 < low <= stage.of_ceiling[0] <= high
        assert tuple(stage.parts) == benching.PARTS
        assert all(seconds > 0 for seconds in stage.parts.values())
    assert speed.peak_memory > 50e6
    assert json.loads(json.dumps(speed.to_json()))["stages"][0]["batch_size"] == speed.stages[0].batch_size


@pytest.mark.parametrize("slow", ["batch", "forward", "backward", "update"])
def test_time_is_charged_to_the_part_that_takes_it(slow: str, digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part made 20 ms slower in turn: that part grows by it, the others do not, and the ceiling knows nothing."""
    part = {"batch": "data", "update": "optimizer"}.get(slow, slow)
    original = getattr(Step, slow)

    def slower(self: Step, *arguments: object) -> object:
        time.sleep(0.02)
        return original(self, *arguments)

    monkeypatch.setattr(Step, slow, slower)
    recipe = named("ce", digits, epochs=2)
    stage = benching.bench(recipe, digits, compute=CPU, seconds=0.1).stages[0]
    assert stage.parts[part] > 0.02
    assert max(seconds for name, seconds in stage.parts.items() if name != part) < stage.parts[part]
    assert stage.steps_per_second < 50
    assert stage.of_ceiling[0] < 0.7


def test_two_views_count_twice_and_a_frozen_backbone_has_its_own_ceiling(digits: Data) -> None:
    recipe = named("bns-ipdpp", digits, epochs=2)
    first, *rest = benching.bench(recipe, digits, compute=CPU, seconds=0.1).stages
    supervised = benching.bench(named("ce", digits), digits, compute=CPU, seconds=0.1).stages[0]
    assert first.multiply_adds / first.batch_size == 2 * supervised.multiply_adds / supervised.batch_size
    assert rest


def test_a_batch_larger_than_the_data_is_all_of_it(digits: Data) -> None:
    recipe = named("ce", digits, batch_size=4096)
    stage = benching.bench(recipe, digits, compute=CPU, seconds=0.1).stages[0]
    assert stage.batch_size == len(digits.train)


def test_the_network_is_left_where_it_was(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed at a learning rate of zero, so that how long it is timed does not change what is timed."""
    seen: list[dict[str, torch.Tensor]] = []
    untrained = benching.untrained

    def kept(*arguments: Any, **options: Any) -> Network:
        network = untrained(*arguments, **options)
        seen.append(dict(network.named_parameters()))
        seen.append({name: value.detach().clone() for name, value in network.named_parameters()})
        return network

    monkeypatch.setattr(benching, "untrained", kept)
    benching.bench(named("ce", digits), digits, compute=CPU, seconds=0.1)
    after, before = seen
    assert all(torch.equal(after[name], before[name]) for name in before)
