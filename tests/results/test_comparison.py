from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import pytest
import torch

from longtail.errors import InputError
from longtail.results.comparison import compare_records, rate_weights
from longtail.results.power import needed
from longtail.results.record import Loaded, Record
from longtail.results.statistics import mcnemar
from oracles.runs import made_up_counts, made_up_predictions, made_up_run


def runs(
    folder: pathlib.Path, name: str = "ce", accuracy: float = 0.5, seeds: Sequence[int] = (0, 1, 2), **more: object
) -> list[Loaded]:
    return [
        made_up_run(folder / name / str(seed), recipe=name, seed=seed, accuracy=accuracy, **more)  # type: ignore[arg-type]
        for seed in seeds
    ]


def test_every_number_is_of_the_predictions(tmp_path: pathlib.Path) -> None:
    records = {"ce": runs(tmp_path), "better": runs(tmp_path, "better", 0.8)}
    comparison = compare_records(records)
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
    assert gap.test == "test images and seeds"
    assert gap.against == comparison.against == "ce"
    assert gap.rates["accuracy"] is not None
    assert gap.rates["accuracy"].value == pytest.approx(sum(gap.seeds) / 3)
    assert comparison.group_sizes == {"many": 4, "medium": 3, "few": 3}
    assert comparison.notes[0] == "Many: more than 100 training images; few: fewer than 20."
    assert len(comparison.notes) == 4  # and the groups as a family, the smallest difference, and no plan


def test_the_order_of_runs_and_of_test_items_does_not_matter(tmp_path: pathlib.Path) -> None:
    a, b = runs(tmp_path), runs(tmp_path, "better", 0.8)
    order = torch.randperm(500)
    shuffled = [
        dataclasses.replace(run, index=run.index[order], target=run.target[order], prediction=run.prediction[order])
        for run in reversed(b)
    ]
    plain = compare_records({"ce": a, "better": b})
    assert compare_records({"ce": a, "better": shuffled}) == plain


def test_single_runs_are_compared_by_mcnemar(tmp_path: pathlib.Path) -> None:
    a, b = runs(tmp_path, seeds=[0]), runs(tmp_path, "better", 0.8, seeds=[0])
    comparison = compare_records({"ce": a, "better": b})
    gap = comparison.methods[1].difference
    assert gap is not None
    assert gap.test == "exact McNemar"
    assert gap.p == pytest.approx(mcnemar(b[0].prediction == b[0].target, a[0].prediction == a[0].target))
    assert gap.verdict == "better in this run"
    assert any("One seed" in note for note in comparison.notes)


def test_equals_are_indistinguishable_and_less_is_worse(tmp_path: pathlib.Path) -> None:
    records = {name: runs(tmp_path, name, accuracy) for name, accuracy in (("a", 0.6), ("b", 0.6), ("c", 0.4))}
    verdicts = [method.difference for method in compare_records(records).methods]
    assert verdicts[1] is not None
    assert verdicts[1].verdict == "indistinguishable at 95 %"
    assert verdicts[2] is not None
    assert verdicts[2].verdict == "worse"
    assert verdicts[2].p is not None
    assert verdicts[2].p_adjusted == pytest.approx(2 * verdicts[2].p)
    assert verdicts[2].family == 2


def test_two_seeds_have_no_interval(tmp_path: pathlib.Path) -> None:
    records = {"a": runs(tmp_path, "a", seeds=[0, 1]), "b": runs(tmp_path, "b", seeds=[0, 1])}
    comparison = compare_records(records)
    for method in comparison.methods:
        for estimate in method.estimates.values():
            assert estimate is not None
            assert estimate.low is None
        assert method.summaries["accuracy"] is not None
        assert len(method.summaries["accuracy"].values) == 2
    gap = comparison.methods[1].difference
    assert gap is not None
    assert len(gap.seeds) == 2
    assert gap.verdict == "no verdict from two seeds"
    assert gap.p is gap.p_adjusted is None
    assert any("of accuracy both values are shown, of all else the mean; no" in note for note in comparison.notes)


def test_other_seeds_are_not_paired(tmp_path: pathlib.Path) -> None:
    records = {"a": runs(tmp_path, "a"), "b": runs(tmp_path, "b", seeds=[3, 4, 5])}
    comparison = compare_records(records)
    gap = comparison.methods[1].difference
    assert gap is not None
    assert not gap.paired
    assert gap.test == "test images and seeds, seeds not paired"
    assert gap.seeds == ()
    assert any("not paired: b" in note for note in comparison.notes)


def test_an_empty_group_has_no_value(tmp_path: pathlib.Path) -> None:
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
    (method,) = compare_records({"ce": loaded}).methods
    assert method.estimates["few"] is None
    assert method.summaries["few"] is None
    assert method.estimates["medium"] is not None


def test_a_different_protocol_is_noted(tmp_path: pathlib.Path) -> None:
    records = {"ce": runs(tmp_path), "crt": runs(tmp_path, "crt", epochs=(3, 1))}
    notes = compare_records(records).notes
    assert "The methods differ in more than the method, in epochs: ce 3; crt 3+1." in notes


def numerics(loaded: list[Loaded], **changes: object) -> list[Loaded]:
    return [
        dataclasses.replace(run, record=dataclasses.replace(run.record, numerics={**run.record.numerics, **changes}))
        for run in loaded
    ]


def test_runs_in_processes_that_normalise_apart_are_another_protocol(tmp_path: pathlib.Path) -> None:
    one, other = runs(tmp_path), numerics(runs(tmp_path, "b"), divided=4, sync_batch_norm=False)
    for first, second in ((one, other), (other, one)):
        notes = compare_records({"a": first, "b": second}).notes
        assert any(
            note.startswith("The methods differ in more than the method, in processes:")
            and "4, batch normalisation in each" in note
            for note in notes
        )
        with pytest.raises(InputError, match="records of 'a' differ in processes: "):
            compare_records({"a": [first[0], *numerics(one[1:], **second[0].record.numerics)]})
    # Twice as many processes are another run, and so is normalisation over all of them.
    for changes in ({"divided": 8, "sync_batch_norm": False}, {"divided": 4, "sync_batch_norm": True}):
        with pytest.raises(InputError, match="differ in processes"):
            compare_records({"a": [other[0], *numerics(other[1:], **changes)]})


def test_every_thing_that_rounding_depends_on_is_named(tmp_path: pathlib.Path) -> None:
    plain = runs(tmp_path)
    assert not any("made alike" in note for note in compare_records({"a": plain}).notes)
    for change, told in (
        ({"compiled": True}, "compiled False / True"),
        ({"package": "b" * 64}, f"changed package no / {'b' * 12}"),
        ({"device": "cuda"}, "arithmetic cpu / cuda"),
    ):
        (note,) = (
            note for note in compare_records({"a": [plain[0], *numerics(plain[1:], **change)]}).notes if "alike" in note
        )
        assert note.endswith(f": {told}.")
    # A package that the first run does not name.
    record = dataclasses.replace(plain[1].record, packages={"torch": "2.11.0", "torchvision": "0.26"})
    (note,) = (
        note
        for note in compare_records({"a": [plain[0], dataclasses.replace(plain[1], record=record)]}).notes
        if "alike" in note
    )
    assert note.endswith("torchvision None / 0.26.")
    # Without a version of the numerics the newest in the table is the current one.
    newer = compare_records({"a": [*plain[:1], *numerics(plain[1:], version=2)]})
    assert newer.methods[0].marks == ("numerics 1 (now 2)",)


def test_what_cannot_be_compared(tmp_path: pathlib.Path) -> None:
    a = runs(tmp_path)

    def refused(message: str, **records: list[Loaded]) -> None:
        with pytest.raises(InputError, match=message):
            compare_records(records)

    refused("no records to compare")
    with pytest.raises(InputError, match="no row 'z' to compare with; the rows are a"):
        compare_records({"a": a}, against="z")
    refused("'b' has no records", a=a, b=[])
    refused(
        f"two records of seed 0: {a[0].folder} and {tmp_path}/again; keep one",
        a=[a[0], made_up_run(tmp_path / "again")],
    )
    refused("differ in epochs: 3 and 4", a=[a[0], made_up_run(tmp_path / "long", seed=1, epochs=(4,))])
    config: dict[str, object] = {"type": "Recipe", "rate": 7}
    refused(
        "different configurations, first in name: 'ce' and absent ",
        a=[a[0], made_up_run(tmp_path / "other", seed=1, config=config)],
    )
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


def five(folder: pathlib.Path) -> dict[str, list[Loaded]]:
    rows = (("ce", 0.5), ("dro-lt", 0.62), ("dro-lt@robust=0", 0.6), ("ip-dpp", 0.56), ("ip-dpp@arm=uniform", 0.55))
    return {name: runs(folder, name, accuracy) for name, accuracy in rows}


def test_each_method_is_also_compared_with_its_own_control(tmp_path: pathlib.Path) -> None:
    records = five(tmp_path)
    controls = {"dro-lt": "dro-lt@robust=0", "ip-dpp": "ip-dpp@arm=uniform", "ce": "not in the table"}
    comparison = compare_records(records, controls=controls)
    found = {method.name: method for method in comparison.methods}
    assert [name for name, method in found.items() if method.control] == ["dro-lt", "ip-dpp"]
    for name, other in (("dro-lt", "dro-lt@robust=0"), ("ip-dpp", "ip-dpp@arm=uniform")):
        main, own = found[name].difference, found[name].control
        assert main is not None
        assert own is not None
        assert (own.against, own.family, main.against, main.family) == (other, 2, "ce", 4)
        assert own.rates["accuracy"] is not None
        accuracies = [found[each].summaries["accuracy"] for each in (name, other)]
        assert own.rates["accuracy"].value == pytest.approx(accuracies[0].mean - accuracies[1].mean)  # type: ignore[union-attr]
    assert any("the 4 contrasts with ce and, apart from them, for 2 with the" in note for note in comparison.notes)


def test_any_row_may_be_what_the_others_are_compared_with(tmp_path: pathlib.Path) -> None:
    records = five(tmp_path)
    plain, turned = compare_records(records), compare_records(records, against="dro-lt")
    assert turned.against == "dro-lt"
    assert [method.difference is None for method in turned.methods] == [False, True, False, False, False]
    there, back = plain.methods[1].difference, turned.methods[0].difference
    assert there is not None
    assert back is not None
    assert there.rates["accuracy"] is not None
    assert back.rates["accuracy"] is not None
    assert back.rates["accuracy"].low == pytest.approx(-there.rates["accuracy"].high)  # type: ignore[operator]
    assert [method.estimates for method in plain.methods] == [method.estimates for method in turned.methods]


def test_the_interval_of_a_method_does_not_depend_on_the_table(tmp_path: pathlib.Path) -> None:
    records = five(tmp_path)
    together = {method.name: method.estimates for method in compare_records(records).methods}
    for name in records:
        (alone,) = compare_records({name: records[name]}).methods
        assert alone.estimates == together[name]


def test_every_verdict_is_what_its_interval_says(tmp_path: pathlib.Path) -> None:
    comparison = compare_records(five(tmp_path), controls={"dro-lt": "dro-lt@robust=0"})
    words = []
    for method in comparison.methods:
        for found in (method.difference, method.control):
            if found is None:
                continue
            assert found.p_adjusted is not None
            assert (found.p_adjusted < 0.05) == (found.verdict in ("better", "worse"))
            assert found.verdict == found.verdicts["accuracy"]
            for rate, one in found.rates.items():
                assert one is not None
                assert one.low is not None
                assert one.high is not None
                told = "better" if one.low > 0 else "worse" if one.high < 0 else "indistinguishable at 95 %"
                assert found.verdicts[rate] == told
                words.append(told)
    assert set(words) == {"better", "indistinguishable at 95 %"}


def test_the_intervals_of_groups_allow_for_all_groups(tmp_path: pathlib.Path) -> None:
    from longtail.results.statistics import difference

    records = {"ce": runs(tmp_path), "better": runs(tmp_path, "better", 0.8)}
    found = compare_records(records).methods[1].difference
    assert found is not None
    right = [torch.stack([run.prediction == run.target for run in records[name]]) for name in ("better", "ce")]
    target = records["ce"][0].target
    weights = rate_weights(target, made_up_counts(10), many=100, few=20)["many"]
    (alone,) = difference(*right, target, weights=weights[None], paired=True, family=3)
    assert found.rates["many"] == alone


def test_equal_answers_print_equal_numbers(tmp_path: pathlib.Path) -> None:
    same = runs(tmp_path)
    comparison = compare_records({"a": same, "b": same, "c": runs(tmp_path, "c", 0.6)})
    first, second, _ = comparison.methods
    assert first.estimates == second.estimates
    assert second.difference is not None
    assert second.difference.rates["accuracy"] is not None
    assert second.difference.rates["accuracy"].value == 0.0
    assert second.difference.p == 1.0


def test_short_runs_old_numerics_and_unequal_steps_are_said(tmp_path: pathlib.Path) -> None:
    def budget(loaded: list[Loaded], **budget: int) -> list[Loaded]:
        return [dataclasses.replace(run, record=dataclasses.replace(run.record, budget=budget)) for run in loaded]

    records = {
        "ce": budget(runs(tmp_path), epochs=10, stated=1000, steps=40),
        "b": budget(runs(tmp_path, "b"), epochs=10, stated=10, steps=400),
    }
    comparison = compare_records(records, numerics=2)
    assert comparison.methods[0].marks == ("short: 10 of 1000 epochs", "numerics 1 (now 2)")
    assert comparison.methods[1].marks == ("numerics 1 (now 2)",)
    assert "Unequal numbers of optimiser steps: ce 40; b 400." in comparison.notes
    assert "ce is marked: short: 10 of 1000 epochs; numerics 1 (now 2)." in comparison.notes
    assert compare_records(records, numerics=1).methods[1].marks == ()
    records["c"] = budget(runs(tmp_path, "c"), epochs=10, stated=1000, steps=400)
    notes = compare_records(records, numerics=2).notes
    assert "Unequal numbers of optimiser steps: ce 40; b, c 400." in notes
    assert "ce, c are marked: short: 10 of 1000 epochs; numerics 1 (now 2)." in notes


def test_the_notes_say_what_is_pooled_and_what_can_be_shown(tmp_path: pathlib.Path) -> None:
    records = five(tmp_path)
    notes = compare_records(records).notes
    assert any("pooled over 5 methods (8 degrees of freedom)" in note for note in notes)
    assert any("points with three seeds and" in note for note in notes)
    # One method whose runs are far apart: nothing is pooled for the accuracy, and that is said.
    for seed, accuracy in ((10, 0.1), (11, 0.5), (12, 0.9)):
        records.setdefault("wild", []).append(
            made_up_run(tmp_path / "wild" / str(seed), recipe="wild", seed=seed, accuracy=accuracy)
        )
    notes = compare_records(records).notes
    assert any("spread differently over their seeds in accuracy" in note for note in notes)


def test_weights_make_the_rates_of_the_metrics(generator: torch.Generator) -> None:
    from longtail.metrics import evaluate

    # Class 9 has no test item, so that samples and classes weigh differently.
    target = torch.cat([torch.arange(9), torch.randint(9, (300,))])
    prediction = made_up_predictions(target, torch.rand(309) < 0.6, 10)
    counts = made_up_counts(10)
    report = evaluate(target, prediction, counts=counts)
    recalls = torch.tensor([0.0 if recall is None else recall for recall in report.per_class], dtype=torch.float64)
    for name, weights in rate_weights(target, counts, many=100, few=20).items():
        assert float(weights @ recalls) == pytest.approx(getattr(report, name))


def copied(folder: pathlib.Path, name: str, seeds: Sequence[int]) -> list[Loaded]:
    """Runs of several seeds with the predictions of the first, as a method that does not know its seed gives."""
    first, *rest = runs(folder, name, 0.8, seeds=seeds)
    return [first, *(dataclasses.replace(run, prediction=first.prediction, record=_told(run, first)) for run in rest)]


def _told(run: Loaded, first: Loaded) -> Record:
    return dataclasses.replace(run.record, report=first.record.report, predictions=first.record.predictions)


def test_equal_runs_of_a_method_without_a_seed_are_one_run(tmp_path: pathlib.Path) -> None:
    a, same = runs(tmp_path), copied(tmp_path, "ncm", (0, 1, 2))
    comparison = compare_records({"ce": a, "ncm": same})
    row = comparison.methods[1]
    assert row.seeds == (0,)
    assert comparison.notes[-2] == "ncm: seeds 0, 1, 2 gave the very same predictions, so they count as one run."
    assert row.difference is not None
    assert row.difference.verdict == "better in this run"  # and not over three seeds
    alone = compare_records({"ce": a, "ncm": same[:1]}).methods[1]
    assert row.difference == alone.difference
    with pytest.raises(InputError, match="ncm has fewer"):
        needed({"ce": a, "ncm": same}, difference=0.01)
    two = [*same, *runs(tmp_path, "ncm", 0.8, seeds=[7])]
    assert compare_records({"ce": a, "ncm": two}).methods[1].seeds == (0, 7)
