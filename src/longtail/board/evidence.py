"""Badges: what stands behind a number, derived from the files and never typed in."""

from __future__ import annotations

from dataclasses import dataclass

from longtail.results.statistics import FEWEST


@dataclass(frozen=True)
class Badge:
    """One step of evidence: what it proves, and what it does not."""

    level: int
    id: str
    name: str
    proves: str
    does_not_prove: str


BADGES = (
    Badge(
        0,
        "archive",
        "Archive",
        "The number stands in a collection: the Papers with Code archive as it ended, or notes that name no address.",
        "That it stands in a paper, that its protocol is the board's, or that anyone saw it happen.",
    ),
    Badge(
        1,
        "reported",
        "Reported",
        "A named source with an address prints the number, at the place given.",
        "That the source is right. Seeds, the epoch that was chosen and the data may differ from row to row.",
    ),
    Badge(
        2,
        "re-scored",
        "Re-scored",
        "The number was recomputed here from the predictions for every test image, against a test set that we know.",
        "That the predictions come from the configuration stated, or that the test set was not used to choose them.",
    ),
    Badge(
        3,
        "re-scored-seeds",
        "Re-scored, 3+ seeds",
        "The same, over at least three seeds, all at the last epoch, so that there is a spread and nothing was picked.",
        "That someone else would find the same. Which epoch was kept is the submitter's word.",
    ),
    Badge(
        4,
        "independent",
        "Independently re-run",
        "Two submitters ran the method under the same protocol, three seeds or more each, with predictions of their"
        " own, and their means agree.",
        "That the submitters are strangers to each other: names are as they gave them.",
    ),
)


def submission_badge(*, trusted: bool, num_seeds: int, selection: str) -> Badge | None:
    """The badge that a scored submission earns by itself; none where the test set's labels are not known here."""
    if not trusted:
        return None
    return BADGES[3] if num_seeds >= FEWEST and selection == "last epoch" else BADGES[2]
