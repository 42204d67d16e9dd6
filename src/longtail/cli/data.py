"""Commands that look at data sets."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated

import typer

from longtail.cli.options import (
    Drawing,
    ImageSize,
    Json,
    LabelsFrom,
    Lists,
    OwnModel,
    Root,
    grouped,
    own_data,
    refuse_unheeded,
)
from longtail.cli.progress import counting, print_json
from longtail.cli.words import Whole, data_names
from longtail.errors import InputError

app = typer.Typer(
    cls=Whole,
    help="Look at data sets. Example: longtail data describe digits-lt",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="A data set's name", autocompletion=data_names)]


@app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the data sets by name.

    Example: longtail data list
    """
    from longtail.data import catalogue

    entries = catalogue.entries()
    if as_json:
        print_json(entries)
        return
    from rich.console import Console

    from longtail.cli.grid import grid

    table = grid("name", "what it is", "needs", words=3)
    for entry in entries:
        table.add_row(entry["name"], entry["description"], entry["needs"])
    Console().print(table)


@app.command("describe")
@grouped
def describe(
    name: Name,
    drawing: Drawing,
    figure: Annotated[pathlib.Path | None, typer.Option(help="Draw the class counts to this .png or .svg")] = None,
    as_json: Json = False,
) -> None:
    """Print counts, imbalance, Gini, shot groups, and draw the class-count curve.

    Example: longtail data describe cifar100-lt --imbalance 100 --root DATA --figure counts.svg
    """
    from longtail.data.describe import describe, save_figure

    loaded = drawing.load(name, quiet=as_json, enlarged=False)
    description = describe(loaded)
    if figure is not None:
        save_figure(description, figure)
    if as_json:
        print_json(description.to_json())
    else:
        typer.echo(description.text())


@app.command("verify")
def data_verify(
    name: Name,
    root: Root = None,
    imbalance: Annotated[float | None, typer.Option(help="Largest over smallest class")] = None,
    image_size: ImageSize = None,
    leave_out_classes_below: Annotated[
        int | None, typer.Option(min=1, help="Leave out classes with fewer training images than this")
    ] = None,
    drop_duplicates: Annotated[
        pathlib.Path | None, typer.Option(help="Leave out copies of images; which ones is kept in this list")
    ] = None,
    lists_folder: Lists = None,
    labels_from: LabelsFrom = 0,
    as_json: Json = False,
) -> None:
    """Check files, checksums and counts; say what is damaged. Exit status 1 if anything is.

    Example: longtail data verify cifar100-lt --root DATA
    """
    from longtail.data.verify import verify

    with counting("reading pictures") as notify:
        findings = verify(
            name,
            root=root,
            imbalance=imbalance,
            image_size=image_size,
            leave_out_classes_below=leave_out_classes_below,
            drop_duplicates=drop_duplicates,
            lists_folder=lists_folder,
            labels_from=labels_from,
            notify=notify,
        )
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok     ' if finding.ok else 'NOT OK '} {finding.what}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command("fingerprint")
@grouped
def fingerprint(name: Name, drawing: Drawing, as_json: Json = False) -> None:
    """Print the fingerprint: equal on two machines exactly when images, labels and index list are.

    Example: longtail data fingerprint digits-lt
    """
    loaded = drawing.load(name, quiet=as_json, enlarged=False)
    if as_json:
        print_json({"name": loaded.name, "fingerprint": loaded.fingerprint})
    else:
        typer.echo(f"{loaded.fingerprint}  {loaded.name}")


@app.command("select")
@grouped
def select(
    name: Name,
    drawing: Drawing,
    per_class: Annotated[int, typer.Option(min=1, help="Images of each class; smaller classes are taken whole")] = 50,
    by: Annotated[str, typer.Option(help="ip-dpp, diverse, greedy or uniform")] = "diverse",
    run: Annotated[
        pathlib.Path | None,
        typer.Option("--from", help="A finished run on this data: its features, and its probabilities for ip-dpp"),
    ] = None,
    model: OwnModel = None,
    seed: Annotated[str, typer.Option(help="A whole number from 0")] = "0",
    out: Annotated[pathlib.Path, typer.Option(help="Where to write the list")] = pathlib.Path("selection.txt"),
    as_json: Json = False,
) -> None:
    """Choose training images of each class, as many, and write them as a list that --data list:PATH reads.

    Without --from, features are the pixels, brought to at most 8 by 8; ip-dpp needs a run.

    Example: longtail data select digits-lt --per-class 5 --by diverse --out chosen.txt
    """
    from longtail.cli.options import seed as read_seed

    number = read_seed(seed)
    if run is None:
        refuse_unheeded("it names the network of a run, which --from gives", model=model)
    from longtail.analysis.select import write
    from longtail.data.catalogue import is_selection, names

    if is_selection(name):
        raise InputError(f"{name} is a selection already; select from the data set that it was made of")
    if own_data(name, names()):
        raise InputError(
            f"a list that names {name} could not be read again, since nothing that a file names is run; "
            "write its images as npz:PATH or folder:PATH and select from those"
        )
    facts = write(
        name,
        dataclasses.asdict(drawing),
        drawing.load(name, quiet=as_json, enlarged=False),
        by,
        per_class,
        number,
        out,
        run,
        model,
    )
    if as_json:
        print_json(facts)
    else:
        typer.echo(f"{facts['images']} images of {facts['classes']} classes by {by}: {out}\nUse it: --data list:{out}")
