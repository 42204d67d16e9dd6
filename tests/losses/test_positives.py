"""Contrastive losses that choose their positives, against sums written out; and label-aware smoothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.losses import (
    cross_entropy,
    instance_contrastive,
    k_positive_contrastive,
    label_aware_smoothing,
    subclass_contrastive,
    supervised_contrastive,
)
from longtail.testing import check_loss


def problem(number: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(4)
    queries, keys = torch.randn(2, number, 5, generator=source, dtype=torch.float64)
    return queries, keys, torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 3])


def softmax_loss(row: list[float], positives: list[int]) -> float:
    """Minus the mean log-softmax of some entries of a row."""
    total = sum(math.exp(value) for value in row)
    return -sum(math.log(math.exp(row[p]) / total) for p in positives) / len(positives)


def cosines(one: Tensor, other: Tensor) -> list[list[float]]:
    return (functional.normalize(one, dim=1) @ functional.normalize(other, dim=1).T).tolist()


def test_k_positives_of_all_is_the_sum_written_out() -> None:
    queries, keys, target = problem()
    rows = cosines(queries, keys)
    label = target.tolist()
    expected = [
        softmax_loss([value / 0.3 for value in rows[i]], [j for j in range(9) if label[j] == label[i]])
        for i in range(9)
    ]
    found = k_positive_contrastive(queries, keys, target, temperature=0.3, positives=9)
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    without = [
        softmax_loss(
            [value / 0.3 for value in rows[i]], [j for j in range(9) if label[j] == label[i] and j != i] or [i]
        )
        for i in range(9)
    ]
    assert found.tolist() != pytest.approx(without, rel=1e-3)  # the mutant without the image's own other view


def test_k_positives_are_that_many_and_drawn_evenly() -> None:
    """At k = 1 the mean over draws is the mean over choices; each loss is one of the choices."""
    queries, keys, target = problem()
    rows, label = cosines(queries, keys), target.tolist()
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack(
        [
            k_positive_contrastive(queries, keys, target, temperature=0.3, positives=1, generator=generator)
            for _ in range(400)
        ]
    )
    for i in range(9):
        others = [j for j in range(9) if label[j] == label[i] and j != i]
        choices = [softmax_loss([v / 0.3 for v in rows[i]], [i, j]) for j in others] or [
            softmax_loss([v / 0.3 for v in rows[i]], [i])
        ]
        gaps = (drawn[:, i, None] - torch.tensor(choices, dtype=torch.float64)).abs()
        assert float(gaps.amin(dim=1).max()) < 1e-9
        shares = gaps.argmin(dim=1).bincount(minlength=len(choices)).double() / 400
        assert float((shares - 1 / len(choices)).abs().max()) < 0.1


def test_k_0_is_instance_discrimination_whatever_the_labels() -> None:
    queries, keys, target = problem()
    found = k_positive_contrastive(queries, keys, target, temperature=0.3, positives=0)
    logits = torch.tensor(cosines(queries, keys), dtype=torch.float64) / 0.3
    assert torch.allclose(found, functional.cross_entropy(logits, torch.arange(9), reduction="none"))
    apart = torch.arange(9)
    assert torch.allclose(k_positive_contrastive(queries, keys, apart, temperature=0.3, positives=6), found)


def test_simclr_is_supcon_with_a_class_for_each_image_and_reads_no_label() -> None:
    queries, keys, target = problem()
    found = instance_contrastive(queries, keys, target, temperature=0.3)
    assert torch.equal(found, supervised_contrastive(queries, keys, torch.arange(9), temperature=0.3))
    assert torch.equal(found, instance_contrastive(queries, keys, target.flip(0), temperature=0.3))
    assert not torch.allclose(found, supervised_contrastive(queries, keys, target, temperature=0.3))
    views = torch.cat([queries, keys])
    rows = cosines(views, views)
    each = []
    for a in range(18):
        others = [b for b in range(18) if b != a]
        each.append(softmax_loss([rows[a][b] / 0.3 for b in others], [others.index((a + 9) % 18)]))
    assert found.tolist() == pytest.approx([(each[i] + each[i + 9]) / 2 for i in range(9)], rel=1e-9)


def test_subclasses_are_the_sums_written_out() -> None:
    queries, keys, target = problem()
    cluster = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3, 4])
    second = torch.tensor([0.5, 0.4, 0.3, 0.6], dtype=torch.float64)[target]
    views = torch.cat([queries, keys])
    rows, label, own = cosines(views, views), target.repeat(2).tolist(), cluster.repeat(2).tolist()
    each = []
    for a in range(18):
        others = [b for b in range(18) if b != a]
        alike = [others.index(b) for b in others if own[b] == own[a]]
        beyond = [others.index(b) for b in others if b == (a + 9) % 18 or (label[b] == label[a] and own[b] != own[a])]
        tau = float(second[a % 9])
        one = softmax_loss([rows[a][b] / 0.2 for b in others], alike)
        each.append(one + 0.25 * softmax_loss([rows[a][b] / tau for b in others], beyond))
    found = subclass_contrastive(
        queries, keys, target, subclass=cluster, class_temperature=second, temperature=0.2, beta=0.25
    )
    assert found.tolist() == pytest.approx([(each[i] + each[i + 9]) / 2 for i in range(9)], rel=1e-9)


def test_one_subclass_a_class_is_supcon() -> None:
    queries, keys, target = problem()
    ones = torch.ones(9, dtype=torch.float64)
    options = {"subclass": target, "class_temperature": ones, "temperature": 0.3}
    supcon = supervised_contrastive(queries, keys, target, temperature=0.3)
    assert torch.allclose(subclass_contrastive(queries, keys, target, beta=0.0, **options), supcon)
    assert not torch.allclose(subclass_contrastive(queries, keys, target, beta=0.5, **options), supcon)


@pytest.mark.parametrize("positives", [0, 2])
def test_values_do_not_depend_on_lengths_and_have_the_numerical_gradient(positives: int) -> None:
    queries, keys, target = problem()

    def value(one: Tensor) -> Tensor:
        source = torch.Generator().manual_seed(1)
        return k_positive_contrastive(one, keys, target, temperature=0.3, positives=positives, generator=source)

    assert torch.allclose(value(queries), value(7 * queries))
    assert torch.autograd.gradcheck(value, queries.requires_grad_())


def test_what_these_losses_do_not_take_is_refused() -> None:
    queries, keys, target = problem()
    for wrong in ({"temperature": 0.0}, {"positives": -1}):
        with pytest.raises(InputError):
            k_positive_contrastive(queries, keys, target, **wrong)
    with pytest.raises(InputError):
        subclass_contrastive(queries, keys, target, subclass=target, class_temperature=target + 1.0, temperature=-1.0)


# Label-aware smoothing.

COUNTS = torch.tensor([500, 60, 8, 5])


def smoothing(n: int, head: float, tail: float) -> float:
    return tail + (head - tail) * math.sin(math.pi * (n - 5) / (2 * (500 - 5)))


def written_out(logits: Tensor, target: Tensor, head: float, tail: float) -> list[float]:
    found = []
    for row, y in zip(logits.double().log_softmax(dim=1).tolist(), target.tolist(), strict=True):
        epsilon = smoothing(int(COUNTS[y]), head, tail)
        found.append(-(1 - epsilon) * row[y] - epsilon / 3 * sum(value for c, value in enumerate(row) if c != y))
    return found


def test_label_aware_smoothing_is_its_equation() -> None:
    source = torch.Generator().manual_seed(0)
    logits, target = torch.randn(12, 4, generator=source).double(), torch.arange(12) % 4
    found = label_aware_smoothing(logits, target, counts=COUNTS)
    assert found.tolist() == pytest.approx(written_out(logits, target, 0.4, 0.1), rel=1e-9)
    assert found.tolist() != pytest.approx(written_out(logits, target, 0.1, 0.4), rel=1e-3)  # head and tail swapped


def test_label_aware_smoothing_reduces_to_what_it_should() -> None:
    source = torch.Generator().manual_seed(0)
    logits, target = torch.randn(12, 4, generator=source).double(), torch.arange(12) % 4
    none = label_aware_smoothing(logits, target, counts=COUNTS, head=0.0, tail=0.0)
    assert torch.allclose(none, cross_entropy(logits, target))
    even = label_aware_smoothing(logits, target, counts=torch.full((4,), 9), tail=0.3)
    # A share of 0.3 for the other three classes is one of 0.4 for all four.
    assert torch.allclose(even, cross_entropy(logits, target, label_smoothing=0.4), atol=1e-9)
    ignored = label_aware_smoothing(logits, torch.full((12,), -100), counts=COUNTS)
    assert not ignored.any()
    check_loss(lambda logits, target: label_aware_smoothing(logits, target, counts=COUNTS), num_classes=4)
    with pytest.raises(InputError):
        label_aware_smoothing(logits, target, counts=COUNTS, head=1.0)
