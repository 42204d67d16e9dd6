from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from longtail import metrics
from longtail.errors import InputError
from longtail.metrics import Report, calibration, confusion, evaluate

K = 23


def a_problem(generator: torch.Generator, items: int = 4000) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Targets, probabilities, counts; predictions right about half the time, the last class never a target."""
    target = torch.randint(K - 1, (items,), generator=generator)
    logits = torch.randn(items, K, generator=generator, dtype=torch.float64)
    logits[torch.arange(items), target] += 2.0
    counts = torch.logspace(9, 1, K, base=2).long()
    return target, logits.softmax(dim=1), logits.argmax(dim=1), counts


def test_it_agrees_with_scikit_learn(generator: torch.Generator) -> None:
    from sklearn.metrics import (
        accuracy_score,
        brier_score_loss,
        confusion_matrix,
        f1_score,
        log_loss,
        recall_score,
    )

    target, probability, prediction, counts = a_problem(generator)
    report = evaluate(target, prediction, counts=counts, probability=probability)
    assert confusion(target, prediction, K).tolist() == confusion_matrix(target, prediction, labels=range(K)).tolist()
    assert report.accuracy == pytest.approx(accuracy_score(target, prediction))
    recall = recall_score(target, prediction, labels=range(K - 1), average=None)
    assert report.per_class == (*(pytest.approx(value) for value in recall), None)
    assert report.balanced_accuracy == pytest.approx(recall.mean())
    # Only balanced_accuracy leaves out the class that is predicted and never true; its F1 is a real 0.
    assert bool((prediction == K - 1).any())
    assert report.macro_f1 == pytest.approx(f1_score(target, prediction, average="macro"))
    assert report.calibration is not None
    assert report.calibration.nll == pytest.approx(log_loss(target, probability, labels=range(K)))
    brier = brier_score_loss(target, probability, labels=range(K), scale_by_half=False)
    assert report.calibration.brier == pytest.approx(brier)


def miscalibrated(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Too sure of some confidences and not sure enough of others, so that the bins matter."""
    _, probability, _, _ = a_problem(generator)
    confidence, likeliest = probability.max(dim=1)
    return torch.where((confidence * 60).sin() > 0, likeliest, (likeliest + 1) % K), probability


def test_the_calibration_error_agrees_with_torchmetrics(generator: torch.Generator) -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    target, probability = miscalibrated(generator)
    theirs = multiclass_calibration_error(probability, target, num_classes=K, n_bins=15, norm="l1")
    ours = calibration(target, probability)
    assert ours.ece == pytest.approx(float(theirs), abs=1e-6)
    assert ours.bins == 15


def test_another_number_of_bins_is_noticed(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    target, probability = miscalibrated(generator)
    right = calibration(target, probability).ece
    monkeypatch.setattr(metrics, "BINS", 10)
    assert calibration(target, probability).ece != pytest.approx(right, abs=1e-4)


def test_by_hand() -> None:
    # Class 0: 3 of 4; class 1: 1 of 2; class 2: 1 of 1; class 3 has no test item.
    target = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    prediction = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    report = evaluate(target, prediction, counts=torch.tensor([300, 101, 100, 19]))
    assert report.accuracy == pytest.approx(5 / 7)
    assert report.per_class == (0.75, 0.5, 1.0, None)
    assert report.balanced_accuracy == pytest.approx(0.75)
    assert report.many == pytest.approx(0.625)
    assert report.medium == 1.0
    assert report.group_sizes == {"many": 2, "medium": 1, "few": 1}
    assert report.geometric_mean == pytest.approx((0.75 * 0.5 * 1.0) ** (1 / 3))
    assert report.harmonic_mean == pytest.approx(3 / (1 / 0.75 + 2 + 1))
    assert report.worst_decile == 0.5
    # F1: 2*3/(4+3), 2*1/(2+2), 2*1/(1+2); class 3 is neither target nor prediction and has none.
    assert report.macro_f1 == pytest.approx((6 / 7 + 1 / 2 + 2 / 3) / 3)
    assert report.calibration is None
    assert report.num_samples == 7


def test_an_empty_group_has_no_value() -> None:
    target = torch.tensor([0, 1])
    nobody = evaluate(target, target, counts=torch.tensor([500, 400]))
    assert (nobody.many, nobody.medium, nobody.few) == (1.0, None, None)
    # A group whose classes have no test item has classes and still no value.
    untested = evaluate(target, target, counts=torch.tensor([500, 400, 5]))
    assert untested.few is None
    assert untested.group_sizes["few"] == 1


def test_thresholds_are_arguments_and_are_stored() -> None:
    target = torch.arange(4)
    counts = torch.tensor([5000, 500, 200, 199])
    report = evaluate(target, target, counts=counts, many=500, few=200)
    assert report.group_sizes == {"many": 1, "medium": 2, "few": 1}
    assert report.thresholds == {"many": 500, "few": 200}


def test_a_class_never_recognised_makes_both_means_zero() -> None:
    report = evaluate(torch.tensor([0, 1]), torch.tensor([0, 0]), counts=torch.tensor([9, 9]))
    assert report.geometric_mean == 0.0
    assert report.harmonic_mean == 0.0
    assert report.worst_decile == 0.0
    assert report.balanced_accuracy == 0.5


def test_the_worst_decile_is_a_tenth_of_the_classes() -> None:
    # Class k is recognised in k of 20 items; of 20 classes the worst two are 0 and 1.
    target = torch.arange(20).repeat_interleave(20)
    position = torch.arange(20).repeat(20)
    prediction = torch.where(position < target, target, (target + 1) % 20)
    report = evaluate(target, prediction, counts=torch.full((20,), 50))
    assert report.worst_decile == pytest.approx((0 / 20 + 1 / 20) / 2)


def test_order_does_not_matter_and_accuracy_is_a_weighted_mean_of_recalls(generator: torch.Generator) -> None:
    target, _, prediction, counts = a_problem(generator)
    order = torch.randperm(len(target), generator=generator)
    assert evaluate(target, prediction, counts=counts) == evaluate(target[order], prediction[order], counts=counts)
    report = evaluate(target, prediction, counts=counts)
    support = torch.bincount(target, minlength=K).tolist()
    weighted = sum(n * r for n, r in zip(support, report.per_class, strict=True) if r is not None) / len(target)
    assert report.accuracy == pytest.approx(weighted)


def test_perfect_and_certain() -> None:
    target = torch.arange(3)
    perfect = calibration(target, torch.eye(3))
    assert perfect == metrics.Calibration(ece=0.0, nll=0.0, brier=0.0, bins=15)
    wrong = calibration(target, torch.eye(3).roll(1, dims=1))
    assert (wrong.ece, wrong.brier) == (1.0, 2.0)
    assert wrong.nll == pytest.approx(-torch.tensor(torch.finfo(torch.float32).tiny).double().log().item())


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    # 3/15 is an edge. (2/15, 3/15] holds both; with [3/15, 4/15) they would be apart, and the ECE larger.
    below = torch.tensor([[0.19, 0.17, 0.16, 0.16, 0.16, 0.16]], dtype=torch.float64)
    edge = torch.tensor([[0.2, 0.16, 0.16, 0.16, 0.16, 0.16]], dtype=torch.float64)
    ours = calibration(torch.tensor([0, 1]), torch.cat([below, edge]))
    assert ours.ece == pytest.approx(abs(1 - 0.19 - 0.2) / 2)


def test_it_returns_from_json(generator: torch.Generator) -> None:
    target, probability, prediction, counts = a_problem(generator)
    for given in (None, probability):
        report = evaluate(target, prediction, counts=counts, probability=given)
        assert Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": 1.5}, "'accuracy' must be a number from 0 to 1"),
        ({"accuracy": "0.5"}, "'accuracy' must be a number"),
        ({"accuracy": float("nan")}, "'accuracy' must be a number"),
        ({"few": -0.1}, "'few' must be"),
        ({"per_class": 3}, "'per_class' must be a list"),
        ({"per_class": [None, True]}, "'per_class' must be a number"),
        ({"group_sizes": {"many": 1}}, "'group_sizes' must give a whole number"),
        ({"thresholds": {"many": 1.5, "few": 2}}, "'thresholds' must give a whole number"),
        ({"num_samples": -1}, "'num_samples' must be a whole number"),
        ({"calibration": {"ece": 0.1}}, "calibration: field 'bins' is missing"),
        ({"calibration": {"ece": 0.1, "nll": 1.0, "brier": 3.0, "bins": 15}}, "'brier' must be a number from 0 to 2"),
        ({"surprise": 1}, "field 'surprise' is not known"),
    ],
)
def test_a_damaged_report_is_refused(change: dict[str, object], message: str) -> None:
    target = torch.tensor([0, 1])
    good = evaluate(target, target, counts=torch.tensor([9, 9])).to_json()
    with pytest.raises(InputError, match=message):
        Report.from_json({**good, **change})
    incomplete = {name: value for name, value in good.items() if name != "few"}
    with pytest.raises(InputError, match="field 'few' is missing"):
        Report.from_json(incomplete)


def test_what_cannot_be_scored_is_refused() -> None:
    counts = torch.tensor([9, 9])
    two = torch.tensor([0, 1])
    with pytest.raises(InputError, match="nothing to score"):
        evaluate(two[:0], two[:0], counts=counts)
    with pytest.raises(InputError, match="prediction holds class 2; with 2 classes it must be 0 to 1"):
        evaluate(two, torch.tensor([0, 2]), counts=counts)
    with pytest.raises(InputError, match="target holds class -1"):
        evaluate(torch.tensor([-1, 1]), two, counts=counts)
    with pytest.raises(InputError, match="softmax"):
        evaluate(two, two, counts=counts, probability=torch.tensor([[0.5, 0.5], [3.0, -2.0]]))
    with pytest.raises(InputError, match="row 1 sums to 2"):
        evaluate(two, two, counts=counts, probability=torch.tensor([[0.5, 0.5], [1.0, 1.0]]))
    with pytest.raises(InputError, match="row 0 sums to nan"):
        evaluate(two, two, counts=counts, probability=torch.tensor([[float("nan"), 0.5], [1.0, 0.0]]))


def test_a_report_cannot_be_changed() -> None:
    target = torch.tensor([0, 1])
    report = evaluate(target, target, counts=torch.tensor([9, 9]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.accuracy = 1.0  # type: ignore[misc]


def test_labels_come_as_lists_or_arrays() -> None:
    """The same report from tensors, lists and arrays; what is no row of class numbers is refused in one line."""
    target, prediction, sizes = [0, 0, 1, 2], [0, 1, 1, 2], [500, 60, 5]
    probability = np.eye(3, dtype=np.float32)[prediction]
    expected = evaluate(
        torch.tensor(target),
        torch.tensor(prediction),
        counts=torch.tensor(sizes),
        probability=torch.as_tensor(probability),
    )
    assert evaluate(target, prediction, counts=sizes, probability=probability) == expected
    arrays = (np.array(target), np.array(prediction, dtype=np.int32))
    assert evaluate(*arrays, counts=np.array(sizes), probability=probability) == expected
    with pytest.raises(InputError, match="prediction must be a row of class numbers from 0"):
        evaluate(target, np.array(["a", "b", "b", "c"]), counts=sizes)
    with pytest.raises(InputError, match="target has 4 classes and prediction 1"):
        evaluate(target, [0], counts=sizes)
    with pytest.raises(InputError, match="target has 3 classes and probability 4 rows"):
        calibration(target[:3], probability)


def test_a_report_prints_as_a_table_with_every_group_and_its_classes() -> None:
    report = metrics.evaluate([0, 0, 0, 1], [0, 0, 1, 1], counts=[500, 5])
    rows = [line.split() for line in str(report).splitlines()]
    assert rows[0] == ["classes", "right,", "%"]
    assert rows[1] == ["4", "images", "75.0"]  # three of four images
    assert rows[2][-2:] == ["2", "83.3"]  # the mean of 2/3 and 1
    assert rows[3] == ["many-shot,", ">", "100", "1", "66.7"]
    assert rows[4] == ["medium-shot,", "20", "to", "100", "0", "-"]
    assert rows[5] == ["few-shot,", "<", "20", "1", "100.0"]
    assert len({len(line) for line in str(report).splitlines()}) == 1
