"""The only writer of scores: each number is recomputed from the predictions; a record that disagrees is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from longtail.board.content import Variant
from longtail.board.keys import is_trusted, keys
from longtail.board.model import Answers
from longtail.errors import InputError
from longtail.results.record import Loaded, parse
from longtail.results.rescoring import rescore, score

SCORER = 2
"""Raised whenever a change can move a score."""
MAX_CLASSES = 2000
"""Classes of a data set that the board does not know; one that it knows has as many as it has."""
_KEPT = (
    "accuracy",
    "balanced_accuracy",
    "many",
    "medium",
    "few",
    "macro_f1",
    "geometric_mean",
    "harmonic_mean",
    "worst_decile",
    "group_sizes",
    "thresholds",
    "num_samples",
    "per_class",
)


def score_run(record: Mapping[str, Any], content: bytes, variant: Variant | None, where: str) -> tuple[dict[str, Any], Loaded]:
    """Recompute one run's numbers from its predictions.

    Args:
        record: the run's record in its JSON form.
        content: its ``predictions.npz``.
        variant: the board's data set, if the board knows it.
        where: what to call the run in an error.

    Returns:
        The numbers as they go into ``scores/``, with ``trusted``: whether the true classes are known to be right; and
        the run as it was read.

    Raises:
        InputError: if the predictions are unusable, or disagree with what the record claims: both numbers are shown.
    """
    counts = record.get("data", {}).get("counts", ()) if isinstance(record.get("data"), dict) else ()
    check_classes(len(counts) if isinstance(counts, list) else 0, variant, where)
    loaded = parse(json.dumps(record).encode(), content, where)
    trusted = is_trusted(loaded.index, loaded.target, _key(variant), where)
    report = rescore(loaded)
    if variant is not None and variant.counts is not None:
        same_counts(counts, variant, where)
        report = score(loaded, counts=variant.counts, many=variant.many, few=variant.few)
    values = report.to_json()
    numbers = {name: values[name] for name in _KEPT}
    return {"seed": record["seed"], "trusted": trusted, "sha256": record["predictions"]["sha256"], **numbers}, loaded


def score_predictions(content: bytes, seed: int, variant: Variant, where: str) -> tuple[dict[str, Any], Loaded]:
    """Score predictions that come without a record, on a data set that the board knows.

    Args:
        content: an ``.npz`` of index, target and prediction.
        seed: what the run is called.
        variant: the board's data set.
        where: what to call the run in an error.

    Returns:
        As for :func:`score_run`; shot groups have no value where the class counts are not known here.

    Raises:
        InputError: if the predictions are unusable.
    """
    found = read_predictions(content, where)
    num_classes = variant.num_classes or 0
    for name in ("target", "prediction"):
        values = found[name]
        if not len(values) or int(values.min()) < 0 or int(values.max()) >= num_classes:
            raise InputError(f"{where}: {name} must hold classes from 0 to {num_classes - 1}")
    if len({len(each) for each in found.values()}) != 1 or len(found["index"].unique()) != len(found["index"]):
        raise InputError(f"{where}: index, target and prediction must be equally long, and each index occur once")
    trusted = is_trusted(found["index"], found["target"], _key(variant), where)
    counts = variant.counts or (1,) * num_classes
    record = Record.of_predictions
    values = report.to_json()
    if variant.counts is None:
        values |= dict.fromkeys(("many", "medium", "few"))
    numbers = {name: values[name] for name in _KEPT}
    return {"seed": seed, "trusted": trusted, "sha256": hashlib.sha256(content).hexdigest(), **numbers}, loaded


def _key(variant: Variant | None) -> Any:
    return keys().get(variant.key) if variant is not None and variant.key else None


def check_classes(count: int, variant: Variant | None, where: str) -> None:
    """Refuse more classes than can be scored in little memory, before anything is computed.

    Raises:
        InputError: naming both numbers.
    """
    known = variant.num_classes if variant is not None else None
    if known is not None and count != known:
        raise InputError(f"{where}: {count} classes; {variant.name if variant else ''} has {known}")
    if known is None and count > MAX_CLASSES:
        raise InputError(f"{where}: {count} classes; at most {MAX_CLASSES:,} are taken on a data set unknown here")


def same_counts(counts: Sequence[int], variant: Variant, where: str) -> None:
    """Refuse training counts above the board's; held-out validation images may be missing, never added.

    Raises:
        InputError: showing the first of both.
    """
    standard = variant.counts or ()
    if len(standard) != len(counts) or any(have > most for have, most in zip(counts, standard, strict=True)):
        raise InputError(
            f"{where}: the training counts {list(counts)[:4]}... are not those of {variant.name},"
            f" {list(standard)[:4]}..."
        )


def answers(runs: Sequence[Loaded]) -> Answers:
    """The answers of one method's runs on the same test items, in the order of the items' identities."""
    import torch

    order = [run.index.argsort(stable=True) for run in runs]
    first = runs[0].target[order[0]]
    correct = [run.prediction[place] == run.target[place] for run, place in zip(runs, order, strict=True)]
    return Answers(torch.stack(correct), first, tuple(run.record.seed for run in runs))
