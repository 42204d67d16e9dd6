"""Recipes x seeds: train what has no record yet, and return all the records."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from longtail.data import Data
from longtail.train import compute as computing
from longtail.train.loop import Notify, train
from longtail.train.recipe import Recipe, address


def run_folder(out: pathlib.Path, recipe: Recipe, data: Data, seed: int, compute: computing.Compute) -> pathlib.Path:
    """Where the run of a recipe from a seed lives below ``out``: its name says what it is, its hash exactly which."""
    label = "".join(letter if letter.isalnum() or letter in "-_.=@," else "-" for letter in recipe.name)
    key = address(
        recipe,
        len(recipe.stages) - 1,
        fingerprint=data.fingerprint,
        seed=seed,
        compute=dataclasses.asdict(compute),
        adjustment=recipe.adjustment,
    )
    return out / data_label(data) / label / f"seed-{seed}-{key[:8]}"


def data_label(data: Data) -> str:
    """A folder name for a data set: its name, and what of it can vary."""
    name = data.name.replace(":", "-").replace("/", "-")
    drawn = "" if data.split_seed is None else f"-if{data.imbalance:g}"
    drawn += f"-split{data.split_seed}" if data.split_seed else ""
    return f"{name}{drawn}"


def compare(
    recipes: Sequence[Recipe],
    data: Data,
    *,
    seeds: Sequence[int],
    out: pathlib.Path,
    compute: computing.Compute,
    watch_test: bool = False,
    notify: Notify | None = None,
) -> dict[str, list[pathlib.Path]]:
    """Train every recipe from every seed; the folders of the records, by recipe.

    Seeds are the outer loop: when it is stopped early, whole comparisons are done rather than whole recipes.
    """
    folders: dict[str, list[pathlib.Path]] = {recipe.name: [] for recipe in recipes}
    for seed in seeds:
        for recipe in recipes:
            folder = run_folder(out, recipe, data, seed, compute)
            train(
                recipe,
                data,
                seed=seed,
                out=folder,
                store=out / data_label(data) / "stages",
                compute=compute,
                watch_test=watch_test,
                notify=notify,
            )
            folders[recipe.name].append(folder)
    return folders
