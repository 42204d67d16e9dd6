"""The four functions, on all three kernels: laws on counts over all subsets, and the mutants that the counts reject."""

from __future__ import annotations

import math

import pytest
import torch

from longtail import dpp
from longtail.dpp import completion, process
from longtail.errors import InputError
from oracles import law
from oracles.dpp import mutants, p_value

ENOUGH = 1e-5  # a right sampler fails one test in a hundred thousand; generators are fixed, so it fails always or never
EXTREME = [0.0, 0.0, 1.0, 1.0, 0.5, 0.99, 0.2]
PROBABILITIES = {
    "uniform": [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9],
    "0 and 1 among them": EXTREME,
    "all but 1": [0.9999] * 7,
    "one hard": [1.0] * 6 + [0.0],
    "all 0": [0.0] * 7,
}


def kernel_of(name: str) -> dpp.DiagonalPlusRankOne:
    return dpp.information_kernel(torch.tensor(PROBABILITIES[name], dtype=torch.float64))


def singly(kernel: dpp.DiagonalPlusRankOne, k: int | None, draws: int, generator: torch.Generator) -> torch.Tensor:
    """Draws of the sampler for one set, without the price of a seed for each."""
    prepared, rng = process._prepared(kernel, k), process._numpy_generator(generator)
    masks = torch.zeros(draws, len(kernel), dtype=torch.bool)
    for mask in masks:
        mask[torch.from_numpy(completion.draw(prepared, rng))] = True
    return masks


@pytest.mark.parametrize("k", [1, 2, 4, 6, None])
@pytest.mark.parametrize("name", PROBABILITIES)
def test_many_draws_follow_the_law(name: str, k: int | None, generator: torch.Generator) -> None:
    kernel = kernel_of(name)
    masks = dpp.sample_masks(kernel, 30_000, k=k, generator=generator)
    assert p_value(masks, *law.enumeration(kernel, k=k)) > ENOUGH


@pytest.mark.parametrize("k", [1, 3, 6, None])
@pytest.mark.parametrize("name", PROBABILITIES)
def test_draws_one_by_one_follow_the_law(name: str, k: int | None, generator: torch.Generator) -> None:
    kernel = kernel_of(name)
    masks = singly(kernel, k, 2000, generator)
    assert p_value(masks, *law.enumeration(kernel, k=k)) > ENOUGH


@pytest.mark.parametrize(
    "kernel",
    [
        dpp.DiagonalPlusRankOne(torch.tensor([0.0, 0.0, 2.0, 5.0, 0.1]), torch.tensor([1.0, -0.5, 0.0, 3.0, 2.0])),
        dpp.DiagonalPlusRankOne(torch.tensor([1e-6, 1.0, 1e6, 1.0, 3.0]), torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0])),
        dpp.DiagonalPlusRankOne(torch.tensor([1e-30, 1e-30, 1.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 1.0, 0.0, 1.0])),
    ],
    ids=["zeros on the diagonal", "no factor, twelve orders", "thirty orders and large marks"],
)
@pytest.mark.parametrize("k", [1, 2, 3, 4, None])
def test_any_diagonal_plus_rank_one(kernel: dpp.DiagonalPlusRankOne, k: int | None, generator: torch.Generator) -> None:
    expected = law.enumeration(kernel, k=k)
    assert p_value(dpp.sample_masks(kernel, 20_000, k=k, generator=generator), *expected) > ENOUGH
    if k is None or process._forced(kernel, k) is None:
        assert p_value(singly(kernel, k, 1500, generator), *expected) > ENOUGH
    torch.testing.assert_close(
        dpp.inclusion_probabilities(kernel, k=k), expected[1] @ expected[0].double(), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("k", [1, 3, 4, None])
@pytest.mark.parametrize("shape", [(7, 4), (5, 8)])
def test_low_rank_follows_the_law(shape: tuple[int, int], k: int | None, generator: torch.Generator) -> None:
    kernel = dpp.LowRank(torch.randn(shape, generator=generator, dtype=torch.float64))
    expected = law.enumeration(kernel, k=k)
    assert p_value(dpp.sample_masks(kernel, 30_000, k=k, generator=generator), *expected) > ENOUGH


@pytest.mark.parametrize("k", [2, 5, None])
def test_dense_follows_the_law(k: int | None, generator: torch.Generator) -> None:
    kernel = dpp.Dense(law.matrix(kernel_of("0 and 1 among them")))
    expected = law.enumeration(kernel, k=k)
    assert p_value(dpp.sample_masks(kernel, 30_000, k=k, generator=generator), *expected) > ENOUGH


@pytest.mark.parametrize(
    ("p", "k"),
    [
        ([0.0, 1.0, 0.95, 0.5, 0.2, 0.8, 0.05], 2),
        ([0.99, 0.9, 0.97, 0.2, 0.95, 0.999, 1.0], 3),
        ([0.99, 0.9, 0.97, 0.2, 0.95, 0.999, 1.0], 4),
        ([0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], 3),
    ],
)
def test_the_counts_reject_every_mutant(p: list[float], k: int, generator: torch.Generator) -> None:
    probability = torch.tensor(p, dtype=torch.float64)
    kernel = dpp.information_kernel(probability)
    expected = law.enumeration(kernel, k=k)
    for name, masks in mutants(probability, k, 100_000, generator).items():
        assert p_value(masks, *expected) < 0.1 * ENOUGH, name
    assert p_value(dpp.sample_masks(kernel, 100_000, k=k, generator=generator), *expected) > ENOUGH


def test_proportions_instead_of_counts_would_accept_the_fixed_subset(generator: torch.Generator) -> None:
    """Why ``p_value`` counts: the same statistic on proportions is smaller by the number of draws."""
    from scipy import stats

    p = torch.tensor(EXTREME, dtype=torch.float64)
    subsets, probability = law.enumeration(dpp.information_kernel(p), k=3)
    masks = mutants(p, 3, 1000, generator)["fixed subset"]
    assert p_value(masks, subsets, probability) == 0.0
    proportion = (subsets == masks[0]).all(1).double()
    statistic = float(((proportion - probability) ** 2 / probability)[probability > 0].sum())
    assert stats.chi2.sf(statistic, len(probability) - 1) > 0.01


@pytest.mark.parametrize("k", [None, 1, 2, 4, 7])
@pytest.mark.parametrize("name", PROBABILITIES)
def test_log_prob_and_inclusion_agree_with_enumeration(name: str, k: int | None) -> None:
    kernel = kernel_of(name)
    subsets, probability = law.enumeration(kernel, k=k)
    for form in (kernel, dpp.Dense(law.matrix(kernel))):
        for size in range(8) if k is None else [k]:
            of_size = subsets.sum(1) == size
            items = torch.stack([mask.nonzero().flatten() for mask in subsets[of_size]])
            computed = dpp.log_prob(form, items, k=k).exp()
            torch.testing.assert_close(computed, probability[of_size], rtol=1e-9, atol=1e-13)
        inclusion = dpp.inclusion_probabilities(form, k=k)
        torch.testing.assert_close(inclusion, probability @ subsets.double(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("k", [None, 1, 3])
def test_low_rank_log_prob_and_inclusion_agree_with_enumeration(k: int | None, generator: torch.Generator) -> None:
    kernel = dpp.LowRank(torch.randn(6, 3, generator=generator, dtype=torch.float64))
    subsets, probability = law.enumeration(kernel, k=k)
    for mask, expected in zip(subsets, probability, strict=True):
        computed = dpp.log_prob(kernel, mask.nonzero().flatten(), k=k).exp()
        torch.testing.assert_close(computed, expected, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(dpp.inclusion_probabilities(kernel, k=k), probability @ subsets.double())


@pytest.mark.parametrize(
    ("p", "share"),
    [(torch.linspace(0, 1, 100_001), 0.424), (torch.full((10_000,), 0.9), 0.160), (torch.full((10_000,), 0.99), 0.020)],
    ids=["uniform", "0.9", "0.99"],
)
def test_expected_size_is_not_the_papers(p: torch.Tensor, share: float) -> None:
    expected = float(dpp.expected_size(dpp.information_kernel(p))) / len(p)
    assert expected == pytest.approx(share, abs=1e-3)
    assert abs(expected - dpp.printed.paper_expected_size(len(p)) / len(p)) > 0.1


def test_expected_size_is_the_mean_number_of_items_drawn(generator: torch.Generator) -> None:
    kernel = dpp.LowRank(torch.randn(6, 3, generator=generator))
    masks = dpp.sample_masks(kernel, 20_000, generator=generator)
    assert float(masks.sum(1).double().mean()) == pytest.approx(float(dpp.expected_size(kernel)), abs=0.03)


def test_all_p_1_draws_uniformly_and_says_so(generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(torch.ones(6))
    assert float(kernel.diagonal.max()) == 0.0
    one = dpp.sample_masks(kernel, 20_000, k=1, generator=generator)  # has mass, and is uniform: no warning
    uniform = law.enumeration(dpp.DiagonalPlusRankOne(torch.ones(6), torch.zeros(6)), k=1)
    assert p_value(one, *uniform) > ENOUGH
    with pytest.warns(RuntimeWarning, match="drawing 3 of 6 uniformly"):
        three = dpp.sample_masks(kernel, 20_000, k=3, generator=generator)
    with pytest.warns(RuntimeWarning, match="uniformly"):
        assert len(dpp.sample(kernel, k=3, generator=generator)) == 3
    subsets, probability = law.enumeration(dpp.DiagonalPlusRankOne(torch.ones(6), torch.zeros(6)), k=3)
    assert p_value(three, subsets, probability) > ENOUGH
    items = torch.stack([mask.nonzero().flatten() for mask in subsets])
    torch.testing.assert_close(dpp.log_prob(kernel, items, k=3).exp(), probability)
    torch.testing.assert_close(dpp.inclusion_probabilities(kernel, k=3), torch.full((6,), 0.5, dtype=torch.float64))


def test_uniform_is_the_limit_of_equal_p(generator: torch.Generator) -> None:
    """What stands in for the missing law is where the laws of equal p tend to."""
    log_p = torch.full((6,), -1e-12, dtype=torch.float64)
    subsets, _ = law.enumeration(dpp.DiagonalPlusRankOne(torch.ones(6), torch.zeros(6)), k=3)
    items = torch.stack([mask.nonzero().flatten() for mask in subsets])
    computed = dpp.log_prob(dpp.information_kernel(log_probability=log_p), items, k=3).exp()
    torch.testing.assert_close(computed, torch.full((20,), 0.05, dtype=torch.float64))


@pytest.mark.parametrize("kernel", [kernel_of("uniform"), dpp.LowRank(torch.eye(7)), dpp.Dense(torch.eye(7))])
def test_nothing_and_everything(kernel: dpp.Kernel, generator: torch.Generator) -> None:
    assert dpp.sample(kernel, k=0, generator=generator).shape == (0,)
    assert dpp.sample(kernel, k=7, generator=generator).tolist() == list(range(7))
    assert float(dpp.log_prob(kernel, torch.arange(7), k=7)) == pytest.approx(0.0, abs=1e-12)
    assert float(dpp.log_prob(kernel, torch.arange(0), k=0)) == pytest.approx(0.0, abs=1e-12)
    assert dpp.inclusion_probabilities(kernel, k=7).tolist() == pytest.approx([1.0] * 7)
    assert dpp.inclusion_probabilities(kernel, k=0).tolist() == [0.0] * 7
    assert dpp.sample_masks(kernel, 0, k=2, generator=generator).shape == (0, 7)


def test_p_0_is_never_special() -> None:
    kernel = dpp.information_kernel(torch.zeros(5))
    assert kernel.factor.tolist() == [0.0] * 5
    assert kernel.diagonal.tolist() == [1.0] * 5


def test_an_empty_ground_set(generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(torch.zeros(0))
    assert dpp.sample(kernel, generator=generator).shape == (0,)
    assert dpp.sample(kernel, k=0, generator=generator).shape == (0,)
    assert float(dpp.expected_size(kernel)) == 0.0


@pytest.mark.parametrize(
    ("kernel", "k", "message"),
    [
        (kernel_of("uniform"), 8, "k is 8, and the kernel has 7 items"),
        (kernel_of("uniform"), -1, "k is -1"),
        (dpp.LowRank(torch.ones(5, 3)), 2, "no set of 2 items"),
        (dpp.DiagonalPlusRankOne(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])), 3, "no set of 3 items"),
    ],
)
def test_sizes_that_cannot_be_drawn(kernel: dpp.Kernel, k: int, message: str) -> None:
    for function in (dpp.sample, dpp.inclusion_probabilities):
        with pytest.raises(InputError, match=message):
            function(kernel, k=k)


@pytest.mark.parametrize(
    ("items", "k", "message"),
    [([0, 0], None, "twice"), ([0, 7], None, "entry 7"), ([-1, 2], None, "entry -1"), ([0, 1], 3, "k is 3")],
)
def test_items_that_are_no_set(items: list[int], k: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dpp.log_prob(kernel_of("uniform"), torch.tensor(items), k=k)


def test_log_prob_of_what_cannot_be_drawn() -> None:
    kernel = dpp.DiagonalPlusRankOne(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 1.0]))
    assert float(dpp.log_prob(kernel, torch.tensor([0, 1]), k=2)) == -math.inf
    with pytest.raises(InputError, match="no set of 3 items"):
        dpp.log_prob(kernel, torch.arange(3), k=3)


def test_the_generator_alone_decides() -> None:
    kernel = dpp.information_kernel(torch.linspace(0, 1, 5000))
    before = torch.random.get_rng_state()
    first = dpp.sample(kernel, k=100, generator=torch.Generator().manual_seed(3))
    fresh = dpp.information_kernel(torch.linspace(0, 1, 5000))
    again = dpp.sample(fresh, k=100, generator=torch.Generator().manual_seed(3))
    other = dpp.sample(kernel, k=100, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())
    one = torch.Generator().manual_seed(3)
    assert not torch.equal(dpp.sample(kernel, k=100, generator=one), dpp.sample(kernel, k=100, generator=one))


def test_items_come_in_ascending_order_whatever_the_path(generator: torch.Generator) -> None:
    for count, k in ((50, 20), (20_000, 100), (20_000, 9000), (20_000, 19_000)):
        items = dpp.sample(dpp.information_kernel(torch.rand(count, generator=generator)), k=k, generator=generator)
        assert len(items) == k
        assert bool((items.diff() > 0).all())
        assert int(items[-1]) < count


def test_the_scale_of_the_kernel_does_not_matter_to_sets_of_k(generator: torch.Generator) -> None:
    """Down to a class of which a network is sure by 700 nats."""
    kernel = kernel_of("uniform")
    expected = law.enumeration(kernel, k=3)
    for scale in (1e-300, 1e200):
        scaled = dpp.DiagonalPlusRankOne(kernel.diagonal * scale, kernel.factor * math.sqrt(scale))
        assert p_value(dpp.sample_masks(scaled, 10_000, k=3, generator=generator), *expected) > ENOUGH
        assert p_value(singly(scaled, 3, 1000, generator), *expected) > ENOUGH
        torch.testing.assert_close(dpp.inclusion_probabilities(scaled, k=3), dpp.inclusion_probabilities(kernel, k=3))


@pytest.mark.parametrize("draws", [1, 100])
def test_a_diagonal_beyond_float64_is_refused_rather_than_tried_forever(draws: int) -> None:
    kernel = dpp.DiagonalPlusRankOne(torch.tensor([1.0, 1.0, 1e-320, 1e-320], dtype=torch.float64), torch.zeros(4))
    with pytest.raises(InputError, match="orders of magnitude"):
        dpp.sample_masks(kernel, draws, k=3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("d", "u"), [([1e-200] * 4, [0.0, 0.0, 1e140, 0.0]), ([2e-310] * 4, [0.5] * 4), ([1e-290] * 4, [1e150] * 4)]
)
def test_a_factor_that_float64_cannot_set_beside_the_diagonal_is_refused(d: list[float], u: list[float]) -> None:
    for k in (1, 2):
        for call in (
            lambda kernel, k=k: dpp.sample(kernel, k=k),
            lambda kernel, k=k: dpp.sample_masks(kernel, 100, k=k),
            lambda kernel, k=k: dpp.inclusion_probabilities(kernel, k=k),
            lambda kernel, k=k: dpp.log_prob(kernel, list(range(k)), k=k),
        ):
            with pytest.raises(InputError, match="diagonal and squared factor span more orders of magnitude"):
                call(dpp.DiagonalPlusRankOne(d, u))
    kernel = dpp.DiagonalPlusRankOne(d, u)
    total = sum(v * v for v in u)
    assert float(dpp.expected_size(kernel)) == pytest.approx(total / (1.0 + total))
    wanted = math.log(d[0] + u[0] ** 2) - math.log1p(total)
    assert float(dpp.log_prob(kernel, [0])) == pytest.approx(wanted)
    assert len(dpp.greedy(kernel, k=2)) == 2


@pytest.mark.filterwarnings("error")
def test_the_largest_factors_follow_the_law(generator: torch.Generator) -> None:
    """One item is special all but surely; the others are drawn by d."""
    kernel = dpp.DiagonalPlusRankOne([1.0, 1.0, 2.0, 1.0], [0.0, 1e140, 1e140, 0.0])
    pairs = {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 3.0, (1, 3): 1.0, (2, 3): 1.0}  # d_i u_j^2 + d_j u_i^2
    subsets = torch.zeros(len(pairs), 4, dtype=torch.bool)
    for row, pair in zip(subsets, pairs, strict=True):
        row[list(pair)] = True
    probability = torch.tensor(list(pairs.values()), dtype=torch.float64) / 7.0
    assert p_value(dpp.sample_masks(kernel, 20_000, k=2, generator=generator), subsets, probability) > ENOUGH
    assert p_value(singly(kernel, 2, 2000, generator), subsets, probability) > ENOUGH
    inclusion = dpp.inclusion_probabilities(kernel, k=2)
    torch.testing.assert_close(inclusion, probability @ subsets.double(), rtol=1e-12, atol=1e-12)
    found = dpp.log_prob(kernel, torch.tensor(list(pairs)), k=2).exp()
    torch.testing.assert_close(found, probability, rtol=1e-10, atol=0.0)


def test_a_kernel_changed_in_place_is_prepared_anew(generator: torch.Generator) -> None:
    kernel = dpp.DiagonalPlusRankOne(torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    dpp.sample(kernel, k=2, generator=generator)
    kernel.diagonal[:2] = 0.0
    assert dpp.sample(kernel, k=2, generator=generator).tolist() == [2, 3]


def test_inside_inference_mode(generator: torch.Generator) -> None:
    with torch.inference_mode():
        kernel = dpp.information_kernel(torch.linspace(0, 1, 100))
        assert len(dpp.sample(kernel, k=10, generator=generator)) == 10


def test_large_sets_have_the_exact_inclusion_probabilities(generator: torch.Generator) -> None:
    """Beyond enumeration: how often each tenth of the items, easiest to hardest, is drawn at N = 30,000."""
    log_p = torch.linspace(-8.0, -1e-4, 30_000, dtype=torch.float64)
    kernel = dpp.information_kernel(log_probability=log_p)
    for k, draws in ((300, 300), (6000, 100), (27_000, 60)):
        counts = torch.zeros(10, dtype=torch.float64)
        for _ in range(draws):
            items = dpp.sample(kernel, k=k, generator=generator)
            counts += torch.bincount(items // 3000, minlength=10)
        inclusion = dpp.inclusion_probabilities(kernel, k=k)
        expected = inclusion.view(10, -1).sum(1) * draws
        # Items of a determinantal process repel: a sum of indicators varies less than if they were independent.
        deviation = (inclusion * (1.0 - inclusion)).view(10, -1).sum(1).mul(draws).sqrt()
        assert float(((counts - expected) / deviation).abs().max()) < 5.0
        hardness = expected / expected.mean() - 1.0
        assert float((hardness * draws * k / 10 / deviation).abs().max()) > 6.0  # uniform draws would not pass
