"""Low-rank and dense kernels: both ways to draw, against all subsets on counts, with mutants that the counts reject."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from longtail import dpp
from longtail.dpp import process, projection, spectral
from oracles import law
from oracles.dpp import p_value

ENOUGH = 1e-5  # a right sampler fails one test in a hundred thousand; generators are fixed, so it fails always or never


def made() -> dict[str, torch.Tensor]:
    """Features that make trouble."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    plain, low, base = normal(8, 4), normal(9, 2) @ normal(2, 5), normal(4, 3)
    skew = normal(9, 3) * torch.tensor([1e-3, 1e-2, 1.0, 1.0, 1.0, 1.0, 1.0, 30.0, 100.0])[:, None].double()
    near = torch.cat([base, base + 1e-9 * normal(4, 3)])
    return {
        "plain": plain,
        "wide": normal(6, 9),
        "twins": torch.cat([base, base]),
        "near twins": near,
        "rank 2 of 5": low,
        "skewed leverages": skew,
        "graded": normal(8, 4) * torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64),
        "an item of 0": torch.cat([plain[:5], torch.zeros(1, 4, dtype=torch.float64)]),
        "scale 1e-6": 1e-6 * plain,
        "scale 1e6": 1e6 * plain,
        "float32": plain.float(),
    }


FEATURES = made()
RANK = {"twins": 3, "near twins": 3, "rank 2 of 5": 2, "skewed leverages": 3, "wide": 6}
CASES = [(name, k) for name in FEATURES for k in (1, 2, 3, 4, 6) if k in (1, 2) or k == RANK.get(name, 4)]


@pytest.fixture(params=["chain", "rejection"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways, whatever they would cost."""
    monkeypatch.setattr(projection, "rejection_is_cheaper", lambda *_: request.param == "rejection")
    name: str = request.param
    return name


@pytest.mark.parametrize(("name", "k"), CASES)
def test_low_rank_follows_the_law(name: str, k: int, way: str, generator: torch.Generator) -> None:
    kernel = dpp.LowRank(FEATURES[name])
    masks = dpp.sample_masks(kernel, 8000, k=k, generator=generator)
    assert p_value(masks, *law.enumeration(kernel, k=k)) > ENOUGH


@pytest.mark.parametrize("name", FEATURES)
def test_low_rank_of_any_size_follows_the_law(name: str, way: str, generator: torch.Generator) -> None:
    kernel = dpp.LowRank(FEATURES[name])
    masks = dpp.sample_masks(kernel, 8000, generator=generator)
    assert p_value(masks, *law.enumeration(kernel)) > ENOUGH


@pytest.mark.parametrize("k", [1, 3, 8, None])
def test_dense_follows_the_law(k: int | None, way: str, generator: torch.Generator) -> None:
    features = FEATURES["plain"]
    kernel = dpp.Dense(features @ features.T + 0.3 * torch.eye(8))
    masks = dpp.sample_masks(kernel, 8000, k=k, generator=generator)
    assert p_value(masks, *law.enumeration(kernel, k=k)) > ENOUGH


def test_one_set_at_a_time_follows_the_law(way: str, generator: torch.Generator) -> None:
    kernel = dpp.LowRank(FEATURES["plain"])
    masks = torch.zeros(500, 8, dtype=torch.bool)
    for mask in masks:
        mask[dpp.sample(kernel, k=3, generator=generator)] = True
    assert p_value(masks, *law.enumeration(kernel, k=3)) > ENOUGH


def test_rows_fetched_from_elsewhere_give_the_same_sets(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features of a GPU are read run by run; here the same is done with those of the processor."""
    near = projection._Source.of

    def far(spectrum: spectral.Spectrum, table: projection.Blocks) -> projection._Source:
        return dataclasses.replace(near(spectrum, table), windows=None)

    features = torch.randn(700, 6, generator=generator)
    draws = []
    for of in (near, far):
        monkeypatch.setattr(projection._Source, "of", of)
        kernel = dpp.LowRank(features)
        draws.append([dpp.sample(kernel, k=5, generator=torch.Generator().manual_seed(s)).tolist() for s in range(20)])
    assert draws[0] == draws[1]


def test_inside_inference_mode_and_with_gradients(way: str, generator: torch.Generator) -> None:
    with torch.inference_mode():
        kernel = dpp.LowRank(torch.randn(50, 6, generator=generator))
        assert len(dpp.sample(kernel, k=4, generator=generator)) == 4
        assert len(dpp.greedy(kernel, k=4)) == 4
    kernel = dpp.LowRank(torch.randn(50, 6, generator=generator).requires_grad_())
    assert len(dpp.sample(kernel, k=4, generator=generator)) == 4
    assert not dpp.inclusion_probabilities(kernel, k=4).requires_grad


def test_features_changed_in_place_are_decomposed_anew(way: str, generator: torch.Generator) -> None:
    features = torch.eye(4, dtype=torch.float64)
    kernel = dpp.LowRank(features)
    dpp.sample(kernel, k=2, generator=generator)
    features[:2] = 0.0
    assert dpp.sample(kernel, k=2, generator=generator).tolist() == [2, 3]


def test_blocks_of_items_follow_the_law(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a ground set of many blocks, the last one short: how often items are drawn, against exact inclusion."""
    monkeypatch.setattr(projection, "rejection_is_cheaper", lambda *_: True)
    features = torch.randn(150, 6, generator=generator) * (1.0 + 4.0 * torch.rand(150, 1, generator=generator))
    kernel = dpp.LowRank(features)
    often = dpp.sample_masks(kernel, 6000, k=4, generator=generator).double().mean(0)
    exact = dpp.inclusion_probabilities(kernel, k=4)
    deviation = (exact * (1.0 - exact) / 6000).sqrt()
    assert float(((often - exact) / deviation).abs().max()) < 5.5  # 150 normal deviates: beyond it in 6 of a million
    assert float((often - 4 / 150).abs().max()) > 0.05


def proposals_without_leverage(spectrum: spectral.Spectrum, rows: torch.Tensor, rng: np.random.Generator) -> list[int]:
    """Mutant: items proposed uniformly, and accepted by distance / leverage all the same."""
    vectors, items = rows.numpy(), []
    basis = np.zeros((0, vectors.shape[1]))
    while len(items) < vectors.shape[1]:
        item = int(rng.integers(len(vectors)))
        rest = vectors[item] - basis.T @ (basis @ vectors[item])
        if rng.random() * vectors[item].dot(vectors[item]) < rest.dot(rest) and item not in items:
            items.append(item)
            basis = np.vstack([basis, rest / np.linalg.norm(rest)])
    return items


def leverage_never_updated(spectrum: spectral.Spectrum, rows: torch.Tensor, rng: np.random.Generator) -> list[int]:
    """Mutant: items by leverage without replacement, as if nothing had been drawn."""
    weight = rows.square().sum(1).numpy()
    return list(rng.choice(len(weight), rows.shape[1], replace=False, p=weight / weight.sum()))


def last_distance_kept(spectrum: spectral.Spectrum, rows: torch.Tensor, rng: np.random.Generator) -> list[int]:
    """Mutant: after the second item distances stay what they were."""
    vectors, items = rows.numpy(), []
    basis = np.zeros((0, vectors.shape[1]))
    while len(items) < vectors.shape[1]:
        distance = np.square(vectors).sum(1) - np.square(vectors @ basis.T).sum(1)
        distance[items] = 0.0
        distance = distance.clip(min=0.0)
        item = int(rng.choice(len(vectors), p=distance / distance.sum()))
        if len(items) < 1:
            basis = vectors[item : item + 1] / np.linalg.norm(vectors[item])
        items.append(item)
    return items


MUTANTS = [proposals_without_leverage, leverage_never_updated, last_distance_kept]


@pytest.mark.parametrize("name", ["plain", "skewed leverages", "twins"])
def test_the_counts_reject_every_mutant(name: str, generator: torch.Generator) -> None:
    kernel = dpp.LowRank(FEATURES[name])
    expected = law.enumeration(kernel, k=3)
    spectrum, eigenvalues = process._spectrum(kernel, 3)
    rng = np.random.default_rng(0)
    vectors = spectrum.vectors()
    for mutant in MUTANTS:
        masks = torch.zeros(2500, len(kernel), dtype=torch.bool)
        chosen = dpp.sample_masks(eigenvalues, len(masks), k=3, generator=generator)
        for mask, which in zip(masks, chosen, strict=True):
            mask[mutant(spectrum, vectors[:, which], rng)] = True
        assert p_value(masks, *expected) < 0.1 * ENOUGH, mutant.__name__


@pytest.mark.parametrize("name", ["plain", "near twins", "skewed leverages"])
def test_the_counts_reject_a_dropped_eigenvector(name: str, way: str, generator: torch.Generator) -> None:
    """Mutant: the smallest eigenvector is lost; and another: eigenvectors chosen uniformly."""
    kernel = dpp.LowRank(FEATURES[name])
    expected = law.enumeration(kernel, k=2)
    right, _ = process._spectrum(kernel, 2)
    for keep, values in (
        (right.values > right.values.min(), right.values),
        (right.values > 0.0, torch.ones_like(right.values)),
    ):
        assert right.turn is not None
        wrong = spectral.Spectrum(values[keep], right.rows, right.turn[:, keep])
        eigenvalues = dpp.DiagonalPlusRankOne(wrong.values, torch.zeros_like(wrong.values))
        broken = dpp.LowRank(FEATURES[name])
        process._once(broken, "spectrum", None, lambda pair=(wrong, eigenvalues): pair)
        masks = dpp.sample_masks(broken, 20_000, k=2, generator=generator)
        assert p_value(masks, *expected) < 0.1 * ENOUGH


def test_a_projection_draws_items_by_its_diagonal(generator: torch.Generator) -> None:
    vectors = torch.linalg.qr(torch.randn(6, 3, generator=generator, dtype=torch.float64)).Q
    columns, sizes = vectors.expand(20_000, -1, -1), torch.full((20_000,), 3)
    masks = projection.chain(columns, sizes, generator)
    expected = law.enumeration(dpp.Dense(vectors @ vectors.T), k=3)
    assert p_value(masks, *expected) > ENOUGH
    # The mutant that the paper prints: the item of largest projection each time.
    most = vectors.square().sum(1).topk(3).indices
    masks = torch.zeros(20_000, 6, dtype=torch.bool)
    masks[:, most] = True
    assert p_value(masks, *expected) < 0.1 * ENOUGH


def test_sets_may_have_unequally_many_vectors(way: str, generator: torch.Generator) -> None:
    features = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    spectrum = spectral.spectrum(dpp.LowRank(features))
    chosen = torch.tensor([[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]], dtype=torch.bool)
    if way == "chain":
        sets = [mask.nonzero() for mask in projection.chain(*process._columns(spectrum, chosen), generator)]
    else:
        sets = projection.rejection(spectrum, projection.blocks(spectrum), chosen, np.random.default_rng(0))
    assert [len(one) for one in sets] == [0, 2, 4, 1]


def test_twins_are_never_drawn_together(way: str, generator: torch.Generator) -> None:
    features = torch.randn(5, 4, generator=generator)
    kernel = dpp.LowRank(torch.cat([features, features]))
    masks = dpp.sample_masks(kernel, 2000, k=4, generator=generator)
    assert masks.sum(1).unique().tolist() == [4]
    assert not bool((masks[:, :5] & masks[:, 5:]).any())
    assert float(dpp.log_prob(kernel, torch.tensor([0, 5, 1]), k=3)) < -50.0


def test_the_cheaper_way_is_chosen() -> None:
    assert projection.rejection_is_cheaper(100_000, 64, 50, 1)
    assert projection.rejection_is_cheaper(100_000, 64, 50, 1000)
    assert not projection.rejection_is_cheaper(60, 64, 50, 1000)
    assert not projection.rejection_is_cheaper(10, 4, 2, 10_000)


def test_a_draw_of_a_memory_map_reads_only_what_it_needs(tmp_path: object, generator: torch.Generator) -> None:
    """Read-only NumPy memory is no obstacle, and the features are not copied."""
    path = f"{tmp_path}/features.npy"
    np.save(path, torch.randn(5000, 8, generator=generator).numpy())
    features = np.load(path, mmap_mode="r")
    kernel = dpp.LowRank(features)
    assert kernel.features.data_ptr() == features.ctypes.data
    assert len(dpp.sample(kernel, k=5, generator=generator)) == 5
    assert len(dpp.sample_masks(kernel, 3, generator=generator)) == 3
