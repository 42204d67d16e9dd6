"""What badges, ranks, verdicts and flags mean."""

from __future__ import annotations

from longtail.board.archive.files import refused_rows
from longtail.board.imported import imports
from longtail.board.pages.template import fill
from longtail.board.reader import Index
from longtail.board.verdicts import best_of_inflation, paired_half_width, reproduction, test_interval


def about(index: Index, live: bool) -> str:
    """What the badges prove, how ranks and verdicts come about, licences."""
    example = [
        (name, published, measured, reproduction(published, measured, 3, 0.34, degrees=8))
        for name, published, measured in (("CE", 38.6, 38.50), ("CE + CMO", 43.9, 42.11))
    ]
    low, high = test_interval(50.0, 10_000)
    return fill(
        index,
        "about.html",
        "about.html",
        live,
        example=example,
        paired_half=paired_half_width(10_000),
        single_half=(high - low) / 2,
        imports=imports(index.root) if index.root else [],
        refused=refused_rows(index.root) if index.root else [],
        inflation=[best_of_inflation(n) for n in (3, 5, 10)],
    )
