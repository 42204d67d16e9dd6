"""Trials of a recipe's settings on held-out images: which of them is trained for the row."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from longtail.data import Data
from longtail.data.dataset import without_test
from longtail.errors import DivergedError
from longtail.recipes.part import plain
from longtail.recipes.stages import Recipe
from longtail.results import Record

TRIALS = "trials"
"""Folder of the trials within the folder of their run."""


def choose(
    recipe: Recipe, data: Data, out: pathlib.Path, train: Callable[[Recipe, Data, pathlib.Path], Record]
) -> list[tuple[Recipe, dict[str, float], list[str]]]:
    """Train every trial of a recipe on a part of the training set, and rank them by the rest.

    The trials never see the test split: what their records call the test split are the held-out images.

    Args:
        recipe: with trials.
        data: the data set; its test split is not handed on.
        out: folder of the run.
        train: trains a recipe on data into a folder, or finds that done.

    Returns:
        The recipe to train on the whole training set, numbers for the record's budget, and a note that says what was
        chosen from what; the best first, and each other one for the case that those before it diverge there. Of equal
        trials the first is the better. A trial whose loss became infinite or no number is never chosen, and the note
        says that there was one. Its seconds are not in the budget's either.

    Raises:
        InputError: a class layout that leaves nothing to hold out.
        DivergedError: every trial's loss became infinite or no number.
    """
    smaller = without_test(data)
    scores: list[float | None] = []
    seconds = 0.0
    for number, trial in enumerate(recipe.trials):
        one = dataclasses.replace(trial, name=f"{recipe.name} trial {number}", selection="last epoch")
        try:
            record = train(one, smaller, out / TRIALS / f"{number:02d}")
        except DivergedError:
            scores.append(None)
            if number + 1 == len(recipe.trials) and all(score is None for score in scores):
                raise
        else:
            scores.append(float(record.report["balanced_accuracy"]))
            seconds += record.seconds
    held = {number: score for number, score in enumerate(scores) if score is not None}
    ranked = sorted(held, key=lambda number: (-held[number], number))
    others = ", ".join("diverged" if score is None else f"{100 * score:.1f}" for score in scores)
    choices = []
    for place, number in enumerate(ranked):
        chosen = dataclasses.replace(
            recipe.trials[number], name=recipe.name, selection=recipe.selection, stated=recipe.stated, trials=()
        )
        better = ", ".join(map(str, ranked[:place]))
        note = (
            f"Tuned: trial {number} of {len(scores)} (0 is the protocol as it is) was chosen by balanced accuracy on "
            f"{len(smaller.test)} held-out training images ({others} %), then trained on the whole training split; it "
            f"differs from 0 in {difference(recipe.trials[0], recipe.trials[number])}."
            + (f" Better there, but without bounds on the whole training split: {better}." if better else "")
        )
        choices.append((chosen, {"trials": len(scores), "chosen": number, "trial_seconds": seconds}, [note]))
    return choices


def difference(before: Recipe, after: Recipe) -> str:
    """Return in words which settings of one recipe another one has changed."""
    found: list[str] = []

    def compare(path: str, old: Any, new: Any) -> None:
        if old == new:
            return
        if isinstance(old, dict) and isinstance(new, dict) and old.get("name") == new.get("name"):
            for key in new:
                compare(f"{path}.{key}".lstrip("."), old.get(key), new[key])
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for place, (one, other) in enumerate(zip(old, new, strict=True)):
                compare(f"{path}.{place}", one, other)
        else:
            found.append(f"{path.replace('.arguments', '')} {_shown(new)}")

    compare("", plain(before), plain(after))
    return ", ".join(found) or "nothing"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(map(_shown, value)) or "none"
    return str(value["name"]).rpartition(":")[2] if isinstance(value, dict) and "name" in value else str(value)
