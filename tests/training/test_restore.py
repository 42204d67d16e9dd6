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
from longtail.methods import by_name, protocol_for
from longtail.recipes.stages import Recipe
from longtail.results import Loaded
from longtail.training import loop, restore
from longtail.training.compute import Compute
from longtail.training.passes import outputs

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
        loop.train(recipe, digits, seed=3, out=folder, store=root / "stages", compute=CPU)
        return results.read(folder)

    return run


def short(data: Data, name: str) -> Recipe:
    return by_name(name, protocol_for(data, epochs=2))


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
    network = restore.network_of(loaded, digits)
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
    fresh = restore.recipe_of(loaded).model.build(
        num_classes=10, channels=1, image_size=8, generator=torch.Generator().manual_seed(0)
    )
    assert not torch.equal(outputs(fresh, digits.test, digits).logits.argmax(dim=1), prediction)


def test_features_are_those_of_both_splits_on_clean_images(digits: Data, runs: Callable[[str], Loaded]) -> None:
    loaded = runs("ce")
    train, test = restore.features_of(loaded, digits)
    assert train.features.shape == (len(digits.train), 64)
    network = restore.network_of(loaded, digits)
    pixels = (digits.test.images.float() / 255 - digits.mean[0]) / digits.std[0]
    with torch.no_grad():
        by_hand = network(pixels)
    torch.testing.assert_close(test.features, by_hand.features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(test.logits, by_hand.logits, atol=1e-5, rtol=1e-5)


def test_the_recipe_comes_back_equal(digits: Data, runs: Callable[[str], Loaded]) -> None:
    assert restore.recipe_of(runs("dro-lt@steps=4")) == short(digits, "dro-lt@steps=4")


def test_other_data_are_refused(digits: Data, runs: Callable[[str], Loaded]) -> None:
    loaded = runs("ce")
    for other in (load("digits-lt", imbalance=10), load("digits-lt", imbalance=20, split_seed=1)):
        for ask in (restore.network_of, restore.features_of):
            with pytest.raises(InputError, match="same data set, imbalance and split seed"):
                ask(loaded, other)


def test_a_run_without_its_state_is_named(digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path) -> None:
    loaded = edited(runs("ce"), tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no checkpoint at .*model\.safetensors"):
        restore.network_of(loaded, digits)


def test_the_state_of_another_run_is_refused(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    loaded = edited(runs("ce"), tmp_path / "run")
    other = pathlib.Path(runs("ip-dpp").folder) / "model.safetensors"
    shutil.copyfile(other, tmp_path / "run" / "model.safetensors")
    with pytest.raises(InputError, match="is not the state that"):
        restore.network_of(loaded, digits)


# -------------------------------------------------------------------------------------------- what a file may name


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "Popen", "args": ["true"]}, "unknown part of a recipe 'Popen'"),
        ({"type": "CifarResNett", "depth": 32}, "did you mean 'CifarResNet'"),
        ({"type": "CifarResNet", "colour": 1}, "does not fit this version"),
        ({"no type": 1}, "unknown part of a recipe 'None'"),
    ],
)
def test_an_unknown_model_is_refused(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path, part: dict[str, Any], words: str
) -> None:
    loaded = edited(runs("ce"), tmp_path / "run", config={"model": part})
    for ask in (restore.network_of, lambda loaded, _: restore.recipe_of(loaded)):
        with pytest.raises(InputError, match=words):
            ask(loaded, digits)


def test_a_config_that_is_no_recipe_is_refused(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    loaded = edited(runs("ce"), tmp_path / "run")
    stage = loaded.record.config["stages"][0]
    mistaken = dataclasses.replace(loaded, record=dataclasses.replace(loaded.record, config=stage))
    with pytest.raises(InputError, match="no recipe"):
        restore.recipe_of(mistaken)
    with pytest.raises(InputError, match="names no model"):
        restore.network_of(mistaken, digits)


def test_a_stored_recipe_is_made_of_descriptions_alone() -> None:
    assert {"Recipe", "Stage", "Supervised", "Robust", "Informative", "SGD", "RandomCrop"} <= set(restore.KINDS)
    assert not {"Batch", "Context", "Setting", "Compute", "Protocol"} & set(restore.KINDS)
    for kind in restore.KINDS.values():
        assert dataclasses.is_dataclass(kind)
        assert vars(kind)["__dataclass_params__"].frozen


def test_a_part_of_the_users_own_does_not_hide_the_network(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    loaded = runs("ce")
    stages = [{**loaded.record.config["stages"][0], "objective": {"type": "Mine"}}]
    mine = edited(loaded, tmp_path / "run", config={"stages": stages})
    assert torch.equal(outputs(restore.network_of(mine, digits), digits.test, digits).logits.argmax(1), mine.prediction)
    with pytest.raises(InputError, match="unknown part of a recipe 'Mine'"):
        restore.recipe_of(mine)


def test_reading_a_record_runs_no_code_that_it_names(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "trap.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    loaded = runs("ce")
    loss = {"type": "OwnLoss", "where": f"{tmp_path / 'trap.py'}:loss", "source": "0" * 64}
    stages = [{**loaded.record.config["stages"][0], "objective": {"type": "Supervised", "loss": loss, "weight": 1.0}}]
    trap = edited(loaded, tmp_path / "run", config={"stages": stages})
    restore.features_of(trap, digits)
    restore.recipe_of(trap)
    with pytest.raises(InputError, match="cannot be continued"):
        restore.continued(trap, digits, short(digits, "ip-dpp"), tmp_path / "stages")
    assert not (tmp_path / "ran").exists()


def test_a_run_of_an_own_loss_is_continued(digits: Data, tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\ndef loss(logits, target):\n"
        "    return torch.nn.functional.cross_entropy(logits, target, reduction='none') ** 2\n"
    )
    recipe = short(digits, f"{tmp_path / 'mine.py'}:loss")
    loop.train(recipe, digits, seed=0, out=tmp_path / "first", compute=CPU)
    (tmp_path / "mine.py").unlink()  # what is trained needs no more code of its own
    second = restore.continued(
        results.read(tmp_path / "first"), digits, short(digits, "ip-dpp"), tmp_path / "second" / "stages"
    )
    record = loop.train(second, digits, seed=0, out=tmp_path / "second", compute=CPU)
    assert [row["stage"] for row in record.history] == ["classify", "classify", "fine-tune"]


# ---------------------------------------------------------------------------------------------------- going on


def numbers(loaded: Loaded) -> dict[str, Any]:
    """All of a record that a number could hide in, but for times and names."""
    plain = loaded.record.to_json()
    for key in ("seconds", "started", "revision", "recipe"):
        plain.pop(key)
    plain["config"] = {key: value for key, value in plain["config"].items() if key != "name"}
    plain["history"] = [{key: value for key, value in row.items() if key != "seconds"} for row in plain["history"]]
    return plain


@pytest.mark.parametrize("first", ["ce", "dro-lt@steps=4", "logit-adjustment-post-hoc"])
def test_going_on_from_a_run_equals_one_run(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path, first: str
) -> None:
    begun, last = runs(first), short(digits, "ip-dpp")
    recipe = restore.continued(begun, digits, last, tmp_path / "on" / "stages")
    assert recipe.name == f"{begun.record.recipe}+ip-dpp"
    trained: list[str] = []
    loop.train(
        recipe,
        digits,
        seed=3,
        out=tmp_path / "on",
        compute=CPU,
        notify=lambda progress: trained.append(progress.stage),
    )
    assert set(trained) == {"fine-tune"}

    stages = (*short(digits, first).stages, last.stages[-1])
    once = Recipe("at once", last.model, stages)
    loop.train(once, digits, seed=3, out=tmp_path / "once", compute=CPU)
    on, whole = results.read(tmp_path / "on"), results.read(tmp_path / "once")
    assert numbers(on) == numbers(whole)
    assert torch.equal(on.prediction, whole.prediction)
    other = loop.train(once, digits, seed=4, out=tmp_path / "other", compute=CPU)
    assert other.report != whole.record.report


def test_going_on_leaves_the_first_run_as_it_was(
    digits: Data, runs: Callable[[str], Loaded], tmp_path: pathlib.Path
) -> None:
    begun = runs("ce")
    before = {path: path.read_bytes() for path in begun.folder.rglob("*") if path.is_file()}
    recipe = restore.continued(begun, digits, short(digits, "crt"), tmp_path / "stages")
    loop.train(recipe, digits, seed=3, out=tmp_path / "on", store=tmp_path / "stages", compute=CPU)
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
    loop.train(chosen, held, seed=0, out=tmp_path / "chosen", compute=CPU)
    with pytest.raises(InputError, match="selected on a validation split"):
        restore.continued(results.read(tmp_path / "chosen"), held, second, store)

    precise = edited(begun, tmp_path / "precise", numerics={"precision": "bfloat16"})
    with pytest.raises(InputError, match="cannot be continued"):
        restore.continued(precise, digits, second, store)
    assert not store.exists()
