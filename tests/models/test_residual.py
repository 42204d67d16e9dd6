from __future__ import annotations

import pytest
import torch
from torch import nn

from longtail.errors import InputError
from longtail.models import cifar_resnet, cifar_stem_resnet, identity
from longtail.models.residual import Subsample
from longtail.recipes.part import part
from oracles import residual as oracle


def build(spec, num_classes: int = 10):
    generator = torch.Generator().manual_seed(0)
    return spec.build(num_classes=num_classes, channels=3, image_size=32, generator=generator)


# He et al., Table 6, gives 0.27, 0.46, 0.66 and 0.85 million.
@pytest.mark.parametrize(("depth", "parameters"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_parameters_are_those_of_the_paper(depth, parameters):
    found = identity(build(part(cifar_resnet, depth=depth)), channels=3, image_size=32)
    assert round(found["parameters"] / 1e6, 2) == parameters
    assert found["name"] == f"resnet{depth}"
    assert found["widths"] == [16, 32, 64]


def test_resnet32_multiply_adds_by_hand():
    stem = 3 * 9 * 16 * 32 * 32
    first = 10 * (16 * 9 * 16 * 32 * 32)
    second = 16 * 9 * 32 * 16 * 16 + 9 * (32 * 9 * 32 * 16 * 16)
    third = 32 * 9 * 64 * 8 * 8 + 9 * (64 * 9 * 64 * 8 * 8)
    found = identity(build(part(cifar_resnet, depth=32), num_classes=100), channels=3, image_size=32)["multiply_adds"]
    assert found == stem + first + second + third + 64 * 100
    assert round(found / 1e6) == 69


def test_depth_counts_the_weighted_layers():
    for depth in (8, 20, 32):
        weighted = [
            layer
            for layer in build(part(cifar_resnet, depth=depth)).modules()
            if isinstance(layer, (nn.Conv2d, nn.Linear))
        ]
        assert len(weighted) == depth


def stirred(network: nn.Module) -> nn.Module:
    """With batch statistics that are not neutral, so that a wrong place for a norm shows."""
    generator = torch.Generator().manual_seed(5)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            with torch.no_grad():
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.normal_(generator=generator)
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize("size", [12, 15])
def test_forward_is_the_papers_network(size):
    network = stirred(build(part(cifar_resnet, depth=14, widths=(6, 9, 20))).double())
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = oracle.logits(network.state_dict(), images, blocks=2)
    torch.testing.assert_close(network(images).logits, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("mutant", ["average", "repeat", "late"])
def test_the_oracle_rejects_other_shortcuts(mutant):
    class Other(nn.Module):
        def __init__(self, extra: int) -> None:
            super().__init__()
            self.extra = extra

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            average = nn.functional.avg_pool2d(maps, 2, ceil_mode=True)
            small = average if mutant == "average" else maps[:, :, ::2, ::2]
            if mutant == "repeat":
                return torch.cat([small, small[:, : self.extra]], 1)
            before = 0 if mutant == "late" else self.extra // 2
            return nn.functional.pad(small, (0, 0, 0, 0, before, self.extra - before))

    network = stirred(build(part(cifar_resnet, depth=14, widths=(6, 9, 18))).double())
    images = torch.randn(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = oracle.logits(network.state_dict(), images, blocks=2)
    torch.testing.assert_close(network(images).logits, expected, atol=1e-10, rtol=1e-10)
    for layer in list(network.modules()):
        if isinstance(getattr(layer, "shortcut", None), Subsample):
            layer.shortcut = Other(sum(layer.shortcut.pad))
    assert not torch.allclose(network(images).logits, expected, atol=1e-3)


@pytest.mark.parametrize("depth", [18, 34])
def test_stem_resnet_is_torchvisions_with_a_small_stem(depth):
    torchvision = pytest.importorskip("torchvision")
    network = stirred(build(part(cifar_stem_resnet, depth=depth)))
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=10)
        theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    # The same layers in the same order, under other names.
    mine, names = list(network.state_dict().values()), list(theirs.state_dict())
    theirs.load_state_dict(dict(zip(names, mine, strict=True)), assign=True)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(images).logits, theirs.eval()(images), atol=1e-4, rtol=1e-4)


def test_resnet18_identity():
    found = identity(build(part(cifar_stem_resnet, depth=18)), channels=3, image_size=32)
    assert found == {
        "name": "resnet18-cifar",
        "parameters": 11_173_962,
        "multiply_adds": 555_422_720,
        "widths": [64, 128, 256, 512],
    }


def test_a_wide_resnet32_does_not_go_by_the_same_name():
    assert build(part(cifar_resnet, depth=32, widths=(64, 128, 256))).name == "resnet32-64-128-256"
    assert part(cifar_resnet) == part(cifar_resnet, depth=32) == part(cifar_resnet, depth=20).with_arguments(depth=32)
    assert hash(part(cifar_resnet)) == hash(part(cifar_resnet, depth=20).with_arguments(depth=32))
    assert part(cifar_resnet) != part(cifar_resnet, widths=(64, 128, 256))


@pytest.mark.parametrize("depth", [2, 18, 33, -4])
def test_impossible_depths_are_refused(depth):
    with pytest.raises(InputError, match=rf"6 n \+ 2 \(20, 32, 44, 56\), not {depth}"):
        build(part(cifar_resnet, depth=depth))


@pytest.mark.parametrize("widths", [(16, 32), (16, 32, 64, 128), (64, 32, 16), (0, 1, 2), ()])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(InputError, match="three widths that do not shrink"):
        build(part(cifar_resnet, widths=widths))


def test_impossible_stem_depth_is_refused():
    with pytest.raises(InputError, match="depth 18 or 34, not 50"):
        build(part(cifar_stem_resnet, depth=50))
