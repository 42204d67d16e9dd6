"""What is asked of a data set is heeded or refused, and a run's data can be read again as they were."""

from __future__ import annotations

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from longtail.cli.options import Drawing, Reading, flag
from longtail.data import load
from longtail.data.verify import verify
from longtail.errors import InputError
from oracles.command import run

COUNTS = {"ant": 9, "bee": 6, "wasp": 2}


@pytest.fixture(autouse=True)
def insects(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of pictures with a class of two, and the same as lists whose classes are numbered from 1."""
    monkeypatch.chdir(tmp_path)
    generator, lines = np.random.default_rng(0), dict[str, list[str]](train=[], test=[])
    for place, (name, count) in enumerate(COUNTS.items()):
        for split, several in {"train": count, "test": 4}.items():
            folder = tmp_path / "insects" / split / name
            folder.mkdir(parents=True)
            for i in range(several):
                pixels = generator.integers(0, 120, (12, 12, 3)) + 60 * place
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
                lines[split].append(f"{split}/{name}/{i}.png {place + 1}")
    for split, held in lines.items():
        (tmp_path / f"own_{split}.txt").write_text("".join(f"{line}\n" for line in held))


def features() -> None:
    """A file of features with 30 and 20 rows of two classes to train on."""
    generator, held = np.random.default_rng(0), dict[str, np.ndarray]()
    for split, sizes in {"train": (30, 20), "test": (5, 5)}.items():
        held[f"{split}_target"] = np.repeat([0, 1], sizes)
        held[f"{split}_features"] = generator.normal(size=(sum(sizes), 4)).astype(np.float32)
    np.savez("rows.npz", **held)


AFTERWARDS = [
    *("rescore one", "probe one", "features one", "mistakes one --quiet", "rebalance one"),
    "export one --format safetensors --out a.safetensors",
]


@pytest.mark.parametrize(
    ("data", "reading"),
    [
        ("folder:insects", "--leave-out-classes-below 3"),
        ("list:own_train.txt", "--root insects --labels-from 1"),
    ],
)
def test_every_command_on_a_run_reads_its_data_as_they_were(
    data: str, reading: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"train ce --data {data} {reading} --model small --epochs 1 --out one --quiet", monkeypatch) == 0
    for command in AFTERWARDS:
        capsys.readouterr()
        assert run(f"{command} --data {data} {reading}", monkeypatch) == 0, capsys.readouterr().err
    # Read otherwise they are other data, or none.
    short = reading.replace("--leave-out-classes-below 3", "").replace("--labels-from 1", "")
    assert run(f"probe one --data {data} {short}", monkeypatch) == 2
    assert re.search("fingerprint|class", capsys.readouterr().err)


def test_class_sizes_are_given_again_where_validation_was_held_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pathlib.Path("sizes.txt").write_text("".join(f"{size}\n" for size in (60, 30, 20, 10, 8, 6, 5, 4, 3, 2)))
    options = "--class-sizes sizes.txt --validation 0.2"
    assert run(f"train ce --data digits-lt {options} --epochs 1 --out one --quiet", monkeypatch) == 0
    assert run("rescore one --data digits-lt", monkeypatch) == 2
    assert "give --class-sizes again" in capsys.readouterr().err
    assert run("rescore one --data digits-lt --class-sizes sizes.txt", monkeypatch) == 0


def test_a_run_on_a_selection_is_looked_at_with_the_selection(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data select digits-lt --imbalance 20 --per-class 5 --out chosen.txt", monkeypatch) == 0
    assert run("train ce --data list:chosen.txt --epochs 1 --out one --quiet", monkeypatch) == 0
    for command in ("rescore one", "probe one", "rebalance one"):
        capsys.readouterr()
        assert run(f"{command} --data list:chosen.txt", monkeypatch) == 0, capsys.readouterr().err
    assert run("probe one --data digits-lt", monkeypatch) == 2


def test_a_selection_of_what_no_list_can_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was written, and could not be read."""
    pathlib.Path("mine.py").write_text("from longtail.data import load as base\ndef load(): return base('digits-lt')\n")
    assert run("data select digits-lt --per-class 5 --out chosen.txt", monkeypatch) == 0
    refused = {
        "mine.py:load": "a list that names mine.py:load could not be read again",
        "list:chosen.txt": "list:chosen.txt is a selection already",
        "insects": "; there is a folder of that name: folder:insects",
        "digit-lt": "did you mean 'digits-lt'?",
    }
    for name, words in refused.items():
        capsys.readouterr()
        assert run(f"data select {name} --per-class 1 --out again.txt", monkeypatch) == 2
        assert words in capsys.readouterr().err.splitlines()[-1]
        assert not pathlib.Path("again.txt").exists()


def test_a_selection_of_a_list_can_be_read_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = "--root insects --labels-from 1"
    assert run(f"data select list:own_train.txt {reading} --per-class 2 --out chosen.txt", monkeypatch) == 0
    capsys.readouterr()
    assert run("data describe list:chosen.txt --root insects --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == [2, 2, 2]


def test_the_counts_of_a_selection_follow_no_profile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were held against the profile of the data that it was chosen from, and verify failed."""
    assert run("data select digits-lt --per-class 5 --out chosen.txt", monkeypatch) == 0
    capsys.readouterr()
    assert run("data verify list:chosen.txt", monkeypatch) == 0
    assert "NOT OK" not in capsys.readouterr().out
    chosen = load("list:chosen.txt")
    assert (chosen.profile, chosen.split_seed) == (None, None)
    assert (int(chosen.counts.max()), int(chosen.counts.min())) == (5, 1)


@pytest.mark.parametrize(
    "options",
    [
        *("--imbalance 10", "--split-seed 1", "--profile step", "--validation 0.2", "--leave-out-classes-below 2"),
        *("--drop-duplicates copies.txt", "--labels-from 1", "--class-sizes sizes.txt", "--skip-unreadable"),
    ],
)
def test_a_selection_says_itself_what_it_is_drawn_from(
    options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data select digits-lt --imbalance 20 --per-class 5 --out chosen.txt", monkeypatch) == 0
    said = options.split()[0].removeprefix("--").replace("-", " ")
    assert run(f"data describe list:chosen.txt {options}", monkeypatch) == 2
    assert f"is a selection of digits-lt, which says its own {said}" in capsys.readouterr().err
    # What it says already may be said once more.
    assert run("data describe list:chosen.txt --imbalance 20", monkeypatch) == 0


def test_what_a_kind_of_data_does_not_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    features()
    refused = {
        "data describe digits-lt --image-size 16": "images of one size",
        "data select digits-lt --image-size 16": "images of one size",
        "data describe digits-lt --lists .": "no official lists; --lists is for imagenet-lt",
        "data verify folder:insects --lists .": "no official lists",
        "data describe digits-lt --skip-unreadable": "no picture files",
        "data describe features:rows.npz --labels-from 1": "numbers its classes itself",
        "data describe features:rows.npz --skip-unreadable": "no picture files",
        "embed digits-lt --model small --whole --split-seed 1": "--split-seed comes afterwards",
        "embed digits-lt --model small --whole --drop-duplicates a.txt": "--drop-duplicates comes afterwards",
        "embed digits-lt --model small --whole --lists .": "no official lists",
    }
    for command, words in refused.items():
        capsys.readouterr()
        assert run(command, monkeypatch) == 2, command
        assert words in capsys.readouterr().err.splitlines()[-1], command


def test_class_sizes_are_drawn_from_features() -> None:
    features()
    assert load("features:rows.npz", class_sizes=[9, 3]).counts.tolist() == [9, 3]
    with pytest.raises(InputError):
        load("features:rows.npz", class_sizes=[9, 3], imbalance=2)


def test_classes_that_a_draw_makes_small_are_told() -> None:
    """Classes are left out of what is drawn from, so those of the subset can be smaller."""
    small = load("digits-lt", leave_out_classes_below=5)
    assert "4 classes have fewer than 5 images in what was drawn" in small.notes[-1]
    for name in ("folder:insects", "list:own_train.txt"):
        with pytest.raises(InputError, match="fewer than two classes"):
            load(
                name,
                root="insects" if "list" in name else None,
                labels_from=int("list" in name),
                leave_out_classes_below=7,
            )
    with pytest.raises(InputError, match="the two largest have 9 and 6 pictures"):
        load("folder:insects", leave_out_classes_below=10)
    whole = load("folder:insects", leave_out_classes_below=3)
    assert whole.counts.tolist() == [9, 6]
    assert not any("in what was drawn" in note for note in whole.notes)


@pytest.mark.parametrize("streamed", [False, True])
def test_verify_looks_at_what_is_left_without_the_copies(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if streamed:
        monkeypatch.setattr("longtail.data.listing.is_streamed", lambda *_: True)
    shutil.copy("insects/test/ant/0.png", "insects/train/bee/copy.png")
    found = {drop: verify("folder:insects", drop_duplicates=drop) for drop in (None, "copies.txt")}
    wrong = {drop: [each.what for each in findings if not each.ok] for drop, findings in found.items()}
    assert wrong == {None: ["copies", "one picture under two classes"], "copies.txt": []}
    assert found["copies.txt"][-1].detail == load("folder:insects", drop_duplicates="copies.txt").fingerprint


def test_an_option_is_named_as_it_is_typed() -> None:
    assert Reading().given() == {}
    assert Drawing(lists_folder=pathlib.Path("a"), no_flip=True).given() == {
        "lists_folder": pathlib.Path("a"),
        "no_flip": True,
    }
    assert [flag(name) for name in ("lists_folder", "split_seed")] == ["--lists", "--split-seed"]


def test_a_run_without_its_data_set_takes_no_option_of_reading(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train ce --epochs 1 --out one --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 0
    assert run("rescore one --lists .", monkeypatch) == 2
    assert "--lists would not be heeded here: it goes with --data" in capsys.readouterr().err
