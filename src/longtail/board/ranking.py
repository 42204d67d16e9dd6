"""Ranks within a track, what makes two numbers comparable, and published against measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from longtail.board.evidence import BADGES
from longtail.board.model import MISSING, TRACK_ORDER, Answers, Best, Draft, Entry
from longtail.board.values import slug
from longtail.board.verdicts import (
    Contrast,
    Verdict,
    contrasts,
    leader_correction,
    paired_half_width,
    pooled_sd,
    reproduction,
    test_interval,
)


def _independent(at: Draft) -> set[str]:
    """Entries that another submitter has found again under the same protocol, by runs of which none is a copy."""
    out: set[str] = set()
    scored = [entry for entry in at.entries if entry.badge == BADGES[3].id and entry.method_id and entry.current]
    for i, first in enumerate(scored):
        for second in scored[i + 1 :]:
            if (
                first.method_id == second.method_id
                and first.submitter
                and second.submitter
                and first.submitter.strip().casefold() != second.submitter.strip().casefold()
                and _one_protocol(first, second)
                and not _shared_run(at.answers[first.id], at.answers[second.id])
                and first.value is not None
                and second.value is not None
            ):
                forth = reproduction(first.value, second.value, second.n or 0, second.sd)
                back = reproduction(second.value, first.value, first.n or 0, first.sd)
                if forth.word == back.word == "agrees":
                    out |= {first.id, second.id}
    return out


def _one_protocol(first: Entry, second: Entry) -> bool:
    """Whether two entries state the core of one protocol, and differ in no field that both state."""
    differ, unstated = differing(first, second)
    return not differ and not set(CORE) & set(unstated)


def _shared_run(first: Answers, second: Answers) -> bool:
    """Whether a run of the one has the very same answers as a run of the other."""
    return any(torch.equal(one, other) for one in first.correct for other in second.correct)


def differing(claim: Entry, measured: Entry) -> tuple[list[str], list[str]]:
    """The protocol fields in which two entries differ, and those that one of them does not state.

    Returns:
        ``(differ, unstated)``, each a list of sentences' beginnings fit for a page.
    """
    differ, unstated = [], []
    if claim.options != measured.options:
        words = [", ".join(entry.options) or "as published" for entry in (claim, measured)]
        differ.append(f"options: {words[0]} against {words[1]}")
    for name in ("track", "backbone", "epochs", "augmentation", "selection", "split"):
        first, second = getattr(claim, name), getattr(measured, name)
        if name == "split" and "scored" not in (claim.kind, measured.kind):
            continue
        if first in MISSING or second in MISSING:
            if name != "split":
                unstated.append(name)
        elif slug(str(first)).replace("-", "") != slug(str(second)).replace("-", ""):
            differ.append(
                f"{name}: {first} against {second}" if name != "split" else "training images: another selection"
            )
    return differ, unstated


CORE = ("track", "backbone", "epochs")


def published_against_measured(entries: Sequence[Entry]) -> list[tuple[Entry, Entry, Verdict, list[str]]]:
    """Each re-scored entry of a board beside each claim for the same method.

    Numbers are compared only where track, backbone and epochs are stated and equal and no other protocol field differs;
    the standard deviation is pooled over the board where a method has fewer than five seeds.

    Returns:
        ``(claim, measured, verdict, unstated)`` for every pair; the verdict says what differs.
    """
    scored = [
        entry for entry in entries if entry.kind == "scored" and entry.method_id and entry.badge and entry.current
    ]
    pooled = pooled_sd([entry.values for entry in scored])
    out = []
    for measured in scored:
        assert measured.value is not None
        for claim in entries:
            if claim.kind == "scored" or claim.method_id != measured.method_id or claim.value is None:
                continue
            if not claim.current:
                continue
            differ, unstated = differing(claim, measured)
            if differ:
                verdict = Verdict("not comparable", "; ".join(differ), claim.value - measured.value)
            elif missing := [name for name in CORE if name in unstated]:
                verdict = Verdict(
                    "not comparable", f"the claim does not state: {', '.join(missing)}", claim.value - measured.value
                )
            else:
                n = measured.n or 0
                sd, degrees = (pooled or (None, 0)) if n < 5 else (measured.sd, n - 1)
                verdict = reproduction(claim.value, measured.value, n, sd, degrees=degrees)
            out.append((claim, measured, verdict, unstated))
    return out


UNRANKED = frozenset({"two-names-one-metric", "fraction-among-per-cents", "scale-unknown", "out-of-range"})
"""Flags with which a number takes part in no ranking."""


def ranked(at: Draft) -> tuple[list[Entry], list[Best]]:
    """A board's entries in the order of its page with their ranks, and what is known about the best of each track.

    An entry's rank is one more than the number of entries that are known to be better; its rank interval ends where
    the entries that are known to be worse begin. Two re-scored entries are told apart by the paired test on their
    answers, others by their intervals. Where no interval is known only the numbers themselves can tell.

    Args:
        at: the board with its entries and, for those re-scored, their answers.
    """
    independent = _independent(at)
    entries = [
        dataclasses.replace(entry, badge=BADGES[4].id) if entry.id in independent else entry for entry in at.entries
    ]
    higher = at.measure.higher_is_better
    out: list[Entry] = []
    found: list[Best] = []
    for track in TRACK_ORDER:
        inside = [entry for entry in entries if entry.track == track]
        taking = [entry for entry in inside if higher is not None and takes_part(entry)]
        placed, best = _placed(taking, at, bool(higher), track)
        names = {entry.id for entry in taking}
        rest = [entry for entry in inside if entry.id not in names]
        out += placed + sorted(rest, key=lambda entry: _order(entry, higher))
        found += [best] if best else []
    return out, found


def takes_part(entry: Entry) -> bool:
    """Whether an entry can be ranked at all."""
    return entry.value is not None and entry.current and entry.badge is not None and UNRANKED.isdisjoint(entry.flags)


def _order(entry: Entry, higher: bool | None) -> tuple[float, str, str]:
    value = entry.value if entry.value is not None else float("-inf") if higher is not False else float("inf")
    return (value if higher is False else -value, entry.method, entry.id)


def _placed(entries: list[Entry], at: Draft, higher: bool, track: str) -> tuple[list[Entry], Best | None]:
    if not entries:
        return [], None
    better, contrasts = _better(entries, at, higher)
    above, below = better.sum(axis=0), better.sum(axis=1)
    placed = [
        entry.at_rank(1 + up, len(entries) - down)
        for entry, up, down in zip(entries, above.tolist(), below.tolist(), strict=True)
    ]
    placed.sort(key=lambda entry: (entry.rank or 0, *_order(entry, higher)))
    possibly = tuple(entry.id for entry in placed if entry.rank == 1)
    corrected = None
    widths = [entry.half_width for entry in entries]
    if higher and all(width is not None for width in widths):
        values = [entry.value or 0.0 for entry in entries]
        corrected = max(values) - leader_correction(values, [width or 0.0 for width in widths])
    return placed, Best(track, possibly, corrected, contrasts)


@lru_cache(maxsize=64)
def _tested(arms: tuple[Answers, ...]) -> list[Contrast]:
    """The contrasts of a track; not made again while its answers are the same objects, as those that are shipped."""
    return contrasts(arms)


def _better(entries: list[Entry], at: Draft, higher: bool) -> tuple[NDArray[np.bool_], int]:
    """Which entry (row) is known to be better than which (column), and how many contrasts are read together."""
    sign = 1.0 if higher else -1.0
    value = sign * np.array([entry.value for entry in entries], dtype=np.float64)
    ends = sign * np.array([_interval(entry, at) for entry in entries], dtype=np.float64)
    # What each number can fall, and rise, within its interval.
    down, up = value - ends.min(axis=1), ends.max(axis=1) - value
    gap = value[:, None] - value[None, :]
    better = gap > np.hypot(down[:, None], up[None, :]) + 1e-9
    scored = [place for place, entry in enumerate(entries) if entry.id in at.answers]
    found = _tested(tuple(at.answers[entries[place].id] for place in scored))
    for each in found:
        i, j = scored[each.first], scored[each.second]
        better[i, j], better[j, i] = each.sign > 0, each.sign < 0
    if found:
        better = _closed(better)
    return better, max(len(scored) - 1, 0)


def _interval(entry: Entry, at: Draft) -> tuple[float, float]:
    value = entry.value or 0.0
    if entry.low is not None and entry.high is not None:
        return entry.low, entry.high
    # Two seeds have no interval, but what the test set alone leaves open stays open.
    return test_interval(value, at.variant.num_test) if resolution(at) and at.variant.num_test else (value, value)


def _closed(better: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whoever is better than one that is better than a third is better than the third."""
    while True:
        reached = better.astype(np.float32)
        closed = better | (reached @ reached > 0)
        if bool((closed == better).all()):
            return better
        better = closed


def resolution(at: Draft) -> float | None:
    """The difference at which a board's test set tells two methods apart that differ on a fifth of it, in points."""
    return paired_half_width(at.variant.num_test) if at.measure.proportion and at.variant.num_test else None
