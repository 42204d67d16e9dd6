"""What somebody states about results of any framework: as little as a claim needs, and nothing that is computed.

One table of fields makes the check, the JSON schema and the template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longtail.board.content import Content, find_variant
from longtail.board.schema import TRACKS, Variant
from longtail.board.values import safe_url
from longtail.errors import InputError, unknown


@dataclass(frozen=True)
class Field:
    """One field of a statement.

    Args:
        name: in JSON.
        kind: ``text``, ``whole number`` or ``number``.
        help: one sentence for people.
        needed: whether a statement without it is refused.
        choices: the only values, if there are such.
        example: for the template.
    """

    name: str
    kind: str
    help: str
    needed: bool = False
    choices: tuple[str, ...] = ()
    example: Any = None


FIELDS = (
    Field("method", "text", "The method under its paper's own name.", True, example="Balanced Softmax"),
    Field("data", "text", "The data set, by the library's name or the board's.", True, example="cifar100-lt"),
    Field("imbalance", "number", "Largest class / smallest class, where the data set has several.", example=100),
    Field("selection", "text", "Which epoch counts.", True, ("last epoch", "best on validation"), "last epoch"),
    Field("track", "text", "What the network was pre-trained on.", False, tuple(TRACKS), "scratch"),
    Field("backbone", "text", "The network.", example="ResNet-32"),
    Field("epochs", "whole number", "Epochs over all stages.", example=200),
    Field("augmentation", "text", "Augmentations, joined by plus signs.", example="crop + flip"),
    Field("extra_data", "text", "Data beyond the training set.", example=None),
    Field("paper", "text", "The paper's arXiv number or address.", example="2007.07314"),
    Field("framework", "text", "What it was made with.", example="scikit-learn 1.5"),
)
_TYPES = {"text": "string", "whole number": "integer", "number": "number"}
MAX_TEXT = 300


def json_schema() -> dict[str, Any]:
    """The statement as a JSON schema (draft 2020-12), for editors and other programs."""
    properties: dict[str, Any] = {}
    for each in FIELDS:
        kind: dict[str, Any] = {"type": _TYPES[each.kind], "description": each.help}
        if each.kind == "text":
            kind |= {"minLength": 1, "maxLength": MAX_TEXT}
        if each.choices:
            kind["enum"] = list(each.choices)
        if each.kind != "text":
            kind["minimum"] = 0
        properties[each.name] = kind
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Statement of a longtail board submission",
        "type": "object",
        "properties": properties,
        "required": [each.name for each in FIELDS if each.needed],
        "additionalProperties": False,
    }


def template() -> dict[str, Any]:
    """A statement to fill in; every field with an example."""
    return {each.name: each.example for each in FIELDS if each.example is not None}


def check_statement(given: Any, content: Content) -> tuple[dict[str, Any], Variant | None, list[str]]:
    """Check a statement in every field at once.

    Args:
        given: parsed JSON.
        content: the board's content, for its data sets.

    Returns:
        The statement with every field, ``None`` where nothing was stated; the data set's variant; and all problems.
    """
    if not isinstance(given, Mapping):
        return {}, None, ["'statement' must be an object"]
    names = [each.name for each in FIELDS]
    problems = [str(unknown("field", str(name), names)) for name in given if name not in names]
    kept: dict[str, Any] = {}
    for each in FIELDS:
        value = given.get(each.name)
        kept[each.name] = value
        if value is None:
            if each.needed:
                problems.append(f"{each.name!r} is missing: {each.help[0].lower()}{each.help[1:]}")
            continue
        if problem := _problem(each, value):
            problems.append(problem)
            kept[each.name] = None
    variant = None
    if kept.get("data"):
        try:
            variant = known_variant(kept["data"], kept["imbalance"], content)
        except InputError as error:
            problems.append(str(error))
    paper = kept.get("paper")
    if paper and not re.fullmatch(r"\d{4}\.\d{4,5}(v\d+)?", paper) and safe_url(paper) is None:
        problems.append(f"'paper' must be an arXiv number or an http address, not {paper[:60]!r}")
    return kept, variant, problems


def _problem(field: Field, value: object) -> str | None:
    match field.kind:
        case "text":
            if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
                return f"{field.name!r} must be a text of 1 to {MAX_TEXT} characters"
        case "whole number":
            if type(value) is not int or not 0 <= value <= 10**6:
                return f"{field.name!r} must be a whole number"
        case _:
            if type(value) not in (int, float) or not 0 < value <= 10**6:  # type: ignore[operator]
                return f"{field.name!r} must be a positive number"
    if field.choices and value not in field.choices:
        return str(unknown(field.name, str(value), field.choices))
    return None


def known_variant(name: str, imbalance: float | int | None, content: Content) -> Variant:
    """The board's data set that a name and an imbalance stand for.

    Raises:
        InputError: for a name that no board has, with the nearest one; or an imbalance that is missing or not there.
    """
    direct = find_variant(content, name)
    if direct is not None and (imbalance is None or direct.imbalance in (None, imbalance)):
        return direct
    family = [each for each in content.variants.values() if name in (each.library, each.dataset)]
    if not family and direct is not None:
        raise InputError(f"{name!r} has an imbalance of {direct.imbalance:g}, not {imbalance:g}")
    if not family:
        names = {each.library or each.dataset for each in content.variants.values()} | set(content.variants)
        raise unknown("data set", name, names)
    if len(family) == 1 and imbalance is None:
        return family[0]
    for each in family:
        if imbalance is not None and each.imbalance is not None and abs(each.imbalance - imbalance) < 0.5:
            return each
    listed = ", ".join(f"{each.imbalance:g}" for each in family if each.imbalance is not None)
    stated = "is not stated" if imbalance is None else f"{imbalance:g} has no board"
    raise InputError(f"the imbalance of {name!r} {stated}; known are {listed}")
