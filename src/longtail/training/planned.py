"""Plans carried out: train what is missing, say what is there, and what no plan announced."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from longtail import stated
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods.names import recipe
from longtail.recipes import NUMERICS, Recipe
from longtail.recipes.part import absent_files, plain
from longtail.results import Loaded, Record, read
from longtail.results.copies import copies_note
from longtail.results.plan import Plan, committed, departures, early
from longtail.training import compute as computing
from longtail.training.audit import runs_below
from longtail.training.loop import Notify
from longtail.training.many import run_folder, train_many


def recipes_of(plan: Plan, data: Data | None) -> list[Recipe]:
    """Return the recipes of a plan's arms, each listed under the arm's name.

    Raises:
        InputError: an arm or option that is not known, or a value that an option cannot have.
    """
    options = _of(recipe, plan)
    return [dataclasses.replace(recipe(arm, data, **options), name=arm) for arm in plan.arms]


def data_options(plan: Plan) -> dict[str, Any]:
    """Return the options of a plan that its data set is loaded with.

    Raises:
        InputError: an option that neither data nor recipes have, or one of another kind than they take.
    """
    return _of(load, plan)


def _of(function: Callable[..., Any], plan: Plan) -> dict[str, Any]:
    stated.looked_at(plan.options, load, recipe, where=f"the plan {plan.name}")
    own = stated.known(function)
    return {name: value for name, value in plan.options.items() if name in own}


def run_plan(
    plan: Plan,
    data: Data,
    *,
    out: pathlib.Path,
    compute: computing.Compute,
    notify: Notify | None = None,
    jobs: int = 1,
    on: str = "here",
) -> dict[str, list[pathlib.Path]]:
    """Train what a plan announces and is not there, seed by seed, the first arms first; stop it and start it at will.

    Args:
        plan: plan to carry out, from ``longtail.results.plan.read_plan``.
        data: data set that the plan names.
        out: folder of all runs.
        compute: device, precision and compilation, the same for all runs.
        notify: called about once a second and after every epoch.
        jobs: how many runs train at once.
        on: where, as for ``longtail.compare``.

    Returns:
        The folders of the records, by arm.
    """
    arms = recipes_of(plan, data)
    citations = {arm.name: plan.cited(arm.name, plain(arm), NUMERICS) for arm in arms}
    return train_many(
        arms, data, seeds=plan.seeds, out=out, compute=compute, notify=notify, jobs=jobs, on=on, plans=citations
    )


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a plan is.

    Args:
        done: (arm, seed) to the folder of its record.
        missing: (arm, seed) in the order in which they will be trained.
        unplanned: folder of a run below the same folder to what makes it no run of the plan.
        committed: when the plan was first committed, ISO 8601; None if it is not.
        early: folders of records that were begun before that.
        copies: a line for each arm of which several seeds gave the very same predictions, which are one run.
    """

    done: dict[tuple[str, int], pathlib.Path]
    missing: list[tuple[str, int]]
    unplanned: dict[pathlib.Path, list[str]]
    committed: str | None
    early: list[pathlib.Path]
    copies: list[str]


def status(plan: Plan, path: pathlib.Path, data: Data, *, out: pathlib.Path, compute: computing.Compute) -> Status:
    """Return which runs of a plan are there, which are missing, and which runs beside them no plan announced.

    A run counts wherever it lies below the folder, under the name of its own folder: kept records can be asked about.

    Args:
        plan: plan to look up, from ``read_plan``.
        path: file of the plan, whose commits are looked up.
        data: data set that the plan names.
        out: folder of all runs.
        compute: device, precision and compilation, the same for all runs.

    Raises:
        InputError: a file that an arm names is not there, and without its contents its runs cannot be known.
    """
    done: dict[tuple[str, int], pathlib.Path] = {}
    missing: list[tuple[str, int]] = []
    unplanned: dict[pathlib.Path, list[str]] = {}
    arms = recipes_of(plan, data)
    for arm in arms:
        for name in absent_files(arm):
            raise InputError(
                f"{plan.name}: {arm.name}: there is no file {name} here, and a run is known by its contents; "
                "put it there, or go to the folder where it is"
            )
    records: dict[pathlib.Path, Record] = {}
    runs: dict[str, list[Loaded]] = {arm.name: [] for arm in arms}
    below = _below(out)
    elsewhere = {folder.name: folder for folder in below}
    for seed in plan.seeds:
        for arm in arms:
            folder = run_folder(out, arm, data, seed, compute)
            if not (folder / "record.json").exists():
                folder = elsewhere.get(folder.name, folder)  # kept apart from where it was trained, under its address
            if not (folder / "record.json").exists():
                missing.append((arm.name, seed))
                continue
            loaded = read(folder)
            record = loaded.record
            wrong = departures(record, plan, arm.name, plain(arm), NUMERICS)
            if wrong:
                unplanned[folder] = wrong
                missing.append((arm.name, seed))
            else:
                done[arm.name, seed] = folder
                records[folder] = record
                runs[arm.name].append(loaded)
    for folder in below:
        if folder not in done.values() and folder not in unplanned:
            unplanned[folder] = ["no run of the plan"]
    since = committed(path)
    begun = [] if since is None else early(list(records.values()), since)
    copies = [note for name, held in runs.items() if (note := copies_note(name, held))]
    return Status(
        done, missing, unplanned, since, [folder for folder, held in records.items() if held in begun], copies
    )


def _below(out: pathlib.Path) -> list[pathlib.Path]:
    try:
        return runs_below([out])
    except InputError:
        return []
