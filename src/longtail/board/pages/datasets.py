"""The list of data sets, and the page of each."""

from __future__ import annotations

from longtail.board import charts
from longtail.board.pages.template import fill
from longtail.board.reader import Index


def datasets(index: Index, live: bool) -> str:
    """All data sets and their variants."""
    known = {board.slug for board in index.boards()}
    return fill(index, "datasets.html", "datasets.html", live, datasets=index.datasets(), known=known)


def dataset(index: Index, live: bool, name: str) -> str | None:
    """One data set: variants, class-count curves, boards."""
    found = index.dataset(name)
    if found is None:
        return None
    boards = index.boards()
    curves = {
        variant.id: charts.class_counts(variant.counts, many=variant.many, few=variant.few, name=variant.name)
        if variant.counts
        else None
        for variant in found.variants
    }
    standing = {variant.id: [board for board in boards if board.variant.id == variant.id] for variant in found.variants}
    return fill(
        index,
        "dataset.html",
        f"datasets/{name}.html",
        live,
        section="datasets.html",
        d=found,
        charts=curves,
        boards=standing,
    )
