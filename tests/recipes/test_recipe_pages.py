"""The pages on parts: every block of Python is a doctest or a file, every block of shell is run in an empty folder."""

from __future__ import annotations

import doctest
import pathlib
import re
import shlex

import pytest

from longtail.cli.app import app

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGES = ("extending", "recipes", "models", "samplers")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LONGEST = 15
"""Lines of a part of one's own."""


def blocks(page: str, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall((DOCS / f"{page}.md").read_text()) if found == kind]


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_says_what_happens(page: str) -> None:
    examples = [text for text in blocks(page, "python") if text.startswith(">>>")]
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest("\n".join(examples), {"__name__": "__main__"}, page, None, 0)
    result = doctest.DocTestRunner(optionflags=flags).run(test)
    assert result.failed == 0
    assert result.attempted == len(re.findall(r"^>>>", "".join(examples), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_shell_on_a_page_runs(page: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in blocks(page, "python"):
        if text.startswith(">>>"):
            continue
        name = re.match(r"# (\w+\.py)\n", text)
        assert name is not None, text
        assert len(text.splitlines()) <= LONGEST
        pathlib.Path(name[1]).write_text(text)
    commands = [line for text in blocks(page, "sh") for line in text.splitlines()]
    assert commands
    for line in commands:
        program, *words = shlex.split(line)
        assert program == "longtail"
        assert app(words, standalone_mode=False) in (0, None), line


def test_every_file_of_the_page_on_extending_is_used() -> None:
    files = [re.match(r"# (\w+\.py)", text)[1] for text in blocks("extending", "python") if text[0] == "#"]  # type: ignore[index]
    assert len(files) >= 4
    assert all(any(f"{name}:" in text for text in blocks("extending", "sh")) for name in files)
