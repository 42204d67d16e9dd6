"""Protocols for trained networks: every method under each of them, and what they refuse."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods import METHODS
from longtail.methods import recipe as named
from longtail.methods.protocols import PRETRAINED, applied, linear_probe, names, protocol_for
from longtail.methods.protocols import named as protocol_named
from longtail.recipes import adamw, adamw_by_layer, part
from longtail.recipes.part import address, options_of, parts_in, plain
from longtail.recipes.stages import Stage, stored_recipe

pytest.importorskip("timm")
RANDOM = "test_efficientnet@init=random"


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


@pytest.mark.parametrize("protocol", PRETRAINED)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_combines_with_every_protocol(method: str, protocol: str, digits: Data) -> None:
    made = named(method, digits, protocol=protocol, model=RANDOM)
    assert stored_recipe(plain(made)).stages == made.stages
    assert made.stated == made.epochs
    model = made.model["of"] if method in ("ride", "sade") else made.model
    if protocol == "linear-probe":
        if model["project"]:  # a method with a representation of its own trains that, behind the frozen network
            assert any(stage.trains != "classifier" for stage in made.stages)
        else:
            assert {stage.trains for stage in made.stages} == {"classifier"}
        assert made.stages[0].augmentation == () or method in ("bcl", "proco") or made.stages[0].name == "pretrain"
    assert bool(model["lora"]) == (protocol == "peft")


def test_options_of_a_protocol_reach_every_stage(digits: Data) -> None:
    typed = "fine-tune@head=cosine,scale=25,ema=0.99,clip=2,accumulate=4,label-smoothing=0.1,class-means=true"
    made = named("crt", digits, protocol=typed, model=RANDOM)
    assert (made.model["head"], made.model["scale"]) == ("cosine", 25.0)
    for stage in made.stages:
        assert (stage.ema, stage.clip, stage.accumulate, stage.class_means) == (0.99, 2.0, 4, True)
        assert stage.objective["label_smoothing"] == 0.1
    own = named("ce", digits, protocol=typed, model=f"{RANDOM},head=cosine,scale=28")
    assert own.model["scale"] == 28.0  # what was set is left
    assert named("ce", digits, protocol="fine-tune@checkpointing=true", model=RANDOM).model["checkpointing"] is True


@pytest.mark.parametrize(
    ("method", "begins"),
    [
        ("ce", [True]),
        ("crt", [True, True]),
        ("ldam-drw", [True, False]),
        ("class-weights@after=0.5", [True, False]),
        ("mislas", [True, False]),
        ("weight-balancing", [True, False]),
        ("dro-lt", [True, False, False]),
        ("bns-probe", [False, True]),
    ],
)
def test_a_classifier_begins_with_class_means_where_it_begins(method: str, begins: list[bool], digits: Data) -> None:
    made = named(method, digits, protocol="fine-tune@class-means=true", model=RANDOM)
    assert [stage.class_means for stage in made.stages] == begins


@pytest.mark.parametrize("method", ["ce", "mixup", "cmo", "bcl", "sade", "dro-lt", "mislas"])
def test_label_smoothing_reaches_every_loss_that_has_it(method: str, digits: Data) -> None:
    made = named(method, digits, protocol="fine-tune@label-smoothing=0.1", model=RANDOM)
    shares = [
        dict(held.arguments).get("label_smoothing")
        for stage in made.stages
        for held in parts_in(stage.objective)
        if "label_smoothing" in options_of(held.function)
    ]
    assert shares == [0.1] * len(shares) != []
    own = named(
        "mixup@loss=(cross-entropy@label-smoothing=0.2)", digits, protocol="fine-tune@label-smoothing=0.1", model=RANDOM
    )
    assert own.stages[0].objective["loss"]["label_smoothing"] == 0.2  # what was set is left


def test_digits_are_not_flipped(digits: Data) -> None:
    made = named("ce", digits, protocol="fine-tune", model=RANDOM)
    assert [held.name for held in made.stages[0].augmentation] == ["longtail.augment:RandomCrop"]


def test_ldam_gets_the_head_that_it_needs(digits: Data) -> None:
    for model, protocol in (("small", None), (RANDOM, "linear-probe"), (RANDOM, "linear-probe@head=linear")):
        made = named("longtail.losses:ldam", digits, protocol=protocol, model=model)
        assert (made.model["head"], made.model["scale"]) == ("cosine", 1.0)
    assert named("ce", digits, model="small").model["head"] == "linear"


def test_frozen_random_weights_are_refused_unless_they_are_meant(digits: Data) -> None:
    for protocol in ("linear-probe", "peft"):
        for model in (None, "test_vit", "resnet32"):
            with pytest.raises(InputError, match=r"@weights=FILE|which the model") as error:
                named("ce", digits, protocol=protocol, model=model)
            assert "\n" not in str(error.value)
    named("ce", digits, protocol="fine-tune", model="test_vit")


def test_what_a_protocol_does_not_have_is_one_line(digits: Data) -> None:
    for typed, said in (
        ("linear-prob", "unknown protocol 'linear-prob': did you mean 'linear-probe'"),
        ("linear-probe@haed=cosine", "did you mean 'head'"),
        ("plain-200@lr=1", "protocol 'plain-200' has no options; got lr"),
        ("peft@lora=0", "at least 1"),
        ("fine-tune@ema=1.5", "ema 1.5"),
        ("fine-tune@accumulate=0", "accumulate is 0"),
    ):
        with pytest.raises(InputError, match=said) as error:
            named("ce", digits, protocol=typed, model=RANDOM)
        assert "\n" not in str(error.value)
    assert set(PRETRAINED) < set(names())


def test_an_image_size_goes_to_the_network_that_can_have_one(digits: Data) -> None:
    assert named("ce", digits, model=RANDOM, image_size=64).model["size"] == 64
    assert named("ce", digits, model=f"{RANDOM},size=32", image_size=64).model["size"] == 32
    with pytest.raises(InputError, match="has images of 8 pixels, and small-conv-net takes them as they are"):
        named("ce", digits, image_size=64)


def test_new_fields_leave_addresses_and_stored_recipes_as_they_were(digits: Data) -> None:
    stage = named("ce", digits).stages[0]
    new = {"class_means", "accumulate", "clip", "ema", "patience"}
    assert new.isdisjoint(plain(stage))
    assert new < {field.name for field in dataclasses.fields(Stage)}
    for name, value in {"class_means": True, "accumulate": 2, "clip": 1.0, "ema": 0.9, "patience": 1}.items():
        changed = dataclasses.replace(stage, **{name: value})
        assert address(changed) != address(stage)
        assert plain(changed)[name] == value
    assert address(stage)[:16] == "ea4637af85543886"  # as the version before these fields came gave it


def test_a_protocol_leaves_other_recipes_alone(digits: Data) -> None:
    setting = protocol_for(digits)
    made = named("crt", digits)
    assert applied(setting, made) == made
    assert protocol_named("linear-probe") == linear_probe()


def test_lower_layers_move_more_slowly() -> None:
    made = part(adamw_by_layer, lr=1.0, layer_decay=0.5)
    for model, layers in (("test_vit", 8), ("test_efficientnet", 4), ("resnet8", 4)):
        from longtail.recipes.text import read

        generator = torch.Generator().manual_seed(0)
        network = read(model, "model").build(num_classes=3, channels=3, image_size=32, generator=generator)
        optimizer = made.build(modules=[network])
        rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        assert rates.keys() == {id(weight) for weight in network.parameters()}
        assert all(rates[id(weight)] == 1.0 for weight in network.head.parameters())
        assert len(set(rates.values())) >= layers
        in_order = [rates[id(weight)] for weight in network.backbone.parameters() if weight.ndim > 2]
        assert in_order == sorted(in_order)
        assert max(in_order) <= 0.5
        decays = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
        plain_groups = adamw([network], lr=1.0).param_groups
        assert decays == {id(weight): group["weight_decay"] for group in plain_groups for weight in group["params"]}
    with pytest.raises(InputError, match="layer-decay is above 0"):
        part(adamw_by_layer, layer_decay=0.0).build(modules=[network])


def test_two_layers_on_features_learn_where_the_rate_of_one_would_make_nan() -> None:
    rates = {
        model: protocol_for(None, protocol="features", model=model).optimizer["lr"]
        for model in ("linear", "projected@width=8", "mlp")
    }
    assert rates == {"linear": 1.0, "projected@width=8": 0.1, "mlp": 1.0}
