"""The commands that pages print: the command line takes each, and those that need no training are run."""

from __future__ import annotations

import html
import pathlib
import re
import shlex
import sys

import numpy as np
import pytest

from documented import items, problem
from longtail import cli
from longtail.board.index import build_index
from longtail.board.pages import render
from oracles.board import runs

PLACEHOLDERS = {"FILE": "out.json", "FILE.csv": "predictions.csv", "OUT": "site2"}


def printed(index_root: pathlib.Path | None = None) -> list[str]:
    """Every command on the pages that have any."""
    with build_index(index_root) as index:
        paths = ["submit.html", "about.html", "api.html", "methods.html", "search.html"]
        paths += [f"papers/{each.id}.html" for each in index.papers()]
        paths += [f"methods/{each.id}.html" for each in index.methods()]
        paths += [f"datasets/{each.id}.html" for each in index.datasets()]
        text = [found[1] for path in paths for live in (False, True) if (found := render(index, path, live=live))]
    blocks = [
        html.unescape(each) for page in text for each in re.findall(r"<(?:pre|code)>(.*?)</(?:pre|code)>", page, re.S)
    ]
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("longtail ")})


COMMANDS = printed()


def test_the_pages_print_commands() -> None:
    assert len(COMMANDS) > 12
    assert any(each.startswith("longtail board export") for each in COMMANDS)


def test_the_command_line_takes_every_command() -> None:
    # That every recipe named on a page exists is tested with the content; here one of each command is enough.
    train = [each for each in COMMANDS if re.fullmatch(r"longtail train [\w-]+", each)]
    for command in [each for each in COMMANDS if each not in train[1:]]:
        (item,) = items(f"```\n{command}\n```\n")
        found = problem(item)
        # A mention may name a command without its arguments.
        bare = len(shlex.split(command)) <= 3 and not re.search(r"[a-z]/|@|=", command)
        assert found is None or (bare and "argument" in found.lower()), command


def test_the_commands_of_the_board_do_what_they_say(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = runs(tmp_path / "runs", (0.9, 0.91, 0.92))
    with np.load(folders[0] / "predictions.npz") as found:
        columns = {name: found[name] for name in ("index", "target", "prediction")}
    lines = [",".join(columns), *(",".join(map(str, line)) for line in zip(*columns.values(), strict=True))]
    (tmp_path / "predictions.csv").write_text("\n".join(lines))
    some = ["index.html", "boards/imagenet-lt.html", "static/style.css"]
    monkeypatch.setattr("longtail.board.pages.paths", lambda index: some)
    order = ["submit", "verify", "build", "export"]
    board = [each for each in COMMANDS if each.startswith("longtail board ") and " serve" not in each]
    ready = [each for each in board if len(shlex.split(each)) > 3]
    assert {shlex.split(each)[2] for each in ready} == set(order)
    for command in sorted(ready, key=lambda each: (order.index(shlex.split(each)[2]), each)):
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)[1:]]
        monkeypatch.setattr(sys, "argv", ["longtail", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None), command
    assert len(list((tmp_path / "board" / "scores").glob("*.json"))) == 2
    assert (tmp_path / "tables.json").is_file()
    assert (tmp_path / "site" / "index.html").is_file()
    assert list((tmp_path / "statements").glob("*.json"))
    assert list((tmp_path / "rows").rglob("*.json"))
