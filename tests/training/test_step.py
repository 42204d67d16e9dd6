"""A step can be captured: it syncs with nothing, has no shape that depends on a value, and replays to the same numbers.

There is no GPU here. A tape of the operations that reached the device stands in for a CUDA graph (``oracles.tape``):
replaying it repeats the operations on the same tensors and none of the Python.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from longtail.data import Data, Split, load
from longtail.methods import protocol_for
from longtail.methods import recipe as named
from longtail.methods.names import method
from longtail.models import identity, small_conv_net
from longtail.recipes import Part, PerExpert, Recipe, adamw, experts, part, sgd
from longtail.recipes.contract import Batch, Chunk, Context, Forward
from longtail.recipes.objectives import objective_of
from longtail.training import capture, seeds
from longtail.training.compute import Compute
from longtail.training.passes import outputs
from longtail.training.run import train
from longtail.training.step import Average, Step, Sums
from oracles import tape

CPU = Compute("cpu", "float32", compiled=False)
RECIPES = (
    "ce",
    "balanced-softmax",
    "logit-adjustment",
    "logit-adjustment-post-hoc",
    "crt",
    "dro-lt",
    "dro-lt@radius=shared",
    "dro-lt@strict=true",
    "bns-ipdpp@positives=none,negatives=none",
    "bns-ipdpp@loss=supcon",
    "bns-ipdpp@loss=ns",
    "ip-dpp",
    "supcon-probe",
    "ride",
    "sade",
    "bcl",
    "proco",
)
DRAWING = (
    "cmo",
    "glmc",
    "bns-ipdpp",
    "bns-ipdpp@negatives=8",
    "bns-probe",
)  # draw in a step; no trace holds a generator


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def stages(data: Data, names: tuple[str, ...] = RECIPES + DRAWING) -> list[Any]:
    """Every different stage of the recipes, once."""
    found: dict[Any, str] = {}
    for name in names:
        for stage in named(name, data, epochs=2).stages:
            found.setdefault(dataclasses.replace(stage, name=""), f"{name}: {stage.name}")
    return [pytest.param(stage, id=label) for stage, label in found.items()]


def step_of(
    data: Data, stage: Any, *, device: str = "cpu", compute: Compute = CPU
) -> tuple[Step, tuple[torch.Generator, ...], list[Tensor]]:
    """A stage's step, its generators and the batches of its first epoch, all made from one seed."""
    network = small_conv_net(
        num_classes=data.num_classes, channels=1, image_size=8, generator=seeds.generator(0, "model")
    )
    if stage.objective.function is PerExpert:
        options: dict[str, Any] = {"num_classes": data.num_classes, "channels": 1, "image_size": 8}
        network = experts(of=network, generator=seeds.generator(0, "experts"), **options)
    network.to(device, memory_format=torch.channels_last).train()
    names = ("order", "subset", "augment", "pairs", "epoch", "projector")
    generators = {name: seeds.generator(0, name) for name in names}
    widths = tuple(identity(network, channels=1, image_size=8)["widths"])
    train = Split(data.train.images.to(device), data.train.target.to(device), data.train.index)
    given = {
        "num_classes": data.num_classes,
        "widths": widths,
        "batch_size": stage.batch_size,
        "subset_generator": generators["subset"],
        "projector_generator": generators["projector"],
    }
    there = {"target": train.target, "counts": data.counts.to(device), "device": torch.device(device)}
    objective = objective_of(stage.objective.build(generator=generators["pairs"], **there, **given))
    here = {"target": data.train.target, "counts": data.counts, "device": torch.device("cpu")}
    sampler = stage.sampler.build(generator=generators["order"], **here, **given)
    frozen = stage.trains == "classifier"
    network.backbone.requires_grad_(not frozen)
    if frozen:
        network.backbone.eval()

    def scored(index: Tensor, augmented: bool, levels: bool) -> Iterator[Chunk]:
        shape = (len(index), data.num_classes)
        features = tuple(torch.randn(len(index), width, generator=generators["epoch"]) for width in widths)
        logits = torch.randn(shape, generator=generators["epoch"])
        yield Chunk(features if levels else features[-1:], logits, data.train.target[index])

    def trained(features: Tensor) -> Tensor:
        return torch.randn((len(features), data.num_classes), generator=generators["epoch"])

    context = Context(0, 2, data.train.target, data.counts, generators["epoch"], scored, trained)
    for held in (sampler,) if device == "meta" else (sampler, objective):
        if hasattr(held, "start_epoch"):
            held.start_epoch(context)
    size = min(getattr(sampler, "batch_size", stage.batch_size), 24)
    parts = [network, objective] if isinstance(objective, torch.nn.Module) else [network]
    step = Step(
        network,
        objective,
        stage.optimizer.build(modules=parts),
        dataclasses.replace(data, train=train),
        compute,
        tuple(operation.build() for operation in stage.augmentation),
        generators["augment"],
        size,
        frozen_backbone=frozen,
        sharpness=stage.sharpness,
        accumulate=stage.accumulate,
        clip=stage.clip,
        average=Average(network, stage.ema) if stage.ema else None,
    )
    batches = [held for held in torch.split(sampler.draw(), size) if len(held) == size]
    return step, (generators["augment"], generators["pairs"]), batches


def tensors_of(step: Step) -> dict[str, Tensor]:
    """Everything that a step changes."""
    found = {f"network.{name}": tensor for name, tensor in step.network.state_dict().items()}
    if isinstance(step.objective, torch.nn.Module):
        found |= {f"objective.{name}": tensor for name, tensor in step.objective.state_dict().items()}
    for number, state in enumerate(step.optimizer.state.values()):
        found |= {f"optimizer.{number}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    if step.average is not None:
        found |= {f"average.{name}": tensor for name, tensor in step.average.tensors.items()}
    sums = step.sums
    return found | {"loss": sums.loss, "correct": sums.correct, "steps": sums.steps, "bad": sums.first_bad}


def different(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[str]:
    assert one.keys() == two.keys()
    return [name for name in one if not torch.equal(one[name], two[name])]


def taken(data: Data, stage: Any, recording: bool, steps: int = 7) -> dict[str, Tensor]:
    """The state after some steps at a learning rate that falls, recorded or not."""
    step, generators, batches = step_of(data, stage)
    take: Callable[[Tensor], None] = capture.Recorded(step, generators, tape.record) if recording else step
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(steps):
            step.rate(0.05 / (1 + number))
            take(batches[number % len(batches)])
    return tensors_of(step)


@pytest.mark.parametrize("stage", stages(load("digits-lt", imbalance=20)))
def test_replays_of_a_recorded_step_are_steps(stage: Any, digits: Data) -> None:
    assert different(taken(digits, stage, recording=False), taken(digits, stage, recording=True)) == []


@pytest.mark.parametrize("fields", [{"clip": 0.1}, {"ema": 0.9}, {"accumulate": 3}, {"clip": 0.1, "accumulate": 2}])
def test_what_protocols_add_to_a_step_can_be_recorded(fields: dict[str, Any], digits: Data) -> None:
    stage = plain_stage(digits, **fields)
    plain = taken(digits, stage, recording=False)
    assert different(plain, taken(digits, stage, recording=True)) == []
    if "ema" not in fields:
        assert different(plain, taken(digits, plain_stage(digits), recording=False))


def test_an_average_that_counts_in_python_would_be_seen(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def counting(self: Average) -> None:
        self.updates = self.updates + 1  # replaced, not changed in place: a graph keeps the first
        keep = float(min(self.decay, 0.1 * getattr(self, "seen", 1)))
        self.seen = getattr(self, "seen", 1) + 1
        for name, tensor in self._moving():
            if self.tensors[name].is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - keep)

    monkeypatch.setattr(Average, "move", counting)
    stage = plain_stage(digits, ema=0.9)
    assert different(taken(digits, stage, recording=False), taken(digits, stage, recording=True))


class Counted:
    """An objective whose weight depends on a number kept in Python: a graph would keep the first."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, model: Forward, batch: Batch) -> Tensor:
        self.seen += 1
        logits = model(batch.images).logits
        return self.seen * torch.nn.functional.cross_entropy(logits, batch.target, reduction="none")


def reading(model: Forward, batch: Batch) -> Tensor:
    """An objective that looks at a value on the host."""
    logits = model(batch.images).logits
    scale = 1.0 / max(1.0, float(logits.detach().abs().max()))
    return scale * torch.nn.functional.cross_entropy(logits, batch.target, reduction="none")


def plain_stage(data: Data, **changes: Any) -> Any:
    return dataclasses.replace(named("ce", data, epochs=2).stages[0], **changes)


def test_a_number_kept_in_python_would_be_seen(digits: Data) -> None:
    stage = plain_stage(digits, objective=part(Counted))
    assert different(taken(digits, stage, recording=False), taken(digits, stage, recording=True))


def test_a_rate_that_is_baked_in_would_be_seen(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced(self: Step, factor: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = torch.tensor(self.base[0] * factor)
        return self.base[0] * factor

    stage = plain_stage(digits)
    plain = taken(digits, stage, recording=False)
    monkeypatch.setattr(Step, "rate", replaced)
    assert different(plain, taken(digits, stage, recording=False)) == []
    assert different(plain, taken(digits, stage, recording=True))


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(digits: Data) -> None:
    stage = plain_stage(digits, objective=part(reading))
    plain, _, batches = step_of(digits, stage)
    step, generators, _ = step_of(digits, stage)
    take = capture.Recorded(step, generators, tape.record)
    for number, index in enumerate(batches[:6]):
        plain(index)
        if number == capture.WARM_UP:
            with pytest.warns(UserWarning, match=r"cannot be recorded .*_local_scalar_dense reads a value"):
                take(index)
        else:
            take(index)
    assert different(tensors_of(plain), tensors_of(step)) == []


def test_batches_of_another_size_are_taken_as_they_are(digits: Data) -> None:
    stage = plain_stage(digits)
    plain, _, batches = step_of(digits, stage)
    step, generators, _ = step_of(digits, stage)
    recorded: list[int] = []

    def counting(function: Callable[[], None], drawn: Any) -> Callable[[], None]:
        recorded.append(1)
        return tape.record(function, drawn)

    take = capture.Recorded(step, generators, counting)
    order = [batches[0], batches[1][:7], *batches[1:5], batches[5][:9], batches[5]]
    for number, index in enumerate(order):
        plain(index)
        take(index)
        if number == 5:
            take.forget()
    assert different(tensors_of(plain), tensors_of(step)) == []
    assert len(recorded) == 2


def test_a_recorded_run_is_the_run(digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop itself, with what changes between epochs: centroids, radii, subsets, momentum, the last short batch."""
    recordings: list[int] = []

    def counting(function: Callable[[], None], generators: Any) -> Callable[[], None]:
        recordings.append(1)
        return tape.record(function, generators)

    setting = dataclasses.replace(protocol_for(digits, epochs=4), contrastive_epochs=0.5)
    for name in ("dro-lt", "bns-ipdpp"):
        recipe: Recipe = method(name)(setting)
        plain = train(recipe, digits, seed=0, out=tmp_path / name / "plain", compute=CPU)
        with monkeypatch.context() as patch:
            patch.setattr(capture, "recorder", lambda device: counting)
            again = train(recipe, digits, seed=0, out=tmp_path / name / "recorded", compute=CPU)
        assert [row["loss"] for row in plain.history] == [row["loss"] for row in again.history]
        assert plain.report == again.report
    assert len(recordings) > 4


def test_centroids_refreshed_within_an_epoch_are_never_recorded(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(function: Callable[[], None], generators: Any) -> Callable[[], None]:
        raise AssertionError("recorded")

    recipe = named("dro-lt@refresh-steps=2", digits, epochs=2)
    alone = dataclasses.replace(recipe, stages=recipe.stages[1:2])
    monkeypatch.setattr(capture, "recorder", lambda device: never)
    train(alone, digits, seed=0, out=tmp_path, compute=CPU)


@pytest.mark.parametrize("stage", stages(load("digits-lt", imbalance=20)))
def test_a_step_needs_only_shapes(stage: Any, digits: Data) -> None:
    """On the meta device: batch, forward and backward pass. The update reads its rate, which has no value there."""
    step, _, batches = step_of(digits, stage, device="meta")
    loss = step.forward(step.batch(batches[0].to("meta")))
    step.backward(loss)
    assert loss.is_meta
    assert any(parameter.grad is not None for parameter in step.network.parameters() if parameter.requires_grad)


def losses_of(digits: Data) -> list[Any]:
    """The stages of all recipes that differ in their loss or in what it trains."""
    found = {(held.values[0].objective, held.values[0].trains): held for held in stages(digits, RECIPES)}
    return list(found.values())


def trace_all() -> None:
    """Each loss and its gradient as one graph; with ``fullgraph`` a break is an error."""
    digits = load("digits-lt", imbalance=20)
    for parameters in losses_of(digits):
        step, _, batches = step_of(digits, parameters.values[0])
        batch = step.batch(batches[0])

        def loss(images: Tensor, target: Tensor, step: Step = step, index: Tensor = batch.index) -> Tensor:
            model = Forward(step.network, pyramid=step.pyramid, frozen_backbone=step.frozen_backbone)
            return step.objective(model, Batch(images, target, index)).mean()

        torch.compiler.reset()
        traced = torch.compile(loss, fullgraph=True, backend="eager")(batch.images, batch.target)
        assert bool(torch.isfinite(traced)), parameters.id
        traced.backward()
        sys.stdout.write(f"{parameters.id}\n")


def compile_once() -> None:
    """A compiled backbone is compiled for full batches alone; others, and evaluation, run as they are."""
    digits = load("digits-lt", imbalance=20)
    step, _, batches = step_of(digits, named("ce", digits).stages[0])
    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(len(graph.graph.nodes))
        return graph.forward

    torch.compiler.reset()
    step.network.backbone.compile(backend=backend, dynamic=False)
    for index in (batches[0][:9], batches[0], batches[1], batches[2][:5], batches[3]):
        step(index)
        outputs(step.network, digits.test, digits)
    assert len(compiled) == 1, compiled


def in_a_process_of_its_own(function: str) -> str:
    """What a function of this file prints; the shape checks of the other tests are Python that no trace takes."""
    tests = pathlib.Path(__file__).parents[1]
    script = f"import runpy, sys; sys.path.insert(0, {str(tests)!r}); runpy.run_path({__file__!r})[{function!r}]()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_losses_and_gradients_trace_whole() -> None:
    stated = in_a_process_of_its_own("trace_all").splitlines()
    assert len(stated) == len(losses_of(load("digits-lt", imbalance=20))) >= 8


@pytest.mark.slow
def test_a_backbone_is_compiled_for_full_batches_alone() -> None:
    in_a_process_of_its_own("compile_once")


@pytest.mark.parametrize("kind", [part(sgd, lr=0.1, nesterov=True), part(adamw, lr=0.1)], ids=["sgd", "adamw"])
def test_the_update_is_recorded_with_its_rate_on_the_device(kind: Part) -> None:
    linear = torch.nn.Linear(3, 2)
    optimizer = kind.build(modules=[linear])
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(0.1)
    for parameter in linear.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    replay = tape.record(optimizer.step, ())
    before = linear.weight.detach().clone()
    replay()
    moved = (linear.weight.detach() - before).abs()
    assert bool((moved > 0.01).all())
    before = linear.weight.detach().clone()
    for group in optimizer.param_groups:
        group["lr"].fill_(0.0)
    replay()
    assert torch.equal(linear.weight.detach(), before)


@pytest.mark.parametrize("kind", [part(sgd, lr=0.1), part(adamw, lr=0.1)], ids=["sgd", "adamw"])
@pytest.mark.parametrize("sharpness", [0.0, 0.05], ids=["plain", "sam"])
def test_a_first_step_that_overflows_in_float16_leaves_no_trace(
    sharpness: float, kind: Part, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = plain_stage(digits, optimizer=kind, sharpness=sharpness)
    step, _, batches = step_of(digits, stage, compute=Compute("cpu", "float16", compiled=False))
    before = [weight.detach().clone() for weight in step.network.parameters()]
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    # Memory that is allocated without a value holds whatever was there.
    monkeypatch.setattr(torch, "empty_like", lambda like, **more: torch.full_like(like, math.nan, **more))
    step(batches[0])
    assert step.scaler.get_scale() < 2.0**60
    assert all(map(torch.equal, step.network.parameters(), before))
    step.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    step(batches[1])
    assert all(bool(tensor.isfinite().all()) for tensor in tensors_of(step).values())
    assert not any(map(torch.equal, step.network.parameters(), before))


def test_sums_find_the_first_bad_step() -> None:
    sums = Sums(torch.device("cpu"))
    target = torch.tensor([0, 1])
    for epoch in range(2):
        sums.reset()
        for loss in (1.0, 2.0, float("nan"), 1.0, float("inf")) if epoch else (1.0, 2.0):
            sums.add(torch.tensor(loss), target, torch.eye(2))
        assert int(sums.first_bad) == 2
        assert int(sums.steps) == (5 if epoch else 2)
    sums.reset()
    assert (int(sums.first_bad), float(sums.loss), float(sums.correct)) == (0, 0.0, 0.0)


def test_the_tape_refuses_what_a_graph_cannot_hold() -> None:
    values = torch.arange(4.0)
    for function, why in (
        (lambda: values.sum().item(), "reads a value on the host"),
        (lambda: values[values > 1], "depends on values"),
        (lambda: values.nonzero(), "depends on values"),
        (lambda: values + torch.tensor([1.0, 2.0, 3.0, 4.0]), "copies from the host"),
    ):
        with pytest.raises(tape.RefusedError, match=why):
            tape.record(function, ())
