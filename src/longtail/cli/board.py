"""Commands of the results board."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from longtail.cli.options import Json
from longtail.cli.progress import print_json

app = typer.Typer(
    help="The results board. Example: longtail board build site", no_args_is_help=True, rich_markup_mode=None
)
Board = Annotated[pathlib.Path, typer.Option("--root", help="The board's own folder: submissions, scores, imports")]
BOARD = pathlib.Path("board")


@app.command("build")
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


@app.command("serve")
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


@app.command("submit")
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
        print_json(entries)
        return
    for entry in entries:
        _print_facts(entry, as_json=False)


@app.command("verify")
def board_verify(board: Board = BOARD, as_json: Json = False) -> None:
    """Score every submission again; exit status 1 if a stored score differs.

    Example: longtail board verify --root board
    """
    from longtail.board import verify

    findings = verify(board)
    if as_json:
        print_json(findings)
    else:
        typer.echo("\n".join(findings) if findings else f"{board}: every score is what its predictions give")
    if findings:
        raise typer.Exit(1)


@app.command("import")
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


@app.command("export")
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
        print_json(facts)
        return
    for name, value in facts.items():
        shown = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name}: {shown}")
