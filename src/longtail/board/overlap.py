"""Runs that two submissions have in common: which of one person's stands, and which of two people's are marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from longtail.board.repeats import alike, covers
from longtail.board.submissions import Submission
from longtail.wording import counted


def replacements(found: Sequence[Submission], withdrawn: Collection[str] = ()) -> dict[str, str]:
    """Which submission stands for which: as it says itself, or because all runs of the other are among its own.

    Args:
        found: of one board, in any order.
        withdrawn: identifiers of those that stand for nothing.

    Returns:
        The identifier of the one that stands, by that of the one that is superseded. Both are of one submitter and
        method.
    """
    out = {}
    standing = [(each, _runs(each)) for each in found if each.id not in withdrawn]
    for each in found:
        own = _runs(each)
        more = [(len(runs), other.id) for other, runs in standing if covers(other.body, runs, each.body, own)]
        if more:
            out[each.id] = max(more)[1]
    return out | {each.view["supersedes"]: each.id for each in found if each.view.get("supersedes")}


def shared_marks(found: Sequence[Submission]) -> dict[str, tuple[str, ...]]:
    """Mark the submissions of one method that have runs in common, as of two people who were given the same files.

    Args:
        found: those that stand.

    Returns:
        For each that shares runs, a line for each other one.
    """
    marks: dict[str, tuple[str, ...]] = {}
    held = [(each, _runs(each)) for each in found]
    for each, ours in held:
        for other, theirs in held:
            common = ours & theirs
            if each is not other and common and alike(each.body) == alike(other.body):
                line = f"{counted(len(common), 'run')} of it {'is' if len(common) == 1 else 'are'} also in {other.id}"
                marks[each.id] = (*marks.get(each.id, ()), line)
    return marks


def _runs(each: Submission) -> set[str]:
    return {run["sha256"] for run in each.score["runs"]}
