"""Every ratio with its range on a page is that of a record which the page links."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from longtail.recipes import NUMERICS
from programs import loaded

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RATIO = re.compile(r"(\d+(?:\.\d+)?)\*{0,2}( %)?(?: times| x)? \((\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)\)")


def ratios(thing: Any) -> Iterator[tuple[float, float, float]]:
    """Median, lowest and highest wherever a record has them, under these names or in a list of three."""
    if isinstance(thing, dict):
        if {"median", "lowest", "highest"} <= thing.keys():
            yield thing["median"], thing["lowest"], thing["highest"]
        for value in thing.values():
            yield from ratios(value)
    elif isinstance(thing, list):
        if len(thing) == 3 and all(isinstance(value, float) for value in thing):
            yield thing[0], thing[1], thing[2]
        for value in thing:
            yield from ratios(value)


def untold(page: str) -> tuple[int, list[str]]:
    """How many ratios a page has, and those that are in no record which it links."""
    linked = set(re.findall(r"records/benchmarks/(\w+\.json)", page))
    known = [each for name in linked for each in ratios(json.loads((ROOT / "records/benchmarks" / name).read_text()))]
    printed = list(RATIO.finditer(" ".join(page.split())))

    def told(found: re.Match[str]) -> bool:
        median, percent, lowest, highest = found.groups()
        digits, scale = len(median.partition(".")[2]), 100 if percent else 1
        return any([f"{scale * value:.{digits}f}" for value in each] == [median, lowest, highest] for each in known)

    return len(printed), [found[0] for found in printed if not told(found)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_ratio_of_a_page_is_that_of_a_record_which_it_links(path: pathlib.Path) -> None:
    assert untold(path.read_text())[1] == []


def test_the_pages_have_ratios_and_another_digit_is_found() -> None:
    page = (ROOT / "docs/speed.md").read_text()
    assert untold(page)[0] >= 20
    assert untold(page.replace("1.11 (1.02 to 1.20)", "1.12 (1.02 to 1.20)"))[1] == ["1.12 (1.02 to 1.20)"]
    assert untold(page.replace("93 % (91 to 105)", "93 % (90 to 105)"))[1] == ["93 % (90 to 105)"]
    assert untold(page.replace("records/benchmarks/conventional.json", "elsewhere"))[1] != []


def test_a_record_says_what_it_was_measured_on(tmp_path: pathlib.Path) -> None:
    record = loaded("benchmarks/record.py")
    record.keep({"work": "none", "hardware": "of an earlier part"}, tmp_path / "new" / "one.json", "pytest")
    kept = json.loads((tmp_path / "new" / "one.json").read_text())
    assert kept["work"] == "none"
    assert {"processor", "instructions", "cores", "threads"} <= kept["hardware"].keys()
    assert kept["versions"]["pytest"] == pytest.__version__
    assert kept["versions"]["torch"]
    assert kept["numerics"] == NUMERICS
    assert kept["revision"].keys() == {"commit", "dirty"}
