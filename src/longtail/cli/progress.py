"""Progress bars on standard error, and JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from longtail.training.loop import Progress


@contextmanager
def training(total_epochs: int, *, quiet: bool, several: bool = False) -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error with epoch, loss, accuracy and time left, over all runs of the command.

    With ``several`` runs at once it is a table: a line for each run under way, below that of all.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
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
        lines: dict[tuple[str, int], TaskID] = {}

        def notify(now: Progress) -> None:
            run = (now.recipe, now.seed)
            done[run] = now.epoch + now.share
            loss = "" if now.loss is None else f"loss {now.loss:.3f}"
            accuracy = "" if now.accuracy is None else f" train {100 * now.accuracy:.1f} %"
            shown, name = f"{now.stage} {loss}{accuracy}", f"{now.recipe} seed {now.seed}"
            if not several:
                bar.update(task, completed=sum(done.values()), description=name, shown=shown)
                return
            bar.update(task, completed=sum(done.values()), description="all runs")
            if run not in lines:
                lines[run] = bar.add_task(name, total=now.epochs, shown=shown)
            ended = now.epoch >= now.epochs
            bar.update(lines[run], completed=done[run], shown=shown, visible=not ended)

        yield notify


@contextmanager
def counting(what: str, *, before: str | None = None, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while something is counted; until then it says ``before``, or nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(before or what, total=None, visible=before is not None)
        yield lambda done, total: bar.update(task, description=what, completed=done, total=total, visible=True)


def print_json(value: Any) -> None:
    """Print a value as JSON for machines."""
    typer.echo(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def announce(line: str, as_json: bool) -> None:
    """Say on standard error what is about to happen."""
    if not as_json:
        typer.echo(line, err=True)
