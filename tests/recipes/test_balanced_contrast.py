"""Targets that lie evenly and go to the nearest classes; subclasses of the stated sizes; first heads; sharp steps."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pathlib

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import longtail
from longtail import results
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.models import CosineHead
from longtail.rebalance import NearestClassMean
from longtail.recipes import Stage, Subclassed, Targeted
from longtail.recipes.balanced_contrast import cosine_k_means, even_targets
from longtail.recipes.part import plain
from longtail.training.compute import Compute
from longtail.training.passes import outputs
from longtail.training.prepare import Prepared, prepare, untrained
from longtail.training.restore import restored
from longtail.training.run import train

CPU = Compute("cpu", "float32", compiled=False)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prepared(name: str, data: Data, position: int = 0, **options: object) -> Prepared:
    recipe = longtail.recipe(name, data, **options)
    network = untrained(recipe, data, seed=0, compute=CPU)
    return prepare(recipe, position, network, data, seed=0, compute=CPU)


def energy(points: Tensor) -> float:
    """The quantity that targets minimise, without each point's term with itself, which is constant."""
    itself = torch.eye(len(points), dtype=torch.bool)
    return float((points @ points.T / 0.07).masked_fill(itself, -torch.inf).logsumexp(1).mean())


@pytest.mark.parametrize(("number", "width"), [(4, 3), (10, 16), (9, 4)])
def test_targets_lie_evenly(number: int, width: int) -> None:
    found = even_targets(number, width, generator=generator())
    assert torch.allclose(found.norm(dim=1), torch.ones(number), atol=1e-5)
    random = functional.normalize(torch.randn(200, number, width, generator=generator(1)), dim=2)
    assert energy(found) < min(energy(one) for one in random)
    if number <= width + 1:
        off = (found @ found.T)[~torch.eye(number, dtype=torch.bool)]
        assert torch.allclose(off, torch.full_like(off, -1 / (number - 1)), atol=2e-2)


def test_targets_go_to_the_classes_that_match_best(digits: Data) -> None:
    held = prepared("tsc@after=0", digits)
    objective = held.objective
    assert isinstance(objective, Targeted)
    held.start_epoch(0)
    assert sorted(objective.assigned.tolist()) == list(range(10))
    score = (objective.means @ objective.targets.T).double()
    found = float(score[torch.arange(10), objective.assigned].sum())
    for one, other in itertools.combinations(range(10), 2):
        swapped = objective.assigned.clone()
        swapped[[one, other]] = swapped[[other, one]]
        assert float(score[torch.arange(10), swapped].sum()) <= found + 1e-6
    assert found > float(score.trace()) - 1e-6  # the mutant that never assigns


def test_the_pull_to_the_target_is_its_equation_and_begins_half_way(digits: Data) -> None:
    held = prepared("tsc", digits, epochs=4)
    objective = held.objective
    assert isinstance(objective, Targeted)
    batch = held.step.batch(torch.arange(12))
    queries, keys = torch.randn(2, 12, 128, generator=generator())

    def value() -> Tensor:
        held.generators["pairs"].manual_seed(3)
        return objective.pair_losses(queries, keys, batch)

    held.start_epoch(0)
    early = value()
    held.start_epoch(held.stage.epochs // 2)
    late = value()
    logits = functional.normalize(queries, dim=1) @ objective.targets.T / 0.07
    pull = -logits.log_softmax(dim=1)[torch.arange(12), objective.assigned[batch.target]]
    assert torch.allclose(late - early, 0.2 * pull, atol=1e-4)
    held.start_epoch(held.stage.epochs // 2 - 1)
    assert torch.equal(value(), early)


def test_subclasses_have_the_stated_number_and_stay_within_their_class(digits: Data) -> None:
    held = prepared("sbcl@every=2,delta=10", digits, epochs=5)
    objective = held.objective
    assert isinstance(objective, Subclassed)
    held.start_epoch(0)
    assert torch.equal(objective.subclass, digits.train.target)
    held.start_epoch(2)
    smallest = int(digits.counts.min())
    for number, count in enumerate(digits.counts.tolist()):
        own = objective.subclass[digits.train.target == number]
        assert len(own.unique()) <= max(1, count // max(smallest, 10))
        rest = objective.subclass[digits.train.target != number]
        assert not set(own.tolist()) & set(rest.tolist())
    assert len(objective.subclass[digits.train.target == 0].unique()) > 1
    assert float(objective.spread.mean()) == pytest.approx(1.0, abs=1e-5)
    before = objective.subclass.clone()
    held.start_epoch(3)
    assert torch.equal(objective.subclass, before)


def test_k_means_finds_planted_clusters() -> None:
    centres = functional.normalize(torch.eye(3, 6), dim=1)
    points = functional.normalize(centres.repeat(20, 1) + 0.05 * torch.randn(60, 6, generator=generator()), dim=1)
    best = max(
        (cosine_k_means(points, 3, generator=generator(seed)) for seed in range(5)),
        key=lambda found: -float(found[1].mean()),
    )
    label = torch.arange(60) % 3
    table = torch.zeros(3, 3).index_put_((label, best[0]), torch.ones(60), accumulate=True)
    assert sorted(table.flatten().tolist()) == [0.0] * 6 + [20.0] * 3


def test_both_survive_an_interruption(digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from longtail.training import loop

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    for name in ("tsc@after=0.25", "sbcl@every=1"):
        recipe = longtail.recipe(name, digits, epochs=2)
        recipe = dataclasses.replace(recipe, stages=recipe.stages[:1])
        whole = train(recipe, digits, seed=0, out=tmp_path / f"{name}-whole", compute=CPU)

        def stop(now: loop.Progress) -> None:
            if now.epoch == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, digits, seed=0, out=tmp_path / name, compute=CPU, notify=stop)
        again = train(recipe, digits, seed=0, out=tmp_path / name, compute=CPU)
        assert [row["loss"] for row in again.history] == [row["loss"] for row in whole.history]


# A first head.


def test_lift_begins_at_the_class_means(digits: Data, tmp_path: pathlib.Path) -> None:
    """Without a step the classifier has the directions of the means; the control has others."""
    cosine = []
    for number, name in enumerate(("lift", "lift@means=false")):
        still = longtail.recipe(name, digits, epochs=1, changes=["stages.0.optimizer.lr=0"])
        train(still, digits, seed=0, out=tmp_path / str(number), compute=CPU)
        network = restored(results.read(tmp_path / str(number)), digits)
        head = network.head
        assert isinstance(head, CosineHead)
        assert head.scale == 25.0
        found = outputs(network, digits.train, digits)
        means = NearestClassMean().fit(found.features, digits.train.target).means_
        cosine.append(functional.cosine_similarity(head.weight.detach(), means))
    assert torch.allclose(cosine[0], torch.ones(10), atol=1e-4)
    assert float(cosine[1].mean()) < 0.9


def test_fields_that_came_later_are_left_out_of_what_was_stored_before() -> None:
    stage = longtail.recipe("ce", None).stages[0]
    assert not {"class_means", "sharpness"} & plain(stage).keys()
    assert "trials" not in plain(longtail.recipe("ce", None))
    assert plain(dataclasses.replace(stage, sharpness=0.1))["sharpness"] == 0.1
    assert {field.name for field in dataclasses.fields(Stage)} > plain(stage).keys()


# Sharpness-aware steps.


def test_a_sharp_step_takes_the_gradient_uphill(digits: Data) -> None:
    rho, index = 0.3, torch.arange(32)
    held = prepared("sam@rho=0.3", digits, augmentation="none", changes=["stages.0.optimizer=sgd@momentum=0,lr=0.05"])
    network = copy.deepcopy(held.step.network)
    moving = list(network.parameters())
    batch = held.step.batch(index)

    def loss() -> Tensor:
        return functional.cross_entropy(network(batch.images).logits, batch.target)

    first = torch.autograd.grad(loss(), moving)
    statistics = [held_.clone() for held_ in network.buffers()]
    length = torch.cat([one.flatten() for one in first]).norm()
    start = [weight.detach().clone() for weight in moving]
    with torch.no_grad():
        for weight, slope in zip(moving, first, strict=True):
            weight += rho * slope / length
    second = torch.autograd.grad(loss(), moving)
    held.step.rate(1.0)
    held.step(index)
    decay = 2e-4
    for weight, begun, slope, plain_ in zip(held.step.network.parameters(), start, second, first, strict=True):
        assert torch.allclose(weight, begun - 0.05 * (slope + decay * begun), atol=2e-6)
        assert float((slope - plain_).abs().max()) >= 0
    assert any(not torch.allclose(a, b, atol=1e-4) for a, b in zip(first, second, strict=True))
    floating = [a for a in held.step.network.buffers() if a.is_floating_point()]
    wanted = [a for a in statistics if a.is_floating_point()]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(floating, wanted, strict=True))  # moved once


def test_no_sharpness_is_the_step_as_it_was(digits: Data, tmp_path: pathlib.Path) -> None:
    plainly = longtail.recipe("ce", digits, epochs=1)
    sharp = longtail.recipe("sam@rho=0.1", digits, epochs=1)
    losses = [
        train(recipe, digits, seed=0, out=tmp_path / str(number), compute=CPU).history[0]["loss"]
        for number, recipe in enumerate((plainly, sharp, dataclasses.replace(sharp, stages=plainly.stages)))
    ]
    assert losses[0] == losses[2] != losses[1]
    for text, words in (("sam@rho=0", "above 0"), ("sam@of=tuned", "tuned@of=sam")):
        with pytest.raises(InputError, match=words):
            longtail.recipe(text, None)
    assert [stage.sharpness for stage in longtail.recipe("sam@of=crt", None).stages] == [0.2, 0.0]
