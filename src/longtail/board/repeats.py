"""Runs of one method, configuration, data set and seed with different predictions, as from two machines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


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


def covers(first: Mapping[str, Any], ours: set[str], second: Mapping[str, Any], theirs: set[str]) -> bool:
    """Whether a submission has all runs of another one of the same submitter and method, and more.

    Args:
        first: what the one says.
        ours: the SHA-256 of its predictions.
        second: what the other says.
        theirs: likewise.
    """
    return theirs < ours and first.get("submitter") == second.get("submitter") and alike(first) == alike(second)


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
