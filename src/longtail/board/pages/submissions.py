"""The page of a submission, and how to send one."""

from __future__ import annotations

from longtail.board.pages.boards import against_board
from longtail.board.pages.template import fill
from longtail.board.reader import Index
from longtail.board.statement import template
from longtail.board.submissions import MAX_SEEDS

UPLOAD_MIB = 16


def submission(index: Index, live: bool, name: str) -> str | None:
    """One submission: what was run, and what the scorer found."""
    found, entry = index.submission(name), index.entry(name)
    if found is None or entry is None:
        return None
    standing = index.board(found["board"])
    assert standing is not None
    against = [row for row in against_board(index, standing) if row[1].id == name]
    runs = found["score"]["runs"]
    means = {rate: sum(run[rate] for run in runs) / len(runs) for rate in ("accuracy", "balanced_accuracy")}
    return fill(
        index,
        "submission.html",
        f"submissions/{name}.html",
        live,
        section="sota.html",
        s=found,
        e=entry,
        board=standing,
        against=against,
        rate="balanced_accuracy" if standing.measure.id.startswith("balanced") else "accuracy",
        means=means,
    )


def submit(index: Index, live: bool, message: str | None = None, failed: bool = False) -> str:
    """How to send results, and the form where there is a server."""
    limits = {"mib": UPLOAD_MIB, "seeds": MAX_SEEDS}
    return fill(
        index, "submit.html", "submit.html", live, limits=limits, statement=template(), message=message, failed=failed
    )
