"""A plan is fixed before its runs; what departs from it is named."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

from longtail.data import Split, load
from longtail.errors import InputError
from longtail.recipes import NUMERICS
from longtail.recipes.part import plain
from longtail.results import Record, read
from longtail.results.plan import Plan, departures, read_plan
from longtail.training import planned
from longtail.training.compute import choose

TEXT = """
question = "Does balanced softmax help?"
data = "digits-lt"
seeds = [0, 1]
arms = [{name = "ce"}, {name = "balanced-softmax", control = "ce"}]
smallest = 0.02
[options]
epochs = 1
"""


def of(text: str, folder: pathlib.Path) -> Plan:
    path = folder / "plan.toml"
    path.write_text(text)
    return read_plan(path)


def test_the_hash_holds_what_is_said_and_not_how(tmp_path: pathlib.Path) -> None:
    plan = of(TEXT, tmp_path)
    assert of("# a comment\n" + TEXT, tmp_path).sha256 == plan.sha256
    changes = {"seeds = [0, 1]": "seeds = [0, 2]", "smallest = 0.02": "smallest = 0.03", "epochs = 1": "epochs = 2"}
    for old, new in {**changes, "help": "hurt"}.items():
        assert of(TEXT.replace(old, new), tmp_path).sha256 != plan.sha256


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("question", "qeustion", "did you mean"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "different whole numbers"),
        ("seeds = [0, 1]", "seeds = 3", "must be a list"),
        ('control = "ce"', 'control = "crt"', "no arm of the plan"),
        ("smallest = 0.02", "smallest = 2", "share in"),
        ('data = "digits-lt"', "", "does not say its data"),
        ('{name = "ce"}', '{name = "balanced-softmax"}', "a name of its own"),
        ("smallest", 'primary = "f1"\nsmallest', "primary measure"),
        ("=", "", "no TOML"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(tmp_path: pathlib.Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        of(TEXT.replace(old, new, 1), tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, pathlib.Path, list[pathlib.Path]]:
    folder = tmp_path_factory.mktemp("planned")
    plan = of(TEXT, folder)
    compute = choose("cpu", "float32")
    found = planned.run_plan(plan, load("digits-lt"), out=folder / "runs", compute=compute)
    return plan, folder, [path for paths in found.values() for path in paths]


def test_runs_cite_their_plan_and_are_done(done: tuple[Plan, pathlib.Path, list[pathlib.Path]]) -> None:
    plan, folder, runs = done
    assert len(runs) == 4
    status = planned.status(
        plan, folder / "plan.toml", load("digits-lt"), out=folder / "runs", compute=choose("cpu", "float32")
    )
    assert (len(status.done), status.missing, status.unplanned, status.committed) == (4, [], {}, None)
    more = dataclasses.replace(plan, seeds=(0, 1, 2))
    status = planned.status(
        more, folder / "plan.toml", load("digits-lt"), out=folder / "runs", compute=choose("cpu", "float32")
    )
    assert status.missing == [("ce", 2), ("balanced-softmax", 2)]


def test_equal_runs_of_a_method_without_a_seed_are_told(tmp_path: pathlib.Path) -> None:
    """The nearest mean of fixed features is the same whatever the seed."""
    digits = load("digits-lt", imbalance=20)

    def flat(split: Split) -> Split:
        return dataclasses.replace(split, images=split.images.float().flatten(1) / 16)

    held = dataclasses.replace(digits, train=flat(digits.train), test=flat(digits.test), mean=(), std=()).renewed()
    plan = of(TEXT.replace('{name = "balanced-softmax", control = "ce"}', '{name = "ncm"}'), tmp_path)
    compute, out = choose("cpu", "float32"), tmp_path / "runs"
    planned.run_plan(plan, held, out=out, compute=compute)
    status = planned.status(plan, tmp_path / "plan.toml", held, out=out, compute=compute)
    assert len(status.done) == 4
    assert status.copies == ["ncm: seeds 0, 1 gave the very same predictions, so they count as one run."]


def changed(record: Record, **parts: Any) -> Record:
    return dataclasses.replace(record, **parts)


def test_each_departure_from_the_plan_is_named(done: tuple[Plan, pathlib.Path, list[pathlib.Path]]) -> None:
    plan, _, runs = done
    record = read(runs[0]).record
    (arm, _) = planned.recipes_of(plan, load("digits-lt"))
    config = plain(arm)

    def said(found: Record) -> list[str]:
        return departures(found, plan, "ce", config, NUMERICS)

    assert said(record) == []
    recipe = copy.deepcopy(record.config)
    recipe["stages"][0]["optimizer"]["arguments"]["lr"] = 0.5
    budget = copy.deepcopy(record.config)
    budget["stages"][0]["epochs"] = 2
    source = copy.deepcopy(record.config)
    source["stages"][0]["objective"]["source"] = "0" * 64
    for other in (recipe, budget, source):
        assert len(said(changed(record, config=other))) == 1
    assert "seed 7" in said(changed(record, seed=7))[0]
    assert "numerics" in said(changed(record, numerics={**record.numerics, "version": 2}))[0]
    assert "no plan" in said(changed(record, plan={}))[0]
    assert "another plan" in said(changed(record, plan={**record.plan, "sha256": "0" * 64}))[0]


def test_a_run_that_no_plan_announced_is_shown(done: tuple[Plan, pathlib.Path, list[pathlib.Path]]) -> None:
    plan, folder, _ = done
    stray = folder / "runs" / "digits-lt-if100" / "stray"
    stray.mkdir(parents=True)
    (stray / "record.json").write_text("{}")
    status = planned.status(
        plan, folder / "plan.toml", load("digits-lt"), out=folder / "runs", compute=choose("cpu", "float32")
    )
    (stray / "record.json").unlink()
    assert status.unplanned == {stray: ["no run of the plan"]}


def test_kept_runs_count_in_another_folder_and_altered_ones_do_not(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path
) -> None:
    plan, folder, runs = done
    for run in runs:
        shutil.copytree(run, tmp_path / "kept" / run.parent.name / run.name)
    altered = tmp_path / "kept" / runs[0].parent.name / runs[0].name / "record.json"
    record = json.loads(altered.read_text())
    altered.write_text(json.dumps({**record, "plan": {**record["plan"], "sha256": "0" * 64}}))
    status = planned.status(
        plan, folder / "plan.toml", load("digits-lt"), out=tmp_path / "kept", compute=choose("cpu", "float32")
    )
    assert len(status.done) == len(runs) - 1
    assert all(tmp_path in place.parents for place in status.done.values())
    assert list(status.unplanned) == [altered.parent]
    assert "another plan" in status.unplanned[altered.parent][0]


def test_a_plan_committed_after_its_runs_is_told(done: tuple[Plan, pathlib.Path, list[pathlib.Path]]) -> None:
    plan, folder, runs = done
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    later = {**os.environ, "GIT_COMMITTER_DATE": "2099-01-01T00:00:00+00:00"}
    for words in (["init", "-q"], ["add", "plan.toml"], ["commit", "-q", "-m", "plan"]):
        subprocess.run([*git, *words], check=True, env=later)
    status = planned.status(
        plan, folder / "plan.toml", load("digits-lt"), out=folder / "runs", compute=choose("cpu", "float32")
    )
    assert status.committed is not None
    assert set(status.early) == set(runs)
