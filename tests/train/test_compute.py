"""What computes a run is settled by the machine's abilities and the run's length, never by how busy the machine is."""

from __future__ import annotations

import dataclasses

import pytest

from longtail.data import Data, load
from longtail.errors import InputError
from longtail.models import CifarResNet
from longtail.recipes import by_name, protocol_for
from longtail.train import compute as computing
from longtail.train.loop import settle


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


@pytest.mark.parametrize(("images", "worth"), [(10_847, False), (20 * 10_847, True)])
def test_a_long_run_of_a_residual_network_is_worth_compiling(images: int, worth: bool) -> None:
    shape = {"num_classes": 100, "channels": 3, "image_size": 32}
    assert computing.worth_compiling(CifarResNet(32), images=images, **shape) is worth


def test_the_first_stage_decides_so_that_recipes_can_share_it(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "has_compiler", lambda: True)
    long = protocol_for(digits, model="resnet20", epochs=30_000)
    chosen = [settle(by_name(name, long), digits, device="cpu") for name in ("ce", "crt", "dro-lt")]
    assert [compute.compiled for compute in chosen] == [True] * 3
    assert len(set(chosen)) == 1
    short = dataclasses.replace(long, epochs=2)
    assert not settle(by_name("ce", short), digits, device="cpu").compiled
    assert settle(by_name("ce", short), digits, device="cpu", compiled=True).compiled
    assert not settle(by_name("ce", long), digits, device="cpu", compiled=False).compiled
    assert not settle(by_name("ce", protocol_for(digits, epochs=10**9)), digits, device="cpu").compiled


def test_without_a_compiler_nothing_is_compiled_unless_asked(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "has_compiler", lambda: False)
    recipe = by_name("ce", protocol_for(digits, model="resnet20", epochs=30_000))
    assert not settle(recipe, digits, device="cpu").compiled
    with pytest.raises(InputError, match="--compile needs a C\\+\\+ compiler"):
        settle(recipe, digits, device="cpu", compiled=True)


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_where_the_processor_has_it(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "has_bfloat16", lambda device: able)
    assert computing.choose("cpu").precision == ("bfloat16" if able else "float32")
    assert computing.choose("cpu", "float32").precision == "float32"
    assert computing.choose("cpu", "bfloat16").precision == "bfloat16"
