"""IP-DPP class by class, its control arms of equal size, and what goes beyond the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from longtail import dpp
from longtail.errors import InputError
from longtail.samplers import informative
from longtail.samplers.informative import (
    class_balanced,
    easiest,
    hardest,
    information_preserving,
    ten_times_smallest,
    true_label_log_probability,
    uniform,
)
from oracles import law
from oracles.dpp import p_value, subset_masks

HARD = torch.tensor([0.0, 1.0, 0.95, 0.5, 0.99, 0.2], dtype=torch.float64)
TIMES = 4000


def copies(index: torch.Tensor, count: int) -> torch.Tensor:
    """(TIMES, count) masks from an index into TIMES classes of ``count`` items each: as many independent draws."""
    chosen = torch.zeros(TIMES * count, dtype=torch.bool)
    chosen[index] = True
    return chosen.view(TIMES, count)


def repeated(p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return p.repeat(TIMES), torch.arange(TIMES).repeat_interleave(len(p))


def long_tail(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.repeat_interleave(torch.tensor([120, 40, 12, 5, 0, 3]))
    target = target[torch.randperm(len(target), generator=generator)]
    return torch.rand(len(target), generator=generator, dtype=torch.float64), target


@pytest.mark.parametrize("k", [1, 2, 4])
def test_every_class_is_one_exact_k_dpp(k: int, generator: torch.Generator) -> None:
    index = information_preserving(*repeated(HARD), k=k, generator=generator)
    assert p_value(copies(index, 6), *law.enumeration(dpp.information_kernel(HARD), k=k)) > 1e-5


def test_the_mean_of_all_classes_is_a_mutant_that_the_counts_reject(generator: torch.Generator) -> None:
    """The kernel knows the mean p of its own class: with that of the whole set the law is another."""
    p, target = repeated(HARD)
    index = information_preserving(p, target, k=2, generator=generator)
    other = dpp.DiagonalPlusRankOne(1.0 - HARD * 0.3, HARD / math.sqrt(6))
    assert p_value(copies(index, 6), *law.enumeration(other, k=2)) < 1e-6


def test_sizes_small_classes_whole_and_indices_ascending(generator: torch.Generator) -> None:
    p, target = long_tail(generator)
    for arm in (information_preserving, uniform, hardest, easiest):
        index = arm(p, target, k=10, generator=generator)
        assert torch.bincount(target[index], minlength=6).tolist() == [10, 10, 10, 5, 0, 3]
        assert bool((index.diff() > 0).all())
        small = (target == 3) | (target == 5)
        assert set(small.nonzero().flatten().tolist()) <= set(index.tolist())
    balanced = class_balanced(p, target, k=10, generator=generator)
    assert len(balanced) == 38
    assert sorted(torch.bincount(target[balanced], minlength=6).tolist()) == [0, 7, 7, 8, 8, 8]


def test_k_per_class_and_by_rule(generator: torch.Generator) -> None:
    p, target = long_tail(generator)
    k = torch.tensor([7, 0, 12, 100, 9, 1, 4])
    index = information_preserving(p, target, k=k, generator=generator)
    assert torch.bincount(target[index], minlength=6).tolist() == [7, 0, 12, 5, 0, 1]
    counts = torch.bincount(target)
    assert ten_times_smallest(counts).tolist() == [30, 30, 12, 5, 0, 3]
    assert ten_times_smallest(counts, times=1).tolist() == [3, 3, 3, 3, 0, 3]
    assert ten_times_smallest(torch.tensor([0, 0])).tolist() == [0, 0]
    index = information_preserving(p, target, k=ten_times_smallest(counts), generator=generator)
    assert torch.bincount(target[index], minlength=6).tolist() == [30, 30, 12, 5, 0, 3]


def test_log_probabilities_give_the_same_draw() -> None:
    p, target = long_tail(torch.Generator().manual_seed(0))
    by_p = information_preserving(p, target, k=9, generator=torch.Generator().manual_seed(1))
    by_log = information_preserving(
        None, target, k=9, generator=torch.Generator().manual_seed(1), log_probability=p.log()
    )
    assert torch.equal(by_p, by_log)


def test_log_probabilities_tell_items_apart_where_probabilities_are_1(generator: torch.Generator) -> None:
    miss = torch.tensor([1e-20, 1e-20, 1e-20, 1e-18], dtype=torch.float64)
    index = information_preserving(
        None, torch.arange(TIMES).repeat_interleave(4), k=2, generator=generator, log_probability=-miss.repeat(TIMES)
    )
    often = copies(index, 4).double().mean(0)
    exact = dpp.inclusion_probabilities(dpp.information_kernel(log_probability=-miss), k=2)
    assert float(exact[3]) > 0.55
    torch.testing.assert_close(often, exact, rtol=0.0, atol=0.05)


def test_the_generator_alone_decides() -> None:
    p, target = long_tail(torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    for arm in (information_preserving, uniform, hardest, easiest, class_balanced):
        first = arm(p, target, k=9, generator=torch.Generator().manual_seed(2))
        assert torch.equal(first, arm(p, target, k=9, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(before, torch.random.get_rng_state())
    one = torch.Generator().manual_seed(2)
    first = information_preserving(p, target, k=9, generator=one)
    assert not torch.equal(first, information_preserving(p, target, k=9, generator=one))


def test_classes_in_which_every_p_is_1_are_drawn_uniformly_with_a_warning(generator: torch.Generator) -> None:
    p, target = repeated(torch.ones(5))
    with pytest.warns(RuntimeWarning, match="exactly 1 in 4000 of 4000 classes"):
        index = information_preserving(p, target, k=2, generator=generator)
    subsets = subset_masks(5, 2)
    assert p_value(copies(index, 5), subsets, torch.full((10,), 0.1, dtype=torch.float64)) > 1e-5
    index = information_preserving(p, target, k=1, generator=generator)  # has mass: no warning
    assert p_value(copies(index, 5), torch.eye(5, dtype=torch.bool), torch.full((5,), 0.2, dtype=torch.float64)) > 1e-5


@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_strength_raises_the_odds(strength: float, generator: torch.Generator) -> None:
    index = information_preserving(*repeated(HARD), k=3, generator=generator, strength=strength)
    raised = dpp.information_kernel(HARD, strength=strength)
    assert p_value(copies(index, 6), *law.enumeration(raised, k=3)) > 1e-5
    assert p_value(copies(index, 6), *law.enumeration(dpp.information_kernel(HARD), k=3)) < 1e-6


def test_a_great_strength_is_hardest_first(generator: torch.Generator) -> None:
    p = torch.linspace(0.01, 0.99, 30, dtype=torch.float64)
    target = torch.zeros(30, dtype=torch.int64)
    index = information_preserving(p, target, k=5, generator=generator, strength=400.0)
    assert torch.equal(index, hardest(p, target, k=5, generator=generator))


def test_features_make_a_subset_diverse(generator: torch.Generator) -> None:
    """Quality times diversity, class by class: the law, and that twins are never drawn together."""
    features = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    p = torch.tensor([0.9, 0.1, 0.5, 0.99, 0.7], dtype=torch.float64)
    target = torch.arange(500).repeat_interleave(5)
    index = information_preserving(
        p.repeat(500), target, k=3, generator=generator, features=3.0 * features.repeat(500, 1), strength=2.0
    )
    masks = torch.zeros(2500, dtype=torch.bool).index_fill(0, index, True).view(500, 5)
    odds = dpp.information_kernel(p).diagonal
    kernel = dpp.LowRank(torch.nn.functional.normalize(features, dim=1) * odds[:, None])  # sqrt(odds^2)
    assert p_value(masks, *law.enumeration(kernel, k=3)) > 1e-5

    twins = torch.cat([features, features]).repeat(40, 1)
    target = torch.arange(40).repeat_interleave(10)
    index = information_preserving(torch.full((400,), 0.5), target, k=4, generator=generator, features=twins)
    masks = torch.zeros(400, dtype=torch.bool).index_fill(0, index, True).view(40, 10)
    assert not bool((masks[:, :5] & masks[:, 5:]).any())


def test_features_of_too_low_a_rank_name_the_class(generator: torch.Generator) -> None:
    target = torch.tensor([0] * 3 + [2] * 9)
    with pytest.raises(InputError, match=r"class 2 wants 5 items, and its features have rank 2: .*k at most 2"):
        information_preserving(
            torch.full((12,), 0.5), target, k=5, generator=generator, features=torch.randn(12, 2, generator=generator)
        )


def test_lists_and_arrays_are_read_as_tensors_are() -> None:
    p, target = long_tail(torch.Generator().manual_seed(0))
    for arm in (information_preserving, uniform, hardest, easiest, class_balanced):
        first = arm(p, target, k=9, generator=torch.Generator().manual_seed(2))
        for k in (9, np.int64(9), torch.tensor(9), [9] * 6, np.full(6, 9)):
            again = arm(p.tolist(), target.numpy(), k=k, generator=torch.Generator().manual_seed(2))
            assert torch.equal(first, again)


def test_the_least_probable_share_of_a_class_is_set_aside_as_mislabelled(generator: torch.Generator) -> None:
    p = torch.rand(300, generator=generator, dtype=torch.float64)
    target = torch.repeat_interleave(torch.tensor([200, 90, 10]))
    barred = torch.cat([p[:200].argsort()[:20], 200 + p[200:290].argsort()[:9]])
    for _ in range(20):
        index = information_preserving(p, target, k=10, generator=generator, mislabelled=0.1)
        assert torch.bincount(target[index]).tolist() == [10, 10, 10]
        assert not set(index.tolist()) & set(barred.tolist())
        assert set(range(290, 300)) <= set(index.tolist())
    # Never more than leaves k: of 200 items with 195 to be drawn 5 are set aside, and the rest is whole.
    index = information_preserving(p[:200], target[:200], k=195, generator=generator, mislabelled=0.1)
    assert set(p[:200].argsort()[5:].tolist()) == set(index.tolist())


def test_what_is_left_after_setting_aside_follows_its_own_law(generator: torch.Generator) -> None:
    index = information_preserving(*repeated(HARD), k=2, generator=generator, mislabelled=0.2)
    masks = copies(index, 6)
    assert not bool(masks[:, 0].any())  # HARD[0] = 0 is the least
    assert p_value(masks[:, 1:], *law.enumeration(dpp.information_kernel(HARD[1:]), k=2)) > 1e-5


def test_uniform_ignores_p(generator: torch.Generator) -> None:
    index = uniform(*repeated(HARD), k=3, generator=generator)
    subsets = subset_masks(6, 3)
    assert p_value(copies(index, 6), subsets, torch.full((20,), 0.05, dtype=torch.float64)) > 1e-5
    assert p_value(copies(index, 6), *law.enumeration(dpp.information_kernel(HARD), k=3)) < 1e-6


def test_hardest_and_easiest_are_the_ends_and_ties_fall_at_random(generator: torch.Generator) -> None:
    p = torch.tensor([0.3, 0.1, 0.9, 0.3, 0.8, 0.3, 0.2], dtype=torch.float64)
    target = torch.tensor([0, 0, 0, 0, 0, 0, 1])
    seen = {tuple(hardest(p, target, k=2, generator=generator).tolist()) for _ in range(60)}
    assert seen == {(0, 1, 6), (1, 3, 6), (1, 5, 6)}
    assert easiest(p, target, k=2, generator=generator).tolist() == [2, 4, 6]
    assert easiest(None, target, k=2, generator=generator, log_probability=p.log()).tolist() == [2, 4, 6]


def test_class_balanced_repeats_small_classes_evenly(generator: torch.Generator) -> None:
    target = torch.tensor([0] * 50 + [1] * 20 + [3] * 3)
    index = class_balanced(None, target, k=20, generator=generator)
    assert len(index) == 43
    per_class = torch.bincount(target[index]).tolist()
    assert sorted(per_class) == [0, 14, 14, 15]
    times = torch.bincount(index, minlength=73)
    assert int(times[:70].max()) == 1
    assert set(times[70:].tolist()) <= {4, 5}
    more = torch.zeros(4)
    for _ in range(300):
        more += torch.bincount(target[class_balanced(None, target, k=20, generator=generator)], minlength=4) == 15
    assert float((more[[0, 1, 3]] - 100).abs().max()) < 5.0 * math.sqrt(300 * 2 / 9)


def test_nothing_to_draw_from_and_nothing_to_draw(generator: torch.Generator) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    target = torch.tensor([0, 0, 1])
    p = torch.tensor([0.1, 0.2, 0.3])
    for arm in (information_preserving, uniform, hardest, easiest, class_balanced):
        assert arm(torch.zeros(0), none, k=3, generator=generator).shape == (0,)
        assert arm(p, target, k=0, generator=generator).shape == (0,)
        assert sorted(arm(p, target, k=99, generator=generator).unique().tolist())[0] in (0, 1)
    assert information_preserving(p, target, k=99, generator=generator).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": torch.tensor([0.1, math.nan, 0.3])}, r"probability\[1\] is nan"),
        ({"probability": torch.tensor([0.1, 0.2, 1.5])}, r"probability\[2\] is 1\.5"),
        ({"probability": None}, "either probability or log_probability"),
        ({"k": -1}, "k is -1"),
        ({"k": torch.tensor([2])}, "k has 1 entries, and target has the label 1"),
        ({"target": torch.tensor([0, -1, 1])}, "target has the label -1"),
        ({"mislabelled": 1.0}, "mislabelled is 1.0"),
        ({"k": torch.tensor(1.5)}, "give a whole number of items"),
        ({"target": [0.0, 1.0, 1.0]}, "give whole numbers"),
        ({"target": ["a", "b", "b"]}, "target is no array: give whole numbers"),
        ({"target": [[0], [1, 1]]}, "target is no array: give whole numbers"),
        ({"k": "two"}, "k is no array of whole numbers: give a whole number of items, or one for each class"),
        ({"k": [[1], [1, 2]]}, "k is no array of whole numbers"),
        ({"k": [True, False]}, "torch.bool: give whole numbers"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {
        "probability": torch.tensor([0.1, 0.2, 0.3]),
        "target": torch.tensor([0, 0, 1]),
        "k": 1,
        "generator": None,
    } | change
    with pytest.raises(InputError, match=message):
        informative.information_preserving(**given)


def test_true_label_log_probability_is_a_log_softmax(generator: torch.Generator) -> None:
    logits = 3.0 * torch.randn(50, 7, generator=generator)
    target = torch.randint(0, 7, (50,), generator=generator)
    expected = torch.log_softmax(logits.double(), 1)[torch.arange(50), target]
    torch.testing.assert_close(true_label_log_probability(logits, target), expected)


def test_true_label_log_probability_keeps_its_digits_where_a_softmax_is_1() -> None:
    logits = torch.tensor([[90.0, 0.0, 0.0], [-500.0, 0.0, 0.0], [200.0, -600.0, -600.0]])
    log_p = true_label_log_probability(logits, torch.zeros(3, dtype=torch.int64))
    assert float(log_p[0]) == pytest.approx(-2.0 * math.exp(-90.0), rel=1e-12)
    assert float(log_p[1]) == pytest.approx(-500.0 - math.log(2.0), rel=1e-12)
    assert float(log_p[2]) <= 0.0
    assert float(torch.log_softmax(logits.double(), 1)[0, 0]) == 0.0  # the mutant
    assert true_label_log_probability(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64)).tolist() == [0.0] * 4


def test_true_label_log_probability_runs_on_the_meta_device() -> None:
    logits = torch.empty(8, 5, device="meta", dtype=torch.bfloat16)
    target = torch.empty(8, device="meta", dtype=torch.int64)
    assert true_label_log_probability(logits, target).shape == (8,)
