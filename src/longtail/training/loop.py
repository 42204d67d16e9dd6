"""The training loop: stage by stage, epoch by epoch, step by step.

Reads top to bottom. A stage that is stored already is taken from the store; a stage that was interrupted goes on from
its last checkpoint, also within an epoch, to the same numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from longtail import metrics
from longtail.data import Data, Split
from longtail.data.splits import NAMED
from longtail.data.streams import Pictures
from longtail.errors import DivergedError, InputError, failure
from longtail.models import Network
from longtail.recipes.objectives import looks_at_training_set
from longtail.recipes.part import parts_in
from longtail.recipes.stages import Recipe, Stage
from longtail.training import capture, checkpoint, seeds
from longtail.training import compute as computing
from longtail.training.loader import loaded, seeds_from
from longtail.training.passes import outputs
from longtail.training.prepare import Prepared, advance, batches_of, class_mean_head, prepare
from longtail.training.processes import ALONE, Division, Ranks
from longtail.training.store import State, Store, load_network, load_optimizer, network_tensors, taken_up
from longtail.wording import counted

CHECKPOINT_SECONDS = 20.0
"""A checkpoint is written at the end of an epoch once this long has passed since the last."""
WITHIN_EPOCH_SECONDS = 60.0
"""A checkpoint is written within an epoch, too, once this long has passed since the last: an epoch may take hours."""
REPORT_SECONDS = 1.0
"""Progress is reported once this long has passed since the last report."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run is: ``epoch`` of ``epochs`` (over all stages) done, ``share`` of the next; loss in nats.

    ``row`` is the finished epoch's row of the history, and None within an epoch.
    """

    recipe: str
    seed: int
    stage: str
    epoch: int
    epochs: int
    share: float
    loss: float | None
    accuracy: float | None
    row: dict[str, Any] | None = None


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
        ranks: the processes that train it together.
        short: network on features and data of features that stand for the whole network and its pictures, where what
            lies below the features stays as it is (``longtail.training.frozen``); None for the network itself.
    """

    recipe: Recipe
    data: Data
    seed: int
    store: Store
    compute: computing.Compute
    watch_test: bool
    notify: Notify
    short: Network | None = None
    ranks: Ranks = ALONE


def train_stages(job: Job, state: State) -> None:
    """Train what is not trained yet; ``state`` becomes the final one."""
    last, ranks = len(job.recipe.stages) - 1, job.ranks
    done = ranks.first(lambda: next((i for i in range(last, -1, -1) if job.store.finished(i).exists()), -1))
    if done >= 0:
        job.store.restore(state, done, ranks)
    for position in range(done + 1, last + 1):
        finished = job.store.finished(position)
        # Another run may be training the same stage: wait for it, then take its result.
        with job.store.locked(position) if ranks.leads else contextlib.nullcontext():
            if ranks.first(finished.exists):
                job.store.restore(state, position, ranks)
            else:
                train_stage(job, position, state)
                if ranks.leads:
                    job.store.finish(state, position)


def train_stage(job: Job, position: int, state: State) -> None:
    """Train one stage from its beginning or from its checkpoint; ``state`` is updated, not stored."""
    stage, network, ranks = job.recipe.stages[position], job.short or state.network, job.ranks
    prepared = prepare(job.recipe, position, network, job.data, seed=job.seed, compute=job.compute, ranks=ranks)
    ranks.copy(_tensors(network, prepared.objective))
    if stage.keeps_optimizer:
        _keep_optimizer(prepared, state)
    selecting = job.recipe.selection == "best on validation" and position == len(job.recipe.stages) - 1
    best, first, begun = -math.inf, 0, None
    # Dropout in a network draws from torch's global generator of its device: it has a stream, too.
    for held in _global_generators(job.compute.device).values():
        held.manual_seed(seeds.generator(job.seed, "stage", position, "network").initial_seed())
    found = ranks.first(lambda: job.store.resume(position))
    if found is not None:
        first, best = _take_up(*found, prepared, state)
        begun = _within(*found, prepared)
    else:
        state.notes = [*state.notes, *(f"{stage.name}: {note}" for note in prepared.notes)]
        if stage.class_means:
            class_mean_head(network, job.data, ranks)
            if prepared.step.average is not None:
                prepared.step.average.restart()

    take, parts = advance(prepared), (stage, job.recipe.model)
    clock = Clock()
    for epoch in range(first, stage.epochs):
        start = time.perf_counter()
        if begun is None:
            with own_code(parts, f"stage {stage.name!r}, epoch {epoch + 1}"):
                if prepared.start_epoch(epoch) and isinstance(take, capture.Recorded):
                    take.forget()
                begun = begin(job, prepared, epoch)

        def save(held: Epoch, best: float = best, start: float = start) -> None:
            held = dataclasses.replace(held, seconds=held.seconds + time.perf_counter() - start)
            _checkpoint(job, position, held.number, best, prepared, state, held)

        row: dict[str, Any] = {"stage": stage.name, "epoch": epoch + 1}
        saves = ranks.leads and _can_stop_within(prepared)
        row |= train_epoch(job, prepared, take, begun, save if saves else None, clock)
        state.notes = [*state.notes, *(note for note in unread(begun) if note not in state.notes)]
        row |= {"seconds": begun.seconds + time.perf_counter() - start}
        row |= {"validation_accuracy": None, "test_accuracy": None}
        begun = None
        with own_code(parts, f"stage {stage.name!r}, epoch {epoch + 1}"):
            row |= prepared.history()
            with averaged(prepared):
                _look(job, network, row)
        state.history = [*state.history, row]
        done = sum(held.epochs for held in job.recipe.stages[:position]) + epoch + 1
        where = (job.recipe.name, job.seed, stage.name, done, job.recipe.epochs, 0.0)
        job.notify(Progress(*where, row["loss"], row["train_accuracy"], row))
        if selecting and row["validation_accuracy"] > best:
            best = row["validation_accuracy"]
            with averaged(prepared):
                if ranks.leads:
                    kept = network_tensors(network)
                    job.store.keep(job.store.best(position), position, kept, {"epoch": epoch + 1})
        if _patience_is_over(stage, state.history):
            state.notes = [
                *state.notes,
                f"{stage.name}: ended after epoch {epoch + 1}, {stage.patience} epochs "
                "without a better one on validation",
            ]
            break
        if ranks.leads and clock.since() > CHECKPOINT_SECONDS and epoch + 1 < stage.epochs:
            _checkpoint(job, position, epoch + 1, best, prepared, state)
            clock.restart()

    state.optimizer = prepared.optimizer.state_dict()
    network.requires_grad_(True)
    if prepared.step.average is not None:
        network.load_state_dict(prepared.step.average.tensors, strict=False)
    if selecting:
        load_network(network, ranks.first(lambda: checkpoint.load(job.store.best(position))[0]))


@contextlib.contextmanager
def own_code(parts: Any, where: str, held: Epoch | None = None) -> Iterator[None]:
    """Say in one line what goes wrong meanwhile, if any of the parts that run is somebody's own.

    Args:
        parts: what a recipe holds of them.
        where: what is said first.
        held: the epoch under way, whose step is named.

    Raises:
        InputError: in place of another error.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not any(part.foreign for part in parts_in(parts)):
            raise
        step = "" if held is None else f", step {held.step + 1} of {len(held.batches)}"
        raise InputError(f"{where}{step}: {failure(error)}") from error


def _tensors(network: Network, objective: Any) -> Iterator[Tensor]:
    """All that a stage begins with: the network's weights and statistics, and what its objective holds."""
    for module in (network, objective):
        if isinstance(module, torch.nn.Module):
            yield from module.parameters()
            yield from module.buffers()


def averaged(prepared: Prepared) -> contextlib.AbstractContextManager[None]:
    """Let the network have its averaged weights for a while, if the stage averages them."""
    average = prepared.step.average
    return contextlib.nullcontext() if average is None else average.in_place()


def _look(job: Job, network: Network, row: dict[str, Any]) -> None:
    """Evaluate a network after an epoch on the splits that are there to be looked at."""
    if job.data.validation is not None:
        # The validation split has the training set's tail; over classes it ranks epochs as a balanced test would.
        row["validation_accuracy"] = _accuracy(network, job.data.validation, job).balanced_accuracy
    if job.watch_test:
        row["test_accuracy"] = _accuracy(network, job.data.test, job).accuracy


def _patience_is_over(stage: Stage, history: list[dict[str, Any]]) -> bool:
    """Whether the last ``patience`` epochs of the stage were no better on validation than one before them."""
    scores = [row["validation_accuracy"] for row in history if row["stage"] == stage.name]
    if not stage.patience or len(scores) <= stage.patience or None in scores:
        return False
    return bool(max(scores[-stage.patience :]) <= max(scores[: -stage.patience]))


@dataclasses.dataclass
class Epoch:
    """An epoch under way.

    Args:
        number: of the epoch in its stage, from 0.
        batches: positions in the training split, (n,) each, in the order of the steps.
        seed: of the augmentation of pictures that are read while training; None where images are in memory.
        step: the next one, from 0.
        seen: images so far.
        rate: learning rate of the last step.
        seconds: that it took before an interruption.
        unread: why pictures could not be read.
    """

    number: int
    batches: list[Tensor]
    seed: int | None
    step: int = 0
    seen: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    unread: list[str] = dataclasses.field(default_factory=list)


class Clock:
    """The time since the last checkpoint."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._start = time.monotonic()

    def since(self) -> float:
        """Seconds."""
        return time.monotonic() - self._start


def begin(job: Job, prepared: Prepared, epoch: int) -> Epoch:
    """Draw the order of an epoch, and of the pictures that it reads the seed of their augmentation.

    Of several processes the first draws the order, and with it what a sampler chose for the epoch, and hands it on.
    """
    batches = _drawn_once(job, prepared)
    _check_batches(job, prepared, batches, epoch)
    seed = None
    if job.data.train.streamed:
        generator = prepared.generators["augment"]
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    prepared.step.sums.reset()
    return Epoch(epoch, batches, seed)


def _drawn_once(job: Job, prepared: Prepared) -> list[Tensor]:
    """The batches of an epoch, as the first process draws them."""
    size, device = prepared.step.size, job.compute.device
    if job.ranks.size == 1:
        return batches_of(prepared.sampler, size, device)

    def drawn() -> tuple[Tensor, list[int]]:
        batches = batches_of(prepared.sampler, size, "cpu")
        return torch.cat(batches) if batches else torch.zeros(0, dtype=torch.int64), [len(batch) for batch in batches]

    index, sizes = job.ranks.first(drawn)  # one tensor: a view of it would be sent with all of it
    return list(torch.split(index.to(device), sizes))


def feed(job: Job, prepared: Prepared, held: Epoch) -> Iterator[Fed]:
    """The rest of an epoch: positions of each step, its images where they are read from files, and what could not be.

    Of a batch of which one image or none could be read nothing is left, as batch norm needs two; of several processes
    each must have so many.
    """
    rest, split = held.batches[held.step :], job.data.train
    if not isinstance(split.images, Pictures):
        yield from (Fed(chosen) for chosen in rest)
        return
    assert held.seed is not None  # begin draws one
    own = seeds_from(held.seed, sum(len(batch) for batch in held.batches))[sum(map(len, held.batches[: held.step])) :]
    operations, skip = prepared.step.augmentation, split.images.skip_unreadable
    if job.ranks.size > 1:
        yield from _fed_by_several(job, prepared, rest, own)
        return
    read = loaded(split.images, rest, job.data, operations=operations, seeds=own, skip=skip)
    for chosen, batch in zip(rest, read, strict=True):
        kept = chosen[batch.kept.to(chosen.device)]
        yield Fed(kept, batch.images, batch.problems, left=not batch.problems or len(kept) > 1)


@dataclasses.dataclass(frozen=True)
class Fed:
    """What a step is given.

    Args:
        index: positions (N,) of the images in the training split.
        images: those that this process has, where they are read from files.
        problems: why the others could not be read.
        division: of the batch among processes.
        left: whether enough is left of it.
    """

    index: Tensor
    images: Tensor | None = None
    problems: tuple[str, ...] = ()
    division: Division | None = None
    left: bool = True


def _fed_by_several(job: Job, prepared: Prepared, rest: list[Tensor], seeds: Tensor) -> Iterator[Fed]:
    """Read this process's part of each batch; where pictures may be left out, agree on what is left."""
    ranks, images = job.ranks, job.data.train.images
    assert isinstance(images, Pictures)
    divisions = [prepared.step.division(len(batch)) for batch in rest]
    pairs = list(zip(divisions, torch.split(seeds, [len(batch) for batch in rest]), strict=True))
    read = loaded(
        images,
        [division.taken(batch) for division, batch in zip(divisions, rest, strict=True)],
        job.data,
        operations=prepared.step.augmentation,
        seeds=torch.cat([seeds[:0], *(division.taken(own) for division, own in pairs)]),
        skip=images.skip_unreadable,
    )
    for chosen, division, batch in zip(rest, divisions, read, strict=True):
        if not images.skip_unreadable:
            yield Fed(chosen, batch.images, division=division)
            continue
        readable = torch.zeros(sum(place.stop - place.start for place in division.own), dtype=torch.bool)
        readable[batch.kept] = True
        now, kept, enough = division.kept(readable)
        problems = tuple(dict.fromkeys(line for lines in ranks.each(batch.problems) for line in lines))
        yield Fed(chosen[kept.to(chosen.device)], batch.images, problems, now, not problems or enough)


def unread(held: Epoch) -> list[str]:
    """Return what is to be said of pictures that could not be read: the first ones, and how many."""
    found = list(dict.fromkeys(held.unread))
    more = [f"skipped {counted(len(found), 'picture')} that cannot be read"] if len(found) > NAMED else []
    return [f"skipped: {why}" for why in found[:NAMED]] + more


def train_epoch(
    job: Job,
    prepared: Prepared,
    take: Callable[..., None],
    held: Epoch,
    save: Callable[[Epoch], None] | None,
    clock: Clock,
) -> dict[str, Any]:
    """Train the rest of an epoch; return its mean loss, its training accuracy and the learning rate of its last step.

    Nothing inside waits for the device but the once-a-second report on a CPU; sums are read at the end.

    Args:
        job: the run.
        prepared: the stage.
        take: one step, from positions and, where they are read from files, images.
        held: the epoch, which is moved on.
        save: writes a checkpoint within the epoch; None where a part would not survive it.
        clock: since the last checkpoint.
    """
    stage, step, epoch, batches = prepared.stage, prepared.step, held.number, held.batches
    told = time.monotonic()
    with own_code((stage, job.recipe.model), f"stage {stage.name!r}, epoch {epoch + 1}", held):
        for fed in feed(job, prepared, held):
            held.unread += fed.problems
            held.rate = step.rate(prepared.factor(epoch, held.step / len(batches), stage.epochs))
            if fed.left:
                if job.compute.divided > 1:  # what layers draw at random is another draw in every process
                    purpose = ("stage", prepared.position, "network", epoch, held.step + 1, job.ranks.rank)
                    torch.manual_seed(seeds.generator(job.seed, *purpose).initial_seed())
                take(fed.index) if fed.images is None else take(fed.index, fed.images, fed.division)
                held.seen += len(fed.index)
            held.step += 1
            if held.seen and time.monotonic() - told > REPORT_SECONDS:
                told = time.monotonic()
                _report(job, prepared, epoch, held.step / len(batches), held.seen)
            if save is not None and held.step < len(batches) and clock.since() > WITHIN_EPOCH_SECONDS:
                save(held)
                clock.restart()
    if int(step.sums.first_bad) < int(step.sums.steps):
        kept = job.store.progress(prepared.position)
        last = f"the last good checkpoint is {kept}" if kept.exists() else "no checkpoint was written yet"
        raise DivergedError(
            f"the loss became {float(step.sums.loss)} in stage {stage.name!r}, epoch {epoch + 1}, step "
            f"{int(step.sums.first_bad) + 1} of {len(batches)}; {last}. A smaller learning rate, or --precision "
            "float32, usually helps"
        )
    if not held.seen:
        raise InputError(f"stage {stage.name!r}, epoch {epoch + 1}: no picture could be read: {held.unread[0]}")
    accuracy = float(step.sums.correct) / held.seen if step.sums.looked else None
    loss = float(step.sums.loss) / held.seen
    return {"loss": loss, "train_accuracy": accuracy, "learning_rate": held.rate, "steps": int(step.sums.steps)}


def _check_batches(job: Job, prepared: Prepared, batches: list[Tensor], epoch: int) -> None:
    """Refuse what a sampler of somebody's own cannot mean; ours are tested."""
    where, size = f"stage {prepared.stage.name!r}, epoch {epoch + 1}: sampler", len(job.data.train)
    name = prepared.stage.sampler.name
    if not batches:
        raise InputError(f"{where} {name!r} gave no image")
    if any(part.foreign for part in parts_in(prepared.stage.sampler)):
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


def _accuracy(network: Network, split: Split, job: Job) -> metrics.Report:
    prediction = outputs(network, split, job.data, job.ranks).logits.argmax(dim=1)
    return metrics.evaluate(split.target.cpu(), prediction.cpu(), counts=job.data.counts)


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


def _global_generators(device: str) -> dict[str, torch.Generator]:
    """The generators that layers draw from which are given none, by their names in a checkpoint."""
    found = {"generator.global": torch.default_generator}
    if device == "cuda":
        found["generator.global.cuda"] = torch.cuda.default_generators[torch.cuda.current_device()]
    return found


def _can_stop_within(prepared: Prepared) -> bool:
    """Whether all that an epoch began with is in a checkpoint; what an objective saw of the training set is not."""
    return not looks_at_training_set(prepared.objective)


def _checkpoint(
    job: Job, position: int, epochs: int, best: float, prepared: Prepared, state: State, within: Epoch | None = None
) -> None:
    """Write where a stage is: after so many epochs, and within the next one."""
    tensors = network_tensors(state.network)
    tensors |= {f"generator.{name}": held.get_state() for name, held in prepared.generators.items()}
    tensors |= {name: held.get_state() for name, held in _global_generators(job.compute.device).items()}
    average, scaler = prepared.step.average, prepared.step.scaler
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.tensors.items()}
        tensors["average updates"] = average.updates
    facts: dict[str, Any] = {
        "scaler": None if scaler is None else scaler.state_dict(),
        "epoch": epochs,
        "best": best if math.isfinite(best) else None,
        "history": state.history,
        "notes": state.notes,
        "optimizer": checkpoint.flatten(prepared.optimizer.state_dict(), "optimizer", tensors),
    }
    for name, held in _parts(prepared).items():
        kept = held.state_dict() if hasattr(held, "state_dict") else None
        facts[name] = None if kept is None else checkpoint.flatten(kept, name, tensors)
    if within is not None:
        tensors["within.order"] = torch.cat(within.batches)
        sums = prepared.step.sums
        tensors |= {f"within.{name}": held for name, held in sums.totals().items()}
        told = {field.name: getattr(within, field.name) for field in dataclasses.fields(within)}
        sizes = [len(batch) for batch in within.batches]
        facts["within"] = {**told, "batches": sizes, "looked": sums.looked}
    job.store.keep(job.store.progress(position), position, tensors, facts)


def _take_up(tensors: dict[str, Tensor], facts: dict[str, Any], prepared: Prepared, state: State) -> tuple[int, float]:
    """Bring everything to where a checkpoint was written; return the next epoch and the best validation accuracy."""
    load_network(state.network, tensors)
    load_optimizer(prepared.optimizer, checkpoint.unflatten(facts["optimizer"], tensors))
    for name, held in prepared.generators.items():
        held.set_state(tensors[f"generator.{name}"])
    for name, held in _global_generators(prepared.step.compute.device).items():
        if name in tensors:  # early checkpoints have none of a GPU
            held.set_state(tensors[name])
    average, scaler = prepared.step.average, prepared.step.scaler
    if average is not None:
        for name, tensor in average.tensors.items():
            tensor.copy_(tensors[f"average.{name}"])
        average.updates.copy_(tensors["average updates"])
    if scaler is not None:
        scaler.load_state_dict(facts["scaler"])
    for name, part in _parts(prepared).items():
        if facts[name] is not None:
            part.load_state_dict(checkpoint.unflatten(facts[name], tensors))
    state.history, state.notes = facts["history"], taken_up(facts)
    return facts["epoch"], -math.inf if facts["best"] is None else facts["best"]


def _within(tensors: dict[str, Tensor], facts: dict[str, Any], prepared: Prepared) -> Epoch | None:
    """The epoch within which a checkpoint was written; None if it was written between two."""
    told = facts.get("within")
    if told is None:
        return None
    sums = prepared.step.sums
    for name, held in sums.totals().items():
        held.copy_(tensors[f"within.{name}"])
    sums.looked = told["looked"]
    order = tensors["within.order"].to(sums.loss.device)
    fields = {field.name: told[field.name] for field in dataclasses.fields(Epoch)}
    return Epoch(**{**fields, "batches": list(torch.split(order, told["batches"]))})
