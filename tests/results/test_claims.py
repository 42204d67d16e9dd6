"""Verdicts on claims: what an interval may say, by hand and by every order of its ends."""

from __future__ import annotations

import itertools

import pytest

from longtail.results.claims import VERDICTS, judge, moved

ENDS = [point / 1000 for point in range(-40, 41, 4)]
INTERVALS = [(low, high) for low, high in itertools.product(ENDS, ENDS) if low <= high]


@pytest.mark.parametrize(
    ("low", "high", "claimed", "word"),
    [
        (0.002, 0.018, None, "agrees"),
        (-0.002, 0.018, None, "undecided"),
        (-0.018, -0.002, None, "below"),
        (0.002, 0.008, None, "below"),  # real, and too small to matter
        (0.011, 0.019, 0.015, "agrees"),
        (0.011, 0.026, 0.015, "undecided"),
        (0.026, 0.030, 0.015, "above"),
        (-0.010, 0.004, 0.015, "below"),
        (-0.009, 0.009, 0.0, "agrees"),
        (0.011, 0.030, 0.0, "above"),
    ],
)
def test_by_hand(low: float, high: float, claimed: float | None, word: str) -> None:
    assert judge(low, high, claimed=claimed) == word


@pytest.mark.parametrize("claimed", [None, 0.0, 0.02])
def test_a_narrower_interval_never_takes_a_verdict_back(claimed: float | None) -> None:
    """What an interval says, every interval within it says, too; so a wide one decides nothing that data could undo."""
    for low, high in INTERVALS:
        word = judge(low, high, claimed=claimed)
        if claimed is None and word == "agrees":
            continue  # a gain may still turn out to be smaller than what matters
        for inner in INTERVALS:
            if low <= inner[0] and inner[1] <= high and word != "undecided":
                assert judge(*inner, claimed=claimed) == word


@pytest.mark.parametrize("claimed", [None, 0.0, 0.02])
def test_interval_and_verdict_never_contradict(claimed: float | None) -> None:
    for low, high in INTERVALS:
        word = judge(low, high, claimed=claimed)
        assert word in VERDICTS
        if claimed is None and low <= 0 <= high:
            assert word != "agrees"
        if claimed is not None and low <= claimed <= high:
            assert word in ("agrees", "undecided")


def test_an_end_that_is_printed_at_the_tolerance_lies_at_it() -> None:
    """An end of 0.9996 points is printed as 1.00, which is not below a tolerance of one point."""
    assert judge(-0.004, 0.009996) == "undecided"
    assert judge(-0.004, 0.00994) == "below"
    assert judge(-0.010004, 0.004, claimed=0.0) == "agrees"
    assert judge(-0.01006, 0.004, claimed=0.0) == "undecided"
    assert judge(0.00003, 0.02) == "agrees"  # on which side of 0 an end lies is always printed


def test_no_interval_decides_nothing() -> None:
    assert judge(None, None, claimed=0.02) == "undecided"
    assert moved(None, None) == ""


def test_how_a_verdict_moves() -> None:
    assert moved(-0.006, 0.006, claimed=0.0) == "halved: undecided"
    assert moved(-0.015, 0.015) == "doubled: below"
    assert moved(0.030, 0.040) == ""
