"""Tuned recipes: the trials are the stated ones, chosen on held-out images alone, kept, and taken up again."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest
import torch

import longtail
from longtail import results
from longtail.data import Data, Split, load
from longtail.data.dataset import without_test
from longtail.errors import DivergedError, InputError
from longtail.methods import PROTOCOLS, tuned
from longtail.recipes.part import plain
from longtail.recipes.stages import stored_recipe
from longtail.training import run as training
from longtail.training.audit import rescore, runs_below
from longtail.training.compute import Compute
from longtail.training.restore import continued
from longtail.training.run import run_address, train

CPU = Compute("cpu", "float32", compiled=False)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


@pytest.fixture(scope="module")
def run(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a tuned run; treat it as read-only."""
    folder = tmp_path_factory.mktemp("tuned")
    recipe = longtail.recipe("tuned@trials=4", digits, epochs=3)
    train(recipe, digits, seed=2, out=folder / "run", compute=CPU)
    return folder / "run"


def scores(run: pathlib.Path) -> list[float]:
    folders = runs_below([run / "trials"])
    return [results.read(folder).record.report["balanced_accuracy"] for folder in folders]


def test_the_best_trial_on_held_out_images_is_trained_on_all(run: pathlib.Path, digits: Data) -> None:
    record, found = results.read(run).record, scores(run)
    assert len(found) == record.budget["trials"] == 4
    best = record.budget["chosen"]
    assert found[best] == max(found)
    assert found.index(max(found)) == best
    assert record.recipe == "tuned@trials=4"
    chosen = longtail.recipe("tuned@trials=4", digits, epochs=3).trials[best]
    again = train(chosen, digits, seed=2, out=run.parent / "again", compute=CPU)
    losses = [[row["loss"] for row in held.history] for held in (record, again)]
    assert losses[0] == losses[1]
    assert record.report == again.report
    taken = [results.read(folder).record.seconds for folder in runs_below([run / "trials"])]
    assert record.budget["trial_seconds"] == pytest.approx(sum(taken))
    assert 0 < record.seconds < record.budget["trial_seconds"]
    (note,) = record.notes
    assert f"trial {best} of 4" in note
    assert "67 held-out training images" in note
    assert rescore(run, digits).accuracy == record.report["accuracy"]
    assert torch.equal(longtail.predict(run, digits.test.images).argmax(dim=1), results.read(run).prediction)


def test_trials_never_see_the_test_split(run: pathlib.Path, digits: Data, tmp_path: pathlib.Path) -> None:
    """Another test split changes nothing of what is chosen; the mutant that chooses on it would differ."""
    turned = Split(digits.test.images, (digits.test.target + 1) % 10, digits.test.index)
    other = dataclasses.replace(digits, test=turned).renewed()
    recipe = longtail.recipe("tuned@trials=4", digits, epochs=3)
    record = train(recipe, other, seed=2, out=tmp_path / "run", compute=CPU)
    assert record.budget["chosen"] == results.read(run).record.budget["chosen"]
    for folder in runs_below([run / "trials"]):
        held = results.read(folder).record.data
        assert (held["num_train"], held["num_test"], held["num_validation"]) == (268, 67, 0)


def test_held_out_images_are_a_part_of_the_training_split(digits: Data) -> None:
    smaller = without_test(digits)
    both = torch.cat([smaller.train.index, smaller.test.index])
    assert sorted(both.tolist()) == sorted(digits.train.index.tolist())
    assert torch.equal(smaller.counts + torch.bincount(smaller.test.target, minlength=10), digits.counts)
    assert bool((smaller.counts >= 1).all())
    assert torch.equal(without_test(digits).test.index, smaller.test.index)
    own = load("digits-lt", imbalance=20, validation=0.25)
    taken = without_test(own)
    assert own.validation is not None
    assert torch.equal(taken.test.index, own.validation.index)
    assert torch.equal(taken.train.index, own.train.index)
    assert len({digits.fingerprint, smaller.fingerprint, own.fingerprint, taken.fingerprint}) == 4


def test_what_is_done_is_not_done_again(run: pathlib.Path, digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    from longtail.training import loop

    before = results.read(run).record
    (run / "record.json").rename(run / "kept.json")
    (run / "stages").rename(run / "gone")
    told: list[str] = []
    recipe = longtail.recipe("tuned@trials=4", digits, epochs=3)
    try:
        after = train(recipe, digits, seed=2, out=run, compute=CPU, notify=lambda now: told.append(now.recipe))
        assert set(told) == {"tuned@trials=4"}  # the trials were there
        assert (after.report, after.budget, after.notes) == (before.report, before.budget, before.notes)
        assert loop.CHECKPOINT_SECONDS > 0
    finally:
        (run / "kept.json").unlink()


def _at_rates(recipe: Any, *rates: float) -> Any:
    """A tuned recipe whose trials have these learning rates."""
    stage = recipe.trials[0].stages[0]
    trials = tuple(
        dataclasses.replace(
            recipe.trials[0],
            stages=(dataclasses.replace(stage, optimizer=stage.optimizer.with_arguments(lr=rate)),),
        )
        for rate in rates
    )
    return dataclasses.replace(recipe, trials=trials)


def test_a_trial_without_bounds_is_never_chosen_and_is_said(digits: Data, tmp_path: pathlib.Path) -> None:
    recipe = longtail.recipe("tuned@trials=3", digits, epochs=1)
    record = train(_at_rates(recipe, 1e20, 0.01, 1e25), digits, seed=0, out=tmp_path / "run", compute=CPU)
    assert record.budget["trials"] == 3
    assert record.budget["chosen"] == 1
    (note,) = [note for note in record.notes if note.startswith("Tuned")]
    assert "(diverged, " in note
    assert ", diverged %)" in note
    assert rescore(tmp_path / "run").accuracy == record.report["accuracy"]


def test_the_next_trial_is_taken_where_the_best_has_no_bounds_on_the_whole(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _at_rates(longtail.recipe("tuned@trials=3", digits, epochs=1), 0.001, 0.05, 1e25)
    plainly, chosen = training._trained, list[Any]()

    def sometimes(asked: Any, recipe: Any, *others: Any) -> Any:
        if asked.trials:
            chosen.append(recipe.stages[0].optimizer["lr"])
            if len(chosen) == 1:
                raise DivergedError("the loss became nan")
        return plainly(asked, recipe, *others)

    monkeypatch.setattr(training, "_trained", sometimes)
    record = train(recipe, digits, seed=0, out=tmp_path / "run", compute=CPU)
    assert sorted(chosen) == [0.001, 0.05]
    assert record.budget["chosen"] == [0.001, 0.05].index(chosen[1])
    (note,) = [note for note in record.notes if note.startswith("Tuned")]
    assert note.endswith(f"without bounds on the whole training split: {1 - record.budget['chosen']}.")


def test_a_search_of_which_no_trial_has_bounds_stops(digits: Data, tmp_path: pathlib.Path) -> None:
    recipe = longtail.recipe("tuned@trials=2", digits, epochs=1)
    with pytest.raises(DivergedError, match="the loss became"):
        train(_at_rates(recipe, 1e20, 1e25), digits, seed=0, out=tmp_path / "run", compute=CPU)
    assert not (tmp_path / "run" / "record.json").exists()


def test_rows_do_not_include_trials(run: pathlib.Path) -> None:
    assert runs_below([run.parent / "run"]) == [run]
    assert all("trials" not in folder.parts for folder in runs_below([run.parent]))


def test_a_tuned_run_is_not_continued(run: pathlib.Path, digits: Data, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="chosen among trials"):
        continued(results.read(run), digits, longtail.recipe("crt", digits), tmp_path)


def test_the_search_is_the_stated_one() -> None:
    recipe = longtail.recipe("tuned@trials=60", None)
    protocol = PROTOCOLS["plain-200"]
    plain_ce = longtail.recipe("ce", None).stages
    assert recipe.trials[0].stages == plain_ce
    rates, decays, sizes, smooth, kinds = [], [], [], [], []
    for trial in recipe.trials[1:]:
        (stage,) = trial.stages
        rates.append(stage.optimizer["lr"] / 0.1)
        decays.append(stage.optimizer["weight_decay"] / 2e-4)
        sizes.append(stage.batch_size)
        smooth.append(stage.objective["label_smoothing"])
        kinds.append(stage.augmentation)
        assert stage.epochs == 200
    assert 0.249 < min(rates) < 0.3 < 3.3 < max(rates) < 4.01
    assert 0.249 < min(decays) < 0.3 < 13 < max(decays) < 16.1
    assert set(sizes) == {64, 128, 256}
    assert set(smooth) == {0.0, 0.05, 0.1, 0.2}
    assert set(kinds) == {protocol.augmentation, protocol.stronger}
    assert len(set(recipe.trials)) == 60
    assert recipe.epochs == 61 * 200 == recipe.stated
    assert stored_recipe(plain(recipe)) == recipe


def test_points_are_spread_evenly() -> None:
    """Every fifth of each axis gets about its share of 100 points, and no two axes go together."""
    found = torch.tensor([tuned.point(number) for number in range(1, 101)], dtype=torch.float64)
    assert found.shape == (100, 5)
    for axis in found.T:
        assert bool(((axis * 5).long().bincount(minlength=5) - 20).abs().max() <= 2)
    correlation = torch.corrcoef(found.T) - torch.eye(5)
    assert float(correlation.abs().max()) < 0.2
    assert pytest.approx(tuned.RATIO + 1, abs=1e-12) == tuned.RATIO**6


def test_other_recipes_are_tuned_alike(run: pathlib.Path, digits: Data) -> None:
    recipe = longtail.recipe("tuned@of=(logit-adjustment@tau=0.5),trials=3", digits)
    assert [trial.stages[0].objective["tau"] for trial in recipe.trials] == [0.5] * 3
    mixed = longtail.recipe("tuned@of=mixup,trials=5", digits)
    assert len({trial.stages[0].objective["loss"]["label_smoothing"] for trial in mixed.trials}) > 1
    several = longtail.recipe("tuned@of=sade,trials=5", digits)
    each = [[held["label_smoothing"] for held in trial.stages[0].objective["experts"]] for trial in several.trials]
    assert all(len(set(shares)) == 1 for shares in each)
    assert len({shares[0] for shares in each}) > 1
    fitted = longtail.recipe("tuned@of=ncm,trials=2", digits)
    assert fitted.adjustment is not None
    keys = {run_address(longtail.recipe(name, digits), digits, 0, CPU) for name in ("ce", "tuned", "tuned@trials=7")}
    assert len(keys) == 3
    changed: Any = longtail.recipe("tuned@trials=3", digits, changes=["stages.0.optimizer.lr=0.5"])
    assert [trial.stages[0].optimizer["lr"] for trial in changed.trials] == [0.5] * 3
    for text, words in (
        ("tuned@of=tuned", "tuned once"),
        ("tuned@trials=1", "from 2"),
        ("tuned@of=cee", "did you mean"),
        (f"tuned@of={run}", "a complete recipe has no protocol"),
    ):
        with pytest.raises(InputError, match=words):
            longtail.recipe(text, digits)
