"""Which runs lie below some folders."""

from __future__ import annotations

import pathlib

from longtail.training.audit import runs_below
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
