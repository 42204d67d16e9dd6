"""What computes a run is settled by the machine's abilities, never by how busy it is."""

from __future__ import annotations

import pathlib
import subprocess
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
    why = (
        "gives right results, in steps at least 1.2 times as fast"
        if able and right
        else "gives wrong results, or steps not 1.2 times as fast"
        if able
        else "no bfloat16 instructions"
    )
    assert why in computing.reason(chosen)
    assert computing.choose("cpu", "float32").precision == "float32"
    assert computing.choose("cpu", "bfloat16").precision == "bfloat16"


def test_a_convolution_that_is_wrong_or_slow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    convolve = torch.nn.functional.conv2d

    def wrong(images: torch.Tensor, weight: torch.Tensor, **options: int) -> torch.Tensor:
        found = convolve(images.float(), weight.float(), **options).to(images.dtype)
        return found.roll(1, 0) if images.dtype == torch.bfloat16 else found

    def taking(usual: float, narrow: float) -> None:
        times = {torch.float32: usual, torch.bfloat16: narrow}
        monkeypatch.setattr(computing, "_seconds_of_a_step", lambda images, weight, kind: times[kind])

    taking(1.3, 1.0)
    assert computing._bfloat16_is_right_and_fast()
    monkeypatch.setattr(torch.nn.functional, "conv2d", wrong)
    assert not computing._bfloat16_is_right_and_fast()
    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    taking(1.1, 1.0)
    assert not computing._bfloat16_is_right_and_fast()


def test_what_is_timed_is_a_step_with_its_backward_pass_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), []
    backward = torch.Tensor.backward
    normalise = torch.nn.functional.batch_norm

    def watched(self: torch.Tensor) -> None:
        seen.append(("backward", torch.get_num_threads()))
        backward(self)

    def normalised(maps: torch.Tensor, *rest: object, **options: bool) -> torch.Tensor:
        seen.append((str(maps.dtype), options["training"]))
        return normalise(maps, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.Tensor, "backward", watched)
    monkeypatch.setattr(torch.nn.functional, "batch_norm", normalised)
    assert computing._bfloat16_is_right_and_fast() in (True, False)
    assert {("backward", 1), ("torch.float32", True), ("torch.bfloat16", True)} == set(seen)
    assert torch.get_num_threads() == before


def test_compilation_is_asked_for_and_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not computing.choose("cpu").compiled
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert computing.choose("cpu", compiled=True).compiled
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="--compile needs a C\\+\\+ compiler"):
        computing.choose("cpu", compiled=True)


def test_only_what_runs_makes_the_source_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    package = tmp_path / "src" / "[own] longtail"
    own = package / "training" / "compute.py"
    own.parent.mkdir(parents=True)
    own.write_text("x = 1\n")

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    monkeypatch.setattr(computing, "__file__", str(own))
    assert computing.revision() == {"commit": None, "dirty": None}
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert computing.revision()["dirty"] is False
    (package / "submission.json").write_text("{}")  # as the board gets them, inside the package
    (tmp_path / "outside.py").write_text("y = 1\n")
    assert computing.revision()["dirty"] is False
    (package / "new").mkdir()
    (package / "new" / "part.py").write_text("z = 1\n")
    assert computing.revision()["dirty"] is True
    git("add", ".")
    git("commit", "-m", "second")
    assert computing.revision()["dirty"] is False
    own.write_text("x = 2\n")
    assert computing.revision()["dirty"] is True
