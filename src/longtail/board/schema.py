"""What the files of a board say, as types: papers, methods, data sets, claims, relations, notes, tasks, settings."""

from __future__ import annotations

from dataclasses import dataclass

TRACKS = {
    "scratch": "Trained from scratch",
    "imagenet": "ImageNet-pre-trained",
    "foundation": "Foundation models",
    "unstated": "Pre-training not stated",
}


FACETS = (
    "significance",
    "key results",
    "methodology",
    "novelty",
    "contributions",
    "limitations",
    "future directions",
)


QUESTIONS = {
    "methodology": "What methodology did the authors use?",
    "key results": "What are the key results?",
    "significance": "Why does this work matter?",
    "limitations": "What are the main limitations?",
}


@dataclass(frozen=True)
class Link:
    """A titled address."""

    title: str
    url: str


@dataclass(frozen=True)
class Facet:
    """One side of a paper: our words, where in the paper it stands, who wrote the words, and what the library does."""

    name: str
    points: tuple[str, ...]
    where: str
    written_by: str
    quick: str | None = None
    here: str | None = None
    checked_by: str | None = None
    by_program: bool = False


@dataclass(frozen=True)
class Paper:
    """A paper; whatever is not known is ``None`` or empty, never guessed."""

    id: str
    title: str
    authors: tuple[str, ...] = ()
    date: str | None = None
    venue: str | None = None
    arxiv: str | None = None
    tasks: tuple[str, ...] = ()
    summary: str | None = None
    summary_by: str | None = None
    links: tuple[Link, ...] = ()
    code: tuple[Link, ...] = ()
    methods: tuple[str, ...] = ()
    facets: tuple[Facet, ...] = ()
    controls: tuple[str, ...] = ()
    abstract: str | None = None
    named_methods: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    source: str | None = None
    kind: str = "content"


@dataclass(frozen=True)
class Method:
    """A method under its paper's own name; ``recipe`` is the command-line name where the library implements it."""

    id: str
    name: str
    family: str
    summary: str
    recipe: str | None = None
    paper: str | None = None
    venue: str | None = None
    year: int | None = None
    notes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    source: str | None = None


@dataclass(frozen=True)
class Variant:
    """One data set at one imbalance: what a board stands on. Counts are ``None`` where nobody has stated them."""

    id: str
    dataset: str
    name: str
    imbalance: float | None = None
    images: int | None = None
    largest: int | None = None
    smallest: int | None = None
    groups: tuple[int, int, int] | None = None
    num_test: int | None = None
    num_classes: int | None = None
    many: int = 100
    few: int = 20
    counts: tuple[int, ...] | None = None
    key: str | None = None
    aliases: tuple[str, ...] = ()
    notable: bool = False
    library: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A family of variants of one data set."""

    id: str
    name: str
    full_name: str
    summary: str
    modality: str
    homepage: str | None
    cite: str | None
    licence: str | None
    source: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Claim:
    """A number that somebody printed, with where it stands; ``value`` is on the scale that its board ranks by."""

    id: str
    method: str
    dataset: str
    metric: str
    raw: str
    value: float | None
    measure: str
    source: str
    locator: str
    quote: str
    kind: str = "reported"
    url: str | None = None
    second_hand: bool = False
    method_id: str | None = None
    paper: str | None = None
    track: str = "unstated"
    backbone: str | None = None
    epochs: int | None = None
    augmentation: str | None = None
    selection: str | None = None
    trials: int | None = None
    spread: float | None = None
    many: float | None = None
    medium: float | None = None
    few: float | None = None
    extra_data: str | None = None
    date: str | None = None
    tasks: tuple[str, ...] = ()
    catalogued: bool = False
    supersedes: str | None = None
    note: str | None = None
    added: str | None = None
    flags: tuple[str, ...] = ()
    paper_title: str | None = None
    paper_url: str | None = None
    code: tuple[Link, ...] = ()
    dataset_name: str | None = None


@dataclass(frozen=True)
class Relation:
    """That one method beats another by so much under one protocol, as somebody printed it.

    Args:
        id: its address.
        better: identifier of the method that is said to be better.
        than: identifier of the other.
        dataset: a variant of a data set.
        metric: as printed.
        measure: that the board ranks by.
        gap: how much better, in points of the measure, above 0.
        protocol: in words, what both share.
    """

    id: str
    better: str
    than: str
    dataset: str
    metric: str
    measure: str
    gap: float
    quote: str
    source: str
    locator: str
    protocol: str
    url: str | None = None
    paper: str | None = None
    added: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Note:
    """What somebody has to say on a page: its address without the ending, the words, by whom and when."""

    on: str
    text: str
    by: str
    date: str
    url: str | None = None


@dataclass(frozen=True)
class Settings:
    """What a board says of itself: where it will stand, who builds it, and where its issues are written.

    Args:
        name: name of the board on its pages, in place of the usual one.
        url: its public address, for the site map, previews and links in an issue.
        issues: the address that opens a new issue, which takes ``title`` and ``body`` as questions do.
        builder: who builds it.
    """

    name: str = "longtail board"
    url: str | None = None
    issues: str | None = None
    builder: str = "the longtail authors"


@dataclass(frozen=True)
class Task:
    """A task by its name: what it is, the areas that it belongs to, and the task that it is a part of."""

    name: str
    description: str = ""
    categories: tuple[str, ...] = ()
    parent: str | None = None
