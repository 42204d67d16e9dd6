"""Runs that two submissions share, and runs of one seed that differ between them, as from two machines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from longtail.wording import counted

if TYPE_CHECKING:
    from longtail.board.submissions import Submission


def shared_by_seeds(record: Mapping[str, Any]) -> list[Any]:
    """What the runs of one entry share whatever their seed: recipe, configuration and the data's fingerprint."""
    return [record["recipe"], record["config"], record["data"]["fingerprint"]]


def same_runs(record: Mapping[str, Any]) -> str:
    """The same as a key: equal for two records that differ in nothing but their seed."""
    return json.dumps(shared_by_seeds(record), sort_keys=True)


def alike(body: Mapping[str, Any]) -> str:
    """A key that is equal for two submissions of one method: of runs that differ in their seeds, or one statement."""
    records = body.get("records")
    return same_runs(records[0]) if records else json.dumps(body["statement"], sort_keys=True)


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
        own, key = _runs(each), alike(each.body)
        more = [
            (len(runs), other.id)
            for other, runs in standing
            if own < runs and other.body.get("submitter") == each.body.get("submitter") and alike(other.body) == key
        ]
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
    for each in found:
        for other in found:
            common = _runs(each) & _runs(other)
            if each is not other and common and alike(each.body) == alike(other.body):
                line = f"{counted(len(common), 'run')} of it {'is' if len(common) == 1 else 'are'} also in {other.id}"
                marks[each.id] = (*marks.get(each.id, ()), line)
    return marks


def _runs(each: Submission) -> set[str]:
    return {run["sha256"] for run in each.score["runs"]}


def repeat_marks(submissions: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, tuple[str, ...]]:
    """Mark the submissions of which another one holds the same seeds with other predictions.

    Args:
        submissions: the records of each, by its identifier; none for predictions from another framework. One that is
            superseded is to be left out.

    Returns:
        For each that has such seeds, one line for its page and its row.
    """
    runs = {
        name: {(same_runs(each), each["seed"]): each["predictions"]["sha256"] for each in records}
        for name, records in submissions.items()
    }
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for held in runs.values():
        for run, sha256 in held.items():
            found[run].add(sha256)
    marks: dict[str, tuple[str, ...]] = {}
    for name, held in runs.items():
        seeds = sorted(seed for what, seed in held if len(found[what, seed]) > 1)
        if seeds:
            marks[name] = (
                f"another run of seed {seeds[0]} is an entry of its own"
                if len(seeds) == 1
                else f"other runs of seeds {', '.join(map(str, seeds))} are entries of their own",
            )
    return marks
