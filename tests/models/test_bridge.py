from __future__ import annotations

import sys

import pytest
import torch

from longtail.errors import InputError
from longtail.models import identity, timm_model
from longtail.recipes.part import part

timm = pytest.importorskip("timm")


def build(name: str, seed: int = 0, channels: int = 3, image_size: int = 32, **fields):
    spec = part(timm_model, timm_name=name, **fields)
    generator = torch.Generator().manual_seed(seed)
    return spec.build(num_classes=5, channels=channels, image_size=image_size, generator=generator)


# timm's own small test models: one of each family, with a pooled, a token and a twice-projected feature.
FAMILIES = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "mobilenetv3_small_050"]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("channels", "image_size"), [(3, 32), (1, 64)])
def test_features_and_logits(name, channels, image_size):
    network = build(name, channels=channels, image_size=image_size).eval()
    output = network(torch.zeros(2, channels, image_size, image_size))
    assert output.features.shape == (2, network.backbone.width)
    assert output.logits.shape == (2, 5)
    pyramid = network.pyramid(torch.zeros(2, channels, image_size, image_size))
    torch.testing.assert_close(pyramid[-1], output.features)
    found = identity(network, channels=channels, image_size=image_size)
    assert found["name"] == name
    assert found["widths"] == [level.shape[1] for level in pyramid]
    assert len(found["widths"]) == 4
    assert found["multiply_adds"] > 0


def test_features_are_timms_own():
    network = build("test_vit", image_size=64).eval()
    (model,) = network.backbone.stages
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    theirs = model.forward_head(model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(network(images).features, theirs)


def test_multiply_adds_of_a_transformer_by_hand():
    """With the two products of attention, which are easily forgotten: timm computes them in one fused operation."""
    tokens, width = 196 + 1, 192
    linear = tokens * 12 * width * width
    attention = 2 * tokens * tokens * width
    patches = 196 * (3 * 16 * 16) * width
    found = identity(build("vit_tiny_patch16_224", image_size=224), channels=3, image_size=224)
    assert found["multiply_adds"] == 12 * (linear + attention) + patches + width * 5


@pytest.mark.parametrize("near", ["test_vitt", "test_reznet"])
def test_unknown_name_suggests_the_nearest(near):
    with pytest.raises(InputError, match=rf"timm has no model '{near}': did you mean 'test_"):
        build(near)


def test_unknown_tag_is_one_clear_line():
    with pytest.raises(
        InputError, match=r"timm has no weights 'test_vit\.no_such_tag' \(it has: test_vit\.r160_in1k\)"
    ):
        build("test_vit.no_such_tag", weights="timm")


def test_missing_weights_are_one_clear_line(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"timm cannot get the weights of test_vit .* give @weights=FILE") as error:
        build("test_vit", weights="timm", image_size=160)
    assert "\n" not in str(error.value)


def test_without_timm_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        InputError, match=r"the model 'test_vit' needs the timm library: pip install 'longtail\[vision\]'"
    ):
        build("test_vit")


def test_pretrained_weights_are_another_model_in_a_record(monkeypatch):
    create = timm.create_model
    asked = []

    def without_download(name, **settings):
        asked.append(settings.pop("pretrained"))
        return create(name, **settings)

    monkeypatch.setattr(timm, "create_model", without_download)
    assert build("test_vit", image_size=160, weights="timm").name == "test_vit (pretrained)"
    assert build("test_vit", image_size=160).name == "test_vit"
    assert asked == [True, False]
