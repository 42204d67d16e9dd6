"""What the shell completes (names of recipes and data sets) and how the list of commands is laid out.

The names are read from the source of the two tables that hold them, as text: importing those tables imports PyTorch,
which takes longer than anybody waits for a completion.
"""

from __future__ import annotations

import ast
import pathlib
from typing import Any

from typer.core import TyperGroup

HERE = pathlib.Path(__file__).parents[1]


def recipe_names(incomplete: str) -> list[str]:
    """Return the recipes whose names begin so; ``SHORT=`` before a name stays.

    Example:
        >>> recipe_names("bal"), recipe_names("mine=dro")
        (['balanced-softmax'], ['mine=dro-lt'])
    """
    short, equals, begun = incomplete.rpartition("=")
    return [f"{short}{equals}{name}" for name in table("methods/names.py", "METHODS") if name.startswith(begun)]


def data_names(incomplete: str) -> list[str]:
    """Return the data sets whose names begin so, those that take a path up to their colon.

    Example:
        >>> data_names("cifar"), data_names("fo")
        (['cifar10-lt', 'cifar100-lt'], ['folder:'])
    """
    names = [name.removesuffix("PATH") for name, _, _ in table("data/catalogue.py", "ENTRIES")]
    return [name for name in names if name.startswith(incomplete)]


def table(path: str, name: str) -> Any:
    """Return a literal that a module of the library assigns to a name, without importing the module."""
    for node in ast.parse((HERE / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return ast.literal_eval(node.value)
    raise LookupError(f"{path} assigns no literal to {name}")


class Whole(TyperGroup):
    """A group whose list of commands says the first line of each in full; the library's own cuts it to one row."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, " ".join((command.help or "").split("\n\n")[0].split())))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
