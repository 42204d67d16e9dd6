"""``train(recipe, data, seed, out) -> Record``: one run, its folder and its record."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from longtail import metrics
from longtail.data import Data
from longtail.data.dataset import HELD_OUT
from longtail.data.fingerprint import fingerprint
from longtail.data.hygiene import summary
from longtail.errors import DivergedError, InputError
from longtail.files import TEMPORARY, same_file, sha256, sweep, write_atomically, write_tensors
from longtail.models import identity, sides_of
from longtail.recipes.part import address, pathless, plain
from longtail.recipes.stages import NUMERICS, Recipe, state_address
from longtail.results.record import Record, read, write
from longtail.results.rescoring import rescore
from longtail.training import capture, checkpoint, tuning
from longtail.training import compute as computing
from longtail.training.frozen import shortened
from longtail.training.head import fit_head
from longtail.training.loop import Job, Notify, Progress, own_code, train_stages
from longtail.training.passes import outputs
from longtail.training.places import FEATURES
from longtail.training.prepare import on_device, settled, untrained
from longtail.training.processes import ALONE, Ranks
from longtail.training.store import State, Store, locked, network_tensors
from longtail.wording import differences

MODEL = "model.safetensors"
LOGITS = "logits.safetensors"
ABOUT = ("name", "fingerprint", "class_names", "counts", "shape", "mean", "std", "interpolation", "crop")
"""What a model's file says of its data, of the fields of ``describe``."""


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
    plan: dict[str, Any] | None = None,
    ranks: Ranks = ALONE,
) -> Record:
    """Train a recipe on a data set from one seed and write its record.

    Called again with the same arguments it returns the finished record, or continues where it was stopped; also with
    another number of processes, where the numbers do not depend on it.

    Args:
        recipe: what to train.
        data: what to train it on, from ``longtail.load``.
        seed: decides every random draw.
        out: folder of this one run; refused when it holds another.
        store: folder of states that runs share; ``out / "stages"`` if not given.
        compute: device, precision and compilation; chosen for this machine if not given.
        watch_test: evaluate the test split after every epoch, for curves and for the flagged legacy field. It never
            selects anything.
        notify: called about once a second and after every epoch.
        plan: the plan that announced this run, for the record.
        ranks: the processes that train it together (``longtail.training.processes.joined``); each calls this function
            with the same arguments, and the first one reads and writes the files.

    Returns:
        The record, also written to ``out / "record.json"`` with the test predictions beside it.

    Raises:
        InputError: ``out`` holds another run or cannot be written to, a stored file is damaged, the loss became
            non-finite, a recipe that selects on a validation split that the data does not have.
    """
    out = pathlib.Path(out)
    store = out / "stages" if store is None else pathlib.Path(store)
    asked = compute
    compute = settled(ranks.first(lambda: asked or computing.choose()), recipe, data, ranks)
    if recipe.selection == "best on validation" and data.validation is None:
        raise InputError("selection 'best on validation' needs a validation split: load the data with validation=0.1")
    if fingerprint(data.train, data.validation, data.test, data.rule) != data.fingerprint:
        raise InputError(
            f"the fingerprint of {data.name} is not that of its images, labels and index: after a change, give the "
            "data's renewed()"
        )
    if ranks.first(lambda: data.fingerprint) != data.fingerprint:
        raise InputError(f"process {ranks.rank} has other data than the first: {data.name} differs between machines")
    marker = marker_of(recipe, data, seed, compute, watch_test)

    def looked() -> Record | None:
        found = finished_record(out, marker)
        if found is None:
            _check_folder(out)
        return found

    finished = ranks.first(looked)
    if finished is not None:
        return finished
    told: Notify = notify if notify is not None and ranks.leads else (lambda _: None)
    with locked(out / ".lock") if ranks.leads else contextlib.nullcontext():
        finished, started = ranks.first(lambda: _claim(out, marker))
        if finished is not None:
            return finished
        where = (data, seed, out, store, compute, watch_test, told, plan or {}, ranks, started)
        if not recipe.trials:
            return _trained(recipe, recipe, {}, [], *where)

        def trial(one: Recipe, smaller: Data, folder: pathlib.Path) -> Record:
            return train(one, smaller, seed=seed, out=folder, store=store, compute=compute, notify=told, ranks=ranks)

        *better, last = tuning.choose(recipe, data, out, trial)
        for chosen, budget, notes in better:
            with contextlib.suppress(DivergedError):
                return _trained(recipe, chosen, budget, notes, *where)
        chosen, budget, notes = last
        return _trained(recipe, chosen, budget, notes, *where)


def marker_of(
    recipe: Recipe, data: Data, seed: int, compute: computing.Compute, watch_test: bool = False
) -> dict[str, Any]:
    """Return what identifies a run, as it stands in the run's folder."""
    return {
        "address": run_address(recipe, data, seed, compute),
        "seed": seed,
        "fingerprint": data.fingerprint,
        "data": {
            "mean": list(data.mean),
            "std": list(data.std),
            "many": data.many,
            "few": data.few,
            "classes": list(data.class_names),
        },
        "compute": computing.identity(compute),
        "numerics": NUMERICS,
        "watch_test": watch_test,
        "recipe": plain(dataclasses.replace(recipe, name="", stated=None)),
    }


def run_address(recipe: Recipe, data: Data, seed: int, compute: computing.Compute) -> str:
    """Return the content address of a finished run: of its last state, and of how that becomes a report."""
    if recipe.trials:
        each = [run_address(trial, data, seed, compute) for trial in recipe.trials]
        return address(["trials", each, recipe.selection, HELD_OUT])
    return state_address(
        recipe,
        len(recipe.stages) - 1,
        data=data.identity,
        seed=seed,
        compute=computing.identity(compute),
        after=[recipe.adjustment, data.many, data.few, data.class_names],
    )


def finished_record(out: pathlib.Path, marker: dict[str, Any]) -> Record | None:
    """Return the record of a finished run after checking that it is this run's and that its numbers are true.

    Raises:
        InputError: it is another run's, or does not agree with its own predictions.
    """
    if not (out / "record.json").exists() or not (out / "run.json").exists():
        return None
    begun = _same_run(out, marker)
    loaded = read(out)
    check_begun(out, loaded.record, begun)  # a part's file may have moved since: the address is the same
    rescore(loaded)
    return loaded.record


def check_begun(out: pathlib.Path, record: Record, begun: dict[str, Any]) -> None:
    """Refuse a record that says otherwise than ``run.json``, which was written before the run began.

    Args:
        out: folder of both, for what is said.
        record: what the run came to.
        begun: what ``run.json`` holds; a field that an early version did not write is not asked for.

    Raises:
        InputError: they differ.
    """
    about, compute = record.data, begun.get("compute")
    own: dict[str, Any] = {
        "address": record.digests.get("run"),
        "seed": record.seed,
        "fingerprint": about["fingerprint"],
        "numerics": record.numerics["version"],
        "recipe": {**record.config, "name": "", "stated": None},
        "compute": {name: record.numerics.get(name) for name in (compute if isinstance(compute, dict) else {})},
        "data": {
            **{name: about.get(name) for name in ("mean", "std", "many", "few") if name in about},
            "classes": about["class_names"],
        },
    }
    for name, here in own.items():
        # Interrupted and gone on with under another name of the same file, a run is still one run.
        if name in begun and pathless(begun[name]) != pathless(here):
            raise InputError(f"{out}: record.json and run.json are of different runs: they differ in their {name}")


def _claim(out: pathlib.Path, marker: dict[str, Any]) -> tuple[Record | None, str]:
    """Make ``out`` this run's folder; return its record if the run is finished, and when it was begun."""
    sweep(out)
    path = out / "run.json"
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if path.exists():
        # A run that goes on was begun when it was begun; early versions did not say.
        before = str(_same_run(out, marker).get("started", ""))
        with contextlib.suppress(ValueError):
            started = datetime.datetime.fromisoformat(before).isoformat(timespec="seconds")
    else:
        _check_folder(out)
        text = json.dumps({**marker, "started": started}, sort_keys=True, indent=1)
        write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    return finished_record(out, marker), started


def _check_folder(out: pathlib.Path) -> None:
    """Refuse a folder with other things than a run, before anything is written into it or swept out of it."""
    if not out.is_dir():
        return
    left = f".run.json.*{TEMPORARY}"  # by a process that was killed while it claimed the folder
    others = [entry for entry in out.iterdir() if entry.name not in ("stages", ".lock") and not entry.match(left)]
    if others and not (out / "run.json").exists():
        raise InputError(f"{out} is not empty and holds no run of longtail; name a new folder with --out")


def _same_run(out: pathlib.Path, marker: dict[str, Any]) -> dict[str, Any]:
    """What ``run.json`` holds, if that is the run asked for."""
    path = out / "run.json"
    try:
        there: dict[str, Any] = json.loads(path.read_bytes())
        same = (there["address"], there["watch_test"]) == (marker["address"], marker["watch_test"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path} is damaged; remove {out} to train this run again, or name another folder") from None
    if not same:
        found = [held for held in differences(there, marker) if held[0] not in ("address", "started")][:3]
        shown = [f"{path}: {a} there, {b} here" if len(a + b) < 100 else f"{path} differs" for path, a, b in found]
        differs = ", ".join(shown) or "its parts have another source"
        raise InputError(f"{out} holds another run ({differs}); nothing was changed, name another folder with --out")
    return there


def _trained(
    asked: Recipe,
    recipe: Recipe,
    budget: dict[str, float],
    notes: list[str],
    data: Data,
    seed: int,
    out: pathlib.Path,
    folder: pathlib.Path,
    compute: computing.Compute,
    watch_test: bool,
    notify: Notify,
    plan: dict[str, Any],
    ranks: Ranks,
    started: str,
) -> Record:
    """Train a recipe, which is the one asked for or what its trials chose, and write its record."""
    described = describe(data)
    data = on_device(data, compute.device)
    run, final_state = (run_address(held, data, seed, compute) for held in (asked, recipe))
    about = {name: described[name] for name in ABOUT if name in described}
    store = Store(folder, recipe, data.identity, seed, computing.identity(compute), about)
    network = untrained(recipe, data, seed=seed, compute=compute, ranks=ranks)
    state = State(network, notes=list(network.notes))
    channels, size = sides_of(tuple(data.train.images.shape[1:]))
    model = identity(state.network, channels=channels, image_size=size)

    def looking(done: int, total: int) -> None:
        stage = f"features, {done:,} of {total:,} pictures"
        notify(Progress(recipe.name, seed, stage, 0, recipe.epochs, 0.0, None, None))

    place = folder.parent / FEATURES
    if ranks.size > 1:  # the first computes the features, and the others then find them
        ranks.first(lambda: shortened(recipe, network, data, place, looking) and None)
    short, data = shortened(recipe, network, data, place, looking)
    work = model["multiply_adds"]
    if short is not network:
        work = identity(short, channels=data.train.images.shape[1], image_size=0)["multiply_adds"]
    job = Job(recipe, data, seed, store, compute, watch_test, notify, None if short is network else short, ranks)
    largest = max(stage.batch_size for stage in recipe.stages)
    devices = [torch.cuda.current_device()] if compute.device == "cuda" else []
    with computing.threads_for(work * largest), torch.random.fork_rng(devices=devices):
        with capture.apart(compute.device):
            train_stages(job, state)
            if recipe.adjustment is not None and recipe.changes_head:
                network = job.short or state.network
                fit_head(network, recipe.adjustment, data, ranks)
                state.network.head = network.head
        clock = time.perf_counter()
        with own_code((recipe.model, recipe.adjustment), "after the last stage"):
            report, arrays, logits = _test(job, state)
        threads = torch.get_num_threads()

    together = {}
    if ranks.size > 1:
        together = {"processes": ranks.size, "sync_batch_norm": compute.sync_batch_norm}

    def made() -> Record:
        if recipe.changes_head:
            tensors = network_tensors(state.network)
            facts = {"address": final_state, "packages": computing.packages(), "about": about}
            checkpoint.save(out / MODEL, tensors, {**facts, "history": state.history, "notes": state.notes})
        else:
            same_file(store.finished(len(recipe.stages) - 1), out / MODEL)
        _, facts = checkpoint.load(out / MODEL)
        steps = sum(row["steps"] for row in state.history)
        record = Record(
            schema=1,
            recipe=recipe.name,
            config=plain(asked),
            seed=seed,
            data=described,
            model=model,
            numerics={
                "version": NUMERICS,
                **computing.identity(compute),
                **together,
                "threads": threads,
                "state": facts["address"],
            },
            packages=computing.packages(),
            hardware=computing.hardware(compute.device),
            revision=computing.revision(),
            selection=recipe.selection,
            history=state.history,
            report=report.to_json(),
            legacy=_legacy(state.history),
            seconds=sum(row["seconds"] for row in state.history) + time.perf_counter() - clock,
            started=started,
            predictions={},
            budget={"epochs": asked.epochs, "stated": asked.stated or asked.epochs, "steps": steps, **budget},
            digests={
                "run": run,
                "model": checkpoint.digest_of(out / MODEL),
                "logits": keep_logits(out / LOGITS, logits),
            },
            plan=plan,
            notes=[*notes, *state.notes],
        )
        return write(record, out, **arrays)

    return ranks.first(made)


def _test(job: Job, state: State) -> tuple[metrics.Report, dict[str, Tensor], dict[str, Tensor]]:
    """The report on the test split, the arrays that go beside the record, and the logits by split, not adjusted."""
    data = job.data
    network = job.short or state.network
    logits = outputs(network, data.test, data, job.ranks).logits.cpu()
    kept = {"test.logits": logits}
    if data.validation is not None:
        kept["validation.logits"] = outputs(network, data.validation, data, job.ranks).logits.cpu()
        kept["validation.target"] = data.validation.target.cpu()
    target = data.test.target.cpu()
    if job.recipe.adjustment is not None and not job.recipe.changes_head:
        logits = job.recipe.adjustment.build().fit(counts=data.counts).adjust(logits)
    prediction = logits.argmax(dim=1)
    report = metrics.evaluate(
        target,
        prediction,
        counts=data.counts,
        probability=logits.double().softmax(dim=1),
        many=data.many,
        few=data.few,
    )
    return report, {"index": data.test.index.cpu(), "target": target, "prediction": prediction}, kept


def keep_logits(path: pathlib.Path, logits: dict[str, Tensor]) -> str:
    """Write the logits of a run in half precision, so that it can be re-balanced without its data and its network.

    Args:
        path: the file; it may be removed, and nothing but ``longtail rebalance`` misses it.
        logits: ``test.logits`` (N, K), in the order of the predictions, and perhaps ``validation.logits`` and
            ``validation.target``.

    Returns:
        SHA-256 of the file.
    """
    most = torch.finfo(torch.float16).max
    half = {
        name: held.clamp(-most, most).half().contiguous() if held.is_floating_point() else held
        for name, held in logits.items()
    }
    write_tensors(path, half)
    return sha256(path)


def describe(data: Data) -> dict[str, Any]:
    """Return the identity of a data set as it stands in a record."""
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
        "hygiene": _hygiene(data),
        "shape": list(data.train.images.shape[1:]),
        "mean": list(data.mean),
        "std": list(data.std),
        **data.scaling,
    }


_HYGIENE: dict[str, str] = {}
"""What ``summary`` found, by fingerprint: many runs train on one data set."""


def _hygiene(data: Data) -> str:
    if data.fingerprint not in _HYGIENE:
        _HYGIENE[data.fingerprint] = summary(data).line()
    return _HYGIENE[data.fingerprint]


def _legacy(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The best epoch on the test set, as a dozen code bases report it: recorded when watched, never the headline."""
    watched = [row for row in history if row["test_accuracy"] is not None]
    if not watched:
        return {}
    best = max(watched, key=lambda row: row["test_accuracy"])
    note = "selected on the test set: optimistic, kept only to compare with papers that did the same"
    return {"best_on_test": best["test_accuracy"], "stage": best["stage"], "epoch": best["epoch"], "note": note}


@dataclasses.dataclass(frozen=True)
class Task:
    """One run: a recipe and the options of ``train``."""

    recipe: Recipe
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.recipe.name}, seed {self.options['seed']}"

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Say of what goes wrong which run it is of."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error.__cause__
