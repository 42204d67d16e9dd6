"""Two processes train the run that one trains, wrong ways to do so are noticed, and either goes on with the other's."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from longtail import cli, results
from longtail.data import load
from longtail.errors import InputError
from longtail.methods import recipe as named
from longtail.training import processes
from longtail.training.prepare import settled
from longtail.training.processes import ALONE, Ranks, divided
from longtail.training.run import train
from together import (
    APART,
    TOGETHER,
    Pair,
    Trained,
    commands,
    digits,
    gradients,
    normalised,
    pair,
    stopped,
    tell_of_imports,
    trained,
)

CLOSE = 2e-6
"""Relative difference of losses that float32 explains over these few steps; one seen is 1e-6, a mutant's is 5e-3."""

RECIPES = {
    "ce": {},
    "dro-lt@steps=6": {},
    "dro-lt@radius=shared,layers=0.5,1,augmented=true,refresh-steps=3,steps=6": {},
    "bns-probe": {"changes": ("stages.0.optimizer=sgd@lr=0.05",)},
    "ip-dpp@scorer=trained,k=10": {},
    "mixup": {},
    "cmo": {},
    "ce, batches that do not divide": {"batch_size": 33},
}
MUTANTS = {
    "summed gradients": "ce",
    "own augmentation": "ce",
    "local centroids": "dro-lt@steps=6",
    "gather without gradient": "bns-probe",
    "own subset": "ip-dpp@scorer=trained,k=10",
}


@pytest.fixture(scope="module")
def two() -> Iterator[Pair]:
    with pair() as found:
        yield found


@pytest.fixture(scope="module")
def ones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """What one process gives, by the name of the recipe; filled as it is asked for."""
    return Ones(tmp_path_factory)


class Ones(dict[str, Trained]):
    def __init__(self, factory: pytest.TempPathFactory) -> None:
        super().__init__()
        self.factory = factory

    def __missing__(self, name: str) -> Trained:
        out = str(self.factory.mktemp("one") / "run")
        self[name] = trained(ALONE, name.split(", ")[0], out, **RECIPES[name])
        return self[name]


def far(found: Trained, expected: Trained) -> float:
    """The largest relative difference of the losses of all steps."""
    assert len(found.losses) == len(expected.losses) > 0
    pairs = zip(found.losses, expected.losses, strict=True)
    return max(abs(one - other) / max(abs(other), 0.05) for one, other in pairs)


def counted(run: Trained) -> dict[str, Any]:
    """What of a report is counted, and not a mean of rounded numbers."""
    return {key: value for key, value in run.report.items() if key != "calibration"}


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_have_the_losses_of_one(
    name: str, two: Pair, ones: dict[str, Trained], tmp_path: pathlib.Path
) -> None:
    first, second = two(trained, name.split(", ")[0], str(tmp_path / "run"), **RECIPES[name])
    expected = ones[name]
    assert far(first, expected) < CLOSE
    assert first.losses == second.losses
    assert counted(first) == counted(expected)
    assert first.report["calibration"] == pytest.approx(expected.report["calibration"], rel=1e-4)
    assert first.address == expected.address  # how many processes computed it is no part of what was computed
    assert (first.numerics["processes"], first.numerics["sync_batch_norm"]) == (2, True)
    assert "processes" not in expected.numerics


@pytest.mark.parametrize(("mutant", "name"), MUTANTS.items())
def test_a_wrong_variant_has_other_losses(
    mutant: str, name: str, two: Pair, ones: dict[str, Trained], tmp_path: pathlib.Path
) -> None:
    first, _ = two(trained, name, str(tmp_path / "run"), mutant=mutant, **RECIPES[name])
    assert far(first, ones[name]) > 100 * CLOSE


def test_accumulation_is_what_processes_do_that_normalise_apart(two: Pair, tmp_path: pathlib.Path) -> None:
    first, second = two(trained, "ce", str(tmp_path / "two"), compute=APART)
    pieces = trained(ALONE, "ce", str(tmp_path / "one"), compute=APART, accumulate=2)
    whole = trained(ALONE, "ce", str(tmp_path / "whole"), compute=APART)
    assert far(first, pieces) < CLOSE
    assert far(first, whole) > 100 * CLOSE  # so the numbers depend on the processes, and the run is another one
    assert counted(first) == counted(pieces) == counted(second)  # running statistics as well
    assert first.address != whole.address
    assert first.numerics["divided"] == 2


def test_accumulation_in_two_processes_that_normalise_together(two: Pair, tmp_path: pathlib.Path) -> None:
    options = {"accumulate": 2, "batch_size": 36, "changes": ("stages.0.clip=0.5", "stages.0.ema=0.9")}
    first, _ = two(trained, "ce", str(tmp_path / "two"), **options)
    assert far(first, trained(ALONE, "ce", str(tmp_path / "one"), **options)) < CLOSE


def test_validation_and_the_best_epoch(two: Pair, tmp_path: pathlib.Path) -> None:
    options: dict[str, Any] = {"data": digits(validation=0.2), "select": "validation", "epochs": 3}
    first, second = two(trained, "ce", str(tmp_path / "two"), **options)
    one = trained(ALONE, "ce", str(tmp_path / "one"), **options)
    scores = [[row["validation_accuracy"] for row in run.history] for run in (first, second, one)]
    assert scores[0] == scores[1] == scores[2]
    assert counted(first) == counted(one)


@pytest.mark.parametrize("name", ["crt", "lws", "ncm"])
def test_heads_of_later_stages_and_estimators(name: str, two: Pair, tmp_path: pathlib.Path) -> None:
    first, _ = two(trained, name, str(tmp_path / "two"))
    assert counted(first) == counted(trained(ALONE, name, str(tmp_path / "one")))


@pytest.mark.parametrize("begun", ["two", "one"])
def test_either_goes_on_with_what_the_other_began(begun: str, two: Pair, tmp_path: pathlib.Path) -> None:
    name, options = "ip-dpp@scorer=trained,k=10", {"epochs": 2}
    expected = trained(ALONE, name, str(tmp_path / "whole"), **options)
    out = str(tmp_path / "run")
    # In the middle of an epoch of the second stage, where a subset was drawn.
    after = len(expected.losses) - 3
    if begun == "two":
        assert two(stopped, name, out, after=after, **options) == [after, after]
        found = trained(ALONE, name, out, **options)
    else:
        assert stopped(ALONE, name, out, after=after, **options) == after
        found, _ = two(trained, name, out, **options)
    assert len(found.losses) == 3
    assert counted(found) == counted(expected)
    pairs = zip(found.losses, expected.losses[-3:], strict=True)
    assert all(one == pytest.approx(other, rel=1e-4) for one, other in pairs)


def test_what_layers_draw_differs_between_processes_and_after_a_stop_is_the_same(
    two: Pair, tmp_path: pathlib.Path
) -> None:
    model = tmp_path / "dropping.py"
    model.write_text(
        "from torch import nn\n\n\ndef net(num_classes, channels):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 32), nn.ReLU(), nn.Dropout(0.5),"
        " nn.Linear(32, num_classes))\n"
    )
    options: dict[str, Any] = {"model": f"{model}:net", "epochs": 1}
    first, _ = two(trained, "ce", str(tmp_path / "two"), **options)
    assert first.numerics["divided"] == 2
    assert two(stopped, "ce", str(tmp_path / "stopped"), after=5, **options) == [5, 5]
    again, _ = two(trained, "ce", str(tmp_path / "stopped"), **options)
    assert again.losses == first.losses[5:]
    assert again.report == first.report


@pytest.mark.parametrize("damaged", [0, 2])
def test_pictures_that_are_read_while_training(damaged: int, two: Pair, tmp_path: pathlib.Path) -> None:
    """Each process reads its part of them; where some cannot be read, all agree on what is left of a batch."""
    numbers = np.random.default_rng(0)
    for split, sizes in (("train", (14, 8, 5)), ("test", (3, 3, 3))):
        for name, size in zip("abc", sizes, strict=True):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(size):
                pixels = numbers.integers(0, 256, (112, 112, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    for number in range(damaged):
        picture = tmp_path / "pictures" / "train" / "a" / f"{number}.png"
        picture.write_bytes(picture.read_bytes()[:5000])
    data = load(f"folder:{tmp_path / 'pictures'}", image_size=112, skip_unreadable=damaged > 0)
    options: dict[str, Any] = {"data": data, "model": "small", "batch_size": 9, "augmentation": "plain", "chunk": 4}
    first, second = two(trained, "ce", str(tmp_path / "two"), **options)
    one = trained(ALONE, "ce", str(tmp_path / "one"), **options)
    assert data.train.streamed
    assert first.losses == second.losses
    assert far(first, one) < 1e-4  # it grows by the learning rate from step to step, here up to 1e-5
    assert counted(first) == counted(one)
    assert [note for note in first.notes if "skipped" in note] == [note for note in one.notes if "skipped" in note]
    assert len([note for note in one.notes if note.startswith("skipped: ")]) == damaged


def test_features_have_a_gradient_from_the_loss_of_every_process(two: Pair) -> None:
    found = two(gradients)
    weight = torch.tensor(found[0]["expected"])
    for rank in (0, 1):
        assert torch.allclose(torch.tensor(found[rank]["found"]), weight)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)])
def test_synchronised_normalisation_is_that_of_the_whole_batch(shape: tuple[int, ...], two: Pair) -> None:
    assert max(two(normalised, shape)) < 1e-12


@pytest.mark.parametrize(("number", "pieces", "size"), [(7, 1, 2), (3, 1, 2), (9, 2, 2), (64, 3, 5), (2, 4, 2)])
def test_a_batch_is_divided_without_rest_and_without_repeats(number: int, pieces: int, size: int) -> None:
    rows, taken = torch.arange(number), []
    assert all(sum(piece) >= processes.FEWEST for piece in divided(number, pieces, Ranks(0, size)).sizes)
    for piece in range(len(divided(number, pieces, Ranks(0, size)).sizes)):
        everywhere = [divided(number, pieces, Ranks(rank, size)) for rank in range(size)]
        whole = len(everywhere[0].sizes[piece]) == 1
        parts = [rows[held.own[piece]] for held in (everywhere[:1] if whole else everywhere)]
        assert whole or min(map(len, parts)) >= processes.FEWEST
        taken += parts
    assert torch.equal(torch.cat(taken), rows)


def test_no_piece_of_a_short_last_batch_is_a_single_image(tmp_path: pathlib.Path) -> None:
    data = digits()
    short = named("ce", data, model="mlp", epochs=1, batch_size=len(data.train) - 3, accumulate=3)
    train(short, data, seed=0, out=tmp_path, compute=APART)


def test_what_cannot_be_read_leaves_a_smaller_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    division = divided(9, 2, Ranks(1, 2))  # places 0-1 2-3 and 4-5 6-8
    told = [[True, False, True, True], [True, True, False, True, True]]
    monkeypatch.setattr(Ranks, "each", lambda self, own: told if own == told[1] else [])
    left, kept, enough = division.kept(torch.tensor(told[1]))
    assert left.sizes == ((1, 2), (2, 2))
    assert kept.tolist() == [True, False, True, True, True, True, False, True, True]
    assert not enough  # the first process has one image of the first piece


def test_the_numbers_depend_on_the_processes_only_where_they_must(tmp_path: pathlib.Path) -> None:
    data, ranks = digits(), Ranks(0, 2)
    for name, options, compute, expected in (
        ("ce", {}, APART, 2),
        ("ce", {}, TOGETHER, 1),
        ("ce", {"model": "linear"}, APART, 1),
    ):
        assert settled(compute, named(name, data, **options), data, ranks).divided == expected
        assert settled(compute, named(name, data, **options), data, ALONE).divided == 1
    with pytest.raises(InputError, match="do not go together"):
        settled(dataclasses.replace(TOGETHER, compiled=True), named("ce", data), data, ranks)
    assert not processes.draws(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))
    assert processes.draws(nn.Sequential(nn.Sequential(nn.Dropout2d(0.1))))


def test_a_run_of_two_that_normalised_apart_is_continued_by_two(
    two: Pair, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two(trained, "ce", str(tmp_path / "apart"), compute=APART)
    two(trained, "ce", str(tmp_path / "together"), compute=TOGETHER)
    monkeypatch.chdir(tmp_path)
    for name, status in (("apart", 2), ("together", 0)):
        words = f"longtail train crt --imbalance 20 --epochs 1 --from {name} --out {name}-on --quiet"
        monkeypatch.setattr(sys, "argv", words.split())
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == status
    assert "apart was trained by 2 processes that each normalised its own part" in capsys.readouterr().err
    both = [results.read(tmp_path / name).record.history[0] for name in ("together", "together-on")]
    assert both[0] == both[1]  # the stage was taken over


def test_an_error_of_the_first_is_one_of_all(two: Pair, tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(RuntimeError) as found:
        two(trained, "ce", str(tmp_path / "run"))
    assert str(found.value).count("is not empty and holds no run of longtail") >= 2  # one of each process
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


# As torchrun starts them.


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> results.Loaded:
    out = tmp_path_factory.mktemp("alone") / "run"
    trained(ALONE, "ce", str(out), epochs=EPOCHS, compute=TOGETHER, chunk=1000)
    return results.read(out)


EPOCHS = 6
COMMAND = f"-m longtail train ce --imbalance 20 --epochs {EPOCHS} --precision float32 --sync-batch-norm --out run"


def torchrun(folder: pathlib.Path, command: str) -> subprocess.Popen[str]:
    """Two processes on this machine, at a port of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [*words, *command.split()],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ours(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("longtail: ")]


@pytest.mark.slow
def test_a_process_is_killed_and_the_same_command_goes_on(one_run: results.Loaded, tmp_path: pathlib.Path) -> None:
    slow = tmp_path / "slow.py"
    # Each step takes a while and is followed by a checkpoint; then the second process ends as if it were killed.
    slow.write_text(
        "import os, signal, sys\n"
        "from longtail.cli import main\n"
        "from longtail.training import loop, step\n"
        "loop.WITHIN_EPOCH_SECONDS = loop.CHECKPOINT_SECONDS = 0.0\n"
        "call, done = step.Step.__call__, 0\n"
        "def counting(self, *arguments):\n"
        "    global done\n"
        "    call(self, *arguments)\n"
        "    done += 1\n"
        "    if done == 17 and os.environ['RANK'] == '1':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "step.Step.__call__ = counting\n"
        "main()\n"
    )
    killed = torchrun(tmp_path, COMMAND.replace("-m longtail", str(slow)))
    _, complained = killed.communicate(timeout=120)
    assert killed.returncode != 0
    assert len(ours(complained)) == 1, complained
    assert "the same command goes on" in ours(complained)[0]
    assert list((tmp_path / "run" / "stages").glob("*/progress.safetensors"))
    first, second = commands(tmp_path, COMMAND.removeprefix("-m longtail "), number=2, together=True)
    assert (first.status, second.status) == (0, 0), (first.complained, second.complained)
    assert "Record: run" in first.said
    assert "batches of 32 images are divided among 2 processes, learning rate 0.05 as in one" in first.complained
    assert second.said == second.complained == ""
    loaded = results.read(tmp_path / "run")
    assert torch.equal(loaded.prediction, one_run.prediction)
    assert loaded.record.digests["run"] == one_run.record.digests["run"]
    assert loaded.record.numerics["processes"] == 2


def test_a_users_error_is_one_line_however_many_processes(tmp_path: pathlib.Path) -> None:
    words = COMMAND.removeprefix("-m longtail ").replace("train ce", "train cee")
    ended = commands(tmp_path, words, number=2, together=True)
    assert [one.status for one in ended] == [2, 2]
    (line,) = ours("".join(one.complained for one in ended))
    assert "unknown recipe 'cee'" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("wrong", ["--epoks 3", "--seed one"])
def test_what_is_wrong_before_the_processes_meet_is_said_by_the_first(
    rank: str, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(sys, "argv", ["longtail", "train", "ce", *wrong.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert ("longtail: " in capsys.readouterr().err) == (rank == "0")


def test_one_process_imports_nothing_of_what_several_need(tmp_path: pathlib.Path) -> None:
    (ended,) = commands(tmp_path, "train ce --epochs 1 --out run", number=1, before=tell_of_imports)
    assert ended.status == 0, ended.complained
    names = (tmp_path / "imported.txt").read_text().split()
    assert "longtail" in names
    assert not {"lightning", "pytorch_lightning", "lightning_fabric", "ray"} & set(names)


def test_fewer_gpus_than_processes_and_a_wrong_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="WORLD_SIZE='two'"), processes.joined():
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match="more processes than this machine has GPUs"), processes.joined():
        pass
