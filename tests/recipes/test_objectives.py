"""Objectives: each is its plain loss on what the network says, once a step, and its state is part of the run's."""

from __future__ import annotations

import copy
import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional

from longtail import losses
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.losses import robustness_loss
from longtail.methods import by_name, protocol_for
from longtail.models import Network, SmallConvNet
from longtail.recipes.contract import Batch, Chunk, Context, Forward, Setting
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
from longtail.recipes.optimizers import SGD, parameter_groups
from longtail.results import Record
from longtail.samplers import ClassBalanced
from longtail.training import checkpoint, loop
from longtail.training.compute import Compute

CPU = Compute(device="cpu", precision="float32", compiled=False)
COUNTS = torch.tensor([8, 5, 2])


class World:
    """A small network with two levels, a training set of 15 images, and a batch that is unlike it in its classes."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        model = SmallConvNet(widths=(4, 6))
        self.network: Network = model.build(num_classes=3, channels=1, image_size=8, generator=self.generator)
        self.target = torch.repeat_interleave(COUNTS)
        self.images = torch.randn(15, 1, 8, 8, generator=self.generator)
        # In train mode once, so that eval mode differs from it by running statistics that mean something.
        self.network(self.images)
        self.batch = Batch(
            torch.randn(6, 1, 8, 8, generator=self.generator), torch.tensor([0, 2, 0, 1, 0, 0]), torch.arange(6)
        )
        self.passes: list[tuple[Tensor, bool, bool]] = []

    def setting(self) -> Setting:
        return Setting(COUNTS, (4, 6), torch.device("cpu"), torch.Generator().manual_seed(5))

    def outputs(self, index: Tensor, augmented: bool, levels: bool) -> Iterator[Chunk]:
        self.passes.append((index, augmented, levels))
        for part in torch.split(index, 4):
            images = self.images[part].flip(3) if augmented else self.images[part]
            pyramid = self.clean(images)
            yield Chunk(pyramid if levels else pyramid[-1:], self.network.head(pyramid[-1]), self.target[part])

    def clean(self, images: Tensor) -> tuple[Tensor, ...]:
        """Levels in eval mode, without touching the network."""
        with torch.no_grad():
            return copy.deepcopy(self.network).eval().pyramid(images)

    def context(self) -> Context:
        return Context(0, 1, self.target, COUNTS, torch.Generator().manual_seed(6), self.outputs)

    def centroids(self, level: int = -1) -> Tensor:
        """By hand: class by class, in eval mode."""
        features = self.clean(self.images)[level]
        return torch.stack([features[self.target == c].mean(dim=0) for c in range(3)])

    def features(self, level: int = -1) -> Tensor:
        """Of the batch, in train mode, without touching the network."""
        return copy.deepcopy(self.network).pyramid(self.batch.images)[level]

    def logits(self) -> Tensor:
        return copy.deepcopy(self.network)(self.batch.images).logits

    def run(self, description: Any) -> Tensor:
        """The losses of the batch, without touching the network."""
        held = copy.deepcopy(self.network.state_dict())
        objective = description.build(self.setting())
        if hasattr(objective, "start_epoch"):
            objective.start_epoch(self.context())
        values: Tensor = objective(self.forward(objective), self.batch)
        self.network.load_state_dict(held)
        return values

    def forward(self, objective: Any = None, **changes: Any) -> Forward:
        return Forward(self.network, pyramid=getattr(objective, "pyramid", False), **changes)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def mean_over_classes(values: Tensor, target: Tensor, weights: list[float]) -> Tensor:
    """By hand, class by class."""
    present = sorted(set(target.tolist()))
    total = sum(weights[c] * values[target == c].mean() for c in present)
    return torch.as_tensor(total / sum(weights[c] for c in present))


# ---------------------------------------------------------------------------------------------------- on the logits

PLAIN_LOSSES: list[tuple[Any, Callable[[Tensor, Tensor], Tensor]]] = [
    (CrossEntropy(), losses.cross_entropy),
    (BalancedSoftmax(), lambda logits, target: losses.balanced_softmax(logits, target, counts=COUNTS)),
    (
        LogitAdjusted(tau=0.5),
        lambda logits, target: losses.logit_adjusted_cross_entropy(logits, target, counts=COUNTS, tau=0.5),
    ),
]


@pytest.mark.parametrize(("description", "plain"), PLAIN_LOSSES, ids=lambda value: type(value).__name__)
def test_supervised_is_the_plain_loss_on_the_logits(
    world: World, description: Any, plain: Callable[[Tensor, Tensor], Tensor]
) -> None:
    expected = plain(world.logits(), world.batch.target)
    torch.testing.assert_close(world.run(Supervised(description)), expected)
    torch.testing.assert_close(world.run(Supervised(description, weight=0.25)), 0.25 * expected)
    others = [other for other, _ in PLAIN_LOSSES if other != description]
    assert not any(torch.allclose(world.run(Supervised(other)), expected) for other in others)


@pytest.mark.parametrize(
    ("description", "weights"),
    [
        (CrossEntropy(weight="prior"), [1.0, 5 / 8, 2 / 8]),
        (CrossEntropy(weight="inverse"), [1 / 8, 1 / 5, 1 / 2]),
        (CrossEntropy(weight="effective", beta=0.9), [0.1 / (1 - 0.9**n) for n in (8, 5, 2)]),
    ],
    ids=lambda value: getattr(value, "weight", ""),
)
def test_the_mean_of_a_weighted_cross_entropy_is_pytorchs(
    world: World, description: CrossEntropy, weights: list[float]
) -> None:
    logits, target, weight = world.logits(), world.batch.target, torch.tensor(weights)
    mean = world.run(Supervised(description)).mean()
    torch.testing.assert_close(mean, functional.cross_entropy(logits, target, weight=weight))
    # Dividing by the number of images instead, as many code bases do, is another loss.
    undivided = functional.cross_entropy(logits, target, weight=weight / weight.max(), reduction="none").mean()
    assert not torch.allclose(mean, undivided)


# ------------------------------------------------------------------------------------------- on the representations

RADII = {
    Radius("none"): [0.0, 0.0, 0.0],
    Radius("shared", 0.5): [0.5, 0.5, 0.5],
    Radius("standard-error", 0.5): [0.5 / 8**0.5, 0.5 / 5**0.5, 0.5 / 2**0.5],
    Radius("learned", 0.5): [0.5, 0.5, 0.5],
    Radius("wasserstein", 0.3): [0.3, 0.3, 0.3],
    Radius("gaussian-kl", 0.5, sigma=0.7): [0.7, 0.7, 0.7],
}


@pytest.mark.parametrize("radius", RADII, ids=lambda radius: radius.kind)
@pytest.mark.parametrize(
    "changes",
    [{}, {"strict": True}, {"shift": 2.0}, {"temperature": 0.3}, {"class_weights": "prior"}, {"weight": 0.5}],
    ids=str,
)
def test_robust_is_the_class_mean_of_the_robustness_loss(world: World, radius: Radius, changes: dict[str, Any]) -> None:
    description = Robust(radius=radius, **changes)
    arguments = {key: changes[key] for key in ("strict", "shift", "temperature") if key in changes}
    target = world.batch.target
    values = robustness_loss(
        world.features(), target, centroids=world.centroids(), radii=torch.tensor(RADII[radius]), **arguments
    )
    weights = [1.0, 5 / 8, 2 / 8] if "class_weights" in changes else [1.0, 1.0, 1.0]
    expected = changes.get("weight", 1.0) * mean_over_classes(values, target, weights)
    found = world.run(description)
    # Every image carries the mean over classes, so that the loop's mean over images is that mean.
    torch.testing.assert_close(found, expected.expand(6))
    assert not torch.allclose(found.mean(), changes.get("weight", 1.0) * values.mean())  # the mean over images
    assert world.passes[0][0].tolist() == list(range(15))


def test_robust_gives_the_values_of_the_facts(world: World) -> None:
    centroids = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    features = torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0], [0.0, 0.5]])

    class Model(Forward):
        def levels(self, images: Tensor) -> tuple[Tensor, ...]:
            return (features,)

    def outputs(index: Tensor, augmented: bool, levels: bool) -> Iterator[Chunk]:
        yield Chunk((centroids,), centroids, torch.arange(3))

    counts, generator = torch.ones(3, dtype=torch.int64), torch.Generator()
    batch = Batch(torch.zeros(4, 1, 1, 1), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    for description, expected in (
        (Robust(radius=Radius("none")), 0.571501),
        (Robust(radius=Radius("none"), strict=True), 0.571501),
        (Robust(radius=Radius("shared", 1.0)), 0.953960),
        (Robust(radius=Radius("learned", 1.0)), 0.953960),
        (Robust(radius=Radius("shared", 1.0), shift=2.0), 1.564385),
        (Robust(radius=Radius("shared", 1.0), strict=True), 1.847387),
    ):
        objective: Any = description.build(Setting(counts, (2,), torch.device("cpu"), generator))
        objective.start_epoch(Context(0, 1, torch.arange(3), counts, generator, outputs))
        assert float(objective(Model(world.network), batch).detach().mean()) == pytest.approx(expected, abs=2e-6)


def test_several_layers_are_the_weighted_sum_of_single_ones(world: World) -> None:
    radius = Radius("shared", 0.5)
    shared = Robust(radius=radius, layers=(0.3, 0.7))
    target, radii = world.batch.target, torch.full((3,), 0.5)
    single = [
        mean_over_classes(
            robustness_loss(world.features(level), target, centroids=world.centroids(level), radii=radii),
            target,
            [1.0, 1.0, 1.0],
        )
        for level in (-2, -1)
    ]
    torch.testing.assert_close(world.run(shared).mean(), 0.3 * single[0] + 0.7 * single[1])
    torch.testing.assert_close(world.run(Robust(radius=radius, layers=(0.7,))).mean(), 0.7 * single[1])
    assert not torch.allclose(0.3 * single[0] + 0.7 * single[1], 0.7 * single[0] + 0.3 * single[1])  # the order counts
    assert [levels for _, _, levels in world.passes] == [True, False]  # lower levels are computed where they are used
    with pytest.raises(InputError, match="3 weights, but the network has 2 levels"):
        Robust(layers=(1.0, 1.0, 1.0)).build(world.setting())


def test_each_layer_has_its_own_learned_radii(world: World) -> None:
    objective: Any = Robust(layers=(0.5, 0.5)).build(world.setting())
    assert [tuple(parameter.shape) for parameter in objective.parameters()] == [(3,), (3,)]


def test_centroids_are_computed_once_an_epoch_or_every_so_many_steps(world: World) -> None:
    radius = Radius("none")
    for every, passes in ((0, [1, 1, 1, 1, 1]), (2, [1, 1, 2, 2, 3]), (1, [1, 2, 3, 4, 5])):
        world.passes.clear()
        objective: Any = Robust(radius=radius, refresh_steps=every).build(world.setting())
        objective.start_epoch(world.context())
        counted = []
        for _ in range(5):
            objective(world.forward(), world.batch)
            counted.append(len(world.passes))
        assert counted == passes
        objective.start_epoch(world.context())
        assert len(world.passes) == passes[-1] + 1
    with pytest.raises(InputError, match="refresh_steps"):
        Robust(refresh_steps=-1)


def test_refreshed_centroids_are_those_of_the_network_as_it_then_is(world: World) -> None:
    def change() -> None:
        with torch.no_grad():
            for parameter in world.network.backbone.parameters():
                parameter.mul_(1.3)

    def value(centroids: Tensor) -> Tensor:
        target = world.batch.target
        each = robustness_loss(world.features(), target, centroids=centroids, radii=torch.zeros(3))
        return mean_over_classes(each, target, [1.0, 1.0, 1.0])

    for every in (0, 1):
        objective: Any = Robust(radius=Radius("none"), refresh_steps=every).build(world.setting())
        objective.start_epoch(world.context())
        before = world.centroids()
        objective(world.forward(), world.batch)
        change()
        old, new = value(before), value(world.centroids())
        assert not torch.allclose(old, new)
        torch.testing.assert_close(objective(world.forward(), world.batch).mean(), new if every else old)


def test_the_pass_may_be_augmented_or_balanced(world: World) -> None:
    def value(index: Tensor, images: Tensor) -> Tensor:
        features, labels, target = world.clean(images)[-1], world.target[index], world.batch.target
        centroids = torch.stack([features[labels == c].mean(dim=0) for c in range(3)])
        each = robustness_loss(world.features(), target, centroids=centroids, radii=torch.zeros(3))
        return mean_over_classes(each, target, [1.0, 1.0, 1.0])

    none, everything = Radius("none"), torch.arange(15)
    plain = world.run(Robust(radius=none)).mean()
    augmented = world.run(Robust(radius=none, augmented=True)).mean()
    torch.testing.assert_close(augmented, value(everything, world.images.flip(3)))
    drawn = ClassBalanced(world.target, generator=torch.Generator().manual_seed(6)).draw()
    balanced = world.run(Robust(radius=none, centroid_pass="balanced")).mean()
    torch.testing.assert_close(balanced, value(drawn, world.images[drawn]))
    assert [(len(index), flag) for index, flag, _ in world.passes] == [(15, False), (15, True), (15, False)]
    assert len({round(float(number.detach()), 5) for number in (plain, augmented, balanced)}) == 3


def test_a_natural_pass_draws_nothing_from_the_generator(world: World) -> None:
    context = world.context()
    before = context.generator.get_state()
    for description, unchanged in ((Robust(), True), (Robust(centroid_pass="balanced"), False)):
        objective: Any = description.build(world.setting())
        objective.start_epoch(context)
        assert torch.equal(before, context.generator.get_state()) is unchanged


def test_centroids_have_no_gradient(world: World) -> None:
    objective: Any = Robust().build(world.setting())
    objective.start_epoch(world.context())
    assert not any(centroids.requires_grad for centroids in objective._centroids)


def test_learned_radii_are_parameters_without_decay_that_only_shrink(world: World) -> None:
    objective: Any = (Supervised(CrossEntropy()) + Robust(radius=Radius("learned", 0.8))).build(world.setting())
    (radii,) = objective.parameters()
    decayed, free = parameter_groups([world.network, objective], 0.1, decay_bias_and_norm=True)
    assert [id(radii)] == [id(parameter) for parameter in free["params"]]
    assert free["weight_decay"] == 0.0
    assert len(decayed["params"]) == len(list(world.network.parameters()))

    optimizer = SGD(lr=0.1, momentum=0.0, weight_decay=0.1).build([world.network, objective])
    objective.start_epoch(world.context())
    before = objective.history()["radii"]
    assert before == [0.8, 0.8, 0.8]
    objective(world.forward(), world.batch).mean().backward()
    optimizer.step()
    after = objective.history()["radii"]
    # The gradient in a radius is never negative.
    assert all(new <= old for new, old in zip(after, before, strict=True))
    assert sum(after) < sum(before)


def test_fixed_radii_are_no_parameters_and_no_history(world: World) -> None:
    for radius in RADII:
        objective: Any = Robust(radius=radius).build(world.setting())
        learned = radius.kind == "learned"
        assert (list(objective.parameters()) != []) is learned
        assert ("radii" in objective.history()) is learned


def test_without_weight_nothing_moves_the_radii(world: World) -> None:
    objective: Any = (Supervised(CrossEntropy()) + Robust(weight=0.0)).build(world.setting())
    optimizer = SGD(lr=0.1, momentum=0.9, weight_decay=0.1).build([world.network, objective])
    objective.start_epoch(world.context())
    objective(world.forward(), world.batch).mean().backward()
    optimizer.step()
    assert objective.history()["radii"] == [1.0, 1.0, 1.0]


# --------------------------------------------------------------------------------------------------- in the loop


def untimed(record: Record) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in record.history]


def test_learned_radii_are_in_the_history_and_survive_an_interruption(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    recipe = by_name("dro-lt@steps=5", protocol_for(digits, epochs=8))
    assert [stage.epochs for stage in recipe.stages] == [8, 3, 1]
    recipe = dataclasses.replace(recipe, stages=(dataclasses.replace(recipe.stages[0], epochs=1), *recipe.stages[1:]))
    whole = loop.train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU)
    rows = [row["radii"] for row in whole.history if "radii" in row]
    assert [row["stage"] for row in whole.history if "radii" in row] == ["represent"] * 3
    for before, after in zip([[1.0] * 10, *rows], rows, strict=False):
        assert all(new < old for new, old in zip(after, before, strict=True))

    def stop(progress: loop.Progress) -> None:
        if progress.epoch == 3:  # two of three epochs of the stage
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(recipe, digits, seed=1, out=tmp_path / "cut", compute=CPU, notify=stop)
    held, _ = checkpoint.load(next((tmp_path / "cut").rglob("progress.safetensors")))
    radii = next(tensor for name, tensor in held.items() if name.startswith("objective") and tensor.shape == (10,))
    assert functional.softplus(radii).tolist() == pytest.approx(rows[0], abs=1e-6)
    cut = loop.train(recipe, digits, seed=1, out=tmp_path / "cut", compute=CPU)
    assert untimed(cut) == untimed(whole)
    assert cut.report == whole.report


def test_a_robust_term_of_weight_0_leaves_the_stage_as_it_is(digits: Data, tmp_path: pathlib.Path) -> None:
    control = by_name("dro-lt@robust=0,steps=4", protocol_for(digits, epochs=2))
    supervised = control.stages[1].objective
    assert isinstance(supervised, Supervised)

    def with_term(weight: float) -> Any:
        objective = Sum((supervised, Robust(weight=weight, layers=(0.5, 0.5))))
        stages = (control.stages[0], dataclasses.replace(control.stages[1], objective=objective), control.stages[2])
        return dataclasses.replace(control, stages=stages)

    states, store = [], tmp_path / "stages"
    for name, recipe in (("control", control), ("zero", with_term(0.0)), ("one", with_term(1.0))):
        loop.train(recipe, digits, seed=1, out=tmp_path / name, store=store, compute=CPU)
        tensors, _ = checkpoint.load(tmp_path / name / "model.safetensors")
        states.append({key: value for key, value in tensors.items() if key.startswith("network.")})
    same = [[torch.equal(states[0][key], state[key]) for key in states[0]] for state in states]
    assert all(same[1])
    assert not all(same[2])


# -------------------------------------------------------------------------------------------------- forward passes


def test_each_forward_pass_is_computed_once_a_step(world: World) -> None:
    first: Any = world.network.backbone.stages[0]
    norm, calls = first[1], []
    first.register_forward_hook(lambda *_: calls.append(1))
    once = Supervised(CrossEntropy()) + Robust() + Supervised(BalancedSoftmax())
    for description in (once, once + Robust(layers=(0.5, 0.5))):
        objective: Any = description.build(world.setting())
        objective.start_epoch(world.context())
        calls.clear()
        tracked = int(norm.num_batches_tracked)
        objective(world.forward(objective), world.batch)
        assert len(calls) == 1
        assert int(norm.num_batches_tracked) == tracked + 1

    class Repeating(Forward):
        """A model without memory pays for every term and moves the running statistics each time."""

        def levels(self, images: Tensor) -> tuple[Tensor, ...]:
            self._images = None
            return super().levels(images)

    objective = once.build(world.setting())
    objective.start_epoch(world.context())
    calls.clear()
    objective(Repeating(world.network), world.batch)
    assert len(calls) == 3


def test_other_images_are_another_pass(world: World) -> None:
    model = world.forward()
    one = model(world.batch.images)
    assert model(world.batch.images).logits is one.logits
    other = model(world.images)
    assert other.features.shape == (15, 6)
    assert model.logits is other.logits
    assert not torch.equal(model(world.batch.images).features, other.features[:6])


def test_a_frozen_backbone_gets_no_gradient(world: World) -> None:
    objective: Any = Supervised(CrossEntropy()).build(world.setting())
    objective(world.forward(frozen_backbone=True), world.batch).mean().backward()
    assert all(parameter.grad is None for parameter in world.network.backbone.parameters())
    assert all(parameter.grad is not None for parameter in world.network.head.parameters())
    objective(world.forward(), world.batch).mean().backward()
    assert all(parameter.grad is not None for parameter in world.network.backbone.parameters())


def test_a_stage_of_the_classifier_leaves_the_backbone_and_its_statistics_alone(
    digits: Data, tmp_path: pathlib.Path
) -> None:
    protocol, store = protocol_for(digits, epochs=2), tmp_path / "stages"
    crt = by_name("crt", protocol)
    everything = dataclasses.replace(crt, stages=(crt.stages[0], dataclasses.replace(crt.stages[1], trains="all")))
    states = []
    for name, recipe in (("ce", by_name("ce", protocol)), ("crt", crt), ("mutant", everything)):
        loop.train(recipe, digits, seed=1, out=tmp_path / name, store=store, compute=CPU)
        states.append(checkpoint.load(tmp_path / name / "model.safetensors")[0])
    backbone = [key for key in states[0] if key.startswith("network.backbone.")]
    assert any(key.endswith("running_mean") for key in backbone)
    assert all(torch.equal(states[0][key], states[1][key]) for key in backbone)
    assert not any(torch.equal(states[0][key], states[2][key]) for key in backbone)
    heads = [key for key in states[0] if key.startswith("network.head.")]
    assert not any(torch.equal(states[0][key], states[1][key]) for key in heads)


# ------------------------------------------------------------------------------------------------------- two views


def two_views(world: World) -> Batch:
    views = torch.randn(2, 6, 1, 8, 8, generator=world.generator)
    return Batch(views, torch.tensor([0, 2, 0, 1, 0, 0]), torch.arange(6))


CONTRASTIVE: dict[Contrastive, Callable[..., Tensor]] = {
    Contrastive(loss="bns", temperature=0.4): losses.balanced_negative_sampling,
    Contrastive(loss="ns", temperature=0.4): losses.negative_sampling,
    Contrastive(loss="released-bns", temperature=0.4): losses.released_balanced_negative_sampling,
    Contrastive(loss="supcon", temperature=0.4): losses.supervised_contrastive,
}


@pytest.mark.parametrize("description", CONTRASTIVE, ids=lambda description: description.loss)
def test_contrastive_is_the_plain_loss_on_the_projections(world: World, description: Contrastive) -> None:
    batch = two_views(world)
    objective: Any = description.build(world.setting())
    # Both views in one pass, so that batch norm sees them together; the first view asks, the second answers.
    features = copy.deepcopy(world.network).backbone(torch.cat([batch.images[0], batch.images[1]]))
    hidden, _, out = objective.projector.layers
    embeddings = functional.relu(features @ hidden.weight.T + hidden.bias) @ out.weight.T + out.bias
    expected = CONTRASTIVE[description](embeddings[:6], embeddings[6:], batch.target, temperature=0.4)
    model = world.forward()
    found = objective(model, batch)
    torch.testing.assert_close(found, expected)
    assert model.logits is None  # so that no training accuracy is made up
    if description.loss in ("bns", "ns"):  # where queries and keys are not interchangeable
        swapped = CONTRASTIVE[description](embeddings[6:], embeddings[:6], batch.target, temperature=0.4)
        assert not torch.allclose(found, swapped)


def test_the_partners_of_bns_come_from_the_stages_generator(world: World) -> None:
    batch = two_views(world)
    description = Contrastive(positives=1, negatives=2)
    objective: Any = description.build(world.setting())
    embeddings = objective.projector(copy.deepcopy(world.network).backbone(batch.images.flatten(0, 1)))

    def expected(seed: int) -> Tensor:
        return losses.balanced_negative_sampling(
            *embeddings.chunk(2),
            batch.target,
            temperature=0.5,
            positives=1,
            negatives=2,
            generator=torch.Generator().manual_seed(seed),
        )

    torch.testing.assert_close(objective(world.forward(), batch), expected(5))
    assert not torch.allclose(expected(5), expected(6))


def test_a_contrastive_stage_needs_two_views(world: World) -> None:
    objective: Any = Contrastive().build(world.setting())
    views = two_views(world)
    with pytest.raises(InputError, match="two views"):
        objective(world.forward(), world.batch)
    with pytest.raises(InputError, match="two views"):
        objective(world.forward(), dataclasses.replace(views, images=torch.cat([views.images, views.images[:1]])))


def test_the_projector_starts_alike_for_a_seed_and_is_trained(world: World) -> None:
    def built(seed: int) -> Any:
        return Contrastive().build(dataclasses.replace(world.setting(), generator=torch.Generator().manual_seed(seed)))

    one, again, other = (built(seed).projector.layers[0].weight for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    objective = built(1)
    objective(world.forward(), two_views(world)).mean().backward()
    assert all(parameter.grad is not None for parameter in objective.projector.parameters())
    assert all(parameter.grad is None for parameter in world.network.head.parameters())


# ------------------------------------------------------------------------------------------------------------ sums


def test_a_sum_is_written_with_plus(world: World) -> None:
    a, b, c = Supervised(CrossEntropy()), Supervised(BalancedSoftmax(), weight=0.5), Robust(radius=Radius("none"))
    assert a + b + c == Sum((a, b, c))
    assert a + (b + c) == Sum((a, b, c))
    torch.testing.assert_close(world.run(a + b + c), world.run(a) + world.run(b) + world.run(c))


def test_a_sum_passes_on_what_its_parts_need(world: World) -> None:
    a, b = Supervised(CrossEntropy()), Robust(layers=(0.5, 0.5))
    objective: Any = (a + b).build(world.setting())
    assert objective.pyramid
    flat: Any = (a + Robust()).build(world.setting())
    assert not flat.pyramid
    objective.start_epoch(world.context())
    assert len(world.passes) == 1
    assert objective.history() == {"radii": [1.0, 1.0, 1.0]}
    other: Any = (a + b).build(world.setting())
    with torch.no_grad():
        objective.get_parameter("1.radii1.free").add_(1.0)
    assert other.history() != objective.history()
    other.load_state_dict(objective.state_dict())
    assert other.history() == objective.history()


@pytest.mark.parametrize(
    "description",
    [
        *(Supervised(loss) for loss, _ in PLAIN_LOSSES),
        Supervised(CrossEntropy(weight="prior")) + Robust(layers=(0.5, 0.5)),
        Robust(radius=Radius("shared"), strict=True),
        *CONTRASTIVE,
        Contrastive(positives=2, negatives=3),
    ],
    ids=lambda description: type(description).__name__,
)
def test_no_objective_waits_for_the_device_in_a_step(world: World, description: Any) -> None:
    objective = description.build(world.setting())
    if hasattr(objective, "start_epoch"):
        objective.start_epoch(world.context())
    batch = two_views(world) if isinstance(description, Contrastive) else world.batch
    with FakeTensorMode(allow_non_fake_inputs=True):  # values do not exist here, so nothing can ask for one
        images, target = torch.randn(batch.images.shape), torch.zeros(6, dtype=torch.int64)
        assert objective(world.forward(objective), Batch(images, target, target)).shape == (6,)


def test_an_objective_that_waits_is_noticed(world: World) -> None:
    class Waiting:
        def build(self, setting: Setting) -> Callable[[Tensor, Tensor], Tensor]:
            return lambda logits, target: logits[:, 0] * float(logits.detach().sum())

    objective: Any = Supervised(Waiting()).build(world.setting())
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(DataDependentOutputException):
        objective(world.forward(), dataclasses.replace(world.batch, images=torch.randn(6, 1, 8, 8)))


# -------------------------------------------------------------------------------------------------- a user's own loss

OWN = """
import torch

def loss(logits, target):
    return torch.nn.functional.cross_entropy(logits, target, reduction="none")

def with_counts(logits, target, *, counts):
    return torch.nn.functional.cross_entropy(logits + counts.log(), target, reduction="none")

def reduced(logits, target):
    return loss(logits, target).mean()

def number(logits, target):
    return 1.0

def broken(logits, target):
    return logits[7, target]
"""


@pytest.fixture
def own(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_users_loss_is_called_with_what_it_takes(world: World, own: pathlib.Path) -> None:
    plain, counted = (world.run(Supervised(OwnLoss(f"{own}:{name}"))) for name in ("loss", "with_counts"))
    torch.testing.assert_close(plain, world.run(Supervised(CrossEntropy())))
    torch.testing.assert_close(counted, world.run(Supervised(BalancedSoftmax())))


def test_an_edited_loss_is_another_one(world: World, own: pathlib.Path) -> None:
    before = OwnLoss(f"{own}:loss")
    assert OwnLoss(f"{own}:loss") == before
    own.write_text(OWN + "\n# a change\n")
    after = OwnLoss(f"{own}:loss")
    assert after != before
    assert len(after.source) == 64
    with pytest.raises(InputError, match="source has changed"):
        before.build(world.setting())
    after.build(world.setting())


def test_an_edit_is_seen_where_the_loss_is_defined_not_only_where_it_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_definitions.py").write_text(OWN)
    (tmp_path / "named.py").write_text("from own_definitions import loss")
    (tmp_path / "wrapped.py").write_text(
        "import torch\n\n@torch.no_grad()\ndef loss(logits, target):\n    return logits[:, 0]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = [OwnLoss(f"{tmp_path / name}.py:loss").source for name in ("named", "wrapped")]
    for name in ("own_definitions", "wrapped"):
        path = tmp_path / f"{name}.py"
        path.write_text(path.read_text() + "\n# a change\n")
    after = [OwnLoss(f"{tmp_path / name}.py:loss").source for name in ("named", "wrapped")]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_a_described_loss_is_not_run_before_it_is_built(world: World, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "side.py"
    path.write_text(f"{OWN}\nimport pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    stored = OwnLoss(f"{path}:loss", source="0" * 64)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(InputError, match="source has changed"):
        stored.build(world.setting())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reduced", r"returned \(\) for 3 images: it must return \(N,\)"),
        ("number", "returned float for 3 images"),
        ("broken", r"failed on 3 images: IndexError: .* \(own\.py, line 17\)"),
        ("los", "did you mean 'loss'"),
    ],
)
def test_an_unusable_loss_is_refused(world: World, own: pathlib.Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        OwnLoss(f"{own}:{name}").build(world.setting())


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("builtins:sum", "its source cannot be read"),
        (":loss", "name a module"),
        ("..a:loss", "name a module"),
        ("no_such_module:loss", "no_such_module"),
        ("none.py:loss", "no Python file"),
    ],
)
def test_what_cannot_be_read_is_refused(where: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        OwnLoss(where)


def test_a_file_that_fails_is_named_with_its_line(tmp_path: pathlib.Path) -> None:
    for text, words in (
        ("def loss(:", r"SyntaxError: .*bad\.py, line 1"),
        ("\nx = nothing", r"NameError: .*bad\.py, line 2"),
        ("import no_such_module", r"ModuleNotFoundError: .*bad\.py, line 1"),
    ):
        (tmp_path / "bad.py").write_text(text)
        with pytest.raises(InputError, match=words):
            OwnLoss(f"{tmp_path / 'bad.py'}:loss")


def test_a_file_may_define_descriptions_of_its_own(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "described.py"
    path.write_text(
        "from __future__ import annotations\nimport dataclasses\n\n\n"
        "@dataclasses.dataclass(frozen=True)\nclass Mine:\n    size: int = 1\n\n\n" + OWN
    )
    assert OwnLoss(f"{path}:loss").source
