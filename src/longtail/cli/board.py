"""Commands of the results board."""

from __future__ import annotations

import enum
import pathlib
import signal
from typing import Annotated, Any

import typer

from longtail.cli.options import Json, refuse_unheeded
from longtail.cli.progress import print_json
from longtail.cli.words import Whole
from longtail.errors import InputError
from longtail.wording import counted

app = typer.Typer(
    cls=Whole,
    help="The results board. Example: longtail board build site",
    no_args_is_help=True,
    rich_markup_mode=None,
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
    url: Annotated[
        str | None, typer.Option(help="The site's public address: adds a site map, previews and absolute links")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the board as a static site that works without a network.

    Example: longtail board build site
    """
    from longtail.board import build
    from longtail.recipes import NUMERICS

    _print_facts(build(out, root=board, archive=archive, url=url, numerics=NUMERICS), as_json)


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
    from longtail.recipes import NUMERICS

    serve(root=board, host=host, port=port, numerics=NUMERICS)
    # Ctrl-C ended it and all is put away; the interpreter's own end would take seconds more, with so much loaded.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)


@app.command("submit")
def board_submit(
    records: Annotated[
        list[pathlib.Path] | None, typer.Argument(help="Folders of runs; seeds of one recipe become one entry")
    ] = None,
    board: Board = BOARD,
    predictions: Annotated[
        list[pathlib.Path] | None,
        typer.Option(help="Instead of runs: .npz or .csv of any framework, one for each seed (repeatable)"),
    ] = None,
    method: Annotated[str | None, typer.Option(help="With --predictions: the method under its paper's name")] = None,
    data: Annotated[str | None, typer.Option(help="With --predictions: the data set, such as cifar100-lt")] = None,
    imbalance: Annotated[float | None, typer.Option(help="With --predictions: largest over smallest class")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="With --predictions: track, backbone, epochs, ... (repeatable)"),
    ] = None,
    submitter: Annotated[str | None, typer.Option(help="Who submits, as the page shows it")] = None,
    code: Annotated[str | None, typer.Option(help="Address of the code")] = None,
    note: Annotated[str | None, typer.Option(help="Anything else worth knowing, as the page shows it")] = None,
    statement: Annotated[
        pathlib.Path | None, typer.Option(help="With --predictions: a JSON file as --template prints it")
    ] = None,
    template: Annotated[bool, typer.Option("--template", help="Print a statement to fill in, and stop")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a statement, and stop")] = False,
    as_json: Json = False,
) -> None:
    """Take finished runs, or predictions of any framework, into a board; every number is computed here.

    Example: longtail board submit runs/digits-lt-if100/ce/seed-0-1a2b3c4d --root board
    """
    from longtail.board import submit, submit_predictions

    if template or schema:
        from longtail.board import statement as stating

        print_json(stating.template() if template else stating.json_schema())
        return
    if bool(records) == bool(predictions):
        raise InputError("board submit takes folders of runs, or --predictions with --method and --data")
    texts = {"submitter": submitter, "code": code, "note": note}
    if predictions:
        from longtail.board.statement import FIELDS

        kinds = {field.name: field.kind for field in FIELDS}
        stated: dict[str, Any] = {"selection": "last epoch", **_statement(statement)}
        for item in state or ():
            key, equals, value = item.partition("=")
            if not equals:
                raise InputError(f"--state {item!r}: it should read FIELD=VALUE")
            stated[key] = _number(value) if kinds.get(key, "text") != "text" else value
        named = {"method": method, "data": data, "imbalance": imbalance}
        stated |= {key: value for key, value in named.items() if value is not None}
        entries = [submit_predictions(predictions, root=board, statement=stated, **texts)]
    else:
        refuse_unheeded(
            "the records of runs say it; it goes with --predictions",
            method=method,
            data=data,
            imbalance=imbalance,
            state=state,
            statement=statement,
        )
        entries = submit(records or [], root=board, **texts)
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        _print_facts(entry, as_json=False)


def _statement(file: pathlib.Path | None) -> dict[str, Any]:
    """What a file states; the options beside it take precedence."""
    from longtail.board.submissions import MAX_JSON, read_file
    from longtail.board.values import parse_json

    if file is None:
        return {}
    found = parse_json(read_file(file, MAX_JSON), str(file))
    if not isinstance(found, dict):
        raise InputError(f"{file}: expected a JSON object; longtail board submit --template prints one")
    return found


def _number(text: str) -> Any:
    try:
        return int(text) if text.isascii() and text.isdigit() else float(text)
    except ValueError:
        return text  # the statement's own check says what it should be


@app.command("review")
def board_review(
    name: Annotated[str | None, typer.Argument(help="A submission that waits; all are listed without one")] = None,
    board: Board = BOARD,
    accept: Annotated[bool, typer.Option("--accept", help="Take it into the board")] = False,
    refuse: Annotated[str | None, typer.Option(metavar="REASON", help="Refuse it, with the reason")] = None,
    as_json: Json = False,
) -> None:
    """List, show, accept or refuse what was handed in by upload.

    Example: longtail board review --root board
    """
    from longtail.board import review

    if name is None:
        refuse_unheeded("name the submission that waits", accept=accept, refuse=refuse)
        waiting = review.waiting(board)
        if as_json:
            print_json(waiting)
            return
        for each in waiting:
            _print_facts(each, as_json=False)
        typer.echo(counted(len(waiting), "submission waits", "submissions wait"))
        return
    if accept and refuse is not None:
        raise InputError("a submission is accepted or refused, not both")
    if refuse is not None:
        typer.echo(f"refused: {review.refuse(board, name, refuse)}")
    else:
        _print_facts(review.accept(board, name) if accept else review.show(board, name), as_json)


@app.command("verify")
def board_verify(
    board: Board = BOARD,
    expect: Annotated[
        str | None, typer.Option(metavar="HASH", help="The hash that was published with the board")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score every submission again; exit status 1 if a stored score differs, or the board is not the published one.

    Example: longtail board verify --root board
    """
    from longtail.board import verify
    from longtail.board.verification import fingerprint

    findings = verify(board, expect)
    if as_json:
        print_json(findings)
    else:
        fine = f"{board}: every score is what its predictions give; hash {fingerprint(board)}"
        typer.echo("\n".join(findings) if findings else fine)
    if findings:
        raise typer.Exit(1)


@app.command("paper")
def board_paper(
    action: Annotated[str, typer.Argument(help="new or check")],
    file: Annotated[pathlib.Path | None, typer.Argument(help="For check: the paper's file")] = None,
    board: Board = BOARD,
    arxiv: Annotated[str | None, typer.Option(help="For new: its arXiv number")] = None,
    bibtex: Annotated[pathlib.Path | None, typer.Option(help="For new: a file with its entry")] = None,
    dump: Annotated[pathlib.Path | None, typer.Option("--from", help="For new: the archive's dump of papers")] = None,
    title: Annotated[str | None, typer.Option(help="For new: its title, where nothing else gives it")] = None,
) -> None:
    """Write a paper's file with its questions and facets empty (new), or say what it lacks (check; exit status 1).

    Example: longtail board paper new --bibtex paper.bib --root board
    """
    from longtail.board.writing import check_paper, new_paper

    if action == "new":
        if file is not None:
            raise InputError(f"board paper new {file}: new writes a file and takes none; leave it out, or say check")
        typer.echo(new_paper(board, arxiv=arxiv, bibtex=bibtex, dump=dump, title=title))
        return
    if action != "check" or file is None:
        raise InputError("board paper: say new, with --arxiv or --bibtex, or check and a paper's file")
    refuse_unheeded("it goes with new", **{"arxiv": arxiv, "bibtex": bibtex, "from": dump, "title": title})
    lacks = check_paper(file, board if board.is_dir() else None)
    typer.echo("\n".join(lacks) if lacks else f"{file}: complete")
    if lacks:
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


class Form(enum.StrEnum):
    """In what form a board is written."""

    archive = "archive"
    every_eval_ever = "every-eval-ever"
    in_toto = "in-toto"


@app.command("export")
def board_export(
    file: Annotated[pathlib.Path, typer.Argument(help="A new file; a new folder for the forms of many files")],
    board: Board = BOARD,
    form: Annotated[
        Form, typer.Option("--as", help="The archive's tables, Every Eval Ever records or in-toto statements")
    ] = Form.archive,
    as_json: Json = False,
) -> None:
    """Write a board in the archive's layout, or in a form that others read.

    Example: longtail board export evaluation-tables.json --root board
    """
    from longtail.board import export_archive, export_records, export_statements

    write = {Form.archive: export_archive, Form.every_eval_ever: export_records, Form.in_toto: export_statements}[form]
    _print_facts(write(board, file), as_json)


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    """A fact a line; a list is counted, and each of its lines follows."""
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if value is None or value == []:
            continue
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            typer.echo(f"{name.replace('_', ' ')} ({len(value)}):")
            for each in value:
                typer.echo(f"  {each}")
            continue
        shown = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name.replace('_', ' ')}: {shown}")
