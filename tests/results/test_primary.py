"""The measure that decides: that of the plan, and beside the accuracy where the test set has a tail of its own."""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
import re

import pytest
import torch

from longtail.metrics import evaluate
from longtail.results.comparison import Comparison, compare_records
from longtail.results.formats import as_csv, latex, markdown
from longtail.results.plan import completed, read_plan
from longtail.results.record import Loaded
from longtail.results.report import report_html
from longtail.results.tables import table
from oracles.runs import made_up_counts, made_up_predictions, made_up_run

HEAD, TAIL = 120, 12
"""Test items of each of seven classes and of each of the last three."""


def made_up_target(head: int, tail: int) -> torch.Tensor:
    return torch.arange(10).repeat_interleave(torch.tensor([head] * 7 + [tail] * 3))


def judged(run: Loaded, *, head: int, tail: int, tailed: bool, plan: dict[str, object] | None = None) -> Loaded:
    """A run that knows the frequent classes, or the rare ones, on a test set with or without a tail."""
    target = made_up_target(HEAD, TAIL if tailed else HEAD)
    generator = torch.Generator().manual_seed(run.record.seed)
    rate = torch.where(target < 7, head / 100, tail / 100)
    right = torch.rand(len(target), generator=generator) < rate
    prediction = made_up_predictions(target, right, 10)
    report = evaluate(target, prediction, counts=made_up_counts(10)).to_json()
    return dataclasses.replace(
        run,
        record=dataclasses.replace(run.record, plan=plan or {}, report=report),
        index=torch.arange(len(target)),
        target=target,
        prediction=prediction,
    )


def rows(folder: pathlib.Path, *, tailed: bool, primaries: tuple[str, str] = ("", "")) -> dict[str, list[Loaded]]:
    """``ce`` knows the frequent classes, ``fair`` the rare ones, too, and fewer of the frequent."""
    found = {}
    for name, head, tail, primary in (("ce", 80, 10, primaries[0]), ("fair", 70, 70, primaries[1])):
        plan = {"name": "rare", "sha256": "b" * 64, "arm": name, "primary": primary} if primary else None
        found[name] = [
            judged(
                made_up_run(folder / name / str(seed), recipe=name, seed=seed),
                head=head,
                tail=tail,
                tailed=tailed,
                plan=plan,
            )
            for seed in range(3)
        ]
    return found


def verdicts(comparison: Comparison) -> dict[str, str | None]:
    gap = comparison.methods[1].difference
    assert gap is not None
    return gap.verdicts


@pytest.fixture(scope="module")
def tailed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    """The same predictions without a plan, and with plans that decide by balanced accuracy and by the rare classes."""
    plans = {"none": "", "balanced": "balanced_accuracy", "few": "few"}
    return {
        name: compare_records(rows(tmp_path_factory.mktemp(name), tailed=True, primaries=(primary, primary)))
        for name, primary in plans.items()
    }


def test_on_a_test_set_with_a_tail_both_accuracies_are_told_apart(tailed: dict[str, Comparison]) -> None:
    comparison = tailed["none"]
    assert comparison.primary == "accuracy"
    assert comparison.shown == ("accuracy", "balanced_accuracy", "many", "medium", "few")
    assert (verdicts(comparison)["accuracy"], verdicts(comparison)["balanced_accuracy"]) == ("worse", "better")
    assert comparison.notes[0].startswith("The test set has 12 to 120 items of a class")
    for width in (80, 140):
        text = str(table(comparison, width=width))
        assert max(map(len, text.splitlines())) <= width
        words = text.partition("Minus ce, in points")[2].split()
        assert words.index("accuracy") < words.index("balanced") < words.index("worse") < words.index("better")


def test_where_all_classes_have_as_many_items_one_accuracy_is_enough(tmp_path: pathlib.Path) -> None:
    comparison = compare_records(rows(tmp_path, tailed=False))
    assert comparison.shown == ("accuracy", "many", "medium", "few")
    assert comparison.notes[0].startswith("Many: ")
    assert "balanced" not in str(table(comparison, width=80)).partition("Minus ce, in points")[2]


def test_the_plans_measure_comes_first(tailed: dict[str, Comparison]) -> None:
    comparison = tailed["balanced"]
    assert comparison.primary == "balanced_accuracy"
    assert any(note == "Balanced accuracy decides, as the plan rare says." for note in comparison.notes)
    text = str(table(comparison, width=140))
    assert "training images, balanced accuracy in %" in " ".join(text.split())
    head = next(line for line in text.splitlines() if line.startswith("method")).split()
    assert head[:3] == ["method", "balanced", "accuracy"]
    gap = comparison.methods[1].difference
    assert gap is not None
    assert gap.rates["balanced_accuracy"] is not None
    first = text.partition("Minus ce, in points")[2].partition("fair")[2].split()[0]
    assert first == f"+{100 * gap.rates['balanced_accuracy'].value:.1f}"


def test_a_group_may_decide(tailed: dict[str, Comparison]) -> None:
    comparison = tailed["few"]
    assert comparison.shown == ("few", "accuracy", "balanced_accuracy", "many", "medium")
    text = str(table(comparison, width=80))
    assert max(map(len, text.splitlines())) <= 80
    assert "Few decides, as the plan rare says." in text
    assert re.search(r"^ *method +few", text.partition("Minus ce")[2], re.MULTILINE)


def test_plans_that_disagree_leave_it_to_the_accuracy_and_it_is_said(tmp_path: pathlib.Path) -> None:
    comparison = compare_records(rows(tmp_path, tailed=True, primaries=("few", "balanced_accuracy")))
    assert comparison.primary == "accuracy"
    assert "The plan rare decides by balanced accuracy and few: accuracy is shown first." in comparison.notes
    comparison = compare_records(rows(tmp_path / "early", tailed=True, primaries=("few", "")))
    assert comparison.primary == "few"  # what no plan announced does not decide


def test_a_group_without_tested_classes_does_not_decide_and_it_is_said(tmp_path: pathlib.Path) -> None:
    held = rows(tmp_path, tailed=True, primaries=("few", "few"))
    for name, runs in held.items():
        held[name] = []
        for run in runs:
            data = {**run.record.data, "few": 1}  # no class is as small
            report = {**run.record.report, "few": None, "group_sizes": {"many": 4, "medium": 6, "few": 0}}
            report["medium"] = sum(run.record.report["per_class"][4:]) / 6
            report["thresholds"] = {"many": 100, "few": 1}
            record = dataclasses.replace(run.record, data=data, report=report)
            held[name].append(dataclasses.replace(run, record=record))
    comparison = compare_records(held)
    assert comparison.primary == "accuracy"
    said = "The plan rare would decide by few, of which no class is tested here: accuracy is shown."
    assert said in comparison.notes
    assert not any("cares" in note for note in comparison.notes)


def test_a_measure_that_is_none_is_not_taken(tmp_path: pathlib.Path) -> None:
    assert compare_records(rows(tmp_path, tailed=True, primaries=("luck", "luck"))).primary == "accuracy"


@pytest.mark.parametrize("plan", ["none", "balanced"])
def test_the_page_begins_with_the_measure_that_decides(
    tailed: dict[str, Comparison], plan: str, tmp_path: pathlib.Path
) -> None:
    primaries = ("", "") if plan == "none" else ("balanced_accuracy",) * 2
    page = report_html(tailed[plan], rows(tmp_path, tailed=True, primaries=primaries))  # type: ignore[arg-type]
    verdict = page.partition('<ul class="verdicts">')[2].partition("</ul>")[0]
    words = re.sub(r"<[^>]*>", "", verdict)
    assert words.strip().startswith("fair: worse than ce" if plan == "none" else "fair: better than ce")
    assert ("in balanced accuracy better" if plan == "none" else "in accuracy worse") in words
    assert f'<li class="{"worse" if plan == "none" else "better"}">' in verdict


def test_a_table_for_a_paper_has_both_differences(tailed: dict[str, Comparison]) -> None:
    head, _, *_ = (line for line in markdown(tailed["balanced"]).splitlines() if line.startswith("|"))
    assert head.startswith("| method | balanced | accuracy | many (4)")
    assert head.endswith("| minus ce | minus ce, accuracy | seconds |")
    assert "balanced accuracy in " in latex(tailed["balanced"])
    row = list(csv.DictReader(io.StringIO(as_csv(tailed["none"]))))[1]
    gap = tailed["none"].methods[1].difference
    assert gap is not None
    assert gap.rates["balanced_accuracy"] is not None
    assert float(row["balanced_difference"]) == gap.rates["balanced_accuracy"].value
    assert (row["verdict"], row["balanced_verdict"]) == ("worse", "better")
    row = list(csv.DictReader(io.StringIO(as_csv(tailed["few"]))))[1]
    gap = tailed["few"].methods[1].difference
    assert gap is not None
    assert gap.rates["few"] is not None
    assert (row["primary"], float(row["primary_difference"])) == ("few", gap.rates["few"].value)
    assert row["primary_verdict"] == gap.verdicts["few"]


def caring_for(held: dict[str, list[Loaded]], smallest: object) -> dict[str, list[Loaded]]:
    """The same runs, of a plan that cares for differences from ``smallest`` on."""
    return {
        name: [
            dataclasses.replace(
                run, record=dataclasses.replace(run.record, plan={**run.record.plan, "smallest": smallest})
            )
            for run in runs
        ]
        for name, runs in held.items()
    }


@pytest.mark.parametrize(("smallest", "told"), [(0.9, "fair"), (0.01, ""), (0.0, None), (True, None), ("0.1", None)])
def test_a_difference_that_is_surely_too_small_to_matter_is_named(
    smallest: object, told: str | None, tmp_path: pathlib.Path
) -> None:
    held = rows(tmp_path, tailed=True, primaries=("few", "few"))
    planned = caring_for(held, smallest)
    two = {name: runs[:2] for name, runs in planned.items()}
    assert not any("cares" in note for note in compare_records(two).notes)  # no interval, so nothing is known
    notes = [note for note in compare_records(planned).notes if note.startswith("The plan cares")]
    if told is None:
        assert notes == []
    elif told:
        assert notes == [
            "The plan cares for differences of 90 points or more. The whole interval is smaller, from ce: fair."
        ]
    else:
        assert notes == ["The plan cares for differences of 1 point or more. No interval is wholly smaller than that."]


def test_a_difference_at_the_smallest_that_matters_is_told_by_what_is_printed(tmp_path: pathlib.Path) -> None:
    """The terminal prints one digit, the page two: where they may be read apart, nothing is said of the interval."""
    held = rows(tmp_path, tailed=True, primaries=("few", "few"))
    gap = compare_records(held).methods[1].difference
    assert gap is not None
    found = gap.rates["few"]
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    ends = max(-found.low, found.high)
    shown = round(100 * ends, 1) / 100

    def told(smallest: float) -> str:
        (note,) = (
            note for note in compare_records(caring_for(held, smallest)).notes if note.startswith("The plan cares")
        )
        return note.partition(" or more.")[2]

    assert abs(shown - ends) > 1e-6
    assert told((shown + ends) / 2) == ""
    assert told(min(shown, ends) - 1e-6) == " No interval is wholly smaller than that."
    assert told(max(shown, ends) + 1e-6) == " The whole interval is smaller, from ce: fair."


def test_early_citations_take_the_measure_of_their_plan(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "rare.toml"
    file.write_text(
        'question = "Which?"\ndata = "digits-lt"\nseeds = [0]\nprimary = "few"\nsmallest = 0.02\narms = ["ce"]\n'
    )
    plan = read_plan(file)
    run = made_up_run(tmp_path / "run")
    early = dataclasses.replace(run.record, plan={"name": "rare", "sha256": plan.sha256, "arm": "ce"})
    now = completed(early, {plan.sha256: plan}).plan
    assert (now["primary"], now["smallest"]) == ("few", 0.02)
    cited = plan.cited("ce", {}, 3)
    assert {key: cited[key] for key in now} == now
