from __future__ import annotations

import pathlib
import threading
import time
from typing import Any

import pytest

from longtail.board.apart import StoppedError, build_apart
from longtail.board.index import build_index
from longtail.errors import InputError

pytest.importorskip("fastapi")

from longtail.board import server


def test_a_build_that_is_called_off_ends_at_once(tmp_path: pathlib.Path) -> None:
    stopped = threading.Event()
    threading.Timer(0.3, stopped.set).start()
    start = time.monotonic()
    with pytest.raises(StoppedError):
        build_apart(None, tmp_path / "index.sqlite", None, stopped)
    # A whole build, with all that its process has to load, takes longer.
    assert time.monotonic() - start < 1.3


@pytest.mark.slow
def test_another_process_builds_the_same_index(tmp_path: pathlib.Path) -> None:
    build_index(None, str(tmp_path / "own.sqlite")).close()
    build_apart(None, tmp_path / "apart.sqlite", None, threading.Event())
    assert (tmp_path / "apart.sqlite").read_bytes() == (tmp_path / "own.sqlite").read_bytes()


@pytest.mark.slow
def test_what_a_build_refuses_is_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(RuntimeError, match="unable to open database file"):
        build_apart(None, tmp_path / "there", None, threading.Event())


def test_a_server_that_stops_calls_its_build_off_and_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.tempfile, "tempdir", str(tmp_path))
    begun = threading.Event()

    def endless(root: Any, database: pathlib.Path, numerics: Any, stopped: threading.Event) -> None:
        database.write_bytes(b"half")
        begun.set()
        assert stopped.wait(60)
        raise StoppedError

    monkeypatch.setattr(server, "build_apart", endless)
    kept = tmp_path / "kept.sqlite"
    current = server.Current(None, kept=kept, apart=True)
    current.start()
    assert begun.wait(10)
    start = time.monotonic()
    current.stop()
    assert time.monotonic() - start < 2 * server.STOP_SECONDS
    assert list(tmp_path.iterdir()) == []


def test_a_refused_build_keeps_the_board_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise InputError("scores/x.json: somebody has edited it")

    monkeypatch.setattr(server, "build_apart", refused)
    current = server.Current(None, apart=True)
    try:
        with pytest.raises(InputError, match="somebody has edited it"), current.reading():
            pass
    finally:
        current.stop()
