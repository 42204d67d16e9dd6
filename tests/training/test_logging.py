"""The history as it comes: every row once, in the order of the epochs, whatever was finished before."""

from __future__ import annotations

import csv
import pathlib
import sys

import pytest

import longtail
from longtail.errors import InputError
from longtail.training.logging import logging
from longtail.training.loop import Progress


def rows_of(folder: pathlib.Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_of_the_history_is_logged_once(tmp_path: pathlib.Path) -> None:
    data = longtail.load("digits-lt", imbalance=20)
    recipe = longtail.recipe("crt", data, epochs=2)
    heard: list[Progress] = []
    for _ in range(2):  # the second time it is finished, and nothing is heard of it
        with logging("csv", tmp_path, heard.append) as (notify, complete):
            record = longtail.train(recipe, data, seed=3, out=tmp_path / "run", notify=notify)
            complete([tmp_path / "run"])
        found = rows_of(tmp_path)
        assert [(row["stage"], int(row["epoch"])) for row in found] == [
            (row["stage"], row["epoch"]) for row in record.history
        ]
        assert [float(row["loss"]) for row in found] == [row["loss"] for row in record.history]
        assert [int(row["number"]) for row in found] == list(range(1, len(found) + 1))
        assert {(row["recipe"], row["seed"]) for row in found} == {("crt", "3")}
    told = [progress.row for progress in heard if progress.row is not None]
    assert told == record.history


def test_nothing_is_written_before_the_first_row(tmp_path: pathlib.Path) -> None:
    """A run's folder must hold no other thing before the run has claimed it."""
    with logging("csv", tmp_path / "run") as (notify, _):
        notify(Progress("ce", 0, "classify", 0, 2, 0.5, 1.0, None))
        assert not (tmp_path / "run").exists()
        notify(Progress("ce", 0, "classify", 1, 2, 0.0, 1.0, None, {"stage": "classify", "epoch": 1, "loss": 1.0}))
        notify(Progress("=x", 0, "classify", 1, 2, 0.0, 1.0, None, {"stage": "classify", "epoch": 1, "radii": [1, 2]}))
    first, second = rows_of(tmp_path / "run")
    assert (first["loss"], first["further"]) == ("1.0", "")
    assert (second["recipe"], second["loss"], second["further"]) == ("'=x", "", "{'radii': [1, 2]}")


def test_without_a_log_the_bar_is_told_all_the_same(tmp_path: pathlib.Path) -> None:
    heard: list[Progress] = []
    with logging(None, tmp_path, heard.append) as (notify, complete):
        notify(Progress("ce", 0, "classify", 1, 2, 0.0, 1.0, None, {"stage": "classify", "epoch": 1}))
        complete([tmp_path / "nowhere"])
    assert len(heard) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "library"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_library_is_one_line(
    kind: str, library: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with (
        pytest.raises(InputError, match=f"--log {kind} needs the library {kind}: pip install"),
        logging(kind, tmp_path),
    ):
        pass
    with pytest.raises(InputError, match="unknown log 'cvs': did you mean 'csv'"), logging("cvs", tmp_path):
        pass


class Writer:
    """In the place of TensorBoard's."""

    written: list[tuple[str, str, float, int]] = []  # noqa: RUF012

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.written.append((pathlib.Path(self.folder).name, name, value, step))

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_tensorboard_gets_numbers_by_run_and_epoch(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with logging("tensorboard", tmp_path) as (notify, _):
        row = {"stage": "a", "epoch": 1, "loss": 0.5, "radii": [1.0], "train_accuracy": None}
        notify(Progress("my/loss", 7, "a", 4, 9, 0.0, 0.5, None, row))
    assert Writer.written == [("my-loss-seed-7", "loss", 0.5, 4)]
