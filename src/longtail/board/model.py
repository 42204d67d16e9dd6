"""What a board is made of: a ranking, and the lines on it; and how both are kept as JSON."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from longtail.board.fields import made
from longtail.board.measures import Measure
from longtail.board.schema import Link, Relation, Variant
from longtail.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

Kind = TypeVar("Kind")

PROTOCOL = ("track", "backbone", "epochs", "augmentation", "selection", "n")
"""What a number has to state before it can be compared with another."""
MISSING = frozenset({None, "", "unstated"})
"""What a field holds that nobody has stated."""
PROTOCOL_WORDS = {
    "track": "pre-training",
    "backbone": "backbone",
    "epochs": "epochs",
    "augmentation": "augmentation",
    "selection": "selection rule",
    "n": "number of seeds",
}
TRACK_ORDER = ("scratch", "imagenet", "foundation", "unstated")


def board_slug(variant: Variant, measure: Measure) -> str:
    """The address of a board: the variant's, with the measure where it is not the accuracy.

    No identifier holds two hyphens in a row, so no two boards have one address.
    """
    return variant.id if measure.id == "accuracy" else f"{variant.id}--{measure.id}"


@dataclass(frozen=True)
class Best:
    """What is known about the best of one track.

    Args:
        track: of the board.
        possibly: the entries of which no other is known to be better.
        corrected: the leader's figure less what picking the largest of several uncertain figures adds on average.
        contrasts: paired comparisons that are read together in this track; each interval allows for all of them.
    """

    track: str
    possibly: tuple[str, ...]
    corrected: float | None
    contrasts: int


@dataclass(frozen=True)
class Board:
    """One ranking: a variant of a data set and a measure."""

    slug: str
    name: str
    variant: Variant
    measure: Measure
    resolution: float | None
    tasks: tuple[str, ...]
    entries: int
    scored: int
    updated: str | None
    notable: bool
    best: tuple[Best, ...] = ()
    completeness: float | None = None
    stated: tuple[float, ...] = ()
    """Of each field of ``PROTOCOL``, the share of the entries that state it."""


@dataclass(frozen=True)
class Entry:
    """One line of a board, claimed or re-scored, on the board's scale."""

    id: str
    board: str
    kind: str
    method: str
    method_id: str | None
    paper: str | None
    track: str
    badge: str | None
    value: float | None
    raw: str
    metric: str
    dataset_name: str
    sd: float | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    many: float | None = None
    medium: float | None = None
    few: float | None = None
    backbone: str | None = None
    epochs: int | None = None
    augmentation: str | None = None
    selection: str | None = None
    extra_data: str | None = None
    date: str | None = None
    source: str | None = None
    locator: str | None = None
    quote: str | None = None
    url: str | None = None
    second_hand: bool = False
    catalogued: bool = False
    note: str | None = None
    flags: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    paper_title: str | None = None
    submission: str | None = None
    submitter: str | None = None
    supersedes: str | None = None
    superseded_by: str | None = None
    withdrawn: str | None = None
    added: str | None = None
    code: tuple[Link, ...] = ()
    options: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    rank: int | None = None
    rank_high: int | None = None
    values: tuple[float, ...] = ()
    split: str | None = None
    order: int = 0
    complemented: bool = False

    def at_rank(self, rank: int, rank_high: int) -> Entry:
        """The entry with its rank."""
        # Several times as fast as dataclasses.replace, which a board of many thousand entries feels.
        made = object.__new__(Entry)
        made.__dict__.update(self.__dict__, rank=rank, rank_high=rank_high)
        return made

    @property
    def protocol(self) -> str:
        """Epochs and augmentation in words; empty where nothing is stated."""
        parts = [counted(self.epochs, "epoch") if self.epochs is not None else "", self.augmentation or ""]
        return ", ".join(part for part in parts if part)

    @property
    def conditions(self) -> str:
        """Backbone, protocol and selection rule in words, as far as they are stated."""
        return ", ".join(part for part in (self.backbone, self.protocol, self.selection) if part)

    @property
    def half_width(self) -> float | None:
        """Half the 95 % interval, where there is one."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def current(self) -> bool:
        """Whether it stands: not superseded, and not withdrawn."""
        return self.superseded_by is None and self.withdrawn is None

    @property
    def completeness(self) -> float:
        """The share of the protocol's fields that are stated."""
        return stated_share(self.unstated)

    @property
    def unstated(self) -> tuple[str, ...]:
        """The fields of the protocol that are not stated, in words."""
        return tuple(PROTOCOL_WORDS[name] for name in PROTOCOL if getattr(self, name) in MISSING)

    @property
    def ranked(self) -> bool:
        """Whether the entry takes part in the ranking."""
        return self.rank is not None


def stated_share(unstated: Sequence[str]) -> float:
    """The share of the protocol's fields that are stated, given those that are not."""
    return 1 - len(unstated) / len(PROTOCOL)


@dataclass(frozen=True)
class Judged:
    """A relation with its verdict.

    Args:
        relation: as claimed.
        board: the address of the board that it is about.
        better: name of the method that is said to be better.
        than: name of the other.
        word: ``holds``, ``smaller``, ``reversed``, ``undecided``, ``not comparable`` or ``not measured``.
        reason: in words.
        gap: as measured, in points; ``None`` where nothing was.
        low: lower end of its 95 % interval.
        high: upper end.
        pair: the two submissions that were compared.
    """

    relation: Relation
    board: str
    better: str
    than: str
    word: str
    reason: str
    gap: float | None = None
    low: float | None = None
    high: float | None = None
    pair: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers behind a re-scored entry: which of the N test items each of S runs got right.

    Args:
        correct: (S, N), in the order of the items' identities.
        target: (N,), the true classes.
        seeds: one for each run.
    """

    correct: Tensor
    target: Tensor
    seeds: tuple[int, ...]


@dataclass
class Draft:
    """A board while its entries are gathered."""

    variant: Variant
    measure: Measure
    entries: list[Entry] = field(default_factory=list)
    answers: dict[str, Answers] = field(default_factory=dict)


def dump(thing: Any) -> str:
    """A dataclass as JSON; fields at their defaults are left out, which makes a large board several times faster."""
    defaults = _defaults(thing.__class__)
    kept = {name: value for name, value in thing.__dict__.items() if value is not defaults[name]}
    # ASCII alone, so that half a surrogate pair in a stranger's text cannot stop the database.
    return _JSON.encode(kept)


_JSON = json.JSONEncoder(default=dataclasses.asdict)


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    return {each.name: each.default for each in dataclasses.fields(kind)}


def parse(kind: type[Kind], text: str) -> Kind:
    """What :func:`dump` wrote."""
    return _made(kind, json.loads(text))


def _made(kind: type[Kind], given: dict[str, Any]) -> Kind:
    hashed: Any = kind
    tuples = _tuples(hashed)
    for name in tuples.keys() & given.keys():
        if given[name] is not None:
            inner = tuples[name]
            given[name] = tuple(given[name] if inner is None else [_made(inner, each) for each in given[name]])
    for name, inner in _nested(hashed).items():
        if given.get(name) is not None:
            given[name] = _made(inner, given[name])
    return made(kind, given)


@cache
def _tuples(kind: Any) -> dict[str, Any]:
    """The fields that are tuples, with the dataclass that they hold, if it is one."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        for each in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
            if typing.get_origin(each) is tuple:
                inner = typing.get_args(each)[0]
                found[name] = inner if dataclasses.is_dataclass(inner) else None
    return found


@cache
def _nested(kind: Any) -> dict[str, Any]:
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if dataclasses.is_dataclass(hint)}
