from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from longtail.errors import InputError
from longtail.models import timm_model
from longtail.models.adapters import targets
from longtail.recipes.part import part

pytest.importorskip("timm")


def build(name: str, **options):
    given = {"num_classes": 3, "channels": 3, "image_size": 32, "generator": torch.Generator().manual_seed(0)}
    return part(timm_model, timm_name=name, **options).build(**given)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_adapters_change_nothing_before_the_first_step_and_all_else_is_fixed(name):
    pytest.importorskip("peft")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    adapted, plain = build(name, lora=2).eval(), build(name).eval()
    torch.testing.assert_close(adapted.backbone(images), plain.backbone(images))
    moving = {key for key, _ in adapted.backbone.named_parameters()} - adapted.fixed
    assert moving
    assert all("lora_" in key for key in moving)
    assert len(adapted.fixed) == len(list(plain.backbone.parameters()))
    again = build(name, lora=2)
    for (key, first), second in zip(adapted.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(first, second), key  # drawn from the generator


def test_layers_of_attention_are_chosen_before_others():
    (vit,) = build("test_vit").backbone.stages
    assert {name.rpartition(".")[2] for name in targets(vit)} == {"qkv", "proj"}
    grouped = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 4))
    assert targets(grouped) == ["3", "2"]


def test_without_peft_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"need the peft library: pip install 'longtail\[vision\]'"):
        build("test_vit", lora=2)


def test_a_projection_is_all_that_moves_of_a_frozen_backbone():
    network = build("test_efficientnet", project=6)
    assert network.backbone.width == 6
    assert network(torch.zeros(2, 3, 32, 32)).logits.shape == (2, 3)
    moving = {key for key, _ in network.backbone.named_parameters()} - network.fixed
    assert moving == {"projection.0.weight", "projection.0.bias"}
