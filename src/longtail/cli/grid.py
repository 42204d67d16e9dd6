"""The one kind of table that commands print: numbers stay whole on any terminal, only words are broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def grid(*columns: str, title: str | None = None, words: int = 1) -> Table:
    """Return an empty table for ``rich``.

    Args:
        columns: names of the columns.
        title: a line above.
        words: how many columns from the left hold words, which are broken where there is no room; the others hold
            numbers, which are neither broken nor cut.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        if number < words:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table
