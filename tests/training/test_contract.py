"""The loop held to its contract: which images a step sees, what rate it uses, and that the history says what happened.

What a stage does is watched from outside: the indices of each batch, the rates at each update, and, by a loss of the
test's own, the labels, logits and losses of each step. What the history must say is computed from these again.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods import recipe as named
from longtail.models import LinearHead, initialise
from longtail.recipes import Part, Recipe, Stage, adamw, cosine, part, sgd, steps
from longtail.samplers import ClassQuota, InformativeSubset
from longtail.training import checkpoint, loop, seeds
from longtail.training.compute import Compute
from longtail.training.prepare import STREAMS
from longtail.training.run import train
from longtail.training.step import Step

CPU = Compute(device="cpu", precision="float32", compiled=False)
SEEN: list[tuple[Tensor, Tensor, Tensor]] = []


def watched(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy that keeps what it was called with."""
    values = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    SEEN.append((target.clone(), logits.detach().clone(), values.detach().clone()))
    return values


def falls(epoch: int, progress: float, epochs: int) -> float:
    """A schedule that learns and then unlearns."""
    return 1.0 if epoch < 3 else -0.3


def another_order(progress: float, epoch: int, epochs: int) -> float:
    """A schedule with its parameters in another order than ours."""
    return 1.0 if epoch < epochs / 2 else 0.1


def two_of_three(epochs: int, epoch: int) -> float:
    """A schedule that does not ask for the progress."""
    return another_order(0.0, epoch, epochs)


ELSEWHERE = torch.Generator()
"""Stands in for the global generator of a GPU."""


class DropElsewhere(nn.Dropout):
    """Dropout as on a GPU, where it draws from another global generator."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D)."""
        kept = torch.empty_like(features).bernoulli_(1 - self.p, generator=ELSEWHERE) / (1 - self.p)
        return features * kept if self.training else features


class Dropping(nn.Module):
    """A network that draws from torch's global generator in every step."""

    drop: type[nn.Module] = nn.Dropout

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), self.drop(0.5))
        self.last = nn.Linear(32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        logits: Tensor = self.last(self.body(images))
        return logits


class DroppingElsewhere(Dropping):
    """A network that draws from the global generator of a GPU."""

    drop = DropElsewhere


@dataclasses.dataclass
class Watch:
    """What the steps of a run did: indices of each batch, and the rate of every group at each update."""

    index: list[Tensor] = dataclasses.field(default_factory=list)
    rates: list[list[float]] = dataclasses.field(default_factory=list)
    momentum: list[list[Tensor]] = dataclasses.field(default_factory=list)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    found, batch, update = Watch(), Step.batch, Step.update

    def seeing(self: Step, index: Tensor, *more: Any) -> Any:
        found.index.append(index.clone())
        return batch(self, index, *more)

    def updating(self: Step) -> None:
        found.rates.append([float(group["lr"]) for group in self.optimizer.param_groups])
        held = [state.get("momentum_buffer") for state in self.optimizer.state.values()]
        found.momentum.append([buffer.clone() for buffer in held if buffer is not None])
        update(self)

    monkeypatch.setattr(Step, "batch", seeing)
    monkeypatch.setattr(Step, "update", updating)
    SEEN.clear()
    return found


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20, validation=0.2)


def one_stage(data: Data, **changes: Any) -> Recipe:
    """Cross-entropy with some fields of its stage changed."""
    plain = named("ce", data, epochs=3)
    return dataclasses.replace(plain, stages=(dataclasses.replace(plain.stages[0], **changes),))


def by_epoch(found: list[Any], record: Any) -> list[list[Any]]:
    """What steps did, epoch by epoch."""
    waiting, split = list(found), []
    for row in record.history:
        split.append(waiting[: row["steps"]])
        waiting = waiting[row["steps"] :]
    assert not waiting
    return split


def state_after(folder: pathlib.Path, stages: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of the network and of the optimiser after so many stages, known by the history's length."""
    files = list((folder / "stages").rglob("state.safetensors"))
    found = {len({row["stage"] for row in checkpoint.load(file)[1]["history"]}): file for file in files}
    tensors, facts = checkpoint.load(found[stages])
    moments, kept = checkpoint.load(found[stages].with_name("optimizer.safetensors"))
    return {**tensors, **moments}, {**facts, **kept}


# ------------------------------------------------------------------------------------------------------ the images


def test_every_image_is_seen_once_an_epoch(digits: Data, watch: Watch, tmp_path: pathlib.Path) -> None:
    size = len(digits.train)
    assert size % 32 > 1  # the last batch is a smaller one
    record = train(named("ce", digits, epochs=3), digits, seed=0, out=tmp_path, compute=CPU)
    orders = [torch.cat(batches) for batches in by_epoch(watch.index, record)]
    assert len(orders) == 3
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(size))
    assert not torch.equal(orders[0], orders[1])
    first = watch.index[: record.history[0]["steps"]]
    assert [len(batch) for batch in first] == [32] * (size // 32) + [size % 32]
    assert record.budget["steps"] == len(watch.index) == 3 * math.ceil(size / 32)


def test_a_single_image_left_over_is_left_out(digits: Data, watch: Watch, tmp_path: pathlib.Path) -> None:
    """Batch normalisation needs two; which image it is changes from epoch to epoch."""
    split = digits.train.at(torch.arange(0, len(digits.train), 5)[:49])
    few = dataclasses.replace(digits, train=split).renewed()
    record = train(one_stage(few, batch_size=16, epochs=4), few, seed=0, out=tmp_path, compute=CPU)
    missing = [set(range(49)) - set(torch.cat(batches).tolist()) for batches in by_epoch(watch.index, record)]
    assert [len(left) for left in missing] == [1] * 4
    assert len(set.union(*missing)) > 1


def test_a_quota_keeps_its_batches(digits: Data, watch: Watch, tmp_path: pathlib.Path) -> None:
    quota = part(ClassQuota, classes=5, images=3, steps=4)
    train(one_stage(digits, sampler=quota, epochs=2), digits, seed=0, out=tmp_path, compute=CPU)
    assert len(watch.index) == 8
    for batch in watch.index:
        assert sorted(digits.train.target[batch].bincount().tolist(), reverse=True)[:5] == [3] * 5


# ------------------------------------------------------------------------------------------ rates, loss and accuracy


SCHEDULES = {
    "steps": (part(steps, warmup=0.34, at=(0.67,), factor=0.1), lambda epoch, share: (0.5, 1.0, 1.0, 0.1)[epoch]),
    "cosine": (part(cosine), lambda epoch, share: 0.5 * (1 + math.cos(math.pi * (epoch + share) / 4))),
    "warm-up": (
        part(cosine, warmup=0.25),
        lambda epoch, share: share if epoch == 0 else 0.5 * (1 + math.cos(math.pi * (epoch + share - 1) / 3)),
    ),
    "another order": (part(another_order), lambda epoch, share: (1.0, 1.0, 0.1, 0.1)[epoch]),
    "two of three": (part(two_of_three), lambda epoch, share: (1.0, 1.0, 0.1, 0.1)[epoch]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_recorded_rate_is_the_one_used_step_by_step(
    name: str, digits: Data, watch: Watch, tmp_path: pathlib.Path
) -> None:
    schedule, by_hand = SCHEDULES[name]
    if name == "steps":
        schedule = part(steps, warmup=0.5, at=(0.75,), factor=0.1)
    told: list[loop.Progress] = []
    optimizer = part(adamw, lr=0.01) if name == "warm-up" else part(sgd, lr=0.02)
    recipe = one_stage(digits, schedule=schedule, epochs=4, optimizer=optimizer)
    record = train(recipe, digits, seed=0, out=tmp_path, compute=CPU, notify=told.append)
    base, groups = (0.01, 2) if name == "warm-up" else (0.02, 1)
    for epoch, (row, used) in enumerate(zip(record.history, by_epoch(watch.rates, record), strict=True)):
        expected = [base * by_hand(epoch, number / len(used)) for number in range(len(used))]
        for rates, rate in zip(used, expected, strict=True):
            assert rates == pytest.approx([rate] * groups, rel=1e-5, abs=1e-9)
        assert row["learning_rate"] == pytest.approx(used[-1][0], rel=1e-5, abs=1e-9)
        assert len({rates[0] for rates in used}) == (len(used) if name in ("cosine", "warm-up") else 1)
    assert [progress.epoch for progress in told if progress.share == 0.0] == [1, 2, 3, 4]


def test_loss_and_accuracy_are_those_of_the_steps(digits: Data, watch: Watch, tmp_path: pathlib.Path) -> None:
    told: list[loop.Progress] = []
    recipe = one_stage(digits, objective=part(watched))
    record = train(recipe, digits, seed=0, out=tmp_path, compute=CPU, notify=told.append)
    taken = SEEN[1:]  # the first call tried the loss on three images
    for target, index in zip((target for target, _, _ in taken), watch.index, strict=True):
        assert torch.equal(target, digits.train.target[index])
    for row, steps_of_epoch in zip(record.history, by_epoch(taken, record), strict=True):
        losses = torch.cat([values for _, _, values in steps_of_epoch]).double()
        right = torch.cat([logits.argmax(dim=1) == target for target, logits, _ in steps_of_epoch])
        assert len(losses) == len(digits.train)
        assert row["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
        assert row["train_accuracy"] == pytest.approx(float(right.double().mean()), abs=1e-9)
    ends = [progress for progress in told if progress.share == 0.0]
    assert [(now.loss, now.accuracy) for now in ends] == [
        (row["loss"], row["train_accuracy"]) for row in record.history
    ]


def test_an_objective_without_logits_has_no_accuracy(digits: Data, tmp_path: pathlib.Path) -> None:
    recipe = named("bns-probe", digits, epochs=1)
    record = train(recipe, digits, seed=0, out=tmp_path, compute=CPU)
    assert {row["stage"]: row["train_accuracy"] is None for row in record.history} == {"pretrain": True, "probe": False}


# ------------------------------------------------------------------------------------------------- between stages


def backbone(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith("network.backbone")}


def head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith("network.head")}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[bool]:
    assert one.keys() == two.keys() != set()
    return [torch.equal(one[name], two[name]) for name in one]


def test_a_frozen_part_does_not_move(digits: Data, tmp_path: pathlib.Path) -> None:
    """Weights and running statistics alike; then both move again, for the next stage freezes anew."""
    first = dataclasses.replace(named("ce", digits, epochs=1).stages[0], name="first")
    stages = [first]
    for number, trains in enumerate(("classifier", "backbone", "all")):
        stages.append(dataclasses.replace(first, name=str(number), trains=trains, optimizer=part(sgd, lr=0.05)))
    recipe = dataclasses.replace(named("ce", digits), stages=tuple(stages))
    train(recipe, digits, seed=0, out=tmp_path, compute=CPU)
    states = [state_after(tmp_path, count)[0] for count in (1, 2, 3, 4)]
    assert any("running_mean" in name for name in backbone(states[0]))
    assert all(same(backbone(states[0]), backbone(states[1])))
    assert not any(same(head(states[0]), head(states[1])))
    assert all(same(head(states[1]), head(states[2])))
    assert not any(same(backbone(states[1]), backbone(states[2])))
    assert not any(same(head(states[2]), head(states[3])))
    assert not any(same(backbone(states[2]), backbone(states[3])))


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fresh_head_is_drawn_anew_and_another_is_kept(fresh: bool, digits: Data, tmp_path: pathlib.Path) -> None:
    first = named("ce", digits, epochs=1).stages[0]
    still = dataclasses.replace(
        first, name="still", trains="classifier", fresh_head=fresh, optimizer=part(sgd, lr=0.0), sampler=first.sampler
    )
    recipe = dataclasses.replace(named("ce", digits), stages=(first, still))
    train(recipe, digits, seed=5, out=tmp_path, compute=CPU)
    before, after = state_after(tmp_path, 1)[0], state_after(tmp_path, 2)[0]
    assert all(same(head(before), head(after))) is not fresh
    if fresh:
        drawn = LinearHead(64, 10)
        initialise(drawn, generator=seeds.generator(5, "stage", 1, "head"))
        assert torch.equal(after["network.head.weight"], drawn.weight)


@pytest.mark.parametrize("keeps", [False, True])
def test_an_optimiser_is_kept_where_the_stage_says_so(
    keeps: bool, digits: Data, watch: Watch, tmp_path: pathlib.Path
) -> None:
    first = dataclasses.replace(named("ce", digits, epochs=2).stages[0], optimizer=part(sgd, lr=0.05))
    second = dataclasses.replace(first, name="second", keeps_optimizer=keeps, optimizer=part(sgd, lr=0.01))
    recipe = dataclasses.replace(named("ce", digits), stages=(first, second))
    record = train(recipe, digits, seed=0, out=tmp_path, compute=CPU)
    start = sum(row["steps"] for row in record.history[:2])
    tensors, facts = state_after(tmp_path, 1)
    stored = checkpoint.unflatten(facts["optimizer"], tensors)["state"]
    found = watch.momentum[start]
    assert len(found) == (len(stored) if keeps else 0)
    for held, name in zip(found, stored, strict=False):
        assert torch.equal(held, stored[name]["momentum_buffer"])
    # The rate is the stage's own; a kept state brings nothing but the momentum.
    assert watch.rates[start] == pytest.approx([0.01], rel=1e-6)
    # The same from the stored first stage, as in a second recipe that shares it.
    (tmp_path / "record.json").unlink()
    for file in (tmp_path / "stages").rglob("state.safetensors"):
        if len(checkpoint.load(file)[1]["history"]) == 4:
            file.unlink()
    again = train(recipe, digits, seed=0, out=tmp_path, compute=CPU)
    assert [row["loss"] for row in again.history] == [row["loss"] for row in record.history]


def test_an_optimiser_that_does_not_fit_is_not_kept(digits: Data, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="keeps the optimiser of a stage before it, and there is none"):
        train(one_stage(digits, keeps_optimizer=True), digits, seed=0, out=tmp_path / "a", compute=CPU)
    first = named("ce", digits, epochs=1).stages[0]
    second = dataclasses.replace(first, name="second", trains="classifier", keeps_optimizer=True)
    recipe = dataclasses.replace(named("ce", digits), stages=(first, second))
    with pytest.raises(InputError, match="trains other parameters than the stage before it"):
        train(recipe, digits, seed=0, out=tmp_path / "b", compute=CPU)


def test_a_finished_stage_leaves_its_state_and_nothing_else(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    recipe = dataclasses.replace(named("ce", digits, epochs=3), selection="best on validation")
    train(recipe, digits, seed=0, out=tmp_path, compute=CPU)
    files = [path for path in (tmp_path / "stages").rglob("*") if path.is_file() and path.name != ".lock"]
    assert sorted(path.name for path in files) == ["optimizer.safetensors", "state.safetensors"]


# ------------------------------------------------------------------------------------------------------- going on


def stopped(recipe: Recipe, data: Data, out: pathlib.Path, *, after: int) -> None:
    """Start a run and interrupt it when so many epochs are done."""

    def stop(progress: loop.Progress) -> None:
        if progress.epoch == after and progress.share == 0.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, seed=1, out=out, compute=CPU, notify=stop)


def alone(stage: Stage, data: Data, model: Part | None = None) -> Recipe:
    """A recipe of one stage of three epochs."""
    plain = named("ce", data)
    return dataclasses.replace(
        plain, model=model or plain.model, stages=(dataclasses.replace(stage, epochs=3, fresh_head=False),)
    )


def drawing(data: Data) -> dict[str, Recipe]:
    """For each random stream a recipe whose steps draw from it."""
    ce = named("ce", data).stages[0]
    subset = part(InformativeSubset, arm="uniform", k=12, resample_every=1)
    centroids = named("dro-lt@centroid-pass=balanced,augmented=true,steps=4", data).stages[1]
    pairs = named("bns-probe@positives=1,negatives=8", data).stages[0]
    return {
        "order": alone(ce, data),
        "augment": alone(ce, data),
        "subset": alone(dataclasses.replace(ce, sampler=subset), data),
        "epoch": alone(dataclasses.replace(centroids, trains="all"), data),
        "pairs": alone(pairs, data),
        "global": alone(ce, data, part(Dropping)),
        "gpu": alone(ce, data, part(DroppingElsewhere)),
    }


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a run on the CPU look after the global generator of a GPU."""
    kept = loop._global_generators
    monkeypatch.setattr(torch.cuda, "default_generators", (ELSEWHERE,))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(loop, "_global_generators", lambda device: kept("cuda"))


def numbers(record: Any) -> list[Any]:
    kept = ("loss", "train_accuracy", "learning_rate", "validation_accuracy", "radii")
    return [[row.get(name) for name in kept] for row in record.history] + [record.report["per_class"]]


@pytest.mark.parametrize("stream", [*STREAMS, "global", "gpu"])
def test_a_resumed_run_draws_on_from_every_stream(
    stream: str, digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """To the same numbers; and to others where that one stream is not restored, so the test can fail."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    if stream == "gpu":
        request.getfixturevalue("gpu")
    recipe = drawing(digits)[stream]
    whole = train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU)
    for name in ("restored", "forgotten"):
        stopped(recipe, digits, tmp_path / name, after=2)
    resumed = train(recipe, digits, seed=1, out=tmp_path / "restored", compute=CPU)
    assert numbers(resumed) == numbers(whole)

    take_up = loop._take_up

    def forgetful(tensors: Any, facts: Any, prepared: Any, state: Any) -> Any:
        held = {"global": torch.default_generator, "gpu": ELSEWHERE}.get(stream) or prepared.generators[stream]
        before = held.get_state()
        found = take_up(tensors, facts, prepared, state)
        held.set_state(before)
        return found

    monkeypatch.setattr(loop, "_take_up", forgetful)
    forgotten = train(recipe, digits, seed=1, out=tmp_path / "forgotten", compute=CPU)
    assert numbers(forgotten) != numbers(whole)


def test_a_checkpoint_without_the_state_of_a_gpu_is_taken_up(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    recipe = drawing(digits)["order"]
    whole = train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU)
    stopped(recipe, digits, tmp_path / "cut", after=2)
    request.getfixturevalue("gpu")
    assert numbers(train(recipe, digits, seed=1, out=tmp_path / "cut", compute=CPU)) == numbers(whole)


def test_a_schedule_goes_on_where_it_was(
    digits: Data, watch: Watch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    recipe = one_stage(digits, schedule=part(cosine, warmup=0.2), epochs=4)
    train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU)
    used, before = list(watch.rates), [list(held) for held in watch.momentum]
    stopped(recipe, digits, tmp_path / "cut", after=3)
    del watch.rates[:], watch.momentum[:]
    record = train(recipe, digits, seed=1, out=tmp_path / "cut", compute=CPU)
    again = len(watch.rates)
    assert again == 2 * record.history[0]["steps"]  # the third epoch was not yet in a checkpoint
    assert watch.rates == used[-again:]
    for held, there in zip(watch.momentum[0], before[-again], strict=True):
        assert torch.equal(held, there)


def test_the_best_epoch_on_validation_survives_an_interruption(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It unlearns after the third epoch; the best one lies before the interruption."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    recipe = dataclasses.replace(
        one_stage(digits, schedule=part(falls), epochs=6, optimizer=part(sgd, lr=0.05)), selection="best on validation"
    )
    whole = train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU, watch_test=True)
    accuracy = [row["validation_accuracy"] for row in whole.history]
    best = accuracy.index(max(accuracy))
    assert best < 4
    assert accuracy[-1] < accuracy[best] - 0.1
    assert whole.report["accuracy"] == whole.history[best]["test_accuracy"]
    stopped(recipe, digits, tmp_path / "cut", after=5)
    cut = train(recipe, digits, seed=1, out=tmp_path / "cut", compute=CPU)
    assert cut.report == whole.report
