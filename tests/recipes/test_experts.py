"""A network of several experts, each against the network that it is a part of, and the losses that they are given."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import longtail
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.losses import balanced_softmax, cross_entropy, expert_diversity, inverse_softmax, ldam
from longtail.models import Network, cifar_resnet, linear, small_conv_net
from longtail.recipes import PerExpert, experts, part
from longtail.recipes.contract import Batch, Forward
from longtail.testing import check_objective
from longtail.training.compute import Compute
from longtail.training.prepare import prepare, untrained

COUNTS = torch.tensor([90, 30, 10])
CPU = Compute("cpu", "float32", compiled=False)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def several(number: int = 3, private: int = 2) -> tuple[Network, Network]:
    """A network of experts, and the network that they were made of."""
    options: dict[str, Any] = {"num_classes": 3, "channels": 1, "image_size": 8}
    one = small_conv_net(generator=generator(), **options)
    return experts(of=copy.deepcopy(one), number=number, private=private, generator=generator(6), **options), one


def batch(number: int = 12) -> Batch:
    images = torch.randn(number, 1, 8, 8, generator=generator(2))
    return Batch(images, torch.arange(number) % 3, torch.arange(number))


def expert(network: Network, which: int) -> nn.Module:
    """One expert as a network of its own."""
    trunk, branches = list(network.backbone.stages[:-1]), network.backbone.stages[-1].branches
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*trunk, branches[which], pooled, network.head.heads[which])


def test_each_expert_is_trunk_branch_and_head_and_the_logits_their_mean() -> None:
    network, one = several()
    network, one, held = network.eval(), one.eval(), batch()
    features = network.backbone(held.images)
    each = network.head.each(features)
    assert features.shape == (12, 3 * 64)
    for which in range(3):
        assert torch.allclose(each[:, which], expert(network, which)(held.images), atol=1e-6)
    assert torch.allclose(network(held.images).logits, each.mean(dim=1))
    assert torch.allclose(each[:, 0], one(held.images).logits, atol=1e-6)  # the first is the network as it was
    assert not torch.allclose(each[:, 1], each[:, 2], atol=1e-3)  # the others have first weights of their own


def test_the_trunk_is_shared_and_the_cost_is_that_of_the_rest() -> None:
    network, one = several()
    own = sum(weight.numel() for stage in one.backbone.stages[1:] for weight in stage.parameters())
    own += sum(weight.numel() for weight in one.head.parameters())
    total = sum(weight.numel() for weight in one.parameters())
    assert sum(weight.numel() for weight in network.parameters()) == total + 2 * own
    deep, _ = several(private=9)  # one stage at least is shared
    assert len(deep.backbone.stages) == 2
    whole = cifar_resnet(num_classes=10, channels=3, image_size=32, generator=generator())
    wide = experts(of=whole, num_classes=10, channels=3, image_size=32, generator=generator())
    cost = [longtail.models.identity(held, channels=3, image_size=32)["multiply_adds"] for held in (whole, wide)]
    assert 2.2 < cost[1] / cost[0] < 2.4


def test_one_piece_is_shared_whole() -> None:
    options: dict[str, Any] = {"num_classes": 3, "channels": 6, "image_size": 0}
    network = experts(of=linear(generator=generator(), **options), number=4, generator=generator(6), **options)
    features = torch.randn(5, 6, generator=generator(1))
    expected = torch.stack([head(features) for head in network.head.heads]).mean(dim=0)
    assert torch.allclose(network(features).logits, expected)
    assert network.backbone.width == 6


def test_the_loss_is_the_sum_less_the_diversity() -> None:
    network, _ = several()
    network, held = network.eval(), batch()
    each = network.head.each(network.backbone(held.images))
    losses = (
        part(cross_entropy).build(),
        part(balanced_softmax).build(counts=COUNTS),
        part(inverse_softmax).build(counts=COUNTS),
    )
    expected = sum(loss(each[:, e], held.target) for e, loss in enumerate(losses))
    model = Forward(network)
    found = PerExpert(counts=COUNTS, experts=losses)(model, held)
    assert torch.allclose(found, expected, atol=1e-6)
    assert model.logits is not None
    assert torch.allclose(model.logits, each.mean(dim=1))
    turned = PerExpert(counts=COUNTS, experts=losses[::-1])(Forward(network), held)
    assert not torch.allclose(found, turned, atol=1e-3)  # the mutant in which experts have each other's losses
    kept = PerExpert(counts=COUNTS, experts=losses, diversity=0.2)(Forward(network), held)
    assert torch.allclose(kept, expected - 0.6 * expert_diversity(each, counts=COUNTS), atol=1e-6)


def test_at_equal_counts_sade_trains_experts_alike() -> None:
    network, _ = several()
    built = longtail.recipe("sade", None).stages[0].objective.build(counts=torch.tensor([7, 7, 7]))
    plain = PerExpert(counts=COUNTS, experts=(cross_entropy,))
    network, held = network.eval(), batch()
    assert torch.allclose(built(Forward(network), held), plain(Forward(network), held), atol=1e-6)
    uneven = longtail.recipe("sade", None).stages[0].objective.build(counts=COUNTS)
    assert not torch.allclose(uneven(Forward(network), held), plain(Forward(network), held), atol=1e-3)


def test_the_diversity_of_ride_is_of_the_logits_that_its_loss_sees() -> None:
    """On bare cosines the divergence is so small that ride gave the very answers of its control."""
    options: dict[str, Any] = {"num_classes": 3, "channels": 1, "image_size": 8, "generator": generator()}
    one = small_conv_net(head="cosine", scale=1.0, **options)
    network, held = experts(of=one, number=3, **options).eval(), batch()
    each = network.head.each(network.backbone(held.images))
    with_it, without = (
        longtail.recipe(name, None).stages[0].objective.build(counts=COUNTS)(Forward(network), held)
        for name in ("ride@scale=30", "ride@scale=30,diversity=0")
    )
    apart = expert_diversity(30.0 * each, counts=COUNTS)
    assert torch.allclose(without - with_it, 0.2 * 3 * apart, rtol=1e-4, atol=1e-5)
    assert bool(apart.mean() > 100 * expert_diversity(each, counts=COUNTS).mean())


def test_ride_without_diversity_is_ldam_on_each_expert() -> None:
    options: dict[str, Any] = {"num_classes": 3, "channels": 1, "image_size": 8, "generator": generator()}
    one = small_conv_net(head="cosine", scale=1.0, **options)
    network, held = experts(of=one, number=2, **options).eval(), batch()
    built = longtail.recipe("ride@diversity=0", None).stages[0].objective.build(counts=COUNTS)
    each = network.head.each(network.backbone(held.images))
    expected = sum(ldam(each[:, e], held.target, counts=COUNTS) for e in range(2))
    assert torch.allclose(built(Forward(network), held), expected, atol=1e-5)
    apart = longtail.recipe("ride", None).stages[0].objective.build(counts=COUNTS)
    assert bool((apart(Forward(network), held) < expected).all())


def test_it_keeps_the_contract_of_objectives() -> None:
    options: dict[str, Any] = {"num_classes": 5, "channels": 3, "image_size": 8, "generator": generator()}
    network = experts(of=small_conv_net(**options), **options).eval()
    objective = part(PerExpert, diversity=0.2).build(counts=torch.full((5,), 9))

    def called(model: Any, held: Any) -> Tensor:
        found: Tensor = objective(Forward(model), Batch(held.images, held.target, held.index))
        return found

    check_objective(called, num_classes=5, model=network)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def test_what_experts_need_is_said_in_one_line(digits: Data) -> None:
    _, one = several()
    for objective, network, words in (
        (PerExpert(counts=COUNTS), one, "has none"),
        (PerExpert(counts=COUNTS, experts=(cross_entropy,) * 2), several()[0], "2 losses for 3 experts"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            objective(Forward(network), batch())
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="at least 2 experts"):
        several(number=1)
    recipe = longtail.recipe("ride", digits, epochs=2, changes=("model=longtail.recipes:experts@of=small",))
    with pytest.raises(InputError, match="cosine head of scale 1"):
        prepare(recipe, 0, untrained(recipe, digits, seed=0, compute=CPU), digits, seed=0, compute=CPU)


def test_experts_are_typed_as_a_model(digits: Data) -> None:
    recipe = longtail.recipe("ce", digits, model="experts@of=(small@widths=4,8),number=2,private=1")
    network = untrained(recipe, digits, seed=0, compute=CPU)
    assert (network.name, network.backbone.width) == ("small-4-8, 2 experts", 16)
