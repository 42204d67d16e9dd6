"""What re-balancing does for a finished run: every estimator fitted, before and after by group, with intervals.

Hyper-parameters are chosen on the validation split, and so is the method that is recommended; the test split is only
scored. Without a validation split nothing is chosen: the estimators keep their published constants.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from longtail import metrics, rebalance
from longtail.errors import InputError
from longtail.files import write_tensors
from longtail.models import CosineHead, Network, Output
from longtail.results.comparison import rate_weights
from longtail.results.statistics import Estimate, difference, estimate
from longtail.shapes import Counts, Float, Labels

ON_LOGITS = ("logit-adjustment",)
ON_FEATURES = ("tau-norm", "samn", "nearest-class-mean", "lws", "disalign", "crt", "los")
"""Methods by the time they take: the last two solve for a whole classifier."""
QUICK = ("logit-adjustment", "tau-norm", "samn", "nearest-class-mean", "lws")


@dataclasses.dataclass(frozen=True)
class Part:
    """A split as a network answers it.

    Args:
        logits: (N, K).
        target: (N,) class numbers.
        features: (N, D), where the network is at hand.
    """

    logits: Tensor
    target: Tensor
    features: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """One method.

    Args:
        method: its name; ``before`` is the run as it was.
        chosen: what was chosen on validation, or the constant that was kept, in words.
        rates: estimates by rate: accuracy, balanced accuracy and the groups.
        changes: estimates of the difference from before; empty for ``before``.
        validation: balanced accuracy on the validation split; None without one.
        ece: expected calibration error on the test split, after one temperature where validation allows it.
        seconds: that fitting took.
        weight: (K, D) of the head, where there is one.
        bias: (K,) likewise.
    """

    method: str
    chosen: str
    rates: dict[str, Estimate]
    changes: dict[str, Estimate]
    validation: float | None
    ece: float
    seconds: float
    weight: Tensor | None = None
    bias: Tensor | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, without the head."""
        return {
            "method": self.method,
            "chosen": self.chosen,
            "rates": {name: dataclasses.asdict(one) for name, one in self.rates.items()},
            "changes": {name: dataclasses.asdict(one) for name, one in self.changes.items()},
            "validation_balanced_accuracy": self.validation,
            "ece": self.ece,
            "seconds": self.seconds,
        }


def head_of(network: Network) -> tuple[Float[Tensor, "K D"], Float[Tensor, " K"], bool]:
    """Return the weights of a network's head, and whether it reads features of length 1.

    Args:
        network: with a linear or a cosine head.

    Returns:
        (K, D), (K,) and whether features must be scaled to length 1 first (a cosine head, its scale in the weights).

    Raises:
        InputError: another head.

    Example:
        >>> from longtail.models import linear
        >>> network = linear(num_classes=3, channels=2, image_size=0, generator=torch.Generator().manual_seed(0))
        >>> head_of(network)[1]
        tensor([0., 0., 0.])
    """
    head = network.head
    if isinstance(head, CosineHead):
        weight = head.scale * functional.normalize(head.weight.detach())
        return weight, weight.new_zeros(len(weight)), True
    if isinstance(head, torch.nn.Linear):
        bias = head.weight.new_zeros(head.out_features) if head.bias is None else head.bias
        return head.weight.detach(), bias.detach(), False
    raise InputError(
        f"the head of {network.name} is a {type(head).__name__}: only linear and cosine heads have weights"
    )


def part_of(network: Network, found: Output, target: Tensor) -> Part:
    """Return a split as the estimators read it: features of length 1 under a cosine head."""
    unit = head_of(network)[2]
    return Part(found.logits, target.cpu(), functional.normalize(found.features) if unit else found.features)


def rebalanced(
    test: Part,
    *,
    counts: Counts,
    many: int,
    few: int,
    train: Part | None = None,
    validation: Part | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    methods: tuple[str, ...] = (),
) -> list[Row]:
    """Fit every method that what is given allows, and score it on the test split beside the run as it was.

    Args:
        test: what is scored.
        counts: (K,) training images per class.
        many: many-shot classes have more training images than this.
        few: few-shot classes have fewer.
        train: the training split with features, for methods on features.
        validation: what hyper-parameters are chosen on.
        weight: (K, D) of the run's head, for methods on features.
        bias: (K,) likewise.
        methods: names, such as ``tau-norm``; all quick ones that can be had by default.

    Returns:
        ``before``, then a row for each method.

    Raises:
        InputError: an unknown method, or one that needs features that are not there.
    """
    known = (*ON_LOGITS, *ON_FEATURES)
    has_features = train is not None and train.features is not None and weight is not None
    asked = methods or tuple(name for name in QUICK if has_features or name in ON_LOGITS)
    for name in asked:
        if name not in known:
            raise InputError(f"unknown method {name!r}: one of {', '.join(known)}")
        if name in ON_FEATURES and not has_features:
            raise InputError(f"{name} works on features: name the data set of the run with --data")
    sizes = torch.as_tensor(counts)
    weights = rate_weights(test.target, sizes, many=many, few=few)
    rows = [_row("before", "", test.logits, None, test, validation, weights, test.logits, 0.0, None)]
    if validation is not None:
        rows[0] = _row("before", "", test.logits, validation.logits, test, validation, weights, test.logits, 0.0, None)
    for name in asked:
        clock = time.perf_counter()
        fitted, chosen = _fitted(name, train, validation, sizes, weight, bias)
        seconds = time.perf_counter() - clock
        logits = [
            None if part is None else fitted.decision_function(part.logits if name in ON_LOGITS else part.features)
            for part in (test, validation)
        ]
        assert logits[0] is not None  # the test split is always there
        head = _head(name, fitted, sizes, weight, bias)
        rows.append(_row(name, chosen, logits[0], logits[1], test, validation, weights, test.logits, seconds, head))
    return rows


def _fitted(
    name: str,
    train: Part | None,
    validation: Part | None,
    counts: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
) -> tuple[Any, str]:
    """The estimator after its fit, and what was chosen."""
    if name == "logit-adjustment":
        tuned = rebalance.LogitAdjustment(tau=None if validation is not None else 1.0)
        if validation is None:
            tuned.fit(counts=counts)
        else:
            tuned.fit(validation.logits, validation.target, counts=counts)
        return tuned, f"tau {tuned.tau_:g}"
    head: dict[str, Any] = {"weight": weight, "bias": bias, "counts": counts}
    assert train is not None  # who asked has checked it
    if name == "tau-norm":
        normal = rebalance.TauNormalization(tau=None if validation is not None else 1.0)
        given = () if validation is None else (validation.features, validation.target)
        normal.fit(*given, **head)
        return normal, f"tau {normal.tau_:g}"
    every: dict[str, Any] = {
        "samn": rebalance.SAMN(),
        "nearest-class-mean": rebalance.NearestClassMean(),
        "lws": rebalance.LearnableWeightScaling(),
        "disalign": rebalance.DisAlign(steps=200),
        "crt": rebalance.ClassifierRetraining(steps=200),
        "los": rebalance.LabelOverSmoothing(weight_decay=1e-5, steps=200),
    }
    return every[name].fit(train.features, train.target, **head), ""


def _head(
    name: str, fitted: Any, counts: Tensor, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """The linear head that predicts as the method does, where there is one."""
    if name == "logit-adjustment":
        if weight is None or bias is None:
            return None
        prior = counts.to(weight) / counts.sum()
        return weight, bias - fitted.tau_ * prior.log()
    found = getattr(fitted, "weight_", None)
    return None if found is None else (found, fitted.bias_)


def _row(
    method: str,
    chosen: str,
    logits: Tensor,
    held: Tensor | None,
    test: Part,
    validation: Part | None,
    weights: dict[str, Tensor],
    before: Tensor,
    seconds: float,
    head: tuple[Tensor, Tensor] | None,
) -> Row:
    stacked = torch.stack(list(weights.values()))
    right = (logits.argmax(dim=1) == test.target)[None]
    was = (before.argmax(dim=1) == test.target)[None]
    rates = dict(zip(weights, estimate(right, test.target, weights=stacked), strict=True))
    changes = {}
    if method != "before":
        changes = dict(zip(weights, difference(right, was, test.target, weights=stacked, paired=True), strict=True))
    scaled, score = logits, None
    if held is not None and validation is not None:
        num_classes = logits.shape[1]
        sizes = torch.bincount(validation.target, minlength=num_classes)
        score = metrics.evaluate(validation.target, held.argmax(dim=1), counts=sizes).balanced_accuracy
        if bool(torch.isfinite(held).all()):
            scaled = rebalance.TemperatureScaling().fit(held, validation.target).decision_function(logits)
    ece = metrics.calibration(test.target, scaled.double().softmax(dim=1)).ece
    found = head or (None, None)
    return Row(method, chosen, rates, changes, score, ece, seconds, *found)


def save_head(path: pathlib.Path, row: Row, *, unit: bool, facts: dict[str, Any]) -> None:
    """Write the head of a method as a safetensors file: ``weight`` (K, D) and ``bias`` (K,).

    Args:
        path: the file.
        row: whose head it is.
        unit: whether features must be scaled to length 1 before it.
        facts: what the head belongs to, for the file's metadata.

    Raises:
        InputError: the method has no linear head.
    """
    if row.weight is None or row.bias is None:
        raise InputError(f"{row.method} is no linear head, so there is nothing to save")
    tensors = {"weight": row.weight.float().contiguous().clone(), "bias": row.bias.float().contiguous().clone()}
    told = {"method": row.method, "chosen": row.chosen, "unit": json.dumps(unit), "facts": json.dumps(facts)}
    write_tensors(path, tensors, told)


def load_head(path: pathlib.Path | str, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
    """Return the logits of features by a head that ``save_head`` wrote.

    Args:
        path: the file.
        features: (N, D) of the network that the head was made for.

    Returns:
        (N, K).

    Raises:
        InputError: no such file, or features of another width.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            weight, bias, unit = file.get_tensor("weight"), file.get_tensor("bias"), file.metadata()["unit"] == "true"
    except (OSError, SafetensorError, KeyError, TypeError):
        raise InputError(f"{path} is no head of longtail rebalance, or a damaged one") from None
    if features.ndim != 2 or features.shape[1] != weight.shape[1]:
        raise InputError(f"{path} reads features (N, {weight.shape[1]}), not {tuple(features.shape)}")
    logits: Tensor = (functional.normalize(features) if unit else features) @ weight.T + bias
    return logits


def logits_of(path: pathlib.Path, digest: str | None, target: Labels) -> tuple[Part, Part | None]:
    """Read the logits that a run kept.

    Args:
        path: ``logits.safetensors`` of the run.
        digest: its SHA-256 by the record; None: the run kept none.
        target: (N,) classes of the test images, in the order of the predictions.

    Returns:
        The test split, and the validation split if there is one.

    Raises:
        InputError: no such file, or not the record's.
    """
    import hashlib

    from safetensors.torch import load

    if digest is None or not path.is_file():
        raise InputError(
            f"{path.parent} kept no logits: name its data set with --data, so that its network is run again"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{path} is not the file that its record was written with (SHA-256 differs); restore it")
    held = load(content)
    validation = None
    if "validation.logits" in held:
        validation = Part(held["validation.logits"].float(), held["validation.target"])
    return Part(held["test.logits"].float(), torch.as_tensor(target)), validation
