"""What the site adds to the pages in this folder: the API reference, all methods, the gallery, the board, linked files.

Run by ``mkdocs build``; nothing of it is committed. A link to a file outside ``docs`` (a record, a script) becomes a
link to a copy of that file in the site, so that the built folder works alone.
"""

from __future__ import annotations

import ast
import functools
import html
import importlib
import inspect
import pathlib
import posixpath
import re
import tempfile
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).parents[2]
MODULES = {
    "longtail": "load, train, compare, rescore and predict",
    "longtail.counts": "class counts, priors, shot groups",
    "longtail.metrics": "many-, medium- and few-shot accuracy, calibration",
    "longtail.losses": "losses on logits, features and pairs",
    "longtail.samplers": "which images an epoch sees",
    "longtail.dpp": "determinantal point processes",
    "longtail.rebalance": "a finished network made fairer to its rare classes",
    "longtail.augment": "whole batches in memory",
    "longtail.models": "networks and heads",
    "longtail.data": "data sets, profiles, fingerprints",
    "longtail.recipes": "the language of recipes",
    "longtail.results": "records, intervals, comparisons",
    "longtail.results.statistics": "intervals and tests",
    "longtail.use": "predict, export, model cards",
    "longtail.testing": "public checks of your own parts",
}
NAMES = {"pytorch": "PyTorch", "hugging face": "Hugging Face", "dpp": "DPP", "scikit learn": "scikit-learn"}
"""Names as their owners write them."""
LINK = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages and every file outside ``docs`` that a page links to."""
    generated = {f"reference/{name}.md": _reference(name) for name in MODULES}
    generated["reference.md"] = _index()
    generated["methods-reference.md"] = _methods()
    generated["gallery.md"] = _gallery()
    linked: set[str] = set()
    for file in files.documentation_pages():
        linked |= {match[1] for match in LINK.finditer(file.content_string)}
    for text in generated.values():
        linked |= {match[1] for match in LINK.finditer(text)}
    for path in sorted(linked):
        source = ROOT / path.removeprefix("../")
        if source.is_file() and source.suffix != ".md":
            files.append(File.generated(config, f"files/{path.removeprefix('../')}", content=source.read_bytes()))
    for path, content in (*generated.items(), *_board().items()):
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links to files outside ``docs`` at their copies in the site; folders lose their link, not their name."""
    here = posixpath.dirname(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        path = match[1].removeprefix("../")
        copy = f"files/{path}"
        if files.get_file_from_path(copy) is None:
            return f"](https://example.invalid/{path})" if not (ROOT / path).exists() else "]()"
        return f"]({posixpath.relpath(copy, here or '.')}{match[2] or ''})"

    text = LINK.sub(moved, markdown)
    return re.sub(r"\[([^\]]+)\]\(\)", r"\1", text)


@functools.cache
def _board() -> dict[str, bytes]:
    """The static edition of the board, with what is shipped, by the addresses of its files in the site."""
    from longtail.board import build
    from longtail.recipes import NUMERICS

    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(build(pathlib.Path(folder) / "board", numerics=NUMERICS)["out"])
        made = [file for file in sorted(out.rglob("*")) if file.is_file() and not file.name.startswith(".")]
        return {f"board/{file.relative_to(out).as_posix()}": file.read_bytes() for file in made}


def _index() -> str:
    rows = "\n".join(f"| [`{name}`](reference/{name}.md) | {said} |" for name, said in MODULES.items())
    head = "# API reference\n\nEvery public name.\n\n| module | what it holds |\n|---|---|\n"
    return f"{head}{rows}\n"


def _reference(name: str) -> str:
    """A page of a module: its public names one by one, wherever they are defined."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [key for key, value in vars(module).items() if not key.startswith("_") and _own(value, name)]
    said = inspect.getdoc(module) or ""
    parts = [f"# {name}\n", said.split("\n\n")[0], ""]
    for key in listed:
        value = getattr(module, key)
        if inspect.isclass(value) or inspect.isfunction(value):
            parts.append(f"::: {name}.{key}\n")
    return "\n".join(parts)


def _own(value: Any, module: str) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module


def _methods() -> str:
    """Every method with what its file states: paper, command, cost, the number to expect."""
    from longtail.methods.names import METHODS

    parts = ["# Every method\n", "From the file of each; `longtail recipe NAME` prints every number of one.\n"]
    for name, where in METHODS.items():
        module, _, attribute = where.partition(":")
        held = importlib.import_module(f"longtail.methods.{module}")
        lines = (inspect.getdoc(getattr(held, attribute)) or "").splitlines()
        parts.append(f"## {name}\n\n{_prose(lines[0] if lines else '')}\n\n{_prose(inspect.getdoc(held) or '')}\n")
    return "\n".join(parts)


def _prose(text: str) -> str:
    """A docstring as Markdown: double backquotes become single, pages links, each stated fact a line of its own."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r"docs/([\w-]+)\.md", r"[\1](\1.md)", text)
    return re.sub(r"(?m)^(Paper|Command|Cost|Expect|Equation|Use): ", r"\n**\1:** ", text)


def _gallery() -> str:
    """The examples: what each shows, its picture, what it prints (kept by ``tests/test_examples.py``) and its code."""
    parts = ["# Gallery\n", "Each is one file below 60 lines that runs as it stands; the tests run all of them.\n"]
    rows = ["| example | what it shows |", "|---|---|"]
    for path in sorted((ROOT / "examples").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        said = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
        title = path.stem.replace("_", " ").capitalize()
        for plain, name in NAMES.items():
            title = re.sub(plain, name, title, flags=re.IGNORECASE)
        rows.append(f"| [{title}](#{title.lower().replace(' ', '-')}) | {_prose(said)} |")
        parts.append(f"## {title}\n\n{_prose(said)}\n")
        if (ROOT / "docs" / "figures" / "examples" / f"{path.stem}.svg").exists():
            parts.append(f"![{html.escape(said, quote=True)}](figures/examples/{path.stem}.svg)\n")
        printed = (ROOT / "docs" / "figures" / "examples" / f"{path.stem}.txt").read_text(encoding="utf-8")
        parts.append(f"It prints\n\n```text\n{printed.rstrip()}\n```\n")
        parts.append(f"and is `examples/{path.name}`:\n\n```python\n{text.rstrip()}\n```\n")
    # Code has lines of 120 characters: the room of the table of contents is theirs.
    return "\n".join(["---\nhide: [toc]\n---\n", *parts[:2], "\n".join(rows) + "\n", *parts[2:]])
