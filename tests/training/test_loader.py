"""Training on pictures that stay in their files: the numbers depend on neither workers nor interruptions."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import torch
from torch import nn

from longtail import results
from longtail.data import Data, load
from longtail.data.decoding import pixels_of, squared
from longtail.errors import InputError
from longtail.methods.names import recipe as named
from longtail.recipes import Recipe
from longtail.training import checkpoint, loader, loop
from longtail.training.compute import Compute
from longtail.training.passes import as_input, images_of
from longtail.training.run import train
from longtail.use import pictures
from longtail.use.predict import Answer, predict, predict_files
from together import children, living
from trees import folder, picture

pytest.importorskip("torchvision")
CPU = Compute("cpu", "float32", False)
SIDE = 104
COUNTS = {"ant": 7, "bee": 5, "cat": 4}


def tiny(*, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """A network of one layer, so that reading is all there is to it."""
    width = channels * (image_size // 26) ** 2
    return nn.Sequential(nn.AvgPool2d(26), nn.Flatten(), nn.BatchNorm1d(width), nn.Linear(width, num_classes))


FAILING = """
class Failing:
    draws = 0

    def apply(self, images, noise):
        raise RuntimeError("no such worker")
"""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def zoo(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "zoo"
    folder(root, COUNTS, ending="jpg", size=(30, 22))
    folder(root, dict.fromkeys(COUNTS, 2), split="test", ending="png", size=(20, 24))
    return root


@pytest.fixture
def data(zoo: pathlib.Path) -> Data:
    return load(f"folder:{zoo}", image_size=SIDE)


def recipe(data: Data, **options: Any) -> Recipe:
    return named("ce", data, **{"model": tiny, "epochs": 2, "batch_size": 4, "augmentation": "plain", **options})


def numbers(record: results.Record) -> list[Any]:
    kept = ("epoch", "loss", "train_accuracy", "learning_rate", "steps")
    return [[row[name] for name in kept] for row in record.history] + [record.report["per_class"]]


def test_large_pictures_stay_in_their_files_and_small_ones_do_not(zoo: pathlib.Path, data: Data) -> None:
    assert data.train.streamed
    assert tuple(data.train.images.shape) == (16, 3, SIDE, SIDE)
    assert data.notes[0].startswith("22 pictures are read from their files while training")
    small = load(f"folder:{zoo}", image_size=100)
    assert not small.train.streamed
    assert torch.equal(small.train.target, data.train.target)
    with pytest.raises(InputError, match="needs all of them in memory: give a smaller --image-size"):
        _ = data.train.pixels


def test_a_batch_holds_the_pixels_that_memory_would(data: Data) -> None:
    index = torch.tensor([3, 0, 15])
    for workers in (0, 2):
        (batch,) = loader.loaded(data.train.images, [index], data, workers=workers)  # type: ignore[arg-type]
        for place, position in enumerate(index.tolist()):
            assert torch.equal(batch.images[place], data.train.images.read(position))  # type: ignore[union-attr]
    file = data.train.images.file(15)  # type: ignore[union-attr]
    assert file.name == "003.jpg"
    assert torch.equal(batch.images[2], squared(pixels_of(file), SIDE))
    plain = images_of(data.test, torch.tensor([5]), data)
    assert plain.shape == (1, 3, SIDE, SIDE)
    assert plain.dtype == torch.float32


def test_the_number_of_workers_changes_nothing(
    data: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for workers in (0, 1, 2):
        monkeypatch.setattr(loader, "workers_for", lambda number, workers=workers: workers)
        torch.rand(3)  # what others drew before is no matter
        found[workers] = train(recipe(data), data, seed=0, out=tmp_path / str(workers), compute=CPU)
    assert numbers(found[0]) == numbers(found[1]) == numbers(found[2])
    assert found[0].history[0]["steps"] == 4
    other = train(recipe(data), data, seed=1, out=tmp_path / "other", compute=CPU)
    assert numbers(other) != numbers(found[0])


def test_each_epoch_augments_anew(data: Data) -> None:
    generator = torch.Generator().manual_seed(0)
    operations = tuple(made.build() for made in recipe(data).stages[0].augmentation)
    batches = [torch.arange(16)]
    first, second = (
        next(
            loader.loaded(
                data.train.images,  # type: ignore[arg-type]
                batches,
                data,
                operations=operations,
                seeds=loader.seeds_of(16, generator=generator),
                workers=0,
            )
        ).images
        for _ in range(2)
    )
    assert not torch.equal(first, second)


def test_views_come_view_by_view(data: Data) -> None:
    operations = tuple(made.build() for made in recipe(data, augmentation="simclr").stages[0].augmentation)
    read = loader.loaded(
        data.train.images,  # type: ignore[arg-type]
        [torch.arange(3)],
        data,
        operations=operations,
        seeds=torch.arange(3),
        workers=0,
    )
    assert next(read).images.shape == (2, 3, 3, SIDE, SIDE)


def test_an_epoch_is_taken_up_where_it_was_left(
    data: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same numbers; and to others where the sums or the seed of the augmentation are not restored."""
    monkeypatch.setattr(loop, "WITHIN_EPOCH_SECONDS", -1.0)
    monkeypatch.setattr(loop, "REPORT_SECONDS", -1.0)
    monkeypatch.setattr(loader, "workers_for", lambda number: 0)
    whole = train(recipe(data), data, seed=0, out=tmp_path / "whole", compute=CPU)

    def stop(progress: loop.Progress) -> None:
        if progress.epoch == 1 and progress.share == 0.75:
            raise KeyboardInterrupt

    seen: list[tuple[int, float]] = []
    for name in ("cut", "forgetful"):
        with pytest.raises(KeyboardInterrupt):
            train(recipe(data), data, seed=0, out=tmp_path / name, compute=CPU, notify=stop)
    cut = train(
        recipe(data), data, seed=0, out=tmp_path / "cut", compute=CPU, notify=lambda p: seen.append((p.epoch, p.share))
    )
    assert seen[0] == (1, 0.75)  # two steps of the second epoch came from the checkpoint
    assert numbers(cut) == numbers(whole)
    within = loop._within

    def forgetful(*held: Any) -> loop.Epoch | None:
        found = within(*held)
        assert found is not None
        found.seed = 1
        return found

    monkeypatch.setattr(loop, "_within", forgetful)
    forgotten = train(recipe(data), data, seed=0, out=tmp_path / "forgetful", compute=CPU)
    assert numbers(forgotten) != numbers(whole)


def test_an_epoch_in_memory_is_taken_up_too(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load("digits-lt", imbalance=20)
    monkeypatch.setattr(loop, "WITHIN_EPOCH_SECONDS", -1.0)
    monkeypatch.setattr(loop, "REPORT_SECONDS", -1.0)
    held = named("ce", digits, epochs=2)
    whole = train(held, digits, seed=0, out=tmp_path / "whole", compute=CPU)

    def stop(progress: loop.Progress) -> None:
        if progress.epoch == 1 and progress.share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(held, digits, seed=0, out=tmp_path / "cut", compute=CPU, notify=stop)
    seen: list[float] = []
    cut = train(held, digits, seed=0, out=tmp_path / "cut", compute=CPU, notify=lambda p: seen.append(p.share))
    assert seen[0] > 0.5
    assert numbers(cut) == numbers(whole)


def test_an_objective_that_saw_the_training_set_is_not_stopped_within(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load("digits-lt", imbalance=20)
    monkeypatch.setattr(loop, "WITHIN_EPOCH_SECONDS", -1.0)
    written: list[Any] = []
    monkeypatch.setattr(loop, "_checkpoint", lambda *held: written.append(held[-1]))
    train(named("dro-lt", digits, epochs=1), digits, seed=0, out=tmp_path, compute=CPU)
    stages = {type(held).__name__ for held in written}
    assert stages <= {"Epoch"}
    assert all(held.number == 0 for held in written)


def test_a_killed_run_goes_on_to_the_same_numbers(zoo: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Killed in the middle of a streamed epoch, with its workers alive; they end with it."""

    script = (
        "import sys, time, pathlib\n"
        "from longtail.training import loader, loop\n"
        "loop.WITHIN_EPOCH_SECONDS = -1.0; loader.workers_for = lambda number: 1\n"
        "kept, seen = loop._checkpoint, []\n"
        "def stopping(*held):\n"
        "    kept(*held)\n"
        "    seen.append(held)\n"
        "    if len(seen) == 5:\n"
        f"        pathlib.Path({str(tmp_path / 'there')!r}).touch(); time.sleep(600)\n"
        "loop._checkpoint = stopping\n"
        "from longtail.cli import main\nmain()"
    )
    flags = f"train ce --data folder:{zoo} --image-size {SIDE} --model small --epochs 2 --batch-size 4 --seed 1"
    more = ["--device", "cpu", "--precision", "float32", "--json", "--out", str(tmp_path / "cut")]
    killed = subprocess.Popen(
        [sys.executable, "-c", script, *flags.split(" "), *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "there").exists() and killed.poll() is None:
        time.sleep(0.05)
    workers = children(killed.pid)
    assert workers or not pathlib.Path("/proc/self/stat").exists()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    deadline = time.monotonic() + 60
    while living(workers):
        assert time.monotonic() < deadline, "a worker outlives the run that started it"
        time.sleep(0.1)
    (progress,) = (tmp_path / "cut").rglob("progress.safetensors")
    within = checkpoint.load(progress)[1]["within"]
    assert (within["number"], within["step"]) == (1, 2)  # an epoch of four steps has three such checkpoints
    data = load(f"folder:{zoo}", image_size=SIDE)
    held = named("ce", data, model="small", epochs=2, batch_size=4)
    both = [train(held, data, seed=1, out=tmp_path / name, compute=CPU) for name in ("cut", "whole")]
    assert numbers(both[0]) == numbers(both[1])


# ------------------------------------------------------------------------------------------------ what cannot be read


@pytest.fixture
def damaged(zoo: pathlib.Path) -> pathlib.Path:
    """One training picture ends early: its header can be read, its pixels cannot."""
    file = zoo / "train" / "bee" / "001.jpg"
    picture(file, size=(200, 150))
    stored = file.read_bytes()
    file.write_bytes(stored[: len(stored) // 2])
    return zoo


def test_a_picture_that_cannot_be_read_ends_the_run(damaged: pathlib.Path, tmp_path: pathlib.Path) -> None:
    held = load(f"folder:{damaged}", image_size=SIDE)
    with pytest.raises(InputError, match=r"bee/001.jpg is no readable picture") as caught:
        train(recipe(held), held, seed=0, out=tmp_path / "run", compute=CPU)
    assert "\n" not in str(caught.value)


def test_or_is_left_out_and_named_once(damaged: pathlib.Path, tmp_path: pathlib.Path) -> None:
    held = load(f"folder:{damaged}", image_size=SIDE, skip_unreadable=True)
    record = train(recipe(held), held, seed=0, out=tmp_path / "run", compute=CPU)
    named_once = [note for note in record.notes if "bee/001.jpg" in note]
    assert len(named_once) == 1
    assert [row["steps"] for row in record.history] == [4, 4]


def test_in_evaluation_it_always_ends_the_run(zoo: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file = zoo / "test" / "bee" / "001.png"
    picture(file, size=(200, 150))
    file.write_bytes(file.read_bytes()[:20_000])
    held = load(f"folder:{zoo}", image_size=SIDE, skip_unreadable=True)
    with pytest.raises(InputError, match=r"bee/001.png is no readable picture"):
        train(recipe(held), held, seed=0, out=tmp_path / "run", compute=CPU)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_augmentation_that_fails_is_one_line(
    workers: int, data: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(FAILING)
    monkeypatch.setattr(loader, "workers_for", lambda number: workers)
    failing = recipe(data, augmentation=f"{tmp_path}/own.py:Failing")
    with pytest.raises(InputError) as caught:
        train(failing, data, seed=0, out=tmp_path / "run", compute=CPU)
    said = str(caught.value)
    assert said.startswith("stage 'classify', epoch 1, step 1 of 4: ")
    assert "no such worker" in said
    assert len(said) < 150


def test_a_record_says_how_its_pictures_are_scaled(zoo: pathlib.Path, data: Data, tmp_path: pathlib.Path) -> None:
    files = sorted((zoo / "test").rglob("*.png"))
    usual = train(recipe(data, epochs=1), data, seed=0, out=tmp_path / "usual", compute=CPU).data
    assert {"interpolation", "crop"}.isdisjoint(usual)
    other = dataclasses.replace(data, interpolation="nearest", crop=0.5)
    record = train(recipe(other, epochs=1), other, seed=0, out=tmp_path / "other", compute=CPU)
    assert (record.data["interpolation"], record.data["crop"]) == ("nearest", 0.5)
    assert checkpoint.load(tmp_path / "other" / "model.safetensors")[1]["about"]["crop"] == 0.5
    shape = (3, SIDE, SIDE)
    for held, about in ((data, usual), (other, record.data)):
        seen = images_of(held.test, torch.arange(len(files)), held, inputs=None)
        ((_, images, unread),) = pictures.chunks(files, shape, about)
        assert unread == []
        assert torch.equal(as_input(images, None, held.mean, held.std), seen)
    answers: list[Answer] = []
    predict_files(tmp_path / "other", files, lambda run, found: answers.extend(found))  # the last in the loop above
    assert torch.equal(torch.stack([answer.probability for answer in answers]), predict(tmp_path / "other", images))
    for wrong, words in (({"interpolation": "best"}, "'best', which Pillow does not have"), ({"crop": 0}, "in .0, 1.")):
        with pytest.raises(InputError, match=words):
            next(pictures.chunks(files, shape, wrong))


def test_what_is_no_picture_at_all_is_said_before_training(zoo: pathlib.Path) -> None:
    (zoo / "train" / "bee" / "001.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"bee/001.jpg is no readable picture"):
        load(f"folder:{zoo}", image_size=SIDE)
    held = load(f"folder:{zoo}", image_size=SIDE, skip_unreadable=True)
    assert held.counts.tolist() == [7, 4, 4]
    assert any("left out 1 training picture that cannot be read: train/bee/001.jpg" in note for note in held.notes)


# -------------------------------------------------------------------------------------------------------------- flips


def test_data_without_flips_are_never_mirrored(data: Data, zoo: pathlib.Path) -> None:
    kinds = [made.name for made in recipe(data).stages[0].augmentation]
    assert kinds == ["longtail.augment:RandomCrop", "longtail.augment:HorizontalFlip"]
    unflipped = load(f"folder:{zoo}", image_size=SIDE, no_flip=True)
    assert [made.name for made in recipe(unflipped).stages[0].augmentation] == ["longtail.augment:RandomCrop"]
    digits = load("digits-lt")
    for augmentation in ("plain", "simclr", "strong"):
        text = str(named("ce", digits, augmentation=augmentation).stages[0].augmentation)
        assert "HorizontalFlip" not in text
        assert "simclr" not in text
    assert "RandomResizedCrop" in str(named("ce", digits, augmentation="simclr").stages[0].augmentation)
