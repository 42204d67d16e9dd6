"""The training loop: stage by stage, epoch by epoch, step by step.

Reads top to bottom. A stage that is stored already is taken from the store; a stage that was interrupted goes on from
its last checkpoint to the same numbers.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longtail import metrics
from longtail.data import Data, Split
from longtail.errors import InputError, failure
from longtail.models import Network
from longtail.recipes.stages import Recipe
from longtail.training import capture, checkpoint, seeds
from longtail.training import compute as computing
from longtail.training.passes import outputs
from longtail.training.prepare import Prepared, advance, batches_of, prepare
from longtail.training.store import State, Store, load_network, load_optimizer, network_tensors, taken_up

CHECKPOINT_SECONDS = 20.0
"""A checkpoint is written at the end of an epoch once this long has passed since the last."""
REPORT_SECONDS = 1.0
"""Progress is reported once this long has passed since the last report."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run is: ``epoch`` of ``epochs`` (over all stages) done, ``share`` of the next; loss in nats."""

    recipe: str
    seed: int
    stage: str
    epoch: int
    epochs: int
    share: float
    loss: float | None
    accuracy: float | None


Notify = Callable[[Progress], object]


@dataclasses.dataclass(frozen=True)
class Job:
    """One recipe to be trained on one data set from one seed.

    Args:
        recipe: what to train.
        data: data set, its images on the device.
        seed: random seed that decides every draw.
        store: where states are kept.
        compute: device, precision and compilation.
        watch_test: evaluate the test split after every epoch; it never selects anything.
        notify: called with the progress.
    """

    recipe: Recipe
    data: Data
    seed: int
    store: Store
    compute: computing.Compute
    watch_test: bool
    notify: Notify


def train_stages(job: Job, state: State) -> None:
    """Train what is not trained yet; ``state`` becomes the final one."""
    last = len(job.recipe.stages) - 1
    done = next((i for i in range(last, -1, -1) if job.store.finished(i).exists()), -1)
    if done >= 0:
        job.store.restore(state, done)
    for position in range(done + 1, last + 1):
        # Another process may be training the same stage: wait for it, then take its result.
        with job.store.locked(position):
            if job.store.finished(position).exists():
                job.store.restore(state, position)
            else:
                train_stage(job, position, state)
                job.store.finish(state, position)


def train_stage(job: Job, position: int, state: State) -> None:
    """Train one stage from its beginning or from its checkpoint; ``state`` is updated, not stored."""
    stage, network = job.recipe.stages[position], state.network
    prepared = prepare(job.recipe, position, network, job.data, seed=job.seed, compute=job.compute)
    if stage.keeps_optimizer:
        _keep_optimizer(prepared, state)
    selecting = job.recipe.selection == "best on validation" and position == len(job.recipe.stages) - 1
    best, first = -math.inf, 0
    # Dropout in a network of somebody's own draws from torch's global generator: it has a stream, too.
    torch.default_generator.manual_seed(seeds.generator(job.seed, "stage", position, "network").initial_seed())
    found = job.store.resume(position)
    if found is not None:
        first, best = _take_up(*found, prepared, state)
    else:
        state.notes = [*state.notes, *(f"{stage.name}: {note}" for note in prepared.notes)]

    take = advance(prepared)
    saved = time.monotonic()
    for epoch in range(first, stage.epochs):
        clock = time.perf_counter()
        if prepared.start_epoch(epoch) and isinstance(take, capture.Recorded):
            take.forget()
        row: dict[str, Any] = {"stage": stage.name, "epoch": epoch + 1, **train_epoch(job, prepared, take, epoch)}
        row |= {"seconds": time.perf_counter() - clock, "validation_accuracy": None, "test_accuracy": None}
        row |= prepared.history()
        if job.data.validation is not None:
            # The validation split has the training set's tail; over classes it ranks epochs as a balanced test would.
            row["validation_accuracy"] = _accuracy(network, job.data.validation, job.data).balanced_accuracy
        if job.watch_test:
            row["test_accuracy"] = _accuracy(network, job.data.test, job.data).accuracy
        state.history = [*state.history, row]
        if selecting and row["validation_accuracy"] > best:
            best = row["validation_accuracy"]
            job.store.keep(job.store.best(position), position, network_tensors(network), {"epoch": epoch + 1})
        if time.monotonic() - saved > CHECKPOINT_SECONDS and epoch + 1 < stage.epochs:
            _checkpoint(job, position, epoch, best, prepared, state)
            saved = time.monotonic()

    state.optimizer = prepared.optimizer.state_dict()
    network.requires_grad_(True)
    if selecting:
        load_network(network, checkpoint.load(job.store.best(position))[0])


def train_epoch(job: Job, prepared: Prepared, take: Callable[[Tensor], None], epoch: int) -> dict[str, Any]:
    """Train one epoch; return its mean loss, its training accuracy and the learning rate of its last step.

    Nothing inside waits for the device but the once-a-second report on a CPU; sums are read at the end.
    """
    stage, step = prepared.stage, prepared.step
    batches = batches_of(prepared.sampler, step.size, job.compute.device)
    _check_batches(job, prepared, batches, epoch)
    step.sums.reset()
    seen, rate, told = 0, 0.0, time.monotonic()
    for number, chosen in enumerate(batches):
        rate = step.rate(prepared.factor(epoch, number / len(batches), stage.epochs))
        try:
            take(chosen)
        except InputError:
            raise
        except Exception as error:
            if not any(held.foreign for held in (stage.objective, stage.sampler, stage.optimizer, job.recipe.model)):
                raise
            where = f"stage {stage.name!r}, epoch {epoch + 1}, step {number + 1} of {len(batches)}"
            raise InputError(f"{where}: {failure(error)}") from error
        seen += len(chosen)
        if time.monotonic() - told > REPORT_SECONDS:
            told = time.monotonic()
            _report(job, prepared, epoch, (number + 1) / len(batches), seen)
    if int(step.sums.first_bad) < len(batches):
        kept = job.store.progress(prepared.position)
        last = f"the last good checkpoint is {kept}" if kept.exists() else "no checkpoint was written yet"
        raise InputError(
            f"the loss became {float(step.sums.loss)} in stage {stage.name!r}, epoch {epoch + 1}, step "
            f"{int(step.sums.first_bad) + 1} of {len(batches)}; {last}. A smaller learning rate, or --precision "
            "float32, usually helps"
        )
    _report(job, prepared, epoch + 1, 0.0, seen)
    accuracy = float(step.sums.correct) / seen if step.sums.looked else None
    loss = float(step.sums.loss) / seen
    return {"loss": loss, "train_accuracy": accuracy, "learning_rate": rate, "steps": len(batches)}


def _check_batches(job: Job, prepared: Prepared, batches: list[Tensor], epoch: int) -> None:
    """Refuse what a sampler of somebody's own cannot mean; ours are tested."""
    where, size = f"stage {prepared.stage.name!r}, epoch {epoch + 1}: sampler", len(job.data.train)
    name = prepared.stage.sampler.name
    if not batches:
        raise InputError(f"{where} {name!r} gave no image")
    if prepared.stage.sampler.foreign:
        index = torch.cat(batches)
        if int(index.min()) < 0 or int(index.max()) >= size:
            raise InputError(f"{where} {name!r} gave an index outside 0 to {size - 1}")


def _report(job: Job, prepared: Prepared, epoch: int, share: float, seen: int) -> None:
    """Tell where the run is; within an epoch a GPU is not asked for its sums, since that would wait for it."""
    sums = prepared.step.sums
    before = sum(held.epochs for held in job.recipe.stages[: prepared.position])
    loss = accuracy = None
    if job.compute.device == "cpu" or share == 0.0:
        loss = float(sums.loss) / seen
        accuracy = float(sums.correct) / seen if sums.looked else None
    where = (job.recipe.name, job.seed, prepared.stage.name, before + epoch, job.recipe.epochs, share)
    job.notify(Progress(*where, loss, accuracy))


def _accuracy(network: Network, split: Split, data: Data) -> metrics.Report:
    prediction = outputs(network, split, data).logits.argmax(dim=1)
    return metrics.evaluate(split.target.cpu(), prediction.cpu(), counts=data.counts)


def _keep_optimizer(prepared: Prepared, state: State) -> None:
    """Continue with the previous stage's momentum, at this stage's own learning rate and decay."""
    if state.optimizer is None:
        raise InputError(f"stage {prepared.stage.name!r} keeps the optimiser of a stage before it, and there is none")
    own = prepared.optimizer.state_dict()["param_groups"]
    if [len(group["params"]) for group in own] != [len(group["params"]) for group in state.optimizer["param_groups"]]:
        raise InputError("keeps_optimizer: the stage trains other parameters than the stage before it")
    load_optimizer(prepared.optimizer, {"state": state.optimizer["state"], "param_groups": own})


# Checkpoints within a stage.


def _parts(prepared: Prepared) -> dict[str, Any]:
    return {"objective": prepared.objective, "sampler": prepared.sampler}


def _checkpoint(job: Job, position: int, epoch: int, best: float, prepared: Prepared, state: State) -> None:
    tensors = network_tensors(state.network)
    tensors |= {f"generator.{name}": held.get_state() for name, held in prepared.generators.items()}
    tensors["generator.global"] = torch.default_generator.get_state()
    facts: dict[str, Any] = {
        "epoch": epoch + 1,
        "best": best if math.isfinite(best) else None,
        "history": state.history,
        "notes": state.notes,
        "optimizer": checkpoint.flatten(prepared.optimizer.state_dict(), "optimizer", tensors),
    }
    for name, held in _parts(prepared).items():
        kept = held.state_dict() if hasattr(held, "state_dict") else None
        facts[name] = None if kept is None else checkpoint.flatten(kept, name, tensors)
    job.store.keep(job.store.progress(position), position, tensors, facts)


def _take_up(tensors: dict[str, Tensor], facts: dict[str, Any], prepared: Prepared, state: State) -> tuple[int, float]:
    """Bring everything to where a checkpoint was written; return the next epoch and the best validation accuracy."""
    load_network(state.network, tensors)
    load_optimizer(prepared.optimizer, checkpoint.unflatten(facts["optimizer"], tensors))
    for name, held in prepared.generators.items():
        held.set_state(tensors[f"generator.{name}"])
    torch.default_generator.set_state(tensors["generator.global"])
    for name, part in _parts(prepared).items():
        if facts[name] is not None:
            part.load_state_dict(checkpoint.unflatten(facts[name], tensors))
    state.history, state.notes = facts["history"], taken_up(facts)
    return facts["epoch"], -math.inf if facts["best"] is None else facts["best"]
