from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from longtail.errors import InputError
from longtail.models import cifar_resnet, timm_model
from longtail.models.names import names
from longtail.recipes.part import address, part, plain, revive
from longtail.recipes.text import read, written

TYPED = ("small", *(f"resnet{depth}" for depth in (20, 32, 44, 56)), "resnet18-cifar", "resnet34-cifar")


def test_names_lead_to_models_of_that_name():
    assert set(TYPED) < set(names())
    for name in TYPED:
        network = read(name, "model").build(
            num_classes=2, channels=1, image_size=8, generator=torch.Generator().manual_seed(0)
        )
        assert network.name == name


def test_timm_names_are_known():
    pytest.importorskip("timm")
    assert read("vit_base_patch16_224", "model") == part(timm_model, timm_name="vit_base_patch16_224")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("resnet-32", "resnet32"),
        ("resnet23", "resnet32"),
        ("smal", "small"),
        ("vit_bas_patch16_224", "vit_base_patch16_224"),
    ],
)
def test_unknown_names_suggest_the_nearest(typed, meant):
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=f"unknown model '{typed}': did you mean '{meant}'") as error:
        read(typed, "model")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_a_name_like_nothing_gets_no_suggestion():
    with pytest.raises(InputError, match=r"unknown model 'qqqqqqqq' \(known: small, linear"):
        read("qqqqqqqq", "model")


def test_without_timm_the_own_names_still_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert read("resnet32", "model") == part(cifar_resnet, depth=32)
    with pytest.raises(InputError, match=r"models of timm need pip install 'longtail\[vision\]'"):
        read("vit_base_patch16_224", "model")


@pytest.mark.parametrize("name", [*names(), "test_vit@weights=timm,head=cosine"])
def test_models_compare_hash_and_come_back_from_json_and_from_text(name):
    pytest.importorskip("timm")
    made = read(name, "model")
    for again in (revive(json.loads(json.dumps(plain(made)))), read(written(made), "model")):
        assert again == made
        assert hash(again) == hash(made)
        assert address(again) == address(made)


def test_options_are_typed_after_the_name():
    assert read("resnet32@head=cosine", "model") == part(cifar_resnet, head="cosine")
    assert read("resnet32@widths=64,128,256", "model") == part(cifar_resnet, widths=(64, 128, 256))
    with pytest.raises(InputError, match="'cosin' is not 'linear' or 'cosine'"):
        read("resnet32@head=cosin", "model")
    with pytest.raises(InputError, match="did you mean 'head'"):
        read("resnet32@haed=cosine", "model")
    with pytest.raises(InputError, match="'num-classes' is given by training"):
        read("resnet32@num-classes=3", "model")


def test_own_models_need_no_heavy_library():
    """A network is named and built without timm, torchvision, scikit-learn or scipy being imported."""
    program = """
import sys, torch
from longtail.models.names import find
function, options = find("resnet20")
function(num_classes=2, channels=3, image_size=8, generator=torch.Generator(), **options)
print([name for name in ("timm", "torchvision", "sklearn", "scipy", "matplotlib", "pydantic") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
