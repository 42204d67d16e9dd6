"""Plans carried out: train what is missing, say what is there, and what no plan announced."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from longtail import stated
from longtail.data import Data, load
from longtail.errors import InputError, unknown
from longtail.files import write_atomically
from longtail.methods.names import recipe
from longtail.recipes import NUMERICS, Recipe
from longtail.recipes.part import absent_files, plain
from longtail.results import Loaded, Record, read, rescore
from longtail.results.copies import copies_note
from longtail.results.plan import Plan, asked_of_git, departures, early
from longtail.training import compute as computing
from longtail.training.audit import runs_below
from longtail.training.loop import Notify
from longtail.training.many import refuse_twins, run_folder, train_many
from longtail.training.prepare import settled
from longtail.training.processes import ALONE
from longtail.training.store import locked
from longtail.wording import counted

PRECISION = "precision.json"
"""File of a folder of runs: the precision of its planned runs, by device."""


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


def check_part(plan: Plan, arms: Sequence[str], seeds: Sequence[int]) -> None:
    """Refuse arms and seeds that a plan does not name.

    Raises:
        InputError: naming the first of them.
    """
    for name in arms:
        if name not in plan.arms:
            raise unknown(f"arm of the plan {plan.name}", name, plan.arms)
    if other := [seed for seed in seeds if seed not in plan.seeds]:
        raise InputError(
            f"seed {other[0]} is not in the plan {plan.name}; its seeds are {', '.join(map(str, plan.seeds))}"
        )


def run_plan(
    plan: Plan,
    data: Data,
    *,
    out: pathlib.Path,
    compute: computing.Compute,
    notify: Notify | None = None,
    jobs: int = 1,
    on: str = "here",
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (),
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
        arms: names of the arms that are trained this time; all of the plan's if none is given.
        seeds: seeds that are trained this time; all of the plan's if none is given.

    Returns:
        The folders of the records, by arm.

    Raises:
        InputError: an arm or seed that is not in the plan; the same run lies there and cites another plan or none, so
            this plan could never be done there; and as ``train_many``.
    """
    check_part(plan, arms, seeds)
    every = checked_arms(plan, data, compute)
    asked = [arm for arm in every if arm.name in (arms or plan.arms)]
    wanted = [seed for seed in plan.seeds if seed in (seeds or plan.seeds)]
    taken = []
    for arm in asked:
        for seed in wanted:
            folder = run_folder(out, arm, data, seed, compute)
            if (folder / "record.json").exists():
                wrong = _departures(read(folder).record, plan, arm, data, compute, seed)
                taken += [f"{folder}: {wrong[0]}"] if wrong else []
    if taken:
        lie = counted(len(taken), "run that the plan announces lies", "runs that the plan announces lie")
        raise InputError(f"{lie} in {out} without being of it ({taken[0]}): give another --out, or plan other seeds")
    citations = {arm.name: plan.cited(arm.name, plain(arm), NUMERICS) for arm in asked}
    done, _ = _present(plan, every, data, out, compute)
    return train_many(
        asked,
        data,
        seeds=wanted,
        out=out,
        compute=compute,
        notify=notify,
        jobs=jobs,
        on=on,
        plans=citations,
        done={key: place for key, (place, _) in done.items()},
    )


def checked_arms(plan: Plan, data: Data, compute: computing.Compute) -> list[Recipe]:
    """Return the recipes of a plan's arms, if all of them can be known and are different.

    Raises:
        InputError: a file that an arm names is not there, and without its contents its runs cannot be known; or two
            arms are one recipe.
    """
    arms = recipes_of(plan, data)
    for arm in arms:
        for name in absent_files(arm):
            raise InputError(
                f"{plan.name}: {arm.name}: there is no file {name} here, and a run is known by its contents; "
                "put it there, or go to the folder where it is"
            )
    refuse_twins(arms, data, plan.seeds[0], {arm.name: settled(compute, arm, data, ALONE) for arm in arms})
    return arms


def _present(
    plan: Plan, arms: Sequence[Recipe], data: Data, out: pathlib.Path, compute: computing.Compute
) -> tuple[dict[tuple[str, int], tuple[pathlib.Path, Loaded]], dict[pathlib.Path, list[str]]]:
    """The runs of a plan wherever they lie below a folder, and those at their places that are not of it, with why."""
    done: dict[tuple[str, int], tuple[pathlib.Path, Loaded]] = {}
    unplanned: dict[pathlib.Path, list[str]] = {}
    elsewhere: dict[str, list[pathlib.Path]] = {}
    for folder in _below(out):
        elsewhere.setdefault(folder.name, []).append(folder)
    for seed in plan.seeds:
        for arm in arms:
            folder = run_folder(out, arm, data, seed, compute)
            # It may be kept apart from where it was trained, under its address.
            for place in dict.fromkeys((folder, *elsewhere.get(folder.name, ()))):
                if not (place / "record.json").exists():
                    continue
                try:
                    loaded = read(place)
                    rescore(loaded)
                except InputError as error:
                    unplanned[place] = [str(error)]
                    continue
                wrong = _departures(loaded.record, plan, arm, data, compute, seed)
                if wrong:
                    unplanned[place] = wrong
                elif (arm.name, seed) in done:
                    unplanned[place] = [f"a copy of {done[arm.name, seed][0]}"]
                else:
                    done[arm.name, seed] = place, loaded
    return done, unplanned


def agreed(plan: Plan, out: pathlib.Path, compute: computing.Compute, *, keep: bool) -> computing.Compute:
    """Return what was chosen here with the precision of the plan's runs on such a device, so that all have one.

    Two processes that try bfloat16 at once, or one that is started anew, may find it faster at one time and not at
    another. What the first of them chose stands in the folder.

    Args:
        plan: whose runs they are.
        out: folder of all runs.
        compute: as it was chosen here.
        keep: whether a choice that nobody has made before is kept in the folder.

    Raises:
        InputError: a file of the folder that is damaged, or a folder that cannot be written to.
    """
    path = out / PRECISION

    def chosen() -> str:
        held = _kept(path)
        there = {
            record.numerics["precision"]
            for record in _records(out)
            if record.plan.get("sha256") == plan.sha256 and record.numerics["device"] == compute.device
        }
        if len(there) == 1:
            return str(there.pop())  # whatever another plan's runs have
        found = str(held.get(compute.device, compute.precision))
        if keep and compute.device not in held:
            text = json.dumps({**held, compute.device: found}, sort_keys=True)
            write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
        return found

    with locked(out / f".{PRECISION}.lock") if keep else contextlib.nullcontext():
        found = chosen()
    return dataclasses.replace(compute, precision=found)  # type: ignore[arg-type]  # one of those, as was looked at


def _kept(path: pathlib.Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(value in computing.PRECISIONS[1:] for value in found.values()):
        raise InputError(f"{path} is damaged: it names the precision of each device; remove it, or give --precision")
    return found


def _records(out: pathlib.Path) -> Iterator[Record]:
    """The records below a folder that can be read."""
    for folder in _below(out):
        with contextlib.suppress(InputError):
            yield read(folder).record


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a plan is.

    Args:
        done: (arm, seed) to the folder of its record.
        missing: (arm, seed) in the order in which they will be trained.
        unplanned: folder of a run below the same folder to what makes it no run of the plan.
        committed: when the plan was first committed, ISO 8601; None if it is not, or git does not tell.
        unknown: why git does not tell; empty if it does.
        early: folders of records that were begun before that.
        copies: a line for each arm of which several seeds gave the very same predictions, which are one run.
    """

    done: dict[tuple[str, int], pathlib.Path]
    missing: list[tuple[str, int]]
    unplanned: dict[pathlib.Path, list[str]]
    committed: str | None
    early: list[pathlib.Path]
    copies: list[str]
    unknown: str = ""


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
        InputError: a file that an arm names is not there, and without its contents its runs cannot be known; two arms
            that are one recipe; or ``out`` is no folder.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder: --out names the folder of the runs")
    arms = checked_arms(plan, data, compute)
    found, unplanned = _present(plan, arms, data, out, compute)
    done = {key: place for key, (place, _) in found.items()}
    missing = [(arm.name, seed) for seed in plan.seeds for arm in arms if (arm.name, seed) not in found]
    records = {place: loaded.record for place, loaded in found.values()}
    runs = {arm.name: [found[arm.name, seed][1] for seed in plan.seeds if (arm.name, seed) in found] for arm in arms}
    known = {arm.name: arm for arm in arms}
    for folder in _below(out):
        if folder not in done.values() and folder not in unplanned:
            unplanned[folder] = _why_not(folder, plan, known, data, compute)
    since, why = asked_of_git(path)
    begun = [] if since is None else early(list(records.values()), since)
    copies = [note for name, held in runs.items() if (note := copies_note(name, held))]
    behind = [folder for folder, held in records.items() if held in begun]
    return Status(done, missing, unplanned, since, behind, copies, why)


def _why_not(
    folder: pathlib.Path, plan: Plan, arms: dict[str, Recipe], data: Data, compute: computing.Compute
) -> list[str]:
    """In what a run that lies under no address of the plan is not one of its runs."""
    try:
        record = read(folder).record
    except InputError as error:
        return [str(error)]
    arm = arms.get(str(record.plan.get("arm")))
    if record.plan.get("sha256") != plan.sha256 or arm is None:
        return ["no run of the plan"]
    return _departures(record, plan, arm, data, compute) or ["its folder bears another address than the plan's run"]


def _departures(
    record: Record, plan: Plan, arm: Recipe, data: Data, compute: computing.Compute, seed: int | None = None
) -> list[str]:
    """In what a record is not the run of an arm, and of a seed where it lies under its address."""
    wrong = departures(record, plan, arm.name, plain(arm), NUMERICS)
    if seed is not None and record.seed != seed and record.seed in plan.seeds:
        wrong.append(f"its folder is that of seed {seed}, and its record says {record.seed}")
    if record.data["fingerprint"] != data.fingerprint:
        wrong.append("it is of other data")
    there, here = computing.identity_of_record(record.numerics), computing.identity(settled(compute, arm, data, ALONE))
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            wrong.append(
                "the library's source is not the one it was made with"
                if name == "package"
                else f"{name} {there.get(name)} (here {here.get(name)})"
            )
    return wrong


def _below(out: pathlib.Path) -> list[pathlib.Path]:
    try:
        return runs_below([out])
    except InputError:
        return []
