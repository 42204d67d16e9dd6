from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from longtail.models import (
    Network,
    cifar_resnet,
    cifar_stem_resnet,
    initialise,
    materialise,
    small_conv_net,
    timm_model,
)
from longtail.recipes.part import part
from longtail.recipes.text import written

SPECS = [
    part(cifar_resnet, depth=8),
    part(cifar_resnet, depth=8, head="cosine"),
    part(cifar_stem_resnet, depth=18),
    part(small_conv_net),
    part(timm_model, timm_name="test_resnet"),
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(spec, seed: int = 0, num_classes: int = 10) -> Network:
    return spec.build(num_classes=num_classes, channels=3, image_size=32, generator=seeded(seed))


@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_equal_seeds_give_equal_networks_and_others_do_not(spec):
    torch.manual_seed(1)
    first = build(spec).state_dict()
    torch.manual_seed(2)
    again, other = build(spec).state_dict(), build(spec, seed=1).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert any("conv" in name or "stages" in name for name in differing)
    assert "head.weight" in differing


@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_the_global_generator_is_left_as_it_was(spec):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build(spec)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_construction_that_draws_globally_would_be_noticed():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    nn.Conv2d(3, 3, 3)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_every_weight_and_buffer_is_set(spec, monkeypatch):
    """Memory that is allocated but never written shows as NaN."""
    allocate = nn.Module.to_empty

    def poisoned(module: nn.Module, **arguments) -> nn.Module:
        module = allocate(module, **arguments)
        for tensor in module.state_dict().values():
            tensor.fill_(float("nan") if tensor.is_floating_point() else -7)
        return module

    monkeypatch.setattr(nn.Module, "to_empty", poisoned)
    for name, tensor in build(spec).state_dict().items():
        assert tensor.device.type == "cpu", name
        assert bool(torch.isfinite(tensor).all()), name
        assert not bool((tensor == -7).any()), name


def test_convolutions_are_kaiming_normal_and_norms_neutral():
    network = build(part(cifar_stem_resnet, depth=18))
    checked = 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 30_000:
            weight = layer.weight.detach()
            deviation = math.sqrt(2 / (layer.in_channels * math.prod(layer.kernel_size)))
            # The standard error of a standard deviation is 1 / sqrt(2 n); 5 of them.
            assert float(weight.std()) == pytest.approx(deviation, rel=5 / math.sqrt(2 * weight.numel()))
            kurtosis = float(((weight / deviation) ** 4).mean())
            assert kurtosis == pytest.approx(3, abs=5 * math.sqrt(96 / weight.numel()))  # a uniform one has 1.8
            checked += 1
        if isinstance(layer, nn.BatchNorm2d):
            assert torch.equal(layer.running_var, torch.ones_like(layer.running_var))
            assert torch.equal(layer.weight, torch.ones_like(layer.weight))
            assert not layer.running_mean.any()
            assert not layer.bias.any()
            assert layer.num_batches_tracked == 0
    assert checked > 10


def test_plain_linear_layers_start_as_in_pytorch():
    layer = materialise(lambda: nn.Linear(400, 500), generator=seeded())
    weight, bias = layer.weight.detach(), layer.bias.detach()
    assert 0.049 < float(weight.abs().max()) <= 0.05
    assert float(weight.var()) == pytest.approx(1 / (3 * 400), rel=0.02)
    assert 0.045 < float(bias.abs().max()) <= 0.05


def test_the_backbone_does_not_depend_on_what_follows_it():
    narrow = build(part(cifar_resnet, depth=8), num_classes=3).backbone.state_dict()
    wide = build(part(cifar_resnet, depth=8, head="cosine"), num_classes=100).backbone.state_dict()
    assert all(torch.equal(narrow[name], wide[name]) for name in narrow)


def test_a_head_can_be_drawn_afresh():
    network = build(part(cifar_resnet, depth=8))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    initialise(network.head, generator=seeded(9))
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight"}


def test_the_generator_may_be_on_another_device_than_the_module():
    generator, reference = seeded(), seeded()
    initialise(build(part(cifar_resnet, depth=8)).to("meta"), generator=generator)
    initialise(build(part(cifar_resnet, depth=8)), generator=reference)
    assert torch.equal(generator.get_state(), reference.get_state())


def test_a_layer_without_a_rule_is_an_error_and_reset_is_the_way_out():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

    class Own(Scale):
        def reset(self, generator: torch.Generator) -> None:
            nn.init.constant_(self.weight, 4.0)

    with pytest.raises(TypeError, match=r"Scale has no rule .* reset\(generator\)"):
        materialise(Scale, generator=seeded())
    assert float(materialise(Own, generator=seeded()).weight.detach()) == 4.0
