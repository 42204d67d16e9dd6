"""The only writer of scores: each number is recomputed from the predictions; a record that disagrees is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail.board.keys import Key, is_trusted
from longtail.board.model import Answers
from longtail.board.schema import Variant
from longtail.errors import InputError
from longtail.metrics import evaluate
from longtail.results.predictions import read_predictions
from longtail.results.record import Record, together
from longtail.results.rescoring import rescore, score


@dataclass(frozen=True, eq=False)
class Scored:
    """One run's predictions: identity, true and predicted class of each test item."""

    index: Tensor
    target: Tensor
    prediction: Tensor


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


def score_run(
    record: Record, content: bytes, variant: Variant | None, key: Key | None, where: str
) -> tuple[dict[str, Any], Scored]:
    """Recompute one run's numbers from its predictions.

    Args:
        record: the run's record, read.
        content: its ``predictions.npz``.
        variant: the board's data set, if the board knows it.
        key: its test set, if the scorer knows it.
        where: what to call the run in an error.

    Returns:
        The numbers as they go into ``scores/``, with ``trusted``: whether the true classes are known to be right; and
        the run as it was read.

    Raises:
        InputError: if the predictions are unusable, or disagree with what the record claims: both numbers are shown.
    """
    counts = record.data["counts"]
    check_classes(len(counts), variant, where)
    loaded = together(record, content, where, folder=Path(where))
    trusted = is_trusted(loaded.index, loaded.target, key, where)
    report = rescore(loaded)
    if variant is not None and variant.counts is not None:
        same_counts(counts, variant, where)
        if (*counts, record.data["many"], record.data["few"]) != (*variant.counts, variant.many, variant.few):
            report = score(loaded, counts=variant.counts, many=variant.many, few=variant.few)
    values = report.to_json()
    numbers = {name: values[name] for name in _KEPT}
    numbers |= {"seed": record.seed, "trusted": trusted, "sha256": record.predictions["sha256"]}
    return numbers, Scored(loaded.index, loaded.target, loaded.prediction)


def score_predictions(
    content: bytes, seed: int, variant: Variant, key: Key | None, where: str
) -> tuple[dict[str, Any], Scored]:
    """Score predictions that come without a record, on a data set that the board knows.

    Args:
        content: an ``.npz`` of index, target and prediction.
        seed: what the run is called.
        variant: the board's data set.
        key: its test set, if the scorer knows it.
        where: what to call the run in an error.

    Returns:
        As for :func:`score_run`; shot groups have no value where the class counts are not known here.

    Raises:
        InputError: if the predictions are unusable.
    """
    found = read_predictions(content, where)
    num_classes = variant.num_classes or 0
    for name in ("target", "prediction"):
        if int(found[name].min()) < 0 or int(found[name].max()) >= num_classes:
            raise InputError(f"{where}: {name} must hold classes from 0 to {num_classes - 1}")
    if len(set(found["index"].tolist())) != len(found["index"]):
        raise InputError(f"{where}: an index occurs more than once")
    trusted = is_trusted(found["index"], found["target"], key, where)
    report = evaluate(
        found["target"],
        found["prediction"],
        counts=torch.tensor(list(variant.counts or (1,) * num_classes)),
        many=variant.many,
        few=variant.few,
    )
    values = report.to_json()
    if variant.counts is None:
        values |= dict.fromkeys(("many", "medium", "few"))
    numbers = {name: values[name] for name in _KEPT}
    digest = hashlib.sha256(content).hexdigest()
    return {"seed": seed, "trusted": trusted, "sha256": digest, **numbers}, Scored(**found)


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


def predicted(run: Scored) -> bytes:
    """The predictions of a run in the order of its items' identities: equal for two runs that predict alike."""
    return run.prediction[run.index.argsort(stable=True)].numpy().tobytes()


def answers(runs: Sequence[Scored], seeds: Sequence[int]) -> Answers:
    """The answers of one method's runs on the same test items, in the order of the items' identities.

    Raises:
        InputError: if the runs were not tested on the same items.
    """
    order = [run.index.argsort(stable=True) for run in runs]
    first = runs[0].target[order[0]]
    for run, place in zip(runs, order, strict=True):
        if not torch.equal(run.index[place], runs[0].index[order[0]]) or not torch.equal(run.target[place], first):
            raise InputError("the seeds were not tested on the same images")
    correct = [run.prediction[place] == run.target[place] for run, place in zip(runs, order, strict=True)]
    return Answers(torch.stack(correct), first, tuple(seeds))
