"""The command that makes a model of a folder of pictures."""

from __future__ import annotations

import functools
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from longtail.cli.options import ImageSize, Json, Machine, Quiet, Root, grouped
from longtail.cli.progress import announce, counting, print_json, training

if TYPE_CHECKING:
    from longtail.use.fitting import Fitted


@grouped
def fit(
    data: Annotated[str, typer.Argument(help="folder:PATH, or another data set of pictures (longtail data list)")],
    machine: Machine,
    model: Annotated[
        str | None, typer.Option(help="A network with its weights: NAME@weights=FILE or NAME@weights=timm")
    ] = None,
    minutes: Annotated[float, typer.Option(help="For all of it; what does not fit is left out and named")] = 20.0,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every method, as far as the time allows")] = 3,
    image_size: ImageSize = None,
    validation: Annotated[
        float, typer.Option(help="Share of each training class by which is chosen, where the folder has none")
    ] = 0.1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of a run at most")] = None,
    root: Root = None,
    no_flip: Annotated[
        bool, typer.Option("--no-flip", help="Never mirror pictures: for text, digits and signs")
    ] = False,
    leave_out_classes_below: Annotated[
        int | None, typer.Option(min=1, help="Leave out classes with fewer training images than this")
    ] = None,
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the fit; the same command goes on in it")] = pathlib.Path(
        "fit"
    ),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check a folder of pictures, train what helps with a long tail in the time there is, and keep the best as a model.

    The best is chosen on held-out training pictures; the test pictures only judge it, against untuned cross-entropy.

    Example: longtail fit folder:PATH --model efficientnet_lite0@weights=FILE --minutes 20
    """
    from longtail.use.fitting import fit as run

    silent = quiet or as_json
    found = run(
        data,
        model=model,
        minutes=minutes,
        seeds=seeds,
        image_size=image_size,
        validation=validation,
        epochs=epochs,
        root=root,
        no_flip=no_flip,
        leave_out_classes_below=leave_out_classes_below,
        out=out,
        compute=machine.choose(),
        say=lambda line: announce(line, silent),
        counting=functools.partial(counting, quiet=silent),
        training=functools.partial(training, quiet=silent),
    )
    if as_json:
        print_json(found.to_json())
        return
    _show(found, quiet)


def _show(found: Fitted, quiet: bool) -> None:
    from rich.console import Console

    from longtail import results

    Console().print(results.table(found.comparison))
    ranked = sorted(found.validation, key=lambda name: -found.validation[name])
    told = ", ".join(f"{name} {100 * found.validation[name]:.1f}" for name in ranked)
    typer.echo(f"\nBalanced accuracy on validation: {told}")
    if found.plan.left_out:
        typer.echo(f"Left out for time: {', '.join(found.plan.left_out)}; --minutes decides")
    typer.echo(f"Kept: {found.best} in {found.model}")
    typer.echo(found.verdict)
    if not quiet:
        typer.echo(f"Report: {found.report}\n\nEach part again, and what to do with the model:")
        for command in found.commands:
            typer.echo(f"  {command}")
        typer.echo(f"\nAll of it took {found.seconds:,.0f} s.")


COMMANDS = (fit,)
