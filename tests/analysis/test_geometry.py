from __future__ import annotations

import dataclasses
import io
import itertools
import json

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from torch import Tensor

from longtail.analysis.geometry import Points, class_distances, feature_figure, projection, radii_figure
from longtail.errors import InputError

# Two many-shot, two medium-shot, one few-shot class, and one few-shot class that does not occur.
COUNTS = torch.tensor([500, 200, 100, 20, 3, 1])
SIZES = (6, 2, 4, 3, 5, 0)


def problem(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    target = torch.cat([torch.full((size,), c) for c, size in enumerate(SIZES)])
    features = 3 * torch.randn(6, 4, generator=generator)[target] + torch.randn(len(target), 4, generator=generator)
    order = torch.randperm(len(target), generator=generator)
    return features[order].double(), target[order]


def by_hand(
    features: Tensor,
    target: Tensor,
    *,
    over_samples: bool = False,
    pairwise: bool = False,
    with_itself: bool = False,
    within_group: bool = False,
    squared: bool = False,
) -> dict[str, tuple[float | None, float | None]]:
    """The distances class by class in loops; the options are the ways of getting them wrong."""
    groups = {"all": range(6), "many": (0, 1), "medium": (2, 3), "few": (4, 5)}
    present = [c for c in range(6) if (target == c).any()]
    power = 2 if squared else 1
    own = {c: features[target == c] for c in present}
    centre = {c: own[c].mean(0) for c in present}
    intra = {}
    for c in present:
        others = [a - b for a, b in itertools.permutations(own[c], 2)] if pairwise else [z - centre[c] for z in own[c]]
        intra[c] = [float(part.norm()) ** power for part in others]
    found: dict[str, tuple[float | None, float | None]] = {}
    for name, classes in groups.items():
        members = [c for c in classes if c in present]
        rivals = members if within_group else present
        inter = [
            np.mean([float((centre[c] - centre[r]).norm()) ** power for r in rivals if r != c or with_itself] or [0.0])
            for c in members
        ]
        within = [x for c in members for x in intra[c]] if over_samples else [np.mean(intra[c]) for c in members]
        found[name] = (float(np.mean(within)), float(np.mean(inter))) if members else (None, None)
    return found


def ours(features: Tensor, target: Tensor) -> dict[str, tuple[float | None, float | None]]:
    found = class_distances(features, target, counts=COUNTS)
    return {name: (getattr(found.intra, name), getattr(found.inter, name)) for name in ("all", "many", "medium", "few")}


def difference(a: dict[str, tuple[float, float]], b: dict[str, tuple[float, float]]) -> float:
    return max(abs(x - y) for name in a for x, y in zip(a[name], b[name], strict=True))


def test_distances_equal_the_loops(generator):
    features, target = problem(generator)
    assert difference(ours(features, target), by_hand(features, target)) < 1e-10


@pytest.mark.parametrize("wrong", ["over_samples", "pairwise", "with_itself", "within_group", "squared"])
def test_the_comparison_rejects_other_definitions(generator, wrong):
    features, target = problem(generator)
    assert difference(by_hand(features, target, **{wrong: True}), by_hand(features, target)) > 1e-2


def test_distances_of_a_known_arrangement():
    # Classes at the corners of a square of side 4, their features at distance 1, 2, 3, 4 from the corners.
    corners = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    radius = torch.arange(1.0, 5.0)
    directions = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    features = (corners[:, None] + radius[:, None, None] * directions).flatten(0, 1)
    target = torch.arange(4).repeat_interleave(4)
    found = class_distances(features, target, counts=torch.tensor([1000, 300, 90, 10]), many=200, few=50)
    side = (4 + 4 + 32**0.5) / 3
    assert dataclasses.astuple(found.intra) == pytest.approx((2.5, 1.5, 3.0, 4.0))
    assert dataclasses.astuple(found.inter) == pytest.approx((side, side, side, side))
    assert found.ratio.few == pytest.approx(4 / side)
    assert found.group_sizes == {"many": 2, "medium": 1, "few": 1}
    assert found.thresholds == {"many": 200, "few": 50}


def test_distances_move_with_the_scale_and_the_ratio_does_not(generator):
    features, target = problem(generator)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=generator)).Q
    one = class_distances(features, target, counts=COUNTS)
    other = class_distances(7 * features @ rotation + 100, target, counts=COUNTS)
    assert other.intra.all == pytest.approx(7 * one.intra.all)
    assert other.inter.few == pytest.approx(7 * one.inter.few)
    assert dataclasses.astuple(other.ratio) == pytest.approx(dataclasses.astuple(one.ratio))


def test_what_does_not_exist_has_no_value():
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [9.0, 0.0]])
    # Class 0 is many-shot with two features, class 2 few-shot with a single one; nothing is between.
    found = class_distances(features, torch.tensor([0, 0, 2]), counts=torch.tensor([500, 50, 5]))
    assert dataclasses.astuple(found.intra) == (1.0, 1.0, None, None)
    assert dataclasses.astuple(found.inter) == (8.0, 8.0, None, 8.0)
    assert dataclasses.astuple(found.ratio) == (0.125, 0.125, None, None)
    assert found.group_sizes == {"many": 1, "medium": 0, "few": 1}
    alone = class_distances(features[:2], torch.tensor([0, 0]), counts=torch.tensor([500, 50, 5]))
    assert dataclasses.astuple(alone.inter) == (None, None, None, None)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["intra"]["medium"] is None


def test_a_label_without_a_count_is_an_error():
    with pytest.raises(InputError, match="target holds labels 0 to 3, but counts has 3 classes"):
        class_distances(torch.zeros(2, 2), torch.tensor([0, 3]), counts=torch.tensor([5, 5, 5]))


def test_a_projection_is_reproducible_and_keeps_neighbours(generator):
    target = torch.arange(3).repeat_interleave(20)
    features = 8 * torch.eye(3, 10)[target] + torch.randn(60, 10, generator=generator)
    first, again = (projection(features, generator=generator.manual_seed(1), perplexity=10.0) for _ in range(2))
    assert torch.equal(first, again)
    near = (torch.cdist(first, first) + torch.diag(torch.full((60,), torch.inf))).argmin(1)
    assert (target[near] == target).float().mean() > 0.95
    # Features without classes would fail the line above.
    noise = projection(torch.randn(60, 10, generator=generator), generator=generator, perplexity=10.0)
    near = (torch.cdist(noise, noise) + torch.diag(torch.full((60,), torch.inf))).argmin(1)
    assert (target[near] == target).float().mean() < 0.7


def test_a_projection_of_fewer_points_than_the_perplexity_is_an_error(generator):
    with pytest.raises(InputError, match="perplexity is 30 for 30 features"):
        projection(torch.zeros(30, 2), generator=generator)


def points(generator: torch.Generator, sizes: tuple[int, ...]) -> Points:
    target = torch.cat([torch.full((size,), c) for c, size in enumerate(sizes)])
    return Points(torch.randn(len(target), 2, generator=generator), target)


def colours_of_points(axes: Axes) -> dict[tuple[float, ...], int]:
    return {
        tuple(dots.get_facecolor()[0]): len(dots.get_offsets()) for dots in axes.collections if len(dots.get_offsets())
    }


def test_the_feature_figure_shows_every_point_and_names_the_rarest_classes(generator):
    halves = {name: (points(generator, SIZES), points(generator, (5,) * 6)) for name in ("ce", "bns-ipdpp", "supcon")}
    figure = feature_figure(halves, counts=COUNTS, class_names=["cat", "dog", "cow", "owl", "ray", "eel"])
    panels = figure.get_axes()
    assert len(panels) == 6
    assert [axes.get_title() for axes in panels[:2]] == ["train", "test"]
    assert [axes.get_ylabel() for axes in panels[::2]] == ["ce", "bns-ipdpp", "supcon"]
    for axes, points_of_panel in zip(panels, itertools.chain(*halves.values()), strict=True):
        shown = np.concatenate([dots.get_offsets() for dots in axes.collections])
        expected = points_of_panel.position.numpy()
        assert sorted(shown.tolist()) == sorted(expected.tolist())
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert ((expected > (left, low)) & (expected < (right, high))).all()
    # The test panels have five points of each class: two colours stand for one class, two greys for two each.
    assert sorted(colours_of_points(panels[1]).values()) == [5, 5, 10, 10]
    assert colours_of_points(panels[1]) == colours_of_points(panels[5])
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["many-shot", "medium-shot", "eel, 1 training image", "ray, 3 training images"]
    named = legend.legend_handles[2:]
    assert len({handle.get_marker() for handle in named}) == len(named) == len({handle.get_color() for handle in named})
    figure.savefig(io.BytesIO(), format="png", dpi=40)


def test_few_shot_classes_beyond_the_highlighted_ones_are_grey(generator):
    one = points(generator, (5,) * 6)
    figure = feature_figure({"ce": (one, one)}, counts=COUNTS, highlighted=1)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["many-shot", "medium-shot", "other few-shot", "class 5, 1 training image"]
    none = feature_figure({"ce": (one, one)}, counts=COUNTS + 100)
    assert [text.get_text() for text in none.legends[0].get_texts()] == ["many-shot"]


@pytest.mark.parametrize(("methods", "highlighted", "message"), [({}, 6, "no method"), ({"ce": None}, 9, "at most 8")])
def test_a_feature_figure_that_cannot_be_drawn_is_an_error(generator, methods, highlighted, message):
    methods = dict.fromkeys(methods, (points(generator, SIZES),) * 2)
    with pytest.raises(InputError, match=message):
        feature_figure(methods, counts=COUNTS, highlighted=highlighted)


def lightness(colour: tuple[float, ...]) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def test_the_radii_figure_draws_every_class_darker_the_rarer_it_is():
    radii = [[1.0, 1.1, 1.2], [1.5, 1.6, 1.7], [2.0, 2.1, 2.2]]
    history = [{"stage": "classify", "epoch": 1}] + [{"epoch": k + 1, "radii": row} for k, row in enumerate(radii)]
    figure = radii_figure(history, counts=torch.tensor([10, 500, 50]))
    axes = figure.get_axes()[0]
    drawn = {tuple(line.get_ydata()): line.get_color() for line in axes.lines}
    columns = [tuple(column) for column in zip(*radii, strict=True)]
    assert set(drawn) == set(columns)
    assert all(list(line.get_xdata()) == [2, 3, 4] for line in axes.lines)
    rare, frequent, middle = (lightness(drawn[column]) for column in columns)
    assert rare < middle - 0.1 < frequent - 0.2
    figure.savefig(io.BytesIO(), format="png", dpi=40)


def test_the_radii_figure_of_equal_classes_and_of_one_epoch_can_be_drawn():
    figure = radii_figure([{"radii": [1.0, 2.0]}], counts=torch.tensor([7, 7]))
    assert [line.get_marker() for line in figure.get_axes()[0].lines] == ["o", "o"]
    figure.savefig(io.BytesIO(), format="png", dpi=40)


@pytest.mark.parametrize(
    ("history", "message"),
    [([{"epoch": 1}], "the history holds no radii"), ([{"radii": [1.0]}], r"radii of \[1\] classes, but counts has 3")],
)
def test_a_history_without_fitting_radii_is_an_error(history, message):
    with pytest.raises(InputError, match=message):
        radii_figure(history, counts=torch.tensor([3, 2, 1]))


def test_the_distances_agree_in_every_precision(generator):
    features, target = problem(generator)
    precise = class_distances(features, target, counts=COUNTS)
    single = class_distances(features.float(), target.int(), counts=COUNTS)
    assert dataclasses.astuple(single.intra) == pytest.approx(dataclasses.astuple(precise.intra), rel=1e-6)
