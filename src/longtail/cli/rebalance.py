"""The command that re-balances a finished run without training it again."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from longtail.cli.options import Json, Reading, grouped, refuse_unheeded
from longtail.cli.progress import announce, print_json
from longtail.errors import InputError

Methods = Annotated[
    str | None,
    typer.Option(
        help="Which, with commas: logit-adjustment, tau-norm, samn, nearest-class-mean, lws, disalign, crt, los"
    ),
]


@grouped
def rebalance(
    run: Annotated[
        pathlib.Path, typer.Argument(help="A run's folder, or an .npz file with logits (docs/rebalance.md)")
    ],
    reading: Reading,
    data: Annotated[
        str | None,
        typer.Option("--data", help="The run's data set, for methods on features; logits suffice for others"),
    ] = None,
    methods: Methods = None,
    out: Annotated[
        pathlib.Path | None, typer.Option(help="Folder for the heads; default RUN/rebalanced where there are any")
    ] = None,
    as_json: Json = False,
) -> None:
    """Re-balance a run: each method before and after by group with intervals, chosen on validation, saved as a head.

    Example: longtail rebalance runs/digits-lt-if100/ce/seed-0-1a2b3c4d --data digits-lt
    """
    from longtail.analysis import rebalancing

    asked = tuple(name.strip() for name in methods.split(",") if name.strip()) if methods else ()
    unit = False
    facts: dict[str, Any] = {}
    if run.suffix == ".npz":
        refuse_unheeded("a file of logits needs no data set", data=data, **reading.given())
        rows = rebalancing.rebalanced(**_file(run), methods=asked)
    else:
        if data is None:
            refuse_unheeded("it goes with --data", **reading.given())
        rows, unit, facts = _run(run, data, reading, asked)
    folder = out or (run / "rebalanced" if run.is_dir() else None)
    saved = {}
    for row in rows[1:]:
        if row.weight is not None and folder is not None:
            saved[row.method] = folder / f"{row.method}.safetensors"
            rebalancing.save_head(saved[row.method], row, unit=unit, facts=facts)
    scores = {row.method: row.validation for row in rows if row.validation is not None}
    best = max(scores, key=lambda name: scores[name]) if scores else None
    if as_json:
        print_json(
            {
                "rows": [row.to_json() for row in rows],
                "best_on_validation": best,
                "heads": {name: str(path) for name, path in saved.items()},
            }
        )
        return
    _show(rows, best)
    if best is None:
        announce("No validation split: published constants were used, and no method is recommended.", as_json)
    for path in saved.values():
        typer.echo(f"Head: {path}")


def _run(
    run: pathlib.Path, data: str | None, reading: Reading, methods: tuple[str, ...]
) -> tuple[list[Any], bool, dict[str, Any]]:
    from longtail import results
    from longtail.analysis import rebalancing
    from longtail.cli.runs import load_for

    loaded = results.read(run)
    identity = loaded.record.data
    groups = {"counts": identity["counts"], "many": identity["many"], "few": identity["few"], "methods": methods}
    facts = {"recipe": loaded.record.recipe, "seed": loaded.record.seed, "fingerprint": identity["fingerprint"]}
    if data is None:
        digest = loaded.record.digests.get("logits")
        test, validation = rebalancing.logits_of(run / "logits.safetensors", digest, loaded.target)
        return rebalancing.rebalanced(test, validation=validation, **groups), False, facts
    from longtail.training.passes import outputs
    from longtail.training.restore import features_of, restored

    held = load_for(loaded.record, data, reading)
    network = restored(loaded, held)
    learned, found = features_of(loaded, held)
    weight, bias, unit = rebalancing.head_of(network)
    train = rebalancing.part_of(network, learned, held.train.target)
    test = rebalancing.part_of(network, found, held.test.target)
    validation = None
    if held.validation is not None:
        validation = rebalancing.part_of(network, outputs(network, held.validation, held), held.validation.target)
    rows = rebalancing.rebalanced(test, train=train, validation=validation, weight=weight, bias=bias, **groups)
    return rows, unit, facts


def _file(path: pathlib.Path) -> dict[str, Any]:
    """Logits of somebody's own: test_logits, test_target, counts, and perhaps validation_logits, validation_target."""
    import zipfile

    import numpy as np
    import torch

    from longtail.analysis.rebalancing import Part

    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {
                name: torch.from_numpy(archive[name]) for name in archive.files if archive[name].dtype.kind in "fiu"
            }
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path} is no .npz file of plain arrays ({str(error)[:80]})") from None
    missing = [name for name in ("test_logits", "test_target", "counts") if name not in held]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(list(held)[:10]) or 'nothing'}")
    parts = {}
    for name in ("test", "validation"):
        if f"{name}_logits" in held and f"{name}_target" in held:
            logits, target = held[f"{name}_logits"].float(), held[f"{name}_target"].long()
            if logits.ndim != 2 or logits.shape != (len(target), len(held["counts"])):
                shape = f"({len(target)}, {len(held['counts'])})"
                raise InputError(f"{path}: {name}_logits must be {shape}, not {tuple(logits.shape)}")
            parts[name] = Part(logits, target)
    return {**parts, "counts": held["counts"], "many": 100, "few": 20}


def _show(rows: list[Any], best: str | None) -> None:
    """One line for each method and measure, so that nothing is cut on 80 columns."""
    from rich.console import Console

    from longtail.cli.grid import grid

    table = grid("method", "measure", "% [95 %]", "change, points", words=2)
    for row in rows:
        first = _named(row, best)
        told = [row.chosen] * bool(row.chosen) + [f"{row.seconds:.2f} s"]
        names = list(row.rates)
        for place, name in enumerate(names):
            value, change = _cells(row, name)
            beside = first if place == 0 else told[place - 1] if place <= len(told) else ""
            table.add_row(beside, name.removesuffix("_accuracy"), value, change or "")
        table.add_row("", "ECE (0 to 1)", f"{row.ece:.3f}", "", end_section=True)
    Console().print(table)


def _named(row: Any, best: str | None) -> str:
    return f"{row.method}{' (best on validation)' if row.method == best else ''}"


def _cells(row: Any, name: str) -> tuple[str, str | None]:
    """A rate with its interval, and its change with that one's."""
    rate, change = row.rates[name], row.changes.get(name)
    value = f"{100 * rate.value:.1f}" + ("" if rate.low is None else f" [{100 * rate.low:.1f}, {100 * rate.high:.1f}]")
    if change is None:
        return value, None
    bounds = "" if change.low is None else f" [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    return value, f"{100 * change.value:+.1f}{bounds}"


COMMANDS = (rebalance,)
