"""A process given some of its items: against the law of the whole, restricted, and against the determinant formula."""

from __future__ import annotations

import pytest
import torch

from longtail import dpp
from longtail.errors import InputError
from oracles import law
from oracles.dpp import p_value


def kernels(generator: torch.Generator) -> dict[str, dpp.Kernel]:
    features = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    d, u = torch.rand(7, generator=generator).double() + 0.1, torch.randn(7, generator=generator).double()
    zero = d.clone()
    zero[2] = 0.0
    return {
        "diagonal plus rank one": dpp.DiagonalPlusRankOne(d, u),
        "0 on the diagonal": dpp.DiagonalPlusRankOne(zero, u),
        "low rank": dpp.LowRank(features),
        "low rank in float32": dpp.LowRank(features.float()),
        "dense": dpp.Dense(features @ features.T + 0.2 * torch.eye(7)),
    }


@pytest.mark.parametrize(("include", "exclude"), [([2], []), ([5, 2], [0]), ([], [1, 4]), ([6], [0, 1, 2]), ([], [])])
@pytest.mark.parametrize("k", [None, 4])
def test_is_the_law_of_the_whole_restricted(
    include: list[int], exclude: list[int], k: int | None, generator: torch.Generator
) -> None:
    for name, kernel in kernels(generator).items():
        subsets, probability = law.enumeration(kernel, k=k)
        fits = subsets[:, include].all(1) & ~subsets[:, exclude].any(1)
        rest = dpp.condition(kernel, include=include, exclude=exclude)
        assert type(rest) is type(kernel), name
        assert rest.items is not None
        assert rest.items.tolist() == [i for i in range(7) if i not in include + exclude]
        left, expected = subsets[fits][:, rest.items], probability[fits] / probability[fits].sum()
        size = None if k is None else k - len(include)
        for mask, value in zip(left, expected, strict=True):
            computed = dpp.log_prob(rest, mask.nonzero().flatten(), k=size).exp()
            torch.testing.assert_close(computed, value, rtol=1e-8, atol=1e-12)
        inclusion = dpp.inclusion_probabilities(rest, k=size)
        torch.testing.assert_close(inclusion, expected @ left.double(), rtol=1e-8, atol=1e-11)
        masks = dpp.sample_masks(rest, 2000, k=size, generator=generator)
        assert p_value(masks, left, expected) > 1e-5, name
        # The mutant: the items' own kernel, as if those to include were unknown.
        if include and size != len(rest):
            submatrix = dpp.Dense(law.matrix(kernel)[rest.items][:, rest.items])
            assert float((dpp.inclusion_probabilities(submatrix, k=size) - inclusion).abs().max()) > 1e-3


def test_is_the_schur_complement(generator: torch.Generator) -> None:
    for kernel in kernels(generator).values():
        L, inside, rest = law.matrix(kernel), [1, 3], [0, 2, 4, 5, 6]
        schur = L[rest][:, rest] - L[rest][:, inside] @ torch.linalg.inv(L[inside][:, inside]) @ L[inside][:, rest]
        found = dpp.condition(kernel, include=inside)
        torch.testing.assert_close(law.matrix(found), schur, rtol=1e-9, atol=1e-9)


def test_twice_is_once_with_both(generator: torch.Generator) -> None:
    for kernel in kernels(generator).values():
        once = dpp.condition(kernel, include=[1, 4], exclude=[2])
        first = dpp.condition(kernel, include=[1], exclude=[2])
        assert first.items is not None
        twice = dpp.condition(first, include=[int((first.items == 4).nonzero())])
        torch.testing.assert_close(law.matrix(twice), law.matrix(once))
        assert once.items is not None
        assert twice.items is not None
        assert twice.items.tolist() == once.items.tolist() == [0, 3, 5, 6]


def test_of_what_is_in_the_span_nothing_is_left(generator: torch.Generator) -> None:
    """Rounding that remains of it is no item that could be drawn."""
    base = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    features = torch.cat([base, torch.randn(5, 3, generator=generator).double() @ base])
    for kernel in (dpp.LowRank(features), dpp.Dense(features @ features.T)):
        rest = dpp.condition(kernel, include=[0, 1, 2])
        assert dpp.sample(rest, generator=generator).tolist() == []
        with pytest.raises(InputError, match="no set of 1 items"):
            dpp.sample(rest, k=1)


def test_what_cannot_be(generator: torch.Generator) -> None:
    twins = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]])
    for kernel in (
        dpp.LowRank(twins),
        dpp.Dense(twins @ twins.T),
        dpp.DiagonalPlusRankOne([0.0, 0.0, 1.0], [1.0, 1.0, 1.0]),
    ):
        with pytest.raises(InputError, match="no set has all the items to include"):
            dpp.condition(kernel, include=[0, 1])
    with pytest.raises(InputError, match="no set has all"):
        dpp.condition(dpp.LowRank(twins), include=[0, 1, 2])
    kernel = dpp.LowRank(twins)
    for include, exclude, message in (
        ([0], [0, 1], "item 0 is both"),
        ([3], [], "include has the entry 3: the kernel has items 0 to 2"),
        ([], [1, 1], "exclude has an item twice"),
        ([0.5], [], "numbers of items"),
    ):
        with pytest.raises(InputError, match=message):
            dpp.condition(kernel, include=include, exclude=exclude)


@pytest.mark.parametrize("scale", [1e-170, 1e160])
def test_features_whose_squares_are_no_numbers_are_refused(scale: float) -> None:
    with pytest.raises(InputError, match="scale them"):
        dpp.condition(dpp.LowRank(scale * torch.eye(3, dtype=torch.float64)), include=[0])


def test_equal_items_of_a_matrix_formed_in_float32_cannot_both_be_included() -> None:
    for seed in range(100):
        row = torch.randn(1, 30, generator=torch.Generator().manual_seed(seed))
        twins = torch.cat([row, 1.7 * row, torch.eye(3, 30)])
        gram = dpp.Dense(twins @ twins.T)
        with pytest.raises(InputError, match="no set has all the items to include"):
            dpp.condition(gram, include=[0, 1])
        rest = dpp.condition(gram, include=[0])
        assert float(rest.matrix[0].abs().max()) == 0.0  # of the other twin nothing is left
        assert rest.noise.tolist() == gram.noise[1:].tolist()
