"""What a stranger meets first: CONTRIBUTING's counts, the README's links and picture, what the gallery shows."""

from __future__ import annotations

import json
import pathlib
import re
import tomllib

import pytest

from programs import loaded

ROOT = pathlib.Path(__file__).parents[1]


def test_the_files_that_an_addition_touches_are_those_of_the_record() -> None:
    kept = json.loads((ROOT / "records/benchmarks/additions.json").read_text())["additions"]
    page = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    said = {kind: int(number) for kind, number in re.findall(r"(loss|sampler|method|data set) (\d+)[,. ]", page)}
    assert said == {kind: len(found["files"]) for kind, found in kept.items()}
    assert said["loss"] <= 4
    assert all(found["tests_passed"] > 0 for found in kept.values())


def test_what_an_index_shows_has_absolute_links() -> None:
    address = loaded(".ci/addresses")
    url = "https://example.org/somebody/longtail"
    relative = re.compile(r"\]\((?!https?://|#)")
    text = (ROOT / "README.md").read_text()
    assert relative.search(text)
    changed = address.absolute(text, url)
    assert not relative.search(changed)
    targets = re.findall(rf"\({url}/(?:raw|blob)/main/([^)]+)\)", changed)
    assert [target for target in targets if not (ROOT / target).exists()] == []
    assert f"]({url}/raw/main/docs/figures/frozen-cosine-head.svg)" in changed
    project = tomllib.loads(address.addressed((ROOT / "pyproject.toml").read_text(), url))["project"]
    assert project["urls"]["Source"] == url
    assert project["scripts"] == {"longtail": "longtail.cli:main"}


def test_every_example_has_what_it_prints_in_the_gallery() -> None:
    kept = ROOT / "docs" / "figures" / "examples"
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert {path.stem for path in kept.glob("*.txt")} == names
    assert {path.stem for path in kept.glob("*.svg")} <= names
    assert all(path.read_text().strip() for path in kept.glob("*.txt"))


def numbers_apart(first: str, second: str) -> float:
    """The largest distance between the coordinates of two drawings of one shape; infinity for another shape."""
    number = re.compile(r"(?<![#\w])-?\d+\.\d+|(?<![#\w.])-?\d+(?![\w.])")
    if number.sub("0", first) != number.sub("0", second):
        return float("inf")
    pairs = zip(number.findall(first), number.findall(second), strict=True)
    return max(abs(float(a) - float(b)) for a, b in pairs)


@pytest.mark.pages
def test_the_picture_of_the_readme_is_what_its_script_draws() -> None:
    program = loaded("benchmarks/frequency_picture.py")
    assert f"({program.PICTURE.relative_to(ROOT).as_posix()})" in (ROOT / "README.md").read_text()
    kept = program.PICTURE.read_text()
    assert numbers_apart(program.drawn(), kept) < 0.5
    program.METHODS = ("ce", "crt", "logit-adjustment")
    assert numbers_apart(program.drawn(), kept) > 0.5


@pytest.mark.pages
def test_the_picture_of_the_claims_is_what_its_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    program = loaded("benchmarks/claims_picture.py")
    assert "(figures/claims.svg)" in (ROOT / "docs" / "findings.md").read_text()
    kept = program.PICTURE.read_text()
    assert program.drawn() == kept
    monkeypatch.setattr(program, "measured", lambda test: None if "few" in test.values() else (0.01, (0.0, 0.02), 3))
    assert program.drawn() != kept
