"""Ranks within a track, what makes two numbers comparable, and published against measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from longtail.board.evidence import BADGES
from longtail.board.model import TRACK_ORDER, Draft, Entry
from longtail.board.values import slug
from longtail.board.verdicts import Verdict, paired_half_width, pooled_sd, reproduction, shared_ranks


def _independent(entries: list[Entry]) -> set[str]:
    """Entries that another submitter has found again under the same protocol."""
    out: set[str] = set()
    scored = [entry for entry in entries if entry.badge == BADGES[3].id and entry.method_id and not entry.superseded_by]
    for i, first in enumerate(scored):
        for second in scored[i + 1 :]:
            if (
                first.method_id == second.method_id
                and first.submitter
                and second.submitter
                and first.submitter.strip().casefold() != second.submitter.strip().casefold()
                and not differing(first, second)[0]
                and first.values != second.values
                and first.value is not None
                and second.value is not None
            ):
                forth = reproduction(first.value, second.value, second.n or 0, second.sd)
                back = reproduction(second.value, first.value, first.n or 0, first.sd)
                if forth.word == back.word == "agrees":
                    out |= {first.id, second.id}
    return out


def differing(claim: Entry, measured: Entry) -> tuple[list[str], list[str]]:
    """The protocol fields in which two entries differ, and those that one of them does not state.

    Returns:
        ``(differ, unstated)``, each a list of sentences' beginnings fit for a page.
    """
    differ, unstated = [], []
    for name in ("track", "backbone", "epochs", "augmentation", "selection", "split"):
        first, second = getattr(claim, name), getattr(measured, name)
        if name == "split" and "scored" not in (claim.kind, measured.kind):
            continue
        missing = {None, "", "unstated"}
        if first in missing or second in missing:
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
        entry
        for entry in entries
        if entry.kind == "scored" and entry.method_id and entry.badge and not entry.superseded_by
    ]
    pooled = pooled_sd([entry.values for entry in scored])
    out = []
    for measured in scored:
        assert measured.value is not None
        for claim in entries:
            if claim.kind == "scored" or claim.method_id != measured.method_id or claim.value is None:
                continue
            if claim.superseded_by:
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


def ranked(at: Draft) -> list[Entry]:
    """A board's entries in the order of its page, with their ranks."""
    independent = _independent(at.entries)
    entries = [
        dataclasses.replace(entry, badge=BADGES[4].id) if entry.id in independent else entry for entry in at.entries
    ]
    higher = at.measure.higher_is_better
    told = resolution(at)
    out: list[Entry] = []
    for track in TRACK_ORDER:
        inside = [entry for entry in entries if entry.track == track]
        takes_part = [
            entry
            for entry in inside
            if entry.value is not None
            and higher is not None
            and not entry.superseded_by
            and entry.badge is not None
            and "two-names-one-metric" not in entry.flags
        ]
        ranks = shared_ranks(
            [entry.value for entry in takes_part if entry.value is not None],
            told,
            bool(higher),
            [entry.seed_half or 0.0 for entry in takes_part],
        )
        sign = -1.0 if higher else 1.0
        placed = sorted(
            (dataclasses.replace(entry, rank=rank) for entry, rank in zip(takes_part, ranks, strict=True)),
            key=lambda entry: (entry.rank, sign * (entry.value or 0.0), entry.method, entry.id),
        )
        names = {entry.id for entry in takes_part}
        rest = sorted((entry for entry in inside if entry.id not in names), key=lambda entry: (entry.method, entry.id))
        out += placed + rest
    return out


def resolution(at: Draft) -> float | None:
    """The difference that a board's test set can tell apart, in points; ``None`` where it is not known."""
    if at.measure.unit != "%" or not at.variant.num_test or not at.measure.id.endswith(("accuracy", "linear-probe")):
        return None
    return paired_half_width(at.variant.num_test)
