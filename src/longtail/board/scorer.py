"""The only writer of scores: each number is recomputed from the predictions; a record that disagrees is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from longtail.board.content import Variant
from longtail.board.predictions import Predictions, is_trusted, keys, read_predictions
from longtail.errors import InputError
from longtail.metrics import Report, evaluate

SCORER = 1
"""Raised whenever a change can move a score."""
_COMPARED = ("accuracy", "balanced_accuracy", "many", "medium", "few", "macro_f1")
_KEPT = (*_COMPARED, "geometric_mean", "harmonic_mean", "worst_decile", "group_sizes", "thresholds", "num_samples")


def _report(predictions: Predictions, counts: Sequence[int], many: int, few: int) -> Report:
    return evaluate(
        torch.from_numpy(predictions.target.copy()),
        torch.from_numpy(predictions.prediction.copy()),
        counts=torch.tensor(list(counts), dtype=torch.int64),
        many=many,
        few=few,
    )


def score_run(record: Mapping[str, Any], content: bytes, variant: Variant | None, where: str) -> dict[str, Any]:
    """Recompute one run's numbers from its predictions.

    Args:
        record: the run's record in its JSON form, checked already.
        content: its ``predictions.npz``; the checksum has been compared already.
        variant: the board's data set, if the board knows it.
        where: what to call the run in an error.

    Returns:
        The numbers as they go into ``scores/``, with ``trusted``: whether the true classes are known to be right.

    Raises:
        InputError: if the predictions are unusable, or disagree with what the record claims: both numbers are shown.
    """
    data, claimed = record["data"], record["report"]
    predictions = read_predictions(content, where, num_classes=len(data["counts"]))
    key = keys().get(variant.key) if variant is not None and variant.key else None
    if key is not None and len(data["counts"]) != key.num_classes:
        raise InputError(f"{where}: {len(data['counts'])} classes; the test set {key.id!r} has {key.num_classes}")
    trusted = is_trusted(predictions, key, where)
    own = _report(predictions, data["counts"], data["many"], data["few"])
    for name in _COMPARED:
        said, found = claimed[name], getattr(own, name)
        if (said is None) != (found is None) or (said is not None and abs(said - found) > 1e-6):
            shown = [("none" if each is None else f"{100 * each:.4f} %") for each in (said, found)]
            raise InputError(f"{where}: the record claims {name} {shown[0]}, its own predictions give {shown[1]}")
    if variant is not None and variant.counts is not None:
        # Held-out validation images may be missing from a class, never added to it.
        standard = variant.counts
        if len(standard) != len(data["counts"]) or any(
            have > most for have, most in zip(data["counts"], standard, strict=True)
        ):
            raise InputError(
                f"{where}: the training counts {list(data['counts'])[:4]}... are not those of {variant.name},"
                f" {list(standard)[:4]}..."
            )
        own = _report(predictions, standard, variant.many, variant.few)
    values = own.to_json()
    return {
        "seed": record["seed"],
        "trusted": trusted,
        "sha256": record["predictions"]["sha256"],
        **{name: values[name] for name in _KEPT},
        "per_class": values["per_class"],
    }
