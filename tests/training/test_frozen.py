"""A frozen network's features are kept, and nothing but the time shows it."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import torch

import longtail
from longtail.data import Data
from longtail.methods import recipe
from longtail.training import frozen, run
from longtail.training.audit import audit
from longtail.training.compute import Compute

CPU = Compute("cpu", "float32", False)
OPTIONS: dict[str, Any] = {"protocol": "linear-probe", "model": "test_vit@init=random", "image_size": 16, "epochs": 2}


@pytest.fixture(scope="module")
def digits() -> Data:
    pytest.importorskip("timm")
    return longtail.load("digits-lt", imbalance=50, validation=0.2)


@pytest.mark.parametrize("name", ["ce", "dro-lt@steps=2", "crt", "sade"])
def test_it_is_what_the_whole_network_would_be(
    name: str, digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(name, digits, **OPTIONS)
    short = longtail.train(chosen, digits, seed=0, out=tmp_path / "short", compute=CPU)
    assert len(list((tmp_path / "short" / "features").glob("*.safetensors"))) == 1
    monkeypatch.setattr(run, "shortened", lambda recipe, network, data, folder, notify: (network, data))
    whole = longtail.train(chosen, digits, seed=0, out=tmp_path / "whole", compute=CPU)
    assert short.digests["run"] == whole.digests["run"]
    for a, b in zip(short.history, whole.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["validation_accuracy"] == pytest.approx(b["validation_accuracy"], abs=0.05)
    audit(tmp_path / "short", lambda record: digits)
    probability = longtail.predict(tmp_path / "short", digits.test.images)
    agree = longtail.results.read(tmp_path / "short").prediction == probability.argmax(dim=1)
    assert float(agree.double().mean()) > 0.99


def test_features_are_computed_once_for_all_runs(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, seen = frozen.written, []
    monkeypatch.setattr(frozen, "written", lambda *given, **named: seen.append(given[2]) or written(*given, **named))
    longtail.compare(["ce", "logit-adjustment"], digits, seeds=[0], out=tmp_path, compute=CPU, **OPTIONS)
    assert len(seen) == 2
    assert len(set(seen)) == len(list(tmp_path.rglob("features/*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ce", {"augmentation": "plain"}),  # other pictures in every epoch
        ("dro-lt@layers=0.5,1", {}),  # levels below the features
        ("bns-probe", {}),  # two views of a picture
        ("cmo", {}),  # pictures pasted into pictures
        ("ce", {"protocol": "fine-tune"}),  # the network moves
        ("ce", {"epochs": 1}),  # nothing is gained
    ],
)
def test_where_pictures_are_needed_they_are_seen(
    name: str, options: dict[str, Any], digits: Data, tmp_path: pathlib.Path
) -> None:
    chosen = recipe(name, digits, **OPTIONS | options)
    network = run.untrained(chosen, digits, seed=0, compute=CPU)
    assert frozen.shortened(chosen, network, digits, tmp_path, lambda done, total: None) == (network, digits)


def test_a_loss_on_pictures_of_ones_own_sees_pictures(digits: Data) -> None:
    def objective(model: Any, batch: Any) -> torch.Tensor:
        return model(batch.images).logits.sum(dim=1)

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return logits.sum(dim=1)

    made = [longtail.part(objective), longtail.part(loss)]
    assert [frozen._on_features(held) for held in made] == [False, True]
