"""The error that a user can cause, its kind for a loss without bounds, and the hint that goes with a wrong name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is unusable: one line saying what was wrong, where, and what would be right.

    The command line prints the message alone and exits with status 2; from Python it is an ordinary ``ValueError``.
    """


class DivergedError(InputError):
    """The loss became infinite or no number; a search over settings counts such a trial as its worst."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """The error for a name that is not among ``choices``, suggesting the nearest one.

    Example:
        >>> str(unknown("recipe", "dro_lt", ["ce", "dro-lt"]))
        "unknown recipe 'dro_lt': did you mean 'dro-lt'? (known: ce, dro-lt)"
    """
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}{hint} (known: {', '.join(choices)})")


def failure(error: BaseException) -> str:
    """What went wrong in a person's own code, and where, in one line.

    Example:
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError as error:
        ...     failure(error).split(" (")[0]
        'ZeroDivisionError: division by zero'
    """
    import pathlib
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = ""
    if frames and not isinstance(error, SyntaxError):
        place = f" ({pathlib.Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
