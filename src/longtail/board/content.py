"""The files that are the truth, those that are shipped and a board's own, read together."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from longtail.board.claims import claims_of, claims_table, relations_of, withdrawals_of
from longtail.board.descriptions import (
    dataset_from,
    key_from,
    method_from,
    notes_from,
    paper_from,
    settings_from,
    task_from,
)
from longtail.board.fields import one_or_more, refuse_unknown
from longtail.board.keys import Key, keys
from longtail.board.measures import Measures, measure_from, shipped_measures
from longtail.board.schema import Claim, Dataset, Method, Note, Paper, Relation, Settings, Task, Variant
from longtail.board.values import parse_table, slug
from longtail.errors import InputError, unknown


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
    def method_by_name(self) -> dict[str, Method]:
        """Methods by the addresses of their identifiers, names and aliases."""
        return _by_address("method", self.methods.values())

    @cached_property
    def by_name(self) -> dict[str, Variant]:
        """Variants by the addresses of their identifiers, names and aliases."""
        return _by_address("variant", self.variants.values())

    def key(self, variant: Variant | None) -> Key | None:
        """The test set of a data set, if the scorer knows it."""
        return self.keys.get(variant.key) if variant is not None and variant.key else None


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

    parts = [_part(f"{kind}/{name}", text) for kind in SHIPPED for name, text in texts(kind)]
    return _united(*parts, _content(keys=keys().values()))


def _content(
    *,
    papers: Iterable[Paper] = (),
    methods: Iterable[Method] = (),
    datasets: Iterable[Dataset] = (),
    claims: Iterable[Claim] = (),
    relations: Iterable[Relation] = (),
    withdrawn: Mapping[str, str] | None = None,
    tasks: Iterable[Task] = (),
    keys: Iterable[Key] = (),
    notes: Iterable[Note] = (),
    settings: Settings | None = None,
) -> Content:
    """What was read, by identifier; refuses two of a kind under one."""

    def unique(kind: str, things: Iterable[Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for thing in things:
            if thing.id in out:
                more = "; append a new one that supersedes it instead" if kind == "claim" else ""
                raise InputError(f"two {kind}s have the id {thing.id!r}{more}")
            out[thing.id] = thing
        return out

    families = unique("data set", datasets)
    return Content(
        papers=unique("paper", papers),
        methods=unique("method", methods),
        datasets=families,
        variants=unique("variant", (variant for each in families.values() for variant in each.variants)),
        claims=list(unique("claim", claims).values()),
        withdrawn=dict(withdrawn or {}),
        tasks=_by_address("task", tasks),
        keys=unique("test set", keys),
        relations=tuple(unique("relation", relations).values()),
        notes=tuple(notes),
        settings=settings,
    )


def _by_address(kind: str, things: Iterable[Any]) -> dict[str, Any]:
    """Things by the addresses of all their names; refuses a name that two of them share."""
    out: dict[str, Any] = {}
    for thing in things:
        for name in (*getattr(thing, "aliases", ()), thing.name, *filter(None, [getattr(thing, "id", None)])):
            if out.setdefault(slug(name), thing) is not thing:
                raise InputError(f"two {kind}s have the name {name!r}")
    return out


def _check_superseding(claims: Sequence[Claim]) -> None:
    """Refuse a claim that supersedes what is not there, or itself by a detour."""
    by_id = {claim.id: claim for claim in claims}
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


SHIPPED = ("papers", "methods", "datasets", "claims")
OWN = (*SHIPPED, "notes")


ENDINGS = (".toml", ".json")
OWN_FILES = ("measures.toml", "tasks.toml", "keys.toml", "board.toml")


def _own_files(root: Path) -> list[tuple[str, Path]]:
    found = [root / name for name in OWN_FILES if (root / name).is_file()]
    for kind in OWN:
        folder = root / kind
        found += sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        (file.relative_to(root).as_posix(), file)
        for file in found
        if file.suffix in ENDINGS and not file.name.startswith(".")
    ]


def _read(file: Path) -> str:
    if not file.is_file():  # A folder, a pipe or a device, which may never end, or a link to nothing.
        raise InputError(f"{file}: is no file")
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None


def _own_measures(name: str, text: str) -> Measures:
    table = parse_table(text, name)
    listed = table.get("measure") if isinstance(table, dict) else None
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
        raise InputError(f"{name}: expected a list named 'measure'")
    refuse_unknown(table, {"measure"}, name)
    return shipped_measures().with_own(
        [measure_from(each, f"{name}, measure {i + 1}") for i, each in enumerate(listed)]
    )


def _part(name: str, text: str, measures: Measures | None = None) -> Content:
    """What one file of a board's own says."""
    kind = name.split("/")[0]
    table = claims_table(text, name) if kind == "claims" else parse_table(text, name)
    if not isinstance(table, dict):
        raise InputError(f"{name}: expected a table")
    try:
        match kind:
            case "papers":
                return _content(papers=[paper_from(entry, at) for at, entry in one_or_more(table, "paper", name)])
            case "methods":
                return _content(methods=[method_from(entry, at) for at, entry in one_or_more(table, "method", name)])
            case "datasets":
                return _content(datasets=[dataset_from(table, name)])
            case "tasks.toml":
                return _content(tasks=[task_from(entry, at) for at, entry in one_or_more(table, "task", name)])
            case "notes":
                return _content(notes=notes_from(table, name))
            case "board.toml":
                return _content(settings=settings_from(table, name))
            case "keys.toml":
                return _content(keys=[key_from(entry, at) for at, entry in one_or_more(table, "key", name)])
            case _:
                return _content(
                    claims=claims_of(table, name, measures),
                    relations=relations_of(table, name, measures),
                    withdrawn=withdrawals_of(table, name),
                )
    except InputError:
        raise
    except (TypeError, KeyError, AttributeError, ValueError, ArithmeticError) as error:
        raise InputError(f"{name}: a field has the wrong form: {error}") from None


def _united(*parts: Content) -> Content:
    """Parts as one content, where each name that they use is known."""
    made = _content(
        papers=(paper for part in parts for paper in part.papers.values()),
        methods=(method for part in parts for method in part.methods.values()),
        datasets=(dataset for part in parts for dataset in part.datasets.values()),
        claims=(claim for part in parts for claim in part.claims),
        relations=(relation for part in parts for relation in part.relations),
        withdrawn={name: reason for part in parts for name, reason in part.withdrawn.items()},
        tasks=(task for part in parts for task in part.tasks.values()),
        keys=(key for part in parts for key in part.keys.values()),
        notes=(note for part in parts for note in part.notes),
        settings=next((part.settings for part in parts if part.settings is not None), None),
    )
    _check_superseding(made.claims)
    _by_address("method", made.methods.values())
    _by_address("variant", made.variants.values())
    for relation in made.relations:
        for name in (relation.better, relation.than):
            if name not in made.methods:
                raise unknown(f"relation {relation.id!r}: method", name, made.methods)
        if relation.dataset not in made.variants:
            raise unknown(f"relation {relation.id!r}: data set", relation.dataset, made.variants)
    for name in sorted({claim.dataset for claim in made.claims} - set(made.variants)):
        if near := _mistyped(name, made):
            raise InputError(f"no data set {name!r}; did you mean {near!r}? Describe another one in datasets/")
    return made


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
