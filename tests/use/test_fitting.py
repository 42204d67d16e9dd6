"""``longtail fit``: what it keeps, what it says, what it refuses, and that its commands work."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import sys
from typing import Any

import pytest
from PIL import Image

import longtail
from longtail import cli, metrics
from longtail.errors import InputError
from longtail.results import read
from longtail.training import many
from longtail.use import fitting
from longtail.use.choosing import judged
from longtail.use.fitting import Fitted, fit
from longtail.use.planning import planned

SMALL: dict[str, Any] = {"model": "small", "image_size": 8, "minutes": 0.01, "seeds": 1, "epochs": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Pictures of scikit-learn's digits, five classes with a tail; one class has a single picture to train on."""
    place = tmp_path_factory.mktemp("pictures") / "my signs"
    data = longtail.load("digits-lt")
    for c, number in enumerate((40, 20, 12, 6, 2)):
        (place / str(c)).mkdir(parents=True)
        for i, at in enumerate((data.test.target == c).nonzero().flatten().tolist()[:number]):
            Image.fromarray(data.test.images[at, 0].numpy()).save(place / str(c) / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def done(folder: pathlib.Path) -> tuple[Fitted, list[str]]:
    """A finished fit and the lines that it said; treat its folder as read-only."""
    said: list[str] = []
    return fit(f"folder:{folder}", **SMALL, out=folder.parent / "fit", say=said.append), said


def test_the_best_on_validation_is_kept(done: tuple[Fitted, list[str]], folder: pathlib.Path) -> None:
    """Against balanced accuracy of the answers that each run's network gives of the validation pictures."""
    found, _ = done
    data = longtail.load(f"folder:{folder}", image_size=8, validation=0.1)
    assert data.validation is not None
    expected = {}
    for name, (run,) in found.rows.items():
        answers = longtail.predict(run.folder, data.validation.images).argmax(dim=1)
        report = metrics.evaluate(data.validation.target, answers, counts=data.counts)
        expected[name] = report.balanced_accuracy
    assert found.validation == pytest.approx(expected, abs=1e-9)
    assert len(set(expected.values())) > 1
    assert expected[found.best] == max(expected.values())
    assert read(found.model).record == found.rows[found.best][0].record
    longtail.rescore(found.model)
    original = found.rows[found.best][0].folder
    assert (found.model / "model.safetensors").samefile(original / "model.safetensors")  # on the disk once
    assert {"ce", "logit-adjustment", "class-balanced-sampling", "crt", "ncm"} <= set(found.rows)


def test_it_says_what_it_did(done: tuple[Fitted, list[str]]) -> None:
    found, said = done
    told = "\n".join(said)
    for piece in ("nothing is wrong", "57 images in 5 classes", "small, trained from scratch", "--model NAME@weights="):
        assert piece in told, piece
    assert f"{len(found.rows)} methods, 1 seed, 1 of 1 epochs" in told
    assert "left out for time: tuning of logit-adjustment, tuning of ce" in told
    assert "minus untuned ce" in found.verdict or found.best == "ce"
    assert "ce" in found.report.read_text()


def test_the_same_command_goes_on_and_another_is_refused(
    done: tuple[Fitted, list[str]], folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    found, _ = done
    place = folder.parent / "fit"
    before = sorted(place.rglob("record.json"))
    monkeypatch.setattr(fitting, "train", None)  # nothing is measured again
    again = fit(f"folder:{folder}", **SMALL, out=place)
    assert (again.best, again.verdict, again.plan) == (found.best, found.verdict, found.plan)
    assert sorted(place.rglob("record.json")) == before
    with pytest.raises(InputError, match=r"holds another fit .seeds 1 there, 2 here."):
        fit(f"folder:{folder}", **SMALL | {"seeds": 2}, out=place)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no fit"):
        fit(f"folder:{folder}", **SMALL, out=tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]
    for wrong, words in (({"validation": 0.0}, "chooses by held-out"), ({"minutes": 0.0}, "minutes 0")):
        with pytest.raises(InputError, match=words):
            fit(f"folder:{folder}", **SMALL | wrong, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_stopped_at_any_moment_it_ends_as_it_would_have(
    done: tuple[Fitted, list[str]], folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    found, _ = done
    real, trained, kept = many.train, [], fitting.same_file

    def stopping(recipe: Any, data: Any, **options: Any) -> Any:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(recipe.name)
        return real(recipe, data, **options)

    def broken(source: pathlib.Path, path: pathlib.Path) -> None:
        if path.name == "record.json":
            raise KeyboardInterrupt
        kept(source, path)

    monkeypatch.setattr(many, "train", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit(f"folder:{folder}", **SMALL, out=tmp_path / "fit")
    assert not (tmp_path / "fit" / "model").exists()
    monkeypatch.setattr(many, "train", real)
    monkeypatch.setattr(fitting, "same_file", broken)
    with pytest.raises(KeyboardInterrupt):
        fit(f"folder:{folder}", **SMALL, out=tmp_path / "fit")
    assert not (tmp_path / "fit" / "model").exists()
    monkeypatch.setattr(fitting, "same_file", kept)
    again = fit(f"folder:{folder}", **SMALL, out=tmp_path / "fit")
    assert (again.best, again.validation, again.verdict) == (found.best, found.validation, found.verdict)
    assert not [path for path in (tmp_path / "fit").iterdir() if ".part" in path.name]


def test_its_commands_work_as_they_are_printed(
    done: tuple[Fitted, list[str]],
    folder: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command itself, which finds the fit done, and then every line that it prints."""
    shutil.copytree(folder.parent, tmp_path / "here", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "here")

    def run(words: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 0, words
        return capsys.readouterr().out

    asked = [
        f"folder:{folder}",
        *["--model", "small", "--image-size", "8", "--minutes", "0.01", "--seeds", "1", "--epochs", "1"],
    ]
    said = run(["longtail", "fit", *asked])
    assert done[0].verdict in said
    commands = [line.strip() for line in said.splitlines() if line.startswith("  longtail ")]
    assert commands == [line.replace(f"{folder.parent}/fit", "fit") for line in done[0].commands]
    assert [shlex.split(line)[1] for line in commands] == [
        *("data", "data", "compare", "report", "rescore", "mistakes", "predict", "export")
    ]
    before = sorted(pathlib.Path().rglob("record.json"))
    for line in commands[:-1]:
        run(shlex.split(line))
    assert sorted(pathlib.Path().rglob("record.json")) == before  # the comparison found every run
    told = json.loads(run(["longtail", "fit", *asked, "--json"]))
    assert (told["best"], told["verdict"]) == (done[0].best, done[0].verdict)
    run(shlex.split(commands[-1].replace("onnx", "safetensors")))  # the first export to ONNX takes seconds
    assert pathlib.Path("fit/model.safetensors").exists()


def test_a_leaking_test_split_is_said(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for c in range(3):
        for split, numbers in (("train", range(6)), ("test", range(5, 8))):
            (tmp_path / "leaky" / split / str(c)).mkdir(parents=True)
            for i in numbers:
                shutil.copy(folder / str(c) / f"{i}.png", tmp_path / "leaky" / split / str(c) / f"{i}.png")
    said: list[str] = []
    name = f"folder:{tmp_path / 'leaky'}"
    asked = fitting._Asked(name, "small", 1.0, 1, 8, 0.1, 1, None, False, None)
    findings = fitting._verified(asked, 8, said.append, fitting._nothing)
    assert any(line.startswith("NOT OK one picture in two splits") for line in said)
    assert not all(finding.ok for finding in findings)
    told = fitting._described(longtail.load(name, image_size=8, validation=0.1))
    assert "WARNING      3 of 9 test images are training images too: numbers on the test split are too good" in told
    clean = fitting._described(longtail.load(f"folder:{folder}", image_size=8))
    assert "are training images too" not in clean
    assert "classes have fewer than 5 test images: " in clean


def test_a_network_with_weights_is_used_and_one_without_is_not(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), tmp_path / "net.safetensors")
    said: list[str] = []
    small = SMALL | {"image_size": 32, "model": f"test_resnet@weights={tmp_path / 'net.safetensors'}", "epochs": 2}
    found = fit(f"folder:{folder}", **small, out=tmp_path / "fit", say=said.append)
    assert any("kept as it is at 32 pixels" in line for line in said)
    assert {run.record.model["name"] for held in found.rows.values() for run in held} == {"test_resnet (pretrained)"}
    assert list((tmp_path / "fit" / "runs").glob("*/features/*.safetensors"))  # pictures were seen once
    assert all("linear-probe" in line for line in found.commands if " compare " in line)
    with pytest.raises(InputError, match="gone"):
        fit(f"folder:{folder}", **small | {"model": "test_resnet@weights=gone.pth"}, out=tmp_path / "other")
    told = fitting._network("test_resnet", None).told
    assert told.startswith("No weights of test_resnet are at hand: training resnet8 from scratch at 32 pixels instead")
    assert "@weights=FILE" in told
    assert "@weights=timm" in told


def test_the_plan_fits_into_the_time() -> None:
    assert planned(1e6, 3, 30, 1.0, 0.1).left_out == ()
    assert planned(1e6, 5, 30, 1.0, 0.1).seeds == 5
    before = -1.0
    for seconds in (5.0, 20.0, 60.0, 120.0, 200.0, 400.0, 1000.0, 5000.0):
        plan = planned(seconds, 3, 30, 1.0, 0.1)
        assert plan.seconds <= max(seconds, 10.0)  # the least plan is taken whatever it costs
        assert plan.seconds >= before
        assert plan.seeds in (1, 3)  # two give no verdict
        assert bool(plan.left_out) == ((plan.seeds, plan.epochs, plan.both) != (3, 30, True))
        before = plan.seconds
    assert planned(0.0, 2, 200, 1.0, 9.0).epochs == 1


def test_a_verdict_says_what_its_interval_says(done: tuple[Fitted, list[str]]) -> None:
    rows = done[0].rows
    assert judged(rows, "ce")[1:] == (
        False,
        "Nothing helped: untuned ce is the best on validation, and it is kept",
    )
    assert judged(rows, "ce", ["ncm", "crt"])[1:] == (
        False,
        "Nothing was chosen: untuned ce and 2 other methods are level on validation (ncm, crt), so ce is kept",
    )
    for name in rows:
        difference, helped, line = judged(rows, name)
        if difference is not None:
            gap = difference.rates["balanced_accuracy"]
            assert gap is not None
            assert gap.low is not None
            assert helped == (gap.low > 0) == line.startswith("Above untuned ce")
            own = rows[name][0].record.report["balanced_accuracy"] - rows["ce"][0].record.report["balanced_accuracy"]
            assert gap.value == pytest.approx(own, abs=1e-9)
            assert f"{100 * own:+.1f} points" in line


def test_classes_that_nothing_is_chosen_by_are_named() -> None:
    data = longtail.load("digits-lt", imbalance=50, validation=0.2)
    assert data.validation is not None
    kept = data.validation.at((data.validation.target != 3).nonzero().flatten())
    told = fitting._to_choose_by(dataclasses.replace(data, validation=kept))
    assert told.startswith(f"Validation: {len(kept)} pictures to choose by, 0 to ")
    assert "no validation picture of 1 class (3), so what is chosen was not tried on them" in told
    whole = dataclasses.replace(data, validation=data.test)
    assert "WARNING" not in fitting._to_choose_by(whole)


def test_a_class_that_cannot_be_used_is_named_and_can_be_left_out(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copytree(folder, tmp_path / "signs")
    (tmp_path / "signs" / "4" / "1.png").unlink()
    name = f"folder:{tmp_path / 'signs'}"
    with pytest.raises(InputError, match=r"class '4' has a single image.*--leave-out-classes-below 2"):
        fit(name, **SMALL, out=tmp_path / "fit")
    data, carved = fitting._loaded(
        fitting._Asked(name, "small", 1.0, 1, 8, 0.1, 1, None, False, 2), 8, fitting._nothing
    )
    assert (data.num_classes, carved) == (4, True)
    fitting._check_folder(tmp_path / "fit", fitting._Asked(name, "small", 1.0, 1, 8, 0.1, 1, None, False, 2))
