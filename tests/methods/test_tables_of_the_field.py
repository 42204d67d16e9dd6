"""The methods that the field's tables hold: what each is made of, and what it reduces to where the paper says so."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest
import torch
from torch import nn

import longtail
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.losses import class_weighted_cross_entropy, cross_entropy, ldam
from longtail.methods import METHODS, names
from longtail.methods.deferred import deferred
from longtail.methods.names import SUPPORTED
from longtail.models import cifar_resnet
from longtail.recipes import max_norm_sgd, part, segment, sgd, steps
from longtail.samplers import ClassBalanced, ProgressivelyBalanced, SquareRoot
from longtail.training.compute import Compute
from longtail.training.run import train

ROOT = pathlib.Path(__file__).parents[2]
CPU = Compute("cpu", "float32", compiled=False)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def stages(name: str) -> tuple[longtail.recipes.Stage, ...]:
    return longtail.recipe(name, None).stages


def test_ldam_drw_is_the_setting_of_the_facts() -> None:
    recipe = longtail.recipe("ldam-drw", None)
    assert recipe.model == part(cifar_resnet, depth=32, head="cosine", scale=1.0)
    before, after = recipe.stages
    assert (before.epochs, after.epochs, after.keeps_optimizer) == (160, 40, True)
    assert before.objective == part(ldam, max_margin=0.5, scale=30.0, beta=0.0)
    assert after.objective == part(ldam, max_margin=0.5, scale=30.0, beta=0.9999, relative=True)
    whole = [steps(epoch, 0.0, 200) for epoch in range(200)]
    found = [
        stage.schedule.build()(epoch, 0.0, stage.epochs) for stage in recipe.stages for epoch in range(stage.epochs)
    ]
    assert found == whole
    assert before.optimizer == after.optimizer == part(sgd)


def test_ldam_drw_on_digits_is_above_ce(digits: Data, tmp_path: pathlib.Path) -> None:
    """On the plain head that it once got it stayed at chance, which is 0.1."""
    found = {}
    for name in ("ce", "ldam-drw"):
        recipe = longtail.recipe(name, digits, epochs=15)
        found[name] = train(recipe, digits, seed=0, out=tmp_path / name, compute=CPU).report["accuracy"]
    assert found["ldam-drw"] > found["ce"] > 0.5


def test_a_model_without_a_cosine_head_is_refused_in_one_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("from torch import nn\n\ndef net(num_classes):\n    return nn.Linear(3, num_classes)\n")
    with pytest.raises(InputError, match="no options head and scale") as caught:
        longtail.recipe("ldam-drw", None, model=f"{path}:net")
    assert "\n" not in str(caught.value)


def test_a_loss_that_changes_to_itself_is_one_run(digits: Data, tmp_path: pathlib.Path) -> None:
    """Two stages with one objective give the network of one stage: momentum, rate and decay go on.

    Order and augmentation have a stream for each stage, so the comparison is made on whole batches without either.
    """
    changes = ("stages.0.augmentation=none", "stages.0.batch_size=335", "stages.1.augmentation=none")
    whole = longtail.recipe("ce", digits, epochs=10, changes=changes[:2])
    protocol = longtail.methods.protocol_for(digits, epochs=10)
    same = dataclasses.replace(whole, stages=deferred(protocol, part(cross_entropy), part(cross_entropy), 0.6))
    halves = tuple(dataclasses.replace(stage, augmentation=(), batch_size=335) for stage in same.stages)
    assert [stage.epochs for stage in halves] == [6, 4]
    losses = []
    for number, recipe in enumerate((whole, dataclasses.replace(same, stages=halves))):
        record = train(recipe, digits, seed=0, out=tmp_path / str(number), compute=CPU)
        losses.append([row["loss"] for row in record.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    forgetful = (halves[0], dataclasses.replace(halves[1], keeps_optimizer=False))
    record = train(dataclasses.replace(same, stages=forgetful), digits, seed=0, out=tmp_path / "mutant", compute=CPU)
    assert [row["loss"] for row in record.history] != pytest.approx(losses[0], rel=1e-4)


def test_deferred_weights_come_in_when_asked() -> None:
    (one,) = stages("class-weights@power=0.5")
    assert one.objective == part(class_weighted_cross_entropy, weight="inverse", power=0.5)
    before, after = stages("class-weights@weight=effective,beta=0.99,after=0.8")
    assert (before.objective, before.epochs) == (part(cross_entropy), 160)
    assert after.objective == part(class_weighted_cross_entropy, weight="effective", beta=0.99)
    assert after.schedule == part(segment, of=part(steps), before=160, total=200)
    with pytest.raises(InputError, match="from 0 to below 1"):
        stages("class-weights@after=1")


@pytest.mark.parametrize(
    "name",
    ["class-weights", "class-weights@weight=effective", "focal@gamma=0", "cb-focal@gamma=0", "vector-scaling"],
)
def test_losses_are_cross_entropy_at_equal_counts(name: str) -> None:
    counts = torch.full((4,), 30)
    source = torch.Generator().manual_seed(0)
    logits, target = torch.randn(12, 4, generator=source).double(), torch.randint(4, (12,), generator=source)
    loss = stages(name)[0].objective.build(counts=counts)
    assert torch.allclose(loss(logits, target), cross_entropy(logits, target), atol=1e-6)
    uneven = stages(name)[0].objective.build(counts=torch.tensor([300, 30, 9, 2]))
    assert torch.allclose(uneven(logits, target), cross_entropy(logits, target)) == (name == "focal@gamma=0")


def test_ldam_in_batches_weighs_as_torch_does() -> None:
    """The mean over a batch is that of torch's weighted mean; the form that is not relative differs."""
    counts = torch.tensor([300, 30, 9])
    source = torch.Generator().manual_seed(0)
    cosines = torch.rand(16, 3, generator=source).double() * 2 - 1
    target = torch.randint(3, (16,), generator=source)
    loss = ldam(cosines, target, counts=counts, beta=0.99, relative=True).mean()
    plain = ldam(cosines, target, counts=counts)
    weights = longtail.losses.effective_number_weights(counts, beta=0.99).double()[target]
    assert float(loss) == pytest.approx(float((weights * plain).sum() / weights.sum()), rel=1e-6)
    assert float(loss) != pytest.approx(float(ldam(cosines, target, counts=counts, beta=0.99).mean()), rel=1e-2)
    even = torch.full((3,), 7)
    assert torch.allclose(
        ldam(cosines, target, counts=even, beta=0.9, relative=True), ldam(cosines, target, counts=even), atol=1e-6
    )


def test_samplings_differ_from_ce_in_the_sampler_alone() -> None:
    (ce,) = stages("ce")
    for name, sampler in (
        ("class-balanced-sampling", ClassBalanced),
        ("square-root-sampling", SquareRoot),
        ("progressive-sampling", ProgressivelyBalanced),
    ):
        assert stages(name) == (dataclasses.replace(ce, sampler=part(sampler)),)


def test_progressive_sampling_moves_towards_balance(digits: Data, tmp_path: pathlib.Path) -> None:
    from longtail.training.prepare import prepare, untrained

    recipe = longtail.recipe("progressive-sampling", digits, epochs=10)
    network = untrained(recipe, digits, seed=0, compute=CPU)
    prepared = prepare(recipe, 0, network, digits, seed=0, compute=CPU)
    shares = []
    for epoch in (0, 9):
        drawn = []
        for _ in range(5):
            prepared.start_epoch(epoch)
            drawn.append(prepared.sampler.draw())
        index = torch.cat(drawn)
        shares.append(float((digits.train.target[index] == 9).double().mean()))
    natural = float(digits.counts[9]) / float(digits.counts.sum())
    assert shares[0] == pytest.approx(natural, abs=0.015)
    assert shares[1] == pytest.approx(0.1 * natural + 0.9 * 0.1, abs=0.025)


# MaxNorm.


def network(weight: torch.Tensor) -> nn.Module:
    held = nn.Module()
    held.head = nn.Linear(2, 3)
    with torch.no_grad():
        held.head.weight.copy_(weight)
    return held


WEIGHT = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, 2.0]])  # norms 5, 1 and 2


@pytest.mark.parametrize(("share", "radius"), [(0.0, 1.0), (0.25, 2.0), (1.0, 5.0)])
def test_max_norm_projects_onto_the_ball(share: float, radius: float) -> None:
    held = network(WEIGHT)
    optimizer = max_norm_sgd([held], lr=0.0, weight_decay=0.0, share=share)
    held.head.weight.grad = torch.zeros(3, 2)
    optimizer.step()
    lengths = WEIGHT.norm(dim=1, keepdim=True)
    assert torch.allclose(held.head.weight, WEIGHT * (radius / lengths).clamp(max=1.0))
    assert torch.allclose(held.head.weight.norm(dim=1), lengths.flatten().clamp(max=radius))


def test_max_norm_of_the_whole_range_is_sgd_while_weights_shrink() -> None:
    after = []
    for optimizer in (max_norm_sgd, sgd):
        held = network(WEIGHT)
        options = {"share": 1.0} if optimizer is max_norm_sgd else {}
        made = optimizer([held], lr=0.1, momentum=0.9, weight_decay=0.1, **options)
        for _ in range(5):
            held.head.weight.grad = 0.1 * WEIGHT
            made.step()
        after.append(held.head.weight.detach())
    assert torch.equal(*after)


def test_max_norm_says_what_it_needs() -> None:
    with pytest.raises(InputError, match="share"):
        max_norm_sgd([network(WEIGHT)], share=1.5)
    with pytest.raises(InputError, match="head has weights"):
        max_norm_sgd([nn.Linear(2, 2)])


def test_weight_balancing_keeps_its_ball_through_a_stage(digits: Data, tmp_path: pathlib.Path) -> None:
    from longtail import results
    from longtail.training.restore import restored

    recipe = longtail.recipe("weight-balancing@share=0", digits, epochs=4)
    first = dataclasses.replace(recipe, stages=recipe.stages[:1])
    norms = []
    for number, held in enumerate((first, recipe)):
        train(held, digits, seed=0, out=tmp_path / str(number), store=tmp_path / "stages", compute=CPU)
        head = restored(results.read(tmp_path / str(number)), digits).head
        norms.append(head.weight.detach().norm(dim=1))
    assert float(norms[1].max()) <= float(norms[0].min()) * (1 + 1e-5)


# What a method's page claims.


def test_what_is_called_supported_has_a_record_above_ce() -> None:
    def mean(folder: pathlib.Path) -> float:
        found = [json.loads(path.read_text())["report"]["accuracy"] for path in folder.rglob("record.json")]
        return sum(found) / len(found)

    for name, folder in SUPPORTED.items():
        assert name in METHODS
        if name != "ce":
            assert mean(ROOT / folder) > mean((ROOT / folder).parent / "ce"), name


def test_the_page_on_methods_has_every_method() -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    assert [name for name in METHODS if f"`{name}`" not in page] == []


def test_controls_are_methods_and_differ() -> None:
    for name, options in names.CONTROLS.items():
        typed = ",".join(f"{key}={value}" for key, value in options.items())
        assert stages(f"{name}@{typed}") != stages(name)


# What is as in the released code of BNS + IP-DPP.


def test_after_pretraining_photographs_get_the_released_setting() -> None:
    fine_tune = longtail.methods.PROTOCOLS["plain-200"].after_pretraining
    assert [made.name.rpartition(":")[2] for made in fine_tune] == [
        "RandomResizedCrop",
        "HorizontalFlip",
        "ColorJitter",
        "Grayscale",
        "GaussianBlur",
    ]
    assert [fine_tune[2][key] for key in ("brightness", "contrast", "saturation", "hue")] == [0.8, 0.8, 0.8, 0.2]
    for name in ("bns-ipdpp", "bns-probe", "released-probe", "ip-dpp"):
        stage = stages(name)[-1]
        assert (stage.augmentation, stage.optimizer["beta1"], stage.optimizer["beta2"]) == (fine_tune, 0.9, 0.95)
    (one,) = longtail.recipe("bns-ipdpp", None, augmentation="none").stages[1:]
    assert one.augmentation == ()


def test_cifar10_has_batches_and_draws_of_its_own(digits: Data) -> None:
    images = torch.zeros(len(digits.train), 3, 32, 32, dtype=torch.uint8)
    for name, batch, every in (("cifar10-lt", 1024, 10), ("cifar100-lt", 512, 20)):
        held = dataclasses.replace(digits, name=name, train=dataclasses.replace(digits.train, images=images))
        first, second = longtail.recipe("bns-ipdpp", held).stages
        assert (first.batch_size, first.optimizer["lr"]) == (batch, 1e-3 * batch / 256)
        assert second.sampler["resample_every"] == every


def test_the_released_probe_is_one_fixed_balanced_subset(digits: Data) -> None:
    from longtail.training.prepare import prepare, untrained

    recipe = longtail.recipe("released-probe@per-class=7", digits, epochs=10)
    held = prepare(recipe, 1, untrained(recipe, digits, seed=0, compute=CPU), digits, seed=0, compute=CPU)
    drawn = []
    for epoch in range(held.stage.epochs):
        held.start_epoch(epoch)
        drawn.append(sorted(held.sampler.draw().tolist()))
    assert all(one == drawn[0] for one in drawn)
    counts = torch.bincount(digits.train.target[torch.tensor(drawn[0])], minlength=10)
    assert torch.equal(counts, digits.counts.clamp(max=7))
    assert held.stage.trains == "classifier"
