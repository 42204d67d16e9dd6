"""What a person looks at after training: distances, a map of the features, the learned radii."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import torch

from longtail.analysis.geometry import Points, class_distances, feature_figure, projection, radii_figure
from longtail.data import Data
from longtail.errors import InputError
from longtail.files import write_figure
from longtail.recipes import Part
from longtail.results import Loaded
from longtail.training import seeds
from longtail.training.restore import features_of

SHOWN = 2000
"""Images of each split in a figure; t-SNE takes minutes on many more."""


def diagnose(
    runs: Sequence[Loaded], data: Data, out: pathlib.Path, model: Part | None = None
) -> tuple[list[dict[str, Any]], list[pathlib.Path]]:
    """Distances within and between classes for each run, and its figures as SVG.

    Train and test features of a run are projected together, so that both halves of a row share one map.

    Args:
        runs: finished runs on ``data``.
        data: the data set of all of them.
        model: the runs' own network, where that is in a file of somebody's own and so must be named.
        out: folder for ``features.svg`` and, where radii were learned, ``radii-<recipe>-seed-<seed>.svg``.

    Returns:
        One row for each run, split and distance with its value in every group, and the files written.

    Raises:
        InputError: a run on other data, or two runs of the same recipe and seed.
    """
    names = [f"{run.record.recipe}, seed {run.record.seed}" for run in runs]
    if len(set(names)) < len(names):
        raise InputError(f"two runs have the same recipe and seed: {', '.join(names)}")
    rows: list[dict[str, Any]] = []
    maps: dict[str, tuple[Points, Points]] = {}
    written = []
    for name, run in zip(names, runs, strict=True):
        found = dict(zip(("train", "test"), features_of(run, data, model), strict=True))
        points = []
        for split, output in found.items():
            target = getattr(data, split).target
            distances = class_distances(output.features, target, counts=data.counts, many=data.many, few=data.few)
            for kind in ("intra", "inter", "ratio"):
                values = dataclasses.asdict(getattr(distances, kind))
                rows.append({"method": name, "split": split, "distance": kind, **values})
            chosen = torch.randperm(len(target), generator=seeds.generator(0, "map", split))[:SHOWN]
            points.append((output.features[chosen], target[chosen]))
        together = torch.cat([features for features, _ in points])
        near = max(1.0, min(30.0, (len(together) - 1) / 3))  # a third of a small set, the usual 30 of a large one
        positions = projection(together, generator=seeds.generator(0, "projection"), perplexity=near)
        (_, train_target), (_, test_target) = points
        train_half, test_half = torch.split(positions, [len(train_target), len(test_target)])
        maps[name] = (Points(train_half, train_target), Points(test_half, test_target))
        if any("radii" in row for row in run.record.history):
            recipe = re.sub(r"[^\w.=@,-]", "-", run.record.recipe)  # it may be named by a path
            path = out / f"radii-{recipe}-seed-{run.record.seed}.svg"
            write_figure(path, radii_figure(run.record.history, counts=data.counts))
            written.append(path)
    figure = feature_figure(maps, counts=data.counts, many=data.many, few=data.few, class_names=data.class_names)
    write_figure(out / "features.svg", figure)
    return rows, [out / "features.svg", *written]
