"""Mark, thin and complete, step by step, and each of the paths that only large ground sets take, on small ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from longtail import dpp
from longtail.dpp import completion, process
from oracles import law
from oracles.dpp import p_value, subset_masks


def rng() -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(11))


def masks_of(draws: list[np.ndarray], count: int) -> torch.Tensor:
    masks = torch.zeros(len(draws), count, dtype=torch.bool)
    for mask, items in zip(masks, draws, strict=True):
        mask[torch.from_numpy(items)] = True
    return masks


def uniform_law(count: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    masks = subset_masks(count, k)
    return masks, torch.full((len(masks),), 1.0 / len(masks), dtype=torch.float64)


@pytest.mark.parametrize(("count", "k"), [(6, 0), (6, 1), (6, 3), (6, 5), (6, 6)])
def test_subset_is_uniform(count: int, k: int) -> None:
    stream = rng()
    draws = [completion.subset(count, k, stream) for _ in range(4000)]
    assert all(len(items) == k for items in draws)
    assert p_value(masks_of(draws, count), *uniform_law(count, k)) > 1e-5


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("rate", [0.1, 0.35, 0.6])
def test_tossing_candidates_is_uniform(k: int, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By positions and by bytes, in parts: what is forgotten is counted across them."""
    monkeypatch.setattr(completion, "_SMALL", 2)
    monkeypatch.setattr(completion, "BLOCK", 2)
    monkeypatch.setattr(completion, "_rate", lambda n, m: rate)
    stream = rng()
    candidates = np.ones(20, dtype=np.bool_)
    candidates[[1, 4, 5, 6, 10, 11, 12, 13, 14, 17, 18, 19]] = False
    draws = [completion._choose(candidates, 8, k, stream) for _ in range(1000)]
    masks = masks_of(draws, 20)
    assert not bool(masks[:, ~candidates].any())
    assert p_value(masks[:, candidates], *uniform_law(8, k)) > 1e-5
    draws = [completion.subset(6, k, stream) for _ in range(1000)]
    assert p_value(masks_of(draws, 6), *uniform_law(6, k)) > 1e-5


@pytest.mark.parametrize(("count", "k"), [(40_000, 400), (40_000, 6000), (40_000, 35_000)])
def test_large_subsets_are_spread_evenly(count: int, k: int) -> None:
    stream = rng()
    candidates = np.arange(count) % 4 != 3
    for draw in (
        lambda: completion.subset(count, k, stream),
        lambda: completion._choose(candidates, count * 3 // 4, k * 3 // 4, stream),
    ):
        draws = [draw() for _ in range(30)]
        assert all((np.diff(items) > 0).all() for items in draws)
        tenths = np.bincount(np.concatenate(draws) * 10 // count, minlength=10)
        mean = len(draws[0]) * 3.0
        assert np.abs(tenths - mean).max() < 5.0 * np.sqrt(mean * (1.0 - len(draws[0]) / (count * 10 / 10)))


def test_keeping_the_first_positions_is_a_mutant_that_the_counts_reject() -> None:
    stream = rng()
    draws = []
    while len(draws) < 4000:
        positions = np.concatenate(list(completion._positions(8, 0.5, stream)))
        if len(positions) >= 3:
            draws.append(positions[:3])
    assert p_value(masks_of(draws, 8), *uniform_law(8, 3)) < 1e-6


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_positions_are_independent_coins(rate: float) -> None:
    stream = rng()
    draws = [np.concatenate(list(completion._positions(5, rate, stream))) for _ in range(5000)]
    masks = torch.cat([subset_masks(5, k) for k in range(6)])
    heads = masks.sum(1).double()
    assert p_value(masks_of(draws, 5), masks, rate**heads * (1.0 - rate) ** (5.0 - heads)) > 1e-5


def test_one_byte_and_its_tie_make_the_exact_coin() -> None:
    kernel = dpp.information_kernel(torch.linspace(0.0, 1.0, 16_000))
    prepared = process._prepared(kernel, 1600)
    stream, trials = rng(), 500
    heads, mask = np.zeros(16_000, dtype=np.int64), np.empty(16_000, dtype=np.bool_)
    for _ in range(trials):
        completion._throw(prepared, mask, stream)
        heads += mask
    x = prepared.t * prepared.d
    coin = x / (1.0 + x) / prepared.bound
    excess = (heads - trials * coin).sum()
    deviation = np.sqrt(trials * (coin * (1.0 - coin)).sum())
    assert abs(excess) < 5.0 * deviation
    # The mutant: the byte alone.
    assert (trials * (coin - prepared.threshold / 256.0)).sum() > 8.0 * deviation


OUTSIDE = dpp.DiagonalPlusRankOne(
    torch.tensor([1e4, 1.0, 1.5, 2.0, 1.0, 3.0]), torch.tensor([5.0, 1.0, 0.0, 2.0, 1.0, -1.0])
)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_the_complement_is_drawn_where_coins_are_mostly_heads(k: int) -> None:
    prepared, stream = process._prepared(OUTSIDE, k), rng()
    assert prepared.outside
    draws = [completion.draw(prepared, stream) for _ in range(3000)]
    assert p_value(masks_of(draws, 6), *law.enumeration(OUTSIDE, k=k)) > 1e-5


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(
    "kernel", [dpp.information_kernel(torch.tensor([0.0, 1.0, 0.9, 0.5, 0.2, 0.99, 0.7])), OUTSIDE], ids=["in", "out"]
)
def test_the_path_of_large_sets_follows_the_same_law(
    kernel: dpp.DiagonalPlusRankOne, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "_SMALL", 0)
    monkeypatch.setattr(completion, "_rate", lambda n, m: 0.35)
    monkeypatch.setattr(completion, "BLOCK", 3)
    prepared, stream = process._prepared(kernel, k), rng()
    assert len(prepared.weight) > 1  # the mark is found block by block
    draws = [completion.draw(prepared, stream) for _ in range(3000)]
    assert p_value(masks_of(draws, len(kernel)), *law.enumeration(kernel, k=k)) > 1e-5


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("power", [1.0, 4.0])
def test_most_trials_are_accepted(share: float, power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = 0
    throw = completion._throw

    def counted(prepared: completion.Prepared, heads: np.ndarray, stream: np.random.Generator) -> None:
        nonlocal trials
        trials += 1
        throw(prepared, heads, stream)

    monkeypatch.setattr(completion, "_throw", counted)
    p = 1.0 - torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** power
    prepared, stream = process._prepared(dpp.information_kernel(p), int(4000 * share)), rng()
    for _ in range(200):
        completion.draw(prepared, stream)
    assert trials < 200 / (0.8 if power == 1.0 else 0.6)


def test_draws_in_several_threads_do_not_meet() -> None:
    prepared = process._prepared(dpp.information_kernel(torch.linspace(0.0, 1.0, 50_000)), 5000)
    alone = [completion.draw(prepared, np.random.default_rng(seed)) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: completion.draw(prepared, np.random.default_rng(seed)), range(16)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_misleading_stride_is_noticed() -> None:
    """Every 16th item is hard: on every 16th item alone the tilt is far off, and the whole set corrects it."""
    p = torch.full((64_000,), 0.999)
    p[::16] = 0.0
    prepared = process._prepared(dpp.information_kernel(p), 6400)
    x = prepared.t * prepared.d
    mean, deviation = (x / (1.0 + x)).sum(), np.sqrt((x / (1.0 + x) ** 2).sum())
    assert abs(mean - 6400) < deviation
    assert len(completion.draw(prepared, rng())) == 6400
