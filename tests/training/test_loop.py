"""The one loop: the same seed gives the same numbers, killed or not, and a shared beginning is trained once."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import torch

from longtail import results
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods import recipe as named
from longtail.recipes.stages import Recipe, state_address
from longtail.training import compute as computing
from longtail.training import loop
from longtail.training.audit import audit
from longtail.training.compute import Compute
from longtail.training.many import train_many
from longtail.training.run import train
from longtail.training.store import Store
from together import children, living

CPU = Compute(device="cpu", precision="float32", compiled=False)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20, validation=0.2)


def recipe(data: Data, name: str = "ce", epochs: int = 3) -> Recipe:
    return named(name, data, epochs=epochs)


def untimed(record: results.Record) -> dict[str, Any]:
    """A record without what may differ between two equal runs: times, which checkout ran, a file that holds times."""
    plain = record.to_json()
    plain["digests"] = {"run": plain["digests"]["run"]}
    for key in ("seconds", "started", "revision"):
        plain.pop(key)
    plain["history"] = [{key: value for key, value in row.items() if key != "seconds"} for row in plain["history"]]
    return plain


def test_the_same_seed_gives_the_same_record(digits: Data, tmp_path: pathlib.Path) -> None:
    one = train(recipe(digits), digits, seed=1, out=tmp_path / "a", compute=CPU)
    two = train(recipe(digits), digits, seed=1, out=tmp_path / "b", compute=CPU)
    other = train(recipe(digits), digits, seed=2, out=tmp_path / "c", compute=CPU)
    assert untimed(one) == untimed(two)
    assert untimed(one)["history"] != untimed(other)["history"]


def test_it_learns(digits: Data, tmp_path: pathlib.Path) -> None:
    record = train(recipe(digits, epochs=15), digits, seed=0, out=tmp_path, compute=CPU)
    assert record.report["accuracy"] > 0.6  # chance is 0.1
    assert record.history[-1]["loss"] < record.history[0]["loss"] / 3
    assert [row["epoch"] for row in record.history] == list(range(1, 16))


def test_a_finished_run_is_returned_not_repeated(digits: Data, tmp_path: pathlib.Path) -> None:
    one = train(recipe(digits), digits, seed=1, out=tmp_path, compute=CPU)
    before = (tmp_path / "record.json").stat().st_mtime_ns
    assert train(recipe(digits), digits, seed=1, out=tmp_path, compute=CPU) == one
    assert (tmp_path / "record.json").stat().st_mtime_ns == before


def test_an_interrupted_run_continues_to_the_same_numbers(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    for name in ("ce", "logit-adjustment-post-hoc"):
        whole = train(recipe(digits, name), digits, seed=1, out=tmp_path / name / "whole", compute=CPU)

        def stop(progress: loop.Progress) -> None:
            if progress.epoch == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe(digits, name), digits, seed=1, out=tmp_path / name / "cut", compute=CPU, notify=stop)
        resumed: list[int] = []

        def note(progress: loop.Progress, seen: list[int] = resumed) -> None:
            seen.append(progress.epoch)

        cut = train(
            recipe(digits, name),
            digits,
            seed=1,
            out=tmp_path / name / "cut",
            compute=CPU,
            notify=note,
        )
        assert min(resumed) == 2  # the first epoch came from the checkpoint
        assert untimed(cut) == untimed(whole)


def test_a_run_that_goes_on_under_another_name_of_the_same_file_is_that_run(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "from torch.nn.functional import cross_entropy\n\n\ndef loss(logits, target, *, table=''):\n"
    pathlib.Path("own.py").write_text(f"{text}    return cross_entropy(logits, target, reduction='none')\n")
    pathlib.Path("w.txt").write_text("1 2 3")
    shutil.copytree(tmp_path, tmp_path / "moved")

    def stop(progress: loop.Progress) -> None:
        raise KeyboardInterrupt

    first, *others = ("./own.py:loss@table=./w.txt", "own.py:loss@table=w.txt", "moved/own.py:loss@table=moved/w.txt")
    for place, other in enumerate(others):
        out = tmp_path / f"run{place}"
        with pytest.raises(KeyboardInterrupt):
            train(recipe(digits, first), digits, seed=1, out=out, compute=CPU, notify=stop)
        record = train(recipe(digits, other), digits, seed=1, out=out, compute=CPU)
        assert audit(out)[0].record == record
        for name in (first, *others):
            assert train(recipe(digits, name), digits, seed=1, out=out, compute=CPU) == record
    for seed, name in enumerate(("mine=own.py:loss", "mine=moved/own.py:loss")):
        train(recipe(digits, name, epochs=1), digits, seed=seed, out=tmp_path / f"mine{seed}", compute=CPU)
    results.compare_records({"mine": [results.read(tmp_path / f"mine{seed}") for seed in (0, 1)]})


@pytest.mark.slow
def test_a_killed_process_continues_to_the_same_numbers(tmp_path: pathlib.Path) -> None:
    def command(out: str, before: str = "") -> list[str]:
        script = (
            "from longtail.training import checkpoint, loop; loop.CHECKPOINT_SECONDS = 0.0\n"
            f"{before}\n"
            "import sys; from longtail import cli; sys.argv = sys.argv[:1] + sys.argv[2:]; cli.main()"
        )
        flags = "train ce --data digits-lt --seed 3 --epochs 12 --precision float32 --json --out"
        return [sys.executable, "-c", script, "x", *flags.split(" "), str(tmp_path / out)]

    # It stops in the middle of writing its fourth checkpoint, where it is killed: no clock decides how far it came.
    stop = (
        "import pathlib, time; save, seen = checkpoint.save, []\n"
        "def stopping(path, tensors, facts):\n"
        "    seen.append(path)\n"
        "    if len(seen) == 4:\n"
        "        path.with_suffix('.half').write_bytes(b'half a checkpoint')\n"
        f"        pathlib.Path({str(tmp_path / 'there')!r}).touch(); time.sleep(600)\n"
        "    save(path, tensors, facts)\n"
        "checkpoint.save = stopping"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command("whole"), check=True, capture_output=True, env=environment)
    killed = subprocess.Popen(command("cut", stop), env=environment, stdout=subprocess.DEVNULL)
    while not (tmp_path / "there").exists() and killed.poll() is None:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list((tmp_path / "cut").rglob("progress.safetensors"))
    assert not (tmp_path / "cut" / "record.json").exists()
    subprocess.run(command("cut"), check=True, capture_output=True, env=environment)
    assert untimed(results.read(tmp_path / "cut").record) == untimed(results.read(tmp_path / "whole").record)


def test_a_shared_beginning_is_trained_once(digits: Data, tmp_path: pathlib.Path) -> None:
    trained: list[str] = []
    names = ("ce", "logit-adjustment-post-hoc", "balanced-softmax")
    folders = train_many(
        [recipe(digits, name) for name in names],
        digits,
        seeds=[0],
        out=tmp_path,
        compute=CPU,
        notify=lambda progress: trained.append(progress.recipe),
    )
    assert set(trained) == {"ce", "balanced-softmax"}
    plain, adjusted = (results.read(folders[name][0]).record for name in names[:2])
    assert plain.history == adjusted.history
    assert plain.report["accuracy"] != adjusted.report["accuracy"]


def test_another_run_is_never_overwritten(digits: Data, tmp_path: pathlib.Path) -> None:
    train(recipe(digits), digits, seed=1, out=tmp_path, compute=CPU)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"holds another run \(seed: 1 there, 2 here\)"):
        train(recipe(digits), digits, seed=2, out=tmp_path, compute=CPU)
    with pytest.raises(InputError, match=r"stages\.0\.epochs"):
        train(recipe(digits, epochs=4), digits, seed=1, out=tmp_path, compute=CPU)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_with_other_things_is_left_alone(digits: Data, tmp_path: pathlib.Path) -> None:
    for name in ("thesis.tex", ".film.part"):
        folder = tmp_path / name.strip(".")
        folder.mkdir()
        (folder / name).write_text("precious")
        with pytest.raises(InputError, match="not empty"):
            train(recipe(digits), digits, seed=1, out=folder, compute=CPU)
        assert os.listdir(folder) == [name]


def test_what_a_killed_process_left_of_its_claim_is_no_other_thing(digits: Data, tmp_path: pathlib.Path) -> None:
    (tmp_path / ".run.json.abc123.part").write_text("{")
    (tmp_path / ".lock").touch()
    train(recipe(digits, epochs=1), digits, seed=1, out=tmp_path, compute=CPU)
    assert not list(tmp_path.glob(".*.part"))


def test_a_checkpoint_of_another_configuration_is_refused(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe(digits), digits, seed=1, out=tmp_path / "a", compute=CPU)
    state = next(tmp_path.rglob("state.safetensors"))
    (tmp_path / "b").mkdir()
    other = recipe(digits, epochs=4)
    key = state_address(other, 0, data=digits.identity, seed=1, compute=computing.identity(CPU))[:24]
    (tmp_path / "b" / "stages" / key).mkdir(parents=True)
    (tmp_path / "b" / "stages" / key / "state.safetensors").write_bytes(state.read_bytes())
    with pytest.raises(InputError, match="belongs to another configuration"):
        train(other, digits, seed=1, out=tmp_path / "b", compute=CPU)


def test_a_loss_that_is_not_finite_names_epoch_and_step(digits: Data, tmp_path: pathlib.Path) -> None:
    wild = recipe(digits)
    stage = dataclasses.replace(wild.stages[0], optimizer=wild.stages[0].optimizer.with_arguments(lr=1e30))
    with pytest.raises(InputError, match=r"stage 'classify', epoch 1, step \d+ of \d+"):
        train(dataclasses.replace(wild, stages=(stage,)), digits, seed=1, out=tmp_path, compute=CPU)
    assert not (tmp_path / "record.json").exists()


OWN = """
import torch


def stops(target):
    yield from range(len(target) - 2)
    raise KeyError("here")


def texts(target):
    return ["here"]


class Tells:
    def __init__(self, target):
        self.target = target

    def __iter__(self):
        return iter(range(len(self.target)))

    def history(self):
        raise KeyError("here")


class Looks(Tells):
    def start_epoch(self, context):
        raise KeyError("here")


class Turns:
    draws = 0

    def apply(self, images, noise):
        raise KeyError("here")


def loss(logits, target):
    raise KeyError("here")


def late(epoch, progress):
    if progress > 0.4:
        raise KeyError("here")
    return 1.0


def made(factor=1.0):
    return factor


class Net(torch.nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))

    def forward(self, images):
        if not self.training and len(images) > 2:
            raise KeyError("here")
        return super().forward(images)
"""


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ("stages.0.sampler={}:stops", "stage 'classify', epoch 1: KeyError: 'here'"),
        ("stages.0.sampler={}:texts", "stage 'classify', epoch 1: ValueError: too many dimensions"),
        ("stages.0.sampler={}:Looks", "stage 'classify', epoch 1: KeyError: 'here'"),
        ("stages.0.sampler={}:Tells", "stage 'classify', epoch 1: KeyError: 'here'"),
        ("stages.0.augmentation={}:Turns", r"stage 'classify', epoch 1, step 1 of \d+: KeyError: 'here'"),
        ("stages.0.objective=mix-up@loss=({}:loss)", r"stage 'classify', epoch 1, step 1 of \d+: KeyError: 'here'"),
        ("stages.0.schedule={}:late", r"stage 'classify', epoch 1, step [2-9] of \d+: KeyError: 'here'"),
        ("stages.0.schedule={}:made", "schedule '.*made' gave a float; it must be a function of epoch"),
        ("model={}:Net", "stage 'classify', epoch 1: KeyError: 'here'"),
    ],
)
def test_what_goes_wrong_in_a_part_of_ones_own_is_one_line(
    changes: str, where: str, digits: Data, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    own = named("ce", digits, epochs=1, changes=[changes.format(tmp_path / "own.py")])
    with pytest.raises(InputError, match=where) as caught:
        train(own, digits, seed=1, out=tmp_path / "run", compute=CPU)
    assert "\n" not in str(caught.value)


def test_so_is_what_goes_wrong_after_the_last_stage(tmp_path: pathlib.Path) -> None:
    data = load("digits-lt", imbalance=20)
    (tmp_path / "own.py").write_text(OWN)
    own = named("ce", data, epochs=1, model=f"{tmp_path}/own.py:Net")
    with pytest.raises(InputError, match=r"after the last stage: KeyError: 'here' \(own.py, line \d+\)"):
        train(own, data, seed=1, out=tmp_path / "run", compute=CPU)


def test_best_on_validation_takes_the_best_epoch(digits: Data, tmp_path: pathlib.Path) -> None:
    chosen = dataclasses.replace(recipe(digits, epochs=6), selection="best on validation")
    record = train(chosen, digits, seed=1, out=tmp_path, compute=CPU, watch_test=True)
    best = max(record.history, key=lambda row: row["validation_accuracy"])  # the first of equals
    assert record.report["accuracy"] == best["test_accuracy"]
    assert record.selection == "best on validation"
    assert record.legacy["best_on_test"] == max(row["test_accuracy"] for row in record.history)
    assert "selected on the test set" in record.legacy["note"]


def test_best_on_validation_needs_a_validation_split(tmp_path: pathlib.Path) -> None:
    data = load("digits-lt")
    chosen = dataclasses.replace(recipe(data), selection="best on validation")
    with pytest.raises(InputError, match="validation"):
        train(chosen, data, seed=1, out=tmp_path, compute=CPU)


def test_the_test_set_is_not_looked_at_unless_asked(digits: Data, tmp_path: pathlib.Path) -> None:
    record = train(recipe(digits), digits, seed=1, out=tmp_path, compute=CPU)
    assert all(row["test_accuracy"] is None for row in record.history)
    assert record.legacy == {}


def test_the_global_generator_is_left_alone(digits: Data, tmp_path: pathlib.Path) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    train(recipe(digits), digits, seed=1, out=tmp_path, compute=CPU)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_address_sees_what_decides_a_state_and_nothing_else(digits: Data) -> None:
    def key(part: Recipe, **changes: Any) -> str:
        facts: dict[str, Any] = {"data": ("f",), "seed": 0, "compute": {"precision": "float32"}, **changes}
        return state_address(part, 0, **facts)

    ce = recipe(digits)
    renamed = dataclasses.replace(ce, name="x", stages=(dataclasses.replace(ce.stages[0], name="y"),))
    assert key(ce) == key(renamed)
    others = [
        key(recipe(digits, epochs=4)),
        key(recipe(digits, "balanced-softmax")),
        key(ce, seed=1),
        key(ce, data=("g",)),
        key(ce, compute={"precision": "bfloat16"}),
    ]
    assert len({key(ce), *others}) == 6


def test_changed_data_are_another_run_or_are_refused(digits: Data, tmp_path: pathlib.Path) -> None:
    train(recipe(digits), digits, seed=1, out=tmp_path / "a", compute=CPU)
    fewer = dataclasses.replace(digits, train=digits.train.at(torch.arange(len(digits.train)).flip(0)))
    with pytest.raises(InputError, match="renewed"):
        train(recipe(digits), fewer, seed=1, out=tmp_path / "a", compute=CPU)
    scaled = dataclasses.replace(digits, mean=(0.0,))
    regrouped = dataclasses.replace(digits, many=50)
    for changed in (fewer.renewed(), scaled, regrouped):
        with pytest.raises(InputError, match="another run"):
            train(recipe(digits), changed, seed=1, out=tmp_path / "a", compute=CPU)
    states = [Store(tmp_path, recipe(digits), held.identity, 1, {}).address(0) for held in (digits, scaled, regrouped)]
    assert states[0] == states[2] != states[1]


def test_a_record_is_json_with_what_a_reader_needs(digits: Data, tmp_path: pathlib.Path) -> None:
    train(recipe(digits), digits, seed=1, out=tmp_path, compute=CPU)
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["model"]["parameters"] > 0
    assert record["data"]["counts"] == digits.counts.tolist()
    assert {"torch", "python", "longtail"} <= set(record["packages"])
    assert record["numerics"]["precision"] == "float32"
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.slow
def test_runs_at_once_are_the_runs(digits: Data, tmp_path: pathlib.Path) -> None:
    """Two processes share beginnings and their folder, news of both arrives, the records are those of one process."""
    recipes = [recipe(digits, name) for name in ("ce", "logit-adjustment-post-hoc")]
    heard: set[tuple[str, int]] = set()

    def hear(progress: loop.Progress) -> None:
        heard.add((progress.recipe, progress.seed))

    one = train_many(recipes, digits, seeds=[0, 1], out=tmp_path / "one", compute=CPU)
    two = train_many(recipes, digits, seeds=[0, 1], out=tmp_path / "two", compute=CPU, jobs=2, notify=hear)
    assert heard == {("ce", 0), ("ce", 1)}
    for name, folders in one.items():
        for mine, theirs in zip(folders, two[name], strict=True):
            assert mine.name == theirs.name
            left, right = (untimed(results.read(folder).record) for folder in (mine, theirs))
            for record in (left, right):
                record["numerics"].pop("threads")
            assert left == right


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("end", "whom"), [(signal.SIGINT, "command"), (signal.SIGKILL, "command"), (signal.SIGKILL, "job")]
)
def test_no_process_outlives_the_command(end: signal.Signals, whom: str, tmp_path: pathlib.Path) -> None:
    flags = "compare ce --data digits-lt --seeds 2 --jobs 2 --epochs 100000 --out"
    command = [sys.executable, "-m", "longtail.cli", *flags.split(" "), str(tmp_path)]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while len(list(tmp_path.rglob("run.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    working = children(started.pid)
    assert len(working) >= 2
    training = [
        process for process in working if b"spawn_main" in pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
    ]
    os.kill(started.pid if whom == "command" else training[0], end)
    _, said = started.communicate(timeout=240)
    while living(working) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not living(working)
    if end is signal.SIGINT:
        assert started.returncode == 130
        assert said.splitlines()[-1].startswith("interrupted; the same command continues")
    if whom == "job":
        assert started.returncode == 2
        assert re.fullmatch(
            r"longtail: the process of ce, seed [01] was killed, .* with fewer --jobs goes on", said.splitlines()[-1]
        )


@pytest.mark.slow
def test_a_failure_in_one_of_several_runs_is_told_as_it_is(digits: Data, tmp_path: pathlib.Path) -> None:
    bad = dataclasses.replace(recipe(digits), selection="best on validation")
    without = dataclasses.replace(digits, validation=None)
    with pytest.raises(InputError, match="needs a validation split"):
        train_many([bad], without, seeds=[0, 1], out=tmp_path, compute=CPU, jobs=2)
    with pytest.raises(InputError, match="jobs must be at least 1, not 0"):
        train_many([bad], without, seeds=[0], out=tmp_path, compute=CPU, jobs=0)
