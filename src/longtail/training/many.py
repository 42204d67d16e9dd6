"""Recipes x seeds: train what has no record yet, one after the other or several at once, and compare the records."""

from __future__ import annotations

import collections
import dataclasses
import multiprocessing
import os
import pathlib
import pickle
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection
from typing import Any

import torch
from filelock import FileLock, Timeout

from longtail import results
from longtail.data import Data
from longtail.errors import InputError
from longtail.methods.names import controls_among
from longtail.methods.names import recipe as recipe_of
from longtail.recipes import NUMERICS, Part, Recipe, sources
from longtail.recipes.part import parts_in
from longtail.results.announced import planned_controls
from longtail.training import compute as computing
from longtail.training.audit import runs_below
from longtail.training.cluster import address_of, train_on_cluster
from longtail.training.loop import Notify, Progress
from longtail.training.orphans import end_with_parent
from longtail.training.prepare import settled
from longtail.training.processes import ALONE, Ranks
from longtail.training.run import Task, finished_record, marker_of, run_address, train


def compare(
    recipes: Sequence[str | Recipe | Part | Callable[..., Any]],
    data: Data,
    *,
    seeds: int | Sequence[int] = 3,
    out: pathlib.Path | str = "runs",
    against: str | None = None,
    compute: computing.Compute | None = None,
    watch_test: bool = False,
    notify: Notify | None = None,
    jobs: int = 1,
    ranks: Ranks = ALONE,
    on: str = "here",
    **options: Any,
) -> results.Comparison:
    """Train every recipe from every seed, as far as there is no record of it, and compare them.

    Args:
        recipes: names as on the command line, recipes, or losses and methods of your own.
        data: data set that every recipe is trained on.
        seeds: how many, or which.
        out: folder of all runs.
        against: the row that the others are compared with; the first if None.
        compute: device, precision and compilation; chosen for this machine if None.
        watch_test: evaluate the test split after every epoch; it never selects anything.
        notify: called about once a second and after every epoch.
        jobs: how many runs train at once; a program that uses it needs the usual ``if __name__ == "__main__":``.
        ranks: processes that train each run together (``longtail.training.processes.joined``).
        on: where: ``here``, or ``ray`` or ``ray:ADDRESS`` for the machines of a Ray cluster.
        options: options of ``longtail.recipe``, such as ``epochs`` and ``model``.

    Returns:
        The comparison; ``longtail.results.table`` prints it.

    Raises:
        InputError: an unknown name, a recipe named twice, and as ``train``.

    Example:
        >>> from longtail.data import load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = compare(["ce"], load("digits-lt"), seeds=1, out=folder, epochs=1)
        >>> [method.name for method in found.methods]
        ['ce']
    """
    asked = [name if isinstance(name, Recipe) else recipe_of(name, data, **options) for name in recipes]
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    chosen = ranks.first(lambda: compute or computing.choose())
    folders = train_many(
        asked,
        data,
        seeds=numbers,
        out=out,
        compute=chosen,
        watch_test=watch_test,
        notify=notify,
        jobs=jobs,
        ranks=ranks,
        on=on,
    )
    return compare_rows(rows_of(folders), against=against)


def rows_of(folders: Mapping[str, Sequence[pathlib.Path]]) -> dict[str, list[results.Loaded]]:
    """Return the finished runs in some folders, by the name of their row."""
    return {name: [results.read(folder) for folder in paths] for name, paths in folders.items()}


def compare_rows(rows: Mapping[str, Sequence[results.Loaded]], *, against: str | None = None) -> results.Comparison:
    """Return the comparison of finished runs, by the name of their row; each method beside its own control.

    That is the one that its plan names, or else the one that the method is known to have.
    """
    planned = planned_controls({name: [run.record for run in runs] for name, runs in rows.items()})
    known = {name: other for name, other in controls_among(list(rows)).items() if planned.get(other) != name}
    return results.compare_records(rows, against=against, controls={**known, **planned}, numerics=NUMERICS)


def loaded_rows(folders: Sequence[pathlib.Path]) -> dict[str, list[results.Loaded]]:
    """Return the finished runs among and below some folders, by recipe and in the order of their seeds; ce first."""
    rows: dict[str, list[results.Loaded]] = {}
    for folder in runs_below(folders):
        held = results.read(folder)
        rows.setdefault(held.record.recipe, []).append(held)
    order = sorted(rows, key=lambda name: name != "ce")
    return {name: sorted(rows[name], key=lambda run: run.record.seed) for name in order}


def run_folder(out: pathlib.Path, recipe: Recipe, data: Data, seed: int, compute: computing.Compute) -> pathlib.Path:
    """Return the folder of a run below ``out``: its name says what it is, its hash exactly which.

    A run that lies there under another name, since its recipe can be written in another way, is the same run.
    """
    label = re.sub(r"[^\w.=@,+()-]", "-", recipe.name)[:80]
    key = run_address(recipe, data, seed, compute)
    folder = f"seed-{seed}-{key[:8]}"
    place = out / data_label(data)
    if not (place / label / folder).exists():
        for other in sorted(place.glob(f"*/{folder}")):
            if key in _text_of(other / "run.json"):
                return other
    return place / label / folder


def _text_of(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def data_label(data: Data) -> str:
    """Return a folder name for a data set: its name, and what of it can vary."""
    name = re.sub(r"[:/\\]", "-", data.name)
    drawn = "" if data.split_seed is None else f"-if{data.imbalance:g}"
    drawn += f"-split{data.split_seed}" if data.split_seed else ""
    return f"{name}{drawn}"


def train_many(
    recipes: Sequence[Recipe],
    data: Data,
    *,
    seeds: Sequence[int],
    out: pathlib.Path | str,
    compute: computing.Compute,
    watch_test: bool = False,
    notify: Notify | None = None,
    jobs: int = 1,
    plans: Mapping[str, dict[str, Any]] | None = None,
    ranks: Ranks = ALONE,
    on: str = "here",
    done: Mapping[tuple[str, int], pathlib.Path] | None = None,
) -> dict[str, list[pathlib.Path]]:
    """Train every recipe from every seed; return the folders of the records, by recipe.

    Seeds are the outer loop: when it is stopped early, whole comparisons are done rather than whole recipes. With
    several jobs and no plan it is the recipes, so that two runs at once seldom want the same beginning.

    Args:
        recipes: recipes of different names, each another run.
        data: data set that every recipe is trained on.
        seeds: random seeds, one run each.
        out: folder of all runs.
        compute: device, precision and compilation, the same for all runs.
        watch_test: evaluate the test split after every epoch; it never selects anything.
        notify: called about once a second and after every epoch, in this process.
        jobs: how many runs train at once, each in a process with its share of the threads. On a CPU two runs of one
            thread are faster than one after the other on two (docs/speed.md).
        ranks: processes that train each run together.
        on: where: ``here``, or ``ray`` or ``ray:ADDRESS`` for the machines of a Ray cluster.
        plans: what the records of a recipe say of the plan that announced them, by its name.
        done: folders of finished runs, by the name of the recipe and the seed; these are not trained.

    Raises:
        InputError: fewer than one job, a recipe or seed named twice, a process that was killed, and as ``train``.
    """
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}")
    if not recipes or not seeds:
        raise InputError("there is nothing to train: name at least one recipe and one seed")
    twice = [seed for seed, times in collections.Counter(seeds).items() if times > 1]
    if twice:
        raise InputError(f"seed {twice[0]} is named twice: every run has a seed of its own")
    out = pathlib.Path(out)
    if ranks.size > 1 and jobs > 1:
        raise InputError("torchrun's processes train one run at a time together: leave --jobs out, or torchrun")
    settings = {recipe.name: settled(compute, recipe, data, ranks) for recipe in recipes}
    refuse_twins(recipes, data, seeds[0], settings)
    if len({recipe.name for recipe in recipes}) < len(recipes):
        names = ", ".join(recipe.name for recipe in recipes)
        raise InputError(f"two recipes have one name ({names}): call one of them SHORT=NAME")
    store = out / data_label(data) / "stages"
    folders = {
        recipe.name: [run_folder(out, recipe, data, seed, settings[recipe.name]) for seed in seeds]
        for recipe in recipes
    }
    kept = done or {}
    shared = {"store": store, "compute": compute, "watch_test": watch_test}
    tasks = [
        Task(recipe, {**shared, "seed": seed, "out": folder, "plan": (plans or {}).get(recipe.name)})
        for recipe in recipes
        for seed, folder in zip(seeds, folders[recipe.name], strict=True)
        if (recipe.name, seed) not in kept
    ]
    folders = {
        name: [kept.get((name, seed), folder) for seed, folder in zip(seeds, held, strict=True)]
        for name, held in folders.items()
    }
    if plans or (jobs == 1 and on == "here"):
        tasks.sort(key=lambda task: list(seeds).index(task.options["seed"]))
    if on != "here":
        if jobs > 1 or ranks.size > 1:
            raise InputError("--on ray trains as many runs at once as its machines can: leave --jobs and torchrun out")
        if left := [task for task in tasks if not _is_finished(task, data, settings)]:
            train_on_cluster(left, data, notify or (lambda _: None), address=address_of(on), out=out)
    elif jobs == 1:
        while tasks:
            # A run that another command is at comes later: it may be finished then, and else one has to wait for it.
            free = (place for place, task in enumerate(tasks) if ranks.size > 1 or not _is_busy(task))
            task = tasks.pop(next(free, 0))
            with task.named():
                train(task.recipe, data, notify=notify, ranks=ranks, **task.options)
    elif tasks:
        _at_once(tasks, data, min(jobs, len(tasks)), notify or (lambda _: None))
    return folders


def refuse_twins(recipes: Sequence[Recipe], data: Data, seed: int, settings: Mapping[str, computing.Compute]) -> None:
    """Refuse two recipes that train the same, whatever they are called.

    Args:
        recipes: those that are to be compared.
        data: what they train on.
        seed: any seed, the same for all.
        settings: device, precision and compilation of each, by its name.

    Raises:
        InputError: two are one recipe.
    """
    names: dict[str, str] = {}
    for recipe in recipes:
        key = run_address(recipe, data, seed, settings[recipe.name])
        if key in names:
            if names[key] == recipe.name:
                raise InputError(f"a recipe is named twice: {recipe.name!r}")
            raise InputError(f"{names[key]!r} and {recipe.name!r} are one recipe; leave one of them out")
        names[key] = recipe.name


def _is_finished(task: Task, data: Data, settings: Mapping[str, computing.Compute]) -> bool:
    """Whether the run is there; a machine that does not share the storage cannot know."""
    marker = marker_of(task.recipe, data, task.options["seed"], settings[task.recipe.name], task.options["watch_test"])
    return finished_record(pathlib.Path(task.options["out"]), marker) is not None


def _is_busy(task: Task) -> bool:
    """Whether another process trains a run just now."""
    place = pathlib.Path(task.options["out"]) / ".lock"
    if not place.exists():
        return False
    try:
        with FileLock(place, timeout=0):
            return False
    except (Timeout, OSError):
        return True


@dataclasses.dataclass
class _Worker:
    """A process that trains, its pipe, and the number of the task it is at; None before it is ready."""

    process: Any
    pipe: connection.Connection
    task: int | None = None


def _at_once(tasks: Sequence[Task], data: Data, jobs: int, notify: Notify) -> None:
    """Train in ``jobs`` processes; the first failure ends it, and what was trained by then is kept.

    Every process has a pipe of its own: one that is killed at any moment holds no lock that another waits for. What it
    needs is in a file, since a process that dies while it starts reads nothing.
    """
    start = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    waiting = collections.deque(range(len(tasks)))
    workers: list[_Worker] = []
    _remove_stale()
    with tempfile.TemporaryDirectory(prefix=f"{WORK}{os.getpid()}-") as folder:
        file = pathlib.Path(folder) / "work.pickle"
        foreign = {(part.name, part.source) for task in tasks for part in parts_in(task.recipe) if part.foreign}
        # As bytes: tensors handed over as they are would need shared memory, of which a container has little.
        file.write_bytes(pickle.dumps((sources.shipped(foreign), data, list(tasks), threads)))
        try:
            for _ in range(jobs):
                ours, theirs = start.Pipe()
                process = start.Process(target=_work, args=(str(file), theirs), daemon=True)
                process.start()
                theirs.close()
                workers.append(_Worker(process, ours))
            done = 0
            while done < len(tasks):
                watched = {worker.pipe: worker for worker in workers}
                ends = {worker.process.sentinel: worker for worker in workers}
                ready = connection.wait([*watched, *ends])
                for worker in [watched[held] for held in ready if held in watched]:
                    done += _heard(worker, waiting, tasks, notify)
                for worker in [ends[held] for held in ready if held in ends]:
                    if worker.task is not None or waiting:
                        raise _died(worker, tasks)
                    workers.remove(worker)
        finally:
            _end(workers)


WORK = "longtail-work-"
"""Beginning of the names of the temporary folders that jobs read their work from; the process follows."""


def _remove_stale() -> None:
    """Remove the work of commands that were killed."""
    for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{WORK}*"):
        owner = folder.name.removeprefix(WORK).partition("-")[0]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OSError):
            continue


def _heard(worker: _Worker, waiting: collections.deque[int], tasks: Sequence[Task], notify: Notify) -> bool:
    """Answer one message of a worker; return whether a run is done."""
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        if worker.task is not None or waiting:
            worker.process.join(timeout=5)
            raise _died(worker, tasks) from None
        return False
    if isinstance(message, Progress):
        notify(message)
        return False
    if isinstance(message, BaseException):
        raise message
    finished, worker.task = worker.task is not None, waiting.popleft() if waiting else None
    worker.pipe.send(worker.task)
    return finished


def _died(worker: _Worker, tasks: Sequence[Task]) -> InputError:
    run = "a run that was about to start" if worker.task is None else tasks[worker.task].name
    return InputError(
        f"the process of {run} was killed, perhaps for memory, of which each job takes its own; what was trained is "
        "kept, and the same command with fewer --jobs goes on"
    )


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
        worker.process.terminate()
    for worker in workers:
        worker.process.join(timeout=5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(timeout=5)


def _work(file: str, pipe: connection.Connection) -> None:
    """Train what the parent asks for until it asks for nothing more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers it
    end_with_parent()
    try:
        parts, data, tasks, threads = pickle.loads(pathlib.Path(file).read_bytes())
        sources.receive(parts)
        torch.set_num_threads(threads)
        pipe.send("ready")
        while (number := pipe.recv()) is not None:
            task = tasks[number]
            with task.named():
                train(task.recipe, data, notify=pipe.send, **task.options)
            pipe.send("done")
    except (EOFError, BrokenPipeError):
        return
    except InputError as error:
        pipe.send(InputError(str(error)))
    except Exception as error:
        pipe.send(error if _travels(error) else RuntimeError(repr(error)))
        raise


def _travels(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
