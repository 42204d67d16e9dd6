from __future__ import annotations

import os
import subprocess
import sys

import pytest

from longtail.errors import InputError
from longtail.models import CifarResNet, CifarStemResNet, SmallConvNet, TimmModel, by_name, names
from longtail.recipes.config import override, plain, revive

KINDS = {kind.__name__: kind for kind in (CifarResNet, CifarStemResNet, SmallConvNet, TimmModel)}


def test_names_lead_to_models_of_that_name():
    expected = {"small", "resnet18-cifar", "resnet34-cifar", *(f"resnet{depth}" for depth in (20, 32, 44, 56))}
    assert set(names()) == expected
    for name in names():
        assert by_name(name).name == name


def test_timm_names_are_known():
    pytest.importorskip("timm")
    assert by_name("vit_base_patch16_224") == TimmModel("vit_base_patch16_224")


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
        by_name(typed)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_a_name_like_nothing_gets_no_suggestion():
    with pytest.raises(InputError, match=r"unknown model 'qqqqqqqq': \(known: small, resnet20"):
        by_name("qqqqqqqq")


def test_without_timm_the_own_names_still_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert by_name("resnet32") == CifarResNet(32)
    with pytest.raises(InputError, match=r"models of timm need pip install 'longtail\[vision\]'"):
        by_name("vit_base_patch16_224")


@pytest.mark.parametrize(
    "spec", [*(by_name(name) for name in names()), TimmModel("test_vit", pretrained=True)], ids=str
)
def test_descriptions_compare_hash_and_come_back_from_their_plain_form(spec):
    again = revive(plain(spec), KINDS)
    assert again == spec
    assert hash(again) == hash(spec)


def test_fields_can_be_set_by_flags():
    assert override(CifarResNet(32), "head", "cosine") == CifarResNet(32, head="cosine")
    assert override(CifarResNet(32), "widths", "64,128,256") == CifarResNet(32, widths=(64, 128, 256))
    assert override(TimmModel("test_vit"), "pretrained", "true") == TimmModel("test_vit", pretrained=True)
    with pytest.raises(InputError, match="'cosin' is not 'linear' or 'cosine'"):
        override(CifarResNet(32), "head", "cosin")


def test_own_models_need_no_heavy_library():
    """A network is named and built without timm, torchvision, scikit-learn or scipy being imported."""
    program = """
import sys, torch
from longtail.models import by_name
by_name("resnet20").build(num_classes=2, channels=3, image_size=8, generator=torch.Generator())
print([name for name in ("timm", "torchvision", "sklearn", "scipy", "matplotlib", "pydantic") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
