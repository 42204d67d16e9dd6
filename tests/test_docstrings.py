"""What a reader of the API must find: a summary, arguments, results and an example for every public name.

A name that lacks one of them stands in ``lacking_docstrings.txt``, which can only become shorter: a name on it that
lacks nothing any more, or is gone, fails the test. ``python tests/test_docstrings.py`` prints what the list would be.
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys
from collections.abc import Iterator

PACKAGE = pathlib.Path(__file__).parents[1] / "src" / "longtail"
PARTS = [
    "losses",
    "samplers",
    "dpp",
    "metrics",
    "counts",
    "augment",
    "rebalance",
    "data",
    "models",
    "results",
    "testing",
]
LIST = pathlib.Path(__file__).with_name("lacking_docstrings.txt")
FEWEST_WORDS = 4
"""Words of a summary below which it says no more than the name."""

LEANING = {"of", "for", "on", "as", "with", "from", "to"}
"""First words of an argument line that needs the line above it to be understood."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def names_in(expressions: list[ast.expr]) -> set[str]:
    return {part for node in expressions for part in re.findall(r"\w+", ast.unparse(node))}


def section(text: str, title: str) -> str:
    """The text under a title of a Google-style docstring, empty if there is no such title."""
    found = re.search(rf"^{title}:\n((?:[ \t]+.*\n|\n)*)", text + "\n", re.MULTILINE)
    return found.group(1) if found else ""


def arguments_of(function: Function) -> list[str]:
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    names = [argument.arg for argument in every if argument.arg not in ("self", "cls")]
    return names + [argument.arg for argument in (function.args.vararg, function.args.kwarg) if argument]


def lacks_arguments(text: str, names: list[str]) -> list[str]:
    written = section(text, "Args")
    # Several names may share a line: "first, second: what they are".
    lines = re.findall(r"^ +([\w*, ]+): *(\w*)", written, re.MULTILINE)
    documented = {name: first for line, first in lines for name in re.findall(r"\w+", line)}
    missing = [f"argument {name}" for name in names if name not in documented]
    return missing + [f"argument {name} without a noun" for name in names if documented.get(name) in LEANING]


def lacks_function(node: Function, *, method: bool) -> list[str]:
    text = ast.get_docstring(node) or ""
    decorators = names_in(node.decorator_list)
    if not text:
        return ["docstring"]
    found = [] if len(re.findall(r"[\w`]+", text.split("\n\n")[0])) >= FEWEST_WORDS else ["summary"]
    if {"property", "cached_property"} & decorators:
        return found
    found += lacks_arguments(text, arguments_of(node))
    returns = node.returns is not None and ast.unparse(node.returns) not in ("None", "NoReturn")
    context = "contextmanager" in decorators
    if returns and not context and not section(text, "Returns") and not section(text, "Yields"):
        found.append("Returns")
    if not method and ">>>" not in section(text, "Example"):
        found.append("Example")
    return found


def lacks_class(node: ast.ClassDef) -> list[str]:
    text = ast.get_docstring(node) or ""
    if not text:
        return ["docstring"]
    found = [] if len(re.findall(r"[\w`]+", text.split("\n\n")[0])) >= FEWEST_WORDS else ["summary"]
    bases = names_in(node.bases)
    if {"Protocol", "ABC", "NamedTuple", "Enum", "TypedDict"} & bases:
        # A protocol is not called; the fields of a named tuple are documented where they stand.
        return found
    init = next((item for item in node.body if isinstance(item, Function) and item.name == "__init__"), None)
    if init is not None:
        found += lacks_arguments(text, arguments_of(init))
    elif "dataclass" in names_in(node.decorator_list):
        fields = [item.target for item in node.body if isinstance(item, ast.AnnAssign)]
        found += lacks_arguments(text, [field.id for field in fields if isinstance(field, ast.Name)])
    if ">>>" not in section(text, "Example") and not any(is_abstract(item) for item in node.body):
        found.append("Example")
    return found


def is_abstract(item: ast.stmt) -> bool:
    return isinstance(item, Function) and "abstractmethod" in names_in(item.decorator_list)


def exported(part: str) -> tuple[list[pathlib.Path], set[str] | None]:
    """The files of a part and the names that it gives to the outside; None for all that a single module has."""
    folder = PACKAGE / part
    if not folder.is_dir():
        return [folder.with_suffix(".py")], None
    for node in ast.parse((folder / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(folder.rglob("*.py")), set(ast.literal_eval(node.value))
    raise AssertionError(f"longtail.{part} does not say in __all__ what is public")


def lacking() -> dict[str, list[str]]:
    """What is missing, by ``part:name``; of methods by ``part:Class.method``."""
    found = {}
    for part in PARTS:
        files, names = exported(part)
        nodes = [node for path in files for node in public(ast.parse(path.read_text()).body)]
        # What the part promises of all its kinds, such as an operation's ``apply``, is described once, in the protocol.
        promised = {
            item.name
            for node in nodes
            if isinstance(node, ast.ClassDef) and "Protocol" in names_in(node.bases)
            for item in public(node.body)
        }
        for node in nodes:
            if names is not None and node.name not in names:
                continue
            where = f"{part}:{node.name}"
            if not isinstance(node, ast.ClassDef):
                found[where] = lacks_function(node, method=False)
                continue
            found[where] = lacks_class(node)
            for item in public(node.body):
                if isinstance(item, Function) and item.name not in promised:
                    found[f"{where}.{item.name}"] = lacks_function(item, method=True)
    assert len(found) > 100  # or the names are sought in the wrong place
    return {name: what for name, what in found.items() if what}


def listed() -> list[str]:
    return LIST.read_text().split()


def test_every_public_name_says_what_it_takes_returns_and_shows_an_example() -> None:
    missing = [f"{name}: {', '.join(what)}" for name, what in lacking().items() if name not in listed()]
    assert not missing, "these lack something in their docstrings:\n" + "\n".join(missing)


def test_the_list_of_what_is_lacking_only_becomes_shorter() -> None:
    done = sorted(set(listed()) - set(lacking()))
    assert not done, f"take these from {LIST.name}, they lack nothing (or are gone):\n" + "\n".join(done)
    assert listed() == sorted(set(listed()))


def test_what_is_missing_is_seen() -> None:
    source = '''
def good(logits: Tensor, *, tau: float = 1.0) -> Tensor:
    """Add the log-prior to the logits.

    Args:
        logits: (N, K).
        tau: strength.

    Returns:
        (N, K).

    Example:
        >>> good(logits)
    """
def bad(logits: Tensor, *, tau: float = 1.0) -> Tensor:
    """Three short words.

    Args:
        logits: of the network.

    Example:
        see above
    """
def bare(): ...
class Thing:
    """Hold something for a while.

    Args:
        size: number of entries.
    """
    def __init__(self, size: int, depth: int) -> None: ...
'''
    good, bad, bare, thing = ast.parse(source).body
    assert isinstance(good, Function)
    assert isinstance(bad, Function)
    assert isinstance(bare, Function)
    assert isinstance(thing, ast.ClassDef)
    assert lacks_function(good, method=False) == []
    assert lacks_function(bad, method=False) == [
        "summary",
        "argument tau",
        "argument logits without a noun",
        "Returns",
        "Example",
    ]
    assert lacks_function(bad, method=True) == ["summary", "argument tau", "argument logits without a noun", "Returns"]
    assert lacks_function(bare, method=False) == ["docstring"]
    assert lacks_class(thing) == ["argument depth", "Example"]


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}\n" for name in sorted(lacking())))
