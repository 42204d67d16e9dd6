from __future__ import annotations

import dataclasses
import io
import json
import pathlib

import pytest
from rich.console import Console

from longtail.cli.grid import grid
from longtail.results.comparison import Comparison, compare_records
from longtail.results.statistics import Estimate
from longtail.results.tables import interval, table, to_json
from oracles.runs import made_up_run


def compared(folder: pathlib.Path, seeds: int) -> Comparison:
    methods = {"ce": 0.5, "balanced-softmax": 0.75, "logit-adjustment": 0.5}
    records = {
        name: [made_up_run(folder / name / str(s), recipe=name, seed=s, accuracy=accuracy) for s in range(seeds)]
        for name, accuracy in methods.items()
    }
    return compare_records(records)


def printed(comparison: Comparison, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False, legacy_windows=False)
    console.print(table(comparison, width=width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_in_80_columns_every_number_is_whole(tmp_path: pathlib.Path, seeds: int) -> None:
    comparison = compared(tmp_path, seeds)
    text = printed(comparison, 80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for method in comparison.methods:
        summary = method.summaries["accuracy"]
        assert summary is not None
        for value in summary.values if seeds == 2 else [summary.mean]:
            assert f"{100 * value:.1f}" in text
        for group in ("many", "medium", "few"):
            estimate = method.estimates[group]
            assert estimate is not None
            assert f"{100 * estimate.value:.1f}" in text
    assert text.count("4.5") >= 3  # seconds
    assert ("no interval" in text) is (seeds == 2)
    assert (f"({seeds})" in text) is (seeds != 2)


def test_the_words_of_the_verdicts(tmp_path: pathlib.Path) -> None:
    text = printed(compared(tmp_path, 3), 140)
    assert "better" in text
    assert "indistinguishable" in text
    assert "Minus ce, in points" in text
    assert "Not told apart: indistinguishable at 95 %, which does not mean equal." in " ".join(text.split())


def test_an_empty_group_is_a_dash(tmp_path: pathlib.Path) -> None:
    comparison = compared(tmp_path, 3)
    methods = tuple(
        dataclasses.replace(method, estimates={**method.estimates, "few": None}) for method in comparison.methods
    )
    lines = printed(dataclasses.replace(comparison, methods=methods), 120).splitlines()
    row = next(line for line in lines if line.startswith("ce "))
    assert "–" in row
    assert "0.0" not in row


def test_json_holds_everything_and_nothing_but_plain_values(tmp_path: pathlib.Path) -> None:
    comparison = compared(tmp_path, 3)
    data = to_json(comparison)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert [method["name"] for method in data["methods"]] == ["ce", "balanced-softmax", "logit-adjustment"]
    found = data["methods"][1]
    assert found["difference"]["verdict"] == "better"
    assert found["summaries"]["accuracy"]["n"] == 3
    assert found["estimates"]["accuracy"]["low"] < found["estimates"]["accuracy"]["value"]
    assert data["methods"][0]["difference"] is None
    assert data["data"]["fingerprint"] == "a" * 64


@pytest.mark.parametrize("width", [80, 140])
def test_intervals_and_verdicts_of_every_group_are_whole(tmp_path: pathlib.Path, width: int) -> None:
    comparison = compared(tmp_path, 3)
    text = printed(comparison, width)
    for method in comparison.methods[1:]:
        assert method.difference is not None
        for rate in ("accuracy", "many", "medium", "few"):
            assert interval(method.difference.rates[rate], difference=True) in text
    assert text.count("better") >= 2
    for note in comparison.notes:
        assert note in " ".join(text.split())
    plain = [line.rstrip() for line in str(table(comparison, width=width)).splitlines()]  # as print() shows it
    assert plain == [line.rstrip() for line in text.splitlines()]


def test_long_names_break_at_their_words_and_nothing_is_cut(tmp_path: pathlib.Path) -> None:
    methods = {"ce": 0.2, "logit-adjustment-post-hoc": 0.9, "ip-dpp@scorer=trained,arm=uniform": 0.6}
    runs = {name: [made_up_run(tmp_path / name, recipe=name, accuracy=rate)] for name, rate in methods.items()}
    text = printed(compare_records(runs), 80)
    first = [line.split(" ")[0] for line in text.splitlines()]
    for part in ("logit-", "adjustment-", "post-hoc", "ip-dpp", "@scorer=trained", ",arm=uniform"):
        assert part in first, text
    assert text.count("in this") == text.count("better") + text.count("worse")
    assert max(map(len, text.splitlines())) <= 80


def test_marks_stand_beside_the_name_and_controls_have_a_block(tmp_path: pathlib.Path) -> None:
    methods = {"ce": 0.5, "dro-lt": 0.75, "dro-lt@robust=0": 0.7}
    records = {
        name: [made_up_run(tmp_path / name / str(s), recipe=name, seed=s, accuracy=accuracy) for s in range(3)]
        for name, accuracy in methods.items()
    }
    text = printed(compare_records(records, controls={"dro-lt": "dro-lt@robust=0"}, numerics=2), 80)
    assert "Minus the own control, in points" in text
    assert "minus dro-lt@robust=0" in " ".join(text.split()) or "robust=0" in text
    assert text.count("numerics 1 (now 2)") == 4  # beside three names, and in one note of them all


def test_an_end_that_is_rounded_to_zero_keeps_its_side() -> None:
    assert interval(Estimate(0.01, 0.0001, 0.02), difference=True) == "[+0.01, +2.0]"
    assert interval(Estimate(-0.01, -0.02, -0.0001), difference=True) == "[−2.0, −0.01]"
    assert interval(Estimate(0.01, 0.0, 0.02), difference=True) == "[0.0, +2.0]"


@pytest.mark.parametrize("name", ["w[old]/my.py:loss", "x[/b]", "[red]y"])
def test_names_in_square_brackets_are_shown_as_they_are(name: str, tmp_path: pathlib.Path) -> None:
    runs = {each: [made_up_run(tmp_path / str(place), seed=0)] for place, each in enumerate(("ce", name))}
    for width in (80, 140):
        text = str(table(compare_records(runs, against=name), width=width))
        assert text.count(name) >= 2
        assert f"Minus {name}, in points" in text
    shown = io.StringIO()
    made = grid("method", "5\nseeds", title=name)
    made.add_row(name, "1.0")
    Console(file=shown, width=80).print(made)
    assert shown.getvalue().count(name) == 2
