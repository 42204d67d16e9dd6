"""A classifier fitted after the last stage becomes the run's head: prediction, probe, check and address all see it."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
import torch
from torch.nn import functional

import longtail
from longtail import results
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.models import CosineHead, LinearHead
from longtail.rebalance import SAMN, LabelOverSmoothing, LearnableWeightScaling, NearestClassMean, TauNormalization
from longtail.recipes import part
from longtail.recipes.stages import changes_head
from longtail.results import Loaded
from longtail.training.audit import rescore
from longtail.training.compute import Compute
from longtail.training.head import fit_head
from longtail.training.passes import outputs
from longtail.training.prepare import untrained
from longtail.training.restore import continued, features_of, restored
from longtail.training.run import run_address, train

CPU = Compute("cpu", "float32", compiled=False)
HEADS = {
    "tau-norm": TauNormalization(),
    "lws": LearnableWeightScaling(),
    "ncm": NearestClassMean(),
    "ncm@cosine=false": NearestClassMean(cosine=False),
    "samn": SAMN(),
    "los": LabelOverSmoothing(),
}


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


@pytest.fixture(scope="module")
def folder(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of runs of every head method on one beginning; treat it as read-only."""
    root = tmp_path_factory.mktemp("heads")
    for name in ("ce", *HEADS):
        recipe = longtail.recipe(name, digits, epochs=3)
        train(recipe, digits, seed=1, out=root / name, store=root / "stages", compute=CPU)
    return root


def read(folder: pathlib.Path, name: str) -> Loaded:
    return results.read(folder / name)


@pytest.mark.parametrize("name", HEADS)
def test_a_run_answers_as_the_estimator_does_on_the_features_of_ce(
    name: str, digits: Data, folder: pathlib.Path
) -> None:
    network = restored(read(folder, "ce"), digits)
    train_, test = outputs(network, digits.train, digits), outputs(network, digits.test, digits)
    estimator = HEADS[name]
    known = {"weight": network.head.weight.detach(), "counts": digits.counts}
    expected = estimator.fit(train_.features, digits.train.target, **known).predict(test.features)
    found = read(folder, name).prediction
    assert torch.equal(found, expected)
    assert not torch.equal(found, read(folder, "ce").prediction)  # the mutant that changes nothing
    assert float((found == digits.test.target).double().mean()) == read(folder, name).record.report["accuracy"]


@pytest.mark.parametrize("name", HEADS)
def test_prediction_probe_and_check_see_the_head(name: str, digits: Data, folder: pathlib.Path) -> None:
    loaded = read(folder, name)
    assert torch.equal(longtail.predict(folder / name, digits.test.images).argmax(dim=1), loaded.prediction)
    assert torch.equal(features_of(loaded, digits)[1].logits.argmax(dim=1), loaded.prediction)
    assert rescore(folder / name, digits).accuracy == loaded.record.report["accuracy"]
    wanted = CosineHead if name == "ncm" else LinearHead
    assert isinstance(restored(loaded, digits).head, wanted)


def test_a_network_without_its_head_is_refused(digits: Data, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The weights of ce in the place of those with another head."""
    import shutil

    shutil.copytree(folder / "tau-norm", tmp_path / "run")
    shutil.copyfile(folder / "ce" / "model.safetensors", tmp_path / "run" / "model.safetensors")
    with pytest.raises(InputError, match="not the file that its record was written with"):
        features_of(results.read(tmp_path / "run"), digits)


def test_the_address_tells_the_head_and_its_options(digits: Data) -> None:
    names = ("ce", "tau-norm", "tau-norm@tau=0.5", "lws", "ncm", "ncm@cosine=false", "logit-adjustment-post-hoc")
    keys = {run_address(longtail.recipe(name, digits), digits, 0, CPU) for name in names}
    assert len(keys) == len(names)
    kinds = {name: changes_head(longtail.recipe(name, digits).adjustment) for name in names}
    assert {name for name, kind in kinds.items() if not kind} == {"ce", "logit-adjustment-post-hoc"}


def test_a_head_follows_a_finished_run(digits: Data, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    recipe = continued(read(folder, "ce"), digits, longtail.recipe("ncm", digits, epochs=3), tmp_path / "stages")
    assert (recipe.name, recipe.epochs) == ("ce+ncm", 3)
    train(recipe, digits, seed=1, out=tmp_path / "run", store=tmp_path / "stages", compute=CPU)
    again = results.read(tmp_path / "run")
    assert torch.equal(again.prediction, read(folder, "ncm").prediction)
    with pytest.raises(InputError, match="given its head by"):
        continued(again, digits, longtail.recipe("crt", digits), tmp_path / "stages")


def test_tau_is_chosen_on_the_validation_split(digits: Data, tmp_path: pathlib.Path) -> None:
    recipe = longtail.recipe("tau-norm@tau=none", digits, epochs=2)
    with pytest.raises(InputError, match="load the data with validation"):
        train(recipe, digits, seed=0, out=tmp_path / "without", compute=CPU)
    held = load("digits-lt", imbalance=20, validation=0.2)
    train(recipe, held, seed=0, out=tmp_path / "with", compute=CPU)
    base = dataclasses.replace(recipe, adjustment=None)
    train(base, held, seed=0, out=tmp_path / "ce", store=tmp_path / "with" / "stages", compute=CPU)
    network = restored(results.read(tmp_path / "ce"), held)
    assert held.validation is not None
    features = outputs(network, held.validation, held).features
    weight = network.head.weight.detach()
    chosen = TauNormalization(tau=None).fit(features, held.validation.target, weight=weight)
    expected = chosen.predict(outputs(network, held.test, held).features)
    assert torch.equal(results.read(tmp_path / "with").prediction, expected)


def test_what_cannot_be_fitted_is_refused_in_one_line(digits: Data, tmp_path: pathlib.Path) -> None:
    recipe = longtail.recipe("tau-norm", digits, epochs=1, model="small@head=cosine")
    with pytest.raises(InputError, match="reads those of a linear head") as caught:
        train(recipe, digits, seed=0, out=tmp_path / "run", compute=CPU)
    assert "\n" not in str(caught.value)


def test_a_class_without_images_is_never_predicted(digits: Data) -> None:
    network = untrained(longtail.recipe("lws", digits), digits, seed=0, compute=CPU)
    some = digits.train.at(torch.nonzero(digits.train.target != 3).flatten())
    less = dataclasses.replace(digits, train=some)
    fit_head(network, part(LearnableWeightScaling), less)
    logits = outputs(network, digits.test, digits).logits
    assert bool((logits[:, 3] == -torch.inf).all())
    assert bool(functional.softmax(logits, dim=1).isfinite().all())
    with pytest.raises(InputError, match="class 3 has no training images"):
        fit_head(network, part(NearestClassMean), less)
