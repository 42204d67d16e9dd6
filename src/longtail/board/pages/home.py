"""The first page."""

from __future__ import annotations

from longtail.board.descriptions import exponential_counts
from longtail.board.pages.boards import card
from longtail.board.pages.template import fill
from longtail.board.reader import Index


def home(index: Index, live: bool) -> str:
    """Notable benchmarks and the latest changes."""
    notable = index.boards(notable=True)
    count = index.connection.execute("SELECT count(*), (SELECT count(*) FROM boards),"
        " (SELECT count(*) FROM things WHERE kind = 'paper') FROM entries").fetchone()  # fmt: skip
    return fill(
        index,
        "home.html",
        "index.html",
        live,
        cards=[card(index, board) for board in notable],
        changes=index.changes(),
        totals={"entries": count[0], "boards": count[1], "papers": count[2]},
        tail=[round(150 * value / 500) + 3 for value in exponential_counts(500, 100, 40)],
    )
