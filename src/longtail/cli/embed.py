"""The command that runs a frozen network over a data set once."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Annotated

import typer

from longtail.cli.options import Drawing, Json, Reading, flag, grouped, side_of
from longtail.cli.progress import announce, counting, print_json
from longtail.errors import InputError
from longtail.wording import counted


@grouped
def embed(
    data: Annotated[str, typer.Argument(help="cifar100-lt, folder:PATH, ... (longtail data list)")],
    drawing: Drawing,
    model: Annotated[str, typer.Option(help="A network with its weights: resnet18@weights=FILE, net.py:Net, ...")],
    whole: Annotated[
        bool, typer.Option("--whole", help="Embed every training picture, so that any imbalance can be drawn later")
    ] = False,
    out: Annotated[
        pathlib.Path | None, typer.Option(help="The file; default embedded/DATA-MODEL-SIZE.safetensors")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the features that a frozen network gives of every picture, once; the file is the data set features:PATH.

    Called again it returns at once; stopped, it goes on where it was.

    Example: longtail embed digits-lt --model small
    """
    from longtail.data import Data, Source, catalogue
    from longtail.methods.protocols import FROM_SCRATCH
    from longtail.recipes import text
    from longtail.training.embedding import embedded, refuse_random

    part = text.read(model, "model")
    refuse_random(part)
    size = drawing.image_size or side_of(model)
    side = drawing.image_size if catalogue.is_selection(data) else size
    own = dataclasses.replace(drawing, image_size=side if catalogue.resizes(data) else None)
    pictures: Data | Source
    if whole:
        read = {field.name for field in dataclasses.fields(Reading)} - {"drop_duplicates", "class_sizes"}
        asked = [name for name in drawing.given() if name not in {*read, "download", "no_flip"}]
        if asked:
            raise InputError(f"--whole embeds every training picture: {flag(asked[0])} comes afterwards")
        with counting("reading pictures", quiet=as_json) as notify:
            pictures = catalogue.read(
                data,
                download=own.download,
                notify=notify,
                **{name: getattr(own, name) for name in read},
            )
    else:
        pictures = own.load(data, quiet=as_json)
    kind = model.partition("@")[0].partition(":")[2] or model.partition("@")[0]
    name = f"{pictures.name}{'-whole' if whole else ''}-{kind}-{size or pictures.train.images.shape[-1]}"
    path = out or pathlib.Path("embedded") / f"{name.replace(':', '-').replace('/', '-')}.safetensors"
    total = sum(len(split) for split in (pictures.train, pictures.validation, pictures.test) if split is not None)
    drawn = "" if part.foreign or part.function not in FROM_SCRATCH else ", whose weights are random"
    announce(f"{pictures.name}: {counted(total, 'picture')} through {model.partition('@')[0]}{drawn}", as_json)
    clock = time.perf_counter()
    with counting("embedding", quiet=as_json) as notify:
        embedded(pictures, part, path, image_size=size, notify=notify)
    seconds = time.perf_counter() - clock
    if as_json:
        print_json({"features": f"features:{path}", "pictures": total, "seconds": seconds})
        return
    typer.echo(f"{path}: {counted(total, 'picture')} in {seconds:.1f} s; use it as --data features:{path}")


COMMANDS = (embed,)
