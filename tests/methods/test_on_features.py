"""Every method for an epoch on features: it trains, or says in one line why it cannot."""

from __future__ import annotations

import dataclasses
import math
import pathlib

import pytest

import longtail
from longtail.data import Data, Split, load
from longtail.errors import InputError
from longtail.methods import METHODS
from longtail.training.compute import Compute
from longtail.training.run import train

CPU = Compute("cpu", "float32", compiled=False)
MIXING = ("mixup", "cutmix", "remix", "mislas", "cmo", "glmc")
"""Methods that mix pictures."""
LEARNING = ("kcl", "tsc", "sbcl", "dro-lt", "bns-ipdpp", "bns-probe", "supcon-probe", "simclr-probe", "released-probe")
BESIDE = ("bcl", "proco")
LINEAR = ("tau-norm", "lws", "samn")
"""Methods that read the weights of a linear head."""
SHORT = {"tuned": "tuned@trials=2", "dro-lt": "dro-lt@steps=2", "sbcl": "sbcl@every=1"}


@pytest.fixture(scope="module")
def vectors() -> Data:
    """Digits as vectors of 64 numbers."""
    digits = load("digits-lt", imbalance=20)
    middle = digits.train.images.float().mean(dim=0)
    spread = digits.train.images.float().std()

    def flat(split: Split) -> Split:
        return dataclasses.replace(split, images=((split.images.float() - middle) / spread).flatten(1))

    made = dataclasses.replace(digits, train=flat(digits.train), test=flat(digits.test), mean=(), std=())
    return made.renewed()


@pytest.mark.filterwarnings("ignore:the fit did not converge")
@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_on_features_or_says_why_not(name: str, vectors: Data, tmp_path: pathlib.Path) -> None:
    learns = name in (*LEARNING, *BESIDE)
    changes = ("stages.0.optimizer.lr=0.05",) if name in BESIDE else ()
    usual = "linear@head=linear" if name in LINEAR else None
    for model in ("linear", "projected") if learns else (usual,):
        recipe = longtail.recipe(SHORT.get(name, name), vectors, epochs=1, model=model, changes=changes)
        out = tmp_path / (model or "own").partition("@")[0]
        why = (
            "mixes pictures" if name in MIXING else "trains a representation" if learns and model == "linear" else None
        )
        if why:
            with pytest.raises(InputError, match=why) as caught:
                train(recipe, vectors, seed=0, out=out, compute=CPU)
            assert "\n" not in str(caught.value)
        else:
            record = train(recipe, vectors, seed=0, out=out, compute=CPU)
            assert all(math.isfinite(row["loss"]) for row in record.history)
            assert record.report["accuracy"] > 0
