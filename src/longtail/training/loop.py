"""``train(recipe, data, seed) -> Record``: the only training loop.

States after a stage are stored under their content address, so a beginning that recipes share is trained once, and a
run that was killed goes on from its last checkpoint to the same numbers.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longtail import metrics
from longtail.data import Data, Split
from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.models import Network, identity
from longtail.recipes import config
from longtail.recipes.stages import NUMERICS, Recipe, Stage, address
from longtail.results.record import Record, write
from longtail.training import capture, checkpoint
from longtail.training import compute as computing
from longtail.training.passes import outputs
from longtail.training.prepare import advance, batches_of, on_device, prepare, untrained
from longtail.training.step import Step

CHECKPOINT_SECONDS = 20.0
"""A checkpoint is written at the end of an epoch once this long has passed since the last."""


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


def train(
    recipe: Recipe,
    data: Data,
    *,
    seed: int,
    out: pathlib.Path | str,
    store: pathlib.Path | str | None = None,
    compute: computing.Compute | None = None,
    watch_test: bool = False,
    notify: Notify | None = None,
) -> Record:
    """Train a recipe on a data set from one seed and write its record.

    Called again with the same arguments it returns the finished record, or continues where it was stopped.

    Args:
        recipe: what to train.
        data: what to train it on, from ``longtail.data.load``.
        seed: decides every random draw.
        out: folder of this one run; refused when it holds another.
        store: folder of states that runs share; ``out / "stages"`` if not given.
        compute: device, precision and compilation; chosen for this machine if not given.
        watch_test: evaluate the test split after every epoch, for curves and for the flagged legacy field. It never
            selects anything.
        notify: called about once a second and after every epoch.

    Returns:
        The record, also written to ``out / "record.json"`` with the test predictions beside it.

    Raises:
        InputError: ``out`` holds another run or cannot be written to, the loss became non-finite, a recipe that
            selects on a validation split that the data does not have.
    """
    out = pathlib.Path(out)
    store = out / "stages" if store is None else pathlib.Path(store)
    compute = compute or computing.choose()
    if recipe.selection == "best on validation" and data.validation is None:
        raise InputError("selection 'best on validation' needs a validation split: load the data with validation=0.1")
    facts = {"seed": seed, "fingerprint": data.fingerprint, "compute": dataclasses.asdict(compute)}
    plan = {**facts, "recipe": config.plain(recipe), "watch_test": watch_test, "numerics": NUMERICS}
    finished = _claim(out, plan)
    if finished is not None:
        return finished

    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    data = on_device(data, compute.device)
    run = _Run(recipe, data, seed, store, compute, watch_test, notify or (lambda _: None))
    state = _State(untrained(recipe, data, seed=seed, compute=compute), None, [])
    shape = data.train.images.shape
    work = identity(state.network, channels=shape[1], image_size=shape[2])["multiply_adds"]
    with computing.threads_for(work * max(stage.sampler.batch_size for stage in recipe.stages)):
        with capture.apart(compute.device):
            run.stages(state)
        clock = time.perf_counter()
        record, arrays = run.evaluate(state, started)
    record = dataclasses.replace(record, seconds=record.seconds + time.perf_counter() - clock)
    final = run.folder(len(recipe.stages) - 1) / "state.safetensors"
    write_atomically(out / "model.safetensors", lambda file: shutil.copyfile(final, file))
    return write(record, out, **arrays)


def _claim(out: pathlib.Path, plan: dict[str, Any]) -> Record | None:
    """Make ``out`` this run's folder; return its record if the run is finished."""
    import json

    from longtail.results.record import read

    marker, wanted = out / "run.json", json.dumps(plan, sort_keys=True, indent=1)
    if not marker.exists():
        if out.is_dir() and any(entry.name not in ("stages", ".lock") for entry in out.iterdir()):
            raise InputError(f"{out} is not empty and holds no run of longtail; name a new folder with --out")
        write_atomically(marker, lambda file: file.write_text(wanted))
    elif marker.read_text() != wanted:
        there = _differences(json.loads(marker.read_text()), plan)
        raise InputError(f"{out} holds another run ({there}); nothing was changed, name another folder with --out")
    return read(out).record if (out / "record.json").exists() else None


def _differences(there: Any, here: Any, path: str = "") -> str:
    """The first few fields in which two plans differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(set(there) | set(here))
        parts = [_differences(there.get(key), here.get(key), f"{path}.{key}".lstrip(".")) for key in keys]
        return ", ".join([part for part in parts if part][:3])
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        parts = [_differences(a, b, f"{path}.{i}") for i, (a, b) in enumerate(zip(there, here, strict=True))]
        return ", ".join([part for part in parts if part][:3])
    if there == here:
        return ""
    return f"{path}: {there!r} there, {here!r} here" if len(f"{there}{here}") < 100 else f"{path} differs"


@dataclasses.dataclass
class _State:
    """A network part-way through a recipe, with what the next stage may take over."""

    network: Network
    optimizer: dict[str, Any] | None
    history: list[dict[str, Any]]


@dataclasses.dataclass
class _Run:
    """A recipe being trained on a data set from a seed."""

    recipe: Recipe
    data: Data
    seed: int
    store: pathlib.Path
    compute: computing.Compute
    watch_test: bool
    notify: Notify

    def address(self, stage: int) -> str:
        """What the state after a stage is known by."""
        compute = dataclasses.asdict(self.compute)
        return address(self.recipe, stage, fingerprint=self.data.fingerprint, seed=self.seed, compute=compute)

    def folder(self, stage: int) -> pathlib.Path:
        """Where it is stored."""
        return self.store / self.address(stage)[:24]

    def stages(self, state: _State) -> None:
        """Train what is not yet trained; ``state`` becomes the final one."""
        done = next((i for i in reversed(range(len(self.recipe.stages))) if self._finished(i).exists()), None)
        if done is not None:
            self._restore(state, done)
        for i in range(0 if done is None else done + 1, len(self.recipe.stages)):
            # Another process may be training the same stage: wait for it, then take its result.
            with checkpoint.locked(self.folder(i) / ".lock"):
                if self._finished(i).exists():
                    self._restore(state, i)
                else:
                    _train_stage(self, i, state)

    def _finished(self, stage: int) -> pathlib.Path:
        return self.folder(stage) / "state.safetensors"

    def _restore(self, state: _State, stage: int) -> None:
        tensors, facts = checkpoint.load(self._finished(stage))
        if facts["address"] != self.address(stage):
            raise InputError(f"{self._finished(stage)} belongs to another configuration; remove it to train this one")
        load_network(state.network, tensors)
        state.optimizer = checkpoint.unflatten(facts["optimizer"], tensors)
        state.history = facts["history"]

    def finish(self, stage: int, state: _State, network: dict[str, Tensor]) -> None:
        """Store the state after a stage under its address."""
        tensors = {f"network.{name}": tensor for name, tensor in network.items()}
        facts = {
            "address": self.address(stage),
            "optimizer": checkpoint.flatten(state.optimizer, "optimizer", tensors),
            "history": state.history,
        }
        checkpoint.save(self._finished(stage), tensors, facts)
        (self.folder(stage) / "progress.safetensors").unlink(missing_ok=True)
        (self.folder(stage) / "best.safetensors").unlink(missing_ok=True)

    def accuracy(self, network: Network, split: Split) -> tuple[float, float]:
        """Accuracy over samples and over classes."""
        prediction = outputs(network, split, self.data).logits.argmax(dim=1)
        report = metrics.evaluate(split.target.cpu(), prediction.cpu(), counts=self.data.counts)
        return report.accuracy, report.balanced_accuracy

    def evaluate(self, state: _State, started: str) -> tuple[Record, dict[str, Tensor]]:
        """The record of a finished run and the arrays that go beside it."""
        data, recipe = self.data, self.recipe
        logits = outputs(state.network, data.test, data).logits.cpu()
        target = data.test.target.cpu()
        if recipe.adjustment is not None:
            logits = recipe.adjustment.build(data.counts).adjust(logits)
        prediction = logits.argmax(dim=1)
        probability = logits.double().softmax(dim=1)
        report = metrics.evaluate(
            target, prediction, counts=data.counts, probability=probability, many=data.many, few=data.few
        )
        shape = data.train.images.shape
        record = Record(
            schema=1,
            recipe=recipe.name,
            config=config.plain(recipe),
            seed=self.seed,
            data=describe(data),
            model=identity(state.network, channels=shape[1], image_size=shape[2]),
            numerics={
                "version": NUMERICS,
                **dataclasses.asdict(self.compute),
                "threads": torch.get_num_threads(),
                "state": self.address(len(recipe.stages) - 1),
            },
            packages=computing.packages(),
            hardware=computing.hardware(self.compute.device),
            revision=computing.revision(),
            selection=recipe.selection,
            history=state.history,
            report=report.to_json(),
            legacy=_legacy(state.history),
            seconds=sum(row["seconds"] for row in state.history),
            started=started,
            predictions={},
        )
        return record, {"index": data.test.index.cpu(), "target": target, "prediction": prediction}


def describe(data: Data) -> dict[str, Any]:
    """The identity of a data set as it stands in a record."""
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "imbalance": data.imbalance,
        "profile": data.profile,
        "split_seed": data.split_seed,
        "validation_share": data.validation_share,
        "num_train": len(data.train),
        "num_validation": 0 if data.validation is None else len(data.validation),
        "num_test": len(data.test),
        "counts": data.counts.tolist(),
        "class_names": list(data.class_names),
        "many": data.many,
        "few": data.few,
        "notes": list(data.notes),
    }


def load_network(network: Network, tensors: dict[str, Tensor]) -> None:
    """Load the ``network.`` part of a state, on whatever device the network is."""
    part = {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
    try:
        network.load_state_dict(part)
    except RuntimeError as error:
        raise InputError(f"the checkpoint is of another network: {' '.join(str(error).split())[:200]}") from None


def _legacy(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The best epoch on the test set, as a dozen code bases report it: recorded when watched, never the headline."""
    watched = [row for row in history if row["test_accuracy"] is not None]
    if not watched:
        return {}
    best = max(watched, key=lambda row: row["test_accuracy"])
    note = "selected on the test set: optimistic, kept only to compare with papers that did the same"
    return {"best_on_test": best["test_accuracy"], "stage": best["stage"], "epoch": best["epoch"], "note": note}


def _train_stage(run: _Run, position: int, state: _State) -> None:
    """Train one stage from its beginning or from its checkpoint; ``state`` is updated and stored."""
    stage, network, data = run.recipe.stages[position], state.network, run.data
    prepared = prepare(run.recipe, position, network, data, seed=run.seed, compute=run.compute)
    objective, sampler, optimizer = prepared.objective, prepared.sampler, prepared.optimizer
    generators = prepared.generators
    if stage.keeps_optimizer:
        if state.optimizer is None:
            raise InputError(f"stage {stage.name!r} keeps the optimiser of a stage before it, and there is none")
        _take_over(optimizer, state.optimizer)

    best, first = -math.inf, 0
    progress = run.folder(position) / "progress.safetensors"
    if progress.exists():
        tensors, facts = checkpoint.load(progress)
        if facts["address"] != run.address(position):
            raise InputError(f"{progress} belongs to another configuration; remove it to train this one")
        load_network(network, tensors)
        _load_optimizer(optimizer, checkpoint.unflatten(facts["optimizer"], tensors))
        for name, held in generators.items():
            held.set_state(tensors[f"generator.{name}"])
        _load_part(objective, "objective", tensors, facts)
        _load_part(sampler, "sampler", tensors, facts)
        state.history, first = facts["history"], facts["epoch"]
        best = -math.inf if facts["best"] is None else facts["best"]

    take = advance(prepared)
    saved = time.monotonic()
    for epoch in range(first, stage.epochs):
        clock = time.perf_counter()
        if prepared.start_epoch(epoch) and isinstance(take, capture.Recorded):
            take.forget()
        loss, accuracy, rate = _epoch(run, position, epoch, prepared.step, take, sampler)
        row: dict[str, Any] = {
            "stage": stage.name,
            "epoch": epoch + 1,
            "loss": loss,
            "train_accuracy": accuracy,
            "learning_rate": rate,
            "seconds": time.perf_counter() - clock,
            "validation_accuracy": None,
            "test_accuracy": None,
        }
        if hasattr(objective, "history"):
            row |= objective.history()
        if data.validation is not None:
            # The validation split has the training set's tail; over classes it ranks epochs as a balanced test would.
            row["validation_accuracy"] = run.accuracy(network, data.validation)[1]
        if run.watch_test:
            row["test_accuracy"] = run.accuracy(network, data.test)[0]
        state.history = [*state.history, row]
        selecting = run.recipe.selection == "best on validation" and position == len(run.recipe.stages) - 1
        if selecting and row["validation_accuracy"] > best:
            best = row["validation_accuracy"]
            tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
            checkpoint.save(run.folder(position) / "best.safetensors", tensors, {"epoch": epoch + 1})
        if time.monotonic() - saved > CHECKPOINT_SECONDS and epoch + 1 < stage.epochs:
            tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
            tensors |= {f"generator.{name}": held.get_state() for name, held in generators.items()}
            facts = {
                "address": run.address(position),
                "epoch": epoch + 1,
                "best": best if math.isfinite(best) else None,
                "history": state.history,
                "optimizer": checkpoint.flatten(optimizer.state_dict(), "optimizer", tensors),
                "objective": _save_part(objective, "objective", tensors),
                "sampler": _save_part(sampler, "sampler", tensors),
            }
            checkpoint.save(progress, tensors, facts)
            saved = time.monotonic()

    state.optimizer = optimizer.state_dict()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    if run.recipe.selection == "best on validation" and position == len(run.recipe.stages) - 1:
        tensors, _ = checkpoint.load(run.folder(position) / "best.safetensors")
        load_network(network, tensors)
    run.finish(position, state, network.state_dict())


def _take_over(optimizer: torch.optim.Optimizer, previous: dict[str, Any]) -> None:
    """Continue with the previous stage's momentum, at this stage's own learning rate and decay."""
    own = optimizer.state_dict()["param_groups"]
    if [len(group["params"]) for group in own] != [len(group["params"]) for group in previous["param_groups"]]:
        raise InputError("keeps_optimizer: the stage trains other parameters than the stage before it")
    _load_optimizer(optimizer, {"state": previous["state"], "param_groups": own})


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take up a state; a file holds every tensor row by row, and a fused update wants its parameter's own layout."""
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate  # where the step sets it, on the device
    for parameter, held in optimizer.state.items():
        for name, value in held.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                held[name] = torch.empty_like(parameter.detach()).copy_(value)


def _save_part(part: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    return checkpoint.flatten(part.state_dict(), name, tensors) if hasattr(part, "state_dict") else None


def _load_part(part: Any, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    if facts[name] is not None:
        part.load_state_dict(checkpoint.unflatten(facts[name], tensors))


def _epoch(
    run: _Run, position: int, epoch: int, step: Step, take: Callable[[Tensor], None], sampler: Any
) -> tuple[float, float | None, float]:
    """One epoch: mean loss, training accuracy if the objective looked at the logits, and its last learning rate.

    Nothing inside waits for the device but the once-a-second report on a CPU; sums are read at the end.
    """
    stage, device = run.recipe.stages[position], run.compute.device
    batches = batches_of(sampler, step.size, device)
    before = sum(part.epochs for part in run.recipe.stages[:position]) + epoch
    sums, seen, rate = step.sums, 0, 0.0
    sums.reset()
    told = time.monotonic()
    for number, chosen in enumerate(batches):
        rate = stage.optimizer.lr * stage.schedule.multiplier(epoch, number / len(batches), stage.epochs)
        step.rate(rate)
        take(chosen)
        seen += len(chosen)
        if time.monotonic() - told > 1.0:
            told = time.monotonic()
            running = (float(sums.loss) / seen, float(sums.correct) / seen) if device == "cpu" else (None, None)
            share = (number + 1) / len(batches)
            run.notify(_progress(run, stage, before, share, running[0], running[1] if sums.looked else None))
    if int(sums.first_bad) < len(batches):
        raise InputError(
            f"the loss became {float(sums.loss)} in stage {stage.name!r}, epoch {epoch + 1}, step "
            f"{int(sums.first_bad) + 1} of {len(batches)}; the last good checkpoint is kept in {run.folder(position)}. "
            f"A smaller learning rate, or --precision float32, usually helps"
        )
    loss, accuracy = float(sums.loss) / seen, float(sums.correct) / seen if sums.looked else None
    run.notify(_progress(run, stage, before + 1, 0.0, loss, accuracy))
    return loss, accuracy, rate


def _progress(
    run: _Run, stage: Stage, epoch: int, share: float, loss: float | None, accuracy: float | None
) -> Progress:
    return Progress(run.recipe.name, run.seed, stage.name, epoch, run.recipe.epochs, share, loss, accuracy)
