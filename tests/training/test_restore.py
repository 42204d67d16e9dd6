"""From a record back to its network, and on from there: exactly what was trained, and nothing that a file names."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

from longtail import metrics, results
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods import recipe as named
from longtail.recipes import sources
from longtail.recipes.stages import Recipe, stored_recipe
from longtail.results import Loaded
from longtail.training import restore
from longtail.training.compute import Compute
from longtail.training.passes import outputs
from longtail.training.run import train
from longtail.use import predict

CPU = Compute(device="cpu", precision="float32", compiled=False)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


@pytest.fixture(scope="module")
def runs(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Loaded]:
    """A finished run of a recipe, trained once; treat it as read-only."""
    root = tmp_path_factory.mktemp("runs")

    def run(name: str) -> Loaded:
        folder = root / name
        recipe = short(digits, name)
        train(recipe, digits, seed=3, out=folder, store=root / "stages", compute=CPU)
        return results.read(folder)

    return run


def short(data: Data, name: str) -> Recipe:
    return named(name, data, epochs=2)


def edited(loaded: Loaded, folder: pathlib.Path, **changes: Any) -> Loaded:
    """A copy of a run whose record says something else."""
    shutil.copytree(loaded.folder, folder)
    record = json.loads((folder / "record.json").read_text())
    for key, value in changes.items():
        record[key] = {**record[key], **value} if isinstance(value, dict) else value
    (folder / "record.json").write_text(json.dumps(record))
    return results.read(folder)


# ------------------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("name", ["ce", "dro-lt@steps=4", "bns-probe", "ip-dpp"])
def test_the_network_comes_back_to_the_last_digit(digits: Data, runs: Callable[[str], Loaded], name: str) -> None:
    loaded = runs(name)
    network = restore.restored(loaded, digits)
    assert not network.training
    logits = outputs(network, digits.test, digits).logits
    prediction = logits.argmax(dim=1)
    assert torch.equal(prediction, loaded.prediction)
    # Calibration depends on every digit of every probability.
    again = metrics.evaluate(
        digits.test.target,
        prediction,
        counts=digits.counts,
        probability=logits.double().softmax(dim=1),
        many=digits.many,
        few=digits.few,
    )
    assert again.to_json() == loaded.record.report
    fresh = stored_recipe(loaded.record.config).model.build(
        num_classes=10, channels=1, image_size=8, generator=torch.Generator().manual_seed(0)
    )
    assert not torch.equal(outputs(fresh, digits.test, digits).logits.argmax(dim=1), prediction)


def test_features_are_those_of_both_splits_on_clean_images(digits: Data, runs: Callable[[str], Loaded]) -> None:
    loaded = runs("ce")
    train, test = restore.features_of(loaded, digits)
    assert train.features.shape == (len(digits.train), 64)
    network = restore.restored(loaded, digits)
    pixels = (digits.test.images.float() / 255 - digits.mean[0]) / digits.std[0]
    with torch.no_grad():
        by_hand = network(pixels)
    torch.testing.assert_close(test.features, by_hand.features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(test.logits, by_hand.logits, atol=1e-5, rtol=1e-5)


def test_the_recipe_comes_back_equal(digits: Data, runs: Callable[[str], Loaded]) -> None:
    assert stored_recipe(runs("dro-lt@steps=4").record.config) == short(digits, "dro-lt@steps=4")


def test_other_data_are_refused(digits: Data, runs: Callable[[str], Loaded]) -> None:
    loaded = runs("ce")
    for other in (load("digits-lt", imbalance=10), load("digits-lt", imbalance=20, split_seed=1)):
        for ask in (restore.restored, restore.features_of):
            with pytest.raises(InputError, match="training images of 1 x 8 x 8 are not the same images"):
                ask(loaded, other)


def test_a_run_without_its_state_is_named(digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path) -> None:
    loaded = edited(runs("ce"), tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no checkpoint at .*model\.safetensors"):
        restore.restored(loaded, digits)


def test_the_state_of_another_run_is_refused(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    loaded = edited(runs("ce"), tmp_path / "run")
    other = pathlib.Path(runs("ip-dpp").folder) / "model.safetensors"
    shutil.copyfile(other, tmp_path / "run" / "model.safetensors")
    with pytest.raises(InputError, match="is not the file that its record was written with"):
        restore.restored(loaded, digits)


# -------------------------------------------------------------------------------------------- what a file may name


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"name": "subprocess:Popen", "arguments": {"args": ["true"]}, "source": ""}, "names no part"),
        (
            {"name": "longtail.models:cifar_resnett", "arguments": {"depth": 32}, "source": ""},
            "did you mean 'cifar_resnet'",
        ),
        (
            {"name": "longtail.models:cifar_resnet", "arguments": {"colour": 1}, "source": ""},
            "unknown option of longtail.models:cifar_resnet 'colour'",
        ),
        ({"no name": 1}, "a stored part has a name, arguments and a source"),
        ({"name": "longtail.models:cifar_resnet", "arguments": 3, "source": ""}, "are no object"),
        (
            {"name": "net.py:Unnamed", "arguments": {}, "source": "0" * 64},
            "is never run because a file names it",
        ),
    ],
)
def test_an_unknown_model_is_refused(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path, part: dict[str, Any], words: str
) -> None:
    loaded = edited(runs("ce"), tmp_path / "run", config={"model": part})
    with pytest.raises(InputError, match=words):
        restore.restored(loaded, digits)


def test_a_config_that_is_no_recipe_is_refused(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    loaded = edited(runs("ce"), tmp_path / "run")
    stage = loaded.record.config["stages"][0]
    mistaken = dataclasses.replace(loaded, record=dataclasses.replace(loaded.record, config=stage))
    with pytest.raises(InputError, match="does not fit this version"):
        stored_recipe(stage)
    with pytest.raises(InputError, match="names no model"):
        restore.restored(mistaken, digits)


def test_a_part_of_the_users_own_does_not_hide_the_network(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    loaded = runs("ce")
    objective = {"name": "mine.py:a_loss_that_nobody_named", "arguments": {"gamma": 2}, "source": "1" * 64}
    stages = [{**loaded.record.config["stages"][0], "objective": objective}]
    mine = edited(loaded, tmp_path / "run", config={"stages": stages})
    assert torch.equal(outputs(restore.restored(mine, digits), digits.test, digits).logits.argmax(1), mine.prediction)
    read = stored_recipe(mine.record.config).stages[0].objective
    assert (read.name, read.foreign, read["gamma"]) == ("mine.py:a_loss_that_nobody_named", True, 2)
    with pytest.raises(InputError, match="never run because a file names it"):
        read.build()


TRAPS = ("model", "objective", "sampler", "augmentation", "inside a part of ours", "adjustment")


@pytest.mark.parametrize("place", TRAPS)
def test_reading_a_record_runs_no_code_that_it_names(
    place: str, digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "trap.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    loaded = runs("ce")
    digest = sources._digest(tmp_path / "trap.py", tmp_path)  # the right one: it is not enough
    trap: Any = {"name": f"{tmp_path / 'trap.py'}:thing", "arguments": {}, "source": digest}
    stage: dict[str, Any] = dict(loaded.record.config["stages"][0])
    changes: dict[str, Any] = {"stages": [stage]}
    if place in ("model", "adjustment"):
        changes[place] = trap
    elif place == "inside a part of ours":
        total = {"terms": [trap], "weights": [1.0]}
        stage["objective"] = {"name": "longtail.recipes:Total", "arguments": total, "source": ""}
    else:
        stage[place] = [trap] if place == "augmentation" else trap
    edit = edited(loaded, tmp_path / "run", config=changes)

    def tried(function: Callable[..., Any], *arguments: Any) -> str:
        try:
            function(*arguments)
        except InputError as error:
            return str(error)
        return ""

    needs_it = place in ("model", "adjustment")
    assert ("never run because a file names it" in tried(restore.features_of, edit, digits)) == needs_it
    assert ("never run because a file names it" in tried(predict, edit.folder, digits.test.images[:2])) == needs_it
    read = stored_recipe(edit.record.config)
    # A recipe read from the record is trained only with parts that were named.
    said = tried(lambda: train(read, digits, seed=0, out=tmp_path / "again", compute=CPU))
    assert "never run because a file names it" in said
    assert "cannot be continued" in tried(restore.continued, edit, digits, short(digits, "ip-dpp"), tmp_path / "s") or (
        place in ("model", "adjustment")
    )
    assert not (tmp_path / "ran").exists()


def test_a_run_of_an_own_loss_is_continued(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\ndef loss(logits, target):\n"
        "    return torch.nn.functional.cross_entropy(logits, target, reduction='none') ** 2\n"
    )
    recipe = short(digits, f"{tmp_path / 'mine.py'}:loss")
    train(recipe, digits, seed=0, out=tmp_path / "first", compute=CPU)
    (tmp_path / "mine.py").unlink()  # what is trained needs no more code of its own
    monkeypatch.setattr(sources, "_named", {})
    second = restore.continued(
        results.read(tmp_path / "first"), digits, short(digits, "ip-dpp"), tmp_path / "second" / "stages"
    )
    record = train(second, digits, seed=0, out=tmp_path / "second", compute=CPU)
    assert [row["stage"] for row in record.history] == ["classify", "classify", "fine-tune"]


# ---------------------------------------------------------------------------------------------------- going on


def numbers(loaded: Loaded) -> dict[str, Any]:
    """All of a record that a number could hide in, but for times and names."""
    plain = loaded.record.to_json()
    for key in ("seconds", "started", "revision", "recipe", "digests"):
        plain.pop(key)
    plain["config"] = {key: value for key, value in plain["config"].items() if key != "name"}
    plain["history"] = [{key: value for key, value in row.items() if "seconds" not in key} for row in plain["history"]]
    return plain


@pytest.mark.parametrize("first", ["ce", "dro-lt@steps=4", "logit-adjustment-post-hoc"])
def test_going_on_from_a_run_equals_one_run(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path, first: str
) -> None:
    begun, last = runs(first), short(digits, "ip-dpp")
    recipe = restore.continued(begun, digits, last, tmp_path / "on" / "stages")
    assert recipe.name == f"{begun.record.recipe}+ip-dpp"
    trained: list[str] = []
    train(
        recipe,
        digits,
        seed=3,
        out=tmp_path / "on",
        compute=CPU,
        notify=lambda progress: trained.append(progress.stage),
    )
    assert set(trained) == {"fine-tune"}

    stages = (*short(digits, first).stages, last.stages[-1])
    once = Recipe("at once", last.model, stages, stated=recipe.stated)
    train(once, digits, seed=3, out=tmp_path / "once", compute=CPU)
    on, whole = results.read(tmp_path / "on"), results.read(tmp_path / "once")
    assert numbers(on) == numbers(whole)
    assert torch.equal(on.prediction, whole.prediction)
    other = train(once, digits, seed=4, out=tmp_path / "other", compute=CPU)
    assert other.report != whole.record.report


def test_a_stage_that_keeps_the_optimiser_finds_it_beside_the_run(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    """The run's model file holds none."""
    begun, again = runs("ce"), short(digits, "ce")
    second = dataclasses.replace(again.stages[0], name="second", keeps_optimizer=True)
    last = dataclasses.replace(again, name="second", stages=(second,))
    recipe = restore.continued(begun, digits, last, tmp_path / "on" / "stages")
    train(recipe, digits, seed=3, out=tmp_path / "on", compute=CPU)
    once = dataclasses.replace(recipe, name="at once")
    train(once, digits, seed=3, out=tmp_path / "once", compute=CPU)
    assert numbers(results.read(tmp_path / "on")) == numbers(results.read(tmp_path / "once"))
    # From the model alone it is refused, and not begun with a fresh optimiser.
    alone = edited(begun, tmp_path / "deep" / "er" / "alone")
    recipe = restore.continued(alone, digits, last, tmp_path / "stages")
    with pytest.raises(InputError, match="keeps the optimiser of a stage before it, and there is none"):
        train(recipe, digits, seed=3, out=tmp_path / "refused", store=tmp_path / "stages", compute=CPU)


def test_going_on_leaves_the_first_run_as_it_was(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    begun = runs("ce")
    before = {path: path.read_bytes() for path in begun.folder.rglob("*") if path.is_file()}
    recipe = restore.continued(begun, digits, short(digits, "crt"), tmp_path / "stages")
    train(recipe, digits, seed=3, out=tmp_path / "on", store=tmp_path / "stages", compute=CPU)
    assert {path: path.read_bytes() for path in begun.folder.rglob("*") if path.is_file()} == before


def test_what_cannot_be_continued_is_refused(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    begun, second, store = runs("ce"), short(digits, "ip-dpp"), tmp_path / "stages"
    with pytest.raises(InputError, match="same data set"):
        restore.continued(begun, load("digits-lt", imbalance=10), second, store)

    older = edited(begun, tmp_path / "older", numerics={"version": 0, "state": "0" * 64})
    with pytest.raises(InputError, match="is not the state that"):
        restore.continued(older, digits, second, store)

    held = load("digits-lt", imbalance=20, validation=0.2)
    chosen = dataclasses.replace(short(held, "ce"), selection="best on validation")
    train(chosen, held, seed=0, out=tmp_path / "chosen", compute=CPU)
    with pytest.raises(InputError, match="selected on a validation split"):
        restore.continued(results.read(tmp_path / "chosen"), held, second, store)

    precise = edited(begun, tmp_path / "precise", numerics={"precision": "bfloat16"})
    with pytest.raises(InputError, match="cannot be continued"):
        restore.continued(precise, digits, second, store)
    assert not store.exists()
