from __future__ import annotations

import dataclasses
import html
import pathlib
import re
from collections import Counter

import pytest
import torch

from longtail.results.comparison import compare_records
from longtail.results.record import Loaded, read, write
from longtail.results.report import configurations, report_html
from longtail.results.report.series import MOST, curves, frequency_bins
from longtail.results.tables import interval
from oracles.page import Page
from oracles.runs import made_up_predictions, made_up_record, made_up_run


def made_up(folder: pathlib.Path, names: dict[str, float], seeds: int = 2, **more: object) -> dict[str, list[Loaded]]:
    return {
        name: [
            made_up_run(folder / str(place) / str(seed), recipe=name, seed=seed, accuracy=accuracy, **more)  # type: ignore[arg-type]
            for seed in range(seeds)
        ]
        for place, (name, accuracy) in enumerate(names.items())
    }


def page_of(records: dict[str, list[Loaded]]) -> str:
    return report_html(compare_records(records), records)


HOSTILE = '<script>alert("$x$")</script>'


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: pathlib.Path) -> None:
    text = page_of(made_up(tmp_path, {"ce": 0.5, "balanced-softmax": 0.7, HOSTILE: 0.6}, seeds=3, validation=True))
    page = Page(text)
    tags = Counter(tag for tag, _ in page.found)
    assert tags["svg"] == 5
    assert not tags["script"]
    assert not tags["link"]
    assert not tags["img"]
    assert not re.search(r"@import|url\((?!#)", text)
    addresses = set(re.findall(r"https?://[^\"' <]+", text))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for _, attributes in page.found:
        assert not attributes.keys() & {"src", "onload", "onclick"}
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert HOSTILE in "".join(page.text)
    assert "(prefers-color-scheme: dark)" in text
    assert 'name="viewport"' in text


def test_every_figure_has_a_title_a_description_and_a_table(tmp_path: pathlib.Path) -> None:
    text = page_of(made_up(tmp_path, {"ce": 0.5, "balanced-softmax": 0.7}))
    page = Page(text)
    identifiers = Counter(attributes["id"] for _, attributes in page.found if "id" in attributes)
    assert max(identifiers.values()) == 1
    for tag, attributes in page.found:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert all(name in identifiers for name in (attributes["aria-labelledby"] or "").split())
        for name in ("xlink:href", "clip-path", "style"):
            for target in re.findall(r"#([\w.-]+)\)?", attributes.get(name) or ""):
                assert target in identifiers
    assert text.count("<table") == 9
    # No colour of the figures is fixed but the few that matplotlib itself sets: the page decides them.
    svg = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", svg)) == set()


def test_the_same_comparison_makes_the_same_page(tmp_path: pathlib.Path) -> None:
    records = made_up(tmp_path, {"ce": 0.5, "balanced-softmax": 0.7})
    assert page_of(records) == page_of(records)


def test_the_numbers_on_the_page_are_those_of_the_comparison(tmp_path: pathlib.Path) -> None:
    records = made_up(tmp_path, {"ce": 0.5, "balanced-softmax": 0.8}, seeds=3)
    comparison = compare_records(records)
    text = report_html(comparison, records)
    for method in comparison.methods:
        summary, estimate = method.summaries["accuracy"], method.estimates["accuracy"]
        assert summary is not None
        assert summary.sd is not None
        assert estimate is not None
        assert estimate.low is not None
        assert f"{100 * summary.mean:.2f} ± {100 * summary.sd:.2f} (3)" in text
        assert f"[{100 * estimate.low:.2f}, " in text
    assert "<strong>balanced-softmax</strong>: better than ce: +" in text
    for run in records["ce"]:
        assert run.record.predictions["sha256"][:12] in text


def test_one_method_with_one_seed_and_no_history(tmp_path: pathlib.Path) -> None:
    (run,) = made_up(tmp_path, {"ce": 0.5}, seeds=1)["ce"]
    records = {"ce": [dataclasses.replace(run, record=dataclasses.replace(run.record, history=[]))]}
    text = page_of(records)
    Page(text)
    assert "there is nothing to compare it with" in text
    assert text.count("<svg") == 3


def test_many_classes_methods_and_epochs_stay_small(tmp_path: pathlib.Path) -> None:
    names = {f"method-{n}": 0.4 + 0.01 * n for n in range(10)}
    records = made_up(tmp_path, names, seeds=2, items=450, num_classes=150, epochs=(150, 50), validation=True)
    text = page_of(records)
    Page(text)
    assert len(text.encode()) < 600_000


def test_bins_hold_every_class_once(tmp_path: pathlib.Path) -> None:
    records = made_up(tmp_path, {"ce": 0.5}, items=1000, num_classes=250)
    comparison = compare_records(records)
    bins = frequency_bins(comparison)
    assert len(bins) == 84  # of three classes each, and the last of one
    assert sum(part.images * (3 if n < 83 else 1) for n, part in enumerate(bins)) == pytest.approx(
        comparison.data["num_train"]
    )
    counts = [part.images for part in bins]
    assert counts == sorted(counts, reverse=True)
    recalls = comparison.methods[0].per_class
    assert bins[0].recalls[0] == pytest.approx(sum(r for r in recalls[:3] if r is not None) / 3)
    assert bins[-1].label == "class 249"


def test_curves_are_means_and_ranges_over_the_seeds_of_all_stages(tmp_path: pathlib.Path) -> None:
    records = made_up(tmp_path, {"crt": 0.5}, seeds=2, epochs=(4, 2))
    (loss,) = curves(records, {"loss": "loss"})["crt"]
    assert loss.epochs == (1, 2, 3, 4, 5, 6)
    histories = [run.record.history for run in records["crt"]]
    for place in range(6):
        values = [history[place]["loss"] for history in histories]
        assert loss.mean[place] == pytest.approx(sum(values) / 2)
        assert (loss.low[place], loss.high[place]) == (min(values), max(values))
    # The second stage does not look at training accuracy, and nothing looked at the test split.
    (rate,) = curves(records, {"train_accuracy": "training", "test_accuracy": "test"}, scale=100.0)["crt"]
    assert rate.name == "training"
    assert [value == value for value in rate.mean] == [True] * 4 + [False] * 2
    assert rate.mean[0] == pytest.approx(100 * histories[0][0]["train_accuracy"])


def test_long_curves_are_thinned_and_keep_the_last_epoch(tmp_path: pathlib.Path) -> None:
    records = made_up(tmp_path, {"ce": 0.5}, seeds=1, epochs=(377,))
    (loss,) = curves(records, {"loss": "loss"})["ce"]
    assert len(loss.epochs) <= MOST
    assert loss.epochs[-1] == 377
    assert loss.mean[-1] == records["ce"][0].record.history[-1]["loss"]


def test_configurations_are_told_apart_field_by_field() -> None:
    ce = {"type": "Recipe", "name": "ce", "stages": [{"type": "Stage", "epochs": 3, "at": [0.8, 0.9]}], "x": None}
    crt = {**ce, "name": "crt", "stages": [*ce["stages"], {"type": "Stage", "epochs": 1, "at": []}]}  # type: ignore[misc]
    same, different = configurations({"ce": ce, "crt": crt})
    assert same == {
        "type": "Recipe",
        "stages.0": "Stage",
        "stages.0.epochs": "3",
        "stages.0.at": "0.8, 0.9",
        "x": "none",
    }
    assert different == {"stages.1": ["–", "Stage"], "stages.1.epochs": ["–", "1"], "stages.1.at": ["–", "none"]}


def test_every_rate_has_its_interval_and_verdict_and_marks_are_shown(tmp_path: pathlib.Path) -> None:
    records = made_up(tmp_path, {"ce": 0.5, "dro-lt": 0.8, "dro-lt@robust=0": 0.78}, seeds=3)
    comparison = compare_records(records, controls={"dro-lt": "dro-lt@robust=0"}, numerics=2)
    text = report_html(comparison, records)
    Page(text)
    for method in comparison.methods:
        for found in (method.difference, method.control):
            if found is None:
                continue
            for rate, one in found.rates.items():
                assert one is not None
                assert interval(one, difference=True, digits=2) in text
                assert f'-text">{found.verdicts[rate]}</small>' in text
    assert "Minus the own control" in text
    assert text.count("numerics 1 (now 2)") >= 6
    for note in comparison.notes:
        assert html.escape(note, quote=False).replace("'", "&#39;") in text
    assert "bootstrap" not in text


def test_the_caption_counts_the_groups_that_are_tested(tmp_path: pathlib.Path) -> None:
    """A group whose classes have no test item is in no family of intervals."""
    rows = {}
    target = torch.arange(400) % 6  # the four rarest of ten classes are not tested
    for name, share in (("ce", 0.5), ("b", 0.8)):
        rows[name] = []
        for seed in range(3):
            right = torch.rand(400, generator=torch.Generator().manual_seed(10 * seed + len(name))) < share
            prediction = made_up_predictions(target, right, 10)
            record = made_up_record(recipe=name, seed=seed, target=target, prediction=prediction)
            folder = tmp_path / name / str(seed)
            write(record, folder, index=torch.arange(400), target=target, prediction=prediction)
            rows[name].append(read(folder))
    comparison = compare_records(rows)
    assert "Intervals of differences hold together for the 2 groups." in comparison.notes
    assert "of a group, for 1 × 2 together" in report_html(comparison, rows)


@pytest.mark.parametrize(("seeds", "says"), [(1, "better than ce in this run: +"), (2, "no verdict from two seeds")])
def test_few_seeds_are_judged_with_care(tmp_path: pathlib.Path, seeds: int, says: str) -> None:
    assert says in page_of(made_up(tmp_path, {"ce": 0.5, "balanced-softmax": 0.8}, seeds=seeds))
