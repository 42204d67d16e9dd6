"""States after a stage, each under the address of what made it, so that a shared beginning is trained once."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from longtail.errors import InputError
from longtail.files import sweep
from longtail.models import Network
from longtail.recipes.stages import Recipe, state_address
from longtail.training import checkpoint
from longtail.training import compute as computing
from longtail.training.places import PROGRESS, STATE
from longtail.training.processes import ALONE, Ranks

OPTIMIZER = "optimizer.safetensors"
"""Name of the file of an optimiser, beside the network that it moved."""


@dataclasses.dataclass
class State:
    """A network part-way through a recipe, with what the next stage may take over.

    Args:
        network: network on the device.
        optimizer: state of the last stage's optimiser; None before any training.
        history: a row for each epoch so far.
        notes: what parts of the recipe said of the run.
    """

    network: Network
    optimizer: dict[str, Any] | None = None
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Store:
    """The folder of states that runs share, as one run sees it.

    Args:
        folder: folder that holds the states of all runs.
        recipe: recipe that is trained.
        data: the identity of its data set.
        seed: random seed of the run.
        compute: what the arithmetic depends on (``longtail.training.compute.identity``).
        about: what somebody who uses the network must know of its data: class names, counts, preparation of pictures.
    """

    folder: pathlib.Path
    recipe: Recipe
    data: tuple[Any, ...]
    seed: int
    compute: dict[str, Any]
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    def address(self, stage: int) -> str:
        """Return what the state after a stage (from 0) is known by."""
        return state_address(self.recipe, stage, data=self.data, seed=self.seed, compute=self.compute)

    def at(self, stage: int) -> pathlib.Path:
        """Return the folder of a stage."""
        return self.folder / self.address(stage)[:24]

    def finished(self, stage: int) -> pathlib.Path:
        """Return the file of the network after a stage, without its optimiser."""
        return self.at(stage) / STATE

    def optimizer(self, stage: int) -> pathlib.Path:
        """Return the file of the optimiser after a stage, which only a stage that keeps it reads."""
        return self.at(stage) / OPTIMIZER

    def progress(self, stage: int) -> pathlib.Path:
        """Return the file of the last checkpoint within a stage."""
        return self.at(stage) / PROGRESS

    def best(self, stage: int) -> pathlib.Path:
        """Return the file of the weights that were best on validation."""
        return self.at(stage) / "best.safetensors"

    @contextmanager
    def locked(self, stage: int) -> Iterator[None]:
        """Hold the lock of a stage; another process that wants it waits, a killed one lets go."""
        with locked(self.at(stage) / ".lock"):
            sweep(self.at(stage))
            yield

    def restore(self, state: State, stage: int, ranks: Ranks = ALONE) -> None:
        """Bring ``state`` to the end of a stage, from the files that the first process reads.

        Raises:
            InputError: the file is damaged or belongs to another configuration.
        """

        def read() -> tuple[dict[str, Tensor], dict[str, Any] | None, list[dict[str, Any]], list[str]]:
            tensors, facts = self._load(self.finished(stage), stage)
            return tensors, self._optimizer(stage, facts["optimizer"], tensors), facts["history"], taken_up(facts)

        tensors, state.optimizer, state.history, state.notes = ranks.first(read)
        load_network(state.network, tensors)

    def _optimizer(self, stage: int, found: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any] | None:
        """The optimiser's state, from its own file or, in older states, from the file of the network."""
        if "sha256" in found:
            path = self.optimizer(stage)
            if not path.exists():  # a run that is continued from its model alone
                return None
            tensors, facts = checkpoint.load(path, expected=found["sha256"])
            found = facts["optimizer"]
        kept: dict[str, Any] = checkpoint.unflatten(found, tensors)
        return kept

    def resume(self, stage: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the last checkpoint within a stage, if there is one.

        Raises:
            InputError: the file is damaged or belongs to another configuration.
        """
        path = self.progress(stage)
        return self._load(path, stage) if path.exists() else None

    def _load(self, path: pathlib.Path, stage: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = checkpoint.load(path)
        if facts.get("address") != self.address(stage):
            raise InputError(f"{path} belongs to another configuration; remove it to train this one")
        return tensors, facts

    def keep(self, path: pathlib.Path, stage: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
        """Write a state or checkpoint of a stage and return its digest."""
        facts = {"address": self.address(stage), "packages": computing.packages(), **facts}
        return checkpoint.save(path, tensors, facts)

    def finish(self, state: State, stage: int) -> None:
        """Store the state after a stage, and drop the checkpoints within it."""
        moments: dict[str, Tensor] = {}
        skeleton = checkpoint.flatten(state.optimizer, "optimizer", moments)
        kept = self.keep(self.optimizer(stage), stage, moments, {"optimizer": skeleton})
        facts = {"optimizer": {"sha256": kept}, "history": state.history, "notes": state.notes, "about": self.about}
        self.keep(self.finished(stage), stage, network_tensors(state.network), facts)
        self.progress(stage).unlink(missing_ok=True)
        self.best(stage).unlink(missing_ok=True)


@contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Hold the lock file at ``path``; another process waits for it, a killed one lets go.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire()
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}; choose another folder with --out") from None
    try:
        yield
    finally:
        lock.release()


def taken_up(facts: dict[str, Any]) -> list[str]:
    """Return the notes of a stored state, with one more where other versions of packages made it than run now."""
    then, now = facts["packages"], computing.packages()
    changed = [f"{name} {then.get(name)}, now {now[name]}" for name in now if then.get(name) != now[name]]
    note = f"A stage was made by other versions: {', '.join(changed)}."
    notes: list[str] = facts["notes"]
    return [*notes, note] if changed and note not in notes else notes


def network_tensors(network: Network) -> dict[str, Tensor]:
    """Return the weights and statistics of a network by the names that files have for them."""
    return {f"network.{name}": tensor for name, tensor in network.state_dict().items()}


def load_network(network: Network, tensors: dict[str, Tensor]) -> None:
    """Load the ``network.`` part of a state, on whatever device the network is.

    Raises:
        InputError: it is of another network.
    """
    own = {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"the checkpoint is of another network: {' '.join(str(error).split())[:200]}") from None


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take up a state; a file holds every tensor row by row, and a fused update wants its parameter's own layout."""
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate  # where the step sets it, on the device
    for parameter, held in optimizer.state.items():
        for name, value in held.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                held[name] = torch.empty_like(parameter.detach()).copy_(value)
