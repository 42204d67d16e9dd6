"""Distances and figures of finished runs: those of the features, in files that belong to the folder asked for."""

from __future__ import annotations

import dataclasses
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest
import torch

from longtail import results
from longtail.analysis import diagnose, geometry
from longtail.analysis.geometry import class_distances
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods import recipe as named
from longtail.results import Loaded
from longtail.training import restore
from longtail.training.compute import Compute
from longtail.training.run import train

CPU = Compute(device="cpu", precision="float32", compiled=False)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


@pytest.fixture(autouse=True)
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of few points is made in a fraction of a second."""
    monkeypatch.setattr(diagnose, "SHOWN", 40)


@pytest.fixture(scope="module")
def runs(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Loaded]:
    root = tmp_path_factory.mktemp("runs")

    def run(name: str, seed: int = 0) -> Loaded:
        folder = root / f"{name}-{seed}"
        recipe = named(name, digits, epochs=2)
        train(recipe, digits, seed=seed, out=folder, store=root / "stages", compute=CPU)
        return results.read(folder)

    return run


def test_the_rows_are_the_distances_of_each_split(
    digits: Data, runs: Callable[..., Loaded], tmp_path: pathlib.Path
) -> None:
    chosen = [runs("ce"), runs("dro-lt@steps=4")]
    rows, files = diagnose.diagnose(chosen, digits, tmp_path)
    assert len(rows) == 2 * 2 * 3
    for run in chosen:
        for split, output in zip(("train", "test"), restore.features_of(run, digits), strict=True):
            expected = class_distances(
                output.features,
                getattr(digits, split).target,
                counts=digits.counts,
                many=digits.many,
                few=digits.few,
            )
            found = {
                row["distance"]: {key: row[key] for key in ("all", "many", "medium", "few")}
                for row in rows
                if row["split"] == split and row["method"] == f"{run.record.recipe}, seed 0"
            }
            assert found == {name: dataclasses.asdict(getattr(expected, name)) for name in ("intra", "inter", "ratio")}
    assert rows[0]["few"] is None  # no class of this draw is few-shot: no value, not 0
    assert [file.name for file in files] == ["features.svg", "radii-dro-lt@steps=4-seed-0.svg"]
    for file in files:
        assert ElementTree.parse(file).getroot().tag.endswith("svg")
    drawn = (tmp_path / "features.svg").read_text()
    assert "<dc:date>" not in drawn


def test_only_learned_radii_are_drawn(digits: Data, runs: Callable[..., Loaded], tmp_path: pathlib.Path) -> None:
    _, files = diagnose.diagnose([runs("dro-lt@steps=4,radius=shared")], digits, tmp_path)
    assert [file.name for file in files] == ["features.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.svg"]


def test_two_seeds_of_a_recipe_are_two_rows_of_the_figure(
    digits: Data, runs: Callable[..., Loaded], tmp_path: pathlib.Path
) -> None:
    rows, _ = diagnose.diagnose([runs("ce"), runs("ce", seed=1)], digits, tmp_path)
    assert {row["method"] for row in rows} == {"ce, seed 0", "ce, seed 1"}


def test_the_same_run_twice_is_refused(digits: Data, runs: Callable[..., Loaded], tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="same recipe and seed: ce, seed 0, ce, seed 0"):
        diagnose.diagnose([runs("ce"), runs("ce")], digits, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_other_data_is_refused(digits: Data, runs: Callable[..., Loaded], tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="same data set"):
        diagnose.diagnose([runs("ce")], load("digits-lt", imbalance=10), tmp_path)


def test_no_name_of_a_recipe_leads_out_of_the_folder(
    digits: Data, runs: Callable[..., Loaded], tmp_path: pathlib.Path
) -> None:
    run = runs("dro-lt@steps=4")
    elsewhere = dataclasses.replace(run, record=dataclasses.replace(run.record, recipe="../up/my file.py:recipe@a=1"))
    _, files = diagnose.diagnose([elsewhere], digits, tmp_path / "out")
    assert files[1] == tmp_path / "out" / "radii-..-up-my-file.py-recipe@a=1-seed-0.svg"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_both_halves_of_a_row_share_one_map(
    digits: Data, runs: Callable[..., Loaded], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    projected: list[int] = []
    drawn: list[tuple[int, int]] = []
    plain = diagnose.projection

    def projection(features: torch.Tensor, **options: object) -> torch.Tensor:
        projected.append(len(features))
        return plain(features, **options)

    def figure(maps: dict[str, tuple[diagnose.Points, diagnose.Points]], **arguments: object) -> object:
        for halves in maps.values():
            drawn.append((len(halves[0].target), len(halves[1].target)))
            for points, split in zip(halves, ("train", "test"), strict=True):
                # The same images in every run, so that maps can be compared by eye.
                target = getattr(digits, split).target
                order = torch.randperm(len(target), generator=diagnose.seeds.generator(0, "map", split))[:40]
                assert torch.equal(points.target, target[order])
        return geometry.feature_figure(maps, **arguments)

    monkeypatch.setattr(diagnose, "projection", projection)
    monkeypatch.setattr(diagnose, "feature_figure", figure)
    diagnose.diagnose([runs("ce")], digits, tmp_path)
    assert projected == [80]
    assert drawn == [(40, 40)]
