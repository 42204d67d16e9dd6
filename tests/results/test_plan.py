"""A plan is fixed before its runs; what departs from it is named."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
from typing import Any

import pytest
from typer.testing import CliRunner

from longtail.board.content import shipped_root
from longtail.cli.app import app
from longtail.data import Split, load
from longtail.errors import InputError
from longtail.recipes import NUMERICS
from longtail.recipes.part import plain
from longtail.results import Loaded, Record, compare_records, read
from longtail.results.announced import departure, digest, plan_marks, plan_notes, planned_controls
from longtail.results.plan import Plan, asked_of_git, committed, completed_rows, departures, read_plan
from longtail.training import many, planned
from longtail.training.audit import audit
from longtail.training.compute import choose
from oracles.runs import made_up_run

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
        ('control = "ce"', 'control = "balanced-softmax"', "its own control"),
        ('control = "ce"', 'contrl = "ce"', "key of an arm .* did you mean 'control'"),
        ('{name = "ce"}', "{name = 1}", "the name of an arm must be a text"),
        ('data = "digits-lt"', "data = 3", "data must be a text, not 3"),
        ('{name = "ce"}', '{name = "ce", control = "balanced-softmax"}', "go round in a circle: "),
        ("smallest = 0.02", f"note = {'[' * 3000}{']' * 3000}", "nested too deep"),
        ("epochs = 1", "imbalance = nan", "nan is no number that a plan can hold"),
        ("epochs = 1", f"imbalance = {10**300}", "a whole number of 301 digits"),
        ("epochs = 1", f"imbalance = 1{5000 * '0'}", "no TOML: Exceeds the limit"),
        ("epochs = 1", f"imbalance = 0x1{5000 * '0'}", "no TOML: Exceeds the limit"),
        ("epochs = 1", f"epochs{'.a' * 3000} = 1", "nested too deep"),
        ("seeds = [0, 1]", f"seeds = {list(range(1001))}", "1,001 seeds; a record can cite a plan of at most 1,000"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(tmp_path: pathlib.Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        of(TEXT.replace(old, new, 1), tmp_path)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("epochz = 1", "unknown option of the plan plan 'epochz': did you mean 'epochs'"),
        ('epochs = "1"', "option epochs must be a whole number, not '1'"),
        ("epochs = true", "option epochs must be a whole number, not True"),
        ("epochs = 0", "epochs"),
        ('imbalance = "fifty"', "option imbalance must be a whole number or a number, not 'fifty'"),
        ("imbalance = 0.5", "imbalance"),
        ("no_flip = 1", "option no_flip must be true or false, not 1"),
        ("model = 32", "option model must be a text, not 32"),
        ('changes = "stages.0.epochs=2"', "option changes must be a list of texts"),
        ('protocol = "plain-20"', "plain-200"),
        ('select = "best"', "selection"),
        ("patience = -1", "patience"),
        ("accumulate = 0", "pieces|accumulate"),
        ('notify = "me"', "unknown option"),
        ("class_sizes = [5, 4.5]", "must be a text or a list of whole numbers"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_in_one_line(tmp_path: pathlib.Path, option: str, said: str) -> None:
    plan = of(TEXT.replace("epochs = 1", option), tmp_path)

    def resolved() -> None:
        planned.recipes_of(plan, None)
        planned.recipes_of(plan, load(plan.data, **planned.data_options(plan)))

    with pytest.raises(InputError, match=said) as error:
        resolved()
    assert "\n" not in str(error.value)


def test_every_option_of_a_recipe_and_of_data_can_be_planned(tmp_path: pathlib.Path) -> None:
    text = TEXT.replace("epochs = 1", "epochs = 1\naccumulate = 2\nvalidation = 0.2\nchanges = ['stages.0.epochs=3']")
    plan = of(text, tmp_path)
    data = load(plan.data, **planned.data_options(plan))
    (first, _) = planned.recipes_of(plan, data)
    assert data.validation is not None
    assert (first.stages[0].epochs, first.stages[0].accumulate) == (3, 2)


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
    assert status.unplanned == {stray: [f"{stray}/record.json is damaged or is no record: field 'schema' is missing"]}


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


@pytest.mark.parametrize(
    ("part", "change", "why"),
    [
        ("seed", 1, "its folder is that of seed 0, and its record says 1"),
        ("data", {"fingerprint": "0" * 64}, "it is of other data"),
        ("numerics", {"precision": "bfloat16"}, r"precision bfloat16 \(here float32\)"),
        ("numerics", {"device": "cuda"}, r"device cuda \(here cpu\)"),
        ("budget", {"epochs": 60}, "its budget has 60 epochs, its recipe and history 1"),
        ("budget", {"stated": 1}, "its budget has 1 stated, its recipe and history 60"),
        ("budget", {"steps": 7}, "its budget has 7 steps, "),
        ("report", {"accuracy": 0.99}, "accuracy"),
        ("selection", 7, "'selection' must be a text"),
    ],
)
def test_an_altered_record_at_its_planned_place_is_no_run_of_the_plan(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path, part: str, change: Any, why: str
) -> None:
    plan, folder, runs = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    place = tmp_path / "runs" / runs[0].relative_to(folder / "runs")
    file = place / "record.json"
    record = json.loads(file.read_text())
    record[part] = {**record[part], **change} if isinstance(change, dict) else change
    file.write_text(json.dumps(record))
    data, compute = load("digits-lt"), choose("cpu", "float32")
    status = planned.status(plan, folder / "plan.toml", data, out=tmp_path / "runs", compute=compute)
    assert (len(status.done), list(status.unplanned)) == (3, [place])
    assert re.search(why, "; ".join(status.unplanned[place]))
    with pytest.raises(InputError):  # and it is neither counted nor trained over
        planned.run_plan(plan, data, out=tmp_path / "runs", compute=compute)
    assert json.loads(file.read_text()) == record
    with pytest.raises(InputError):
        audit(place)


def test_why_a_run_of_the_plan_does_not_count_is_said(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path
) -> None:
    plan, folder, runs = done
    other = planned.status(
        plan, folder / "plan.toml", load("digits-lt"), out=folder / "runs", compute=choose("cpu", "bfloat16")
    )
    assert other.unplanned == {run: ["precision float32 (here bfloat16)"] for run in runs}
    other = planned.status(
        plan,
        folder / "plan.toml",
        load("digits-lt", imbalance=20),
        out=folder / "runs",
        compute=choose("cpu", "float32"),
    )
    assert all(why == ["it is of other data"] for why in other.unplanned.values())
    for name in ("good", "zz"):
        shutil.copytree(runs[0], tmp_path / name / runs[0].name)
    bad = tmp_path / "zz" / runs[0].name / "record.json"
    bad.write_text(bad.read_text().replace(plan.sha256, "0" * 64))
    shutil.copytree(tmp_path / "good", tmp_path / "later")
    kept = planned.status(plan, folder / "plan.toml", load("digits-lt"), out=tmp_path, compute=choose("cpu", "float32"))
    assert list(kept.done.values()) == [tmp_path / "good" / runs[0].name]
    assert kept.unplanned[bad.parent] == ["it cites another plan, or an earlier text of this one"]
    assert kept.unplanned[tmp_path / "later" / runs[0].name] == [f"a copy of {tmp_path / 'good' / runs[0].name}"]
    with pytest.raises(InputError, match="is no folder"):
        planned.status(plan, folder / "plan.toml", load("digits-lt"), out=bad, compute=choose("cpu", "float32"))


def test_a_plan_is_not_begun_where_its_runs_lie_as_those_of_another(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]],
) -> None:
    plan, folder, _ = done
    more = dataclasses.replace(plan, seeds=(0, 1, 2), sha256="1" * 64)
    with pytest.raises(
        InputError, match=r"4 runs that the plan announces lie in .* without being of it .*another --out"
    ):
        planned.run_plan(more, load("digits-lt"), out=folder / "runs", compute=choose("cpu", "float32"))
    assert len(list((folder / "runs").rglob("record.json"))) == 4


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


def test_a_plan_that_began_as_a_copy_of_another_was_committed_with_its_own_text(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "plans of ours"
    place.mkdir()

    def commit(year: int) -> None:
        git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
        time = {**os.environ, "GIT_COMMITTER_DATE": f"{year}-01-01T00:00:00+00:00"}
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "plan"]):
            subprocess.run([*git, *words], check=True, env=time)

    first, other, moved = (place / name for name in ("first.toml", "other.toml", 'the "moved"\tplan [1]*.toml'))
    first.write_text(TEXT)
    commit(2021)
    first.write_text(f'note = "changed"\n{TEXT}')
    other.write_text(f'note = "another"\n{TEXT}')
    commit(2022)
    other.rename(moved)
    commit(2023)
    assert (committed(moved) or "")[:4] == "2022"
    assert (committed(first) or "")[:4] == "2022"
    third = f'note = "a third"\n{TEXT}'
    moved.write_text(third)
    assert committed(moved) is None
    commit(2024)
    assert (committed(moved) or "")[:4] == "2024"
    moved.write_text(f"{third}\n# A comment says nothing that the plan says.\n")
    commit(2025)
    assert (committed(moved) or "")[:4] == "2024"
    moved.write_text(f'note = "another"\n{TEXT}')  # as it was, also before that is committed once more
    assert (committed(moved) or "")[:4] == "2022"
    commit(2026)
    assert (committed(moved) or "")[:4] == "2022"
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    program.chmod(0o755)
    for key in ("gpg.program", "core.fsmonitor", "diff.external", "core.pager"):
        subprocess.run(["git", "-C", str(tmp_path), "config", key, str(program)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "config", "log.showSignature", "true"], check=True)
    assert (committed(moved) or "")[:4] == "2022"
    assert not ran.exists()
    linked = place / "linked.toml"
    linked.symlink_to(moved)
    assert (committed(linked) or "")[:4] == "2022"
    assert committed(tmp_path / "gone.toml") is None


def test_a_plan_in_a_file_whose_name_is_no_text_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / os.fsdecode(b"pl\xe4n.toml")
    path.write_text(TEXT)
    with pytest.raises(InputError, match="is no text that a record can hold; rename it"):
        read_plan(path)


def in_git(folder: pathlib.Path, *commands: list[str], year: int = 2022) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    time = {**os.environ, "GIT_COMMITTER_DATE": f"{year}-01-01T00:00:00+00:00"}
    for words in commands:
        subprocess.run([*git, *words], check=True, env=time, capture_output=True)


def test_settings_of_git_do_not_hide_a_commit(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "plans"
    place.mkdir()
    (place / "plan.toml").write_text(TEXT)
    in_git(tmp_path, ["init", "-q"])
    assert asked_of_git(place / "plan.toml") == (None, "")
    in_git(tmp_path, ["add", "-A"], ["commit", "-q", "-m", "plan"])
    for key, value in (("diff.relative", "true"), ("log.showRoot", "false"), ("log.follow", "false")):
        in_git(tmp_path, ["config", key, value])
    assert (committed(place / "plan.toml") or "")[:4] == "2022"


def test_where_git_does_not_tell_nobody_is_accused(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder, _ = done
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "plan.toml").write_text((folder / "plan.toml").read_text())
    in_git(whole, ["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "plan"])
    (whole / "more").write_text("more")
    in_git(whole, ["add", "-A"], ["commit", "-q", "-m", "more"], year=2099)
    cut = tmp_path / "cut"
    in_git(tmp_path, ["clone", "-q", "--depth", "1", f"file://{whole}", str(cut)])
    assert (committed(whole / "plan.toml") or "")[:4] == "2022"
    since, why = asked_of_git(cut / "plan.toml")
    assert since is None
    assert "shallow" in why
    data, compute = load("digits-lt"), choose("cpu", "float32")
    status = planned.status(plan, cut / "plan.toml", data, out=folder / "runs", compute=compute)
    assert (status.committed, status.early, len(status.done)) == (None, [], 4)
    assert "git fetch --unshallow" in status.unknown
    monkeypatch.setenv("PATH", str(tmp_path))  # no git here
    assert asked_of_git(whole / "plan.toml") == (None, "git cannot be asked: No such file or directory")


def test_a_run_that_goes_on_was_begun_when_it_was_begun(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path
) -> None:
    plan, data, compute = done[0], load("digits-lt"), choose("cpu", "float32")
    folder = planned.run_plan(plan, data, out=tmp_path, compute=compute, arms=["ce"], seeds=[0])["ce"][0]
    begun = json.loads((folder / "run.json").read_text())
    assert begun["started"] == read(folder).record.started
    (folder / "run.json").write_text(json.dumps({**begun, "started": "2020-01-01T00:00:00+00:00"}))
    (folder / "record.json").unlink()  # as if it had been stopped before
    planned.run_plan(plan, data, out=tmp_path, compute=compute, arms=["ce"], seeds=[0])
    assert read(folder).record.started == "2020-01-01T00:00:00+00:00"
    # A version that did not say when is taken up, too.
    (folder / "run.json").write_text(json.dumps({key: begun[key] for key in begun if key != "started"}))
    (folder / "record.json").unlink()
    planned.run_plan(plan, data, out=tmp_path, compute=compute, arms=["ce"], seeds=[0])
    assert read(folder).record.started >= begun["started"]


def test_a_part_of_a_plan_is_trained_only_if_all_of_it_can_be(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arms = '{name = "ce"}, {name = "logit-adjustment"}, {name = "logit-adjustment@tau=1"}'
    of(TEXT.replace('{name = "ce"}', arms), tmp_path)
    found = CliRunner().invoke(app, ["plan", "run", "plan.toml", "--arm", "ce"], standalone_mode=False)
    assert "are one recipe" in str(found.exception)
    assert not (tmp_path / "runs").exists()
    plan = read_plan(tmp_path / "plan.toml")
    with pytest.raises(InputError, match="are one recipe"):
        planned.run_plan(plan, load("digits-lt"), out=tmp_path / "x", compute=choose("cpu", "float32"), arms=["ce"])
    of(TEXT, tmp_path)
    found = CliRunner().invoke(app, ["plan", "run", "plan.toml", "--seeds", ""], standalone_mode=False)
    assert "--seeds '': give how many" in str(found.exception)
    assert not (tmp_path / "runs").exists()


def test_what_status_calls_done_is_not_trained_again(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder, _ = done
    runs = tmp_path / "runs"
    shutil.copytree(folder / "runs", runs)
    (moved,) = runs.glob("*/ce")
    moved.rename(runs / "kept")
    for file in runs.rglob("balanced-softmax/*/run.json"):
        file.unlink()
    data, compute = load("digits-lt"), choose("cpu", "float32")
    assert planned.status(plan, folder / "plan.toml", data, out=runs, compute=compute).missing == []

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it is done")

    monkeypatch.setattr(many, "train", never)
    monkeypatch.setattr(many, "_at_once", never)
    for jobs in (1, 2):
        found = planned.run_plan(plan, data, out=runs, compute=compute, jobs=jobs)
        assert {path.parent.name for path in found["ce"]} == {"kept"}
        assert all((path / "record.json").is_file() for paths in found.values() for path in paths)


def test_jobs_train_a_plan_seed_by_seed_as_one_does(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, data, compute = done[0], load("digits-lt"), choose("cpu", "float32")
    taken: list[str] = []
    monkeypatch.setattr(many, "_at_once", lambda tasks, *_: taken.extend(task.name for task in tasks))
    planned.run_plan(plan, data, out=tmp_path, compute=compute, jobs=2)
    assert taken == ["ce, seed 0", "balanced-softmax, seed 0", "ce, seed 1", "balanced-softmax, seed 1"]
    missing = planned.status(plan, tmp_path / "plan.toml", data, out=tmp_path, compute=compute).missing
    assert taken == [f"{arm}, seed {seed}" for arm, seed in missing]


def test_what_goes_wrong_is_said_of_its_run(tmp_path: pathlib.Path) -> None:
    plan = of(TEXT.replace("epochs = 1", 'epochs = 1\nchanges = ["stages.0.optimizer.lr=1e20"]'), tmp_path)
    with pytest.raises(InputError, match=r"^ce, seed 0: the loss became"):
        planned.run_plan(plan, load("digits-lt"), out=tmp_path / "runs", compute=choose("cpu", "float32"))


def test_the_runs_of_a_plan_in_one_folder_have_one_precision(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path
) -> None:
    plan, folder, _ = done
    fast, slow = choose("cpu", "bfloat16"), choose("cpu", "float32")
    assert planned.agreed(plan, folder / "runs", fast, keep=False) == slow  # as the records that are there
    assert not (folder / "runs" / planned.PRECISION).exists()
    other = dataclasses.replace(plan, sha256="1" * 64)
    mixed = tmp_path / "mixed"  # another plan's choice does not count for runs that are there
    shutil.copytree(folder / "runs", mixed)
    assert planned.agreed(other, mixed, fast, keep=True) == fast
    assert planned.agreed(plan, mixed, fast, keep=True) == slow
    assert planned.agreed(other, folder / "runs", fast, keep=False) == fast
    assert planned.agreed(plan, tmp_path / "new", fast, keep=False) == fast
    assert not (tmp_path / "new").exists()
    assert planned.agreed(plan, tmp_path / "new", fast, keep=True) == fast
    assert planned.agreed(plan, tmp_path / "new", slow, keep=True) == fast  # the first one counts
    for wrong in ("{", "[]", '{"cpu": "float8"}', '{"cpu": []}'):
        (tmp_path / "new" / planned.PRECISION).write_text(wrong)
        with pytest.raises(InputError, match=r"precision.json is damaged"):
            planned.agreed(plan, tmp_path / "new", slow, keep=True)


def test_what_is_wrong_with_a_plan_is_said_before_anything_is_trained(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def said(*words: str) -> str:
        found = CliRunner().invoke(app, ["plan", *words], standalone_mode=False)
        assert not pathlib.Path("runs").exists()
        return str(found.exception)

    of(TEXT, tmp_path)
    assert "'mars': a plan is trained here or on ray" in said("status", "plan.toml", "--on", "mars")
    assert "ray:ADDRESS" in said("status", "plan.toml", "--on", "ray:")
    assert "here or on ray" in said("run", "plan.toml", "--on", "slurm")
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        assert "not for torchrun" in said("run", "plan.toml")
    of(TEXT.replace("digits-lt", "digit-lt"), tmp_path)
    assert "did you mean 'digits-lt'" in said("plan.toml")
    twice = TEXT.replace(
        '{name = "ce"}', '{name = "ce"}, {name = "logit-adjustment"}, {name = "logit-adjustment@tau=1"}'
    )
    of(twice, tmp_path)
    assert "'logit-adjustment' and 'logit-adjustment@tau=1' are one recipe" in said("status", "plan.toml")


def test_a_plan_whose_file_of_weights_is_not_here_says_so(tmp_path: pathlib.Path) -> None:
    gone = tmp_path / "gone.safetensors"
    model = f'model = "resnet18@weights={gone}"'
    compute = choose("cpu", "float32")
    plan = of(TEXT.replace("epochs = 1", f'epochs = 1\nprotocol = "linear-probe"\n{model}'), tmp_path)
    with pytest.raises(InputError, match=r"plan: ce: there is no file .*gone\.safetensors here"):
        planned.status(plan, tmp_path / "plan.toml", load("digits-lt"), out=tmp_path / "runs", compute=compute)
    gone.touch()
    status = planned.status(plan, tmp_path / "plan.toml", load("digits-lt"), out=tmp_path / "runs", compute=compute)
    assert len(status.missing) == 4


def rows(runs: list[pathlib.Path]) -> dict[str, list[Loaded]]:
    found: dict[str, list[Loaded]] = {}
    for run in map(read, runs):
        found.setdefault(run.record.recipe, []).append(run)
    return found


def with_record(run: Loaded, **parts: Any) -> Loaded:
    return dataclasses.replace(run, record=changed(run.record, **parts))


def test_a_table_says_which_planned_runs_are_not_in_it(done: tuple[Plan, pathlib.Path, list[pathlib.Path]]) -> None:
    held = rows(done[2])
    whole = compare_records(held)
    assert not any("plan" in note for note in whole.notes)
    assert [method.marks for method in whole.methods] == [("short: 1 of 60 epochs",)] * 2
    part = compare_records({"ce": held["ce"], "balanced-softmax": held["balanced-softmax"][:1]})
    assert part.methods[1].marks[1:] == ("1 of 2 planned seeds",)
    assert part.notes[-1] == "Announced by the plan plan and not here: seed 1 of balanced-softmax."
    alone = compare_records({"ce": held["ce"][:1]})
    assert alone.notes[-1].endswith("not here: seed 1 of ce; seeds 0, 1 of balanced-softmax.")
    cited = held["balanced-softmax"][0].record.plan
    other = with_record(held["balanced-softmax"][0], plan={**cited, "sha256": "ab" * 32})
    notes = compare_records({"ce": held["ce"], "balanced-softmax": [other]}).notes
    assert sum("the plan plan (abababab) and " in note for note in notes) > 0
    assert sum(f"the plan plan ({cited['sha256'][:8]}) and " in note for note in notes) > 0


def test_a_table_says_which_runs_no_plan_announced(done: tuple[Plan, pathlib.Path, list[pathlib.Path]]) -> None:
    held = rows(done[2])
    none = {name: [with_record(run, plan={}) for run in runs] for name, runs in held.items()}
    assert compare_records(none).notes[-1] == "No plan announced these runs."
    assert all(method.marks == ("short: 1 of 60 epochs",) for method in compare_records(none).methods)
    mixed = compare_records({"ce": held["ce"], "balanced-softmax": none["balanced-softmax"]})
    assert mixed.methods[1].marks[1:] == ("unplanned",)
    assert "No plan announced: balanced-softmax." in mixed.notes


@pytest.mark.parametrize("part", ["recipe", "budget", "source", "numerics", "seed", "arm", "another arm"])
def test_a_table_shows_a_run_that_departs_from_its_plan_as_unplanned(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], part: str
) -> None:
    held = rows(done[2])
    record = held["ce"][0].record
    config = copy.deepcopy(record.config)
    stage = config["stages"][0]
    altered: dict[str, Any] = {"config": config}
    if part == "recipe":
        stage["optimizer"]["arguments"]["lr"] = 0.5
    elif part == "budget":
        stage["epochs"] = 2
    elif part == "source":
        stage["objective"]["source"] = "0" * 64
    elif part == "numerics":
        altered = {"numerics": {**record.numerics, "version": record.numerics["version"] - 1}}
    elif part == "seed":
        altered = {"seed": 7}
    else:
        altered = {"plan": {**record.plan, "arm": "crt" if part == "arm" else "balanced-softmax"}}
    assert departure(record) == ""
    assert departure(changed(record, **altered)) != ""
    found = plan_notes({"ce": [changed(record, **altered)], "balanced-softmax": [held["balanced-softmax"][0].record]})
    assert found[0].startswith("No plan announced: ce (")
    assert plan_marks([changed(record, **altered)]) == ("unplanned",)


def test_a_name_of_a_foreign_file_is_no_departure(done: tuple[Plan, pathlib.Path, list[pathlib.Path]]) -> None:
    record = read(done[2][0]).record
    config = copy.deepcopy(record.config)
    objective = config["stages"][0]["objective"]
    objective.update(name="/here/loss.py:mine", source="1" * 64)
    moved = copy.deepcopy(config)
    moved["stages"][0]["objective"]["name"] = "/there/loss.py:mine"
    assert digest(config, 1) == digest(moved, 1) != digest(config, 2)
    assert digest(config, 1) != digest(record.config, 1)


@pytest.mark.parametrize("field", ["name", "sha256", "arm", "question", "arms", "seeds", "recipe"])
@pytest.mark.parametrize("value", [None, 3, [], {"a": 1}, [[1], True, None], "x" * 10])
def test_a_citation_of_anybody_is_read_without_harm(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], field: str, value: Any
) -> None:
    record = read(done[2][0]).record
    strange = changed(record, plan={**record.plan, field: value})
    assert isinstance(departure(strange), str)
    assert all(isinstance(text, str) for text in (*plan_marks([strange]), *plan_notes({"ce": [strange]})))


def test_some_arms_and_seeds_of_a_plan_can_be_trained_alone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = of(TEXT, tmp_path)

    def command(*words: str) -> Any:
        return CliRunner().invoke(app, ["plan", *words, "--precision", "float32"], standalone_mode=False)

    def missing() -> list[tuple[str, int]]:
        compute = choose("cpu", "float32")
        return planned.status(
            plan, tmp_path / "plan.toml", load("digits-lt"), out=tmp_path / "runs", compute=compute
        ).missing

    for words, said in (
        (("run", "plan.toml", "--arm", "balanced-softmx"), "did you mean 'balanced-softmax'"),
        (("run", "plan.toml", "--arm", "ce", "--seeds", "1,2"), "seed 2 is not in the plan plan; its seeds are 0, 1"),
        (("run", "plan.toml", "--seeds", "x"), "--seeds 'x'"),
        (("status", "plan.toml", "--arm", "ce"), "--arm would not be heeded here"),
        (("status", "plan.toml", "--seeds", "1,"), "--seeds would not be heeded here"),
        (("plan.toml", "--jobs", "2"), "--jobs would not be heeded here"),
    ):
        assert said in str(command(*words).exception)
        assert not pathlib.Path("runs").exists()
    assert command("run", "plan.toml", "--arm", "balanced-softmax", "--seeds", "1,").exception is None
    assert missing() == [("ce", 0), ("balanced-softmax", 0), ("ce", 1)]
    assert command("run", "plan.toml", "--seeds", "1").exception is None
    assert missing() == [("ce", 1)]
    assert command("run", "plan.toml", "--arm", "ce", "--arm", "balanced-softmax").exception is None
    assert missing() == []


def test_a_plan_is_trained_on_a_cluster_or_here(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(many, "train_on_cluster", lambda tasks, *rest, **options: asked.append((tasks, options)))
    planned.run_plan(done[0], load("digits-lt"), out=tmp_path, compute=choose("cpu", "float32"), on="ray:host:1")
    ((tasks, options),) = asked
    assert options["address"] == "host:1"
    assert {task.options["plan"]["arm"] for task in tasks} == {"ce", "balanced-softmax"}


def test_a_plan_completes_the_citations_that_are_older_than_its_arms_and_seeds(
    done: tuple[Plan, pathlib.Path, list[pathlib.Path]], tmp_path: pathlib.Path
) -> None:
    plan, folder, runs = done
    held = rows(runs)
    early = {key: plan.cited("ce", {}, NUMERICS)[key] for key in ("name", "sha256", "arm", "question")}
    ce = [with_record(held["ce"][0], plan=early)]
    assert not any("plan" in note for note in compare_records({"ce": ce}).notes)
    whole = completed_rows({"ce": ce}, [folder / "plan.toml"])
    assert compare_records(whole).notes[-1].endswith("not here: seed 1 of ce; seeds 0, 1 of balanced-softmax.")
    other = tmp_path / "plan.toml"
    other.write_text(TEXT.replace("0.02", "0.03"))
    with pytest.raises(InputError, match="no run here cites it as it stands"):
        completed_rows({"ce": ce}, [other])


def test_each_arm_stands_beside_the_control_that_its_plan_names(tmp_path: pathlib.Path) -> None:
    names = ("ce", "dro-lt", "dro-lt@robust=0", "ip-dpp", "ip-dpp@arm=uniform")
    made = {
        name: [made_up_run(tmp_path / f"{name}-{seed}", recipe=name, seed=seed, accuracy=0.6) for seed in range(3)]
        for name in names
    }
    text = "\n".join(f'[[arms]]\nname = "{name}"\nCONTROL-{name}' for name in names)
    for against, stated, expected in (
        ("ce", {}, {"dro-lt": "dro-lt@robust=0", "ip-dpp": "ip-dpp@arm=uniform"}),  # as the methods are known to have
        ("ce", {"dro-lt": "ip-dpp"}, {"dro-lt": "ip-dpp", "ip-dpp": "ip-dpp@arm=uniform"}),
        # The contrast that a plan turns round is read once, and so is one with the row that all are compared with.
        ("ce", {"dro-lt@robust=0": "dro-lt", "ip-dpp": "ce"}, {"dro-lt@robust=0": "dro-lt"}),
        ("dro-lt", {}, {"ip-dpp": "ip-dpp@arm=uniform"}),
        ("dro-lt@robust=0", {"ip-dpp": "dro-lt"}, {"ip-dpp": "dro-lt"}),
    ):
        arms = text
        for name in names:
            arms = arms.replace(f"CONTROL-{name}\n", f'control = "{stated[name]}"\n' if name in stated else "\n")
        arms = arms.replace(f"CONTROL-{names[-1]}", "")
        plan = of(f'question = "?"\ndata = "digits-lt"\nseeds = [0, 1, 2]\n{arms}', tmp_path)
        early = {
            name: [with_record(run, plan={"name": plan.name, "sha256": plan.sha256, "arm": name}) for run in runs]
            for name, runs in made.items()
        }
        found = many.compare_rows(completed_rows(early, [tmp_path / "plan.toml"]), against=against)
        assert {one.name: one.control.against for one in found.methods if one.control} == expected
        # What a record says by itself is enough, and names the control only where its plan does.
        cited = {
            name: [with_record(run, plan={**plan.cited(name, {}, NUMERICS), "recipe": ""}) for run in runs]
            for name, runs in made.items()
        }
        assert many.compare_rows(cited, against=against) == found
    two = [with_record(run, plan={**run.record.plan, "control": f"ce{run.record.seed}"}) for run in cited["ip-dpp"]]
    assert planned_controls({"ip-dpp": [run.record for run in two], "ce0": [], "ce1": [], "ce2": []}) == {}
    stray = [
        with_record(run, plan={**run.record.plan, "control": "ce", "arm": "crt"}).record for run in cited["ip-dpp"]
    ]
    assert planned_controls({"ip-dpp": stray, "ce": []}) == {}


def test_the_plans_that_come_with_the_board_are_those_of_the_repository() -> None:
    root = pathlib.Path(__file__).parents[2]
    shipped = {file.name: file.read_text() for file in (shipped_root() / "plans").glob("*.toml")}
    assert shipped == {file.name: file.read_text() for file in (root / "plans").glob("*.toml")}
