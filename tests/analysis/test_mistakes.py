"""What a person is shown of a run is what the run did, and doubts fall on labels that are wrong."""

from __future__ import annotations

import base64
import dataclasses
import io
import pathlib

import pytest
import torch
from PIL import Image

import longtail
from longtail import results
from longtail.analysis import mistakes
from longtail.analysis.mistakes import look, priors
from longtail.analysis.suspects import contradicted
from longtail.data import Data
from longtail.data.fingerprint import fingerprint
from longtail.data.images import Split
from longtail.results.report.looked import CELLS, address_of, looked_html, matrix_svg
from oracles.page import Page

WRONG = [3, 40]


@pytest.fixture(scope="module")
def data() -> Data:
    """Digits with two labels that are wrong, and a test image that is trained on."""
    whole = longtail.load("digits-lt", imbalance=10)
    target, images = whole.train.target.clone(), whole.train.images.clone()
    target[WRONG] = (target[WRONG] + 1) % 3
    images[60] = whole.test.images[5]
    train = Split(images, target, whole.train.index)
    return dataclasses.replace(
        whole,
        train=train,
        counts=torch.bincount(target, minlength=10),
        fingerprint=fingerprint(train, None, whole.test),
    )


@pytest.fixture(scope="module")
def found(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[mistakes.Looked, results.Loaded]:
    folder = tmp_path_factory.mktemp("run")
    longtail.train(longtail.recipe("logit-adjustment-post-hoc", data, epochs=3), data, seed=0, out=folder)
    loaded = results.read(folder)
    return look(loaded, data), loaded


def test_numbers_are_those_of_the_predictions(found: tuple[mistakes.Looked, results.Loaded], data: Data) -> None:
    shown, loaded = found
    target, answer = loaded.target, loaded.prediction
    assert shown.wrong == int((target != answer).sum())
    assert len(shown.mistakes) <= mistakes.MISTAKES
    for pair in shown.pairs:
        true, taken = (data.class_names.index(name) for name in (pair.true, pair.taken))
        assert pair.times == int(((target == true) & (answer == taken)).sum())
        assert pair.back == int(((target == taken) & (answer == true)).sum())
        assert pair.share == pair.times / int((target == true).sum())
    assert [pair.times for pair in shown.pairs] == sorted((pair.times for pair in shown.pairs), reverse=True)
    recalls = {data.class_names[k]: recall for k, recall in enumerate(loaded.record.report["per_class"])}
    assert [row.trained for row in shown.rows] == sorted(data.counts.tolist(), reverse=True)
    for row in shown.rows:
        assert row.recall == pytest.approx(recalls[row.name])
    assert [rare.trained for rare in shown.rare] == sorted(data.counts.tolist())[: mistakes.RARE]
    whole = shown.trust[0]
    assert whole.ece == pytest.approx(loaded.record.report["calibration"]["ece"], rel=1e-4)
    assert whole.accuracy == pytest.approx(loaded.record.report["accuracy"])


def test_a_test_picture_that_was_trained_on_is_shown(found: tuple[mistakes.Looked, results.Loaded]) -> None:
    shown, _ = found
    assert "1 pair of equal pictures" in shown.near_told
    assert {one.lines[0] for one in shown.near[0]} == {"train", "test"}


def test_the_page_is_whole_and_escapes_names(found: tuple[mistakes.Looked, results.Loaded]) -> None:
    shown, _ = found
    hostile = dataclasses.replace(shown, recipe="<script>alert(1)</script>")
    page = Page(looked_html(hostile))
    tags = [tag for tag, _ in page.found]
    assert "script" not in tags
    assert "<script>alert(1)</script>" in "".join(page.text)
    sources = [str(attributes["src"]) for tag, attributes in page.found if tag == "img"]
    assert len(sources) == (
        len(shown.mistakes)
        + sum(len(rare.train) + len(rare.test) for rare in shown.rare)
        + 2 * len(shown.near)
        + len(shown.suspects)
    )
    assert all(source.startswith("data:image/") for source in sources)
    kind, content = sources[0].split(",")
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (8, 8)
    assert kind == "data:image/png;base64"


def test_large_pictures_become_small_ones() -> None:
    noise = torch.randint(256, (3, 300, 200), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    kind, content = address_of(noise).split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (64, 96)


def test_priors_weigh_the_recalls(generator: torch.Generator) -> None:
    counts = torch.tensor([100, 10, 1, 30])
    target = torch.arange(400) % 4
    answer = torch.where(torch.rand(400, generator=generator) < 0.6, target, (target + 1) % 4)
    recall = torch.stack([(answer[target == k] == k).double().mean() for k in range(4)])
    reverse = torch.tensor([1, 30, 100, 10])  # the rarest class has the frequency of the most frequent one
    values = [one.value for _, _, one in priors(target, answer, counts)]
    for value, prior in zip(values, (counts, torch.ones(4), reverse), strict=True):
        assert value == pytest.approx(float((recall * prior).sum() / prior.sum()))
    # The mutant that turns the list of counts round instead of their order.
    assert values[2] != pytest.approx(float((recall * counts.flip(0)).sum() / counts.sum()))
    for _, _, one in priors(target, answer, counts):
        assert one.low is not None
        assert one.low < one.value < (one.high or 0)
    # A class without test images has no recall; the others share its weight.
    seen = target != 0
    (forward, *_) = priors(target[seen], answer[seen], counts)
    weights = torch.tensor([0.0, 10, 1, 30])
    assert forward[2].value == pytest.approx(float((recall * weights).sum() / weights.sum()))


def test_wrong_labels_are_found_in_the_tail_too(generator: torch.Generator) -> None:
    counts = torch.tensor([200, 60, 20, 9, 3])
    truth = torch.repeat_interleave(torch.arange(5), counts)
    features = 6 * torch.eye(5)[truth] + torch.randn(len(truth), 5, generator=generator)
    target = truth.clone()
    planted = torch.tensor([5, 100, 230, 270, 285])
    target[planted] = torch.tensor([1, 2, 0, 0, 2])
    found = contradicted(features, target, counts=torch.bincount(target), seed=1)
    hit = set(found.position.tolist()) & set(planted.tolist())
    assert len(hit) >= 4
    assert len(found.position) <= 10
    assert found.judged == int((target != 4).sum())
    assert found.small == (4,)
    for position, other in zip(found.position.tolist(), found.other.tolist(), strict=True):
        assert other != int(target[position])
    groups = torch.bincount(target)[target[found.position]]
    rank = torch.where(groups < 20, 0, torch.where(groups > 100, 2, 1))
    assert rank.tolist() == sorted(rank.tolist())


def test_plain_disagreement_would_blame_the_tail(generator: torch.Generator) -> None:
    """Classes that overlap: the rarer one is not suspect for being rare (the mutant: weights by frequency)."""
    counts = torch.tensor([400, 20])
    target = torch.repeat_interleave(torch.arange(2), counts)
    features = torch.eye(2)[target] + torch.randn(420, 2, generator=generator)
    found = contradicted(features, target, counts=counts)
    rare = int((target[found.position] == 1).sum())
    assert rare <= 8  # of 20; a fit by frequency contradicts nearly all of them
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    plain = torch.from_numpy(cross_val_predict(LogisticRegression(), features.numpy(), target.numpy(), cv=5))
    assert int((plain[target == 1] == 0).sum()) > 15


def test_too_few_images_are_not_judged() -> None:
    found = contradicted(torch.zeros(6, 2), torch.tensor([0, 0, 0, 1, 1, 1]), counts=torch.tensor([3, 3]))
    assert (found.judged, found.small, len(found.position)) == (0, (0, 1), 0)


def test_a_matrix_of_many_classes_stays_small() -> None:
    classes = 3 * CELLS
    target = torch.arange(2 * classes) % classes
    svg = matrix_svg(target, target.roll(1), [classes - k for k in range(classes)], [f"<{k}>" for k in range(classes)])
    assert svg.count("<title>") <= CELLS * CELLS
    assert svg.count("<title>") >= CELLS
    assert "<0>" not in svg
    small = matrix_svg(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), [1, 9], ["rare", "frequent"])
    assert small.index("frequent") < small.index("rare")
    assert "frequent taken for rare: 1 of 2" in small


def test_a_pages_folder_is_not_needed(found: tuple[mistakes.Looked, results.Loaded], tmp_path: pathlib.Path) -> None:
    text = looked_html(found[0])
    assert "http" not in text.replace("http-equiv", "")
