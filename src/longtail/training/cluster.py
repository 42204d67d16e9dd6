"""Many runs on the machines of a Ray cluster: each run a task that goes elsewhere when its process is lost.

Where the machines share the storage of the runs, a task trains into its run's own folder, so that a beginning is shared
and a run that was lost goes on from its checkpoint. Elsewhere it trains into a temporary folder of its machine, and the
files of the run come back through Ray.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import pathlib
import pickle
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from longtail.data import Data
from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.recipes import sources
from longtail.recipes.part import parts_in
from longtail.training.loop import Notify, Progress
from longtail.training.run import Task, train
from longtail.training.store import locked

RETRIES = 3
"""Times that a run is begun again elsewhere when its process is lost."""
LOOK_SECONDS = 0.2
"""Seconds between two looks at what the runs report."""
RECORD = "record.json"
"""The file of a run that comes last: with it a run is finished."""


def address_of(text: str) -> str | None:
    """Return the address in ``ray[:address]``; None for the cluster that Ray finds, or one on this machine.

    Raises:
        InputError: something else than Ray.

    Example:
        >>> address_of("ray"), address_of("ray:10.0.0.1:6379")
        (None, '10.0.0.1:6379')
    """
    kind, colon, address = text.partition(":")
    if kind != "ray" or (colon and not address):
        raise InputError(f"--on {text!r}: here, ray, ray:ADDRESS or slurm")
    return address or None


def train_on_cluster(
    tasks: Sequence[Task],
    data: Data,
    notify: Notify,
    *,
    address: str | None = None,
    out: pathlib.Path,
    marker: pathlib.Path | None = None,
) -> None:
    """Train runs wherever Ray has a processor free, or a GPU for runs on GPUs; the first failure ends it.

    Args:
        tasks: the runs.
        data: data set of all of them, which Ray brings to the machines.
        notify: called about once a second and after every epoch of a run, in this process.
        address: of the cluster; None for the one that Ray is connected to or finds, else one on this machine.
        out: folder that holds the folders of all runs.
        marker: file by which a machine knows that it shares the storage; made in ``out`` if None.

    Raises:
        InputError: Ray is not installed or not to be reached, a run fails, or its process is lost time and again.
    """
    ray = _library()
    out.mkdir(parents=True, exist_ok=True)
    mark = marker or out / f".shared-{uuid.uuid4().hex}"
    if marker is None:
        mark.touch()
    try:
        with _connected(ray, address):
            _train_all(ray, tasks, data, notify, mark.resolve())
    finally:
        if marker is None:
            mark.unlink(missing_ok=True)


def _library() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError("--on ray needs the library ray: pip install 'longtail[ray]'") from None


@contextlib.contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    # Runs are told by the progress that they report; what their processes print besides is for Ray's own logs.
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, OSError, ValueError, RuntimeError) as error:
        where = "here" if address is None else f"at {address}"
        raise InputError(f"--on ray: no cluster {where}: {' '.join(str(error).split())[:200]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _train_all(ray: Any, tasks: Sequence[Task], data: Data, notify: Notify, mark: pathlib.Path) -> None:
    foreign = {(part.name, part.source) for task in tasks for part in parts_in(task.recipe) if part.foreign}
    work = ray.put(pickle.dumps((sources.shipped(foreign), data, list(tasks))))
    heard = ray.remote(num_cpus=0)(_Heard).remote()
    gpus = 1 if tasks[0].options["compute"].device == "cuda" else 0
    run = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False)(_trained)
    place = os.getcwd()
    waiting = {run.remote(work, number, str(mark), place, heard): task for number, task in enumerate(tasks)}
    try:
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=LOOK_SECONDS)
            for progress in ray.get(heard.taken.remote()):
                notify(progress)
            for result in done:
                _bring(ray, result, waiting.pop(result))
        for progress in ray.get(heard.taken.remote()):
            notify(progress)
    finally:
        for result in waiting:
            ray.cancel(result)


def _bring(ray: Any, result: Any, task: Task) -> None:
    """Take what a task gave; write the files of a run that was trained elsewhere, its record last."""
    try:
        files: dict[str, bytes] = ray.get(result)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from None
        raise
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        raise InputError(
            f"the process of {task.name} was lost {RETRIES + 1} times, perhaps for memory; what was trained is kept, "
            "and the same command goes on"
        ) from error
    folder = pathlib.Path(task.options["out"])
    if not files:
        return
    with locked(folder / ".lock"):
        if (folder / RECORD).exists():  # another command was faster, and a record is never written over
            return
        for name in sorted(files, key=lambda name: name == RECORD):
            content = files[name]
            write_atomically(folder / name, lambda file, content=content: file.write_bytes(content))  # type: ignore[misc]


class _Heard:
    """What the runs report, until it is taken; an actor of Ray."""

    def __init__(self) -> None:
        self._rows: list[Progress] = []

    def tell(self, progress: Progress) -> None:
        self._rows.append(progress)

    def taken(self) -> list[Progress]:
        rows, self._rows = self._rows, []
        return rows


def _trained(work: bytes, number: int, mark: str, place: str, heard: Any) -> dict[str, bytes]:
    """Train one run in a process of Ray; return its files where its machine does not share the storage."""
    if os.path.isdir(place):
        os.chdir(place)  # files of a person's own, and folders, are named from there
    parts, data, tasks = pickle.loads(work)
    sources.receive(parts)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    task, shared = tasks[number], os.path.exists(mark)
    options = dict(task.options)
    folder = pathlib.Path(options["out"])
    if not shared:
        # The folder of all runs names it, so that the same command goes on with what is here.
        own = hashlib.sha256(str(pathlib.Path(mark).parent).encode()).hexdigest()[:16]
        base = pathlib.Path(tempfile.gettempdir()) / f"longtail-ray-{own}"
        folder = base / folder.parent.name / folder.name
        options |= {"out": folder, "store": base / "stages"}
    with task.named():
        train(task.recipe, data, notify=lambda progress: heard.tell.remote(progress), **options)
    if shared:
        return {}
    # What trials a recipe had lies in a folder within, and is not needed elsewhere.
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "." and path.is_file()}
