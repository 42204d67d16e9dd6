"""A disk budget removes only what can be computed again, and what is computed again gives the same numbers."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import pytest
from filelock import FileLock

from longtail.cli import app, stored
from longtail.errors import InputError
from longtail.training.prune import kept, prune


def call(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["longtail", *words.split()])
    with pytest.raises(SystemExit) as ended:
        app.main()
    return int(ended.value.code or 0)


def numbers(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in said["methods"]]


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two finished states, one stage that was stopped, one file of features, and a run, some bytes each."""
    for name, size in (("a", 100), ("b", 50), ("c", 70)):
        folder = tmp_path / "digits" / "stages" / name
        folder.mkdir(parents=True)
        (folder / "state.safetensors").write_bytes(bytes(size))
        (folder / "optimizer.safetensors").write_bytes(bytes(2 * size))
    (tmp_path / "digits" / "stages" / "c" / "progress.safetensors").write_bytes(bytes(9))
    (tmp_path / "digits" / "features").mkdir()
    (tmp_path / "digits" / "features" / "f.safetensors").write_bytes(bytes(40))
    run = tmp_path / "digits" / "ce"
    run.mkdir()
    os.link(tmp_path / "digits" / "stages" / "b" / "state.safetensors", run / "model.safetensors")
    (run / "record.json").write_text("{}")
    for position, name in enumerate(("stages/b", "features/f", "stages/a")):
        for file in (tmp_path / "digits").glob(f"{name}*"):
            for each in file.glob("*") if file.is_dir() else [file]:
                os.utime(each, (position + 1, position + 1))
    return tmp_path


def test_the_longest_unused_goes_first_until_the_rest_fits(runs: pathlib.Path) -> None:
    items = kept(runs)
    assert [(item.kind, item.path.name, item.size) for item in items] == [
        ("state after a stage", "b", 100),  # its network is a run's model, which holds those bytes
        ("features", "f.safetensors", 40),
        ("state after a stage", "a", 300),
    ]
    done = prune(runs, budget=310)
    assert [item.path.name for item in done.removed] == ["b", "f.safetensors"]
    assert (done.before, done.after) == (440, 300)
    assert [item.path.name for item in kept(runs)] == ["a"]


def test_results_and_stopped_stages_stay(runs: pathlib.Path) -> None:
    prune(runs, budget=0)
    left = [path for path in runs.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    assert sorted(str(path.relative_to(runs / "digits")) for path in left) == [
        "ce/model.safetensors",
        "ce/record.json",
        "stages/c/optimizer.safetensors",
        "stages/c/progress.safetensors",
        "stages/c/state.safetensors",
    ]


def test_what_a_run_uses_stays(runs: pathlib.Path) -> None:
    with FileLock(runs / "digits" / "stages" / "b" / ".lock"):
        done = prune(runs, budget=0)
    assert [item.path.name for item in done.in_use] == ["b"]
    assert done.after == 100
    assert (runs / "digits" / "stages" / "b" / "state.safetensors").exists()


def test_a_dry_run_removes_nothing(runs: pathlib.Path) -> None:
    before = sorted(runs.rglob("*"))
    assert len(prune(runs, budget=0, dry=True).removed) == 3
    assert sorted(runs.rglob("*")) == before


@pytest.mark.parametrize("budget", [0, 310, 1000])
def test_a_dry_run_says_what_the_real_one_does(runs: pathlib.Path, budget: int) -> None:
    with FileLock(runs / "digits" / "stages" / "b" / ".lock"):
        said, done = (prune(runs, budget=budget, dry=dry) for dry in (True, False))
    assert said == done
    assert [item.path.name for item in done.in_use] == ([] if budget == 1000 else ["b"])


@pytest.mark.parametrize("text", ["2 apples", "-1GB", "", "GB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no size; write one such as 500MB or 2GB"):
        stored.size_of(text)


def test_a_run_after_it_gives_the_same_numbers(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    compare = "compare ce --data digits-lt --epochs 1 --seeds 1 --precision float32 --json"
    assert call(compare, monkeypatch) == 0
    first = json.loads(capsys.readouterr().out)
    assert call("runs prune", monkeypatch) == 0
    assert "--budget SIZE removes what was longest unused" in capsys.readouterr().out
    assert call("runs prune --budget 0 --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["after"] == 0
    assert not list(tmp_path.rglob("stages/*/optimizer.safetensors"))
    assert call(compare, monkeypatch) == 0  # nothing to train: the records are there
    assert numbers(json.loads(capsys.readouterr().out)) == numbers(first)
    for record in tmp_path.rglob("record.json"):
        record.unlink()
    assert call(compare, monkeypatch) == 0  # trained again
    assert numbers(json.loads(capsys.readouterr().out)) == numbers(first)
