from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import normalize, softplus
from torch.utils._python_dispatch import TorchDispatchMode

from longtail.errors import InputError
from longtail.losses.negative_sampling import (
    balanced_negative_sampling,
    balanced_negative_sampling_terms,
    negative_sampling,
    released_balanced_negative_sampling,
)
from oracles import negative_sampling as oracle

# Class 3 has no partner, class 0 many.
TARGET = torch.tensor([0, 1, 0, 2, 0, 1, 0, 3, 1, 2])
# The package gives this name to the function, so the module is fetched where it is listed.
MODULE = sys.modules["longtail.losses.negative_sampling"]


def views(generator: torch.Generator, size: int = len(TARGET), width: int = 5) -> tuple[Tensor, Tensor]:
    q, v = torch.randn(2, size, width, dtype=torch.float64, generator=generator)
    return q.requires_grad_(), (q.detach() + v).requires_grad_()


def values_and_gradients(loss: Callable[..., Tensor], q: Tensor, v: Tensor, **options: object) -> Tensor:
    """The losses and the gradients of a sum of them with unequal weights, in one vector."""
    value = loss(q, v, **options)
    weight = torch.linspace(0.5, 2, len(value), dtype=value.dtype)
    gradient = torch.autograd.grad((value * weight).sum(), (q, v))
    return torch.cat([value.detach(), *(part.flatten() for part in gradient)])


def deviation(loss: Callable[..., Tensor], reference: Callable[..., Tensor], q: Tensor, v: Tensor, **options: object):
    ours = values_and_gradients(loss, q, v, **options)
    theirs = values_and_gradients(reference, q, v, **options)
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
def test_values_and_gradients_equal_the_oracle(generator, temperature):
    q, v = views(generator)
    options = {"target": TARGET, "temperature": temperature}
    assert deviation(balanced_negative_sampling, oracle.balanced_negative_sampling, q, v, **options) < 1e-10
    assert deviation(negative_sampling, oracle.negative_sampling, q, v, **options) < 1e-10
    assert deviation(released_balanced_negative_sampling, oracle.released, q, v, target=TARGET, temperature=0.5) < 1e-10


@pytest.mark.parametrize("mutant", oracle.MUTANTS.values(), ids=oracle.MUTANTS)
def test_the_comparison_rejects_what_is_not_eq_12(generator, mutant):
    q, v = views(generator)
    options = {"target": TARGET, "temperature": 0.5}
    assert deviation(mutant, oracle.balanced_negative_sampling, q, v, **options) > 1e-2
    assert deviation(mutant, balanced_negative_sampling, q, v, **options) > 1e-2


@pytest.mark.parametrize("chunk", [1, 3, 5, 10, 100])
@pytest.mark.parametrize("loss", [negative_sampling, balanced_negative_sampling, released_balanced_negative_sampling])
def test_blocks_change_neither_values_nor_gradients(generator, loss, chunk):
    q, v = views(generator)

    def in_blocks(q: Tensor, v: Tensor, **options: object) -> Tensor:
        return loss(q, v, chunk=chunk, **options)

    assert deviation(in_blocks, loss, q, v, target=TARGET, temperature=0.5) < 1e-12


@pytest.mark.parametrize("chunk", [1, 4, 7])
def test_blocks_do_not_change_what_is_drawn(generator, chunk):
    q, v = views(generator)

    def drawn(chunk: int | None) -> Callable[..., Tensor]:
        return lambda q, v: balanced_negative_sampling(
            q,
            v,
            TARGET,
            temperature=0.5,
            positives=2,
            negatives=3,
            generator=torch.Generator().manual_seed(5),
            chunk=chunk,
        )

    assert deviation(drawn(chunk), drawn(None), q, v) < 1e-12


def test_without_extra_positives_it_is_negative_sampling(generator):
    q, v = views(generator)

    def alone(q: Tensor, v: Tensor, **options: object) -> Tensor:
        return balanced_negative_sampling(q, v, positives=0, generator=generator, **options)

    assert deviation(alone, negative_sampling, q, v, target=TARGET, temperature=0.2) < 1e-12
    assert deviation(alone, balanced_negative_sampling, q, v, target=TARGET, temperature=0.2) > 1e-2


def test_the_terms_add_up_and_are_eq_11_and_the_rest(generator):
    q, v = views(generator)
    options = {"temperature": 0.3}
    terms = balanced_negative_sampling_terms(q, v, TARGET, **options)
    whole = balanced_negative_sampling(q, v, TARGET, **options)
    torch.testing.assert_close(terms.total, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(terms.instance + terms.classes, whole, rtol=0, atol=1e-12)
    size = torch.bincount(TARGET)[TARGET]
    torch.testing.assert_close(terms.instance * size, negative_sampling(q, v, TARGET, **options), rtol=0, atol=1e-11)
    assert (terms.classes[size == 1] == 0).all()
    assert (terms.classes[size > 1] > 0).all()


def test_an_anchor_without_partner_has_the_loss_of_negative_sampling(generator):
    q, v = views(generator)
    for positives in (None, 1, 4):
        loss = balanced_negative_sampling(q, v, TARGET, temperature=0.5, positives=positives, generator=generator)
        alone = negative_sampling(q, v, TARGET, temperature=0.5)
        torch.testing.assert_close(loss[7], alone[7], rtol=0, atol=1e-12)


def test_more_positives_or_negatives_than_there_are_is_all_of_them(generator):
    q, v = views(generator)

    def greedy(q: Tensor, v: Tensor, **options: object) -> Tensor:
        return balanced_negative_sampling(q, v, positives=99, negatives=99, generator=generator, **options)

    assert deviation(greedy, balanced_negative_sampling, q, v, target=TARGET, temperature=0.5) < 1e-12


@pytest.mark.parametrize("drawn", [{}, {"positives": 2, "negatives": 3}, {"positives": 0}])
def test_a_batch_of_one_class_has_only_positive_terms(generator, drawn):
    q, v = views(generator, size=4)
    target = torch.zeros(4, dtype=torch.int64)
    loss = balanced_negative_sampling(q, v, target, temperature=0.5, generator=generator, **drawn)
    s = normalize(q, dim=1) @ normalize(v, dim=1).T / 0.5
    if drawn == {}:
        torch.testing.assert_close(loss, softplus(-s).mean(0), rtol=0, atol=1e-12)
    if drawn == {"positives": 0}:
        torch.testing.assert_close(loss, softplus(-s).diagonal(), rtol=0, atol=1e-12)
    gradient = torch.autograd.grad(loss.sum(), (q, v))
    assert all(part.isfinite().all() for part in gradient)


def test_a_batch_of_one_image():
    q, v = torch.eye(2, dtype=torch.float64)[:, None]
    target = torch.zeros(1, dtype=torch.int64)
    expected = torch.tensor([2.0], dtype=torch.float64).log()
    assert torch.equal(negative_sampling(q, v, target, temperature=0.1), expected)
    assert torch.equal(balanced_negative_sampling(q, v, target, temperature=0.1), expected)
    drawn = balanced_negative_sampling(q, v, target, temperature=0.1, positives=3, negatives=2)
    assert torch.equal(drawn, expected)


def test_rotations_and_lengths_do_not_matter(generator):
    q, v = views(generator)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=generator)).Q
    length = torch.rand(2, len(TARGET), 1, dtype=torch.float64, generator=generator) + 0.1
    for loss in (negative_sampling, balanced_negative_sampling, released_balanced_negative_sampling):
        expected = loss(q, v, TARGET, temperature=0.3)
        for a, b in ((q @ rotation, v @ rotation), (q * length[0], v * length[1])):
            torch.testing.assert_close(loss(a, b, TARGET, temperature=0.3), expected, rtol=0, atol=1e-10)
        # The views are not rotated apart: the test would pass if the loss ignored the features.
        assert (loss(q @ rotation, v, TARGET, temperature=0.3) - expected).abs().max() > 1e-2


def test_the_order_of_the_batch_and_the_names_of_the_classes_do_not_matter(generator):
    q, v = views(generator)
    order = torch.randperm(len(TARGET), generator=generator)
    renamed = torch.tensor([7, 3, 0, 5])[TARGET]
    for loss in (negative_sampling, balanced_negative_sampling, released_balanced_negative_sampling):
        expected = loss(q, v, TARGET, temperature=0.3)
        permuted = loss(q[order], v[order], renamed[order], temperature=0.3)
        torch.testing.assert_close(permuted, expected[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("cosine", "equation", "released"), [(-1, 2.13, 0.63), (0, 0.69, 0.31), (1, 0.13, 0.0006)])
def test_the_positive_term_of_the_released_form_is_bounded_and_that_of_eq_12_is_not(cosine, equation, released):
    angle = torch.arccos(torch.tensor(float(cosine)))
    q, v = torch.tensor([[1.0, 0.0]]), torch.stack([angle.cos(), angle.sin()])[None]
    target = torch.zeros(1, dtype=torch.int64)
    assert float(negative_sampling(q, v, target, temperature=0.5)) == pytest.approx(equation, abs=5e-3)
    # With no negative in the batch, the second term of the released form is -log sigma(0).
    positive = released_balanced_negative_sampling(q, v, target) - torch.log(torch.tensor(2.0))
    assert float(positive) == pytest.approx(released, abs=5e-3 if cosine < 1 else 5e-5)


def spread(features: Tensor, target: Tensor) -> tuple[float, float]:
    """Mean distance of a feature to the centroid of its class, and between centroids."""
    features = normalize(features.detach(), dim=1)
    centroids = torch.stack([features[target == c].mean(0) for c in target.unique()])
    return float((features - centroids[target]).norm(dim=1).mean()), float(torch.pdist(centroids).mean())


def trained(positives: int | None) -> tuple[float, float]:
    """The spread of ten classes after 60 steps with two negatives; both views come from one embedding."""
    generator = torch.Generator().manual_seed(1)
    target = torch.arange(10).repeat_interleave(6)
    z = torch.randn(60, 16, dtype=torch.float64, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(60):
        q, v = z + 0.3 * torch.randn(2, 60, 16, dtype=torch.float64, generator=generator)
        loss = balanced_negative_sampling(
            q, v, target, temperature=0.5, positives=positives, negatives=2, generator=generator
        )
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    return spread(z, target)


def test_extra_positives_bring_classes_together_and_drive_them_apart():
    alone, one, everyone = trained(0), trained(1), trained(None)
    assert alone[0] > 1.2 * one[0] > 1.2 * 1.1 * everyone[0]
    assert alone[1] < one[1] < everyone[1]


def test_a_step_along_the_class_level_gradient_draws_the_classes_in(generator):
    q, v = views(generator, size=24, width=8)
    target = torch.arange(4).repeat(6)
    classes = balanced_negative_sampling_terms(q, v, target, temperature=0.5).classes.sum()
    dq, dv = torch.autograd.grad(classes, (q, v))
    before = spread(torch.cat([q, v]), target.repeat(2))
    after = spread(torch.cat([q - 0.02 * dq, v - 0.02 * dv]), target.repeat(2))
    assert after[0] < before[0]
    assert after[1] > before[1]


@pytest.mark.parametrize(("negatives", "apart"), [(3, False), (4, True)])
def test_views_that_need_not_agree_prefer_two_poles_as_soon_as_there_are_four_negatives(negatives, apart):
    """All Q views at one pole, all V views at the other: only one encoder for both views forbids it."""
    size = negatives + 1
    classes = torch.eye(size, dtype=torch.float64)
    poles = torch.zeros(size, size, dtype=torch.float64)
    poles[:, 0] = 1
    separate = balanced_negative_sampling(classes, classes, torch.arange(size), temperature=0.5)
    opposed = balanced_negative_sampling(poles, -poles, torch.arange(size), temperature=0.5)
    assert bool((opposed < separate).all()) is apart


# What is drawn, read off the losses alone.


def partner_sets(target: Tensor, count: int, draws: int, generator: torch.Generator) -> list[Counter[tuple[int, ...]]]:
    """How often each set of partners was drawn, by anchor: all keys agree, so a query's terms tell which it is."""
    size = len(target)
    cosine = torch.linspace(-0.9, 0.8, size, dtype=torch.float64) ** 3
    q = torch.stack([cosine, (1 - cosine**2).sqrt()], 1)
    v = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(size, 2)
    others = (target[:, None] != target).sum(1)
    term = softplus(-cosine) + others * softplus(cosine)
    losses = torch.stack(
        [
            balanced_negative_sampling(q, v, target, temperature=1.0, positives=count, generator=generator)
            for _ in range(draws)
        ]
    )
    found = []
    for i in range(size):
        friends = [k for k in range(size) if target[k] == target[i] and k != i]
        sets = list(itertools.combinations(friends, min(count, len(friends))))
        expected = torch.stack([(term[i] + sum(term[k] for k in chosen)) / (len(chosen) + 1) for chosen in sets])
        found.append(matches(losses[:, i], expected, sets))
    return found


def negative_sets(target: Tensor, count: int, draws: int, generator: torch.Generator) -> list[Counter[tuple[int, ...]]]:
    """How often each set of negatives was drawn, by anchor: all queries agree, so a key's term tells which it is."""
    size = len(target)
    cosine = torch.linspace(-0.9, 0.8, size, dtype=torch.float64) ** 3
    v = torch.stack([cosine, (1 - cosine**2).sqrt()], 1)
    q = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(size, 2)
    losses = torch.stack(
        [
            balanced_negative_sampling(q, v, target, temperature=1.0, positives=0, negatives=count, generator=generator)
            for _ in range(draws)
        ]
    )
    found = []
    for i in range(size):
        against = [j for j in range(size) if target[j] != target[i]]
        sets = list(itertools.combinations(against, min(count, len(against))))
        expected = torch.stack([softplus(-cosine[i]) + sum(softplus(cosine[j]) for j in chosen) for chosen in sets])
        found.append(matches(losses[:, i], expected, sets))
    return found


def matches(losses: Tensor, expected: Tensor, sets: list[tuple[int, ...]]) -> Counter[tuple[int, ...]]:
    if len(expected) > 1:
        assert torch.pdist(expected[:, None]).min() > 1e-6, "two sets have the same loss: they cannot be told apart"
    gap, nearest = (losses[:, None] - expected).abs().min(1)
    assert gap.max() < 1e-9, "a loss that no set of the right size gives"
    counts: Counter[tuple[int, ...]] = Counter(dict.fromkeys(sets, 0))
    counts.update(sets[k] for k in nearest.tolist())
    return counts


def smallest_p_value(found: list[Counter[tuple[int, ...]]]) -> float:
    return min(float(stats.chisquare(list(counts.values())).pvalue) for counts in found if len(counts) > 1)


SMALL = torch.tensor([1, 0, 0, 2, 0, 1, 0, 0])


def test_drawn_partners_are_a_uniform_set_of_the_class(generator):
    assert smallest_p_value(partner_sets(SMALL, 2, 300, generator)) > 1e-5 / 7


def test_drawn_negatives_are_a_uniform_set_of_the_other_classes(generator):
    assert smallest_p_value(negative_sets(SMALL, 2, 300, generator)) > 1e-5 / 8


def only_rotated(size: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """A mutant: the batch's own order from a random place on."""
    return (torch.arange(size) + torch.randint(size, (1,), generator=generator)) % size


@pytest.mark.parametrize("sets", [partner_sets, negative_sets])
def test_the_uniformity_tests_reject_an_order_that_is_not_random(generator, monkeypatch, sets):
    monkeypatch.setattr(MODULE, "_random_order", only_rotated)
    assert smallest_p_value(sets(SMALL, 2, 300, generator)) < 1e-9


def test_a_drawn_loss_has_the_mean_that_eq_12_says(generator):
    q, v = (part.detach() for part in views(generator))
    options = {"temperature": 0.5}
    s = normalize(q, dim=1) @ normalize(v, dim=1).T / 0.5
    same = (TARGET[:, None] == TARGET).double()
    rest = same - torch.eye(len(TARGET), dtype=torch.float64)
    m, n = 1, 4
    mean_rejection = (softplus(s) * (1 - same)).sum(1) / (1 - same).sum(1) * n
    per_star = softplus(-s) + mean_rejection[:, None]
    partners = rest.sum(0)
    used = partners.clamp(max=m)
    helpers = (rest * per_star).sum(0) / partners.clamp(min=1) * used
    expected = (per_star.diagonal() + helpers) / (1 + used)
    draws = torch.stack(
        [
            balanced_negative_sampling(q, v, TARGET, positives=m, negatives=n, generator=generator, **options)
            for _ in range(200)
        ]
    )
    error = draws.std(0) / draws.shape[0] ** 0.5
    assert ((draws.mean(0) - expected).abs() < 5 * error).all()


def test_the_same_generator_draws_the_same_and_the_next_draw_differs(generator):
    q, v = views(generator)

    def draw(generator: torch.Generator) -> Tensor:
        return balanced_negative_sampling(q, v, TARGET, temperature=0.5, positives=1, negatives=2, generator=generator)

    first, second = draw(generator.manual_seed(1)), draw(generator)
    assert torch.equal(first, draw(generator.manual_seed(1)))
    assert not torch.equal(first, second)


# Gathered features.


def test_negative_sampling_of_a_part_against_all_keys_is_that_part_of_the_whole(generator):
    q, v = views(generator)
    whole = values_and_gradients(negative_sampling, q, v, target=TARGET, temperature=0.5)

    def by_process(q: Tensor, v: Tensor) -> Tensor:
        parts = [
            negative_sampling(q[part], v, TARGET[part], temperature=0.5, key_target=TARGET, own=part)
            for part in torch.arange(len(TARGET)).split(4)
        ]
        return torch.cat(parts)

    torch.testing.assert_close(values_and_gradients(by_process, q, v), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 3])
def test_keys_from_elsewhere_are_negatives_and_nothing_else(generator, chunk):
    q, _ = views(generator)
    keys = torch.randn(16, 5, dtype=torch.float64, generator=generator).requires_grad_()
    own = torch.randperm(16, generator=generator)[: len(TARGET)]
    key_target = torch.randint(0, 5, (16,), generator=generator)
    key_target[own] = TARGET
    options = {"target": TARGET, "temperature": 0.5, "key_target": key_target, "own": own}

    def ours(q: Tensor, v: Tensor, **options: object) -> Tensor:
        return balanced_negative_sampling(q, v, chunk=chunk, **options)

    assert deviation(ours, oracle.balanced_negative_sampling, q, keys, **options) < 1e-10
    shifted = {**options, "own": (own + 1) % 16}
    assert deviation(ours, lambda *a, **_: oracle.balanced_negative_sampling(*a, **shifted), q, keys, **options) > 1e-2

    def drawn(q: Tensor, v: Tensor, **options: object) -> Tensor:
        return ours(q, v, positives=99, negatives=99, generator=generator, **options)

    assert deviation(drawn, oracle.balanced_negative_sampling, q, keys, **options) < 1e-10


# Numerics.

DRAWS = [{}, {"positives": 2}, {"negatives": 3}, {"positives": 2, "negatives": 3}]


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("drawn", DRAWS)
def test_runs_on_the_meta_device_and_so_has_no_host_sync_and_no_dynamic_shape(drawn, chunk):
    q, v = (torch.empty(10, 5, device="meta", requires_grad=True) for _ in range(2))
    target = torch.empty(10, dtype=torch.int64, device="meta")
    loss = balanced_negative_sampling(q, v, target, temperature=0.5, chunk=chunk, **drawn)
    assert loss.shape == (10,)
    loss.sum().backward()
    assert q.grad is not None
    assert v.grad is not None
    gathered = balanced_negative_sampling(q[:6], v, target[:6], temperature=0.5, key_target=target, own=target[:6])
    assert gathered.shape == (6,)
    assert negative_sampling(q, v, target, temperature=0.5, chunk=chunk).shape == (10,)
    assert released_balanced_negative_sampling(q, v, target, chunk=chunk).shape == (10,)


@pytest.mark.parametrize("loss", [negative_sampling, balanced_negative_sampling, released_balanced_negative_sampling])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_features_lose_nothing_after_they_arrive(generator, loss, autocast):
    q, v = (part.detach().bfloat16() for part in views(generator))
    expected = loss(q.double(), v.double(), TARGET, temperature=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        for chunk in (None, 4):
            found = loss(q, v, TARGET, temperature=0.1, chunk=chunk)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=0)
    naive = (normalize(q, dim=1) @ normalize(v, dim=1).T / 0.1).double()
    exact = normalize(q.double(), dim=1) @ normalize(v.double(), dim=1).T / 0.1
    assert (naive - exact).abs().max() > 1e-2, "half precision would have passed this test"


def test_gradients_stay_finite_and_right_at_a_temperature_of_a_hundredth():
    q = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    v = torch.tensor([[-1.0, 1e-3], [1.0, -1e-3]], requires_grad=True)
    loss = negative_sampling(q, v, torch.tensor([0, 1]), temperature=0.01)
    # Every view faces the wrong one: -100 at its own and +100 at the negative.
    torch.testing.assert_close(loss, torch.tensor([200.0, 200.0]))
    loss.sum().backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()
    assert q.grad.abs().max() > 0.1
    half = balanced_negative_sampling(q.bfloat16(), v.bfloat16(), torch.tensor([0, 1]), temperature=0.01)
    torch.testing.assert_close(half, torch.tensor([200.0, 200.0]))


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def largest_tensor(loss: Callable[..., Tensor], size: int, width: int, **options: object) -> int:
    q, v = (torch.empty(size, width, device="meta", requires_grad=True) for _ in range(2))
    target = torch.empty(size, dtype=torch.int64, device="meta")
    with Largest() as largest:
        loss(q, v, target, temperature=0.5, **options).sum().backward()
    return largest.elements


@pytest.mark.parametrize("drawn", DRAWS)
def test_no_tensor_is_larger_than_the_similarities_or_than_a_block_of_them(drawn):
    size, width = 512, 64
    assert largest_tensor(balanced_negative_sampling, size, width, **drawn) == size * size
    assert largest_tensor(balanced_negative_sampling, size, width, chunk=64, **drawn) == size * width
    assert largest_tensor(negative_sampling, size, width, chunk=64) == size * width
    assert largest_tensor(released_balanced_negative_sampling, size, width, chunk=64) == 2 * size * width
    # The broadcast form is what must not happen.
    assert largest_tensor(oracle.pairwise, size, width) == size * size * width


def test_the_broadcast_form_of_the_benchmark_is_the_same_loss(generator):
    q, v = views(generator)
    assert deviation(balanced_negative_sampling, oracle.pairwise, q, v, target=TARGET, temperature=0.5) < 1e-10


@pytest.mark.slow
def test_compiles_to_one_graph():
    program = """
import torch
from longtail.losses.negative_sampling import balanced_negative_sampling
torch.manual_seed(0)
q, v = (torch.randn(12, 6, requires_grad=True) for _ in range(2))
target = torch.randint(0, 3, (12,))
compiled = torch.compile(balanced_negative_sampling, fullgraph=True, backend="aot_eager")
loss = compiled(q, v, target, temperature=0.5)
expected = balanced_negative_sampling(q, v, target, temperature=0.5)
torch.testing.assert_close(loss, expected)
torch.testing.assert_close(torch.autograd.grad(loss.sum(), q), torch.autograd.grad(expected.sum(), q))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0: it must be above 0"),
        ({"positives": -1}, "positives is -1"),
        ({"negatives": 0}, "negatives is 0"),
        ({"chunk": 0}, "chunk is 0"),
    ],
)
def test_numbers_out_of_range_are_named(generator, options, message):
    q, v = views(generator)
    with pytest.raises(InputError, match=message):
        balanced_negative_sampling(q, v, TARGET, **{"temperature": 0.5, **options})


def test_keys_that_cannot_be_paired_are_an_error(generator):
    q, v = views(generator)
    with pytest.raises(InputError, match="4 queries but 10 keys: give key_target and own"):
        negative_sampling(q[:4], v, TARGET[:4], temperature=0.5, key_target=TARGET)


def test_shapes_that_do_not_fit_are_named_where_annotations_are_not_checked():
    program = """
import torch
from longtail.errors import InputError
from longtail.losses import negative_sampling, released_balanced_negative_sampling, supervised_contrastive
q, v, target = torch.zeros(3, 2), torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64)
cases = [
    (lambda: released_balanced_negative_sampling(q, v, target), "3 queries but 4 keys: give one of each"),
    (lambda: supervised_contrastive(q, v, target, temperature=1.0), "3 queries, 4 keys, 3 labels"),
    (lambda: negative_sampling(v, v, target, temperature=1.0), "4 queries but 3 targets"),
    (lambda: negative_sampling(q, v, target, temperature=1.0, key_target=target, own=target), "4 keys but 3 labels"),
]
for call, message in cases:
    try:
        call()
    except InputError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
