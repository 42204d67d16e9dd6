"""What computes a run is settled by the machine's abilities, never by how busy it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from longtail.errors import InputError
from longtail.training import compute as computing


@pytest.fixture(autouse=True)
def tried_anew() -> Iterator[None]:
    computing.bfloat16_pays.cache_clear()
    yield
    computing.bfloat16_pays.cache_clear()


@pytest.mark.parametrize(("able", "right"), [(True, True), (True, False), (False, True)])
def test_bfloat16_where_the_processor_has_it_and_it_is_right(
    able: bool, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "has_bfloat16", lambda device: able)
    monkeypatch.setattr(computing, "_bfloat16_is_right_and_fast", lambda: right)
    chosen = computing.choose("cpu")
    assert chosen.precision == ("bfloat16" if able and right else "float32")
    why = "right, and faster" if able and right else "wrong, or slower" if able else "no bfloat16 instructions"
    assert why in computing.reason(chosen)
    assert computing.choose("cpu", "float32").precision == "float32"
    assert computing.choose("cpu", "bfloat16").precision == "bfloat16"


def test_a_convolution_that_is_wrong_or_slow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    convolve = torch.nn.functional.conv2d

    def wrong(images: torch.Tensor, weight: torch.Tensor, **options: int) -> torch.Tensor:
        found = convolve(images.float(), weight.float(), **options).to(images.dtype)
        return found.roll(1, 0) if images.dtype == torch.bfloat16 else found

    monkeypatch.setattr(computing, "_seconds_of", lambda inputs, kernel: float(inputs.dtype == torch.float32))
    assert computing._bfloat16_is_right_and_fast()
    monkeypatch.setattr(torch.nn.functional, "conv2d", wrong)
    assert not computing._bfloat16_is_right_and_fast()
    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    monkeypatch.setattr(computing, "_seconds_of", lambda inputs, kernel: float(inputs.dtype == torch.bfloat16))
    assert not computing._bfloat16_is_right_and_fast()


def test_compilation_is_asked_for_and_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not computing.choose("cpu").compiled
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert computing.choose("cpu", compiled=True).compiled
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="--compile needs a C\\+\\+ compiler"):
        computing.choose("cpu", compiled=True)
