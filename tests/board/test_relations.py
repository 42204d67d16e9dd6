"""Claims that one method beats another: how they are read, judged and shown."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest
import torch

from longtail.board.claims import claims_in, relation_from
from longtail.board.content import load, shipped
from longtail.board.index import build_index
from longtail.board.model import Answers, Entry
from longtail.board.pages import render
from longtail.board.relations import judge
from longtail.errors import InputError
from oracles.board import runs

GIVEN = {
    "id": "a-over-b", "better": "a", "than": "b", "dataset": "d", "metric": "Accuracy", "gap": "2.8",
    "quote": "A 76.4, B 73.6", "source": "A paper", "locator": "Table 2", "protocol": "the same epochs",
}  # fmt: skip


def entry(name: str, method: str, **more: Any) -> Entry:
    fields = {
        "track": "scratch",
        "backbone": "R",
        "epochs": 10,
        "augmentation": "flip",
        "selection": "last epoch",
        "n": 3,
    }
    return Entry(
        id=name, board="d", kind="scored", method=method, method_id=method, paper=None, badge="re-scored-seeds",
        value=50.0, raw="50", metric="Accuracy", dataset_name="D", **{**fields, **more},
    )  # fmt: skip


def answers(right: float, num: int = 4000, seeds: int = 3) -> Answers:
    """Runs that are right on the first share of the items, each seed a little further on."""
    correct = torch.stack([torch.arange(num) < round(right * num) + 3 * seed for seed in range(seeds)])
    return Answers(correct, torch.arange(num) % 10, tuple(range(seeds)))


@pytest.mark.parametrize(
    ("first", "second", "gap", "word"),
    [
        (0.528, 0.500, "2.8", "holds"),
        (0.528, 0.500, "2.0", "holds"),  # more than was claimed is no less
        (0.510, 0.500, "2.8", "smaller"),
        (0.500, 0.528, "2.8", "reversed"),
        (0.500, 0.500, "0.01", "undecided"),
    ],
)
def test_a_claimed_gap_is_held_against_the_measured_one(first: float, second: float, gap: str, word: str) -> None:
    quote = f"ahead by {gap}"
    relation = relation_from({**GIVEN, "gap": gap, "quote": quote}, "test")
    entries = [entry("x", "a"), entry("y", "b")]
    found = judge(relation, entries, {"x": answers(first), "y": answers(second)})
    assert found.word == word, found.reason
    assert found.pair == ("x", "y")
    # The mutant with the two sides exchanged says another word, unless nothing can be told.
    turned = dataclasses.replace(relation, better="b", than="a")
    assert (judge(turned, entries, {"x": answers(first), "y": answers(second)}).word == word) == (word == "undecided")


@pytest.mark.parametrize(("ours", "theirs"), [(1, 1), (1, 3), (2, 3), (3, 2)])
@pytest.mark.parametrize(("first", "second"), [(0.528, 0.5), (0.5, 0.528), (0.51, 0.5)])
def test_fewer_than_three_seeds_decide_nothing(first: float, second: float, ours: int, theirs: int) -> None:
    found = judge(
        relation_from(GIVEN, "test"),
        [entry("x", "a", n=ours), entry("y", "b", n=theirs)],
        {"x": answers(first, seeds=ours), "y": answers(second, seeds=theirs)},
    )
    assert found.word == "undecided"
    assert f"{min(ours, theirs)} seed" in found.reason or "too few seeds" in found.reason


def test_a_claimed_gap_that_is_printed_at_the_end_of_the_interval_is_not_smaller() -> None:
    """The word is one on what the reason prints."""
    met = 0
    for right in range(500, 560):
        known = {"x": answers(right / 1000), "y": answers(0.5)}
        entries = [entry("x", "a"), entry("y", "b")]
        high = judge(relation_from(GIVEN, "test"), entries, known).high
        assert high is not None
        shown = f"{high:.2f}"
        if float(shown) > max(high, 0.1):
            met += 1
            relation = relation_from({**GIVEN, "gap": shown, "quote": f"ahead by {shown}"}, "test")
            assert judge(relation, entries, known).word != "smaller"
            more = f"{float(shown) + 0.01:.2f}"
            relation = relation_from({**GIVEN, "gap": more, "quote": f"ahead by {more}"}, "test")
            assert judge(relation, entries, known).word == "smaller"
    assert met


def test_only_runs_under_one_protocol_are_compared() -> None:
    relation = relation_from(GIVEN, "test")
    known = {"x": answers(0.528), "y": answers(0.5)}
    assert judge(relation, [entry("x", "a")], known).word == "not measured"
    assert "no run of b" in judge(relation, [entry("x", "a")], known).reason
    # A variant's run says nothing of the method as published.
    assert judge(relation, [entry("x", "a", options=("steps 30",)), entry("y", "b")], known).word == "not measured"
    for name, value in (("epochs", 20), ("track", "imagenet"), ("augmentation", "crop"), ("backbone", "S")):
        found = judge(relation, [entry("x", "a"), entry("y", "b", **{name: value})], known)
        assert found.word == "not comparable"
        assert name in found.reason
    # Two seeds decide nothing.
    two = {"x": answers(0.6, seeds=2), "y": answers(0.4, seeds=2)}
    assert judge(relation, [entry("x", "a", n=2), entry("y", "b", n=2)], two).word == "undecided"
    gone = [entry("x", "a", superseded_by="z"), entry("y", "b")]
    assert judge(relation, gone, known).word == "not measured"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gap": "2.7"}, "neither"),
        ({"gap": "0"}, "above 0"),
        ({"gap": "-2.8"}, "above 0"),
        ({"gap": "many"}, "above 0"),
        ({"than": "a"}, "itself"),
        ({"url": "javascript:alert(1)"}, "address"),
        ({"protocol": ""}, "protocol"),
        ({"verdict": "holds"}, "verdict"),
    ],
)
def test_a_relation_that_its_quote_does_not_give_is_refused(change: dict[str, str], message: str) -> None:
    assert relation_from(GIVEN, "test").gap == 2.8
    with pytest.raises(InputError, match=message):
        relation_from({**GIVEN, **change}, "test")


def test_names_in_a_relation_are_known_ones(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "claims" / "r.toml"
    file.parent.mkdir()
    lines = {**GIVEN, "better": "dro-lt", "than": "ce", "dataset": "cifar-100-lt-if-100"}
    text = "[[relation]]\n" + "".join(f'{name} = "{value}"\n' for name, value in lines.items())
    file.write_text(text)
    assert [each.id for each in load(tmp_path).relations][-1] == "a-over-b"
    file.write_text(text.replace('"dro-lt"', '"dro-tl"'))
    with pytest.raises(InputError, match="dro-lt"):
        load(tmp_path)
    file.write_text(text.replace("if-100", "if-1000"))
    with pytest.raises(InputError, match="cifar-100-lt-if-100"):
        load(tmp_path)
    assert claims_in(text, "r.toml") == []


def test_shipped_relations_are_differences_of_shipped_claims() -> None:
    content = shipped()
    assert len(content.relations) == 8
    for each in content.relations:
        values = {
            claim.method_id: claim.value
            for claim in content.claims
            if claim.dataset == each.dataset and claim.paper == each.paper and claim.measure == "accuracy"
            if claim.method_id in (each.better, each.than)
        }
        assert values[each.better] - values[each.than] == pytest.approx(each.gap)  # type: ignore[operator]


def test_a_verdict_is_shown_on_board_paper_and_method(tmp_path: pathlib.Path) -> None:
    from longtail.board import submit

    root = tmp_path / "root"
    submit(runs(tmp_path / "a", (0.9, 0.9, 0.91), recipe="balanced-softmax"), root=root)
    submit(runs(tmp_path / "b", (0.7, 0.7, 0.71), recipe="ce", stream=1), root=root)
    lines = {**GIVEN, "better": "balanced-softmax", "than": "ce", "dataset": "digits-lt-if-100", "paper": "dro-lt"}
    (root / "claims").mkdir()
    text = "[[relation]]\n" + "".join(f'{name} = "{value}"\n' for name, value in lines.items())
    (root / "claims" / "r.toml").write_text(text)
    with build_index(root) as index:
        (found,) = index.relations(board="digits-lt-if-100")
        assert found.word == "holds"
        assert found.gap == pytest.approx(20, abs=0.2)
        for path in ("boards/digits-lt-if-100.html", "papers/dro-lt.html", "methods/ce.html"):
            page = render(index, path)
            assert page is not None
            assert "A 76.4, B 73.6" in page[1]
            assert '<span class="verdict agrees">holds</span>' in page[1]
