"""A test set with a tail of its own: the board ranks by balanced accuracy, which counts each class alike."""

from __future__ import annotations

import pathlib
import re

import pytest
import torch

from longtail.board import submit
from longtail.board.index import build_index
from longtail.board.model import Answers
from longtail.board.pages import render
from longtail.board.verdicts import contrasts, ranked_by
from longtail.results.comparison import compare_records, correct_items
from longtail.results.record import read
from oracles.board import run
from oracles.runs import made_up_predictions

COUNTS = torch.tensor([300] * 7 + [30] * 3)
TARGET = torch.arange(10).repeat_interleave(torch.tensor([100] * 7 + [10] * 3))


def knows(folder: pathlib.Path, recipe: str, *, head: int, tail: int) -> list[pathlib.Path]:
    """Three runs that get so many per cent of the frequent and of the rare classes right, on data of one's own."""
    made = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        right = torch.rand(len(TARGET), generator=generator) < torch.where(TARGET < 7, head, tail) / 100
        made.append(
            run(
                folder / str(seed),
                recipe=recipe,
                seed=seed,
                index=torch.arange(len(TARGET)),
                target=TARGET,
                counts=COUNTS,
                prediction=made_up_predictions(TARGET, right, 10),
                data={"name": "folder:defects", "fingerprint": "d" * 64, "imbalance": 10, "split_seed": None},
            )
        )
    return made


def test_a_submission_is_ranked_by_balanced_accuracy(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "board"
    arms = {
        "ce": knows(tmp_path / "ce", "ce", head=80, tail=10),
        "balanced-softmax": knows(tmp_path / "fair", "balanced-softmax", head=70, tail=70),
    }
    compared = compare_records({name: [read(folder) for folder in folders] for name, folders in arms.items()})
    for folders in arms.values():
        submit(folders, root=root)
    with build_index(root) as index:
        (board,) = (each for each in index.boards() if each.scored and "defects" in each.slug)
        entries = {entry.method_id: entry for entry in index.entries(board.slug)}
        page = render(index, f"boards/{board.slug}.html")
    assert board.measure.id == "balanced-accuracy"
    assert board.name.endswith(", balanced accuracy")
    for method in compared.methods:
        estimate, entry = method.estimates["balanced_accuracy"], entries[method.name]
        assert estimate is not None
        assert (entry.value, entry.low, entry.high) == pytest.approx(
            tuple(100 * each for each in (estimate.value, estimate.low, estimate.high) if each is not None)
        )
    gap = compared.methods[1].difference
    assert gap is not None
    assert (gap.verdicts["accuracy"], gap.verdicts["balanced_accuracy"]) == ("worse", "better")
    ce, fair = (
        Answers(torch.stack([correct_items(read(folder)) for folder in folders]), TARGET, (0, 1, 2))
        for folders in arms.values()
    )
    (contrast,) = contrasts([fair, ce])
    assert contrast.word == "better"
    assert gap.rates["balanced_accuracy"] is not None
    assert contrast.estimate.value == pytest.approx(gap.rates["balanced_accuracy"].value)
    assert page is not None
    assert "balanced accuracy" in page[1]


def test_classes_with_as_many_items_keep_their_accuracy() -> None:
    alike = torch.arange(100) % 10
    assert ranked_by(Answers(torch.ones(1, 100, dtype=torch.bool), alike, (0,))) == "accuracy"
    assert ranked_by(Answers(torch.ones(1, len(TARGET), dtype=torch.bool), TARGET, (0,))) == "balanced_accuracy"


def test_the_page_of_a_submission_names_the_rate_that_it_is_ranked_by(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "board"
    (made,) = submit(knows(tmp_path / "ce", "ce", head=80, tail=10), root=root)
    with build_index(root) as index:
        entry = index.entry(made["id"])
        found = render(index, f"submissions/{made['id']}.html")
    assert entry is not None
    assert found is not None
    total = found[1].partition('<tr class="total">')[2].partition("</tr>")[0]
    accuracy, balanced = re.findall(r"<td[^>]*>(.*?)</td>", total)[:2]
    assert accuracy == f"{100 * made['mean_accuracy']:.2f}"
    assert balanced.startswith(f"<b>{entry.value:.2f}</b>")
    assert accuracy != f"{entry.value:.2f}"
    assert "95 % interval of the balanced accuracy" in total
