"""Commands and Python in the pages, and what is wrong with them.

``python tests/documented.py [FILE ...]`` prints every documented command and option that the command line would refuse,
by page and line, and exits with status 1 if there is one. Pages are .md files and docstrings; nothing is run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import pathlib
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import typer

from longtail.cli.app import app
from longtail.cli.options import Drawing, Machine, Setting
from longtail.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("records/**/*.md"))]
SOURCES = [path for folder in ("src", "benchmarks", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
PLACEHOLDER = re.compile(r"\b(NAME|PATH|FILE|ROOT|RUNS?|ID)\b|\.\.\.")
"""Words that stand for a reader's own."""


@dataclasses.dataclass(frozen=True)
class Item:
    """A piece of a page, and the line on which it begins.

    Args:
        kind: ``command``; ``mention``, a command in running text that may lack its arguments; ``flag``, an option;
            ``python``.
        text: what it says, a command on one line.
        line: from 1.
    """

    kind: str
    text: str
    line: int


def items(page: str) -> list[Item]:
    """Return commands and Python of a page, in order: fenced blocks, indented commands, and what backticks hold."""
    found: list[Item] = []

    def blanked(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n")

    def fenced(match: re.Match[str]) -> str:
        line = page[: match.start()].count("\n") + 2
        body = textwrap.dedent(match["body"])
        if match["language"] == "python":
            found.append(Item("python", body, line))
        elif match["language"] in ("", "sh", "bash", "console"):
            found.extend(_commands(body, line))
        return blanked(match)

    rest = re.sub(r"(?ms)^ *```(?P<language>\w*)\n(?P<body>.*?)^ *```$", fenced, page)

    def indented(match: re.Match[str]) -> str:
        found.extend(_commands(match[0], rest[: match.start()].count("\n") + 1))
        return blanked(match)

    prose = re.sub(r"(?m)^    +(?=(?:longtail|python|pip|\.) )(?:.*\\\n)*.*", indented, rest)
    for match in re.finditer(r"`([^`]+)`", prose):
        text, line = " ".join(match[1].split()), prose[: match.start()].count("\n") + 1
        found.extend([Item("flag", text, line)] if text.startswith("--") else _commands(text, line, "mention"))
    return sorted(found, key=lambda item: item.line)


def items_of_source(text: str) -> list[Item]:
    """Return the commands that docstrings and help texts name."""
    named = re.finditer(r"(?:Example: |``)(longtail [^`\n\"]+)", text)
    return [Item("mention", match[1], text[: match.start()].count("\n") + 1) for match in named]


def _commands(text: str, line: int, kind: str = "command") -> Iterator[Item]:
    """The commands of ours in a shell text, without comments, each on one line."""
    for match in re.finditer(r"(?:.*\\\n)*.*", text):
        joined = match[0].replace("\\\n", " ")
        for piece in re.split(r"&&|;|\|", re.sub(r"(^|\s)#.*", "", joined)):
            if re.match(r"\s*((longtail|python -m longtail)\s+\S|python benchmarks/\w+\.py)", piece):
                yield Item(kind, " ".join(piece.split()), line + text[: match.start()].count("\n"))


def words_of(command: str) -> list[str]:
    """Return the words after ``longtail``, without ``--config FILE``, whose file is not here."""
    words = shlex.split(command)
    words = words[1:] if words[0] == "longtail" else words[3:]
    return shlex.split(re.sub(r"--config[ =]\S+", "", shlex.join(words)))


AT_ONCE = {"--install-completion", "--show-completion"}
"""Options that act while they are read; the first writes into the reader's home folder."""


def parsed(words: list[str]) -> dict[str, Any]:
    """Return what the real command line makes of words, as parameter and value; empty for ``--help``. Nothing is run.

    Raises:
        InputError: the command line would refuse them.
    """
    heard: dict[str, Any] = {}
    whole: Any = typer.main.get_command(app)
    if words[:1] and words[0] in AT_ONCE & {option for parameter in whole.params for option in parameter.opts}:
        return heard
    _silence(whole, heard)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            whole.main(words, prog_name="longtail", standalone_mode=False)
    except Exception as error:
        if hasattr(error, "format_message"):
            raise InputError(error.format_message()) from None
        raise
    return heard


def _silence(command: Any, heard: dict[str, Any]) -> None:
    for inner in getattr(command, "commands", {}).values():
        _silence(inner, heard)
        if not hasattr(inner, "commands"):
            inner.callback = functools.partial(_hear, heard, inner.name)


def _hear(heard: dict[str, Any], command: str, /, **given: Any) -> None:
    heard.update(given, command=command)


def problem(item: Item) -> str | None:
    """Return why what a page says would be refused before any data are read; None if it would not be."""
    if item.kind == "flag":
        flag = re.split(r"[ =]", item.text)[0]
        return None if flag in _flags() else f"no command has an option {flag}"
    if item.text.startswith("python benchmarks"):
        return _problem_of_script(shlex.split(item.text)[1:])
    try:
        heard = parsed(words_of(item.text))
        if not heard:
            return None
        made = [_group(group, heard) for group in (Drawing, Setting, Machine)]
        _check_data(heard)
        if made[1] is not None:
            typed = heard["recipes"] if "recipes" in heard else [heard.get("recipe") or heard.get("name")]
            ours = [name for name in typed if ":" not in name and "/" not in name and not PLACEHOLDER.search(name)]
            made[1].recipes(ours, None)
    except InputError as error:
        if "there is no Python file" in str(error):  # the page shows it; tests/test_docs.py makes it and runs the page
            return None
        missing = "Missing argument" in str(error) or "name a command" in str(error)
        return None if item.kind == "mention" and missing else str(error)
    return None


def _group(group: Any, heard: dict[str, Any]) -> Any:
    names = [field.name for field in dataclasses.fields(group)]
    return group(**{name: heard[name] for name in names}) if set(names) <= set(heard) else None


@functools.cache
def _flags() -> frozenset[str]:
    """Every option of every command and benchmark, and those that a page may name of other programs."""
    known = {"--config", "--help", "--version"}

    def collect(command: Any) -> None:
        for option in command.params:
            known.update([*option.opts, *option.secondary_opts])
        for inner in getattr(command, "commands", {}).values():
            collect(inner)

    collect(typer.main.get_command(app))
    for path in (ROOT / "benchmarks").glob("*.py"):
        known.update(re.findall(r'"(--[a-z-]+)"', path.read_text(encoding="utf-8")))
    return frozenset(known)


def _check_data(heard: dict[str, Any]) -> None:
    from longtail.data import names
    from longtail.errors import unknown

    name = heard.get("data") or ("" if "recipe" in heard or heard["command"] == "recipe" else heard.get("name"))
    kinds = {known.partition(":")[0] for known in names()}
    if name and not PLACEHOLDER.search(name) and ".py:" not in name and name.partition(":")[0] not in kinds:
        raise unknown("data set", name, sorted(kinds))


def _problem_of_script(words: list[str]) -> str | None:
    path = ROOT / words[0]
    if not path.exists():
        return f"there is no {words[0]}"
    text = path.read_text(encoding="utf-8")
    flags = [word.strip("[]").partition("=")[0] for word in words[1:] if word.strip("[").startswith("--")]
    return next((f"{words[0]} has no option {flag}" for flag in flags if f'"{flag}"' not in text), None)


def problems(path: pathlib.Path) -> list[str]:
    """Return what is wrong with the commands of a page or source file, one line each."""
    text = path.read_text(encoding="utf-8")
    found = []
    for item in items(text) if path.suffix == ".md" else items_of_source(text):
        wrong = None if item.kind == "python" else problem(item)
        if wrong is not None:
            found.append(f"{path.name}:{item.line}: {item.text}: {wrong}")
    return found


if __name__ == "__main__":
    paths = [pathlib.Path(name) for name in sys.argv[1:]] or [*PAGES, *SOURCES]
    lines = [line for path in paths for line in problems(path)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.exit(bool(lines))
