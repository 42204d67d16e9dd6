from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from longtail.errors import InputError
from longtail.models import (
    Backbone,
    LinearHead,
    Network,
    cifar_resnet,
    cifar_stem_resnet,
    identity,
    materialise,
    small_conv_net,
)
from longtail.recipes.part import part
from longtail.recipes.text import written

SPECS = [
    part(cifar_resnet, depth=8),
    part(cifar_resnet, depth=8, widths=(4, 9, 20), head="cosine"),
    part(cifar_stem_resnet, depth=18),
    part(small_conv_net),
]


def build(spec, channels: int = 3, image_size: int = 16, num_classes: int = 5) -> Network:
    generator = torch.Generator().manual_seed(0)
    return spec.build(num_classes=num_classes, channels=channels, image_size=image_size, generator=generator)


def images(number: int = 4, channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_output_head_and_pyramid_agree(spec):
    network = build(spec).eval()
    batch = images()
    output, pooled = network(batch), network.pyramid(batch)
    assert output.features.shape == (4, network.backbone.width)
    assert output.logits.shape == (4, 5)
    assert torch.equal(output.features, network.backbone(batch))
    assert torch.equal(output.logits, network.head(output.features))
    assert torch.equal(pooled[-1], output.features)
    assert [stage.shape[1] for stage in pooled] == identity(network, channels=3, image_size=16)["widths"]


def test_pyramid_holds_the_means_of_the_maps_of_every_stage():
    network = build(part(cifar_resnet, depth=8)).eval()
    seen = []
    for stage in network.backbone.stages:
        stage.register_forward_hook(lambda module, inputs, maps: seen.append(maps.detach().clone()))
    pooled = network.pyramid(images())
    assert [maps.shape[2] for maps in seen] == [16, 8, 4]
    for maps, features in zip(seen, pooled, strict=True):
        torch.testing.assert_close(features, maps.flatten(2).mean(2))


@pytest.mark.parametrize("spec", SPECS, ids=written)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 17), (4, 1)])
def test_any_channels_and_sizes(spec, channels, size):
    network = build(spec, channels=channels, image_size=size)
    assert bool(torch.isfinite(network.eval()(images(2, channels, size)).logits).all())


@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_gradients_reach_every_parameter(spec):
    network = build(spec)
    network(images()).logits.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_runs_on_shapes_alone(spec):
    network = build(spec).to("meta")
    output = network(images().to("meta"))
    output.logits.sum().backward()
    assert output.logits.device.type == "meta"
    assert network.pyramid(images().to("meta"))[-1].shape == output.features.shape


@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_channels_last_changes_nothing_but_the_layout(spec):
    plain = build(spec)
    last = build(spec).to(memory_format=torch.channels_last)
    layouts = []
    for stage in last.backbone.stages:
        stage.register_forward_hook(
            lambda module, inputs, maps: layouts.append(maps.is_contiguous(memory_format=torch.channels_last))
        )
    batch = images()
    torch.testing.assert_close(
        last(batch.contiguous(memory_format=torch.channels_last)).logits, plain(batch).logits, atol=1e-4, rtol=1e-4
    )
    assert layouts
    assert all(layouts)


@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_bfloat16_autocast(spec):
    network = build(spec).eval()
    exact = network(images()).logits.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network(images()).logits.detach()
    assert rounded.dtype == torch.bfloat16
    assert float((rounded - exact).abs().max()) < 0.05 * float(exact.abs().max()) + 0.05


def test_several_seeds_train_as_one():
    """Stacked networks under vmap get the gradients and batch statistics that each gets alone."""
    spec = part(cifar_resnet, depth=8)
    shape = {"num_classes": 5, "channels": 3, "image_size": 8}
    networks = [spec.build(**shape, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    weights, buffers = stack_module_state(networks)
    skeleton = copy.deepcopy(networks[0]).to("meta")
    generator = torch.Generator().manual_seed(1)
    batches = torch.randn(3, 6, 3, 8, 8, generator=generator)
    targets = torch.randint(5, (3, 6), generator=generator)

    def loss(weights, buffers, images, target):
        return cross_entropy(functional_call(skeleton, (weights, buffers), (images,)).logits, target)

    together = vmap(grad(loss))(weights, buffers, batches, targets)
    for i, network in enumerate(networks):
        cross_entropy(network(batches[i]).logits, targets[i]).backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(together[name][i], parameter.grad, atol=1e-5, rtol=1e-4)
        for name, buffer in network.named_buffers():
            torch.testing.assert_close(buffers[name][i], buffer)


def test_identity_counts_by_hand():
    network = build(part(small_conv_net, widths=(4, 8)), channels=1, image_size=8, num_classes=3)
    multiply_adds = 1 * 9 * 4 * (4 * 4) + 4 * 9 * 8 * (2 * 2) + 8 * 3
    parameters = (1 * 9 * 4 + 2 * 4) + (4 * 9 * 8 + 2 * 8) + (8 * 3 + 3)
    assert identity(network, channels=1, image_size=8) == {
        "name": "small-4-8",
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "widths": [4, 8],
    }


def test_identity_leaves_the_network_as_it_was():
    network = build(part(cifar_resnet, depth=8))
    network.head.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = identity(network, channels=3, image_size=16)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training
    assert not network.head.training
    assert identity(network.eval(), channels=3, image_size=16) == first
    assert identity(network.to("meta"), channels=3, image_size=16) == first


def test_a_backbone_of_ones_own():
    def construct() -> Network:
        stages = [nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), nn.Sequential(nn.Flatten(), nn.Linear(6 * 14 * 14, 7))]
        return Network(Backbone(stages, 7), LinearHead(7, 5), "mine")

    network = materialise(construct, generator=torch.Generator().manual_seed(0))
    assert [tuple(stage.shape) for stage in network.pyramid(images())] == [(4, 6), (4, 7)]
    assert identity(network, channels=3, image_size=16)["widths"] == [6, 7]


@pytest.mark.parametrize("spec", SPECS, ids=written)
@pytest.mark.parametrize("wrong", ["num_classes", "channels", "image_size"])
def test_impossible_shapes_are_refused(spec, wrong):
    said = "is for images" if wrong == "image_size" else f"{wrong} of at least 1, not 0"
    with pytest.raises(InputError, match=said):
        build(spec, **{wrong: 0})


@pytest.mark.slow
def test_whole_graph_compiles():
    """In a process of its own: run-time shape checks and a full graph do not go together."""
    program = """
import torch
from longtail.models import Projector, cifar_resnet, cifar_stem_resnet, small_conv_net
from longtail.recipes.part import part
generator = torch.Generator().manual_seed(0)
images = torch.randn(2, 3, 8, 8, generator=generator)
def same(call):
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(call, backend="eager", fullgraph=True)(images), call(images))
for spec in (part(small_conv_net), part(cifar_stem_resnet, depth=18), part(cifar_resnet, depth=8, head="cosine")):
    network = spec.build(num_classes=5, channels=3, image_size=8, generator=generator).eval()
    same(lambda x: network(x).logits)
same(lambda x: network.pyramid(x)[0])
projector = Projector(5, generator=generator)
torch.compile(projector, backend="eager", fullgraph=True)(torch.ones(2, 5))
print("compiled")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.stdout.strip() == "compiled", done.stderr
