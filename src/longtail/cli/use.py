"""Commands that use a finished run: predict, export."""

from __future__ import annotations

import functools
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longtail.cli.options import Json, OwnModel, Quiet, Reading, grouped, own_model, refuse_unheeded
from longtail.cli.progress import counting, print_json
from longtail.cli.runs import load_for
from longtail.errors import InputError
from longtail.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from longtail.use import Trained

NAMED = 10
"""Pictures that could not be read are named up to this number; beyond, they are counted."""
CHECKED = 64
"""Pictures on which an export is compared with the run."""

Run = Annotated[pathlib.Path, typer.Argument(help="A run's folder")]


@grouped
def predict(
    run: Run,
    paths: Annotated[list[pathlib.Path], typer.Argument(metavar="PATH...", help="Pictures, or folders with pictures")],
    out: Annotated[
        pathlib.Path | None, typer.Option(help="A new .csv or .json file; CSV is printed without it")
    ] = None,
    abstain_below: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="No class where the largest probability is below this")
    ] = 0.0,
    top: Annotated[int | None, typer.Option(min=1, help="Only the most probable classes; all if not given")] = None,
    model: OwnModel = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Predict new pictures by a finished run: class names and probabilities, no data set needed.

    Pictures are prepared as those that it was trained on. What cannot be read is named and counted.

    Example: longtail predict runs/digits-lt-if100/ce/seed-0-1a2b3c4d PICTURES --out answers.csv --abstain-below 0.5
    """
    from longtail.use.predict import predict_files, write_csv, write_json, writer_to

    write: Any
    if out is not None:
        write = writer_to(out, top)
    else:
        printed = write_json if as_json else write_csv
        write = functools.partial(_printed, printed, top)
    with counting("predicting", quiet=quiet or as_json) as notify:
        tally = predict_files(run, paths, write, abstain_below=abstain_below, model=own_model(model), notify=notify)
    if out is not None and as_json:
        unread = dict(tally.unread)
        facts = {"predicted": tally.predicted, "abstained": tally.abstained, "others": tally.others, "unread": unread}
        print_json({**facts, "out": str(out)})
        return
    for _, why in tally.unread[:NAMED]:
        typer.echo(f"not read: {why}", err=True)
    if len(tally.unread) > NAMED:
        typer.echo(f"not read: {len(tally.unread) - NAMED:,} more", err=True)
    if not quiet:
        told = [counted(tally.predicted, "picture predicted", "pictures predicted")]
        if abstain_below:
            told.append(f"{tally.abstained:,} of them without a class (below {abstain_below:g})")
        if tally.unread:
            told.append(f"{len(tally.unread):,} could not be read")
        if tally.others:
            told.append(counted(tally.others, "other file left out", "other files left out"))
        typer.echo(", ".join(told) + ("" if out is None else f": {out}"), err=True)


def _printed(write: Any, top: int | None, run: Any, answers: Any) -> None:
    write(sys.stdout, run, answers, top)


@grouped
def export(
    run: Run,
    reading: Reading,
    kind: Annotated[
        str | None, typer.Option("--format", help="onnx, which is taken if none is given, safetensors, timm or pt2")
    ] = None,
    out: Annotated[pathlib.Path | None, typer.Option(help="A new file")] = None,
    hub_folder: Annotated[
        pathlib.Path | None, typer.Option(help="Instead of a file, a new folder as the Hugging Face hub holds it")
    ] = None,
    pictures: Annotated[
        list[pathlib.Path] | None,
        typer.Option(help="Pictures, or a folder of them, on which the export is checked (repeatable)"),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Or the run's data set, whose test pictures are taken for it")
    ] = None,
    model: OwnModel = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a run's network for others to load, with a model card beside it; kept only if it gives the run's answers.

    Example: longtail export runs/digits-lt-if100/ce/seed-0-1a2b3c4d --format onnx --out digits.onnx --data digits-lt
    """
    from longtail.use import trained
    from longtail.use.card import card, write_card
    from longtail.use.export import export as write
    from longtail.use.hub import hub_folder as write_folder

    if (out is None) == (hub_folder is None):
        raise InputError("name where to: --out FILE, or --hub-folder DIR")
    if hub_folder is not None:
        refuse_unheeded("a folder of the hub has one layout", format=kind)
    if pictures:
        refuse_unheeded("the export is checked on --pictures", data=data, **reading.given())
    kind = kind or "onnx"
    held = trained(run, own_model(model))
    with counting("exporting", before="exporting", quiet=quiet or as_json):
        real = _real(held, pictures, data, reading)
        if hub_folder is not None:
            found, place, told = write_folder(held, hub_folder, real), hub_folder, hub_folder / "README.md"
        else:
            assert out is not None
            found, place = write(held, kind, out, real), out
            told = write_card(card(held, kind, out.name, found), out)
    if as_json:
        import dataclasses

        print_json({"out": str(place), "card": str(told), **dataclasses.asdict(found)})
        return
    typer.echo(f"{place} {found.line()}")
    if not quiet:
        typer.echo(f"Model card: {told}")


def _real(
    run: Trained,
    paths: list[pathlib.Path] | None,
    data: str | None,
    reading: Reading,
) -> Tensor:
    """Pictures on which an export is checked: those named, else test pictures of the data set."""
    import torch

    from longtail.use import pictures

    if paths:
        files, _ = pictures.found(paths)
        chosen = files[:: max(1, len(files) // CHECKED)][:CHECKED]
        read = [(images, unread) for _, images, unread in pictures.chunks(chosen, run.sides, run.loaded.record.data)]
        images = torch.cat([held for held, _ in read])
        if not len(images):
            raise InputError(f"none of the pictures named by --pictures can be read: {read[0][1][0][1]}")
        return images
    record = run.loaded.record
    asked = data or record.data["name"]
    try:
        held = load_for(record, asked, reading)
    except InputError as error:
        if data is not None:
            raise
        raise InputError(
            f"an export is checked on real pictures: name some with --pictures FOLDER, or the data set with --data "
            f"({error})"
        ) from None
    split = held.test.at(torch.arange(0, len(held.test), max(1, len(held.test) // CHECKED))[:CHECKED])
    if tuple(split.images.shape[1:]) != run.shape:
        shown = " x ".join(map(str, split.images.shape[1:]))
        raise InputError(f"{asked} has images of {shown}, the run takes {' x '.join(map(str, run.sides))}")
    held_images = split.images
    if isinstance(held_images, torch.Tensor):
        return held_images
    return torch.stack([held_images.read(i) for i in range(len(split))])


COMMANDS = (predict, export)
