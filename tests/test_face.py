"""The Python face: load, recipe, train, compare, rescore, predict; a program does with them what a person types."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest
import torch
from torch import Tensor, nn

import longtail
from longtail import results
from longtail.data import Data
from longtail.errors import InputError
from longtail.recipes import Recipe, part
from longtail.recipes.part import contents
from longtail.training import restore


@pytest.fixture(scope="module")
def digits() -> Data:
    return longtail.load("digits-lt", imbalance=20)


class Net(nn.Module):
    """A network of somebody's own."""

    def __init__(self, num_classes: int, channels: int, image_size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, 24), nn.ReLU())
        self.last = nn.Linear(24, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        logits: Tensor = self.last(self.body(images))
        return logits


def half(logits: Tensor, target: Tensor, *, share: float = 0.5) -> Tensor:
    """Some of cross-entropy."""
    return share * nn.functional.cross_entropy(logits, target, reduction="none")


def test_every_name_is_there_and_no_other() -> None:
    assert set(longtail.__all__) <= set(dir(longtail))
    for name in longtail.__all__:
        assert callable(getattr(longtail, name))
    with pytest.raises(AttributeError, match="no attribute 'fit_transform'"):
        longtail.fit_transform  # noqa: B018


NETWORKS = {"ours": None, "own": Net}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["ce", "logit-adjustment-post-hoc@tau=2"])
def test_predictions_are_those_of_the_record(name: str, network: str, digits: Data, tmp_path: pathlib.Path) -> None:
    model = NETWORKS[network]
    recipe = longtail.recipe(name, digits, epochs=2, model=model)
    record = longtail.train(recipe, digits, seed=0, out=tmp_path)
    named = None if model is None else part(model)
    found = longtail.predict(tmp_path, digits.test.images, model=named)
    loaded = results.read(tmp_path)
    assert torch.equal(found.argmax(dim=1), loaded.prediction)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)))
    # Not only the answers: calibration depends on every probability.
    target = digits.test.target
    nll = -found.double()[torch.arange(len(target)), target].log().mean()
    assert float(nll) == pytest.approx(record.report["calibration"]["nll"], rel=1e-4)
    assert longtail.rescore(tmp_path).to_json() == record.report
    assert longtail.rescore(tmp_path, digits).to_json() == record.report


def test_predict_takes_what_the_run_was_trained_on(digits: Data, tmp_path: pathlib.Path) -> None:
    longtail.train(longtail.recipe("ce", digits, epochs=1), digits, seed=0, out=tmp_path / "one")
    images = digits.test.images
    assert longtail.predict(tmp_path / "one", images[:0]).shape == (0, 10)
    one_by_one = torch.cat([longtail.predict(tmp_path / "one", images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(one_by_one, longtail.predict(tmp_path / "one", images[:3]))
    for wrong in (images[0], images.repeat(1, 3, 1, 1), images[:, :, :4]):
        with pytest.raises((InputError, TypeError), match=r"takes uint8 images \(N, 1, 8, 8\)|images"):
            longtail.predict(tmp_path / "one", wrong)
    with pytest.raises(InputError, match="nowhere"):
        longtail.predict(tmp_path / "nowhere", images)
    # The weights of another run, or damaged ones, give no probabilities.
    longtail.train(longtail.recipe("ce", digits, epochs=1), digits, seed=1, out=tmp_path / "two")
    shutil.copyfile(tmp_path / "two/model.safetensors", tmp_path / "one/model.safetensors")
    for ask in (lambda: longtail.predict(tmp_path / "one", images), lambda: longtail.rescore(tmp_path / "one")):
        with pytest.raises(InputError, match="is not the file that its record was written with"):
            ask()


def test_rescore_refuses_an_edited_number(digits: Data, tmp_path: pathlib.Path) -> None:
    longtail.train(longtail.recipe("ce", digits, epochs=1), digits, seed=0, out=tmp_path)
    with pytest.raises(InputError):
        longtail.rescore(tmp_path, longtail.load("digits-lt", imbalance=10))
    path = tmp_path / "record.json"
    record = json.loads(path.read_text())
    record["report"]["few"] = 1.0
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="few"):
        longtail.rescore(tmp_path)


def test_compare_takes_names_recipes_and_losses(digits: Data, tmp_path: pathlib.Path) -> None:
    told: set[str] = set()
    built: Recipe = longtail.recipe("ours=balanced-softmax", digits, epochs=1)
    found = longtail.compare(
        ["ce", built, half, "ip-dpp@arm=uniform", "ip-dpp"],
        digits,
        seeds=[3, 5],
        out=tmp_path,
        epochs=1,
        against="ours",
        notify=lambda progress: told.add(progress.recipe),
    )
    names = [method.name for method in found.methods]
    assert set(names) == {"ce", "ours", "test_face:half", "ip-dpp@arm=uniform", "ip-dpp"}
    assert found.against == "ours"
    folders = list(tmp_path.rglob("record.json"))
    assert len(folders) == 10
    assert told == set(names)
    told.clear()
    again = longtail.compare(["ce", built], digits, seeds=[3, 5], out=tmp_path, epochs=1)
    assert told == set()
    assert len(list(tmp_path.rglob("record.json"))) == 10
    assert {method.name: method.per_class for method in again.methods}["ce"] == (
        {method.name: method.per_class for method in found.methods}["ce"]
    )
    for wrong, words in (
        (["ce", "ce"], "named twice"),
        (["cee"], "did you mean 'ce'"),
        ([], "at least one recipe"),
        (["ce", "logit-adjustment@tau=1", "logit-adjustment"], "are one recipe"),
    ):
        with pytest.raises(InputError, match=words):
            longtail.compare(wrong, digits, seeds=1, out=tmp_path, epochs=1)
    with pytest.raises(InputError, match="seed 1 is named twice"):
        longtail.compare(["ce"], digits, seeds=[1, 1], out=tmp_path, epochs=1)


def test_a_recipe_from_python_is_the_one_typed(digits: Data) -> None:
    typed = longtail.recipe("dro-lt@radius=shared,steps=4", digits, epochs=3, changes=["stages.1.optimizer.lr=0.02"])
    assert typed.stages[1].optimizer["lr"] == 0.02
    assert (typed.epochs, typed.stated) == (3 + 1 + 1, 60 + 24 + 6)
    own = longtail.recipe(half, digits, model=Net)
    assert own.model == part(Net)
    assert own.stages[0].objective == part(half, share=0.5)
    assert own.model.foreign
    assert not typed.model.foreign


@pytest.mark.parametrize(("name", "words"), [("a" * 300, "too long"), ("~nosuchuser/weights", "home")])
def test_a_file_that_cannot_be_there_is_one_line(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        contents(name)
    assert contents("resnet18.tv_in1k") == "resnet18.tv_in1k"


def test_an_own_network_must_be_named_again(digits: Data, tmp_path: pathlib.Path) -> None:
    longtail.train(longtail.recipe("ce", digits, epochs=1, model=Net), digits, seed=0, out=tmp_path)
    loaded = results.read(tmp_path)
    with pytest.raises(InputError, match=r"holds the model .*Net, not the one named here"):
        longtail.predict(tmp_path, digits.test.images, model=longtail.recipe("ce", digits).model)
    assert restore.restored(loaded, digits, part(Net)).name == "test_face:Net"
