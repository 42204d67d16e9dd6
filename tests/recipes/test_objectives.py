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
from longtail.methods import recipe as recipe_of
from longtail.models import Network, small_conv_net
from longtail.recipes import Contrastive, Part, Recipe, Robust, Total, part, sgd
from longtail.recipes.contract import Batch, Chunk, Context, Forward
from longtail.recipes.objectives import Supervised, check_built, objective_of
from longtail.recipes.optimizers import parameter_groups
from longtail.recipes.part import named
from longtail.recipes.text import written
from longtail.results import Record
from longtail.samplers import ClassBalanced
from longtail.training import checkpoint, loop
from longtail.training.compute import Compute
from longtail.training.run import train

CPU = Compute(device="cpu", precision="float32", compiled=False)
COUNTS = torch.tensor([8, 5, 2])


class World:
    """A small network with two levels, a training set of 15 images, and a batch that is unlike it in its classes."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        model = part(small_conv_net, widths=(4, 6))
        self.network: Network = model.build(num_classes=3, channels=1, image_size=8, generator=self.generator)
        self.target = torch.repeat_interleave(COUNTS)
        self.images = torch.randn(15, 1, 8, 8, generator=self.generator)
        # In train mode once, so that eval mode differs from it by running statistics that mean something.
        self.network(self.images)
        self.batch = Batch(
            torch.randn(6, 1, 8, 8, generator=self.generator), torch.tensor([0, 2, 0, 1, 0, 0]), torch.arange(6)
        )
        self.passes: list[tuple[Tensor, bool, bool]] = []

    def build(self, made: Part, **changes: Any) -> Any:
        """The objective of a part, from what training hands over."""
        given: dict[str, Any] = {
            "target": self.target,
            "counts": COUNTS,
            "num_classes": 3,
            "widths": (4, 6),
            "device": torch.device("cpu"),
            "generator": torch.Generator().manual_seed(5),
            "projector_generator": torch.Generator().manual_seed(4),
        }
        return objective_of(made.build(**{**given, **changes}))

    def outputs(self, index: Tensor, augmented: bool, levels: bool) -> Iterator[Chunk]:
        self.passes.append((index, augmented, levels))
        for some in torch.split(index, 4):
            images = self.images[some].flip(3) if augmented else self.images[some]
            pyramid = self.clean(images)
            yield Chunk(pyramid if levels else pyramid[-1:], self.network.head(pyramid[-1]), self.target[some])

    def trained(self, features: Tensor) -> Tensor:
        return self.network.head(features)

    def clean(self, images: Tensor) -> tuple[Tensor, ...]:
        """Levels in eval mode, without touching the network."""
        with torch.no_grad():
            return copy.deepcopy(self.network).eval().pyramid(images)

    def context(self) -> Context:
        return Context(0, 1, self.target, COUNTS, torch.Generator().manual_seed(6), self.outputs, self.trained)

    def centroids(self, level: int = -1) -> Tensor:
        """By hand: class by class, in eval mode."""
        features = self.clean(self.images)[level]
        return torch.stack([features[self.target == c].mean(dim=0) for c in range(3)])

    def features(self, level: int = -1) -> Tensor:
        """Of the batch, in train mode, without touching the network."""
        return copy.deepcopy(self.network).pyramid(self.batch.images)[level]

    def logits(self) -> Tensor:
        return copy.deepcopy(self.network)(self.batch.images).logits

    def run(self, made: Part) -> Tensor:
        """The losses of the batch, without touching the network."""
        held = copy.deepcopy(self.network.state_dict())
        objective = self.build(made)
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
    (part(losses.cross_entropy), losses.cross_entropy),
    (part(losses.balanced_softmax), lambda logits, target: losses.balanced_softmax(logits, target, counts=COUNTS)),
    (
        part(losses.logit_adjusted_cross_entropy, tau=0.5),
        lambda logits, target: losses.logit_adjusted_cross_entropy(logits, target, counts=COUNTS, tau=0.5),
    ),
]


@pytest.mark.parametrize(
    ("description", "plain"), PLAIN_LOSSES, ids=lambda value: value.name if isinstance(value, Part) else ""
)
def test_supervised_is_the_plain_loss_on_the_logits(
    world: World, description: Any, plain: Callable[[Tensor, Tensor], Tensor]
) -> None:
    expected = plain(world.logits(), world.batch.target)
    torch.testing.assert_close(world.run(description), expected)
    torch.testing.assert_close(world.run(part(Total, terms=(description,), weights=(0.25,))), 0.25 * expected)
    others = [other for other, _ in PLAIN_LOSSES if other != description]
    assert not any(torch.allclose(world.run(other), expected) for other in others)


EFFECTIVE = [0.1 / (1 - 0.9**n) for n in (8, 5, 2)]


@pytest.mark.parametrize(
    ("description", "weights"),
    [
        (part(losses.class_weighted_cross_entropy, weight="prior"), [1.0, 5 / 8, 2 / 8]),
        (part(losses.class_weighted_cross_entropy, weight="inverse"), [1 / 8, 1 / 5, 1 / 2]),
        (
            part(losses.class_weighted_cross_entropy, weight="effective", beta=0.9),
            [0.1 / (1 - 0.9**n) for n in (8, 5, 2)],
        ),
    ],
    ids=lambda value: value["weight"] if isinstance(value, Part) else "",
)
def test_the_mean_of_a_weighted_cross_entropy_is_pytorchs(
    world: World, description: Part, weights: list[float]
) -> None:
    logits, target, weight = world.logits(), world.batch.target, torch.tensor(weights)
    mean = world.run(description).mean()
    torch.testing.assert_close(mean, functional.cross_entropy(logits, target, weight=weight))
    # Dividing by the number of images instead, as many code bases do, is another loss.
    undivided = functional.cross_entropy(logits, target, weight=weight / weight.max(), reduction="none").mean()
    assert not torch.allclose(mean, undivided)


# ------------------------------------------------------------------------------------------- on the representations

RADII: dict[tuple[Any, ...], list[float]] = {
    ("none", 1.0, 1.0): [0.0, 0.0, 0.0],
    ("shared", 0.5, 1.0): [0.5, 0.5, 0.5],
    ("standard-error", 0.5, 1.0): [0.5 / 8**0.5, 0.5 / 5**0.5, 0.5 / 2**0.5],
    ("learned", 0.5, 1.0): [0.5, 0.5, 0.5],
    ("wasserstein", 0.3, 1.0): [0.3, 0.3, 0.3],
    ("gaussian-kl", 0.5, 0.7): [0.7, 0.7, 0.7],
}


def robust(kind: str = "learned", epsilon: float = 1.0, sigma: float = 1.0, **options: Any) -> Part:
    return part(Robust, radius=kind, epsilon=epsilon, sigma=sigma, **options)


def total(*terms: Part, weights: tuple[float, ...] | None = None) -> Part:
    return part(Total, terms=terms, weights=weights or (1.0,) * len(terms))


@pytest.mark.parametrize("radius", RADII, ids=lambda radius: radius[0])
@pytest.mark.parametrize(
    "changes",
    [{}, {"strict": True}, {"shift": 2.0}, {"temperature": 0.3}, {"class_weights": "prior"}, {"weight": 0.5}],
    ids=str,
)
def test_robust_is_the_class_mean_of_the_robustness_loss(
    world: World, radius: tuple[Any, ...], changes: dict[str, Any]
) -> None:
    options = {key: value for key, value in changes.items() if key != "weight"}
    description = total(robust(*radius, **options), weights=(changes.get("weight", 1.0),))
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
        (robust("none"), 0.571501),
        (robust("none", strict=True), 0.571501),
        (robust("shared", 1.0), 0.953960),
        (robust("learned", 1.0), 0.953960),
        (robust("shared", 1.0, shift=2.0), 1.564385),
        (robust("shared", 1.0, strict=True), 1.847387),
    ):
        objective: Any = description.build(counts=counts, widths=(2,), device=torch.device("cpu"))
        objective.start_epoch(Context(0, 1, torch.arange(3), counts, generator, outputs, lambda features: features))
        assert float(objective(Model(world.network), batch).detach().mean()) == pytest.approx(expected, abs=2e-6)


def test_several_layers_are_the_weighted_sum_of_single_ones(world: World) -> None:
    shared = robust("shared", 0.5, layers=(0.3, 0.7))
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
    torch.testing.assert_close(world.run(robust("shared", 0.5, layers=(0.7,))).mean(), 0.7 * single[1])
    assert not torch.allclose(0.3 * single[0] + 0.7 * single[1], 0.7 * single[0] + 0.3 * single[1])  # the order counts
    assert [levels for _, _, levels in world.passes] == [True, False]  # lower levels are computed where they are used
    with pytest.raises(InputError, match="3 weights, but the network has 2 levels"):
        world.build(robust(layers=(1.0, 1.0, 1.0)))


def test_each_layer_has_its_own_learned_radii(world: World) -> None:
    objective: Any = world.build(robust(layers=(0.5, 0.5)))
    assert [tuple(parameter.shape) for parameter in objective.parameters()] == [(3,), (3,)]


def test_centroids_are_computed_once_an_epoch_or_every_so_many_steps(world: World) -> None:
    for every, passes in ((0, [1, 1, 1, 1, 1]), (2, [1, 1, 2, 2, 3]), (1, [1, 2, 3, 4, 5])):
        world.passes.clear()
        objective: Any = world.build(robust("none", refresh_steps=every))
        objective.start_epoch(world.context())
        counted = []
        for _ in range(5):
            objective(world.forward(), world.batch)
            counted.append(len(world.passes))
        assert counted == passes
        objective.start_epoch(world.context())
        assert len(world.passes) == passes[-1] + 1
    with pytest.raises(InputError, match="refresh_steps"):
        world.build(robust(refresh_steps=-1))


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
        objective: Any = world.build(robust("none", refresh_steps=every))
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

    everything = torch.arange(15)
    plain = world.run(robust("none")).mean()
    augmented = world.run(robust("none", augmented=True)).mean()
    torch.testing.assert_close(augmented, value(everything, world.images.flip(3)))
    drawn = ClassBalanced(world.target, generator=torch.Generator().manual_seed(6)).draw()
    balanced = world.run(robust("none", centroid_pass="balanced")).mean()
    torch.testing.assert_close(balanced, value(drawn, world.images[drawn]))
    assert [(len(index), flag) for index, flag, _ in world.passes] == [(15, False), (15, True), (15, False)]
    assert len({round(float(number.detach()), 5) for number in (plain, augmented, balanced)}) == 3


def test_a_natural_pass_draws_nothing_from_the_generator(world: World) -> None:
    context = world.context()
    before = context.generator.get_state()
    for description, unchanged in ((robust(), True), (robust(centroid_pass="balanced"), False)):
        objective: Any = world.build(description)
        objective.start_epoch(context)
        assert torch.equal(before, context.generator.get_state()) is unchanged


def test_centroids_have_no_gradient(world: World) -> None:
    objective: Any = world.build(robust())
    objective.start_epoch(world.context())
    assert not any(centroids.requires_grad for centroids in objective._centroids)


def test_learned_radii_are_parameters_without_decay_that_only_shrink(world: World) -> None:
    objective: Any = world.build(total(part(losses.cross_entropy), robust("learned", 0.8)))
    (radii,) = objective.parameters()
    decayed, free = parameter_groups([world.network, objective], 0.1, decay_bias_and_norm=True)
    assert [id(radii)] == [id(parameter) for parameter in free["params"]]
    assert free["weight_decay"] == 0.0
    assert len(decayed["params"]) == len(list(world.network.parameters()))

    optimizer = sgd([world.network, objective], lr=0.1, momentum=0.0, weight_decay=0.1)
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
        objective: Any = world.build(robust(*radius))
        learned = radius[0] == "learned"
        assert (list(objective.parameters()) != []) is learned
        assert ("radii" in objective.history()) is learned


def test_without_weight_nothing_moves_the_radii(world: World) -> None:
    objective: Any = world.build(total(part(losses.cross_entropy), robust(), weights=(1.0, 0.0)))
    optimizer = sgd([world.network, objective], lr=0.1, momentum=0.9, weight_decay=0.1)
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
    recipe = recipe_of("dro-lt@steps=5", digits, epochs=8)
    assert [stage.epochs for stage in recipe.stages] == [8, 3, 1]
    recipe = dataclasses.replace(recipe, stages=(dataclasses.replace(recipe.stages[0], epochs=1), *recipe.stages[1:]))
    whole = train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU)
    rows = [row["radii"] for row in whole.history if "radii" in row]
    assert [row["stage"] for row in whole.history if "radii" in row] == ["represent"] * 3
    for before, after in zip([[1.0] * 10, *rows], rows, strict=False):
        assert all(new < old for new, old in zip(after, before, strict=True))

    def stop(progress: loop.Progress) -> None:
        if progress.epoch == 3:  # two of three epochs of the stage
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, seed=1, out=tmp_path / "cut", compute=CPU, notify=stop)
    held, _ = checkpoint.load(next((tmp_path / "cut").rglob("progress.safetensors")))
    radii = next(tensor for name, tensor in held.items() if name.startswith("objective") and tensor.shape == (10,))
    assert functional.softplus(radii).tolist() == pytest.approx(rows[0], abs=1e-6)
    cut = train(recipe, digits, seed=1, out=tmp_path / "cut", compute=CPU)
    assert untimed(cut) == untimed(whole)
    assert cut.report == whole.report


def test_a_robust_term_of_weight_0_leaves_the_stage_as_it_is(digits: Data, tmp_path: pathlib.Path) -> None:
    control = recipe_of("dro-lt@robust=0,steps=4", digits, epochs=2)
    supervised = control.stages[1].objective
    assert supervised.function is losses.class_weighted_cross_entropy

    def with_term(weight: float) -> Any:
        objective = total(supervised, robust(layers=(0.5, 0.5)), weights=(1.0, weight))
        stages = (control.stages[0], dataclasses.replace(control.stages[1], objective=objective), control.stages[2])
        return dataclasses.replace(control, stages=stages)

    states, store = [], tmp_path / "stages"
    for name, recipe in (("control", control), ("zero", with_term(0.0)), ("one", with_term(1.0))):
        train(recipe, digits, seed=1, out=tmp_path / name, store=store, compute=CPU)
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
    once = (part(losses.cross_entropy), robust(), part(losses.balanced_softmax))
    for description in (total(*once), total(*once, robust(layers=(0.5, 0.5)))):
        objective: Any = world.build(description)
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

    objective = world.build(total(*once))
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
    objective: Any = world.build(part(losses.cross_entropy))
    objective(world.forward(frozen_backbone=True), world.batch).mean().backward()
    assert all(parameter.grad is None for parameter in world.network.backbone.parameters())
    assert all(parameter.grad is not None for parameter in world.network.head.parameters())
    objective(world.forward(), world.batch).mean().backward()
    assert all(parameter.grad is not None for parameter in world.network.backbone.parameters())


def test_a_stage_of_the_classifier_leaves_the_backbone_and_its_statistics_alone(
    digits: Data, tmp_path: pathlib.Path
) -> None:
    store = tmp_path / "stages"
    crt, ce = (recipe_of(name, digits, epochs=2) for name in ("crt", "ce"))
    everything = dataclasses.replace(crt, stages=(crt.stages[0], dataclasses.replace(crt.stages[1], trains="all")))
    states = []
    for name, recipe in (("ce", ce), ("crt", crt), ("mutant", everything)):
        train(recipe, digits, seed=1, out=tmp_path / name, store=store, compute=CPU)
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


PAIR_LOSSES: tuple[Callable[..., Tensor], ...] = (
    losses.balanced_negative_sampling,
    losses.negative_sampling,
    losses.released_balanced_negative_sampling,
    losses.supervised_contrastive,
)


def contrastive(loss: Callable[..., Tensor] = losses.balanced_negative_sampling, **options: Any) -> Part:
    return part(Contrastive, loss=part(loss, **{"temperature": 0.5, **options}))


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=lambda loss: loss.__name__)
def test_contrastive_is_the_plain_loss_on_the_projections(world: World, loss: Callable[..., Tensor]) -> None:
    batch = two_views(world)
    objective: Any = world.build(contrastive(loss, temperature=0.4))
    # Both views in one pass, so that batch norm sees them together; the first view asks, the second answers.
    features = copy.deepcopy(world.network).backbone(torch.cat([batch.images[0], batch.images[1]]))
    hidden, _, out = objective.projector.layers
    embeddings = functional.relu(features @ hidden.weight.T + hidden.bias) @ out.weight.T + out.bias
    expected = loss(embeddings[:6], embeddings[6:], batch.target, temperature=0.4)
    model = world.forward()
    found = objective(model, batch)
    torch.testing.assert_close(found, expected)
    assert model.logits is None  # so that no training accuracy is made up
    if loss in PAIR_LOSSES[:2]:  # where queries and keys are not interchangeable
        swapped = loss(embeddings[6:], embeddings[:6], batch.target, temperature=0.4)
        assert not torch.allclose(found, swapped)


def test_without_a_projector_the_loss_is_that_of_the_features(world: World) -> None:
    batch = two_views(world)
    pairs = part(losses.supervised_contrastive, temperature=0.4)
    objective: Any = world.build(part(Contrastive, loss=pairs, hidden=0))
    features = copy.deepcopy(world.network).backbone(batch.images.flatten(0, 1))
    expected = losses.supervised_contrastive(*features.chunk(2), batch.target, temperature=0.4)
    torch.testing.assert_close(objective(world.forward(), batch), expected)
    assert not list(objective.parameters())
    projected: Any = world.build(part(Contrastive, loss=pairs))
    assert not torch.allclose(projected(world.forward(), batch), expected)


def test_the_partners_of_bns_come_from_the_stages_generator(world: World) -> None:
    batch = two_views(world)
    description = contrastive(positives=1, negatives=2)
    objective: Any = world.build(description)
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
    objective: Any = world.build(contrastive())
    views = two_views(world)
    with pytest.raises(InputError, match="two views"):
        objective(world.forward(), world.batch)
    with pytest.raises(InputError, match="two views"):
        objective(world.forward(), dataclasses.replace(views, images=torch.cat([views.images, views.images[:1]])))


def test_the_projector_starts_alike_for_a_seed_and_is_trained(world: World) -> None:
    def built(seed: int) -> Any:
        return world.build(contrastive(), projector_generator=torch.Generator().manual_seed(seed))

    one, again, other = (built(seed).projector.layers[0].weight for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    objective = built(1)
    objective(world.forward(), two_views(world)).mean().backward()
    assert all(parameter.grad is not None for parameter in objective.projector.parameters())
    assert all(parameter.grad is None for parameter in world.network.head.parameters())


# ------------------------------------------------------------------------------------------------------------ sums


def test_a_total_is_the_weighted_sum_of_its_terms(world: World) -> None:
    a, b, c = part(losses.cross_entropy), part(losses.balanced_softmax), robust("none")
    expected = world.run(a) + 0.5 * world.run(b) - 2.0 * world.run(c)
    torch.testing.assert_close(world.run(total(a, b, c, weights=(1.0, 0.5, -2.0))), expected)
    nested = total(total(a, b, weights=(1.0, 0.5)), c, weights=(1.0, -2.0))
    torch.testing.assert_close(world.run(nested), expected)
    for terms, weights in (((), ()), ((a, b), (1.0,)), ((a,), (1.0, 1.0))):
        with pytest.raises(InputError, match="as many weights as terms"):
            world.build(part(Total, terms=terms, weights=weights))


def test_a_sum_passes_on_what_its_parts_need(world: World) -> None:
    a, b = part(losses.cross_entropy), robust(layers=(0.5, 0.5))
    objective: Any = world.build(total(a, b))
    assert objective.pyramid
    flat: Any = world.build(total(a, robust()))
    assert not flat.pyramid
    objective.start_epoch(world.context())
    assert len(world.passes) == 1
    assert objective.history() == {"radii": [1.0, 1.0, 1.0]}
    other: Any = world.build(total(a, b))
    with torch.no_grad():
        objective.get_parameter("1.radii1.free").add_(1.0)
    assert other.history() != objective.history()
    other.load_state_dict(objective.state_dict())
    assert other.history() == objective.history()


@pytest.mark.parametrize(
    "description",
    [
        *(loss for loss, _ in PLAIN_LOSSES),
        total(part(losses.class_weighted_cross_entropy, weight="prior"), robust(layers=(0.5, 0.5))),
        robust("shared", strict=True),
        *(contrastive(loss) for loss in PAIR_LOSSES),
        contrastive(positives=2, negatives=3),
    ],
    ids=written,
)
def test_no_objective_waits_for_the_device_in_a_step(world: World, description: Any) -> None:
    objective = world.build(description)
    if hasattr(objective, "start_epoch"):
        objective.start_epoch(world.context())
    batch = two_views(world) if description.function is Contrastive else world.batch
    with FakeTensorMode(allow_non_fake_inputs=True):  # values do not exist here, so nothing can ask for one
        images, target = torch.randn(batch.images.shape), torch.zeros(6, dtype=torch.int64)
        assert objective(world.forward(objective), Batch(images, target, target)).shape == (6,)


def test_an_objective_that_waits_is_noticed(world: World) -> None:
    def waiting(logits: Tensor, target: Tensor) -> Tensor:
        return logits[:, 0] * float(logits.detach().sum())

    objective = Supervised(waiting)
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


def checked(world: World, made: Part) -> Any:
    """Build a loss and try it, as training does before its first step."""
    built = made.build(counts=COUNTS, target=world.target)
    check_built(made, built, num_classes=3, width=6, device=torch.device("cpu"))
    return built


def test_a_users_loss_is_called_with_what_it_takes(world: World, own: pathlib.Path) -> None:
    plain, counted = (world.run(named(f"{own}:{name}")) for name in ("loss", "with_counts"))
    torch.testing.assert_close(plain, world.run(part(losses.cross_entropy)))
    torch.testing.assert_close(counted, world.run(part(losses.balanced_softmax)))


def test_a_loss_may_take_features_and_positions(world: World, own: pathlib.Path) -> None:
    own.write_text(
        "def loss(features, target):\n    return features[:, 0] + target\n\n"
        "def both(logits, features, target, index):\n    return logits[:, 0] + features[:, 1] + index + 10 * target\n\n"
        "def objective(model, batch):\n    return model(batch.images).logits[:, 1]\n"
    )
    features, logits, target = world.features(), world.logits(), world.batch.target
    checked(world, named(f"{own}:loss"))
    checked(world, named(f"{own}:both"))
    torch.testing.assert_close(world.run(named(f"{own}:loss")), features[:, 0] + target)
    expected = logits[:, 0] + features[:, 1] + world.batch.index + 10 * target
    torch.testing.assert_close(world.run(named(f"{own}:both")), expected)
    torch.testing.assert_close(world.run(named(f"{own}:objective")), logits[:, 1])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reduced", r"returned \(\) for 3 images: it must return \(N,\)"),
        ("number", "returned float for 3 images"),
        ("broken", r"failed on 3 images: IndexError: .* \(own\.py, line 17\)"),
        ("los", "did you mean 'loss'"),
        ("detached", "without a gradient"),
        ("whole", "floating point"),
    ],
)
def test_an_unusable_loss_is_refused(world: World, own: pathlib.Path, name: str, words: str) -> None:
    own.write_text(
        f"{OWN}\n\ndef detached(logits, target):\n    return logits[:, 0].detach()\n\n"
        "def whole(logits, target):\n    return target\n"
    )
    with pytest.raises(InputError, match=words) as caught:
        checked(world, named(f"{own}:{name}"))
    assert "\n" not in str(caught.value)


MARGIN = """
import torch

class Scaled(torch.nn.Module):
    def __init__(self, num_classes: int, start: float = 1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((num_classes,), start))
        self.noise = torch.nn.Parameter(torch.randn(num_classes))

    def forward(self, logits, target):
        scaled = logits * self.scale + self.noise
        return torch.nn.functional.cross_entropy(scaled, target, reduction="none")
"""


def test_a_loss_with_parameters_of_its_own_trains_them_and_continues(
    digits: Data, own: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    own.write_text(MARGIN)
    recipe = recipe_of(f"{own}:Scaled@start=2", digits, epochs=3)

    def kept(folder: pathlib.Path) -> dict[str, Tensor]:
        found, _ = checkpoint.load(next(folder.rglob("progress.safetensors")))
        return {name: tensor for name, tensor in found.items() if name.startswith("objective")}

    def cut(recipe: Recipe, out: pathlib.Path, after: int) -> dict[str, Tensor]:
        def stop(progress: loop.Progress) -> None:
            if progress.epoch == after + 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, digits, seed=1, out=out, compute=CPU, notify=stop)
        return kept(out)

    before = torch.random.get_rng_state()
    whole = train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)  # the first weights come from the run's own stream, whatever was drawn before
    first, second = (cut(recipe, tmp_path / str(after), after) for after in (1, 2))
    assert first.keys() == second.keys() != set()
    assert all(tensor.shape == (10,) for tensor in first.values())
    assert all(not torch.equal(first[name], second[name]) for name in first)  # they are trained
    assert not any(torch.equal(tensor, torch.full((10,), 2.0)) for tensor in first.values())
    for after in (1, 2):
        resumed = train(recipe, digits, seed=1, out=tmp_path / str(after), compute=CPU)
        assert untimed(resumed) == untimed(whole)
        assert resumed.predictions == whole.predictions
    other = train(recipe, digits, seed=2, out=tmp_path / "other", compute=CPU)
    assert untimed(other) != untimed(whole)
