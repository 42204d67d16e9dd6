"""The commands together, and what every one of them does with an error."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from longtail.cli import board, data, embed, fit, look, plans, rebalance, runs, stored, use
from longtail.cli.options import with_configuration
from longtail.cli.words import Whole
from longtail.errors import InputError

INTERRUPTED = 130
"""Exit status after Ctrl-C, by convention 128 and the number of the signal."""

app = typer.Typer(
    name="longtail",
    cls=Whole,
    help="Learning from long-tailed data. Example: longtail compare ce balanced-softmax --data digits-lt --seeds 3",
    epilog="Options can be kept in a file: --config FILE.toml, its keys the options without dashes (docs/recipes.md).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for module in (fit, runs, use, embed, rebalance, look, plans):
    for command in module.COMMANDS:
        app.command(command.__name__.replace("_", "-"))(command)
app.add_typer(data.app, name="data")
app.add_typer(board.app, name="board")
app.add_typer(stored.app, name="runs")


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version")] = False,
) -> None:
    if version:
        from longtail import __version__

        typer.echo(f"longtail {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise InputError("name a command, such as compare; longtail --help lists them")


def main() -> None:
    """Run the command line; a user's error is one line on standard error and exit status 2."""
    # Waiting threads sleep instead of spinning: with another process on the same cores, spinning ones make a step
    # several times slower (docs/speed.md). It must be set before torch starts its threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status = app(with_configuration(sys.argv[1:]), prog_name="longtail", standalone_mode=False)
    except InputError as error:
        sys.exit(_complain(str(error), aloud=_aloud(error)))
    except OSError as error:  # a path that no system call takes, a full disk
        place = "" if error.filename is None else f"{str(error.filename)[:100]!r}: "
        sys.exit(_complain(f"{place}{error.strerror or error}"))
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        # Usage errors of the command line library, whose own class has moved between its versions.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # nothing was asked for: the help, as it is laid out
            typer.echo(message(), err=True)
            sys.exit(2)
        sys.exit(_complain(message(), aloud=_aloud(error)))
    if status == INTERRUPTED:  # the command line library itself may have caught the signal
        typer.echo("interrupted; the same command continues from the last checkpoint", err=True)
    sys.exit(status if isinstance(status, int) else 0)


def _aloud(error: Exception) -> bool:
    """Whether this process says what was wrong: of several, as torchrun starts them, one does."""
    first = int(os.environ.get("WORLD_SIZE") or 1) == 1 or os.environ.get("RANK") == "0"
    return bool(getattr(error, "aloud", first))


def _complain(message: str, *, aloud: bool = True) -> int:
    if not aloud:
        return 2
    typer.echo(f"longtail: {' '.join(message.split())}", err=True)
    return 2
