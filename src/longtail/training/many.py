"""Recipes x seeds: train what has no record yet, and return all the records."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pathlib
import pickle
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from longtail.data import Data
from longtail.errors import InputError
from longtail.recipes.stages import Recipe, address
from longtail.training import compute as computing
from longtail.training.loop import Notify, train


def run_folder(out: pathlib.Path, recipe: Recipe, data: Data, seed: int, compute: computing.Compute) -> pathlib.Path:
    """Where the run of a recipe from a seed lives below ``out``: its name says what it is, its hash exactly which."""
    label = "".join(letter if letter.isalnum() or letter in "-_.=@," else "-" for letter in recipe.name)
    key = address(
        recipe,
        len(recipe.stages) - 1,
        fingerprint=data.fingerprint,
        seed=seed,
        compute=dataclasses.asdict(compute),
        adjustment=recipe.adjustment,
    )
    return out / data_label(data) / label / f"seed-{seed}-{key[:8]}"


def data_label(data: Data) -> str:
    """A folder name for a data set: its name, and what of it can vary."""
    name = data.name.replace(":", "-").replace("/", "-")
    drawn = "" if data.split_seed is None else f"-if{data.imbalance:g}"
    drawn += f"-split{data.split_seed}" if data.split_seed else ""
    return f"{name}{drawn}"


def compare(
    recipes: Sequence[Recipe],
    data: Data,
    *,
    seeds: Sequence[int],
    out: pathlib.Path,
    compute: computing.Compute,
    watch_test: bool = False,
    notify: Notify | None = None,
    jobs: int = 1,
) -> dict[str, list[pathlib.Path]]:
    """Train every recipe from every seed; the folders of the records, by recipe.

    Seeds are the outer loop: when it is stopped early, whole comparisons are done rather than whole recipes. With
    several jobs it is the recipes, so that two runs at once seldom want the same beginning.

    Args:
        recipes: of different names.
        data: for all of them.
        seeds: for each of them.
        out: folder of all runs.
        compute: for all of them.
        watch_test: as in ``train``.
        notify: as in ``train``; with several jobs called here, as news arrives.
        jobs: how many runs train at once, each in a process with its share of the threads. On a CPU two runs of one
            thread are faster than one after the other on two (docs/speed.md). A program that uses it needs the usual
            ``if __name__ == "__main__":``.

    Raises:
        InputError: fewer than one job, a job that was killed, and as ``train``.
    """
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}")
    store, told = out / data_label(data) / "stages", notify or (lambda _: None)
    folders = {recipe.name: [run_folder(out, recipe, data, seed, compute) for seed in seeds] for recipe in recipes}
    if jobs == 1:
        for number, seed in enumerate(seeds):
            for recipe in recipes:
                train(
                    recipe,
                    data,
                    seed=seed,
                    out=folders[recipe.name][number],
                    store=store,
                    compute=compute,
                    watch_test=watch_test,
                    notify=notify,
                )
        return folders
    tasks = [
        (recipe, {"seed": seed, "out": folder, "store": store, "compute": compute, "watch_test": watch_test})
        for recipe in recipes
        for seed, folder in zip(seeds, folders[recipe.name], strict=True)
    ]
    _at_once(tasks, data, min(jobs, len(tasks)), told)
    return folders


Task = tuple[Recipe, dict[str, Any]]


def _at_once(tasks: Sequence[Task], data: Data, jobs: int, notify: Notify) -> None:
    """Train in ``jobs`` processes; the first failure ends it, and what was trained by then is kept."""
    start = multiprocessing.get_context("spawn")
    news = start.SimpleQueue()
    threads = max(1, torch.get_num_threads() // jobs)
    # As bytes: tensors handed over as they are would need shared memory, of which a container has little.
    arguments = (pickle.dumps(data), news, threads)
    with ProcessPoolExecutor(jobs, mp_context=start, initializer=_begin, initargs=arguments) as pool:
        waiting = {pool.submit(_train, task) for task in tasks}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                while not news.empty():
                    notify(news.get())
                for future in done:
                    future.result()
        except BrokenProcessPool:
            raise InputError(
                f"one of {jobs} jobs was killed, perhaps for memory, of which each takes its own; what was trained is "
                "kept, and the same command with fewer jobs goes on"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


_here: dict[str, Any] = {}
"""In a worker process: the data and the queue for news, set once when it starts."""


def _begin(data: bytes, news: Any, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers it
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(threads)
    _here.update(data=pickle.loads(data), news=news)


def _end_with(parent: int) -> None:
    """A parent that was killed cannot end its workers: each watches for that itself."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _train(task: Task) -> None:
    recipe, options = task
    train(recipe, _here["data"], notify=_here["news"].put, **options)
