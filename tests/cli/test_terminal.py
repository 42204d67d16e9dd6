"""What a person sees in a terminal: help in full at any width, colour where wanted, names that the shell completes."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from longtail import cli
from longtail.cli import words
from longtail.data import names
from longtail.methods import METHODS

COMPLETED = """
import sys
from longtail.cli import main
sys.argv = ["longtail"]
try:
    main()
finally:
    print("heavy:", *sorted({"torch", "numpy", "scipy"} & set(sys.modules)))
"""


def said(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["longtail", *line.split()])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_names_are_those_of_the_tables() -> None:
    assert words.recipe_names("") == list(METHODS)
    assert words.data_names("") == [name.removesuffix("PATH") for name in names()]
    assert words.recipe_names("mine=dro") == ["mine=dro-lt"]
    assert words.recipe_names("nothing") == []


def completed(line: str, place: int) -> list[str]:
    """What bash is told at a word of a line."""
    environment = {**os.environ, "_LONGTAIL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETED], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def test_the_shell_is_answered_without_pytorch() -> None:
    assert completed("longtail compare ce bal", 3) == ["balanced-softmax", "heavy:"]
    assert completed("longtail train ce --data cifar", 4) == ["cifar10-lt", "cifar100-lt", "heavy:"]


def test_the_shell_gets_its_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, out, _ = said("--show-completion bash", monkeypatch, capsys)
    assert code == 0
    assert "complete -o default -F _longtail_completion longtail" in out


@pytest.mark.parametrize("width", [80, 140])
def test_help_says_every_command_in_full(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for line in ("--help", "data --help", "board --help", "runs --help", "compare --help"):
        code, out, _ = said(line, monkeypatch, capsys)
        assert code == 0
        assert max(map(len, out.splitlines())) <= width
        listed = out.partition("Commands:")[2]
        assert "..." not in listed
        assert line == "compare --help" or listed


def test_no_command_is_help_as_it_is_laid_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("", "data", "runs"):
        code, out, err = said(line, monkeypatch, capsys)
        assert code in (0, 2)  # by the version of the library below
        assert "\nCommands:\n" in out + err


@pytest.mark.parametrize("width", [80, 140])
def test_tables_break_no_word(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = said("data list", monkeypatch, capsys)
    assert max(map(len, out.splitlines())) <= width
    assert [name for name in names() if not re.search(rf"{re.escape(name)}\s", out)] == []
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = said("recipes", monkeypatch, capsys)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 60
    assert set(METHODS) <= {line.removesuffix(" (experimental)") for line in lines}


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    _, out, _ = said("data list", monkeypatch, capsys)
    assert "digits-lt" in out
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9)[0-9]", out)
