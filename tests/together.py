"""Processes on one processor for tests: two that train a run together, and commands at once."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from longtail import cli
from longtail.data import Data, load
from longtail.methods import recipe as named
from longtail.training import loop, passes, prepare, processes, seeds
from longtail.training.compute import Compute
from longtail.training.processes import Ranks
from longtail.training.run import train
from longtail.training.step import Step

TOGETHER = Compute("cpu", "float32", False, sync_batch_norm=True)
APART = Compute("cpu", "float32", False)


START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(
    [
        "longtail.cli.app",
        "longtail.training.many",
        "longtail.data.digits",
        "longtail.results.report",
        "matplotlib.figure",
    ]
)
"""One process imports what all need, and the others are copies of it."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two processes that run what they are told."""

    pipes: tuple[Any, ...]

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
        """Call ``function(ranks, ...)`` in both processes; return what each gave."""
        for pipe in self.pipes:
            pipe.send((function, arguments, options))
        found = [pipe.recv() for pipe in self.pipes]
        failures = [str(value) for failed, value in found if failed]
        if failures:
            raise RuntimeError("\n".join(failures))
        return [value for _, value in found]


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Two processes that have found each other."""
    with tempfile.TemporaryDirectory() as folder:
        pipes, workers = [], []
        for rank in range(2):
            ours, theirs = START.Pipe()
            worker = START.Process(target=_work, args=(rank, f"{folder}/meet", theirs), daemon=True)
            worker.start()
            pipes.append(ours)
            workers.append(worker)
        try:
            yield Pair(tuple(pipes))
        finally:
            for pipe, worker in zip(pipes, workers, strict=True):
                with contextlib.suppress(OSError):
                    pipe.send(None)
                worker.join(timeout=10)
                worker.kill()


def _work(rank: int, meet: str, pipe: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    while (task := pipe.recv()) is not None:
        function, arguments, options = task
        try:
            pipe.send((False, function(Ranks(rank, 2), *arguments, **options)))
        except Exception as error:
            told = "".join(traceback.format_exception(error))
            pipe.send((True, RuntimeError(f"process {rank}: {told}")))
    torch.distributed.destroy_process_group()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote on standard output and on standard error."""

    status: int | None
    said: str
    complained: str


def commands(
    folder: pathlib.Path, words: str, *, number: int, together: bool = False, before: Callable[[], None] | None = None
) -> list[Ended]:
    """Run a command line so many times at once.

    Args:
        folder: in which they run.
        words: the command line after ``longtail``.
        number: how many.
        together: whether they are processes of one run, with what torchrun or srun says of them in the environment.
        before: called in each process first.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [folder / f".said-{place}" for place in range(number)]
    running = []
    for rank, place in enumerate(places):
        named_by = {"RANK": rank, "WORLD_SIZE": number, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": number}
        told = {**named_by, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if together else {}
        process = START.Process(target=_command, args=(str(folder), str(place), words, told, before), daemon=True)
        process.start()
        running.append(process)
    for process in running:
        process.join(timeout=120)
        process.kill()
    found = []
    for process, place in zip(running, places, strict=True):
        said, complained = (place.with_suffix(kind) for kind in (".out", ".err"))
        found.append(Ended(process.exitcode, said.read_text(), complained.read_text()))
        said.unlink()
        complained.unlink()
    return found


def _command(folder: str, place: str, words: str, told: dict[str, Any], before: Callable[[], None] | None) -> None:
    for number, kind in ((1, ".out"), (2, ".err")):
        with open(f"{place}{kind}", "w") as file:
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    os.environ.update({name: str(value) for name, value in told.items()})
    sys.argv = ["longtail", *words.split()]
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    if before is not None:
        before()
    try:
        cli.main()
    finally:
        atexit._run_exitfuncs()  # which a process made by multiprocessing leaves out


def tell_of_stages() -> None:
    """Let this process write into ``trained.txt`` which stages it trains."""
    train_stage = loop.train_stage

    def telling(job: Any, position: int, state: Any) -> None:
        with open("trained.txt", "a") as file:
            file.write(f"{job.store.address(position)} {os.getpid()}\n")
        train_stage(job, position, state)

    loop.train_stage = telling  # type: ignore[assignment]


def tell_of_imports() -> None:
    """Let this process write into ``imported.txt`` what it has imported when it ends."""

    def tell() -> None:
        names = {name.partition(".")[0] for name in sys.modules}
        pathlib.Path("imported.txt").write_text(" ".join(sorted(names)))

    atexit.register(tell)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run gave: the mean loss of every step, and what its record says."""

    losses: list[float]
    report: dict[str, Any]
    address: str
    numerics: dict[str, Any]
    history: list[dict[str, Any]]
    notes: list[str]


def digits(**options: Any) -> Data:
    """The data that the runs here are trained on."""
    return load("digits-lt", **{"imbalance": 20, **options})


def trained(
    ranks: Ranks,
    name: str,
    out: str,
    *,
    compute: Compute = TOGETHER,
    mutant: str = "",
    data: Data | None = None,
    chunk: int = 200,
    **options: Any,
) -> Trained:
    """Train a recipe of digits from seed 0, by so many processes as there are, some of them wrong.

    Chunks are small, so that there are several in an evaluation.
    """
    held = data or digits()
    recipe = named(name, held, **{"epochs": 1, **options})
    torch.set_num_threads(1)
    with changed(passes, "CHUNK", chunk), MUTANTS[mutant](ranks), kept() as losses:
        record = train(recipe, held, seed=0, out=pathlib.Path(out), compute=compute, ranks=ranks)
    return Trained(losses, record.report, record.digests["run"], record.numerics, record.history, record.notes)


@contextlib.contextmanager
def kept() -> Iterator[list[float]]:
    """The mean loss of every step that is taken meanwhile."""
    found: list[float] = []
    add = step_sums().add

    def keeping(self: Any, loss: Tensor, *more: Any) -> None:
        found.append(float(loss))
        add(self, loss, *more)

    with changed(step_sums(), "add", keeping):
        yield found


def step_sums() -> Any:
    """The class that every step gives its loss to."""
    from longtail.training.step import Sums

    return Sums


@contextlib.contextmanager
def changed(place: Any, name: str, value: Any) -> Iterator[None]:
    """Another value of an attribute, for a while."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


# Known-wrong variants. Each is what one would write without thinking of the other processes.


@contextlib.contextmanager
def local_centroids(ranks: Ranks) -> Iterator[None]:
    """Each process looks at its part of the training set, every second image, and not at the others'."""
    chunks = prepare.chunks

    def own(*arguments: Any, **options: Any) -> Iterator[Any]:
        for chunk in chunks(*arguments, **options):
            place = slice(ranks.rank, None, ranks.size)
            yield type(chunk)(tuple(level[place] for level in chunk.levels), chunk.logits[place], chunk.target[place])

    with changed(prepare, "chunks", own):
        yield


@contextlib.contextmanager
def gather_without_gradient(ranks: Ranks) -> Iterator[None]:
    """Features of others are gathered, and none of them has a gradient: what ``all_gather`` alone gives."""

    def plain(ranks: Ranks, rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
        found = ranks.gather(rows.detach(), sizes)
        place = slice(sum(sizes[: ranks.rank]), sum(sizes[: ranks.rank + 1]))
        return torch.cat([found[: place.start], rows, found[place.stop :]])

    with changed(processes, "gathered", plain):
        yield


@contextlib.contextmanager
def own_subset(ranks: Ranks) -> Iterator[None]:
    """Each process draws its own subset and order."""
    generator, first = seeds.generator, Ranks.first

    def other(seed: int, *purpose: str | int, **more: Any) -> torch.Generator:
        own = (*purpose, ranks.rank) if ranks.rank and purpose[-1] in ("subset", "order") else purpose
        return generator(seed, *own, **more)

    def alone(self: Ranks, function: Callable[[], Any]) -> Any:
        return function() if function.__qualname__.startswith("_drawn_once") else first(self, function)

    with changed(seeds, "generator", other), changed(Ranks, "first", alone):
        yield


@contextlib.contextmanager
def summed_gradients(ranks: Ranks) -> Iterator[None]:
    """Gradients are added up and not averaged."""
    average = Ranks.average

    def add(self: Ranks, weights: Any) -> None:
        weights = list(weights)
        average(self, weights)
        for weight in weights:
            if weight.grad is not None:
                weight.grad *= self.size

    with changed(Ranks, "average", add):
        yield


@contextlib.contextmanager
def own_augmentation(ranks: Ranks) -> Iterator[None]:
    """Each process draws random numbers for its own images alone."""
    compose = passes.compose

    def own(*arguments: Any, places: Any, total: int, **options: Any) -> Tensor:
        return compose(*arguments, **options)

    with changed(passes, "compose", own):
        yield


def right(ranks: Ranks) -> contextlib.AbstractContextManager[None]:
    """Nothing is changed."""
    return contextlib.nullcontext()


MUTANTS: dict[str, Callable[[Ranks], contextlib.AbstractContextManager[None]]] = {
    "": right,
    "local centroids": local_centroids,
    "gather without gradient": gather_without_gradient,
    "own subset": own_subset,
    "summed gradients": summed_gradients,
    "own augmentation": own_augmentation,
}


def stopped(ranks: Ranks, name: str, out: str, *, after: int, **options: Any) -> int:
    """Train until so many steps are done, with a checkpoint after each, and stop; return how many were done."""
    done = 0
    call = Step.__call__

    def counting(self: Step, *arguments: Any) -> None:
        nonlocal done
        if done == after:
            raise KeyboardInterrupt
        call(self, *arguments)
        done += 1

    with (
        changed(loop, "WITHIN_EPOCH_SECONDS", 0.0),
        changed(loop, "CHECKPOINT_SECONDS", 0.0),
        changed(Step, "__call__", counting),
        contextlib.suppress(KeyboardInterrupt),
    ):
        trained(ranks, name, out, **options)
    return done


def gradients(ranks: Ranks) -> dict[str, Any]:
    """The gradient of a weight that two processes find for the mean of exp(w x_i w x_j), and the right one."""
    rows = torch.arange(1.0, 6.0, dtype=torch.float64)
    sizes = (2, 3)

    def loss(all_rows: Tensor) -> Tensor:
        return (all_rows[:, None] * all_rows).sub(1.0).mul(0.01).exp().mean()

    whole = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss(whole * rows).backward()  # type: ignore[no-untyped-call]
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    own = weight * rows[sum(sizes[: ranks.rank]) : sum(sizes[: ranks.rank + 1])]
    loss(processes.gathered(ranks, own, sizes)).backward()  # type: ignore[no-untyped-call]
    ranks.average([weight])
    assert whole.grad is not None
    assert weight.grad is not None
    return {"found": float(weight.grad), "expected": float(whole.grad)}


def normalised(ranks: Ranks, shape: tuple[int, ...]) -> float:
    """The largest difference of outputs, gradients and statistics from batch normalisation of the whole batch."""
    generator = torch.Generator().manual_seed(0)
    images, wanted = (torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(2))
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    plain = torch.nn.Sequential(kind(shape[1])).double()
    several = torch.nn.Sequential(kind(shape[1])).double()
    processes.synchronise(several)
    sizes = (2, 4)
    place = slice(sum(sizes[: ranks.rank]), sum(sizes[: ranks.rank + 1]))
    whole, own = images.clone().requires_grad_(), images[place].clone().requires_grad_()
    for _ in range(2):
        ((plain(whole) - wanted) ** 2).sum().backward()
        expected = plain(images)
        ((several(own) - wanted[place]) ** 2).sum().backward()
        found = several(images[place])
    assert whole.grad is not None
    assert own.grad is not None
    total = [weight.grad.clone() for weight in several.parameters() if weight.grad is not None]
    for gradient in total:
        torch.distributed.all_reduce(gradient)
    pairs = [(found, expected[place]), (own.grad, whole.grad[place])]
    pairs += [(one, other.grad) for one, other in zip(total, plain.parameters(), strict=True)]
    pairs += zip(several.buffers(), plain.buffers(), strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)


def children(parent: int) -> list[int]:
    """Return the processes that ``parent`` started and that live; for tests on machines with /proc."""
    running = [int(status.parent.name) for status in pathlib.Path("/proc").glob("[0-9]*/stat")]
    return [process for process in running if _parent(process) == parent]


def living(processes: list[int]) -> list[int]:
    """Return those of the processes that still live."""
    return [process for process in processes if _parent(process) is not None]


def _parent(process: int) -> int | None:
    """The parent of a process; None if it has ended, even where nobody has asked yet how."""
    try:
        state, parent = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)
