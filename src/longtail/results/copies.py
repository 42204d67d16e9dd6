"""Runs of a method that does not depend on its seed: several with the very same predictions are one run."""

from __future__ import annotations

from collections.abc import Sequence

from longtail.results.record import Loaded


def distinct(runs: Sequence[Loaded]) -> list[Loaded]:
    """Return the runs without those whose predictions are all those of an earlier one.

    A method that is computed from fixed features, such as the nearest class mean, gives one result whatever the seed;
    five of it would look like five seeds without any spread.

    Args:
        runs: of one method, in the order of their seeds.

    Returns:
        The first of each set of equal runs, in the order in which they came.
    """
    return [group[0] for group in _groups(runs)]


def copies_note(name: str, runs: Sequence[Loaded]) -> str | None:
    """Return a line that names the seeds that gave the very same predictions; None where all differ.

    Args:
        name: of the method.
        runs: of it.
    """
    equal = [group for group in _groups(runs) if len(group) > 1]
    if not equal:
        return None
    listed = "; ".join(", ".join(str(run.record.seed) for run in group) for group in equal)
    return f"{name}: seeds {listed} gave the very same predictions, so they count as one run."


def _groups(runs: Sequence[Loaded]) -> list[list[Loaded]]:
    found: dict[bytes, list[Loaded]] = {}
    for run in runs:
        order = run.index.argsort()
        found.setdefault(run.prediction[order].numpy().tobytes(), []).append(run)
    return list(found.values())
