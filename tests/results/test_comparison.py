from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import pytest
import torch

from longtail.errors import InputError
from longtail.results.comparison import compare_records, rate_weights
from longtail.results.record import Loaded
from longtail.results.statistics import mcnemar
from oracles.runs import made_up_counts, made_up_predictions, made_up_run


def runs(
    folder: pathlib.Path, name: str = "ce", accuracy: float = 0.5, seeds: Sequence[int] = (0, 1, 2), **more: object
) -> list[Loaded]:
    return [
        made_up_run(folder / name / str(seed), recipe=name, seed=seed, accuracy=accuracy, **more)  # type: ignore[arg-type]
        for seed in seeds
    ]


def test_every_number_is_of_the_predictions(tmp_path: pathlib.Path, generator: torch.Generator) -> None:
    records = {"ce": runs(tmp_path), "better": runs(tmp_path, "better", 0.8)}
    comparison = compare_records(records, generator=generator)
    first, second = comparison.methods
    for method, loaded in zip(comparison.methods, records.values(), strict=True):
        accuracies = [float((run.prediction == run.target).double().mean()) for run in loaded]
        summary = method.summaries["accuracy"]
        assert summary is not None
        assert summary.values == pytest.approx(accuracies)
        assert summary.mean == pytest.approx(sum(accuracies) / 3)
        right = torch.stack([run.prediction == run.target for run in loaded]).double().mean(dim=0)
        recalls = [float(right[loaded[0].target == k].mean()) for k in range(10)]
        assert method.per_class == pytest.approx(recalls)
        many = method.estimates["many"]
        assert many is not None
        assert many.value == pytest.approx(sum(recalls[:4]) / 4)
        assert method.seconds == pytest.approx(4.5)
        assert method.seeds == (0, 1, 2)
    assert first.difference is None
    gap = second.difference
    assert gap is not None
    assert gap.verdict == "better"
    assert gap.paired
    assert gap.test == "paired bootstrap"
    assert gap.rates["accuracy"] is not None
    assert gap.rates["accuracy"].value == pytest.approx(sum(gap.seeds) / 3)
    assert comparison.group_sizes == {"many": 4, "medium": 3, "few": 3}
    assert comparison.notes == ()


def test_the_order_of_runs_and_of_test_items_does_not_matter(tmp_path: pathlib.Path) -> None:
    a, b = runs(tmp_path), runs(tmp_path, "better", 0.8)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(3))
    shuffled = [
        dataclasses.replace(run, index=run.index[order], target=run.target[order], prediction=run.prediction[order])
        for run in reversed(b)
    ]
    plain = compare_records({"ce": a, "better": b}, generator=torch.Generator().manual_seed(1))
    assert compare_records({"ce": a, "better": shuffled}, generator=torch.Generator().manual_seed(1)) == plain


def test_single_runs_are_compared_by_mcnemar(tmp_path: pathlib.Path, generator: torch.Generator) -> None:
    a, b = runs(tmp_path, seeds=[0]), runs(tmp_path, "better", 0.8, seeds=[0])
    comparison = compare_records({"ce": a, "better": b}, generator=generator)
    gap = comparison.methods[1].difference
    assert gap is not None
    assert gap.test == "exact McNemar"
    assert gap.p == mcnemar(b[0].prediction == b[0].target, a[0].prediction == a[0].target)
    assert any("One seed" in note for note in comparison.notes)


def test_equals_are_indistinguishable_and_less_is_worse(tmp_path: pathlib.Path, generator: torch.Generator) -> None:
    records = {name: runs(tmp_path, name, accuracy) for name, accuracy in (("a", 0.6), ("b", 0.6), ("c", 0.4))}
    verdicts = [method.difference for method in compare_records(records, generator=generator).methods]
    assert verdicts[1] is not None
    assert verdicts[1].verdict == "indistinguishable at 95 %"
    assert verdicts[2] is not None
    assert verdicts[2].verdict == "worse"
    assert verdicts[2].p_adjusted == pytest.approx(2 * verdicts[2].p)


def test_two_seeds_have_no_interval(tmp_path: pathlib.Path, generator: torch.Generator) -> None:
    records = {"a": runs(tmp_path, "a", seeds=[0, 1]), "b": runs(tmp_path, "b", seeds=[0, 1])}
    comparison = compare_records(records, generator=generator)
    for method in comparison.methods:
        for estimate in method.estimates.values():
            assert estimate is not None
            assert estimate.low is None
        assert method.summaries["accuracy"] is not None
        assert len(method.summaries["accuracy"].values) == 2
    gap = comparison.methods[1].difference
    assert gap is not None
    assert len(gap.seeds) == 2
    assert any("both values are shown, and no interval" in note for note in comparison.notes)


def test_other_seeds_are_not_paired(tmp_path: pathlib.Path, generator: torch.Generator) -> None:
    records = {"a": runs(tmp_path, "a"), "b": runs(tmp_path, "b", seeds=[3, 4, 5])}
    comparison = compare_records(records, generator=generator)
    gap = comparison.methods[1].difference
    assert gap is not None
    assert not gap.paired
    assert gap.test == "bootstrap, seeds not paired"
    assert gap.seeds == ()
    assert any("not paired: b" in note for note in comparison.notes)


def test_an_empty_group_has_no_value(tmp_path: pathlib.Path, generator: torch.Generator) -> None:
    loaded = [
        dataclasses.replace(
            run,
            record=dataclasses.replace(
                run.record,
                data={**run.record.data, "few": 2},
                report={
                    **run.record.report,
                    "few": None,
                    "medium": sum(run.record.report["per_class"][4:]) / 6,
                    "thresholds": {"many": 100, "few": 2},
                    "group_sizes": {"many": 4, "medium": 6, "few": 0},
                },
            ),
        )
        for run in runs(tmp_path)
    ]
    (method,) = compare_records({"ce": loaded}, generator=generator).methods
    assert method.estimates["few"] is None
    assert method.summaries["few"] is None
    assert method.estimates["medium"] is not None


def test_a_different_protocol_is_noted(tmp_path: pathlib.Path, generator: torch.Generator) -> None:
    records = {"ce": runs(tmp_path), "crt": runs(tmp_path, "crt", epochs=(3, 1))}
    notes = compare_records(records, generator=generator).notes
    assert notes == ("The methods differ in more than the method, in epochs: ce 3; crt 3+1.",)


def test_what_cannot_be_compared(tmp_path: pathlib.Path, generator: torch.Generator) -> None:
    a = runs(tmp_path)

    def refused(message: str, **records: list[Loaded]) -> None:
        with pytest.raises(InputError, match=message):
            compare_records(records, generator=generator)

    refused("no records to compare")
    refused("'b' has no records", a=a, b=[])
    refused("two records of seed 0", a=[a[0], made_up_run(tmp_path / "again")])
    refused("differ in epochs: 3 and 4", a=[a[0], made_up_run(tmp_path / "long", seed=1, epochs=(4,))])
    config: dict[str, object] = {"type": "Recipe", "rate": 7}
    refused("different configurations", a=[a[0], made_up_run(tmp_path / "other", seed=1, config=config)])
    refused(
        f"fingerprint {'a' * 64}, made-up-lt with {'c' * 64}",
        a=a,
        b=[made_up_run(tmp_path / "else", fingerprint="c" * 64)],
    )
    refused("holds other test items", a=a, b=[dataclasses.replace(a[0], index=a[0].index + 1)])
    counts = dataclasses.replace(a[0].record, data={**a[0].record.data, "many": 99})
    refused("data.many differs", a=a, b=[dataclasses.replace(a[0], record=counts)])
    claim = dataclasses.replace(a[0].record, report={**a[0].record.report, "accuracy": 0.99})
    refused("claims accuracy 0.99", a=[dataclasses.replace(a[0], record=claim)])


def test_weights_make_the_rates_of_the_metrics(generator: torch.Generator) -> None:
    from longtail.metrics import evaluate

    # Class 9 has no test item, so that samples and classes weigh differently.
    target = torch.cat([torch.arange(9), torch.randint(9, (300,), generator=generator)])
    prediction = made_up_predictions(target, torch.rand(309, generator=generator) < 0.6, 10)
    counts = made_up_counts(10)
    report = evaluate(target, prediction, counts=counts)
    recalls = torch.tensor([0.0 if recall is None else recall for recall in report.per_class], dtype=torch.float64)
    for name, weights in rate_weights(target, counts, many=100, few=20).items():
        assert float(weights @ recalls) == pytest.approx(getattr(report, name))
