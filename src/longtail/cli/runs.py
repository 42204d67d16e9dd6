"""Commands that train, and those that read what was trained: compare, train, rescore, report, recipe, bench."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longtail.cli import options
from longtail.cli.options import DataName, Drawing, Json, Machine, Quiet, Reading, Setting, grouped
from longtail.cli.progress import announce, counting, print_json, training
from longtail.cli.words import recipe_names
from longtail.errors import InputError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from longtail.data import Data
    from longtail.recipes import Recipe
    from longtail.results import Loaded
    from longtail.training.processes import Ranks

Against = Annotated[str | None, typer.Option(help="The row that the others are compared with; the first by default")]
ROWS = "ce, dro-lt@radius=shared, file.py:loss, SHORT=NAME, a run"
ONE = "ce, dro-lt@radius=shared, file.py:loss, a finished run's folder, ..."
Page = Annotated[
    pathlib.Path | None,
    typer.Option("--report", help="The HTML report; default report.html, of compare beside the runs"),
]
Log = Annotated[
    str | None, typer.Option("--log", help="Write a row for each epoch as it comes: csv, tensorboard or wandb")
]
Watch = Annotated[bool, typer.Option("--watch-test", help="Evaluate the test set every epoch; never selects")]


def _loaded(drawing: Drawing, data: str, ranks: Ranks, *, model: str | None, quiet: bool) -> Data:
    """Load the data set; of several processes the first does it before the others, which find what it fetched."""
    held: list[Data] = []
    ranks.first(lambda: held.append(drawing.load(data, model=model, quiet=quiet)))
    return held[0] if held else drawing.load(data, model=model, quiet=True)


def _divided(recipes: Sequence[Recipe], ranks: Ranks, sync: bool) -> str:
    """What each of several processes does, and at what rate: both as in one."""
    if ranks.size == 1:
        return ""
    stages = [stage for recipe in recipes for stage in recipe.stages]
    sizes = sorted({stage.batch_size for stage in stages})
    rates = sorted({stage.optimizer["lr"] for stage in stages if "lr" in dict(stage.optimizer.arguments)})
    told = f"batches of {' and '.join(map(str, sizes))} images are divided among {ranks.size} processes"
    told += f", learning rate {' and '.join(f'{rate:g}' for rate in rates)} as in one" if rates else ""
    norm = "over all of them" if sync else "in each process for its own part (--sync-batch-norm: over all)"
    return f"\n{told}; batch normalisation {norm}"


def _described(data: Data) -> str:
    from longtail.data.hygiene import summary

    found = [f"{data.name}: {len(data.train)} images, {data.num_classes} classes", summary(data).line(), *data.notes]
    return "; ".join(line for line in found if line)


def _augmented(recipes: Sequence[Recipe], data: Data) -> str:
    """What is done to the images of each recipe's stages, and by what."""
    from longtail.recipes.text import written

    stages = [stage for recipe in recipes for stage in recipe.stages]
    told = dict.fromkeys(" + ".join(map(written, stage.augmentation)) or "none" for stage in stages)
    by = ", one by one by torchvision in worker processes" if data.train.streamed else ", whole batches in memory"
    forbidden = "" if data.flips else "; mirrored images do not show the same here, so none is mirrored"
    return f"augmentation: {' | '.join(told)}{by}{forbidden}"


@grouped
def compare(
    recipes: Annotated[list[str], typer.Argument(help=ROWS, autocompletion=recipe_names)],
    drawing: Drawing,
    setting: Setting,
    machine: Machine,
    data: DataName = "digits-lt",
    seeds: Annotated[str, typer.Option(help="How many seeds (3), or which (0,1,7)")] = "3",
    against: Against = None,
    out: Annotated[pathlib.Path, typer.Option(help="Folder for runs")] = pathlib.Path("runs"),
    page: Page = None,
    watch_test: Watch = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs that train at once; on a CPU, as many as it has cores")] = 1,
    on: Annotated[
        str, typer.Option(help="Where runs are trained: here, ray[:ADDRESS], or slurm, which prints an array script")
    ] = "here",
    log: Log = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train recipes from several seeds and compare them with the first.

    What has a record is not trained again, and a beginning that recipes share is trained once.

    Example: longtail compare ce balanced-softmax --data digits-lt --seeds 3
    """
    numbers = options.seeds(seeds)
    from longtail.training.cluster import address_of
    from longtail.training.logging import logging
    from longtail.training.many import data_label, rows_of, train_many
    from longtail.training.processes import joined

    _check_page(page)
    if on == "slurm":
        from longtail.cli.slurm import array_script

        setting.recipes(recipes, None)
        words = options.with_configuration(sys.argv[2:])
        typer.echo(array_script(words, recipes, numbers, gpu=machine.device == "cuda"))
        return
    if on != "here":
        address_of(on)
    with joined() as ranks:
        setting.recipes(recipes, None)
        chosen = ranks.first(machine.choose)
        silent = quiet or as_json or not ranks.leads
        loaded = _loaded(drawing, data, ranks, model=setting.model, quiet=silent)
        asked = setting.recipes(recipes, loaded, image_size=drawing.image_size)
        if against is not None and against not in [recipe.name for recipe in asked]:
            raise InputError(f"--against {against!r} is no row here: {', '.join(recipe.name for recipe in asked)}")
        several = _divided(asked, ranks, machine.sync_batch_norm)
        said = f"{_described(loaded)}; {machine.described(chosen)}{several}\n{_augmented(asked, loaded)}"
        announce(said, silent)
        place = out / data_label(loaded)
        with (
            training(
                len(numbers) * sum(recipe.epochs for recipe in asked), quiet=silent, several=jobs > 1 or on != "here"
            ) as bar,
            logging(log if ranks.leads else None, place, bar) as (notify, complete),
        ):
            folders = train_many(
                asked,
                loaded,
                seeds=numbers,
                out=out,
                compute=chosen,
                watch_test=watch_test,
                notify=notify,
                jobs=jobs,
                ranks=ranks,
                on=on,
            )
            if ranks.leads:
                complete(folder for paths in folders.values() for folder in paths)
        if ranks.leads:
            _show(rows_of(folders), against, page, place / "report.html", as_json, quiet)
        if not silent:
            typer.echo(f"Records: {place}")


def _check_page(page: pathlib.Path | None) -> None:
    """Refuse to write a page over somebody's file, before anything is trained or read."""
    from longtail.files import check_replaceable
    from longtail.results.report import PAGE_MARK

    if page is not None:
        check_replaceable(page, PAGE_MARK)


def _show(
    rows: dict[str, list[Loaded]],
    against: str | None,
    asked: pathlib.Path | None,
    usual: pathlib.Path,
    as_json: bool,
    quiet: bool = False,
    kind: str | None = None,
) -> None:
    """Compare runs, print the table and write the page where it was asked for, else to its usual place."""
    from longtail import results
    from longtail.files import check_replaceable, write_atomically
    from longtail.results.formats import FORMATS
    from longtail.results.report import PAGE_MARK
    from longtail.training.many import compare_rows

    page = asked or usual
    with counting("comparing runs", before="comparing runs", quiet=quiet or as_json):
        comparison = compare_rows(rows, against=against)
    if kind is not None:
        typer.echo(FORMATS[kind](comparison), nl=False)
        if asked is None:
            return
    html = results.report_html(comparison, rows)
    written: str | None
    try:
        check_replaceable(page, PAGE_MARK)
        write_atomically(page, lambda file: file.write_text(html, encoding="utf-8"))
        where, written = f"Report: {page}", str(page)
    except InputError as error:  # finished runs may lie where nobody can write
        if asked is not None:
            raise
        where, written = f"No report was written: {error}", None
    if as_json:
        paths = {name: [str(run.folder) for run in held] for name, held in rows.items()}
        if written is None:
            typer.echo(where, err=True)
        print_json({**results.to_json(comparison), "folders": paths, "report": written})
        return
    if kind is None:
        from rich.console import Console

        Console().print(results.table(comparison))
    if not quiet:
        typer.echo(where, err=kind is not None)


@grouped
def train(
    recipe: Annotated[str, typer.Argument(help=ONE, autocompletion=recipe_names)],
    drawing: Drawing,
    setting: Setting,
    machine: Machine,
    data: DataName = "digits-lt",
    seed: Annotated[
        str | None, typer.Option(help="A whole number from 0; 0 if not given, and with --from that of the run")
    ] = None,
    out: Annotated[pathlib.Path | None, typer.Option(help="Folder of this run; below runs/ if not given")] = None,
    beginning: Annotated[
        pathlib.Path | None,
        typer.Option("--from", help="A finished run: add the recipe's last stage to it, with its model and seed"),
    ] = None,
    watch_test: Watch = False,
    log: Log = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one recipe from one seed; continue it if it was stopped.

    With --from, the recipe's last stage follows a finished run: longtail train ip-dpp --from runs/.../seed-0-1a2b3c4d

    Example: longtail train balanced-softmax --data digits-lt --seed 1
    """
    number = 0 if seed is None else options.seed(seed)
    from longtail.training.logging import logging
    from longtail.training.many import data_label, run_folder
    from longtail.training.prepare import settled
    from longtail.training.processes import joined
    from longtail.training.run import train as run

    with joined() as ranks:
        setting.recipes([recipe], None)
        chosen = ranks.first(machine.choose)
        begun = None
        if beginning is not None:
            from longtail import results

            begun = results.read(beginning)
            _refuse_other(begun, machine, None if seed is None else number)
        silent = quiet or as_json or not ranks.leads
        loaded = _loaded(drawing, data, ranks, model=setting.model, quiet=silent)
        (asked,) = setting.recipes([recipe], loaded, image_size=drawing.image_size)
        shared = pathlib.Path("runs") / data_label(loaded) / "stages" if out is None else out / "stages"
        if begun is not None:
            from longtail.training.compute import of_record
            from longtail.training.restore import continued, model_of

            if setting.model is not None:
                model_of(begun, asked.model)
            chosen, number = of_record(begun.record.numerics), begun.record.seed
            before, given = asked, begun
            asked = ranks.first(lambda: continued(given, loaded, before, shared))
        settings = settled(chosen, asked, loaded, ranks)
        if begun is not None and settings.divided != chosen.divided:
            raise InputError(
                f"{beginning} was trained by {chosen.divided} processes that each normalised its own part of a batch; "
                f"continue it with torchrun --nproc-per-node {chosen.divided}, or without torchrun if that is 1"
            )
        folder = run_folder(pathlib.Path("runs"), asked, loaded, number, settings) if out is None else out
        several = _divided([asked], ranks, machine.sync_batch_norm)
        said = f"{_described(loaded)}; {machine.described(chosen)}{several}\n{_augmented([asked], loaded)}"
        announce(said, silent)
        with (
            training(asked.epochs, quiet=silent) as bar,
            logging(log if ranks.leads else None, folder, bar) as (notify, complete),
        ):
            record = run(
                asked,
                loaded,
                seed=number,
                out=folder,
                store=shared,
                compute=chosen,
                watch_test=watch_test,
                notify=notify,
                ranks=ranks,
            )
            if ranks.leads:
                complete([folder])
        if not ranks.leads:
            return
        if as_json:
            print_json({**record.to_json(), "folder": str(folder)})
            return
        _print_report(record.report, f"{record.recipe}, seed {record.seed}", record.notes)
        typer.echo(f"Record: {folder}")


def _refuse_other(begun: Loaded, machine: Machine, seed: int | None) -> None:
    """Refuse a seed, device or precision that was asked for where a finished run goes on with its own."""
    from longtail.training.compute import of_record

    own = of_record(begun.record.numerics)
    asked = {
        "seed": (seed, begun.record.seed),
        "device": (None if machine.device == "auto" else machine.device, own.device),
        "precision": (None if machine.precision == "auto" else machine.precision, own.precision),
        "compile": (machine.compiled or None, own.compiled),
        "sync_batch_norm": (machine.sync_batch_norm or None, own.sync_batch_norm),
    }
    for name, (value, held) in asked.items():
        if value is not None and value != held:
            flag = options.flag(name)
            own_way = f"without {flag}" if value is True else f"with {flag} {held}"
            raise InputError(f"{begun.folder} goes on as it was begun, {own_way}; leave {flag} out")


def _print_report(report: dict[str, Any], title: str, notes: list[str]) -> None:
    from rich.console import Console

    from longtail.cli.grid import grid

    names = ("accuracy", "balanced_accuracy", "many", "medium", "few", "macro_f1", "worst_decile")
    table = grid("measure", "per cent", title=title)
    for name in names:
        value = report[name]
        table.add_row(name.replace("_", " "), "-" if value is None else f"{100 * value:.2f}")
    Console().print(table)
    for note in notes:
        typer.echo(f"Note: {note}")


@grouped
def rescore(
    folders: Annotated[list[pathlib.Path], typer.Argument(help="Runs, or folders with runs")],
    reading: Reading,
    data: Annotated[str | None, typer.Option("--data", help="Check against this data set, not only the record")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check finished runs: files against their checksums, record against run, numbers against predictions.

    Exit status 1 if one of several fails; a single run that fails is refused with the reason.

    Example: longtail rescore runs
    """
    from longtail.training.audit import audit, runs_below

    if data is None:
        options.refuse_unheeded("it goes with --data", **reading.given())

    def held(record: Any) -> Data | None:
        return None if data is None else load_for(record, data, reading)

    found = runs_below(folders)
    if len(found) == 1:
        loaded, report = audit(found[0], held)
        if as_json:
            print_json(report.to_json())
            return
        checked = "labels as in the data set" if data is not None else "labels as stored; --data checks them too"
        _print_report(report.to_json(), f"{loaded.record.recipe}, seed {loaded.record.seed}: {checked}", [])
        return
    failed = {}
    with counting("checking runs", quiet=quiet or as_json) as notify:
        for number, folder in enumerate(found):
            notify(number, len(found))
            try:
                audit(folder, held)
            except InputError as error:
                failed[str(folder)] = str(error).removeprefix(f"{folder}: ")
    if as_json:
        print_json({"runs": len(found), "failed": failed})
    else:
        for folder_name, why in failed.items():
            typer.echo(f"FAILED {folder_name}: {why}")
        typer.echo(f"{len(found) - len(failed)} of {len(found)} runs are what their files say")
    if failed:
        raise typer.Exit(1)


@grouped
def evaluate(
    folders: Annotated[list[pathlib.Path], typer.Argument(help="Runs, or folders with runs")],
    reading: Reading,
    data: Annotated[str | None, typer.Option("--data", help="Check against this data set, not only the record")] = None,
    as_json: Json = False,
) -> None:
    """Old name of rescore; it goes with the next release.

    Example: longtail rescore runs
    """
    typer.echo("longtail: evaluate is now called rescore; the old name goes with the next release", err=True)
    rescore(folders=folders, data=data, as_json=as_json, **dataclasses.asdict(reading))


def load_for(record: Any, data: str | None, reading: Reading) -> Data:
    """Load the data set as a record says it was drawn, from where the user has it and read as it was then.

    Args:
        record: of a run.
        data: name of the data set; None for the name that the record has.
        reading: what else was said when it was read; the size of the pictures is in the record.

    Raises:
        InputError: data that cannot be read.
    """
    if data is None:
        try:
            return load_for(record, record.data["name"], reading)
        except InputError as error:
            raise InputError(f"{error}; name the data set of the run with --data") from None
    from longtail.data import names
    from longtail.data.catalogue import is_selection, resizes
    from longtail.data.profiles import GIVEN

    identity, again = record.data, dataclasses.asdict(reading)
    # What these draw is said where they are named: file.py:load@imbalance=20, and in the head of a selection.
    if options.own_data(data, names()) or is_selection(data):
        return Drawing(**again).load(data)
    if reading.image_size is None and resizes(data) and identity.get("shape"):  # early records have none
        again["image_size"] = identity["shape"][-1]
    if identity.get("profile") == GIVEN:
        if identity["validation_share"] and reading.class_sizes is None:
            raise InputError(
                f"{data}: class sizes before validation was held out are not in the record; give --class-sizes again"
            )
        again["class_sizes"] = reading.class_sizes or identity["counts"]
        own = {"split_seed": identity["split_seed"], "validation": identity["validation_share"]}
        return Drawing(**again, **own).load(data)
    drawing = Drawing(
        **again,
        imbalance=identity["imbalance"] if identity["split_seed"] is not None else None,
        split_seed=identity["split_seed"] or 0,
        profile=identity.get("profile") or "exponential",  # early records have neither of the two
        validation=identity.get("validation_share", 0.0),
    )
    return drawing.load(data)


@grouped
def report(
    folders: Annotated[list[pathlib.Path], typer.Argument(help="Runs, or folders with runs")],
    against: Against = None,
    kind: Annotated[
        str | None, typer.Option("--format", help="Print the table as markdown, latex or csv, and write no page")
    ] = None,
    plans: Annotated[
        list[pathlib.Path] | None,
        typer.Option("--plan", help="A plan of some of the runs, for early records, which do not say all that it says"),
    ] = None,
    page: Page = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare finished runs, from any number of folders and machines, without training anything.

    Example: longtail report runs/digits-lt-if100 --against ce --format latex
    """
    from longtail.results.formats import FORMATS
    from longtail.results.plan import completed_rows
    from longtail.training.many import loaded_rows

    if kind is not None and kind not in FORMATS:
        raise unknown("format", kind, FORMATS)
    if kind is not None and as_json:
        raise InputError("--format and --json are two ways to print a table: give one of them")
    _check_page(page)
    with counting("reading runs", before="reading runs", quiet=quiet or as_json):
        rows = loaded_rows(folders)
    if plans:
        rows = completed_rows(rows, plans)
    if against is not None and against not in rows:
        raise InputError(f"--against {against!r} is no row here: {', '.join(rows)}")
    _show(rows, against, page, pathlib.Path("report.html"), as_json, quiet, kind)


@grouped
def recipe(
    name: Annotated[str, typer.Argument(help="As for train", autocompletion=recipe_names)],
    drawing: Drawing,
    setting: Setting,
    data: DataName = "digits-lt",
    as_json: Json = False,
) -> None:
    """Print what a recipe resolves to, with every number.

    Example: longtail recipe dro-lt@radius=shared --data digits-lt
    """
    from longtail.methods.names import NETWORKS
    from longtail.recipes.part import plain
    from longtail.recipes.text import split, written

    setting.recipes([name], None)
    loaded = drawing.load(data, model=setting.model, quiet=as_json)
    (found,) = setting.recipes([name], loaded, image_size=drawing.image_size)
    if as_json:
        print_json(plain(found))
        return
    typer.echo(f"{found.name}\nmodel: {written(found.model, every=True)}")
    for number, stage in enumerate(found.stages):
        typer.echo(f"stages.{number}: {stage.name}")
        for field in dataclasses.fields(stage)[1:]:
            value = getattr(stage, field.name)
            held = value if isinstance(value, tuple) else (value,)
            shown = " + ".join(written(one, every=True) if hasattr(one, "arguments") else str(one) for one in held)
            typer.echo(f"  {field.name}: {shown or 'none'}")
    network = NETWORKS.get(split(name.partition("=")[2] if "=" in name.partition("@")[0] else name)[0])
    if network is not None:
        typer.echo(f"networks of its paper: {network} (--model)")
    if found.adjustment is not None:
        typer.echo(f"adjustment: {written(found.adjustment, every=True)}")
    typer.echo(f"selection: {found.selection}\nepochs: {found.epochs} of {found.stated} that the protocol states")


@grouped
def recipes(as_json: Json = False) -> None:
    """List the methods: paper, cost, the number to expect, options; experimental: no run of ours shows that it helps.

    Example: longtail recipes
    """
    import inspect

    from longtail.methods.names import METHODS, SUPPORTED, method
    from longtail.methods.names import options as options_of

    rows: list[dict[str, Any]] = []
    for name in METHODS:
        page = inspect.getmodule(method(name)).__doc__ or ""
        lines = {key: _line_of(page, key) for key in _LINES}
        rows.append(
            {
                "name": name,
                **{key.lower(): text for key, text in lines.items()},
                "experimental": name not in SUPPORTED,
                "evidence": SUPPORTED.get(name),
                "options": options_of(name),
            }
        )
    if as_json:
        from longtail.recipes.part import plain

        print_json(plain(rows))
        return
    width = min(shutil.get_terminal_size().columns, 110)
    for row in rows:
        typer.echo(f"{row['name']}{' (experimental)' if row['experimental'] else ''}")
        shown = {"paper": row["paper"] or row["papers"], "cost": row["cost"], "expect": row["expect"]}
        for key, text in {**shown, "options": ", ".join(row["options"])}.items():
            plainly = re.sub(r"[*`]", "", text or "") or "none"
            line = textwrap.fill(
                f"{key}: {plainly}", width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
            )
            typer.echo(line)
    typer.echo(
        textwrap.fill("experimental: no run of ours stands beside its published order yet (docs/methods.md)", width)
    )


_LINES = ("Paper", "Papers", "Cost", "Expect")


def _line_of(page: str, key: str) -> str | None:
    """The paragraph's entry that begins with a key, over as many lines as it takes."""
    found = re.search(rf"^{key}: (.*?)(?=^(?:Papers?|Command|Cost|Expect): |^$|\Z)", page, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else None


@grouped
def bench(
    recipe: Annotated[str, typer.Argument(help="As for train", autocompletion=recipe_names)],
    drawing: Drawing,
    setting: Setting,
    machine: Machine,
    data: DataName = "digits-lt",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Roughly, for each stage")] = 15.0,
    as_json: Json = False,
) -> None:
    """Time the steps of each stage of a recipe; nothing is stored.

    Example: longtail bench ce --data digits-lt --seconds 5
    """
    from longtail.analysis.bench import bench as run

    chosen = machine.choose()
    setting.recipes([recipe], None)
    loaded = drawing.load(data, model=setting.model, quiet=as_json)
    (asked,) = setting.recipes([recipe], loaded, image_size=drawing.image_size)
    announce(f"{_described(loaded)}; {machine.described(chosen)}", as_json)
    with counting("timing", before="warming up", quiet=as_json) as notify:
        speed = run(asked, loaded, compute=chosen, seconds=seconds, notify=notify)
    if as_json:
        print_json({"data": loaded.name, **speed.to_json()})
        return
    from rich.console import Console

    from longtail.cli.grid import grid

    title = f"{speed.recipe} on {loaded.name}: {chosen.describe()}, threads: {speed.threads}"
    names = ("stage", "steps/s", "img/s", "data", "forward", "backward", "update", "ceiling")
    table = grid(*names, title=title)
    for stage in speed.stages:
        whole = sum(stage.parts.values())
        shares = (f"{100 * spent / whole:.1f} %" for spent in stage.parts.values())
        middle, low, high = (f"{100 * share:.0f}" for share in stage.of_ceiling)
        rates = (f"{stage.steps_per_second:.3g}", f"{stage.images_per_second:.0f}")
        table.add_row(stage.stage, *rates, *shares, f"{middle} % ({low}-{high})")
    Console().print(table)
    typer.echo(
        "The ceiling is the forward and backward pass of the same network on one fixed batch.\n"
        f"Peak memory: {speed.peak_memory / 1e6:.0f} MB."
    )


COMMANDS = (compare, train, rescore, evaluate, report, recipe, recipes, bench)
