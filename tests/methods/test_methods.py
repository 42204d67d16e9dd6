"""Recipes: the published settings to the digit, shared beginnings, and a docstring that is a contract."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pathlib
import re
from typing import Any

import pytest
import torch
import typer.main
import typer.testing

import longtail
from longtail.augment import AutoAugment, Cutout, HorizontalFlip, RandomCrop
from longtail.cli.app import app
from longtail.data import Data, exponential_profile, load
from longtail.errors import InputError
from longtail.losses import (
    balanced_negative_sampling,
    balanced_softmax,
    class_weighted_cross_entropy,
    cross_entropy,
    logit_adjusted_cross_entropy,
)
from longtail.methods import METHODS, PROTOCOLS, Protocol, names, protocol_for
from longtail.models import cifar_resnet, cifar_stem_resnet
from longtail.rebalance import LogitAdjustment
from longtail.recipes import Contrastive, Part, Recipe, Robust, Total, adamw, constant, cosine, part, sgd
from longtail.recipes.part import address, parts_in, plain
from longtail.recipes.stages import state_address, stored_recipe
from longtail.samplers import ClassBalanced, ClassQuota, InformativeSubset, InstanceBalanced, MinimumPerClass

COSINE = ("ldam-drw", "lift", "ride")
"""Methods that need a cosine head, and so set one."""
EXPERTS = ("ride", "sade")
"""Methods that take the network of the protocol apart."""

PLAIN, STRONG, DIGITS = (PROTOCOLS[name] for name in ("plain-200", "strong-400", "digits"))


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def by_name(text: str, protocol: Protocol) -> Recipe:
    """The recipe of a name on a protocol, as a person types both."""
    fields = {"protocol": protocol.name, "model": protocol.model, "epochs": protocol.epochs}
    return names.recipe(text, None, **fields)


def addresses(text: str, protocol: Protocol = PLAIN) -> list[str]:
    """The content addresses of a recipe's stages on some data set from some seed."""
    recipe = by_name(text, protocol)
    return [state_address(recipe, i, data=("f",), seed=0, compute={}) for i in range(len(recipe.stages))]


# --------------------------------------------------------------------------------------------------- every recipe


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())
@pytest.mark.parametrize("name", METHODS)
def test_every_recipe_fits_every_protocol_and_survives_json(name: str, protocol: Protocol) -> None:
    recipe = by_name(name, protocol)
    assert recipe.name == name
    model = recipe.model["of"] if name in EXPERTS else recipe.model
    assert model == (model if name in COSINE else protocol.model)
    assert (model["head"] == "cosine") == (name in COSINE or protocol.model["head"] == "cosine")
    assert recipe.stated == recipe.epochs  # at the protocol's own budget
    revived = stored_recipe(json.loads(json.dumps(plain(recipe))))
    assert revived == recipe
    assert address(revived) == address(recipe)
    assert hash(recipe) == hash(revived)
    counts = torch.tensor([9, 5, 2])
    given = {
        "target": torch.repeat_interleave(counts),
        "counts": counts,
        "num_classes": 3,
        "widths": (4, 6),
        "device": torch.device("cpu"),
        "generator": torch.Generator().manual_seed(0),
        "subset_generator": torch.Generator().manual_seed(1),
        "projector_generator": torch.Generator().manual_seed(2),
        "batch_size": 8,
    }
    for stage in recipe.stages:
        assert callable(stage.objective.build(**given))
        assert hasattr(stage.sampler.build(**given), "draw")


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())
@pytest.mark.parametrize("name", METHODS)
def test_every_part_of_every_recipe_goes_by_its_public_name(name: str, protocol: Protocol) -> None:
    """A part of ours is known by where it is exported, so that moving a module never makes another run."""
    found = list(parts_in(by_name(name, protocol)))
    assert len(found) >= 5  # model, objective, sampler, optimiser, schedule
    for made in found:
        package, _, attribute = made.name.partition(":")
        assert re.fullmatch(r"longtail\.[a-z]+", package), made
        assert attribute in importlib.import_module(package).__all__, made
        assert made.source == ""


def documentation(name: str) -> str:
    module = inspect.getmodule(names.method(name))
    assert module is not None
    return module.__doc__ or ""


@pytest.mark.parametrize("name", METHODS)
def test_a_docstring_names_paper_command_cost_and_number(name: str) -> None:
    text = documentation(name)
    assert f"``{name}``" in text.splitlines()[0] + text.splitlines()[1]
    starts = [re.split(r":\s", line)[0] for line in text.splitlines()]
    kinds = [word for word in starts if word in ("Paper", "Papers", "Command", "Cost", "Expect")]
    assert [kind.rstrip("s") for kind in kinds] == ["Paper", "Command", "Cost", "Expect"]


def commands(text: str) -> list[list[str]]:
    return [found.split()[1:] for found in re.findall(r"``(longtail [^`]+)``", text)]


@pytest.mark.parametrize("name", METHODS)
def test_the_commands_of_a_docstring_can_be_typed(name: str) -> None:
    group: Any = typer.main.get_command(app)
    found = commands(documentation(name))
    assert found
    assert any(name in command for command in found)
    for verb, *words in found:
        given = group.commands[verb].make_context(verb, list(words)).params
        typed = given["recipes"] if verb == "compare" else [given["recipe"]]
        recipes = [names.recipe(one, None, model=given["model"], epochs=given["epochs"]) for one in typed]
        assert len({recipe.name for recipe in recipes}) == len(typed)


def test_a_command_that_cannot_be_typed_is_noticed() -> None:
    group: Any = typer.main.get_command(app)
    with pytest.raises(Exception, match="modle"):
        group.commands["compare"].make_context("compare", ["ce", "--modle", "resnet32"])


def test_the_options_of_the_released_dro_lt_can_be_typed() -> None:
    (typed,) = re.findall(r"``(dro-lt@[^`]+)``", documentation("dro-lt").split("Chosen here")[1])
    assert typed == "dro-lt@centroid-pass=balanced,augmented=true"
    objective = by_name(typed, PLAIN).stages[1].objective
    assert objective["terms"][1] == part(Robust, centroid_pass="balanced", augmented=True)


# ----------------------------------------------------------------------------------------------------- protocols


def test_plain_200_is_the_setting_of_the_facts() -> None:
    assert PLAIN.model == part(cifar_resnet, depth=32, widths=(16, 32, 64))
    assert (PLAIN.epochs, PLAIN.batch_size) == (200, 128)
    assert PLAIN.optimizer == part(sgd, lr=0.1, momentum=0.9, weight_decay=2e-4, nesterov=False)
    assert PLAIN.augmentation == (part(RandomCrop, padding=4), part(HorizontalFlip))
    factors = [PLAIN.schedule.build()(epoch, 0.5, 200) for epoch in range(200)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:160] == [1.0] * 155
    assert factors[160:180] == pytest.approx([0.01] * 20)
    assert factors[180:] == pytest.approx([0.0001] * 20)


def test_strong_400_is_the_setting_of_the_facts() -> None:
    assert STRONG.model == part(cifar_resnet, depth=32, widths=(16, 32, 64))
    assert (STRONG.epochs, STRONG.batch_size) == (400, 128)
    assert STRONG.optimizer == part(sgd, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=False)
    assert STRONG.augmentation == (*PLAIN.augmentation, part(AutoAugment), part(Cutout, size=16))
    factors = [STRONG.schedule.build()(epoch, 0.5, 400) for epoch in range(400)]
    assert factors[:10] == pytest.approx([(epoch + 1) / 10 for epoch in range(10)])
    assert factors[10:320] == [1.0] * 310
    assert factors[320:360] == pytest.approx([0.1] * 40)
    assert factors[360:] == pytest.approx([0.01] * 40)


def test_a_protocol_is_chosen_by_the_images_and_changed_by_flags(digits: Data) -> None:
    assert protocol_for(digits) == DIGITS
    images = torch.zeros(len(digits.train), 3, 32, 32, dtype=torch.uint8)
    photographs = dataclasses.replace(digits, train=dataclasses.replace(digits.train, images=images))
    assert protocol_for(photographs) == PLAIN
    assert protocol_for(digits, protocol="strong-400") == STRONG
    changed = protocol_for(digits, model="resnet18-cifar", epochs=7, batch_size=9, augmentation="strong")
    assert (changed.model, changed.epochs, changed.batch_size) == (part(cifar_stem_resnet, depth=18), 7, 9)
    assert changed.augmentation == STRONG.augmentation
    assert protocol_for(digits, augmentation="none").augmentation == ()
    assert protocol_for(digits, augmentation="plain").augmentation == PLAIN.augmentation
    for wrong, words in (
        ({"protocol": "plain200"}, "did you mean 'plain-200'"),
        ({"augmentation": "stong"}, "did you mean 'strong'"),
        ({"model": "resnet31"}, "did you mean 'resnet32'"),
    ):
        with pytest.raises(InputError, match=words):
            protocol_for(digits, **wrong)


def test_later_stages_scale_with_the_epochs() -> None:
    short = dataclasses.replace(PLAIN, epochs=20)
    for name in METHODS:
        whole, cut = by_name(name, PLAIN), by_name(name, short)
        assert [stage.epochs for stage in cut.stages] == [stage.epochs // 10 for stage in whole.stages]
    least = dataclasses.replace(PLAIN, epochs=1)
    assert all(stage.epochs >= 1 for name in METHODS for stage in by_name(name, least).stages)


# ------------------------------------------------------------------------------------------- what each method is


def test_end_to_end_methods_differ_from_ce_in_the_loss_alone() -> None:
    (ce,) = by_name("ce", PLAIN).stages
    assert ce.objective == part(cross_entropy)
    assert (ce.sampler, ce.batch_size) == (part(InstanceBalanced), 128)
    assert (ce.optimizer, ce.schedule) == (PLAIN.optimizer, PLAIN.schedule)
    for name, loss in (
        ("balanced-softmax", part(balanced_softmax)),
        ("logit-adjustment", part(logit_adjusted_cross_entropy, tau=1.0)),
        ("logit-adjustment@tau=0.5", part(logit_adjusted_cross_entropy, tau=0.5)),
    ):
        (stage,) = by_name(name, PLAIN).stages
        assert stage == dataclasses.replace(ce, objective=loss)


def test_post_hoc_adjustment_is_ce_with_another_ending() -> None:
    recipe = by_name("logit-adjustment-post-hoc@tau=0.5", PLAIN)
    assert recipe.stages == by_name("ce", PLAIN).stages
    assert recipe.adjustment == part(LogitAdjustment, tau=0.5)


def test_crt_is_the_setting_of_the_facts() -> None:
    stage = by_name("crt", PLAIN).stages[1]
    assert (stage.epochs, stage.trains, stage.fresh_head) == (10, "classifier", True)
    assert (stage.optimizer, stage.schedule) == (
        part(sgd, lr=0.2, momentum=0.9, weight_decay=5e-4),
        part(cosine, warmup=0.0),
    )
    assert (stage.sampler, stage.batch_size) == (part(ClassQuota, classes=128, images=4), 512)
    assert stage.objective == part(cross_entropy)


def test_dro_lt_is_the_setting_of_the_facts() -> None:
    first, represent, rebalance = by_name("dro-lt", PLAIN).stages
    assert first == by_name("ce", PLAIN).stages[0]

    assert (represent.epochs, represent.trains) == (80, "backbone")
    assert (represent.fresh_head, represent.keeps_optimizer) == (False, False)
    assert represent.optimizer == part(sgd, lr=0.005, momentum=0.9, weight_decay=1e-4)
    assert represent.schedule == part(constant)
    assert (represent.sampler, represent.batch_size) == (part(ClassQuota, classes=32, images=4, steps=None), 128)
    assert represent.augmentation == PLAIN.augmentation
    robust = part(
        Robust, radius="learned", epsilon=1.0, shift=1.0, temperature=1.0, layers=(1.0,), strict=False, augmented=False
    )
    assert represent.objective == part(
        Total, terms=(part(class_weighted_cross_entropy, weight="prior"), robust), weights=(1.0, 1.0)
    )

    assert (rebalance.epochs, rebalance.trains) == (20, "classifier")
    assert (rebalance.fresh_head, rebalance.keeps_optimizer) == (False, False)
    assert rebalance.optimizer == part(sgd, lr=0.01, momentum=0.9, weight_decay=1e-4)
    assert rebalance.schedule == part(constant)
    assert rebalance.sampler == represent.sampler
    assert rebalance.objective == part(cross_entropy)
    assert by_name("dro-lt", STRONG).stages[1].augmentation == STRONG.augmentation


def test_an_epoch_of_class_aware_batches_on_cifar100_lt_has_391_of_128() -> None:
    quota = by_name("dro-lt", PLAIN).stages[1].sampler
    for imbalance in (100, 10):  # the largest class is as large, and so is the epoch
        counts = exponential_profile(100, 500, imbalance)
        target = torch.repeat_interleave(counts)
        sampler = quota.build(target=target, generator=torch.Generator().manual_seed(0))
        assert (len(sampler), sampler.batch_size) == (391 * 128, 128)
        drawn = target[sampler.draw()].view(391, 32, 4)
        assert bool((drawn == drawn[:, :, :1]).all())
        assert all(len(set(batch)) == 32 for batch in drawn[:, :, 0].tolist())


def term(text: str) -> Part:
    """The robust term of a recipe."""
    objective = by_name(text, PLAIN).stages[1].objective
    assert objective.function is Total
    made: Part = objective["terms"][1]
    assert made.function is Robust
    return made


def test_the_controls_of_dro_lt_can_be_asked_for() -> None:
    for typed, arguments in (
        ("radius=none", {"radius": "none"}),
        ("radius=shared,epsilon=0.5", {"radius": "shared", "epsilon": 0.5}),
        ("radius=standard-error", {"radius": "standard-error", "epsilon": 1.0}),
        ("radius=gaussian-kl,epsilon=0.1,sigma=3", {"radius": "gaussian-kl", "epsilon": 0.1, "sigma": 3.0}),
        ("strict=true", {"strict": True}),
        ("shift=2", {"shift": 2.0}),
        ("temperature=0.1", {"temperature": 0.1}),
        ("layers=0.5,1.0,radius=none", {"radius": "none", "layers": (0.5, 1.0)}),
        ("refresh-steps=10", {"refresh_steps": 10}),
        ("class-weights=prior", {"class_weights": "prior"}),
    ):
        assert term(f"dro-lt@{typed}") == part(Robust, **arguments)
        assert term(f"dro-lt@{typed}") != term("dro-lt") or typed == "radius=learned"


def test_mixing_is_the_papers_convex_sum() -> None:
    for share in (0.0, 0.25):
        objective = by_name(f"dro-lt@mixing={share}", PLAIN).stages[1].objective
        assert [made.function for made in objective["terms"]] == [class_weighted_cross_entropy, Robust]
        assert objective["weights"] == (share, 1.0 - share)
    assert by_name("dro-lt@mixing=1", PLAIN).stages == by_name("dro-lt@robust=0", PLAIN).stages
    with pytest.raises(InputError, match="mixing"):
        by_name("dro-lt@mixing=1.5", PLAIN)


def test_the_classifier_of_dro_lt_is_balanced_as_asked() -> None:
    quota, natural = (part(ClassQuota, classes=32, images=4), 128), (part(InstanceBalanced), 128)
    for typed, loss, sampling, fresh in (
        ("plain", part(cross_entropy), quota, False),
        ("crt", part(cross_entropy), quota, True),
        ("balanced-softmax", part(balanced_softmax), natural, False),
        ("logit-adjusted-cross-entropy", part(logit_adjusted_cross_entropy), natural, False),
        ("(logit-adjusted-cross-entropy@tau=2)", part(logit_adjusted_cross_entropy, tau=2.0), natural, False),
        ("(focal@gamma=1)", part(longtail.losses.focal, gamma=1.0), quota, False),
    ):
        stage = by_name(f"dro-lt@balancing={typed},steps=5", PLAIN).stages[2]
        sampler = sampling[0].with_arguments(steps=5) if sampling is quota else sampling[0]
        assert (stage.objective, stage.sampler, stage.batch_size, stage.fresh_head) == (loss, sampler, 128, fresh)
    for head in ("mislas", "weight-balancing"):  # the classifier's stage of these
        assert by_name(f"dro-lt@balancing={head}", PLAIN).stages[2] == by_name(head, PLAIN).stages[-1]
    for head in ("tau-norm", "lws", "ncm", "samn", "los", "logit-adjustment-post-hoc"):
        fitted = by_name(f"dro-lt@balancing={head}", PLAIN)
        assert (len(fitted.stages), fitted.adjustment) == (2, by_name(head, PLAIN).adjustment)
        assert stage.trains == "classifier"


def test_ip_dpp_is_the_setting_of_the_facts() -> None:
    first, stage = by_name("ip-dpp", PLAIN).stages
    assert first == by_name("ce", PLAIN).stages[0]
    assert (stage.epochs, stage.trains, stage.fresh_head) == (100, "all", True)
    assert stage.objective == part(cross_entropy)
    assert (stage.sampler, stage.batch_size) == (
        part(InformativeSubset, arm="ip-dpp", k=None, resample_every=20, scorer="fresh"),
        64,
    )
    assert (stage.optimizer["lr"], stage.optimizer["weight_decay"]) == (2.5e-4, 0.05)
    assert stage.schedule == part(cosine, warmup=0.05)  # 5 of 100 epochs
    ours = by_name("ip-dpp@arm=uniform,k=50,resample-every=10,trains=classifier", PLAIN).stages[1]
    assert ours.sampler == part(InformativeSubset, arm="uniform", k=50, resample_every=10)
    assert ours.trains == "classifier"


def test_bns_is_the_setting_of_the_facts() -> None:
    first, second = by_name("bns-ipdpp", PLAIN).stages
    assert (first.epochs, first.trains) == (1000, "backbone")
    assert (first.sampler, first.batch_size) == (part(InstanceBalanced), 512)
    assert first.optimizer == part(adamw, lr=2e-3, beta1=0.9, beta2=0.95, weight_decay=0.05)  # 1e-3 x 512 / 256
    assert first.schedule == part(cosine, warmup=0.02)  # 20 of 1000 epochs
    pairs = part(balanced_negative_sampling, temperature=0.5, positives=2, negatives=None)
    assert first.objective == part(Contrastive, loss=pairs, hidden=2048, out=128)
    (views,) = first.augmentation
    assert views.name == "longtail.augment:simclr"
    assert second == by_name("ip-dpp", PLAIN).stages[1]
    partners = by_name("bns-probe@partners=4", PLAIN).stages[0]
    assert partners == dataclasses.replace(first, sampler=part(MinimumPerClass, minimum=4))


def test_probes_train_a_fresh_classifier_on_the_frozen_backbone() -> None:
    for name in ("bns-probe", "supcon-probe"):
        first, second = by_name(name, PLAIN).stages
        assert (second.trains, second.fresh_head) == ("classifier", True)
        assert (second.sampler, second.batch_size) == (part(ClassBalanced), 64)
        assert (second.epochs, second.optimizer["lr"]) == (100, 2.5e-4)
        assert first.objective.function is Contrastive
    temperatures = [
        by_name(name, PLAIN).stages[0].objective["loss"]["temperature"] for name in ("bns-probe", "supcon-probe")
    ]
    assert temperatures == [0.5, 0.1]
    for name in ("bns-probe", "supcon-probe"):
        plain, bare = (by_name(f"{name}{more}", PLAIN).stages for more in ("", "@hidden=0"))
        assert bare[0] == dataclasses.replace(plain[0], objective=part(plain[0].objective, hidden=0))
        assert bare[1] == plain[1]


# ------------------------------------------------------------------------------------------- what arms share


def test_the_first_stage_is_shared_by_all_that_begin_with_cross_entropy() -> None:
    names = ("ce", "crt", "dro-lt", "ip-dpp", "logit-adjustment-post-hoc", "dro-lt@robust=0", "ip-dpp@arm=uniform")
    assert len({addresses(name)[0] for name in names}) == 1
    assert len({addresses(name)[0] for name in ("ce", "balanced-softmax", "logit-adjustment", "bns-probe")}) == 4
    assert len({addresses(name)[-1] for name in ("crt", "dro-lt", "ip-dpp", "ip-dpp@arm=uniform")}) == 4


def test_contrastive_beginnings_are_shared_too() -> None:
    assert addresses("bns-ipdpp")[0] == addresses("bns-probe")[0] == addresses("bns-ipdpp@arm=uniform")[0]
    assert addresses("bns-probe@loss=supcon") == addresses("supcon-probe")
    # Options that a loss does not have do not make it another run.
    assert addresses("bns-probe@loss=supcon,positives=4") == addresses("supcon-probe")
    assert addresses("bns-probe@positives=4")[0] != addresses("bns-probe")[0]


def test_the_control_without_the_robust_loss_differs_in_the_objective_alone() -> None:
    whole, control = by_name("dro-lt", PLAIN).stages, by_name("dro-lt@robust=0", PLAIN).stages
    assert (whole[0], whole[2]) == (control[0], control[2])
    assert control[1] == dataclasses.replace(whole[1], objective=whole[1].objective["terms"][0])
    # Without the term its options have no meaning: one control, trained once.
    assert addresses("dro-lt@robust=0") == addresses("dro-lt@robust=0,radius=shared,epsilon=3")


def test_controls_of_ip_dpp_differ_in_the_sampler_alone() -> None:
    whole = by_name("ip-dpp", PLAIN).stages[1]
    for arm in ("uniform", "hardest", "easiest", "class-balanced"):
        control = by_name(f"ip-dpp@arm={arm}", PLAIN).stages[1]
        assert control == dataclasses.replace(whole, sampler=whole.sampler.with_arguments(arm=arm))


# ----------------------------------------------------------------------------------------------- what a user types


def test_options_are_shown_in_the_name() -> None:
    assert by_name("dro-lt@radius=shared,temperature=0.1", PLAIN).name == "dro-lt@radius=shared,temperature=0.1"
    assert by_name("dro-lt@class_weights=prior", PLAIN).name == "dro-lt@class-weights=prior"
    nested = "dro-lt@balancing=(logit-adjusted-cross-entropy@tau=2),steps=5"
    assert by_name(nested, PLAIN).name == nested
    assert by_name("dro-lt@layers=0.5,1.0", PLAIN).name == "dro-lt@layers=0.5,1.0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dro_lt", "unknown recipe 'dro_lt': did you mean 'dro-lt'?"),
        ("balanced-sofmax", "did you mean 'balanced-softmax'?"),
        ("dro-lt@radios=none", "did you mean 'radius'?"),
        ("dro-lt@radius=large", "'large' is not 'none' or 'shared'"),
        ("dro-lt@layers=0.5,a", "'a' is not a number"),
        ("dro-lt@radius", "'radius' should read option=value"),
        ("dro-lt@balancing=(focal@gama=1)", "did you mean 'gamma'?"),
        ("dro-lt@balancing=focall", "did you mean 'focal'?"),
        ("ip-dpp@arm=unifrom", "'unifrom' is not 'ip-dpp' or 'uniform'"),
        ("ip-dpp@scorer=trainde", "'trainde' is not 'fresh' or 'trained'"),
        ("ip-dpp@arm=uniform,strength=2", "options of the arm ip-dpp, not of uniform"),
        ("ip-dpp@k=0", "k must be at least 1"),
        ("bns-probe@partners=3", "512"),
        ("dro-lt@steps=0", "an epoch needs at least 1 batch, not 0"),
        ("dro-lt@refresh-steps=-1", "refresh_steps"),
        ("ce@tau=1", "has no options"),
        ("own.py:recipe", "no Python file"),
        ("dro-lt@steps=(5", "parentheses"),
        ("dro-lt@steps=5,steps=6", "given twice"),
    ],
)
def test_a_wrong_name_or_option_is_one_line_that_suggests_the_right_one(text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        by_name(text, PLAIN)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------ what longtail.recipe takes


def test_a_recipe_is_named_in_many_ways(digits: Data, tmp_path: pathlib.Path) -> None:
    def loss(logits: torch.Tensor, target: torch.Tensor, *, gamma: float = 1.0) -> torch.Tensor:
        return logits[:, 0] * gamma

    path = tmp_path / "own.py"
    path.write_text("def loss(logits, target, *, gamma: float = 1.0):\n    return logits[:, 0] * gamma\n")
    ce = longtail.recipe("ce", digits)
    typed = longtail.recipe(f"mine={path}:loss@gamma=0.5", digits)
    assert typed.name == "mine"
    assert typed.stages == (dataclasses.replace(ce.stages[0], objective=typed.stages[0].objective),)
    assert typed.stages[0].objective["gamma"] == 0.5
    assert longtail.recipe(f"{path}:loss@gamma=0.5", digits).stages == typed.stages
    handed = longtail.recipe(loss, digits)
    assert handed.stages[0].objective.foreign
    assert handed.stages[0].objective["gamma"] == 1.0
    assert longtail.recipe(longtail.part(loss, gamma=0.5), digits).stages[0].objective["gamma"] == 0.5
    assert longtail.recipe(longtail.losses.focal, digits).name == "focal"
    assert longtail.recipe(ce, digits) == ce
    assert longtail.recipe("short=dro-lt@radius=shared", digits).name == "short"
    assert longtail.recipe("ce", digits, select="validation").selection == "best on validation"
    assert longtail.recipe("ce", digits, epochs=7).stated == 60  # a run below its budget can be told


COMPLETE = """
import torch
import longtail


class Net(torch.nn.Sequential):
    def __init__(self, num_classes, width: int = 64):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Linear(width, num_classes))


whole = longtail.recipe("crt", None, select="validation")
"""


def test_a_file_gives_a_loss_a_method_or_a_recipe(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from longtail.methods import recipe\nfrom longtail.methods.logit_adjustment import recipe as base\n\n"
        "def method(protocol, *, tau: float = 1.0):\n    return base(protocol, tau=tau)\n\n"
        "fixed = recipe('ce', None, protocol='strong-400')\nnumber = 3\n"
    )
    assert names.recipe(f"{path}:fixed", None) == by_name("ce", STRONG)
    assert by_name(f"{path}:method@tau=0.5", PLAIN).stages == by_name("logit-adjustment@tau=0.5", PLAIN).stages
    for text, words in (
        ("number", "is a int; a recipe, method or loss is needed"),
        ("metho", "did you mean 'method'"),
        ("fixed@tau=1", "takes no options"),
        ("method@taw=1", "did you mean 'tau'"),
    ):
        with pytest.raises(InputError, match=words):
            by_name(f"{path}:{text}", PLAIN)


def test_a_complete_recipe_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    held = longtail.load("digits-lt", imbalance=20, validation=0.2)
    (tmp_path / "own.py").write_text(COMPLETE)
    own = f"{tmp_path}/own.py"
    chosen = longtail.recipe("ce", held, epochs=1, model=f"{own}:Net@width=8", select="validation")
    longtail.train(chosen, held, seed=0, out=tmp_path / "run")
    for name in (str(tmp_path / "run"), f"{own}:whole", chosen):
        again = longtail.recipe(name, held)
        assert again.selection == "best on validation"
        assert longtail.recipe(name, held, select="last").selection == "last epoch"
        for option, value in {
            "epochs": 7,
            "model": "resnet8",
            "batch_size": 9,
            "augmentation": "none",
            "protocol": "strong-400",
        }.items():
            flag = f"--{option.replace('_', '-')}"
            with pytest.raises(InputError, match=f"is a complete recipe, in which {flag} would .* with --set"):
                longtail.recipe(name, held, **{option: value})
        with pytest.raises(InputError, match="--epochs and --batch-size would change nothing"):
            longtail.recipe(name, held, epochs=7, batch_size=9)
    # A model of one's own is named so that its code is known.
    assert longtail.recipe(str(tmp_path / "run"), held, model=f"{own}:Net@width=8") == chosen
    with pytest.raises(InputError, match="--model would change nothing"):
        longtail.recipe(str(tmp_path / "run"), held, model=f"{own}:Net@width=9")
    assert longtail.recipe("ce", held).selection == "last epoch"


def test_a_finished_runs_folder_is_its_recipe(digits: Data, tmp_path: pathlib.Path) -> None:
    asked = longtail.recipe("logit-adjustment@tau=0.5", digits, epochs=1, changes=["stages.0.optimizer.lr=0.02"])
    longtail.train(asked, digits, seed=0, out=tmp_path / "run")
    again = longtail.recipe(str(tmp_path / "run"), digits)
    assert again == asked
    assert longtail.recipe(str(tmp_path / "run"), digits, changes=["stages.0.epochs=3"]).epochs == 3
    with pytest.raises(InputError, match="a finished run takes no options"):
        longtail.recipe(f"{tmp_path}/run@tau=1", digits)
    (tmp_path / "run" / "record.json").write_text("[]")
    with pytest.raises(InputError, match="damaged or no record"):
        longtail.recipe(str(tmp_path / "run"), digits)
