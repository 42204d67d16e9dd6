"""Which runs lie below some folders, and a record beside what was written before its run."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

import longtail
from longtail.data import load
from longtail.errors import InputError
from longtail.training.audit import audit, runs_below
from longtail.training.compute import choose
from longtail.training.run import LOGITS, MODEL
from oracles.runs import made_up_run, rewrite


def test_each_run_is_found_once_through_links_too(tmp_path: pathlib.Path) -> None:
    for name in ("ce", "crt"):
        made_up_run(tmp_path / "real" / name / "seed-0", recipe=name)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a").symlink_to(tmp_path / "real" / "ce")
    (linked / "back").symlink_to(linked)
    assert runs_below([linked]) == [linked / "a" / "seed-0"]
    real = [tmp_path / "real" / name / "seed-0" for name in ("ce", "crt")]
    assert runs_below([tmp_path / "real", tmp_path / "linked" / ".." / "real", linked]) == real


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", os.mkdir)])
@pytest.mark.parametrize("name", ["record.json", "predictions.npz", "run.json", MODEL, LOGITS])
def test_what_is_no_file_is_refused_and_neither_waited_for_nor_left_out(
    tmp_path: pathlib.Path, name: str, make: Callable[[pathlib.Path], None]
) -> None:
    made_up_run(tmp_path / "ce")
    (tmp_path / "ce" / name).unlink(missing_ok=True)
    make(tmp_path / "ce" / name)
    (found,) = runs_below([tmp_path])
    with pytest.raises(InputError, match=f"{name} is no file"):
        audit(found)


CHANGES: list[tuple[dict[str, object], str]] = [
    ({"seed": 4}, "seed"),
    ({"data__fingerprint": "0" * 64}, "fingerprint"),
    ({"data__many": 50}, "data"),
    ({"numerics__version": 0}, "numerics"),
    ({"numerics__precision": "bfloat16"}, "compute"),
    ({"numerics__device": "cuda"}, "compute"),
    ({"config__adjustment": 0.5}, "recipe"),
    ({"digests__run": "0" * 64}, "address"),
]


def test_a_record_that_says_otherwise_than_what_was_written_before_its_run(
    tmp_path: pathlib.Path,
) -> None:
    digits = load("digits-lt", imbalance=50)
    recipe = longtail.recipe("ce", digits, epochs=1)
    out, compute = tmp_path / "ce", choose("cpu", "float32")  # what is taken of itself depends on the processor
    record = longtail.train(recipe, digits, seed=3, out=out, compute=compute)
    kept = (out / "record.json").read_bytes()
    assert longtail.train(recipe, digits, seed=3, out=out, compute=compute) == audit(out)[0].record == record
    for changes, name in CHANGES:
        rewrite(out, **changes)
        said = rf"record.json and run.json are of different runs: they differ in their {name}$"
        with pytest.raises(InputError, match=said):
            audit(out)
        with pytest.raises(InputError, match=said):
            longtail.train(recipe, digits, seed=3, out=out, compute=compute)
        (out / "record.json").write_bytes(kept)
    assert audit(out)[0].record == record
