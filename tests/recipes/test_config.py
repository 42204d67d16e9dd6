from __future__ import annotations

import dataclasses
import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.errors import InputError
from longtail.recipes import config


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    steps: tuple[float, ...] = (0.8, 0.9)
    kind: Literal["plain", "strong"] = "plain"


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str = "a"
    size: int = 3
    limit: int | None = None
    flag: bool = False
    parts: tuple[Inner, ...] = (Inner(), Inner(rate=0.2))


KINDS = {"Inner": Inner, "Outer": Outer}


@given(st.builds(Outer, name=st.text(), size=st.integers(), limit=st.none() | st.integers(), flag=st.booleans()))
def test_a_description_survives_json(description: Outer) -> None:
    assert config.revive(json.loads(json.dumps(config.plain(description))), KINDS) == description


def test_only_the_classes_handed_in_are_built() -> None:
    with pytest.raises(InputError, match="Popen"):
        config.revive({"type": "Popen", "args": ["true"]}, KINDS)
    with pytest.raises(InputError, match="does not fit"):
        config.revive({"type": "Inner", "colour": 1}, KINDS)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("size", "7", Outer(size=7)),
        ("limit", "4", Outer(limit=4)),
        ("limit", "none", Outer(limit=None)),
        ("flag", "true", Outer(flag=True)),
        ("parts.1.rate", "0.5", Outer(parts=(Inner(), Inner(rate=0.5)))),
        ("parts.0.kind", "strong", Outer(parts=(Inner(kind="strong"), Inner(rate=0.2)))),
        ("parts.0.steps", "0.5,0.7", Outer(parts=(Inner(steps=(0.5, 0.7)), Inner(rate=0.2)))),
    ],
)
def test_one_field_changes_by_its_path(path: str, text: str, expected: Outer) -> None:
    assert config.override(Outer(), path, text) == expected


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("sise", "7", "did you mean 'size'"),
        ("size", "seven", "'seven' is not a whole number"),
        ("parts.5.rate", "1", "no position in a list of 2"),
        ("parts.0.kind", "weak", "'plain' or 'strong'"),
        ("parts.0", "x", "set one of its fields"),
        ("size.deeper", "1", "has no field 'deeper'"),
    ],
)
def test_a_wrong_path_or_value_is_named(path: str, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        config.override(Outer(), path, text)


def test_the_digest_sees_every_field() -> None:
    digests = {
        config.digest(part)
        for part in (Outer(), Outer(size=4), Outer(parts=(Inner(), Inner(rate=0.3))), Outer(flag=True), Inner())
    }
    assert len(digests) == 5
    assert config.digest(Outer()) == config.digest(Outer())
