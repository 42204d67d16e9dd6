"""``--set PATH=VALUE``: any field of a recipe, whole parts included; a wrong path suggests the right one."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from longtail import losses
from longtail.augment import Cutout, HorizontalFlip, RandomCrop
from longtail.errors import InputError
from longtail.methods import PROTOCOLS
from longtail.methods.names import recipe
from longtail.models import cifar_resnet, small_conv_net
from longtail.recipes import Recipe, Robust, adamw, constant, cosine, part, steps
from longtail.recipes.fields import change
from longtail.recipes.part import address
from longtail.samplers import ClassBalanced, ClassQuota, InformativeSubset


def changed(name: str, setting: str) -> Recipe:
    return recipe(name, None, changes=[setting])


@pytest.mark.parametrize(
    ("name", "setting", "field", "expected"),
    [
        ("ce", "stages.0.epochs=20", "epochs", 20),
        ("ce", "stages.0.batch-size=7", "batch_size", 7),
        ("ce", "stages.0.optimizer=adamw@lr=1e-3", "optimizer", part(adamw, lr=1e-3)),
        ("ce", "stages.0.schedule=cosine@warmup=0.1", "schedule", part(cosine, warmup=0.1)),
        ("ce", "stages.0.schedule=constant", "schedule", part(constant)),
        ("ce", "stages.0.schedule.at=0.5,0.75", "schedule", part(steps, at=(0.5, 0.75))),
        ("ce", "stages.0.sampler=class-balanced", "sampler", part(ClassBalanced)),
        ("ce", "stages.0.objective=focal@gamma=1", "objective", part(losses.focal, gamma=1.0)),
        ("ce", "stages.0.augmentation=none", "augmentation", ()),
        (
            "ce",
            "stages.0.augmentation=random-crop@padding=1+horizontal-flip",
            "augmentation",
            (part(RandomCrop, padding=1), part(HorizontalFlip)),
        ),
        (
            "ce",
            "stages.0.augmentation.0.padding=2",
            "augmentation",
            (part(RandomCrop, padding=2), part(HorizontalFlip)),
        ),
        (
            "ce",
            "stages.0.augmentation.1=cutout@size=4",
            "augmentation",
            (part(RandomCrop, padding=4), part(Cutout, size=4)),
        ),
        ("ce", "stages.0.augmentation.0=none", "augmentation", (part(HorizontalFlip),)),
        ("ce", "stages.0.trains=classifier", "trains", "classifier"),
        ("ce", "stages.0.fresh-head=true", "fresh_head", True),
        ("crt", "stages.1.sampler.steps=7", "sampler", part(ClassQuota, classes=128, images=4, steps=7)),
        ("crt", "stages.1.sampler.steps=none", "sampler", part(ClassQuota, classes=128, images=4)),
        ("ip-dpp", "stages.1.sampler.k=5", "sampler", part(InformativeSubset, resample_every=20, k=5)),
    ],
)
def test_one_field_changes_and_nothing_else(name: str, setting: str, field: str, expected: Any) -> None:
    before, after = recipe(name, None), changed(name, setting)
    number = int(setting.split(".")[1])
    assert getattr(after.stages[number], field) == expected
    restored = dataclasses.replace(after.stages[number], **{field: getattr(before.stages[number], field)})
    stages = (*after.stages[:number], restored, *after.stages[number + 1 :])
    assert dataclasses.replace(after, stages=stages) == before
    if after != before:
        assert address(after) != address(before)


def test_a_term_within_an_objective_changes() -> None:
    after = changed("dro-lt", "stages.1.objective.terms.1.epsilon=0.25")
    assert after.stages[1].objective["terms"][1] == part(Robust, epsilon=0.25)
    after = changed("dro-lt", "stages.1.objective.weights.1=0.5")
    assert after.stages[1].objective["weights"] == (1.0, 0.5)
    after = changed("dro-lt", "stages.1.objective.terms.0=(focal@gamma=1)")
    assert after.stages[1].objective["terms"][0] == part(losses.focal, gamma=1.0)


def test_the_model_and_what_is_done_afterwards_change() -> None:
    assert changed("ce", "model=small").model == part(small_conv_net)
    assert changed("ce", "model.head=cosine").model == part(cifar_resnet, head="cosine")
    assert changed("logit-adjustment-post-hoc", "adjustment.tau=2").adjustment["tau"] == 2.0
    assert changed("logit-adjustment-post-hoc", "adjustment=none").adjustment is None
    assert changed("ce", "selection=best on validation").selection == "best on validation"
    assert changed("ce", "name=mine").name == "mine"


def test_a_protocol_changes_like_a_recipe() -> None:
    after = change(PROTOCOLS["plain-200"], "optimizer.lr=0.5")
    assert after.optimizer == PROTOCOLS["plain-200"].optimizer.with_arguments(lr=0.5)


def test_changes_are_made_in_their_order() -> None:
    made = recipe("ce", None, changes=["stages.0.optimizer=adamw", "stages.0.optimizer.lr=0.25"])
    assert made.stages[0].optimizer == part(adamw, lr=0.25)
    with pytest.raises(InputError, match=r"unknown option of longtail\.recipes:adamw 'momentum'"):
        recipe("ce", None, changes=["stages.0.optimizer=adamw", "stages.0.optimizer.momentum=0.25"])


def test_a_part_of_ones_own_is_set_by_its_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "half.py").write_text(
        "def half(target, *, share=0.5):\n    yield from range(int(share * len(target)))\n"
    )
    made = changed("ce", f"stages.0.sampler={tmp_path}/half.py:half@share=0.25").stages[0].sampler
    assert made.foreign
    assert made["share"] == 0.25
    again = recipe("ce", None, changes=[f"stages.0.sampler={tmp_path}/half.py:half", "stages.0.sampler.share=0.25"])
    assert again.stages[0].sampler == made


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stages.0.epochs", "should read PATH=VALUE"),
        ("=3", "should read PATH=VALUE"),
        ("stagse.0.epochs=1", "did you mean 'stages'"),
        ("stages.0.epocs=1", "did you mean 'epochs'"),
        ("stages.1.epochs=1", r"'1' is no position in a list of 1 \(0 to 0\)"),
        ("stages.first.epochs=1", "'first' is no position in a list"),
        ("stages.-1.epochs=1", "is no position"),
        ("stages.0.epochs=many", r"--set stages\.0\.epochs: 'many' is not a whole number"),
        ("stages.0.epochs=0", "epochs is 0; at least 1"),
        ("stages.0.batch-size=0", "batch_size is 0; at least 1"),
        ("stages.0.optimizer=adm", "did you mean 'adamw'"),
        ("stages.0.optimizer.lrr=1", "did you mean 'lr'"),
        ("stages.0.optimizer.lr.deeper=1", "has no field 'deeper'"),
        ("stages.0.epochs.deeper=1", "has no field 'deeper'"),
        ("stages.0.schedule=stepz", "did you mean 'steps'"),
        ("stages.0.augmentation=plian", "did you mean 'plain'"),
        ("stages.0.augmentation.5.padding=1", "is no position in a list of 2"),
        ("stages.0.trains=heads", "'heads' is not 'all' or 'backbone' or 'classifier'"),
        ("stages.0.objective.gamma=1", "has no option|unknown option"),
        ("stages.0.sampler=none.py:half", "no Python file"),
        ("model=resnet31", "did you mean 'resnet32'"),
        ("stages=1", "set it from Python|is not"),
        ("stages.0=1", "set it from Python|is not"),
    ],
)
def test_a_wrong_path_or_value_is_one_line(setting: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        changed("ce", setting)
    assert "\n" not in str(caught.value)
