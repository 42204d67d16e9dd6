"""Somebody's own network: what its callable is given, how it is split, and where its first weights come from."""

from __future__ import annotations

import pathlib

import pytest
import torch
from torch import nn

from longtail.errors import InputError
from longtail.models import as_network, identity
from longtail.recipes.part import named
from longtail.training.prepare import network_of

SHAPE = (1, 8, 8)


def built(folder: pathlib.Path, code: str, seed: int = 0, attribute: str = "net"):
    (folder / "own.py").write_text(f"import torch\nfrom torch import nn\n\n{code}")
    generator = torch.Generator().manual_seed(seed)
    return network_of(named(f"{folder}/own.py:{attribute}"), num_classes=5, shape=SHAPE, generator=generator)


BODY = "return nn.Sequential(nn.Flatten(), nn.Linear({size}, 7), nn.ReLU(), nn.Linear(7, num_classes))\n"


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ("num_classes, channels, image_size", "channels * image_size**2"),
        ("num_classes, in_chans, img_size", "in_chans * img_size**2"),
        ("num_classes, image_size, in_chans=3", "in_chans * image_size**2"),
        ("num_classes, generator", "64"),
        ("num_classes=1000", "64"),
    ],
)
def test_a_callable_is_given_what_its_signature_has(tmp_path: pathlib.Path, asked: str, size: str) -> None:
    network = built(tmp_path, f"def net({asked}):\n    {BODY.format(size=size)}")
    assert network(torch.zeros(2, *SHAPE)).features.shape == (2, 7)
    assert network(torch.zeros(2, *SHAPE)).logits.shape == (2, 5)
    assert identity(network, channels=1, image_size=8)["widths"] == [7]


def test_first_weights_come_from_the_runs_own_stream(tmp_path: pathlib.Path) -> None:
    code = f"def net(num_classes):\n    {BODY.format(size=64)}"
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = built(tmp_path, code).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = built(tmp_path, code).state_dict(), built(tmp_path, code, seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_the_logits_are_those_of_the_module(tmp_path: pathlib.Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 1, 8, 8, generator=generator)
    for module in (
        nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Tanh(), nn.Linear(9, 4)),
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(216, 4, bias=False)),
    ):
        expected = module.eval()(images)
        network = as_network(module, "own", num_classes=4, channels=1, image_size=8).eval()
        torch.testing.assert_close(network(images).logits, expected)
        assert torch.equal(network.pyramid(images)[-1], network(images).features)


def test_timms_contract_gives_timms_own_features() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_resnet", num_classes=4, in_chans=1).eval()
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = model(images)
    features = model.forward_head(model.forward_features(images), pre_logits=True)
    network = as_network(model, "own", num_classes=4, channels=1, image_size=32).eval()
    torch.testing.assert_close(network(images).logits, expected)
    torch.testing.assert_close(network(images).features, features)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def net():\n    return 3\n", "gave a int: it must give a torch.nn.Module"),
        ("def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))\n", r"gave \(2, 4\) .* logits \(2, 5\)"),
        ("def net():\n    return nn.Linear(64, 5)\n", "failed on 2 blank images"),
        (
            "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Softmax(1))\n",
            "last nn.Linear does not give its output",
        ),
        ("def net():\n    return nn.Sequential(nn.Conv2d(1, 5, 8), nn.Flatten())\n", "has no nn.Linear"),
        ("class net(nn.Module):\n    def __init__(self, nothing):\n        pass\n", "needs 'nothing', which training"),
    ],
)
def test_a_network_that_cannot_be_used_is_one_line(tmp_path: pathlib.Path, code: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        built(tmp_path, code)
    assert "\n" not in str(caught.value)
