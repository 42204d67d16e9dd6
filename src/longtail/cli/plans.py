"""Commands for evidence that is planned: plan, power."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated

import typer

from longtail.cli.options import Drawing, Json, Machine, grouped, own_data, refuse_unheeded
from longtail.cli.options import seeds as read_seeds
from longtail.cli.progress import announce, print_json, training
from longtail.errors import InputError, unknown
from longtail.wording import counted

ACTIONS = ("show", "status", "run")


@grouped
def plan(
    words: Annotated[list[str], typer.Argument(help="PLAN.toml, run PLAN.toml or status PLAN.toml")],
    machine: Machine,
    out: Annotated[pathlib.Path, typer.Option(help="Folder for runs")] = pathlib.Path("runs"),
    root: Annotated[pathlib.Path | None, typer.Option(help="Folder with the data set's original files")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs that train at once")] = 1,
    on: Annotated[str, typer.Option(help="Where runs are trained: here or ray[:ADDRESS]")] = "here",
    arms: Annotated[list[str] | None, typer.Option("--arm", help="Train this arm alone, or these (run)")] = None,
    seeds: Annotated[str | None, typer.Option(help="Train these seeds alone, as 3 (0, 1 and 2) or 0,2 (run)")] = None,
    as_json: Json = False,
) -> None:
    """Show a plan, say what of it is done (status), or train what is missing (run).

    Commit the plan before its first run: status says whether that is so, and which runs no plan announced.

    Example: longtail plan status plan.toml
    """
    action, path = (words[0], words[1]) if len(words) == 2 else ("show", words[0])
    if len(words) > 2 or action not in ACTIONS:
        raise InputError(f"plan {' '.join(words)}: say PLAN.toml, run PLAN.toml or status PLAN.toml")
    from longtail.data import names
    from longtail.results.plan import asked_of_git, read_plan
    from longtail.training import planned
    from longtail.training.cluster import address_of
    from longtail.training.processes import started

    if on.partition(":")[0] not in ("here", "ray"):
        raise InputError(f"--on {on!r}: a plan is trained here or on ray[:ADDRESS]")
    if on != "here":
        address_of(on)
    if started() > 1:
        raise InputError("a plan is not for torchrun: give --jobs, or start plan run several times with one --out")
    if action != "run":
        elsewhere = {"on": on if on != "here" else None, "jobs": jobs if jobs > 1 else None}
        refuse_unheeded("it goes with plan run", arm=arms, seeds=seeds, **elsewhere)
    held, only = read_plan(path), [] if seeds is None else read_seeds(seeds)
    planned.check_part(held, arms or (), only)
    planned.recipes_of(held, None)
    known = [name.partition(":")[0] for name in names()]
    if not own_data(held.data, names()) and held.data.partition(":")[0] not in known:
        raise unknown(f"data set of the plan {path}", held.data, names())
    if action == "show":
        if as_json:
            print_json(held.__dict__)
            return
        typer.echo(f"{held.name}: {held.question}\nsha256 {held.sha256}\ndata: {held.data}, {held.options}")
        for arm in held.arms:
            control = f", control {held.controls[arm]}" if arm in held.controls else ""
            typer.echo(f"arm: {arm}{control}")
        typer.echo(
            f"seeds: {', '.join(map(str, held.seeds))}; {held.primary} decides, from {100 * held.smallest:g} points; a "
            f"published number may be missed by {100 * held.tolerance:g}"
        )
        return
    drawing = Drawing(**({"root": root} | planned.data_options(held)))
    data, own = drawing.load(held.data, quiet=as_json), machine.choose()
    recipes = planned.checked_arms(held, data, own)
    chosen = own if machine.precision != "auto" else planned.agreed(held, out, own, keep=action == "run")
    if action == "run":
        runs = f"{counted(len(recipes), 'arm')}, {counted(len(held.seeds), 'seed')}"
        how = machine.described(own) if chosen == own else f"{chosen.describe()} (as the runs in {out})"
        announce(f"{held.name}: {runs}; {how}", as_json)
        since, hidden = asked_of_git(pathlib.Path(path))
        if since is None:
            untold = (
                f"It is not known when the plan was committed ({hidden})" if hidden else "The plan is not committed"
            )
            announce(f"{untold}, so nothing will show that it came before its runs.", as_json)
        epochs = sum(recipe.epochs for recipe in recipes if recipe.name in (arms or held.arms))
        with training(len(only or held.seeds) * epochs, quiet=as_json) as notify:
            planned.run_plan(
                held, data, out=out, compute=chosen, notify=notify, jobs=jobs, on=on, arms=arms or (), seeds=only
            )
    found = planned.status(held, pathlib.Path(path), data, out=out, compute=chosen)
    if as_json:
        print_json(
            {
                "sha256": held.sha256,
                "done": [f"{arm}, seed {seed}" for arm, seed in found.done],
                "missing": [f"{arm}, seed {seed}" for arm, seed in found.missing],
                "unplanned": {str(folder): why for folder, why in found.unplanned.items()},
                "committed": found.committed,
                "unknown": found.unknown,
                "early": [str(folder) for folder in found.early],
                "copies": found.copies,
            }
        )
        return
    if not out.exists():
        typer.echo(f"There is no folder {out} yet.")
    typer.echo(f"{held.name}: {len(found.done)} of {len(held.arms) * len(held.seeds)} planned runs are done")
    for note in found.copies:
        typer.echo(note)
    for arm in dict.fromkeys(arm for arm, _ in found.missing):
        lacking = [str(seed) for name, seed in found.missing if name == arm]
        typer.echo(f"missing: {arm}, seed{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}")
    for folder, why in found.unplanned.items():
        typer.echo(f"unplanned: {folder}: {'; '.join(why)}")
    if found.unknown:
        typer.echo(f"It is not known when the plan was committed: {found.unknown}")
    elif found.committed is None:
        typer.echo("The plan as it stands is not committed, so nothing shows that it came before its runs.")
    for folder in found.early:
        typer.echo(f"begun before the plan was committed: {folder}")


@grouped
def power(
    folders: Annotated[list[pathlib.Path], typer.Argument(help="Runs, or folders with runs, of at least two methods")],
    against: Annotated[str | None, typer.Option(help="The baseline; the first row by default")] = None,
    difference: Annotated[float, typer.Option(min=0.01, max=100, help="The difference to be seen, in points")] = 1.0,
    measure: Annotated[
        str | None,
        typer.Option(
            help="accuracy, balanced_accuracy, many, medium or few; by default the one that the plan decides by"
        ),
    ] = None,
    plans: Annotated[
        list[pathlib.Path] | None,
        typer.Option("--plan", help="A plan of some of the runs, for early records, which do not say all that it says"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how many seeds, and test images, it takes to see a difference, from the spread of finished runs.

    Example: longtail power runs/digits-lt-if100 --difference 2
    """
    from longtail.results.plan import completed_rows
    from longtail.results.power import needed, with_spread
    from longtail.training.many import loaded_rows

    every = completed_rows(loaded_rows(folders), plans or [])
    kept, few = with_spread(every)
    whole = len(kept) > 1 and (against or next(iter(every))) not in few  # else the refusal says what is wrong
    found = needed(
        kept if whole else every,
        against=against,
        difference=difference / 100,
        measure=measure,
        contrasts=len(every) - 1,
    )
    if few:
        typer.echo(f"left out, with fewer than three runs that differ: {', '.join(few)}", err=True)
    if as_json:
        print_json({"methods": [dataclasses.asdict(row) for row in found], "left_out": few})
        return
    from rich.console import Console

    from longtail.cli.grid import grid

    table = grid("method", *(f"{runs}\nseeds" for runs in found[0].smallest), "seeds\nneeded", "images\nneeded")
    for row in found:
        shown = [f"{100 * value:.2f}" for value in row.smallest.values()]
        seeds = "more images" if row.seeds is None else str(row.seeds)
        table.add_row(row.method, *shown, seeds, f"{row.images:,}")
    Console().print(table)
    family = found[0].family
    together = "of one contrast" if family == 1 else f"that hold together for {family} of them"
    typer.echo(
        f"Smallest difference in {found[0].measure.replace('_', ' ')} from {found[0].baseline}, in points, that is "
        f"told from 0 half of the time, by intervals {together}; seeds and test images needed for {difference:g} "
        f"point{'s' * (difference != 1)} (images: with many seeds)."
    )


COMMANDS = (plan, power)
