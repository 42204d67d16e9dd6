"""Whether one method beats another by as much as somebody printed, judged by what was re-scored here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from longtail.board.content import Content
from longtail.board.model import Answers, Draft, Entry, Judged, board_slug
from longtail.board.ranking import differing
from longtail.board.schema import Relation
from longtail.board.verdicts import Contrast, contrasts, same_items
from longtail.results.statistics import FEWEST
from longtail.wording import counted


def judge(relation: Relation, entries: Sequence[Entry], answers: Mapping[str, Answers]) -> Judged:
    """Hold a claimed gap against the paired comparison of two re-scored entries under one protocol.

    The claim *holds* if the one is known to be better and the claimed gap does not lie above the interval of the
    measured one; it is *smaller* if the claimed gap does, *reversed* if the other is known to be better, and
    *undecided* otherwise, as with fewer than three seeds of either. Entries are compared only with the methods as
    published, on the same images, with no field of the protocol different.

    Args:
        relation: the claim.
        entries: of its board.
        answers: of the re-scored entries, by identifier.
    """
    address = entries[0].board if entries else ""
    sides = [
        sorted((e for e in entries if _taken(e, name, answers)), key=lambda entry: (-(entry.n or 0), entry.id))
        for name in (relation.better, relation.than)
    ]

    def told(word: str, reason: str, contrast: Contrast | None = None, pair: tuple[str, ...] = ()) -> Judged:
        estimate = contrast.estimate if contrast is not None else None
        ends = (
            [None if each is None else 100 * each for each in (estimate.low, estimate.high)] if estimate else [None] * 2
        )
        gap = 100 * estimate.value if estimate is not None else None
        return Judged(relation, address, relation.better, relation.than, word, reason, gap, ends[0], ends[1], pair)

    for name, side in zip((relation.better, relation.than), sides, strict=True):
        if not side:
            return told("not measured", f"no run of {name} as published was re-scored on this board")
    apart: list[str] = []
    for first in sides[0]:
        for second in sides[1]:
            differ, _ = differing(first, second)
            if not same_items(answers[first.id], answers[second.id]):
                differ = [*differ, "test images: others"]
            if differ:
                apart = apart or differ
                continue
            (found,) = contrasts([answers[first.id], answers[second.id]])
            seeds = min(len(answers[first.id].seeds), len(answers[second.id].seeds))
            return told(*_word(relation, found, seeds), found, (first.id, second.id))
    return told("not comparable", "; ".join(apart))


def _taken(entry: Entry, method: str, answers: Mapping[str, Answers]) -> bool:
    return entry.method_id == method and entry.id in answers and entry.current and not entry.options


def _word(relation: Relation, found: Contrast, seeds: int) -> tuple[str, str]:
    low, high = found.estimate.low, found.estimate.high
    seen = f"measured {100 * found.estimate.value:+.2f} points"
    if low is None or high is None:
        return "undecided", f"{seen}; too few seeds for an interval"
    seen += f", 95 % interval [{100 * low:+.2f}, {100 * high:+.2f}], claimed {relation.gap:+g}"
    if seeds < FEWEST:
        return "undecided", f"{seen}; {counted(seeds, 'seed')}, at least {FEWEST} are needed"
    if found.sign < 0:
        return "reversed", seen
    if relation.gap > round(100 * high, 2):  # as it is printed
        return "smaller", seen
    return ("holds", seen) if found.sign > 0 else ("undecided", seen)


def judged(content: Content, drafts: Mapping[str, Draft]) -> list[Judged]:
    """All relations of a board with their verdicts, in the order of their identifiers.

    Args:
        content: what the files say.
        drafts: the boards by address, with their entries ranked.
    """
    out = []
    for relation in sorted(content.relations, key=lambda each: each.id):
        variant = content.variants.get(relation.dataset)
        measure = content.measures.find(relation.measure)
        at = drafts.get(board_slug(variant, measure)) if variant is not None else None
        made = judge(relation, at.entries if at else [], at.answers if at else {})
        names = [content.methods[name].name if name in content.methods else name for name in (made.better, made.than)]
        reason = made.reason.replace(f"no run of {relation.better} ", f"no run of {names[0]} ")
        reason = reason.replace(f"no run of {relation.than} ", f"no run of {names[1]} ")
        found = Judged(
            relation, made.board, names[0], names[1], made.word, reason, made.gap, made.low, made.high, made.pair
        )
        out.append(found)
    return out
