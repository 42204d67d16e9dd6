"""The one kind of table that commands print: numbers stay whole on any terminal, only words are broken."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


class Grid(Table):
    """A table whose words are shown as they are: a name in square brackets is no mark-up."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of texts."""
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def grid(*columns: str, title: str | None = None, words: int = 1) -> Grid:
    """Return an empty table for ``rich``.

    Args:
        columns: names of the columns.
        title: a line above.
        words: how many columns from the left hold words, which are broken where there is no room; the others hold
            numbers, which are neither broken nor cut.
    """
    above = None if title is None else Text(title, style="table.title")
    table = Grid(box=SIMPLE_HEAD, title=above, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        if number < words:
            table.add_column(Text(name), overflow="fold")
        else:
            table.add_column(Text(name), justify="right", no_wrap=True)
    return table
