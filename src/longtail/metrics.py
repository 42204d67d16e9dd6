"""Every number that is reported, from one (K, K) count matrix; calibration from probabilities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.counts import as_counts, as_labels, shot_groups
from longtail.errors import InputError
from longtail.shapes import Counts, Float, Int, Labels

BINS = 15
"""Bins of equal width of the expected calibration error, as in Guo et al., ICML 2017."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How far stated probabilities can be believed.

    Args:
        ece: expected calibration error, in [0, 1]: |accuracy - confidence| averaged over ``bins`` bins of equal width,
            weighted by the samples in each.
        nll: mean negative log-likelihood of the target, in nats.
        brier: mean squared distance between the probabilities and the one-hot target, summed over classes: in [0, 2].
        bins: number of bins of ``ece``.

    Example:
        >>> calibration([0, 1], np.array([[0.75, 0.25], [0.25, 0.75]])).brier
        0.125
    """

    ece: float
    nll: float
    brier: float
    bins: int


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of one evaluation. Rates are in [0, 1]; what has no value is None, never 0.

    Args:
        accuracy: share of samples that are right.
        balanced_accuracy: mean recall of the classes that occur in the target.
        many: mean recall of the classes with more than ``thresholds["many"]`` training images.
        medium: mean recall of the classes between, the thresholds included.
        few: mean recall of the classes with fewer than ``thresholds["few"]`` training images.
        group_sizes: number of classes in each group.
        thresholds: bounds of the groups in training images.
        per_class: recall of each class.
        macro_f1: mean F1 of the classes that occur in the target or among the predictions.
        geometric_mean: geometric mean of the recalls; 0 as soon as one class is never recognised.
        harmonic_mean: harmonic mean of the recalls; 0 as soon as one class is never recognised.
        worst_decile: mean recall of the tenth of the classes (rounded up) that are recognised worst.
        calibration: None without probabilities.
        num_samples: number of test items.

    Example:
        >>> evaluate([0, 0, 0, 1], [0, 0, 1, 1], counts=[500, 5]).few
        1.0
    """

    accuracy: float
    balanced_accuracy: float
    many: float | None
    medium: float | None
    few: float | None
    group_sizes: dict[str, int]
    thresholds: dict[str, int]
    per_class: tuple[float | None, ...]
    macro_f1: float
    geometric_mean: float
    harmonic_mean: float
    worst_decile: float
    calibration: Calibration | None
    num_samples: int

    def __str__(self) -> str:
        """A table: the share of images that are right, then the mean recall of all classes and of each group, in %."""
        bounds, sizes = self.thresholds, self.group_sizes
        rows = [
            (f"{self.num_samples} images", "", self.accuracy),
            ("classes counting alike", sum(sizes.values()), self.balanced_accuracy),
            (f"many-shot, > {bounds['many']}", sizes["many"], self.many),
            (f"medium-shot, {bounds['few']} to {bounds['many']}", sizes["medium"], self.medium),
            (f"few-shot, < {bounds['few']}", sizes["few"], self.few),
        ]
        lines = [f"{'':24}{'classes':>9}{'right, %':>10}"]
        lines += [f"{name:24}{size:>9}{'-' if rate is None else f'{100 * rate:.1f}':>10}" for name, size, rate in rows]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Turn the report into plain dictionaries, lists and numbers.

        Returns:
            What ``json.dumps`` takes and ``from_json`` reads.
        """
        held = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **held,
            "group_sizes": dict(self.group_sizes),
            "thresholds": dict(self.thresholds),
            "per_class": list(self.per_class),
            "calibration": None if self.calibration is None else dataclasses.asdict(self.calibration),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read a report that ``to_json`` wrote.

        Args:
            data: the fields of a report.

        Returns:
            The report.

        Raises:
            InputError: a field that is missing, unknown or of the wrong type.
        """
        _same_fields(cls, data, "report")
        values = dict(data)
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "geometric_mean", "harmonic_mean", "worst_decile"):
            values[name] = _rate(values[name], name)
        for name in ("many", "medium", "few"):
            values[name] = None if values[name] is None else _rate(values[name], name)
        for name, keys in (("group_sizes", {"many", "medium", "few"}), ("thresholds", {"many", "few"})):
            group = values[name]
            if not isinstance(group, Mapping) or set(group) != keys or not all(map(_whole, group.values())):
                raise InputError(f"report: {name!r} must give a whole number for each of {', '.join(sorted(keys))}")
            values[name] = dict(group)
        if not isinstance(values["per_class"], (list, tuple)):
            raise InputError("report: 'per_class' must be a list with one recall, or null, for each class")
        values["per_class"] = tuple(None if v is None else _rate(v, "per_class") for v in values["per_class"])
        if not _whole(values["num_samples"]):
            raise InputError("report: 'num_samples' must be a whole number")
        if values["calibration"] is not None:
            values["calibration"] = _calibration(values["calibration"])
        return cls(**values)


def confusion(target: Labels, prediction: Labels, num_classes: int) -> Int[Tensor, "K K"]:
    """How often each class was predicted as each.

    Args:
        target: (N,) true classes, in [0, K); a list, an array or a tensor.
        prediction: (N,) predicted classes, in [0, K).
        num_classes: number of classes, K.

    Returns:
        Counts (K, K): rows are targets, columns are predictions.

    Raises:
        InputError: a class outside [0, K), or target and prediction of unequal length.

    Example:
        >>> confusion(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2)
        tensor([[1, 1],
                [0, 1]])
    """
    target, prediction = _pair(target, prediction, num_classes)
    pair = target * num_classes + prediction
    return torch.bincount(pair, minlength=num_classes**2).view(num_classes, num_classes)


def _pair(target: Labels, prediction: Labels, num_classes: int) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """True and predicted classes (N,), checked."""
    target, prediction = _classes(target, "target"), _classes(prediction, "prediction")
    if len(target) != len(prediction):
        raise InputError(f"target has {len(target)} classes and prediction {len(prediction)}: give one for each item")
    for name, classes in (("target", target), ("prediction", prediction)):
        if len(classes) and not (int(classes.min()) >= 0 and int(classes.max()) < num_classes):
            wrong = int(classes[(classes < 0) | (classes >= num_classes)][0])
            raise InputError(
                f"{name} holds class {wrong}; with {num_classes} classes it must be 0 to {num_classes - 1}"
            )
    return target.long(), prediction.long()


def evaluate(
    target: Labels,
    prediction: Labels,
    *,
    counts: Counts,
    probability: Float[Tensor, "N K"] | np.ndarray | None = None,
    many: int = 100,
    few: int = 20,
) -> Report:
    """Score predictions: every number that this library reports, from the predicted classes.

    Args:
        target: (N,) true classes; a list, an array or a tensor.
        prediction: (N,) predicted classes.
        counts: (K,) images of each class in the training set; they make the groups.
        probability: (N, K), rows that sum to 1, for the calibration.
        many: a class with more training images than this is in the group "many".
        few: a class with fewer training images than this is in the group "few".

    Returns:
        The report. The class means leave out classes without a test item.

    Raises:
        InputError: nothing to score, a class outside [0, K), or rows that are no probabilities.

    Example:
        >>> report = evaluate([0, 0, 0, 1], [0, 0, 1, 1], counts=[500, 5])
        >>> report.accuracy, round(report.balanced_accuracy, 3), report.medium
        (0.75, 0.833, None)
    """
    if len(target) == 0:
        raise InputError("there is nothing to score: the target is empty")
    counts = as_counts(counts)
    target, prediction = _pair(target, prediction, len(counts))
    # Never the whole matrix of classes by classes: with 8,142 classes it would take half a gigabyte.
    correct, support, predicted = (
        torch.bincount(classes, minlength=len(counts)).double()
        for classes in (target[target == prediction], target, prediction)
    )
    occurs = support > 0
    recall = correct / support  # nan where a class does not occur
    present = recall[occurs]
    used = support + predicted > 0
    f1 = 2 * correct[used] / (support + predicted)[used]
    groups = {name: mask.to(occurs.device) for name, mask in shot_groups(counts, many=many, few=few).items()}
    means = {name: _mean(recall[mask & occurs]) for name, mask in groups.items()}
    worst = present.sort().values[: math.ceil(len(present) / 10)]
    return Report(
        accuracy=float(correct.sum() / support.sum()),
        balanced_accuracy=float(present.mean()),
        many=means["many"],
        medium=means["medium"],
        few=means["few"],
        group_sizes={name: int(mask.sum()) for name, mask in groups.items()},
        thresholds={"many": many, "few": few},
        per_class=tuple(None if math.isnan(value) else value for value in recall.tolist()),
        macro_f1=float(f1.mean()),
        # exp(mean(log 0)) and 1 / mean(1 / 0) are 0, as they should be.
        geometric_mean=float(present.log().mean().exp()),
        harmonic_mean=float(1 / present.reciprocal().mean()),
        worst_decile=float(worst.mean()),
        calibration=None if probability is None else calibration(target, probability),
        num_samples=len(target),
    )


def calibration(target: Labels, probability: Float[Tensor, "N K"] | np.ndarray) -> Calibration:
    r"""How well probabilities agree with what happens.

    .. math:: \mathrm{ECE} = \sum_{b=1}^{15} \frac{n_b}{N} |\mathrm{acc}_b - \mathrm{conf}_b|    (Guo et al., Eq. 3)

    Bin b holds the samples whose largest probability is in ((b-1)/15, b/15]; acc is the share of them whose most
    probable class is the target. The negative log-likelihood takes a probability of 0 as the smallest normal number
    of its type, so that it stays finite.

    Args:
        target: (N,) true classes; a list, an array or a tensor.
        probability: (N, K), rows that sum to 1.

    Returns:
        ECE, negative log-likelihood in nats and Brier score.

    Raises:
        InputError: nothing to score, a class outside [0, K), rows that are no probabilities, or not one for each item.

    Example:
        >>> calibration(torch.tensor([0, 1]), torch.tensor([[0.8, 0.2], [0.8, 0.2]])).ece
        0.3000...

    References:
        Guo, Pleiss, Sun, Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017; Brier, *Verification of
        forecasts expressed in terms of probability*, 1950 (the sum over all classes).
    """
    probability, target = torch.as_tensor(probability), _classes(target, "target")
    samples, num_classes = probability.shape
    if len(target) != samples:
        raise InputError(f"target has {len(target)} classes and probability {samples} rows: give one for each item")
    if samples == 0:
        raise InputError("there is nothing to score: the target is empty")
    if bool(((target < 0) | (target >= num_classes)).any()):
        raise InputError(f"target holds a class outside 0 to {num_classes - 1}, the columns of probability")
    smallest = torch.finfo(probability.dtype).tiny
    tolerance = 1e-3 if probability.dtype in (torch.float32, torch.float64) else 1e-1
    sums = probability.double().sum(dim=1)
    if not (bool((probability >= 0).all()) and bool(((sums - 1).abs() < tolerance).all())):
        worst = int((sums - 1).abs().nan_to_num(math.inf).argmax())
        raise InputError(
            f"probability must be rows of numbers >= 0 that sum to 1 (row {worst} sums to {float(sums[worst]):.4g}); "
            "pass logits through softmax first"
        )
    probability, target = probability.double(), target.long()
    confidence, likeliest = probability.max(dim=1)
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=probability.device)
    place = torch.bucketize(confidence, edges[1:-1])
    gap = torch.zeros(BINS, dtype=torch.float64, device=probability.device)
    gap.index_add_(0, place, (likeliest == target).double() - confidence)
    likelihood = probability.gather(1, target[:, None])[:, 0]
    square = probability.square().sum(dim=1) - 2 * likelihood + 1
    return Calibration(
        ece=float(gap.abs().sum() / samples),
        nll=float(-likelihood.clamp(min=smallest).log().mean()),
        brier=float(square.mean()),
        bins=BINS,
    )


def _classes(values: Labels, name: str) -> Tensor:
    if len(values) == 0:
        return torch.zeros(0, dtype=torch.int64)
    try:
        return as_labels(values)
    except InputError as error:
        raise InputError(str(error).replace("target", name, 1)) from None


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def _same_fields(cls: type[Any], data: Mapping[str, Any], where: str) -> None:
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: an object is needed, not {type(data).__name__}")
    names = {field.name for field in dataclasses.fields(cls)}
    for problem, wrong in (("is missing", names - set(data)), ("is not known", set(data) - names)):
        if wrong:
            raise InputError(f"{where}: field {sorted(wrong)[0]!r} {problem}")


def _calibration(data: Mapping[str, Any]) -> Calibration:
    _same_fields(Calibration, data, "report, calibration")
    for name, highest in (("ece", 1.0), ("nll", math.inf), ("brier", 2.0)):
        _number(data[name], name, highest)
    if not _whole(data["bins"]):
        raise InputError("report, calibration: 'bins' must be a whole number")
    return Calibration(**data)


def _rate(value: object, name: str) -> float:
    return _number(value, name, 1.0)


def _number(value: object, name: str, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= highest * (1 + 1e-9):
        raise InputError(f"report: {name!r} must be a number from 0 to {highest:g}, not {value!r}")
    return float(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
