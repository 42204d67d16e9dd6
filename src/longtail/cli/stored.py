"""The command that keeps the folder of runs within a disk budget."""

from __future__ import annotations

import pathlib
import re
from typing import Annotated

import typer

from longtail.cli.options import Json
from longtail.cli.progress import print_json
from longtail.cli.words import Whole
from longtail.errors import InputError

app = typer.Typer(
    cls=Whole,
    help="Look after the folder of runs. Example: longtail runs prune --budget 2GB",
    no_args_is_help=True,
    rich_markup_mode=None,
)
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


@app.callback()
def _group() -> None:
    """Keep the one command below a name of its own."""


@app.command()
def prune(
    folder: Annotated[pathlib.Path, typer.Argument(help="Folder of runs")] = pathlib.Path("runs"),
    budget: Annotated[
        str | None, typer.Option(help="What may stay of that which can be computed again: 500MB, 2GB, 0")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing")] = False,
    as_json: Json = False,
) -> None:
    """Remove what runs keep only to save time, the longest unused first; without --budget, say how much that is.

    Records, predictions, logits and models always stay, and so do checkpoints of runs that were stopped. What is gone
    (states after a stage, features of a frozen network) is computed again when a run needs it, to the same numbers.

    Example: longtail runs prune runs --budget 2GB
    """
    from longtail.training.prune import kept
    from longtail.training.prune import prune as remove

    items = kept(folder)
    sizes = {
        kind: sum(item.size for item in items if item.kind == kind) for kind in ("state after a stage", "features")
    }
    if budget is None:
        if as_json:
            print_json({"folder": str(folder), "bytes": sizes, "removed": [], "in_use": []})
            return
        for kind, size in sizes.items():
            number = sum(1 for item in items if item.kind == kind)
            typer.echo(f"{kind:<20} {number:>6,} {shown(size):>10}")
        typer.echo("All of it can be computed again; --budget SIZE removes what was longest unused.")
        return
    done = remove(folder, budget=size_of(budget), dry=dry_run)
    if as_json:
        told = {
            "removed": [str(item.path) for item in done.removed],
            "in_use": [str(item.path) for item in done.in_use],
        }
        print_json({"folder": str(folder), "bytes": sizes, **told, "before": done.before, "after": done.after})
        return
    for item in done.removed:
        typer.echo(f"{'would remove' if dry_run else 'removed'} {item.path} ({item.kind}, {shown(item.size)})")
    for item in done.in_use:
        typer.echo(f"left {item.path}: a run is using it")
    typer.echo(f"{shown(done.before)} before, {shown(done.after)} {'then' if dry_run else 'now'}")


def size_of(text: str) -> int:
    """Return the bytes that a size such as ``500MB``, ``2 GB`` or ``0`` stands for.

    Raises:
        InputError: it is no size.

    Example:
        >>> size_of("1.5GB")
        1500000000
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].lower() not in UNITS:
        raise InputError(f"--budget {text!r} is no size; write one such as 500MB or 2GB")
    return round(float(match[1]) * UNITS[match[2].lower()])


def shown(size: int) -> str:
    """Return a number of bytes in the unit that keeps it short."""
    unit = next((name for name, factor in reversed(UNITS.items()) if size >= factor and name not in ("", "b")), "b")
    return f"{size / UNITS[unit]:,.1f} {unit.upper()}" if unit != "b" else f"{size:,} B"
