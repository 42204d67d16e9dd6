from __future__ import annotations

import dataclasses
import pathlib

import pytest
import torch
from torch import Tensor

from longtail.data import Data, Split
from longtail.errors import InputError
from longtail.metrics import Report
from longtail.results.record import Loaded
from longtail.results.rescoring import TOLERANCE, rescore, score
from oracles.runs import made_up_run


def the_data(run: Loaded) -> Data:
    """A data set that the run could have been made with, its test split in another order."""
    order = torch.arange(len(run.target)).flip(0)
    counts = torch.tensor(run.record.data["counts"])

    def split(target: Tensor, index: Tensor) -> Split:
        return Split(torch.zeros(len(target), 1, 2, 2, dtype=torch.uint8), target, index)

    train = torch.arange(len(counts)).repeat_interleave(counts)
    return Data(
        name="made-up-lt",
        train=split(train, torch.arange(len(train))),
        test=split(run.target[order], run.index[order]),
        validation=None,
        counts=counts,
        class_names=tuple(run.record.data["class_names"]),
        fingerprint=run.record.data["fingerprint"],
        imbalance=100.0,
        profile="exponential",
        split_seed=0,
        validation_share=0.0,
        many=100,
        few=20,
        mean=(0.5,),
        std=(0.5,),
        notes=(),
    )


def test_it_gives_the_recorded_report(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    recorded = Report.from_json(run.record.report)
    assert rescore(run) == recorded
    assert rescore(run, the_data(run)) == recorded


def test_the_calibration_is_the_recorded_one(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    report = {**run.record.report, "calibration": {"ece": 0.1, "nll": 1.0, "brier": 0.5, "bins": 15}}
    run = dataclasses.replace(run, record=dataclasses.replace(run.record, report=report))
    found = rescore(run)
    assert found.calibration is not None
    assert found.calibration.ece == 0.1


def test_other_data_are_refused_and_both_fingerprints_shown(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    other = dataclasses.replace(the_data(run), fingerprint="b" * 64)
    with pytest.raises(InputError, match=f"fingerprint {'a' * 64}, but made-up-lt given here has {'b' * 64}"):
        rescore(run, other)


@pytest.mark.parametrize("part", ["target", "index"])
def test_other_test_items_are_refused(tmp_path: pathlib.Path, part: str) -> None:
    run = made_up_run(tmp_path)
    data = the_data(run)
    changed = getattr(data.test, part).clone()
    changed[3] = changed[3] + 1 if part == "target" else 100_000
    other = dataclasses.replace(data, test=dataclasses.replace(data.test, **{part: changed}))
    with pytest.raises(InputError, match="not those of the data's test split"):
        rescore(run, other)


def test_other_counts_are_refused(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    with pytest.raises(InputError, match="counts in the record are not those of the data"):
        rescore(run, dataclasses.replace(the_data(run), counts=the_data(run).counts.flip(0)))


@pytest.mark.parametrize("claim", ["accuracy", "few", "worst_decile"])
def test_a_claim_that_the_predictions_do_not_bear_out_is_refused(tmp_path: pathlib.Path, claim: str) -> None:
    run = made_up_run(tmp_path)
    better = run.record.report[claim] + 0.01
    report = {**run.record.report, claim: better}
    run = dataclasses.replace(run, record=dataclasses.replace(run.record, report=report))
    with pytest.raises(InputError, match=f"the record claims {claim} {better}, its own predictions give") as caught:
        rescore(run)
    assert str(better - 0.01)[:8] in str(caught.value)


def test_a_claim_about_one_class_is_checked_too(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    recalls = [1.0, *run.record.report["per_class"][1:]]
    report = {**run.record.report, "per_class": recalls}
    run = dataclasses.replace(run, record=dataclasses.replace(run.record, report=report))
    with pytest.raises(InputError, match="the record claims per_class"):
        rescore(run)


def test_a_rate_may_miss_by_the_tolerance_and_no_more(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    for factor, refused in ((0.5, False), (2.0, True)):
        report = {**run.record.report, "accuracy": run.record.report["accuracy"] + factor * TOLERANCE}
        claimed = dataclasses.replace(run, record=dataclasses.replace(run.record, report=report))
        if refused:
            with pytest.raises(InputError, match="claims accuracy"):
                rescore(claimed)
        else:
            rescore(claimed)


def test_other_counts_make_other_groups_and_no_claim_is_judged(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    plain = score(run)
    assert plain == rescore(run)
    other = score(run, counts=[500] * 5 + [3] * 5, many=100, few=20)
    assert other.group_sizes == {"many": 5, "medium": 0, "few": 5}
    assert other.accuracy == plain.accuracy
    false = dataclasses.replace(run.record, report={**run.record.report, "accuracy": 0.99})
    assert score(dataclasses.replace(run, record=false)) == plain
