"""The command line: parses, calls one function, prints.

Heavy libraries are imported inside the commands, so that ``longtail --help`` answers at once.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longtail.errors import InputError

if TYPE_CHECKING:
    from longtail.data import Data
    from longtail.training.loop import Progress

app = typer.Typer(
    name="longtail",
    help="Learning from long-tailed data. Example: longtail compare ce balanced-softmax --data digits-lt --seeds 3",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    help="Look at data sets. Example: longtail data describe digits-lt", no_args_is_help=True, rich_markup_mode=None
)
board_app = typer.Typer(
    help="The results board. Example: longtail board build site", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")
app.add_typer(board_app, name="board")

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

DataName = Annotated[
    str, typer.Option("--data", help="digits-lt, cifar10-lt, cifar100-lt, npz:PATH or folder:PATH (longtail data list)")
]
Imbalance = Annotated[
    float | None, typer.Option(help="Largest over smallest class; default 100, and a natural data set as it is")
]
Root = Annotated[pathlib.Path | None, typer.Option(help="Folder with the data set's original files")]
Download = Annotated[bool, typer.Option("--download", help="Fetch the original files into --root if they are missing")]
SplitSeed = Annotated[int, typer.Option(help="Which images the long-tailed subset has; 0 is what everyone uses")]
Profile = Annotated[str, typer.Option(help="How the counts fall: exponential, step or pareto")]
Validation = Annotated[float, typer.Option(help="Share of each training class held out for validation")]
ImageSize = Annotated[int | None, typer.Option(help="Side in pixels to which a folder's images are resized")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines")]
ProtocolName = Annotated[str | None, typer.Option("--protocol", help="plain-200, strong-400 or digits")]
Model = Annotated[str | None, typer.Option(help="resnet32, resnet18-cifar, small, ... or a timm name")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs of the first stage; everything else scales with it")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Images in a step")]
Augmentation = Annotated[str | None, typer.Option(help="none, plain (crop, flip) or strong (AutoAugment, Cutout too)")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
PrecisionName = Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16")]
Compile = Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the backbone (docs/speed.md)")]
WatchTest = Annotated[bool, typer.Option("--watch-test", help="Evaluate the test set every epoch; never selects")]
Select = Annotated[str, typer.Option(help="last (epoch) or validation (best epoch on the validation split)")]
Out = Annotated[pathlib.Path, typer.Option(help="Folder for runs")]
Board = Annotated[pathlib.Path, typer.Option("--root", help="The board's own folder: submissions, scores, imports")]
BOARD = pathlib.Path("board")
INTERRUPTED = 130
"""Exit status after Ctrl-C, by convention 128 and the number of the signal."""


@contextmanager
def _progress(total_epochs: int, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error with epoch, loss, accuracy and time left, over all runs of the command."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f} epochs"),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("starting", total=total_epochs, shown="")
        done: dict[tuple[str, int], float] = {}

        def notify(now: Progress) -> None:
            done[now.recipe, now.seed] = now.epoch + now.share
            loss = "" if now.loss is None else f"loss {now.loss:.3f}"
            accuracy = "" if now.accuracy is None else f" train {100 * now.accuracy:.1f} %"
            shown = f"{now.stage} {loss}{accuracy}"
            bar.update(task, completed=sum(done.values()), description=f"{now.recipe} seed {now.seed}", shown=shown)

        yield notify


@contextmanager
def _counting(what: str, *, before: str | None = None, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while something is counted; until then it says ``before``, or nothing."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(before or what, total=None, visible=before is not None)
        yield lambda done, total: bar.update(task, description=what, completed=done, total=total, visible=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def _load(
    name: str,
    imbalance: float | None,
    root: pathlib.Path | None,
    split_seed: int,
    profile: str,
    validation: float,
    download: bool,
    image_size: int | None,
) -> Data:
    from longtail.data import load

    with _counting("reading pictures") as notify:
        return load(
            name,
            imbalance=imbalance,
            root=root,
            split_seed=split_seed,
            profile=profile,
            validation=validation,
            download=download,
            image_size=image_size,
            notify=notify,
        )


def _seeds(text: str) -> list[int]:
    """``3`` means the seeds 0, 1, 2; ``4,`` or ``4,8`` lists them."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() for part in parts):
        raise InputError(f"--seeds {text!r}: give how many (3) or which (0,1,7), as whole numbers from 0")
    if "," in text:
        return [int(part) for part in parts]
    if int(text) < 1:
        raise InputError(f"--seeds {text!r}: at least one seed is needed")
    return list(range(int(text)))


def _passed_on(arguments: list[str]) -> dict[str, str]:
    """``--key value`` and ``--key=value`` pairs that the command itself does not know."""
    pairs: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise InputError(f"unexpected {word!r}: options read --name value")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"--{key} needs a value")
            value = rest.pop(0)
        pairs[key] = value
    return pairs


def _selected(recipe: Any, select: str, overrides: dict[str, str]) -> Any:
    """The recipe with its selection rule and the fields that were named by dotted flags."""
    import dataclasses

    from longtail.recipes.config import override

    rules = {"last": "last epoch", "validation": "best on validation"}
    if select not in rules:
        raise InputError(f"--select {select!r}: one of last, validation")
    recipe = dataclasses.replace(recipe, selection=rules[select])
    for path, text in overrides.items():
        recipe = override(recipe, path, text)
    return recipe


@app.command(context_settings=PASSED_ON)
def compare(
    context: typer.Context,
    recipes: Annotated[list[str], typer.Argument(help="ce, balanced-softmax, dro-lt@radius=shared, module:loss, ...")],
    data: DataName = "digits-lt",
    imbalance: Imbalance = None,
    root: Root = None,
    seeds: Annotated[str, typer.Option(help="How many seeds (3), or which (0,1,7)")] = "3",
    protocol: ProtocolName = None,
    model: Model = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    augmentation: Augmentation = None,
    out: Out = pathlib.Path("runs"),
    report: Annotated[pathlib.Path | None, typer.Option(help="Where to write the HTML report")] = None,
    device: Device = "auto",
    precision: PrecisionName = "auto",
    compiled: Compile = False,
    watch_test: WatchTest = False,
    select: Select = "last",
    split_seed: SplitSeed = 0,
    profile: Profile = "exponential",
    validation: Validation = 0.0,
    image_size: ImageSize = None,
    download: Download = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs that train at once; on a CPU, as many as it has cores")] = 1,
    as_json: Json = False,
) -> None:
    """Train recipes from several seeds and compare them with the first.

    What has a record is not trained again, and a beginning that recipes share is trained once. Any further option is
    a dotted field of every recipe, such as --stages.0.optimizer.lr 0.05.

    Example: longtail compare ce balanced-softmax --data digits-lt --seeds 3
    """
    from longtail import results
    from longtail.methods import by_name, protocol_for
    from longtail.training.compute import choose
    from longtail.training.many import compare as run
    from longtail.training.many import data_label
    from longtail.training.seeds import generator

    names = [word for word in recipes if not word.startswith("--")]
    numbers, chosen = _seeds(seeds), choose(device, precision, compiled)
    extra = context.args if len(names) == len(recipes) else recipes[len(names) :] + context.args
    overrides = _passed_on(extra)
    loaded = _load(data, imbalance, root, split_seed, profile, validation, download, image_size)
    setting = protocol_for(
        loaded, name=protocol, model=model, epochs=epochs, batch_size=batch_size, augmentation=augmentation
    )
    asked = [_selected(by_name(name, setting), select, overrides) for name in names]
    if len({recipe.name for recipe in asked}) < len(asked):
        raise InputError(f"a recipe is named twice: {', '.join(recipe.name for recipe in asked)}")
    _announce(f"{loaded.name}: {len(loaded.train)} images, {loaded.num_classes} classes; {chosen.describe()}", as_json)
    with _progress(len(numbers) * sum(recipe.epochs for recipe in asked), quiet=as_json) as notify:
        folders = run(
            asked, loaded, seeds=numbers, out=out, compute=chosen, watch_test=watch_test, notify=notify, jobs=jobs
        )
    records = {name: [results.read(folder) for folder in paths] for name, paths in folders.items()}
    comparison = results.compare_records(records, generator=generator(0, "bootstrap"))
    page = report or out / data_label(loaded) / "report.html"
    html = results.report_html(comparison, records)
    _write(page, html)
    if as_json:
        paths = {name: [str(path) for path in folder] for name, folder in folders.items()}
        _print_json({**results.to_json(comparison), "folders": paths, "report": str(page)})
        return
    from rich.console import Console

    Console().print(results.table(comparison))
    typer.echo(f"Report: {page}\nRecords: {out / data_label(loaded)}")


def _announce(line: str, as_json: bool) -> None:
    if not as_json:
        typer.echo(line, err=True)


def _write(path: pathlib.Path, text: str) -> None:
    from longtail.files import write_atomically

    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


@app.command(context_settings=PASSED_ON)
def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="ce, balanced-softmax, module:recipe, file.py:loss, ...")],
    data: DataName = "digits-lt",
    imbalance: Imbalance = None,
    root: Root = None,
    seed: Annotated[str, typer.Option(help="A whole number from 0")] = "0",
    protocol: ProtocolName = None,
    model: Model = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    augmentation: Augmentation = None,
    out: Annotated[pathlib.Path | None, typer.Option(help="Folder of this run; below runs/ if not given")] = None,
    beginning: Annotated[
        pathlib.Path | None,
        typer.Option("--from", help="A finished run: add the recipe's last stage to it, with its model and seed"),
    ] = None,
    device: Device = "auto",
    precision: PrecisionName = "auto",
    compiled: Compile = False,
    watch_test: WatchTest = False,
    select: Select = "last",
    split_seed: SplitSeed = 0,
    profile: Profile = "exponential",
    validation: Validation = 0.0,
    image_size: ImageSize = None,
    download: Download = False,
    as_json: Json = False,
) -> None:
    """Train one recipe from one seed; continue it if it was stopped.

    Any further option is one of the recipe's own (--tau 0.5), or, with dots, a field of it (--stages.0.epochs 20).

    With --from, the recipe's last stage follows a finished run: longtail train ip-dpp --from runs/.../seed-0-1a2b3c4d

    Example: longtail train balanced-softmax --data digits-lt --seed 1
    """
    from longtail.methods import by_name, protocol_for
    from longtail.training.compute import choose
    from longtail.training.loop import train as run
    from longtail.training.many import data_label, run_folder

    if not seed.isdigit():
        raise InputError(f"--seed {seed!r}: give a whole number from 0")
    number, chosen = int(seed), choose(device, precision, compiled)
    options = _passed_on(context.args)
    overrides = {key: value for key, value in options.items() if "." in key}
    loaded = _load(data, imbalance, root, split_seed, profile, validation, download, image_size)
    setting = protocol_for(
        loaded, name=protocol, model=model, epochs=epochs, batch_size=batch_size, augmentation=augmentation
    )
    own = {key: value for key, value in options.items() if "." not in key}
    asked = by_name(recipe, setting, own)
    if beginning is not None:
        from longtail import results
        from longtail.training.compute import Compute
        from longtail.training.restore import continued

        begun = results.read(beginning)
        numerics, number = begun.record.numerics, begun.record.seed
        chosen = Compute(numerics["device"], numerics["precision"], numerics["compiled"])
        shared = pathlib.Path("runs") / data_label(loaded) / "stages" if out is None else out / "stages"
        asked = continued(begun, loaded, asked, shared)
    asked = _selected(asked, select, overrides)
    store = pathlib.Path("runs") / data_label(loaded) / "stages" if out is None else None
    out = run_folder(pathlib.Path("runs"), asked, loaded, number, chosen) if out is None else out
    _announce(f"{loaded.name}: {len(loaded.train)} images, {loaded.num_classes} classes; {chosen.describe()}", as_json)
    with _progress(asked.epochs, quiet=as_json) as notify:
        record = run(
            asked,
            loaded,
            seed=number,
            out=out,
            store=store,
            compute=chosen,
            watch_test=watch_test,
            notify=notify,
        )
    if as_json:
        _print_json({"folder": str(out), "report": record.report, "seconds": record.seconds})
    else:
        _print_report(record.report, f"{record.recipe}, seed {record.seed}, {record.data['name']}, {record.selection}")
        typer.echo(f"Record: {out / 'record.json'}")


@app.command(context_settings=PASSED_ON)
def bench(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="ce, dro-lt, module:recipe, file.py:loss, ...")] = "ce",
    data: DataName = "digits-lt",
    imbalance: Imbalance = None,
    root: Root = None,
    protocol: ProtocolName = None,
    model: Model = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    augmentation: Augmentation = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Roughly, for each stage")] = 15.0,
    device: Device = "auto",
    precision: PrecisionName = "auto",
    compiled: Compile = False,
    image_size: ImageSize = None,
    as_json: Json = False,
) -> None:
    """Time a recipe's steps on this machine: what they spend on what, and how near they come to the network alone.

    The ceiling is the forward and backward pass of the same network on one fixed batch. Nothing is stored.

    Example: longtail bench ce --data cifar100-lt --root DATA
    """
    from longtail.analysis.bench import bench as run
    from longtail.methods import by_name, protocol_for
    from longtail.training.compute import choose

    options = _passed_on(context.args)
    loaded = _load(data, imbalance, root, 0, "exponential", 0.0, False, image_size)
    setting = protocol_for(
        loaded, name=protocol, model=model, epochs=epochs, batch_size=batch_size, augmentation=augmentation
    )
    asked = by_name(recipe, setting, {key: value for key, value in options.items() if "." not in key})
    asked = _selected(asked, "last", {key: value for key, value in options.items() if "." in key})
    chosen = choose(device, precision, compiled)
    _announce(f"{loaded.name}: {len(loaded.train)} images, {loaded.num_classes} classes; {chosen.describe()}", as_json)
    with _counting("timing", before="warming up", quiet=as_json) as notify:
        speed = run(asked, loaded, compute=chosen, seconds=seconds, notify=notify)
    if as_json:
        _print_json({"data": loaded.name, **speed.to_json()})
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    title = f"{speed.recipe} on {loaded.name}: {chosen.describe()}, threads: {speed.threads}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("stage", "steps/s", "img/s", "data", "forward", "backward", "update", "ceiling"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
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


def _print_report(report: dict[str, Any], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    names = ("accuracy", "balanced_accuracy", "many", "medium", "few", "macro_f1", "worst_decile")
    table = Table("measure", "per cent", title=title)
    for name in names:
        value = report[name]
        table.add_row(name.replace("_", " "), "-" if value is None else f"{100 * value:.2f}")
    Console().print(table)


@app.command()
def evaluate(
    record: Annotated[pathlib.Path, typer.Argument(help="A run's folder or its record.json")],
    data: Annotated[str | None, typer.Option("--data", help="Check against this data set, not only the record")] = None,
    root: Root = None,
    image_size: ImageSize = None,
    as_json: Json = False,
) -> None:
    """Score a record's stored predictions again; refuse if the data are not those it was trained on.

    Example: longtail evaluate runs/digits-lt-if100/ce/seed-0-1a2b3c4d --data digits-lt
    """
    from longtail import results

    loaded = results.read(record)
    held = None if data is None else _load_for(loaded.record, data, root, image_size)
    report = results.rescore(loaded, held)
    if as_json:
        _print_json(report.to_json())
    else:
        checked = "labels as in the data set" if held is not None else "labels as stored; --data checks them too"
        _print_report(report.to_json(), f"{loaded.record.recipe}, seed {loaded.record.seed}: {checked}")


def _load_for(record: Any, data: str, root: pathlib.Path | None, image_size: int | None) -> Data:
    """The data set as a record says it was drawn, from where the user has it."""
    identity = record.data
    drawn = identity["split_seed"] is not None
    return _load(
        data,
        identity["imbalance"] if drawn else None,
        root,
        identity["split_seed"] or 0,
        identity.get("profile") or "exponential",  # early records have neither of the two
        identity.get("validation_share", 0.0),
        False,
        image_size,
    )


@app.command()
def probe(
    record: Annotated[pathlib.Path, typer.Argument(help="A run's folder")],
    data: DataName = "digits-lt",
    root: Root = None,
    per_class: Annotated[int, typer.Option(min=1, help="Images of each class in the balanced subset")] = 50,
    image_size: ImageSize = None,
    as_json: Json = False,
) -> None:
    """Score a run's frozen features: linear probes on all data and on a balanced subset, and nearest neighbours.

    Example: longtail probe runs/digits-lt-if100/ce/seed-0-1a2b3c4d --data digits-lt
    """
    from longtail import results
    from longtail.analysis.probe import evaluate_features
    from longtail.training.restore import features_of

    loaded = results.read(record)
    held = _load_for(loaded.record, data, root, image_size)
    train, test = features_of(loaded, held)
    reports = evaluate_features(train, test, held, per_class=per_class, seed=loaded.record.seed)
    if as_json:
        _print_json({name: report.to_json() for name, report in reports.items()})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("protocol", "accuracy %", "many", "medium", "few", title=f"features of {loaded.record.recipe}")
    for name, report in reports.items():
        rates = (report.accuracy, report.many, report.medium, report.few)
        table.add_row(name, *("-" if rate is None else f"{100 * rate:.1f}" for rate in rates))
    Console().print(table)


@app.command()
def features(
    records: Annotated[list[pathlib.Path], typer.Argument(help="Folders of runs on the same data")],
    data: DataName = "digits-lt",
    root: Root = None,
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the figures")] = pathlib.Path("figures"),
    image_size: ImageSize = None,
    as_json: Json = False,
) -> None:
    """Distances within and between classes by shot group, and figures: features in two dimensions, learned radii.

    Example: longtail features runs/digits-lt-if100/*/seed-0-* --data digits-lt --out figures
    """
    from longtail import results
    from longtail.analysis.diagnose import diagnose

    loaded = [results.read(record) for record in records]
    held = _load_for(loaded[0].record, data, root, image_size)
    distances, figures = diagnose(loaded, held, out)
    if as_json:
        _print_json({"distances": distances, "figures": [str(path) for path in figures]})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "method", "split", "distance", "all", "many", "medium", "few", title="intra / inter: smaller is better"
    )
    for row in distances:
        shown = ("-" if row[group] is None else f"{row[group]:.3f}" for group in ("all", "many", "medium", "few"))
        table.add_row(row["method"], row["split"], row["distance"], *shown)
    Console().print(table)
    typer.echo("Figures: " + ", ".join(str(path) for path in figures))


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the data sets by name.

    Example: longtail data list
    """
    from longtail.data import catalogue

    entries = catalogue.entries()
    if as_json:
        _print_json(entries)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what it is", "needs")
    for entry in entries:
        table.add_row(entry["name"], entry["description"], entry["needs"])
    Console().print(table)


@data_app.command("describe")
def data_describe(
    name: Annotated[str, typer.Argument(help="A data set's name")],
    imbalance: Imbalance = None,
    root: Root = None,
    figure: Annotated[pathlib.Path | None, typer.Option(help="Draw the class counts to this .png or .svg")] = None,
    split_seed: SplitSeed = 0,
    profile: Profile = "exponential",
    validation: Validation = 0.0,
    image_size: ImageSize = None,
    download: Download = False,
    as_json: Json = False,
) -> None:
    """Print counts, imbalance, Gini, shot groups, and draw the class-count curve.

    Example: longtail data describe cifar100-lt --imbalance 100 --root DATA --figure counts.svg
    """
    from longtail.data.describe import describe, save_figure

    loaded = _load(name, imbalance, root, split_seed, profile, validation, download, image_size)
    description = describe(loaded)
    if figure is not None:
        save_figure(description, figure)
    if as_json:
        _print_json(description.to_json())
    else:
        typer.echo(description.text())


@data_app.command("verify")
def data_verify(
    name: Annotated[str, typer.Argument(help="A data set's name")],
    root: Root = None,
    imbalance: Imbalance = None,
    image_size: ImageSize = None,
    as_json: Json = False,
) -> None:
    """Check files, checksums and counts; say what is damaged. Exit status 1 if anything is.

    Example: longtail data verify cifar100-lt --root DATA
    """
    from longtail.data.verify import verify

    with _counting("reading pictures") as notify:
        findings = verify(name, root=root, imbalance=imbalance, image_size=image_size, notify=notify)
    if as_json:
        _print_json([finding.to_json() for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok     ' if finding.ok else 'DAMAGED'} {finding.what}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@data_app.command("fingerprint")
def data_fingerprint(
    name: Annotated[str, typer.Argument(help="A data set's name")],
    imbalance: Imbalance = None,
    root: Root = None,
    split_seed: SplitSeed = 0,
    profile: Profile = "exponential",
    validation: Validation = 0.0,
    image_size: ImageSize = None,
    as_json: Json = False,
) -> None:
    """Print the fingerprint: equal on two machines exactly when images, labels and index list are.

    Example: longtail data fingerprint digits-lt
    """
    loaded = _load(name, imbalance, root, split_seed, profile, validation, False, image_size)
    if as_json:
        _print_json({"name": loaded.name, "fingerprint": loaded.fingerprint})
    else:
        typer.echo(f"{loaded.fingerprint}  {loaded.name}")


@board_app.command("build")
def board_build(
    out: Annotated[pathlib.Path, typer.Argument(help="Folder for the site")],
    board: Annotated[
        pathlib.Path | None, typer.Option("--root", help="The board's own folder, besides what is shipped")
    ] = None,
    archive: Annotated[pathlib.Path | None, typer.Option(help="An evaluation-tables file to show as well")] = None,
    as_json: Json = False,
) -> None:
    """Write the board as a static site that works without a network.

    Example: longtail board build site
    """
    from longtail.board import build

    _print_facts(build(out, root=board, archive=archive), as_json)


@board_app.command("serve")
def board_serve(
    board: Annotated[
        pathlib.Path | None, typer.Option("--root", help="The board's own folder, besides what is shipped")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; the default is this machine alone")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Serve the board with search, submissions for review and a read-only API.

    Example: longtail board serve --root board --port 8000
    """
    from longtail.board import serve

    serve(root=board, host=host, port=port)


@board_app.command("submit")
def board_submit(
    records: Annotated[
        list[pathlib.Path], typer.Argument(help="Folders of runs; seeds of one recipe become one entry")
    ],
    board: Board = BOARD,
    submitter: Annotated[str | None, typer.Option(help="Who submits, as the page shows it")] = None,
    as_json: Json = False,
) -> None:
    """Take finished runs into a board; every number is computed again from their predictions.

    Example: longtail board submit runs/digits-lt-if100/ce/seed-0-1a2b3c4d --root board
    """
    from longtail.board import submit

    entries = submit(records, root=board, submitter=submitter)
    if as_json:
        _print_json(entries)
        return
    for entry in entries:
        _print_facts(entry, as_json=False)


@board_app.command("verify")
def board_verify(board: Board = BOARD, as_json: Json = False) -> None:
    """Score every submission again; exit status 1 if a stored score differs.

    Example: longtail board verify --root board
    """
    from longtail.board import verify

    findings = verify(board)
    if as_json:
        _print_json(findings)
    else:
        typer.echo("\n".join(findings) if findings else f"{board}: every score is what its predictions give")
    if findings:
        raise typer.Exit(1)


@board_app.command("import")
def board_import(
    file: Annotated[pathlib.Path, typer.Argument(help="Evaluation tables, .json or .json.gz")],
    board: Board = BOARD,
    as_json: Json = False,
) -> None:
    """Take an archive of evaluation tables into a board, with a flag on every doubtful value.

    Example: longtail board import evaluation-tables.json.gz --root board
    """
    from longtail.board import import_archive

    _print_facts(import_archive(file, root=board), as_json)


@board_app.command("export")
def board_export(
    file: Annotated[pathlib.Path, typer.Argument(help="A new file")],
    board: Board = BOARD,
    as_json: Json = False,
) -> None:
    """Write a board in the archive's layout.

    Example: longtail board export evaluation-tables.json --root board
    """
    from longtail.board import export_archive

    _print_facts(export_archive(board, file), as_json)


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        shown = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name}: {shown}")


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version")] = False,
) -> None:
    if version:
        from longtail import __version__

        typer.echo(f"longtail {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise InputError("name a command, such as compare; longtail --help lists them")


def main() -> None:
    """Run the command line; a user's error is one line on standard error and exit status 2."""
    # Waiting threads sleep instead of spinning: with another process on the same cores, spinning ones make a step
    # several times slower (docs/speed.md). It must be set before torch starts its threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status = app(standalone_mode=False)
    except InputError as error:
        sys.exit(_complain(str(error)))
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        # Usage errors of the command line library, whose own class has moved between its versions.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        sys.exit(_complain(message()))
    if status == INTERRUPTED:  # the command line library itself may have caught the signal
        typer.echo("interrupted; the same command continues from the last checkpoint", err=True)
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str) -> int:
    typer.echo(f"longtail: {' '.join(message.split())}", err=True)
    return 2


if __name__ == "__main__":
    main()
