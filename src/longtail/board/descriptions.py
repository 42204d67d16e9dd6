"""Papers, methods, data sets, tasks, notes and settings from the tables of their files, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from longtail.board.fields import (
    address,
    check_url,
    date_of,
    field_names,
    links_of,
    one_or_more,
    refuse_unknown,
    text_of,
    typed,
)
from longtail.board.keys import Key
from longtail.board.schema import FACETS, Dataset, Facet, Method, Note, Paper, Settings, Task, Variant
from longtail.errors import InputError


def exponential_counts(largest: int, imbalance: int | float, num_classes: int) -> tuple[int, ...]:
    """The class counts of the exponential profile, ``int(largest * imbalance ** (-c / (K - 1)))``.

    Example:
        >>> counts = exponential_counts(500, 100, 100)
        >>> sum(counts), counts[0], counts[-1]
        (10847, 500, 5)
    """
    return tuple(int(largest * imbalance ** (-c / (num_classes - 1.0))) for c in range(num_classes))


def paper_from(entry: Mapping[str, Any], where: str) -> Paper:
    """A paper from its table, with the facets that say something.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    refuse_unknown(entry, {*field_names(Paper), "facet"} - {"facets", "kind", "abstract", "named_methods"}, where)
    typed(Paper, entry, where, ("date",))
    facets: list[Facet] = []
    for facet in entry.get("facet", ()):
        refuse_unknown(facet, field_names(Facet), where)
        typed(Facet, facet, where)
        if facet.get("name") not in FACETS:
            raise InputError(f"{where}: unknown facet {facet.get('name')!r}; known are {', '.join(FACETS)}")
        if facet["name"] in (each.name for each in facets):
            raise InputError(f"{where}: the facet {facet['name']!r} stands twice")
        if not facet.get("points") and not facet.get("quick"):
            continue
        facets.append(
            Facet(
                name=facet["name"],
                points=tuple(facet["points"]),
                where=text_of(facet, "where", where),
                written_by=text_of(facet, "written_by", where),
                quick=facet.get("quick") or None,
                here=facet.get("here"),
                checked_by=facet.get("checked_by") or None,
                by_program=facet.get("by_program", False),
            )
        )
    return Paper(
        id=address(entry, where),
        title=text_of(entry, "title", where),
        authors=tuple(entry.get("authors", ())),
        date=date_of(entry.get("date"), where),
        venue=entry.get("venue"),
        arxiv=entry.get("arxiv"),
        tasks=tuple(entry.get("tasks", ())),
        summary=entry.get("summary"),
        summary_by=entry.get("summary_by"),
        links=links_of(entry.get("links", ()), where),
        code=links_of(entry.get("code", ()), where),
        methods=tuple(entry.get("methods", ())),
        facets=tuple(sorted(facets, key=lambda facet: FACETS.index(facet.name))),
        controls=tuple(entry.get("controls", ())),
        related=tuple(entry.get("related", ())),
        source=entry.get("source"),
    )


def method_from(entry: Mapping[str, Any], where: str) -> Method:
    """A method from its table.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    refuse_unknown(entry, field_names(Method), where)
    typed(Method, entry, where)
    address(entry, where)
    for name in ("name", "family", "summary"):
        text_of(entry, name, where, 2000)
    given = dict(entry)
    given["notes"], given["aliases"] = tuple(entry.get("notes", ())), tuple(entry.get("aliases", ()))
    return Method(**given)


_SIZES = {"num_classes": 100_000, "num_test": 10**7, "images": 10**10, "imbalance": 10**6, "largest": 10**9,
          "smallest": 10**9}  # fmt: skip
"""The largest sizes that a data set may state; more would only cost memory."""


def dataset_from(entry: Mapping[str, Any], where: str) -> Dataset:
    """A data set and its variants from their table; what a profile implies is computed, and what is stated must fit.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    refuse_unknown(entry, {*field_names(Dataset), "variant", "profile", "shared"} - {"variants"}, where)
    typed(Dataset, entry, where)
    if entry.get("homepage") is not None:
        check_url(entry["homepage"], where)
    shared = entry.get("shared", {})
    variants = []
    for each in entry.get("variant", ()):
        given = {**shared, **each}
        refuse_unknown(given, field_names(Variant) - {"dataset"}, where)
        typed(Variant, given, where)
        address(given, where)
        text_of(given, "name", where)
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
        name=text_of(entry, "name", where),
        full_name=text_of(entry, "full_name", where),
        summary=text_of(entry, "summary", where, 2000),
        modality=text_of(entry, "modality", where),
        homepage=entry.get("homepage"),
        cite=entry.get("cite"),
        licence=entry.get("licence"),
        source=text_of(entry, "source", where),
        variants=tuple(variants),
    )


def task_from(entry: Mapping[str, Any], where: str) -> Task:
    """A task from its table.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    refuse_unknown(entry, field_names(Task), where)
    typed(Task, entry, where)
    return Task(text_of(entry, "name", where), entry.get("description", ""), tuple(entry.get("categories", ())),
                entry.get("parent"))  # fmt: skip


def key_from(entry: Mapping[str, Any], where: str) -> Key:
    """A test set that the scorer knows, from its table.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    refuse_unknown(entry, field_names(Key), where)
    typed(Key, entry, where)
    text_of(entry, "id", where)
    if not re.fullmatch(r"[0-9a-f]{64}", str(entry.get("sha256"))):
        raise InputError(f"{where}: 'sha256' must be 64 hexadecimal digits, those of longtail.board.keys.fingerprint")
    for name in ("num_test", "num_classes"):
        if entry.get(name, 0) < 1:
            raise InputError(f"{where}: {name!r} must be stated, and at least 1")
    return Key(**{"provenance": "", **entry})


_PAGE = re.compile(r"(?:papers|methods|boards|datasets|tasks)/[a-z0-9-]{1,200}")


def notes_from(table: Mapping[str, Any], name: str) -> list[Note]:
    """The notes of one file: a list ``note``, or one note alone.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    out = []
    for where, entry in one_or_more(table, "note", name):
        refuse_unknown(entry, field_names(Note), where)
        typed(Note, entry, where, ("date",))
        on, day = text_of(entry, "on", where), date_of(entry.get("date"), where)
        if not _PAGE.fullmatch(on) or day is None:
            raise InputError(f"{where}: 'on' must be a page such as 'papers/dro-lt', 'date' the day")
        if entry.get("url") is not None:
            check_url(entry["url"], where)
        out.append(
            Note(on, text_of(entry, "text", where, 4000), text_of(entry, "by", where, 120), day, entry.get("url"))
        )
    return out


def settings_from(table: Mapping[str, Any], name: str) -> Settings:
    """What a board says of itself; its address ends with a slash.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    refuse_unknown(table, field_names(Settings), name)
    typed(Settings, table, name)
    for each in ("url", "issues"):
        if table.get(each) is not None:
            check_url(table[each], f"{name}: {each!r}")
    for each in ("name", "builder"):
        if each in table:
            text_of(table, each, name, 120)
    given = dict(table)
    if given.get("url"):
        given["url"] = given["url"].rstrip("/") + "/"
    return Settings(**given)
