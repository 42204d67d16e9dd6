"""Commands that look at what was trained: probe, features, mistakes."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from longtail.cli.options import Json, OwnData, OwnModel, Quiet, Reading, grouped, own_model
from longtail.cli.progress import counting, print_json
from longtail.cli.runs import load_for
from longtail.errors import InputError
from longtail.wording import counted


@grouped
def probe(
    record: Annotated[pathlib.Path, typer.Argument(help="A run's folder")],
    reading: Reading,
    data: OwnData = None,
    per_class: Annotated[int, typer.Option(min=1, help="Images of each class in the balanced subset")] = 50,
    model: OwnModel = None,
    as_json: Json = False,
) -> None:
    """Score a run's frozen features: linear probes on all data and on a balanced subset, and nearest neighbours.

    Example: longtail probe runs/digits-lt-if100/ce/seed-0-1a2b3c4d --data digits-lt
    """
    from longtail import results
    from longtail.analysis.probe import evaluate_features
    from longtail.training.restore import features_of

    loaded, own = results.read(record), own_model(model)
    held = load_for(loaded.record, data, reading)
    with counting("", before="features and classifiers", quiet=as_json):
        train, test = features_of(loaded, held, own)
        reports = evaluate_features(train, test, held, per_class=per_class, seed=loaded.record.seed)
    if as_json:
        print_json({name: report.to_json() for name, report in reports.items()})
        return
    from rich.console import Console

    from longtail.cli.grid import grid

    table = grid("protocol", "accuracy %", "many", "medium", "few", title=f"features of {loaded.record.recipe}")
    for name, report in reports.items():
        rates = (report.accuracy, report.many, report.medium, report.few)
        table.add_row(name, *("-" if rate is None else f"{100 * rate:.1f}" for rate in rates))
    Console().print(table)


@grouped
def features(
    records: Annotated[list[pathlib.Path], typer.Argument(help="Folders of runs on the same data")],
    reading: Reading,
    data: OwnData = None,
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the figures")] = pathlib.Path("figures"),
    model: OwnModel = None,
    as_json: Json = False,
) -> None:
    """Distances within and between classes by shot group, and figures: features in two dimensions, learned radii.

    Example: longtail features runs/digits-lt-if100/ce/seed-0-1a2b3c4d --data digits-lt --out figures
    """
    from longtail import results
    from longtail.analysis.diagnose import diagnose

    loaded, own = [results.read(record) for record in records], own_model(model)
    held = load_for(loaded[0].record, data, reading)
    with counting("", before="features, distances and a map", quiet=as_json):
        distances, figures = diagnose(loaded, held, out, own)
    if as_json:
        print_json({"distances": distances, "figures": [str(path) for path in figures]})
        return
    from rich.console import Console

    from longtail.cli.grid import grid

    names = ("method", "split", "distance", "all", "many", "medium", "few")
    table = grid(*names, title="intra / inter: smaller is better", words=3)
    for row in distances:
        shown = ("-" if row[group] is None else f"{row[group]:.3f}" for group in ("all", "many", "medium", "few"))
        table.add_row(row["method"], row["split"], row["distance"], *shown)
    Console().print(table)
    typer.echo("Figures: " + ", ".join(str(path) for path in figures))


@grouped
def mistakes(
    record: Annotated[pathlib.Path, typer.Argument(help="A run's folder")],
    reading: Reading,
    data: OwnData = None,
    out: Annotated[pathlib.Path, typer.Option(help="A new HTML file")] = pathlib.Path("mistakes.html"),
    model: OwnModel = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show a run's worst mistakes, rarest classes and confusions, near duplicates and labels in doubt, on one page.

    Example: longtail mistakes runs/digits-lt-if100/ce/seed-0-1a2b3c4d --data digits-lt --out mistakes.html
    """
    import dataclasses

    from longtail import results
    from longtail.analysis.mistakes import look
    from longtail.files import write_atomically
    from longtail.results.report.looked import looked_html

    if out.exists():
        raise InputError(f"{out} is there already; name a new file with --out")
    loaded, own = results.read(record), own_model(model)
    held = load_for(loaded.record, data, reading)
    with counting("features, copies, folds, page", quiet=quiet or as_json) as notify:
        found = look(loaded, held, own, notify)
        html = looked_html(found)
    write_atomically(out, lambda file: file.write_text(html, encoding="utf-8"))
    if as_json:
        told = dataclasses.asdict(found)
        for name in ("matrix", "data"):
            del told[name]
        print_json({"out": str(out), **_without_pictures(told)})
        return
    if not quiet:
        typer.echo(f"{found.wrong:,} wrong of {counted(found.data['num_test'], 'test image')}")
        for pair in found.pairs[:3]:
            typer.echo(
                f"{pair.true} taken for {pair.taken}: {counted(pair.times, 'time')}, "
                f"{100 * pair.share:.0f} % of its images"
            )
        typer.echo(f"Near duplicates: {found.near_told}")
        typer.echo(f"Labels in doubt: {found.suspects_told}")
    typer.echo(f"Page: {out}")


def _without_pictures(value: object) -> Any:
    """Plain values without the pictures themselves."""
    if isinstance(value, dict):
        return {key: _without_pictures(held) for key, held in value.items() if key != "src"}
    return [_without_pictures(held) for held in value] if isinstance(value, list | tuple) else value


COMMANDS = (probe, features, mistakes)
