"""Runs of one method, configuration, data set and seed with different predictions, as from two machines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def same_runs(record: Mapping[str, Any]) -> str:
    """What all seeds of one entry share: recipe, configuration and the data's fingerprint."""
    return json.dumps([record["recipe"], record["config"], record["data"]["fingerprint"]], sort_keys=True)


def repeat_marks(submissions: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, tuple[str, ...]]:
    """Mark the submissions of which another one holds the same seeds with other predictions.

    Args:
        submissions: the records of each, by its identifier; none for predictions from another framework. One that is
            superseded is to be left out.

    Returns:
        For each that has such seeds, one line for its page and its row.
    """
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for records in submissions.values():
        for record in records:
            found[same_runs(record), record["seed"]].add(record["predictions"]["sha256"])
    marks: dict[str, tuple[str, ...]] = {}
    for name, records in submissions.items():
        seeds = sorted(each["seed"] for each in records if len(found[same_runs(each), each["seed"]]) > 1)
        if seeds:
            marks[name] = (
                f"another run of seed {seeds[0]} is an entry of its own"
                if len(seeds) == 1
                else f"other runs of seeds {', '.join(map(str, seeds))} are entries of their own",
            )
    return marks
