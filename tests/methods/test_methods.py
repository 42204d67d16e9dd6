"""Recipes: the published settings to the digit, shared beginnings, and a docstring that is a contract."""

from __future__ import annotations

import dataclasses
import inspect
import json
import pathlib
import re
from typing import Any

import pytest
import torch
import typer.main
from longtail.recipes.adjustments import SubtractLogPrior
from longtail.recipes.sampling import Balanced, Informative, Natural, Quota

from longtail import cli
from longtail.augment import AutoAugment, Cutout, HorizontalFlip, RandomCrop, Views
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods import CATALOGUE, PROTOCOLS, Protocol, by_name, protocol_for
from longtail.models import CifarResNet, CifarStemResNet
from longtail.models import by_name as model_by_name
from longtail.recipes import config
from longtail.recipes.contract import Setting
from longtail.recipes.objectives import (
    BalancedSoftmax,
    Contrastive,
    CrossEntropy,
    LogitAdjusted,
    OwnLoss,
    Radius,
    Robust,
    Sum,
    Supervised,
)
from longtail.recipes.optimizers import SGD, AdamW, Constant, Cosine, Steps
from longtail.recipes.stages import Recipe, address
from longtail.training.restore import KINDS

PLAIN, STRONG, DIGITS = (PROTOCOLS[name] for name in ("plain-200", "strong-400", "digits"))


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def addresses(text: str, protocol: Protocol = PLAIN) -> list[str]:
    """The content addresses of a recipe's stages on some data set from some seed."""
    recipe = by_name(text, protocol)
    return [address(recipe, i, fingerprint="f", seed=0, compute={}) for i in range(len(recipe.stages))]


# --------------------------------------------------------------------------------------------------- every recipe


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_recipe_fits_every_protocol_and_survives_json(name: str, protocol: Protocol) -> None:
    recipe = by_name(name, protocol)
    assert recipe.name == name
    assert recipe.model == protocol.model
    revived = config.revive(json.loads(json.dumps(config.plain(recipe))), KINDS)
    assert revived == recipe
    assert config.digest(revived) == config.digest(recipe)
    assert hash(recipe) == hash(revived)
    setting = Setting(torch.tensor([9, 5, 2]), (4, 6), torch.device("cpu"), torch.Generator().manual_seed(0))
    for stage in recipe.stages:
        assert callable(stage.objective.build(setting))
        sampler = stage.sampler.build(setting, torch.tensor([0] * 9 + [1] * 5 + [2] * 2))
        assert hasattr(sampler, "draw")


def documentation(name: str) -> str:
    module = inspect.getmodule(CATALOGUE[name])
    assert module is not None
    return module.__doc__ or ""


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_docstring_names_paper_command_cost_and_number(name: str) -> None:
    text = documentation(name)
    assert f"``{name}``" in text.splitlines()[0] + text.splitlines()[1]
    starts = [re.split(r":\s", line)[0] for line in text.splitlines()]
    kinds = [word for word in starts if word in ("Paper", "Papers", "Command", "Cost", "Expect")]
    assert [kind.rstrip("s") for kind in kinds] == ["Paper", "Command", "Cost", "Expect"]


def commands(text: str) -> list[list[str]]:
    return [found.split()[1:] for found in re.findall(r"``(longtail [^`]+)``", text)]


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_commands_of_a_docstring_can_be_typed(name: str) -> None:
    group: Any = typer.main.get_command(cli.app)
    found = commands(documentation(name))
    assert found
    assert any(name in command for command in found)
    for verb, *words in found:
        context = group.commands[verb].make_context(verb, list(words))
        given = context.params
        names = given["recipes"] if verb == "compare" else [given["recipe"]]
        options = cli._passed_on(context.args)
        assert not options or verb == "train"
        model = model_by_name(given["model"]) if given["model"] else PLAIN.model
        protocol = dataclasses.replace(PLAIN, model=model, epochs=given["epochs"] or PLAIN.epochs)
        recipes = [by_name(recipe, protocol, options) for recipe in names]
        assert len({recipe.name for recipe in recipes}) == len(names)


def test_a_command_that_cannot_be_typed_is_noticed() -> None:
    group: Any = typer.main.get_command(cli.app)
    context = group.commands["compare"].make_context("compare", ["ce", "--modle", "resnet32"])
    with pytest.raises(InputError):  # it went to the recipes, which have no such field
        by_name("ce", PLAIN, cli._passed_on([*context.params["recipes"][1:], *context.args]))


def test_the_flags_of_the_released_dro_lt_can_be_typed() -> None:
    flags = dict(re.findall(r"--([a-z-]+)\s+(\w+)", documentation("dro-lt").split("Chosen here")[1].replace("``", "")))
    assert flags == {"centroid-pass": "balanced", "augmented": "true"}
    robust = by_name("dro-lt", PLAIN, flags).stages[1].objective
    assert isinstance(robust, Sum)
    assert robust.parts[1] == Robust(centroid_pass="balanced", augmented=True)


# ----------------------------------------------------------------------------------------------------- protocols


def test_plain_200_is_the_setting_of_the_facts() -> None:
    assert PLAIN.model == CifarResNet(depth=32, widths=(16, 32, 64))
    assert (PLAIN.epochs, PLAIN.batch_size) == (200, 128)
    assert PLAIN.optimizer == SGD(lr=0.1, momentum=0.9, weight_decay=2e-4, nesterov=False)
    assert PLAIN.augmentation == (RandomCrop(padding=4), HorizontalFlip())
    factors = [PLAIN.schedule.multiplier(epoch, 0.5, 200) for epoch in range(200)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:160] == [1.0] * 155
    assert factors[160:180] == pytest.approx([0.01] * 20)
    assert factors[180:] == pytest.approx([0.0001] * 20)


def test_strong_400_is_the_setting_of_the_facts() -> None:
    assert STRONG.model == CifarResNet(depth=32, widths=(16, 32, 64))
    assert (STRONG.epochs, STRONG.batch_size) == (400, 128)
    assert STRONG.optimizer == SGD(lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=False)
    assert STRONG.augmentation == (RandomCrop(padding=4), HorizontalFlip(), AutoAugment(), Cutout(size=16))
    factors = [STRONG.schedule.multiplier(epoch, 0.5, 400) for epoch in range(400)]
    assert factors[:10] == pytest.approx([(epoch + 1) / 10 for epoch in range(10)])
    assert factors[10:320] == [1.0] * 310
    assert factors[320:360] == pytest.approx([0.1] * 40)
    assert factors[360:] == pytest.approx([0.01] * 40)


def test_a_protocol_is_chosen_by_the_images_and_changed_by_flags(digits: Data) -> None:
    assert protocol_for(digits) == DIGITS
    images = torch.zeros(len(digits.train), 3, 32, 32, dtype=torch.uint8)
    photographs = dataclasses.replace(digits, train=dataclasses.replace(digits.train, images=images))
    assert protocol_for(photographs) == PLAIN
    assert protocol_for(digits, name="strong-400") == STRONG
    changed = protocol_for(digits, model="resnet18-cifar", epochs=7, batch_size=9, augmentation="strong")
    assert (changed.model, changed.epochs, changed.batch_size) == (CifarStemResNet(18), 7, 9)
    assert changed.augmentation == STRONG.augmentation
    assert protocol_for(digits, augmentation="none").augmentation == ()
    assert protocol_for(digits, augmentation="plain").augmentation == PLAIN.augmentation
    for wrong, words in (
        ({"name": "plain200"}, "did you mean 'plain-200'"),
        ({"augmentation": "stong"}, "did you mean 'strong'"),
        ({"model": "resnet31"}, "did you mean 'resnet32'"),
    ):
        with pytest.raises(InputError, match=words):
            protocol_for(digits, **wrong)


def test_later_stages_scale_with_the_epochs() -> None:
    short = dataclasses.replace(PLAIN, epochs=20)
    for name in CATALOGUE:
        whole, part = by_name(name, PLAIN), by_name(name, short)
        assert [stage.epochs for stage in part.stages] == [stage.epochs // 10 for stage in whole.stages]
    least = dataclasses.replace(PLAIN, epochs=1)
    assert all(stage.epochs >= 1 for name in CATALOGUE for stage in by_name(name, least).stages)


# ------------------------------------------------------------------------------------------- what each method is


def test_end_to_end_methods_differ_from_ce_in_the_loss_alone() -> None:
    (ce,) = by_name("ce", PLAIN).stages
    assert ce.objective == Supervised(CrossEntropy())
    assert (ce.sampler, ce.optimizer, ce.schedule) == (Natural(128), PLAIN.optimizer, PLAIN.schedule)
    for name, loss in (
        ("balanced-softmax", BalancedSoftmax()),
        ("logit-adjustment", LogitAdjusted(tau=1.0)),
        ("logit-adjustment@tau=0.5", LogitAdjusted(tau=0.5)),
    ):
        (stage,) = by_name(name, PLAIN).stages
        assert stage == dataclasses.replace(ce, objective=Supervised(loss))


def test_post_hoc_adjustment_is_ce_with_another_ending() -> None:
    recipe = by_name("logit-adjustment-post-hoc@tau=0.5", PLAIN)
    assert recipe.stages == by_name("ce", PLAIN).stages
    assert recipe.adjustment == SubtractLogPrior(tau=0.5)


def test_crt_is_the_setting_of_the_facts() -> None:
    stage = by_name("crt", PLAIN).stages[1]
    assert (stage.epochs, stage.trains, stage.fresh_head) == (10, "classifier", True)
    assert (stage.optimizer, stage.schedule) == (SGD(lr=0.2, momentum=0.9, weight_decay=5e-4), Cosine(warmup=0.0))
    assert (stage.sampler, stage.sampler.batch_size) == (Quota(classes=128, images=4), 512)
    assert stage.objective == Supervised(CrossEntropy())


def test_dro_lt_is_the_setting_of_the_facts() -> None:
    first, represent, rebalance = by_name("dro-lt", PLAIN).stages
    assert first == by_name("ce", PLAIN).stages[0]

    assert (represent.epochs, represent.trains) == (80, "backbone")
    assert (represent.fresh_head, represent.keeps_optimizer) == (False, False)
    assert represent.optimizer == SGD(lr=0.005, momentum=0.9, weight_decay=1e-4)
    assert represent.schedule == Constant()
    assert (represent.sampler, represent.sampler.batch_size) == (Quota(classes=32, images=4, steps=None), 128)
    assert represent.augmentation == PLAIN.augmentation
    assert represent.objective == Supervised(CrossEntropy(weight="prior"), weight=1.0) + Robust(
        radius=Radius("learned", 1.0), shift=1.0, temperature=1.0, weight=1.0, layers=(1.0,), strict=False
    )

    assert (rebalance.epochs, rebalance.trains) == (20, "classifier")
    assert (rebalance.fresh_head, rebalance.keeps_optimizer) == (False, False)
    assert rebalance.optimizer == SGD(lr=0.01, momentum=0.9, weight_decay=1e-4)
    assert rebalance.schedule == Constant()
    assert rebalance.sampler == represent.sampler
    assert rebalance.objective == Supervised(CrossEntropy())
    assert by_name("dro-lt", STRONG).stages[1].augmentation == STRONG.augmentation


def term(text: str) -> Any:
    objective = by_name(text, PLAIN).stages[1].objective
    assert isinstance(objective, Sum)
    return objective.parts[1]


def test_the_controls_of_dro_lt_can_be_asked_for() -> None:
    assert term("dro-lt@radius=none").radius == Radius("none")
    assert term("dro-lt@radius=shared,epsilon=0.5").radius == Radius("shared", 0.5)
    assert term("dro-lt@radius=standard-error").radius == Radius("standard-error", 1.0)
    assert term("dro-lt@radius=gaussian-kl,epsilon=0.1,sigma=3").radius == Radius("gaussian-kl", 0.1, 3.0)
    assert term("dro-lt@strict=true").strict
    assert term("dro-lt@shift=2").shift == 2.0
    assert term("dro-lt@temperature=0.1").temperature == 0.1
    assert term("dro-lt@layers=0.5,1.0,radius=none") == Robust(radius=Radius("none"), layers=(0.5, 1.0))
    assert term("dro-lt@refresh-steps=10").refresh_steps == 10
    assert term("dro-lt@class-weights=prior").class_weights == "prior"


def test_mixing_is_the_papers_convex_sum() -> None:
    for share in (0.0, 0.25, 1.0):
        objective = by_name(f"dro-lt@mixing={share}", PLAIN).stages[1].objective
        weights = {Supervised: share, Robust: 1.0 - share}
        parts = objective.parts if isinstance(objective, Sum) else (objective,)
        assert {type(part): part.weight for part in parts} == {
            kind: w for kind, w in weights.items() if w or share == 0
        }
    with pytest.raises(InputError, match="mixing"):
        by_name("dro-lt@mixing=1.5", PLAIN)


def test_the_classifier_of_dro_lt_is_balanced_as_asked() -> None:
    for name, loss, sampler, fresh in (
        ("plain", CrossEntropy(), Quota(32, 4), False),
        ("crt", CrossEntropy(), Quota(32, 4), True),
        ("balanced-softmax", BalancedSoftmax(), Natural(128), False),
        ("logit-adjustment", LogitAdjusted(), Natural(128), False),
    ):
        stage = by_name(f"dro-lt@balancing={name}", PLAIN).stages[2]
        assert (stage.objective, stage.sampler, stage.fresh_head) == (Supervised(loss), sampler, fresh)
        assert stage.trains == "classifier"


def test_ip_dpp_is_the_setting_of_the_facts() -> None:
    first, stage = by_name("ip-dpp", PLAIN).stages
    assert first == by_name("ce", PLAIN).stages[0]
    assert (stage.epochs, stage.trains, stage.fresh_head) == (100, "all", True)
    assert stage.objective == Supervised(CrossEntropy())
    assert stage.sampler == Informative(batch_size=64, arm="ip-dpp", k=None, resample_every=20)
    assert (stage.optimizer.lr, stage.optimizer.weight_decay) == (2.5e-4, 0.05)
    assert stage.schedule == Cosine(warmup=0.05)  # 5 of 100 epochs
    ours = by_name("ip-dpp@arm=uniform,k=50,resample-every=10,trains=classifier", PLAIN).stages[1]
    assert ours.sampler == Informative(batch_size=64, arm="uniform", k=50, resample_every=10)
    assert ours.trains == "classifier"


def test_bns_is_the_setting_of_the_facts() -> None:
    first, second = by_name("bns-ipdpp", PLAIN).stages
    assert (first.epochs, first.sampler, first.trains) == (1000, Natural(512), "backbone")
    assert first.optimizer == AdamW(lr=2e-3, beta1=0.9, beta2=0.95, weight_decay=0.05)  # 1e-3 x 512 / 256
    assert first.schedule == Cosine(warmup=0.02)  # 20 of 1000 epochs
    assert first.objective == Contrastive(
        loss="bns", temperature=0.5, positives=2, negatives=None, hidden=2048, out=128
    )
    (views,) = first.augmentation
    assert isinstance(views, Views)
    assert second == by_name("ip-dpp", PLAIN).stages[1]


def test_probes_train_a_fresh_classifier_on_the_frozen_backbone() -> None:
    for name in ("bns-probe", "supcon-probe"):
        first, second = by_name(name, PLAIN).stages
        assert (second.trains, second.fresh_head, second.sampler) == ("classifier", True, Balanced(64))
        assert (second.epochs, second.optimizer.lr) == (100, 2.5e-4)
        assert isinstance(first.objective, Contrastive)
    temperatures = [by_name(name, PLAIN).stages[0].objective.temperature for name in ("bns-probe", "supcon-probe")]
    assert temperatures == [0.5, 0.1]


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
    assert isinstance(whole[1].objective, Sum)
    assert control[1] == dataclasses.replace(whole[1], objective=whole[1].objective.parts[0])
    # Without the term its options have no meaning: one control, trained once.
    assert addresses("dro-lt@robust=0") == addresses("dro-lt@robust=0,radius=shared,epsilon=3")


def test_controls_of_ip_dpp_differ_in_the_sampler_alone() -> None:
    whole = by_name("ip-dpp", PLAIN).stages[1]
    for arm in ("uniform", "hardest", "easiest", "class-balanced"):
        control = by_name(f"ip-dpp@arm={arm}", PLAIN).stages[1]
        assert control == dataclasses.replace(whole, sampler=dataclasses.replace(whole.sampler, arm=arm))


# ----------------------------------------------------------------------------------------------- what a user types


def test_options_are_shown_in_the_name() -> None:
    assert by_name("dro-lt@radius=shared,temperature=0.1", PLAIN).name == "dro-lt@radius=shared,temperature=0.1"
    assert by_name("dro-lt", PLAIN, {"class_weights": "prior"}).name == "dro-lt@class-weights=prior"
    assert by_name("dro-lt@layers=0.5,1.0", PLAIN).name == "dro-lt@layers=0.5,1.0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dro_lt", "unknown recipe 'dro_lt': did you mean 'dro-lt'?"),
        ("dro-lt@radios=none", "did you mean 'radius'?"),
        ("dro-lt@radius=large", "'large' is not 'none' or 'shared'"),
        ("dro-lt@layers=0.5,a", "'a' is not a number"),
        ("dro-lt@radius", "'radius' should read option=value"),
        ("ip-dpp@arm=unifrom", "'unifrom' is not 'ip-dpp' or 'uniform'"),
        ("ip-dpp@arm=uniform,strength=2", "options of the arm ip-dpp, not of uniform"),
        ("ip-dpp@k=0", "k must be at least 1"),
        ("bns-probe@partners=3", "multiple of minimum"),
        ("dro-lt@steps=0", "steps must be at least 1"),
        ("ce@tau=1", "has no options"),
        ("own.py:recipe", "no Python file"),
    ],
)
def test_a_wrong_name_or_option_is_one_line_that_suggests_the_right_one(text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        by_name(text, PLAIN)
    assert "\n" not in str(caught.value)


def test_a_users_file_gives_a_loss_a_method_or_a_recipe(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from longtail.methods import CATALOGUE, PROTOCOLS\n\n"
        "def loss(logits, target):\n    return logits[:, 0]\n\n"
        "def method(protocol, *, tau: float = 1.0):\n    return CATALOGUE['logit-adjustment'](protocol, tau=tau)\n\n"
        "fixed = CATALOGUE['ce'](PROTOCOLS['strong-400'])\n"
        "number = 3\n"
    )
    assert by_name(f"{path}:fixed", PLAIN) == by_name("ce", STRONG)
    assert by_name(f"{path}:method@tau=0.5", PLAIN).stages == by_name("logit-adjustment@tau=0.5", PLAIN).stages
    own = by_name(f"{path}:loss", PLAIN)
    assert own.name == f"{path}:loss"
    assert own.stages[0] == dataclasses.replace(
        by_name("ce", PLAIN).stages[0], objective=Supervised(OwnLoss(f"{path}:loss"))
    )
    for text, words in (
        ("number", "is a int; a recipe, method or loss is needed"),
        ("los", "did you mean 'loss'"),
        ("loss@tau=1", "takes no options"),
        ("method@taw=1", "did you mean 'tau'"),
    ):
        with pytest.raises(InputError, match=words):
            by_name(f"{path}:{text}", PLAIN)


def test_a_built_in_function_is_taken_for_a_loss() -> None:
    recipe = by_name("torch:relu", PLAIN)
    with pytest.raises(InputError, match="failed on 3 images"):
        recipe.stages[0].objective.build(
            Setting(torch.tensor([2, 1]), (4,), torch.device("cpu"), torch.Generator().manual_seed(0))
        )


def test_a_field_is_overridden_by_its_path() -> None:
    recipe = config.override(by_name("dro-lt", PLAIN), "stages.1.objective.parts.1.radius.size", "0.25")
    assert recipe.stages[1].objective.parts[1].radius == Radius("learned", 0.25)
    assert config.override(by_name("crt", PLAIN), "stages.1.sampler.steps", "7").stages[1].sampler.steps == 7
    with pytest.raises(InputError, match=r"--stages\.0\.sampler\.batch-size: batch_size must be at least 1"):
        config.override(by_name("ce", PLAIN), "stages.0.sampler.batch-size", "0")
    assert isinstance(recipe, Recipe)
    assert recipe.stages[0].schedule == Steps()
