"""Seeds and test images that a difference needs, from runs whose spread is known."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics

import pytest
from typer.testing import CliRunner

from longtail.cli.app import app
from longtail.errors import InputError
from longtail.results import Loaded
from longtail.results.comparison import compare_records
from longtail.results.power import needed, with_spread
from oracles.runs import made_up_run


def rows(folder: pathlib.Path, items: int = 500, seeds: int = 3) -> dict[str, list[Loaded]]:
    return {
        name: [
            made_up_run(folder / f"{name}{seed}", recipe=name, seed=seed, accuracy=accuracy, items=items)
            for seed in range(seeds)
        ]
        for name, accuracy in (("ce", 0.6), ("other", 0.65))
    }


def test_more_seeds_show_smaller_differences_down_to_what_the_images_allow(tmp_path: pathlib.Path) -> None:
    (row,) = needed(rows(tmp_path), difference=0.05)
    smallest = list(row.smallest.values())
    assert smallest == sorted(smallest, reverse=True)
    assert row.baseline == "ce"
    assert row.seeds is None or row.seeds >= 3


def test_the_seeds_needed_are_the_fewest_that_show_it(tmp_path: pathlib.Path) -> None:
    runs = rows(tmp_path)
    (few,) = needed(runs, difference=0.04)
    wanted = few.smallest[5]  # what five seeds show, three do not
    (row,) = needed(runs, difference=wanted)
    assert row.seeds is not None
    assert row.seeds in (4, 5)
    (row,) = needed(runs, difference=1e-6)
    assert row.seeds is None


def test_images_needed_fall_with_the_square_of_the_difference(tmp_path: pathlib.Path) -> None:
    runs = rows(tmp_path)
    (one,), (two,) = needed(runs, difference=0.01), needed(runs, difference=0.02)
    assert 4 * (two.images - 1) < one.images <= 4 * two.images  # each is rounded up


def test_power_says_what_a_table_of_the_same_rows_says(tmp_path: pathlib.Path) -> None:
    runs = rows(tmp_path)
    for place, name in enumerate(("third", "fourth")):
        runs[name] = [
            made_up_run(tmp_path / f"{name}{seed}", recipe=name, seed=seed, accuracy=0.55 + 0.2 * place, items=500)
            for seed in range(3)
        ]
    found = needed(runs, against="ce", difference=0.05)
    assert [(row.family, row.measure) for row in found] == [(3, "accuracy")] * 3
    three, five = (100 * statistics.median(row.smallest[seeds] for row in found) for seeds in (3, 5))
    note = f"from about {three:.1f} points with three seeds and {five:.1f} points with five seeds."
    assert any(each.endswith(note) for each in compare_records(runs, against="ce").notes)


def test_the_measure_is_the_plans_or_the_one_asked_for(tmp_path: pathlib.Path) -> None:
    runs = rows(tmp_path)
    plan = {"name": "rare", "sha256": "b" * 64, "arm": "ce", "primary": "few"}
    planned = {
        name: [dataclasses.replace(run, record=dataclasses.replace(run.record, plan=plan)) for run in found]
        for name, found in runs.items()
    }
    (few,), (asked,), (accuracy,) = (
        needed(planned, difference=0.05),
        needed(runs, difference=0.05, measure="few"),
        needed(planned, difference=0.05, measure="accuracy"),
    )
    assert few == asked
    assert (few.measure, few.family, accuracy.measure, accuracy.family) == ("few", 3, "accuracy", 1)
    assert few.smallest[3] > accuracy.smallest[3]  # three of ten classes, and three groups together
    with pytest.raises(InputError, match="unknown measure 'fewer': did you mean 'few'"):
        needed(runs, difference=0.05, measure="fewer")


def test_what_cannot_be_known_is_refused(tmp_path: pathlib.Path) -> None:
    runs = rows(tmp_path, seeds=3)
    with pytest.raises(InputError, match="at least two methods"):
        needed({"ce": runs["ce"]}, difference=0.01)
    with pytest.raises(InputError, match="no row here"):
        needed(runs, against="crt", difference=0.01)
    few = {"ce": runs["ce"], "other": runs["other"][:2]}
    for difference in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match=r"a share in \(0, 1\]"):
            needed(runs, difference=difference)
    with pytest.raises(InputError, match="three runs"):
        needed(few, difference=0.01)
    assert with_spread(few) == ({"ce": runs["ce"]}, ["other"])
    assert with_spread(runs) == (runs, [])


def test_the_command_leaves_out_a_method_whose_spread_is_not_known_and_names_it(tmp_path: pathlib.Path) -> None:
    for name, accuracy, seeds in (("ce", 0.6, 3), ("crt", 0.65, 3), ("lws", 0.7, 2)):
        for seed in range(seeds):
            made_up_run(tmp_path / name / f"seed-{seed}", recipe=name, seed=seed, accuracy=accuracy, items=500)
    said = CliRunner().invoke(app, ["power", str(tmp_path)], catch_exceptions=False)
    assert said.exit_code == 0
    assert "crt" in said.stdout
    assert "lws" not in said.stdout
    assert said.stderr == "left out, with fewer than three runs that differ: lws\n"
    whole = json.loads(CliRunner().invoke(app, ["power", str(tmp_path), "--json"]).stdout)
    assert whole["left_out"] == ["lws"]
    assert [(row["method"], row["baseline"]) for row in whole["methods"]] == [("crt", "ce")]
