"""Which runs lie below some folders."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

from longtail.errors import InputError
from longtail.training.audit import audit, runs_below
from longtail.training.run import LOGITS, MODEL
from oracles.runs import made_up_run


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
