"""Parts: a callable, its arguments and its source; their JSON, their addresses, and what building them binds."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import pytest
import torch
from torch import nn

from longtail import losses
from longtail.errors import InputError
from longtail.methods.names import recipe
from longtail.models import small_conv_net, timm_model
from longtail.recipes import Part, Total, constant, part, steps
from longtail.recipes.contract import Batch, Forward
from longtail.recipes.part import address, named, options_of, pathless, plain, revive
from longtail.recipes.text import read
from longtail.samplers import ClassQuota

COUNTS = torch.tensor([8, 5, 2])


# ------------------------------------------------------------------------------------------------------- arguments


def test_defaults_are_filled_in_so_two_spellings_are_one_address() -> None:
    spellings = [
        part(losses.logit_adjusted_cross_entropy),
        part(losses.logit_adjusted_cross_entropy, tau=1.0),
        part(losses.logit_adjusted_cross_entropy, tau=1),
        read("logit-adjusted-cross-entropy", "loss"),
        read("logit-adjusted-cross-entropy@tau=1", "loss"),
        read("longtail.losses:logit_adjusted_cross_entropy@tau=1.0", "loss"),
        part(functools.partial(losses.logit_adjusted_cross_entropy, tau=1.0)),
        revive(json.loads(json.dumps(plain(part(losses.logit_adjusted_cross_entropy))))),
    ]
    assert len({address(made) for made in spellings}) == 1
    assert len(set(spellings)) == 1
    assert address(part(losses.logit_adjusted_cross_entropy, tau=0.5)) != address(spellings[0])
    assert address(recipe("logit-adjustment", None)) != address(recipe("logit-adjustment@tau=1", None))  # the names
    stages = [recipe(name, None).stages for name in ("logit-adjustment", "logit-adjustment@tau=1")]
    assert address(stages[0]) == address(stages[1])


def test_the_order_in_which_options_are_given_does_not_matter() -> None:
    one, other = part(steps, factor=0.5, warmup=0.1), part(steps, warmup=0.1, factor=0.5)
    assert one == other
    assert address(one) == address(other)
    assert [key for key, _ in one.arguments] == ["warmup", "at", "factor"]  # that of the signature


@pytest.mark.parametrize("option", ["warmup", "at", "factor"])
def test_every_argument_enters_the_address(option: str) -> None:
    changed = {"warmup": 0.5, "at": (0.5,), "factor": 0.5}
    assert address(part(steps, **{option: changed[option]})) != address(part(steps))


def test_the_name_of_a_part_enters_the_address() -> None:
    plain_losses = [losses.cross_entropy, losses.balanced_softmax]
    assert len({address(part(loss)) for loss in plain_losses}) == 2


def test_nested_parts_enter_the_address() -> None:
    def total(gamma: float) -> Part:
        return part(Total, terms=(part(losses.focal, gamma=gamma),), weights=(1.0,))

    assert address(total(2.0)) == address(part(Total, terms=(part(losses.focal),), weights=(1,)))
    assert address(total(2.0)) != address(total(1.0))


def test_options_are_those_parameters_that_a_person_can_set() -> None:
    assert list(options_of(losses.focal)) == ["gamma", "label_smoothing", "ignore_index"]
    assert "generator" not in options_of(ClassQuota)
    assert {"classes", "images", "steps"} <= set(options_of(ClassQuota))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: part(losses.focal, gama=1.0), "did you mean 'gamma'"),
        (lambda: part(constant, gamma=1.0), "has no options; got 'gamma'"),
        (lambda: part(part(losses.focal), gama=1.0), "did you mean 'gamma'"),
        (lambda: part(losses.focal, gamma=torch.ones(2)), "not Tensor"),
        (lambda: part(losses.focal, gamma=torch.ones(2).numpy()), "not ndarray"),
        (lambda: part(functools.partial(losses.focal, torch.ones(2))), "keyword arguments only"),
    ],
)
def test_what_is_no_part_is_refused(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_a_part_compares_and_hashes_by_all_three() -> None:
    base = Part("a.py:f", (("x", 1),), "0" * 64)
    others = [
        Part("b.py:f", base.arguments, base.source),
        Part(base.name, (), base.source),
        Part(base.name, base.arguments),
    ]
    assert len({base, *others}) == 4


# ----------------------------------------------------------------------------------------------------------- files


def test_a_file_named_in_an_option_enters_by_its_contents(tmp_path: pathlib.Path) -> None:
    code = "def net(num_classes, *, weights: str = '', rate: float = 1.0):\n    return None\n"
    (tmp_path / "net.py").write_text(code)
    one, two, other = tmp_path / "one.bin", tmp_path / "two.bin", tmp_path / "other.bin"
    for path, content in ((one, b"same"), (two, b"same"), (other, b"different")):
        path.write_bytes(content)
    made = [named(f"{tmp_path}/net.py:net", weights=str(path)) for path in (one, two, other)]
    assert address(made[0]) == address(made[1])
    assert address(made[0]) != address(made[2])
    before = address(made[0])
    one.write_bytes(b"edited")
    assert address(made[0]) != before
    assert address(named(f"{tmp_path}/net.py:net", weights="tests/none.bin")) != before  # no file: the text itself


@pytest.mark.parametrize("table", ["w.txt", "./w.txt", "~/w.txt", ("w.txt", "more.txt"), ("more.txt", "w.txt")])
def test_however_it_is_named(table: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    pathlib.Path("own.py").write_text("def loss(logits, target, *, table='', other=''):\n    return logits[:, 0]\n")
    pathlib.Path("w.txt").write_text("one")
    pathlib.Path("word").write_text("one")
    made = named("own.py:loss", table=table, other="word")
    before = address(made)
    pathlib.Path("w.txt").write_text("two")
    assert address(made) != before
    before = address(made)
    pathlib.Path("word").write_text("two")
    assert address(made) == before
    for text in ("no such file.", "x." * 5000, "~nobody-has-this-name/w.txt", "nul\0.txt"):
        assert address(named("own.py:loss", table=text)) != before


def test_where_a_file_lies_is_no_part_of_a_description() -> None:
    one, other = (plain(part(timm_model, timm_name="test_vit", weights=path)) for path in ("./w.pth", "there/w.pth"))
    assert one != other
    assert pathless(one) == pathless(other)
    assert pathless(one) != pathless(plain(part(timm_model, timm_name="test_vit2", weights="./w.pth")))
    unknown = {"name": "longtail.models:of_another_version", "arguments": {"weights": "w.pth"}, "source": ""}
    for value in (unknown, {"name": 3, "arguments": {}, "source": ""}, {"name": "a"}, [1, None], "text"):
        assert pathless(value) == value


def test_a_name_that_happens_to_be_a_file_stays_a_name(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = address(part(timm_model, timm_name="test_vit"))
    monkeypatch.chdir(tmp_path)
    pathlib.Path("test_vit").write_bytes(b"not the model")
    assert address(part(timm_model, timm_name="test_vit")) == before


# ------------------------------------------------------------------------------------------------------------ JSON


def test_a_stored_part_of_ours_is_one_of_the_public_names() -> None:
    def stored(name: str) -> dict[str, Any]:
        return {"name": name, "arguments": {}, "source": ""}

    assert revive(stored("longtail.recipes:constant")) == part(constant)
    for name, words in (
        ("longtail.files:write_atomically", "names no part"),
        ("longtail.recipes.sources:find", "names no part"),
        ("longtail.recipes:sources", "unknown part"),
        ("longtail.recipes:__builtins__", "unknown part"),
        ("longtail.losses:torch", "unknown part"),
        ("longtail.losses:focall", "did you mean 'focal'"),
        ("longtail.losses:focal.__globals__", "unknown part"),
        ("os:system", "names no part"),
        ("torch:load", "names no part"),
        ("subprocess:Popen", "names no part"),
        ("focal", "names no part"),
        ("", "names no part"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            revive(stored(name))
        assert "\n" not in str(caught.value)


def test_a_stored_option_that_no_longer_exists_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'gamma'"):
        revive({"name": "longtail.losses:focal", "arguments": {"gama": 1.0}, "source": ""})


@pytest.mark.parametrize(
    "value",
    [
        {"name": "longtail.losses:focal"},
        {"name": "longtail.losses:focal", "arguments": [], "source": ""},
        {"name": 3, "arguments": {}, "source": ""},
        {"name": "longtail.losses:focal", "arguments": {}, "source": None},
        {"name": "longtail.losses:focal", "arguments": {}, "source": "", "more": 1},
        {"type": "Popen", "args": ["true"]},
    ],
    ids=str,
)
def test_what_is_no_stored_part_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="stored part"):
        revive(value)


def test_a_stored_foreign_part_is_data_until_its_owner_names_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "side_effect.py"
    path.write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n\n"
        "def loss_with_side_effect(logits, target):\n    return logits[:, 0]\n"
    )
    stored = {"name": f"{path}:loss_with_side_effect", "arguments": {}, "source": "0" * 64}
    made = revive(stored)
    assert plain(made) == stored
    address(made)  # an address needs no code
    for use in (lambda: made.function, made.build, lambda: made.with_arguments(x=1)):
        with pytest.raises(InputError, match="never run because a file names it: name it yourself") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()

    mine = named(f"{path}:loss_with_side_effect")  # now it is named, and runs
    assert (tmp_path / "ran").exists()
    assert revive(plain(mine)).function is mine.function
    with pytest.raises(InputError, match=r"another source .* it was edited since") as caught:
        assert made.function
    assert "\n" not in str(caught.value)


def test_a_source_that_is_only_claimed_does_not_make_a_module_run() -> None:
    stored = revive({"name": "os:system", "arguments": {"command": "true"}, "source": "package==1"})
    with pytest.raises(InputError, match="never run because a file names it"):
        stored.build()


# ------------------------------------------------------------------------------------------------------------ build


def test_a_part_binds_what_it_has_a_parameter_for(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "def asks(logits, target, *, counts, gamma=2.0):\n    return counts, gamma\n\n"
        "def plain(logits, target):\n    return 'plain'\n\n"
        "def everything(logits, target, **rest):\n    return sorted(rest)\n\n"
        "class Needs:\n    def __init__(self, target, nothing):\n        pass\n"
    )
    given = {"counts": COUNTS, "target": torch.zeros(3), "device": "cpu", "num_classes": 3}
    counts, gamma = named(f"{path}:asks", gamma=3.0).build(**given)(None, None)
    assert counts is COUNTS
    assert gamma == 3.0
    assert named(f"{path}:plain").build(**given)(None, None) == "plain"
    assert named(f"{path}:everything").build(**given)(None, None) == []
    with pytest.raises(InputError, match=r"needs 'nothing', which training does not give; it gives counts, device"):
        named(f"{path}:Needs").build(**given)


def test_what_a_part_is_called_with_later_is_never_bound() -> None:
    loss = part(losses.focal).build(counts=COUNTS, target=torch.tensor([0, 1, 2, 0]))
    target = torch.tensor([1, 1])
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(logits, target), losses.focal(logits, target))


def test_parts_among_the_arguments_are_built_from_the_same_values() -> None:
    made = part(Total, terms=(part(losses.balanced_softmax), part(losses.cross_entropy)), weights=(2.0, 1.0))
    objective = made.build(counts=COUNTS)
    generator = torch.Generator().manual_seed(0)
    network = part(small_conv_net).build(num_classes=3, channels=1, image_size=8, generator=generator).eval()
    images, target = torch.randn(2, 1, 8, 8, generator=generator), torch.tensor([0, 2])
    logits = network(images).logits
    expected = 2.0 * losses.balanced_softmax(logits, target, counts=COUNTS) + losses.cross_entropy(logits, target)
    found = objective(Forward(network), Batch(images, target, torch.arange(2)))
    torch.testing.assert_close(found, expected)


def test_an_object_in_a_file_is_copied_so_that_training_leaves_the_files_own_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "held.py").write_text(
        "import torch\n\nclass Scaled(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(torch.ones(()))\n"
        "    def forward(self, logits, target):\n        return self.scale * logits[:, 0]\n\nloss = Scaled()\n"
    )
    made = named(f"{tmp_path}/held.py:loss")
    first, second = made.build(counts=COUNTS), made.build(counts=COUNTS)
    assert isinstance(first, nn.Module)
    with torch.no_grad():
        first.scale.zero_()
    assert float(second.scale.detach()) == 1.0
    assert float(made.build().scale.detach()) == 1.0
