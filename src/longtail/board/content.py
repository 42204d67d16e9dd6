"""The files that are the truth: papers, methods, data sets and claims, read from TOML or JSON and checked.

Claims are append-only. A claim is never edited; a later one names it in ``supersedes`` and takes its place.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import difflib
import os
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from longtail.board.fields import address, made, typed
from longtail.board.keys import Key, keys
from longtail.board.measures import Measures, measure_from, shipped_measures
from longtail.board.values import look_alike, parse_json, parse_value, safe_url, slug
from longtail.errors import InputError, unknown

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


@dataclass(frozen=True)
class Content:
    """Everything that the shipped files and a board's own files say."""

    papers: dict[str, Paper]
    methods: dict[str, Method]
    datasets: dict[str, Dataset]
    variants: dict[str, Variant]
    claims: list[Claim]
    withdrawn: dict[str, str] = dataclasses.field(default_factory=dict)
    tasks: dict[str, Task] = dataclasses.field(default_factory=dict)
    keys: dict[str, Key] = dataclasses.field(default_factory=dict)
    relations: tuple[Relation, ...] = ()
    notes: tuple[Note, ...] = ()
    settings: Settings | None = None
    measures: Measures = dataclasses.field(default_factory=shipped_measures)

    @property
    def superseded(self) -> dict[str, str]:
        """Which claim stands for which earlier one."""
        return {claim.supersedes: claim.id for claim in self.claims if claim.supersedes}

    @cached_property
    def by_name(self) -> dict[str, Variant]:
        """Variants by the addresses of their identifiers, names and aliases."""
        return {slug(name): each for each in self.variants.values() for name in (*each.aliases, each.name, each.id)}

    def key(self, variant: Variant | None) -> Key | None:
        """The test set of a data set, if the scorer knows it."""
        return self.keys.get(variant.key) if variant is not None and variant.key else None


def _fields(kind: type) -> set[str]:
    return {each.name for each in dataclasses.fields(kind)}


def _only(entry: Mapping[str, Any], allowed: Set[str], where: str) -> None:
    if not entry.keys() <= allowed:
        extra = sorted(set(entry) - allowed)
        raise InputError(f"{where}: unknown field {extra[0]!r}; known are {', '.join(sorted(allowed))}")


_TEXT = 600
"""Characters of a text of one line, at most."""


def _text(entry: Mapping[str, Any], name: str, where: str, limit: int = _TEXT) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {name!r} must be a non-empty text")
    if len(value) > limit:
        raise InputError(f"{where}: {name!r} has {len(value)} characters, at most {limit} are allowed")
    return value


def _date(value: object, where: str) -> str | None:
    """A date as YYYY-MM-DD; TOML's own dates are taken too."""
    if value is None:
        return None
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, str) and len(value) == 10 and (day := _day(value)) is not None:
        return day
    raise InputError(f"{where}: {value!r} is no date; write YYYY-MM-DD, or leave it out if it is unknown")


@lru_cache(maxsize=1 << 14)
def _day(text: str) -> str | None:
    """A day that there is, as YYYY-MM-DD."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        return None


def _links(entries: Iterable[Mapping[str, Any]], where: str) -> tuple[Link, ...]:
    out = []
    for entry in entries:
        if safe_url(entry.get("url")) is None:
            raise InputError(f"{where}: {entry.get('url')!r} is no http or https address")
        out.append(Link(title=_text(entry, "title", where), url=entry["url"]))
    return tuple(out)


def exponential_counts(largest: int, imbalance: int | float, num_classes: int) -> tuple[int, ...]:
    """The class counts of the exponential profile, ``int(largest * imbalance ** (-c / (K - 1)))``.

    Example:
        >>> counts = exponential_counts(500, 100, 100)
        >>> sum(counts), counts[0], counts[-1]
        (10847, 500, 5)
    """
    return tuple(int(largest * imbalance ** (-c / (num_classes - 1.0))) for c in range(num_classes))


def _paper(entry: Mapping[str, Any], where: str) -> Paper:
    _only(entry, {*_fields(Paper), "facet"} - {"facets", "kind", "abstract", "named_methods"}, where)
    typed(Paper, entry, where, ("date",))
    facets = []
    for facet in entry.get("facet", ()):
        _only(facet, _fields(Facet), where)
        typed(Facet, facet, where)
        if facet.get("name") not in FACETS:
            raise InputError(f"{where}: unknown facet {facet.get('name')!r}; known are {', '.join(FACETS)}")
        if not facet.get("points") and not facet.get("quick"):
            continue
        facets.append(
            Facet(
                name=facet["name"],
                points=tuple(facet["points"]),
                where=_text(facet, "where", where),
                written_by=_text(facet, "written_by", where),
                quick=facet.get("quick") or None,
                here=facet.get("here"),
                checked_by=facet.get("checked_by") or None,
                by_program=facet.get("by_program", False),
            )
        )
    return Paper(
        id=address(entry, where),
        title=_text(entry, "title", where),
        authors=tuple(entry.get("authors", ())),
        date=_date(entry.get("date"), where),
        venue=entry.get("venue"),
        arxiv=entry.get("arxiv"),
        tasks=tuple(entry.get("tasks", ())),
        summary=entry.get("summary"),
        summary_by=entry.get("summary_by"),
        links=_links(entry.get("links", ()), where),
        code=_links(entry.get("code", ()), where),
        methods=tuple(entry.get("methods", ())),
        facets=tuple(sorted(facets, key=lambda facet: FACETS.index(facet.name))),
        controls=tuple(entry.get("controls", ())),
        related=tuple(entry.get("related", ())),
        source=entry.get("source"),
    )


def _method(entry: Mapping[str, Any], where: str) -> Method:
    _only(entry, _fields(Method), where)
    typed(Method, entry, where)
    address(entry, where)
    for name in ("name", "family", "summary"):
        _text(entry, name, where, 2000)
    given = dict(entry)
    given["notes"], given["aliases"] = tuple(entry.get("notes", ())), tuple(entry.get("aliases", ()))
    return Method(**given)


_SIZES = {"num_classes": 100_000, "num_test": 10**7, "images": 10**10, "imbalance": 10**6, "largest": 10**9,
          "smallest": 10**9}  # fmt: skip
"""The largest sizes that a data set may state; more would only cost memory."""


def _dataset(entry: Mapping[str, Any], where: str) -> Dataset:
    _only(entry, {*_fields(Dataset), "variant", "profile", "shared"} - {"variants"}, where)
    typed(Dataset, entry, where)
    shared = entry.get("shared", {})
    variants = []
    for each in entry.get("variant", ()):
        given = {**shared, **each}
        _only(given, _fields(Variant) - {"dataset"}, where)
        typed(Variant, given, where)
        address(given, where)
        _text(given, "name", where)
        for name, limit in _SIZES.items():
            if given.get(name) is not None and not 1 <= given[name] <= limit:
                raise InputError(f"{where}: {given['id']}: {name!r} must lie between 1 and {limit:,}")
        counts = tuple(given["counts"]) if given.get("counts") else None
        if entry.get("profile") == "exponential":
            counts = exponential_counts(given["largest"], given["imbalance"], given["num_classes"])
        if counts is not None:
            groups = (
                sum(count > given.get("many", 100) for count in counts),
                sum(given.get("few", 20) <= count <= given.get("many", 100) for count in counts),
                sum(count < given.get("few", 20) for count in counts),
            )
            # The file states what the profile implies, so that a slip in either shows at once.
            for name, stated, implied in (
                ("images", given.get("images"), sum(counts)),
                ("smallest", given.get("smallest"), min(counts)),
                ("largest", given.get("largest"), max(counts)),
                ("num_classes", given.get("num_classes"), len(counts)),
                ("groups", given.get("groups") and tuple(given["groups"]), groups),
            ):
                if stated is not None and stated != implied:
                    raise InputError(f"{where}: {given['id']}: {name} is {stated}, the class counts give {implied}")
            given |= {"images": sum(counts), "smallest": min(counts), "groups": groups}
        given |= {"counts": counts, "dataset": entry["id"], "aliases": tuple(given.get("aliases", ()))}
        given["groups"] = tuple(given["groups"]) if given.get("groups") else None
        given["imbalance"] = float(given["imbalance"]) if given.get("imbalance") else None
        variants.append(Variant(**given))
    return Dataset(
        id=address(entry, where),
        name=_text(entry, "name", where),
        full_name=_text(entry, "full_name", where),
        summary=_text(entry, "summary", where, 2000),
        modality=_text(entry, "modality", where),
        homepage=safe_url(entry.get("homepage")),
        cite=entry.get("cite"),
        licence=entry.get("licence"),
        source=_text(entry, "source", where),
        variants=tuple(variants),
    )


_CLAIM_INPUT = _fields(Claim) - {"raw", "measure", "kind", "flags", "paper_title", "paper_url", "dataset_name"}


_CLAIM_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,119}")


def _claim_id(name: str, where: str) -> None:
    if not _CLAIM_ID.fullmatch(name) or name.startswith("archive-"):
        raise InputError(
            f"{where}: id {name[:120]!r} must be lower-case letters, digits, '.' and '-', and not begin with 'archive-'"
        )


def _quoted(value: str, quote: str) -> bool:
    """Whether a quote holds the value as a whole token: 2.4 does not stand in 52.4, nor in 2.45."""
    if value == quote and value:
        return True
    at = quote.find(value)
    while at >= 0:
        before, after = quote[max(at - 1, 0) : at], quote[at + len(value) : at + len(value) + 2]
        joined = before.isdigit() or (before in (".", ",") and value[:1].isdigit())
        if not joined and not after[:1].isdigit() and not (after[:1] in (".", ",") and after[1:].isdigit()):
            return True
        at = quote.find(value, at + 1)
    return False


_CLAIM_TEXTS = ("id", "method", "dataset", "metric", "source", "locator", "quote")


def claim_from(entry: Mapping[str, Any], where: str, measures: Measures | None = None) -> Claim:
    """Check one typed-in claim and bring its value to its board's scale.

    Args:
        entry: the fields of :class:`Claim` as written; ``value`` is the number as printed, text or number, and
            ``quote`` what the source prints (the value itself where no more is known).
        where: the file and position, for the error.
        measures: the board's; those shipped if left out.

    Raises:
        InputError: for an unknown field, a missing source, locator or quote, a number that cannot be read, or one
            that does not occur in its own quote.
    """
    _only(entry, _CLAIM_INPUT, where)
    typed(Claim, entry, where, ("value", "date", "added"))
    given = dict(entry)
    for name in _CLAIM_TEXTS:
        text = given.get(name)
        if type(text) is not str or len(text) > _TEXT or not text.strip():
            _text(given, name, where)
    _claim_id(given["id"], where)
    if given.get("track", "unstated") not in TRACKS:
        raise InputError(f"{where}: unknown track {given['track']!r}; known are {', '.join(TRACKS)}")
    if given.get("url") is not None and safe_url(given["url"]) is None:
        raise InputError(f"{where}: {given['url']!r} is no http or https address")
    printed = given.pop("value", None)
    if not isinstance(printed, str | int | float):
        raise InputError(f"{where}: 'value' must be the number as printed")
    value = parse_value(printed)
    if value.number is None:
        raise InputError(f"{where}: {printed!r} is no number")
    if not _quoted(str(printed).strip(), given["quote"]):
        raise InputError(f"{where}: the quote {given['quote']!r} does not contain the value {printed!r} as a number")
    table = measures or shipped_measures()
    measure, number = table.canonical(table.find(given["metric"]), value.number)
    if measure.unit == "%" and not 0 <= number <= 100:
        raise InputError(f"{where}: {printed!r} is no percentage")
    for name in ("many", "medium", "few", "spread"):
        if given.get(name) is not None:
            given[name] = float(given[name])
    flags = ("look-alike-letters",) if look_alike(f"{given['method']} {given['dataset']}") else ()
    given |= {
        "raw": value.raw if isinstance(printed, str) else str(printed),
        "value": number,
        "measure": measure.id,
        "flags": (*value.flags, *flags),
        "tasks": tuple(given.get("tasks", ())),
    }
    for name in ("date", "added"):
        if name in given:
            given[name] = _date(given[name], where)
    if "code" in given:
        given["code"] = _links(given["code"], where)
    return made(Claim, given)


def _parse(text: str, name: str) -> Any:
    if name.endswith(".json"):
        return parse_json(text, name)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: cannot be read: {error}") from None


_RELATION = _fields(Relation) - {"measure"}


def relation_from(entry: Mapping[str, Any], where: str, measures: Measures | None = None) -> Relation:
    """Check one claim that a method beats another.

    Args:
        entry: the fields of :class:`Relation` as written; ``gap`` is the difference as printed, or the difference of
            two numbers that ``quote`` holds.
        where: the file and position, for the error.
        measures: the board's; those shipped if left out.

    Raises:
        InputError: for an unknown field, a missing source, locator or quote, or a gap that the quote does not give.
    """
    _only(entry, _RELATION, where)
    typed(Relation, entry, where, ("gap", "added"))
    for name in ("id", "better", "than", "dataset", "metric", "source", "locator", "quote", "protocol"):
        _text(entry, name, where)
    _claim_id(entry["id"], where)
    if entry["better"] == entry["than"]:
        raise InputError(f"{where}: a method is compared with itself")
    if entry.get("url") is not None and safe_url(entry["url"]) is None:
        raise InputError(f"{where}: {entry['url']!r} is no http or https address")
    printed = str(entry.get("gap", "")).strip()
    gap = parse_value(printed).number
    if gap is None or gap <= 0:
        raise InputError(f"{where}: 'gap' must be a number above 0, by how much the one is better")
    held = [float(each) for each in re.findall(r"(?<![\d.,])\d+(?:\.\d+)?(?![\d.,]*\d)", entry["quote"])]
    if not _quoted(printed, entry["quote"]) and not any(
        abs(abs(first - second) - gap) < 1e-6 for first in held for second in held
    ):
        raise InputError(
            f"{where}: the quote {entry['quote']!r} holds neither {printed!r} nor two numbers so far apart"
        )
    table = measures or shipped_measures()
    measure = table.find(entry["metric"])
    kept: dict[str, Any] = {name: entry.get(name) for name in _RELATION - {"gap", "added"}}
    return Relation(
        **{**kept, "gap": gap, "measure": measure.complement or measure.id, "added": _date(entry.get("added"), where)}
    )


def claims_in(text: str, name: str) -> list[Claim]:
    """The claims of one file: a table ``defaults`` and a list ``claim`` whose entries override it.

    The date among the defaults is that of the paper that prints the numbers; a second-hand number does not take it.
    """
    return _claims(_claims_table(text, name), name)


def _claims_table(text: str, name: str) -> dict[str, Any]:
    table = _parse(text, name)
    lists = ("claim", "withdraw", "relation")
    if not isinstance(table, dict) or not any(isinstance(table.get(kind), list) for kind in lists):
        raise InputError(f"{name}: expected a list named 'claim', 'relation' or 'withdraw'")
    _only(table, {"defaults", *lists}, name)
    return dict(table)


def _relations(table: Mapping[str, Any], name: str, measures: Measures | None = None) -> list[Relation]:
    found, defaults = [], table.get("defaults", {})
    for i, entry in enumerate(table.get("relation", ())):
        where = f"{name}, relation {i + 1}"
        if not isinstance(entry, Mapping) or not isinstance(defaults, Mapping):
            raise InputError(f"{where}: expected a table")
        given = {key: value for key, value in defaults.items() if key in _RELATION}
        found.append(relation_from({**given, **entry}, where, measures))
    return found


def _claims(table: Mapping[str, Any], name: str, measures: Measures | None = None) -> list[Claim]:
    found, defaults = [], table.get("defaults", {})
    for i, entry in enumerate(table.get("claim", ())):
        where = f"{name}, claim {i + 1}"
        if not isinstance(entry, Mapping) or not isinstance(defaults, Mapping):
            raise InputError(f"{where}: expected a table")
        given = {**defaults, **entry}
        if given.get("second_hand") and "date" not in entry:
            given.pop("date", None)
        found.append(claim_from(given, where, measures))
    return found


def _withdrawals(table: Mapping[str, Any], name: str) -> dict[str, str]:
    """Identifiers that are withdrawn, with the reason as pages show it."""
    out = {}
    for i, entry in enumerate(table.get("withdraw", ())):
        where = f"{name}, withdraw {i + 1}"
        if not isinstance(entry, Mapping):
            raise InputError(f"{where}: expected a table")
        _only(entry, {"id", "reason", "by", "date"}, where)
        parts = [_text(entry, "reason", where), entry.get("by"), _date(entry.get("date"), where)]
        out[_text(entry, "id", where)] = ", ".join(str(part) for part in parts if part)
    return out


def shipped_root() -> Path:
    """The folder of submissions that come with the package, laid out as a board's own."""
    return Path(str(files("longtail.board").joinpath("content/board")))


@cache
def shipped() -> Content:
    """The content that comes with the package."""
    folder = files("longtail.board").joinpath("content")

    def texts(kind: str) -> list[tuple[str, str]]:
        found = [each for each in folder.joinpath(kind).iterdir() if each.name.endswith(".toml")]
        return [(each.name, each.read_text("utf-8")) for each in sorted(found, key=lambda each: each.name)]

    parsed = [(name, _parse(text, name)) for name, text in texts("papers")]
    papers = [_paper(entry, name) for name, table in parsed for entry in table.get("paper", [table])]
    methods = [_method(entry, name) for name, text in texts("methods") for entry in _parse(text, name)["method"]]
    datasets = [_dataset(_parse(text, name), name) for name, text in texts("datasets")]
    tables = [(name, _claims_table(text, name)) for name, text in texts("claims")]
    claims = [claim for name, table in tables for claim in _claims(table, name)]
    relations = [relation for name, table in tables for relation in _relations(table, name)]
    made = _content(papers, methods, datasets, claims, {})
    return dataclasses.replace(made, keys=keys(), relations=tuple(relations))


def _content(
    papers: Sequence[Paper],
    methods: Sequence[Method],
    datasets: Sequence[Dataset],
    claims: Sequence[Claim],
    withdrawn: dict[str, str],
) -> Content:
    def unique(things: Sequence[Any], kind: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for thing in things:
            if thing.id in out:
                raise InputError(f"two {kind}s have the id {thing.id!r}; append a new one that supersedes it instead")
            out[thing.id] = thing
        return out

    by_id = unique(claims, "claim")
    sound: set[str] = set()
    for claim in claims:
        seen, at = {claim.id}, claim
        while at.supersedes is not None and at.id not in sound:
            if at.supersedes.startswith("archive-"):
                break
            if at.supersedes not in by_id:
                raise InputError(f"claim {at.id!r} supersedes {at.supersedes!r}, which does not exist")
            if at.supersedes in seen:
                raise InputError(f"claim {claim.id!r} supersedes itself by way of {at.id!r}")
            seen.add(at.supersedes)
            at = by_id[at.supersedes]
        sound |= seen
    return Content(
        papers=unique(papers, "paper"),
        methods=unique(methods, "method"),
        datasets=unique(datasets, "data set"),
        variants=unique([variant for each in datasets for variant in each.variants], "variant"),
        claims=list(claims),
        withdrawn=withdrawn,
    )


def load(root: Path | None, warnings: list[str] | None = None) -> Content:
    """The shipped content, and what a board's own folder adds to it.

    ``papers/``, ``methods/`` and ``datasets/`` hold TOML files as the shipped ones, ``claims/`` claims, relations and
    withdrawals, ``notes/`` what people say on a page, ``tasks.toml``, ``measures.toml`` and ``keys.toml`` tasks,
    measures and test sets, ``board.toml`` what the board says of itself.

    Args:
        root: the board's folder.
        warnings: told of each file that cannot be read, which is then skipped; without it, such a file is an error.

    Raises:
        InputError: naming the file and the place.
    """
    content = shipped()
    problems: dict[str, InputError] = {}
    waiting: list[tuple[str, Content]] = []
    measures = shipped_measures()
    for name, file in _own_files(root) if root is not None else ():
        try:
            # The measures come first: what a claim means depends on them.
            if name == "measures.toml":
                measures = _own_measures(name, _read(file))
                continue
            waiting.append((name, _part(name, _read(file), measures)))
        except InputError as error:
            problems[name] = error
    with contextlib.suppress(InputError):
        content, waiting = _united(content, *(part for _, part in waiting)), []
    # A file may build on what stands in another, so each is tried until none of the rest fits any more.
    tried = 0
    while waiting and tried < len(waiting):
        name, part = waiting.pop(0)
        try:
            content = _united(content, part)
            problems.pop(name, None)
            tried = 0
        except InputError as error:
            problems[name] = error
            waiting.append((name, part))
            tried += 1
    for name, problem in sorted(problems.items()):
        if warnings is None:
            raise problem
        warnings.append(f"{name}: skipped, {problem}")
    return dataclasses.replace(content, measures=measures)


OWN = ("papers", "methods", "datasets", "claims", "notes")
OWN_FILES = ("measures.toml", "tasks.toml", "keys.toml", "board.toml")


def _own_files(root: Path) -> list[tuple[str, Path]]:
    found = [root / name for name in OWN_FILES if (root / name).is_file()]
    for kind in OWN:
        folder = root / kind
        found += sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        (file.relative_to(root).as_posix(), file)
        for file in found
        if file.suffix in (".toml", ".json") and not file.name.startswith(".")
    ]


def _read(file: Path) -> str:
    if not file.is_file():  # A folder, a pipe or a device, which may never end, or a link to nothing.
        raise InputError(f"{file}: is no file")
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None


def _own_measures(name: str, text: str) -> Measures:
    table = _parse(text, name)
    listed = table.get("measure") if isinstance(table, dict) else None
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
        raise InputError(f"{name}: expected a list named 'measure'")
    _only(table, {"measure"}, name)
    return shipped_measures().with_own(
        [measure_from(each, f"{name}, measure {i + 1}") for i, each in enumerate(listed)]
    )


_PAGE = re.compile(r"(?:papers|methods|boards|datasets|tasks)/[a-z0-9-]{1,200}")


def _notes(table: Mapping[str, Any], name: str) -> list[Note]:
    out = []
    for i, entry in enumerate(table.get("note", [table])):
        where = f"{name}, note {i + 1}"
        if not isinstance(entry, Mapping):
            raise InputError(f"{where}: expected a table")
        _only(entry, _fields(Note), where)
        typed(Note, entry, where, ("date",))
        on, day = _text(entry, "on", where), _date(entry.get("date"), where)
        if not _PAGE.fullmatch(on) or day is None:
            raise InputError(f"{where}: 'on' must be a page such as 'papers/dro-lt', 'date' the day")
        if entry.get("url") is not None and safe_url(entry["url"]) is None:
            raise InputError(f"{where}: {entry['url']!r} is no http or https address")
        out.append(Note(on, _text(entry, "text", where, 4000), _text(entry, "by", where, 120), day, entry.get("url")))
    return out


def _settings(table: Mapping[str, Any], name: str) -> Settings:
    _only(table, _fields(Settings), name)
    typed(Settings, table, name)
    for each in ("url", "issues"):
        if table.get(each) is not None and safe_url(table[each]) is None:
            raise InputError(f"{name}: {each!r} must be an http or https address")
    for each in ("name", "builder"):
        if each in table:
            _text(table, each, name, 120)
    given = dict(table)
    if given.get("url"):
        given["url"] = given["url"].rstrip("/") + "/"
    return Settings(**given)


def _part(name: str, text: str, measures: Measures | None = None) -> Content:
    """What one file of a board's own says."""
    relations: list[Relation] = []
    notes: list[Note] = []
    settings: Settings | None = None
    papers: list[Paper] = []
    methods: list[Method] = []
    datasets: list[Dataset] = []
    claims: list[Claim] = []
    withdrawn: dict[str, str] = {}
    tasks: list[Task] = []
    known: dict[str, Key] = {}
    kind = name.split("/")[0]
    table = _claims_table(text, name) if kind == "claims" else _parse(text, name)
    if not isinstance(table, dict):
        raise InputError(f"{name}: expected a table")
    try:
        match kind:
            case "papers":
                papers = [_paper(entry, name) for entry in table.get("paper", [table])]
            case "methods":
                methods = [_method(entry, name) for entry in table.get("method", [table])]
            case "datasets":
                datasets = [_dataset(table, name)]
            case "tasks.toml":
                tasks = [_task(entry, name) for entry in table.get("task", ())]
            case "notes":
                notes = _notes(table, name)
            case "board.toml":
                settings = _settings(table, name)
            case "keys.toml":
                for entry in table.get("key", ()):
                    typed(Key, entry, name)
                    known[entry["id"]] = Key(**entry)
            case _:
                claims, withdrawn = _claims(table, name, measures), _withdrawals(table, name)
                relations = _relations(table, name, measures)
    except (TypeError, KeyError, AttributeError, ValueError, ArithmeticError) as error:
        raise (
            error if isinstance(error, InputError) else InputError(f"{name}: a field has the wrong form: {error}")
        ) from None
    made = _content(papers, methods, datasets, [], withdrawn)
    return dataclasses.replace(
        made,
        claims=claims,
        tasks={slug(task.name): task for task in tasks},
        keys=known,
        relations=tuple(relations),
        notes=tuple(notes),
        settings=settings,
    )


def _task(entry: Mapping[str, Any], where: str) -> Task:
    _only(entry, _fields(Task), where)
    typed(Task, entry, where)
    return Task(_text(entry, "name", where), entry.get("description", ""), tuple(entry.get("categories", ())),
                entry.get("parent"))  # fmt: skip


def _united(*parts: Content) -> Content:
    made = _content(
        [paper for part in parts for paper in part.papers.values()],
        [method for part in parts for method in part.methods.values()],
        [dataset for part in parts for dataset in part.datasets.values()],
        [claim for part in parts for claim in part.claims],
        {name: reason for part in parts for name, reason in part.withdrawn.items()},
    )
    relations = tuple(relation for part in parts for relation in part.relations)
    for relation in relations:
        for name in (relation.better, relation.than):
            if name not in made.methods:
                raise unknown(f"relation {relation.id!r}: method", name, made.methods)
        if relation.dataset not in made.variants:
            raise unknown(f"relation {relation.id!r}: data set", relation.dataset, made.variants)
    for name in sorted({claim.dataset for claim in made.claims} - set(made.variants)):
        if near := _mistyped(name, made):
            raise InputError(f"no data set {name!r}; did you mean {near!r}? Describe another one in datasets/")
    if twice := [name for name, count in collections.Counter(each.id for each in relations).items() if count > 1]:
        raise InputError(f"two relations have the id {twice[0]!r}")
    return dataclasses.replace(
        made,
        tasks={name: task for part in parts for name, task in part.tasks.items()},
        keys={name: key for part in parts for name, key in part.keys.items()},
        relations=relations,
        notes=tuple(note for part in parts for note in part.notes),
        settings=next((part.settings for part in parts if part.settings is not None), None),
    )


def _mistyped(name: str, content: Content) -> str | None:
    """The data set that a name is a slip for: the same but for its marks, or very like it with the same numbers."""
    if slug(name) in content.by_name:
        return None
    plain = slug(name).replace("-", "")
    for known, variant in content.by_name.items():
        if known.replace("-", "") == plain:
            return variant.id
    alike = difflib.get_close_matches(slug(name), content.by_name, n=5, cutoff=0.88)
    numbers = re.findall(r"\d+", name)
    return next((content.by_name[each].id for each in alike if re.findall(r"\d+", each) == numbers), None)


def find_variant(content: Content, name: str) -> Variant | None:
    """The variant that a data set's printed name stands for, by identifier, name or alias."""
    return content.by_name.get(slug(name))


def write_once(path: Path, data: bytes) -> None:
    """Put a complete new file in place, or fail: never a half-written one, never over another.

    Raises:
        InputError: if the file is there already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        try:
            # A hard link is refused if the name is taken: the claim to a name is atomic.
            os.link(temporary, path)
        except FileExistsError:
            raise InputError(f"{path} exists; the board's files are never edited, add a new one instead") from None
    finally:
        os.unlink(temporary)
