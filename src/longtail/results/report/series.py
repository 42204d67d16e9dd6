"""The numbers behind the figures of a report, thinned so that a page stays small; its tables show the same ones."""

from __future__ import annotations

import dataclasses
import math
import statistics as standard
from collections.abc import Mapping, Sequence

from longtail.results.comparison import Comparison
from longtail.results.record import Loaded

MOST = 100
"""Points of a curve and bins of classes."""


@dataclasses.dataclass(frozen=True)
class Bin:
    """Classes next to each other in frequency; one class each where there are few.

    Args:
        label: name of the class, or how many there are.
        images: mean number of training images.
        recalls: mean recall for each method; None where no class has test items.
    """

    label: str
    images: float
    recalls: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True)
class Curve:
    """One quantity over the epochs of all stages, over seeds; nan where it was not measured.

    Args:
        name: which quantity, where a figure holds several.
        epochs: counted from 1 through all stages.
        mean: mean over seeds.
        low: smallest of the seeds.
        high: largest of the seeds.
    """

    name: str
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def frequency_bins(comparison: Comparison) -> list[Bin]:
    """Recalls by class frequency, the most frequent class first."""
    counts, names = comparison.data["counts"], comparison.data["class_names"]
    order = sorted(range(len(counts)), key=lambda k: -counts[k])
    size = math.ceil(len(order) / MOST)
    bins = []
    for start in range(0, len(order), size):
        classes = order[start : start + size]
        recalls = []
        for method in comparison.methods:
            known = [recall for k in classes if (recall := method.per_class[k]) is not None]
            recalls.append(standard.fmean(known) if known else None)
        label = names[classes[0]] if len(classes) == 1 else f"{len(classes)} classes"
        bins.append(Bin(label, standard.fmean(counts[k] for k in classes), tuple(recalls)))
    return bins


def curves(
    records: Mapping[str, Sequence[Loaded]], quantities: Mapping[str, str], scale: float = 1.0
) -> dict[str, list[Curve]]:
    """Training curves of each method.

    Args:
        records: runs of each method; runs of one method have the same epochs.
        quantities: names of curves by the field of the history that they show.
        scale: factor on the values.

    Returns:
        For each method, the curves that were measured at least once; methods without any are left out.
    """
    found: dict[str, list[Curve]] = {}
    for method, runs in records.items():
        histories = [run.record.history for run in runs]
        epochs = min(map(len, histories))
        step = max(1, math.ceil(epochs / MOST))
        # The last epoch is always there: it is the one that counts.
        chosen = range((epochs - 1) % step, epochs, step)
        for field, name in quantities.items():
            columns = [[_number(history[epoch].get(field)) * scale for history in histories] for epoch in chosen]
            if all(math.isnan(value) for column in columns for value in column):
                continue
            curve = Curve(
                name,
                tuple(epoch + 1 for epoch in chosen),
                tuple(map(standard.fmean, columns)),
                tuple(map(min, columns)),
                tuple(map(max, columns)),
            )
            found.setdefault(method, []).append(curve)
    return found


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
