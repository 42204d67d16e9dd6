"""The information kernel is the paper's matrix, keeps its digits near p = 1, and refuses what is no probability."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from longtail import dpp
from longtail.errors import InputError
from oracles import law


def papers_matrix(p: torch.Tensor) -> torch.Tensor:
    """S as it is printed: S_ij = p_i p_j / N, S_ii = 1 - sum over k != i of p_i p_k / N."""
    S = torch.outer(p, p) / len(p)
    for i in range(len(p)):
        S[i, i] = 1.0 - sum(float(p[i] * p[j]) for j in range(len(p)) if j != i) / len(p)
    return S


def test_is_the_papers_matrix(generator: torch.Generator) -> None:
    p = torch.rand(9, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(law.matrix(dpp.information_kernel(p)), papers_matrix(p))


def test_mutant_one_over_n_squared_is_not_the_papers_matrix(generator: torch.Generator) -> None:
    p = torch.rand(9, generator=generator, dtype=torch.float64)
    mutant = dpp.DiagonalPlusRankOne(1.0 - p * p.sum() / 81.0, p / 9.0)
    assert float((law.matrix(mutant) - papers_matrix(p)).abs().max()) > 0.01


@pytest.mark.parametrize("p", [[0.3, 0.9, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0], [0.999999] * 5])
def test_is_a_positive_semi_definite_matrix_of_row_sum_1(p: list[float]) -> None:
    S = law.matrix(dpp.information_kernel(torch.tensor(p)))
    torch.testing.assert_close(S.sum(1), torch.ones(len(p), dtype=torch.float64))
    values = torch.linalg.eigvalsh(S)
    assert float(values.min()) > -1e-12
    assert float(values.max()) < 1.0 + 1e-12


def test_keeps_the_digits_of_the_miss() -> None:
    """At p = 1 - 1e-12 and below, d is of the order of 1 - p, which 1 - p mean(p) would round away."""
    miss = torch.tensor([1e-12, 3e-12, 2e-18, 5e-30], dtype=torch.float64)
    log_p = torch.tensor([math.log1p(-m) for m in miss.tolist()], dtype=torch.float64)
    kernel = dpp.information_kernel(log_probability=log_p)
    expected = miss + miss.mean() - miss * miss.mean()
    torch.testing.assert_close(kernel.diagonal, expected, rtol=1e-12, atol=0.0)
    naive = 1.0 - (1.0 - miss) * (1.0 - miss).mean()
    assert float((naive / expected - 1.0).abs().max()) > 1e-5  # the mutant


def test_probabilities_and_their_logarithms_agree(generator: torch.Generator) -> None:
    p = torch.rand(50, generator=generator, dtype=torch.float64)
    by_p, by_log = dpp.information_kernel(p), dpp.information_kernel(log_probability=p.log())
    torch.testing.assert_close(by_p.diagonal, by_log.diagonal)
    torch.testing.assert_close(by_p.factor, by_log.factor)


def test_log_probability_minus_infinity_is_p_0() -> None:
    kernel = dpp.information_kernel(log_probability=torch.tensor([-math.inf, -1.0]))
    expected = dpp.information_kernel(torch.tensor([0.0, math.exp(-1.0)], dtype=torch.float64))
    torch.testing.assert_close(kernel.diagonal, expected.diagonal, rtol=1e-6, atol=0.0)


def test_the_input_is_left_alone() -> None:
    p = torch.tensor([0.2, 0.9], dtype=torch.float64)
    dpp.information_kernel(p)
    assert p.tolist() == [0.2, 0.9]


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_strength_multiplies_each_subset_by_a_power_of_its_odds(strength: float) -> None:
    p = torch.tensor([0.0, 1.0, 0.9, 0.6, 0.3], dtype=torch.float64)
    plain, raised = dpp.information_kernel(p), dpp.information_kernel(p, strength=strength)
    subsets, probability = law.enumeration(plain, k=3)
    weight = probability * torch.stack([plain.diagonal[mask].prod() for mask in subsets]) ** (strength - 1.0)
    torch.testing.assert_close(law.enumeration(raised, k=3)[1], weight / weight.sum())


def test_strength_where_every_p_is_1() -> None:
    kernel = dpp.information_kernel(torch.ones(3), strength=2.0)
    assert kernel.diagonal.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, math.nan, 2.0], r"probability\[1\] is nan: every value must be in \[0, 1\]"),
        ([0.5, 0.1, 1.5, -1.0], r"probability\[2\] is 1\.5"),
        ([-0.1, 0.1], r"probability\[0\] is -0\.1"),
        ([0.0, math.inf], r"probability\[1\] is inf"),
    ],
)
def test_the_first_bad_probability_is_named(values: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dpp.information_kernel(torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize(
    ("values", "message"),
    [([-1.0, 0.5], r"log_probability\[1\] is 0\.5"), ([-1.0, 0.0, math.nan], r"log_probability\[2\] is nan")],
)
def test_the_first_bad_log_probability_is_named(values: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dpp.information_kernel(log_probability=torch.tensor(values))


def test_one_of_the_two_inputs() -> None:
    p = torch.tensor([0.5])
    with pytest.raises(InputError, match="either probability or log_probability"):
        dpp.information_kernel()
    with pytest.raises(InputError, match="either probability or log_probability"):
        dpp.information_kernel(p, log_probability=p.log())


def test_what_is_no_kernel_is_refused() -> None:
    ones = torch.ones(3)
    with pytest.raises(InputError, match=r"diagonal\[1\] is -1\.0: every value must be finite and not negative"):
        dpp.DiagonalPlusRankOne(torch.tensor([1.0, -1.0, 1.0]), ones)
    with pytest.raises(InputError, match=r"diagonal\[0\] is inf"):
        dpp.DiagonalPlusRankOne(torch.tensor([math.inf, 1.0, 1.0]), ones)
    with pytest.raises(InputError, match=r"factor\[2\] is nan"):
        dpp.DiagonalPlusRankOne(ones, torch.tensor([1.0, 1.0, math.nan]))
    with pytest.raises(InputError, match=r"factor\[1\] is -1e\+151: .* at most 1e\+150 in size, as it is squared"):
        dpp.DiagonalPlusRankOne(ones, torch.tensor([1e150, -1e151, 1.0], dtype=torch.float64))
    with pytest.raises(InputError, match=r"features\[1, 0\] is -inf"):
        dpp.LowRank(torch.tensor([[1.0, 2.0], [-math.inf, 1.0]]))
    with pytest.raises(InputError, match="a kernel is symmetric"):
        dpp.Dense(torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(InputError, match="a kernel has none below 0"):
        dpp.sample(dpp.Dense(torch.tensor([[0.0, 1.0], [1.0, 0.0]])), k=1)


def test_shapes_that_do_not_fit_are_named_where_annotations_are_not_checked() -> None:
    code = """
import torch
from longtail import dpp
from longtail.samplers import informative

ones = torch.ones(3)
for make in (
    lambda: dpp.DiagonalPlusRankOne(ones, ones[:2]),
    lambda: dpp.Dense(torch.ones(2, 3)),
    lambda: informative.information_preserving(ones, torch.zeros(4, dtype=torch.int64), k=1, generator=None),
    lambda: informative.hardest(ones, torch.zeros(4, dtype=torch.int64), k=1, generator=None),
):
    try:
        make()
    except dpp.kernels.InputError as error:
        print(error)
"""
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == [
        "diagonal has 3 entries and factor 2: give N of each",
        "matrix is (2, 3): a kernel is square",
        "probability has 3 rows and target 4: give one for each item",
        "probability has 3 rows and target 4: give one for each item",
    ]


def test_sizes_and_generators_are_named_where_annotations_are_not_checked() -> None:
    code = """
import math
import numpy as np
import torch
from longtail import dpp

kernel, features = dpp.DiagonalPlusRankOne([1.0, 2.0, 3.0], [0.0, 1.0, 1.0]), dpp.LowRank(torch.eye(3))
sizes = (True, 1.0, math.nan, "2", [1], np.bool_(True), torch.tensor(True), np.array([1, 2]))
calls = [
    lambda k=k, f=f, L=L: f(L, k=k)
    for k in sizes
    for L in (kernel, features)
    for f in (dpp.sample, dpp.greedy, dpp.inclusion_probabilities)
]
calls += [lambda n=n, L=L: dpp.sample_masks(L, n, k=2) for n in (-1, 1.5, "2", None, True) for L in (kernel, features)]
for bad in (["a"], [0.5], [math.nan], [True, False], [[0], [1, 2]], [2**70], None, [0, 4], [-1, 0], [1j]):
    calls += [lambda i=bad, L=L: dpp.log_prob(L, i) for L in (kernel, features)]
    calls += [lambda i=bad, L=L: dpp.condition(L, include=i) for L in (kernel, features)]
    calls += [lambda i=bad: dpp.sample_groups(torch.eye(3), i)]
    if bad is not None:
        calls += [lambda i=bad: dpp.printed.algorithm_1(kernel, k=2, order=i)]
for bad in ([1, -1], [1.0, 1.0], 1, "ab", [True, True]):
    calls += [lambda k=bad: dpp.sample_groups(torch.eye(3), [1, 2], k=k)]
for g in (5, np.random.default_rng(0)):
    calls += [lambda L=L, g=g: dpp.sample(L, k=2, generator=g) for L in (kernel, features)]
    calls += [lambda L=L, g=g: dpp.sample_masks(L, 9, k=2, generator=g) for L in (kernel, features)]
    calls += [lambda g=g: dpp.sample_groups(torch.eye(3), [3], generator=g)]
    calls += [lambda g=g: dpp.printed.algorithm_1(kernel, k=2, generator=g)]
calls += [lambda k=k: dpp.printed.algorithm_1(kernel, k=k) for k in (-1, 1.5, None)]
calls += [lambda k=k: dpp.printed.released(3, k=k) for k in (-1, 4, 1.5)] + [lambda: dpp.printed.released(-1, k=0)]
calls += [lambda s=s: dpp.information_kernel([0.5, 0.5], strength=s) for s in (math.nan, math.inf)]
calls += [lambda L=L: dpp.log_prob(L, 0) for L in (kernel, features)]
for call in calls:
    try:
        call()
    except dpp.kernels.InputError as error:
        assert "\\n" not in str(error), error
        continue
    print("accepted:", call.__defaults__)
print(len(calls))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "145\n"


def test_sums_that_overflow_are_not_mistaken_for_infinities() -> None:
    assert len(dpp.LowRank(torch.full((3, 1), 1e308, dtype=torch.float64))) == 3


def test_arrays_and_lists_are_read_as_tensors_are(generator: torch.Generator) -> None:
    features = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    d, u = torch.rand(6, generator=generator).double(), torch.randn(6, generator=generator).double()
    gram = (features @ features.T).numpy()
    for wanted, made in (
        (dpp.LowRank(features), [dpp.LowRank(features.tolist()), dpp.LowRank(features.numpy())]),
        (dpp.LowRank(features), [dpp.LowRank(np.asfortranarray(features.numpy())), dpp.LowRank(features.T.numpy().T)]),
        (dpp.LowRank(features), [dpp.LowRank(features.numpy().astype(">f8")), dpp.LowRank(features.clone()[:, :])]),
        (dpp.DiagonalPlusRankOne(d, u), [dpp.DiagonalPlusRankOne(d.tolist(), u.numpy())]),
        (dpp.Dense(gram), [dpp.Dense(gram.tolist()), dpp.Dense(torch.from_numpy(gram))]),
        (dpp.information_kernel(d), [dpp.information_kernel(d.tolist()), dpp.information_kernel(d.numpy())]),
    ):
        items = dpp.sample(wanted, k=2, generator=torch.Generator().manual_seed(1))
        for kernel in made:
            torch.testing.assert_close(law.matrix(kernel), law.matrix(wanted))
            assert torch.equal(dpp.sample(kernel, k=2, generator=torch.Generator().manual_seed(1)), items)
    assert law.matrix(dpp.LowRank([[1, 2], [3, 4]])).tolist() == [[5.0, 11.0], [11.0, 25.0]]  # integers are numbers
    assert dpp.LowRank(torch.ones(2, 2, dtype=torch.float16)).features.dtype == torch.float32
    assert dpp.LowRank(torch.ones(2, 2)).features.dtype == torch.float32


def test_a_view_of_every_second_feature_is_drawn_from_as_its_copy(generator: torch.Generator) -> None:
    """Strides are no obstacle."""
    wide = torch.randn(3000, 12, generator=generator)
    for view in (wide[:, ::2], wide[::2], wide.T.contiguous().T):
        draws = [
            dpp.sample(dpp.LowRank(features), k=4, generator=torch.Generator().manual_seed(2)).tolist()
            for features in (view, view.clone())
        ]
        assert draws[0] == draws[1]


def test_k_is_any_whole_number(generator: torch.Generator) -> None:
    kernel = dpp.LowRank(torch.randn(9, 4, generator=generator))
    for k in (np.int64(3), np.uint8(3), torch.tensor(3), np.array(3)):
        assert len(dpp.sample(kernel, k=k, generator=generator)) == 3
        assert dpp.sample_masks(kernel, 2, k=k, generator=generator).sum(1).tolist() == [3, 3]
        assert len(dpp.greedy(kernel, k=k)) == 3
        assert float(dpp.inclusion_probabilities(kernel, k=k).sum()) == pytest.approx(3.0)
        assert float(dpp.log_prob(kernel, [0, 1, 2], k=k)) == float(dpp.log_prob(kernel, np.arange(3), k=k))
    for function in (dpp.sample, dpp.inclusion_probabilities, dpp.greedy):
        with pytest.raises(InputError, match="give a whole number of items"):
            function(kernel, k=torch.tensor(2.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dpp.LowRank([1.0, 2.0]), r"features has shape \(2,\): give real numbers of shape \(N, D\)"),
        (lambda: dpp.LowRank([[1.0, 2.0], [3.0]]), r"features is not an array of real numbers: give one of shape"),
        (lambda: dpp.LowRank([["a", "b"]]), "features is not an array of real numbers"),
        (lambda: dpp.LowRank(torch.ones(2, 2, dtype=torch.complex64)), "give real numbers"),
        (lambda: dpp.DiagonalPlusRankOne([[1.0]], [1.0]), "diagonal has shape"),
        (lambda: dpp.Dense(np.ones(3)), r"matrix has shape \(3,\)"),
        (lambda: dpp.log_prob(dpp.LowRank([[1.0], [2.0]]), [0.5]), "give whole numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
