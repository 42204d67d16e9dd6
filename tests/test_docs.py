"""What the pages say works: the command line takes every command, and what digits or a tiny folder can run is run.

Budgets are cut: one epoch a stage. Commands on CIFAR run, at that budget too, where LONGTAIL_DATA names the data.
"""

from __future__ import annotations

import dataclasses
import doctest
import os
import pathlib
import re
import runpy
import sys
from typing import Any

import pytest
import torch
from PIL import Image

from documented import PAGES, PLACEHOLDER, ROOT, SOURCES, Item, items, parsed, problem, problems, words_of
from longtail import cli
from longtail.methods import protocols

pytestmark = pytest.mark.pages
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
COMMANDS = {page: [item for item in items(page.read_text()) if item.kind != "python"] for page in PAGES}


def named(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [page for page in PAGES if COMMANDS[page]], ids=named)
def test_the_command_line_takes_what_a_page_names(path: pathlib.Path) -> None:
    assert problems(path) == []


def test_the_command_line_takes_what_docstrings_name() -> None:
    assert [line for path in SOURCES for line in problems(path)] == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("longtail board submit runs --board board", "--board"),
        ("longtail train ip-dpp --arm uniform", "--arm"),
        ("longtail train ce --seed 1 --stages.0.epochs 4", "--stages.0.epochs"),
        ("longtail compare ce --jobs two", "--jobs"),
        ("longtail train ce --epochs 0", "--epochs"),
        ("longtail compare ce --precision half", "--precision"),
        ("longtail comprae ce", "comprae"),
        ("longtail train", "argument"),
        ("longtail compare ce dro-lt@radios=shared", "radios"),
        ("longtail compare dro", "dro"),
        ("longtail data describe cifar100lt --root DATA", "cifar100lt"),
        ("python benchmarks/gpu.py --root DATA --watts", "--watts"),
        ("python benchmarks/tpu.py", "tpu.py"),
    ],
)
def test_a_wrong_command_is_found_wherever_a_page_has_it(command: str, reason: str) -> None:
    """The mutants of the tests above: each command in a fence, indented and in running text."""
    for page in (f"```\n{command}  # then\n```\n", f"Say:\n\n    {command}\n"):
        (item,) = items(page)
        assert reason in (problem(item) or "")
    (item,) = items(f"Say `{command.replace(' ', chr(10), 1)}` and look.")
    assert problem(item) or command == "longtail train"  # a mention may lack its arguments
    broken = items("`--arms uniform` or `--seeds 3`")
    assert [problem(item) is None for item in broken] == [False, True]


def test_commands_are_found_in_every_form() -> None:
    fence = "```sh\n. x && longtail train ce \\\n    --seed 2 && longtail recipes # all\n```\n\n"
    page = f"{fence}    python -m longtail recipes\n"
    assert [(item.text, item.line) for item in items(page)] == [
        ("longtail train ce --seed 2", 2),
        ("longtail recipes", 2),
        ("python -m longtail recipes", 6),
    ]
    assert sum(map(len, COMMANDS.values())) > 40
    assert parsed(words_of("longtail train ce --config mine.toml --seed 2"))["seed"] == "2"


# What runs.


class Page:
    """A folder in which a page is read from top to bottom: its Python runs, and its commands as far as they can."""

    def __init__(self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.root = os.environ.get("LONGTAIL_DATA")
        self.globals: dict[str, Any] = {"__name__": "page"}
        self.ran: list[str] = []

    def take(self, item: Item) -> None:
        if item.kind == "command" and item.text.startswith("longtail"):
            self.command(item.text)
        elif item.kind == "python" and ">>>" in item.text:
            self.examples(item)
        elif item.kind == "python":
            self.script(item.text)

    def examples(self, item: Item) -> None:
        test = doctest.DocTestParser().get_doctest(item.text, self.globals, "page", "page", item.line)
        said: list[str] = []
        result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append, clear_globs=False)
        self.globals.update(test.globs)
        assert result.failed == 0, "".join(said)

    def script(self, text: str) -> None:
        """A block that begins with the comment of a path is that file; what it tests is called."""
        path = re.match(r"# ([\w/]+\.py)\n", text)
        if path:
            (self.folder / path[1]).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path[1]).write_text(text)
        if self.root is None:
            text = re.sub(r'"cifar100-lt"(, imbalance=100)?(, root="DATA")?', '"digits-lt"', text)
        text = text.replace('"DATA"', repr(self.root))
        (self.folder / "page.txt").write_text(text)
        self.globals.update(runpy.run_path("page.txt", init_globals=self.globals))
        for name in [name for name in self.globals if name.startswith("test_")]:
            self.globals.pop(name)()

    def command(self, text: str) -> None:
        words = self.reachable(text)
        if words is None:
            return
        self.monkeypatch.setattr(sys, "argv", ["longtail", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 0, text
        self.ran.append(text)

    def reachable(self, text: str) -> list[str] | None:
        """The words of a command that can run here, at a small budget; None if what it needs is not here."""
        words = words_of(text)
        heard = parsed(words)
        drawn = heard.get("data") or heard.get("name") or ""
        away = {"serve", "--download", "ray"} & set(words) or (drawn.startswith("cifar") and self.root is None)
        files = re.findall(r"[\w./-]+\.py(?=:)|(?<=import )\S+", text)
        if away or "--config" in text or not all((self.folder / name).exists() for name in files):
            return None
        if re.search(r"\w+\.\w+:\w", text) and ".py:" not in text and not (self.folder / "my_lab").exists():
            return None
        found: list[str] = []
        for before, word in zip(["", *words], words, strict=False):
            if before in ("--epochs", "--seconds"):
                found.append("1")
            elif word == "DATA":
                found.append(str(self.root))
            elif before != "--out" and "runs/" in word:
                pattern = re.sub(r"-[0-9a-f]{8}$", "-*", word).replace("...", "**")
                found.extend(sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(pattern)))
            else:
                found.append(word)
        return None if PLACEHOLDER.search(" ".join(found)) else found


@pytest.fixture
def page(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, held in protocols.PROTOCOLS.items():
        monkeypatch.setitem(protocols.PROTOCOLS, name, dataclasses.replace(held, epochs=1))
    for folder in ("records", "plans"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    generator = torch.Generator().manual_seed(0)
    for number, (bird, size) in enumerate({"robin": 12, "wren": 7, "owl": 5}.items()):
        (tmp_path / "birds" / bird).mkdir(parents=True)
        for image in range(size):
            pixels = torch.randint(0, 85, (32, 32, 3), generator=generator, dtype=torch.uint8) + 85 * number
            Image.fromarray(pixels.numpy()).save(tmp_path / "birds" / bird / f"{image}.png")
    return Page(tmp_path, monkeypatch)


@pytest.mark.parametrize("path", [path for path in PAGES if "python" in path.read_text() or COMMANDS[path]], ids=named)
def test_what_a_page_says_runs(path: pathlib.Path, page: Page) -> None:
    found = items(path.read_text())
    if any(item.kind == "command" and re.search(r"\bruns\b", item.text) for item in found):
        page.command("longtail train ce --data digits-lt")
    for item in found:
        page.take(item)


def test_a_page_that_is_wrong_is_found(page: Page) -> None:
    """The mutants of the test above."""
    with pytest.raises(AssertionError):
        page.take(Item("python", ">>> 1 + 1\n3\n", 1))
    with pytest.raises(ImportError):
        page.take(Item("python", "from longtail.methods import by_name\n", 1))
    with pytest.raises(AssertionError):
        page.take(Item("command", "longtail data describe folder:birds --imbalance 1000", 1))
    page.take(Item("command", "longtail data describe folder:birds", 1))
    page.take(Item("command", "longtail compare ce gone.py:loss", 1))
    assert page.ran == ["longtail data describe folder:birds"]
