"""One syntax for a part everywhere: what is written is read again, and what is wrong is one line."""

from __future__ import annotations

import functools
import pathlib
import string
from typing import Any, Literal

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from longtail import losses
from longtail.augment import AutoAugment, Cutout, HorizontalFlip, RandomCrop
from longtail.errors import InputError
from longtail.methods import METHODS, PROTOCOLS
from longtail.methods.names import recipe
from longtail.models import timm_model
from longtail.recipes import Contrastive, Robust, Total, adamw, cosine, part, sgd, steps
from longtail.recipes.augmentations import PLAIN, STRONG
from longtail.recipes.part import Part, named, parts_in
from longtail.recipes.text import augmentation, read, short, split, value, written
from longtail.samplers import ClassBalanced, ClassQuota, InformativeSubset

ODD = string.ascii_letters + string.digits + ",@=()\"'+ -_.:;#%&!~[]{}äλ漢🙂\\\t\n"
TEXTS = st.text(ODD, max_size=12) | st.text(max_size=8)


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("ce", "ce", {}),
        ("dro-lt@layers=0.5,1,steps=2", "dro-lt", {"layers": "0.5,1", "steps": "2"}),
        ("dro-lt@balancing=(ldam@scale=30),steps=5", "dro-lt", {"balancing": "ldam@scale=30", "steps": "5"}),
        ("a@b=(c@d=(e@f=1,g=2),h=3),i=4", "a", {"b": "c@d=(e@f=1,g=2),h=3", "i": "4"}),
        ("x@t=(a)+(b@c=1)", "x", {"t": "(a)+(b@c=1)"}),
        ("ce@class-weights=prior", "ce", {"class_weights": "prior"}),
        ("my lab/own@home,x=1.py:loss@gamma=1", "my lab/own@home,x=1.py:loss", {"gamma": "1"}),
        ("own.py:Outer.Inner@a=b", "own.py:Outer.Inner", {"a": "b"}),
        ("my_lab.losses:vs_loss@gamma=0.3", "my_lab.losses:vs_loss", {"gamma": "0.3"}),
        ('vit@weights="a,b=(c).bin",rate=1', "vit", {"weights": "a,b=(c).bin", "rate": "1"}),
        ("vit@weights=a@b.bin", "vit", {"weights": "a@b.bin"}),
    ],
)
def test_a_name_and_its_options(text: str, name: str, options: dict[str, str]) -> None:
    assert split(text) == (name, options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ce@tau", "'tau' should read option=value"),
        ("ce@=1", "should read option=value"),
        ("ce@tau=1,tau=2", "'tau' is given twice"),
        ("ce@a-b=1,a_b=2", "'a_b' is given twice"),
        ("ce@a=(b", "parentheses or quotes do not match"),
        ("ce@a=b)", "parentheses or quotes do not match"),
        ('ce@a="b', "parentheses or quotes do not match"),
        (r'ce@a="\q"', "JSON"),
    ],
)
def test_a_text_that_means_nothing_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        split(text)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------ round trip


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (part(losses.cross_entropy), "loss"),
        (part(losses.focal, gamma=0.1 + 0.2), "loss"),
        (part(losses.focal, gamma=1e-30), "loss"),
        (part(ClassQuota, classes=3, images=2, steps=7), "sampler"),
        (part(InformativeSubset, arm="uniform", k=3), "sampler"),
        (part(sgd, lr=0.5, nesterov=True), "optimizer"),
        (part(adamw, beta2=0.999), "optimizer"),
        (part(steps, at=(0.5,), factor=1.0), "schedule"),
        (part(steps, at=(0.1, 0.2, 0.3)), "schedule"),
        (part(cosine, warmup=0.05), "schedule"),
        (part(Robust, layers=(0.5, 1.0), radius="shared"), "objective"),
        (part(Contrastive, loss=part(losses.supervised_contrastive, temperature=0.3)), "objective"),
        (part(Contrastive, loss=part(losses.negative_sampling, temperature=0.5), hidden=3), "objective"),
        (part(timm_model, timm_name="vit_tiny_patch16_224.tag", weights="timm", size=64), "model"),
    ],
    ids=lambda held: written(held) if isinstance(held, Part) else "",
)
@pytest.mark.parametrize("every", [False, True])
def test_written_then_read_gives_the_part_again(made: Part, kind: str, every: bool) -> None:
    assert read(written(made, every=every), kind) == made


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", METHODS)
def test_every_part_of_every_recipe_can_be_typed(name: str, protocol: str) -> None:
    for stage in recipe(name, None, protocol=protocol).stages:
        for kind in ("objective", "sampler", "optimizer", "schedule"):
            made = getattr(stage, kind)
            assert read(written(made), kind) == made
            assert read(written(made, every=True), kind) == made
        assert augmentation("+".join(f"({written(made)})" for made in stage.augmentation) or "none") == (
            stage.augmentation
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("odd")


CODE = (
    "def own(logits, target, *, first: str = 'a', second: str = 'b', number: float = 1.0):\n    return logits[:, 0]\n"
)
FILE_NAMES = st.text(ODD.replace("\n", "").replace("\t", "") + "@=,()", min_size=1, max_size=10).filter(
    lambda name: not name.startswith(("~", "longtail."))
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=FILE_NAMES, first=TEXTS, second=TEXTS, number=st.floats(allow_nan=False, allow_infinity=False))
@example(name="a@b=1,c=(d", first=",second=1", second='"', number=1.0)
@example(name="a+b", first=",\\", second="none", number=-0.0)
@example(name="n", first="\\", second='\\"', number=1e300)
@example(name="n", first='a,number="', second="b", number=2.0)
@example(name="n", first="(a)", second="(", number=2.0)
def test_odd_file_names_and_values_survive_the_round_trip(
    folder: pathlib.Path, name: str, first: str, second: str, number: float
) -> None:
    path = folder / f"{name}.py"
    path.write_text(CODE)
    made = named(f"{path}:own", first=first, second=second, number=number)
    assert read(written(made), "loss") == made
    assert read(written(made, every=True), "loss") == made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=FILE_NAMES, first=TEXTS, number=st.floats(allow_nan=False, allow_infinity=False))
@example(name='a"(', first=")", number=1e30)
@example(name="a,b=1", first="x", number=1.0)
def test_odd_values_of_a_part_within_a_part_survive_too(
    folder: pathlib.Path, name: str, first: str, number: float
) -> None:
    (folder / f"{name}.py").write_text(CODE)
    (folder / "outer.py").write_text(
        "from typing import Annotated\nfrom longtail.recipes.text import Loss\n\n"
        "def own(logits, target, *, inner: Loss = None, last: str = ''):\n    return logits[:, 0]\n"
    )
    inner = named(f"{folder}/{name}.py:own", first=first, number=number)
    made = named(f"{folder}/outer.py:own", inner=inner, last=first)
    assert read(written(made), "loss") == made


# ---------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("hint", "text", "expected"),
    [
        (int, "7", 7),
        (float, "1e-3", 0.001),
        (float, ".5", 0.5),
        (bool, "True", True),
        (str, "none", "none"),
        (int | None, "none", None),
        (int | None, "3", 3),
        (Literal["a", "b"], "b", "b"),
        (Literal["plain"] | float, "2", 2.0),
        (tuple[float, ...], "0.5", (0.5,)),
        (tuple[float, ...], "0.5, 1", (0.5, 1.0)),
        (tuple[int, ...], "", ()),
        (Any, "2", 2),
        (Any, "2.5", 2.5),
        (Any, "two", "two"),
    ],
)
def test_a_value_has_the_type_of_its_annotation(hint: Any, text: str, expected: Any) -> None:
    found = value(hint, text, "x")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("hint", "text", "words"),
    [
        (int, "7.5", "'7.5' is not a whole number"),
        (int, "٣", "is not a whole number"),
        (float, "nan", "is not a number"),
        (float, "1e999", "is not a number"),
        (bool, "yes", "is not true or false"),
        (Literal["a", "b"], "c", "'c' is not 'a' or 'b'"),
        (tuple[float, ...], "1,x", "'x' is not a number"),
    ],
)
def test_a_value_of_another_type_is_named(hint: Any, text: str, words: str) -> None:
    with pytest.raises(InputError, match=f"^x: .*{words}"):
        value(hint, text, "x")


def test_parenthesised_parts_nest() -> None:
    text = "contrastive@loss=(supervised-contrastive@temperature=0.2),hidden=7"
    assert read(text, "objective") == part(
        Contrastive, loss=part(losses.supervised_contrastive, temperature=0.2), hidden=7
    )
    assert read("contrastive@loss=negative-sampling", "objective")["loss"].function is losses.negative_sampling


def test_operations_are_joined_by_plus() -> None:
    assert augmentation("none") == ()
    assert augmentation("plain") == PLAIN
    assert augmentation("strong") == STRONG == (*PLAIN, part(AutoAugment), part(Cutout, size=16))
    assert augmentation("random-crop@padding=2+horizontal-flip") == (part(RandomCrop, padding=2), part(HorizontalFlip))
    assert augmentation("plain+(cutout@size=4)") == (*PLAIN, part(Cutout, size=4))
    with pytest.raises(InputError, match="did you mean 'cutout'"):
        augmentation("plain+cutuot")


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("focall", "loss", "unknown loss 'focall': did you mean 'focal'"),
        ("class-quote", "sampler", "did you mean 'class-quota'"),
        ("adamW2", "optimizer", "did you mean 'adamw'"),
        ("cosin", "schedule", "did you mean 'cosine'"),
        ("contrastiv", "objective", "did you mean 'contrastive'"),
        ("focal@gama=1", "loss", "did you mean 'gamma'"),
        ("sgd@lr=fast", "optimizer", "sgd, lr: 'fast' is not a number"),
        ("class-balanced@generator=1", "sampler", "given by training"),
        ("sgd", "schedule", "unknown schedule 'sgd'"),
    ],
)
def test_a_wrong_name_or_option_suggests_the_right_one(text: str, kind: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(text, kind)
    assert "\n" not in str(caught.value)


def test_names_may_be_typed_as_python_has_them() -> None:
    for typed in ("class_balanced", "ClassBalanced", "class-balanced", "longtail.samplers:ClassBalanced"):
        assert read(typed, "sampler") == part(ClassBalanced)
    assert short(part(losses.logit_adjusted_cross_entropy)) == "logit-adjusted-cross-entropy"


def test_parts_are_found_wherever_they_are() -> None:
    total = part(Total, terms=(part(losses.focal), part(Robust)), weights=(1, 1))
    assert [made.name.split(":")[1] for made in parts_in((total, 1, "x"))] == ["Total", "focal", "Robust"]


def test_an_option_without_annotation_takes_the_type_of_its_default(tmp_path: pathlib.Path) -> None:
    (tmp_path / "own.py").write_text(
        "def loss(logits, target, *, number=1, flag=False, text='a', nothing=None, kernel=(1, 2)):\n    return number\n"
    )
    read_own = functools.partial(read, kind="loss")
    made = read_own(f"{tmp_path}/own.py:loss@number=0.5,flag=true,text=7,nothing=3")
    assert dict(made.arguments) == {"number": 0.5, "flag": True, "text": "7", "nothing": 3, "kernel": (1, 2)}
    assert torch.tensor(made["kernel"]).tolist() == [1, 2]
