"""Scores a record's stored predictions again, and refuses what does not agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from longtail.data import Data
from longtail.errors import InputError
from longtail.metrics import Report, evaluate
from longtail.results.record import Loaded

TOLERANCE = 1e-9
"""By which a claimed rate may miss the one that the predictions give: what summing in another order can change."""


def rescore(loaded: Loaded, data: Data | None = None) -> Report:
    """Compute a record's report from its stored predictions.

    Args:
        loaded: the record with its predictions.
        data: the data set it should have been made with; without one, the classes and counts in the record are used.

    Returns:
        The report. Its calibration is the recorded one, because probabilities are not stored.

    Raises:
        InputError: the data are not those of the record, or the record claims something else than its predictions say.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=f"{folder}/ce")
        ...     report = rescore(longtail.results.read(f"{folder}/ce"), data)
        >>> abs(report.accuracy - record.report["accuracy"]) < 1e-9
        True
    """
    record, where = loaded.record, loaded.folder
    if data is not None:
        _same_data(loaded, data)
    stored = Report.from_json(record.report)
    report = dataclasses.replace(_scored(loaded), calibration=stored.calibration)
    rescored = report.to_json()
    for name, claimed in stored.to_json().items():
        found = rescored[name]
        if not agree(claimed, found):
            raise InputError(f"{where}: the record claims {name} {claimed}, its own predictions give {found}")
    return report


def score(
    loaded: Loaded, *, counts: Sequence[int] | None = None, many: int | None = None, few: int | None = None
) -> Report:
    """Compute the report of a record's predictions, whatever the record claims.

    Use ``rescore`` unless the groups are to be made by other counts than those in the record.

    Args:
        loaded: the record with its predictions.
        counts: (K,) training images of each class; those in the record if left out.
        many: more training images than this make a class "many"; as in the record if left out.
        few: fewer training images than this make a class "few"; as in the record if left out.

    Returns:
        The report, with the calibration as recorded.

    Raises:
        InputError: the record holds a class that ``counts`` does not have, or a class would be both many and few.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=f"{folder}/ce")
        ...     report = score(longtail.results.read(f"{folder}/ce"), many=50, few=10)
        >>> record.report["group_sizes"], report.group_sizes
        ({'many': 3, 'medium': 4, 'few': 3}, {'many': 2, 'medium': 4, 'few': 4})
    """
    report = _scored(loaded, counts=counts, many=many, few=few)
    return dataclasses.replace(report, calibration=Report.from_json(loaded.record.report).calibration)


def _scored(
    loaded: Loaded, *, counts: Sequence[int] | None = None, many: int | None = None, few: int | None = None
) -> Report:
    data = loaded.record.data
    return evaluate(
        loaded.target,
        loaded.prediction,
        counts=torch.tensor(list(data["counts"] if counts is None else counts)),
        many=data["many"] if many is None else many,
        few=data["few"] if few is None else few,
    )


def _same_data(loaded: Loaded, data: Data) -> None:
    record, where = loaded.record, loaded.folder
    theirs, ours = record.data["fingerprint"], data.fingerprint
    if theirs != ours:
        raise InputError(
            f"{where} was made with other data: {record.data['name']} with fingerprint {theirs}, but {data.name} given "
            f"here has {ours}; give the same data set, imbalance, split seed and validation share"
        )
    if record.data["counts"] != data.counts.tolist():
        raise InputError(f"{where}: the counts in the record are not those of the data with its fingerprint")
    index, target = data.test.index.cpu(), data.test.target.cpu()
    here, there = index.argsort(), loaded.index.argsort()
    if not (
        torch.equal(index[here], loaded.index[there]) and torch.equal(target[here].long(), loaded.target[there].long())
    ):
        raise InputError(f"{where}: the stored test items or their classes are not those of the data's test split")


def agree(claimed: object, found: object) -> bool:
    """Whether two plain values are the same up to rounding; 1, 1.0 and true differ.

    Two processors give the same mean of logarithms with another last digit, so fractions are not compared to the last.

    Args:
        claimed: a number, text, list or dictionary, as JSON holds them.
        found: likewise.

    Example:
        >>> agree({"few": [0.1, 0.2]}, {"few": [0.1, 0.2 + 1e-16]}), agree([1], [1.0]), agree(0.1, 0.1001)
        (True, False, False)
    """
    if isinstance(claimed, list) and isinstance(found, list):
        return len(claimed) == len(found) and all(map(agree, claimed, found))
    if isinstance(claimed, dict) and isinstance(found, dict):
        return claimed.keys() == found.keys() and all(agree(value, found[name]) for name, value in claimed.items())
    if isinstance(claimed, float) and isinstance(found, float):
        return claimed == found or abs(claimed - found) <= TOLERANCE
    return type(claimed) is type(found) and claimed == found
