"""Centroids of a whole pass: the plain means, whatever the batches, the order and the processes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.losses.centroids import CentroidSums

Average = Callable[[list[tuple[Tensor, Tensor]], int], Tensor]


def data(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """An imbalanced set, far from the origin as features after a ReLU are."""
    generator = torch.Generator().manual_seed(1)
    target = torch.tensor([0] * 700 + [1] * 30 + [2] * 1)[torch.randperm(731, generator=generator)]
    return (50 + torch.randn((731, 5), generator=generator)).to(dtype), target


def by_hand(features: Tensor, target: Tensor) -> Tensor:
    return torch.stack([features[target == c].double().mean(dim=0) for c in range(int(target.max()) + 1)])


def running(batches: list[tuple[Tensor, Tensor]], num_classes: int) -> Tensor:
    sums = CentroidSums(num_classes, batches[0][0].shape[1])
    for features, target in batches:
        sums.update(features, target)
    return sums.means()


def mean_of_batch_means(batches: list[tuple[Tensor, Tensor]], num_classes: int) -> Tensor:
    """A usual mistake: right only where every batch has as many samples of a class."""
    means = []
    for c in range(num_classes):
        parts = [features[target == c].mean(dim=0) for features, target in batches if bool((target == c).any())]
        means.append(torch.stack(parts).mean(dim=0))
    return torch.stack(means)


def last_batch_wins(batches: list[tuple[Tensor, Tensor]], num_classes: int) -> Tensor:
    """Another: indexed assignment keeps one sample of a class in a batch."""
    sums, counts = torch.zeros(num_classes, batches[0][0].shape[1]), torch.zeros(num_classes)
    for features, target in batches:
        sums[target] += features
        counts[target] += 1
    return sums / counts[:, None]


def check_means(average: Average) -> None:
    features, target = data()
    batches = list(zip(features.split(100), target.split(100), strict=True))
    assert torch.allclose(average(batches, 3).double(), by_hand(features, target), atol=1e-5)


def test_are_the_means_of_the_pass() -> None:
    check_means(running)


@pytest.mark.parametrize("mutant", [mean_of_batch_means, last_batch_wins])
def test_check_rejects(mutant: Average) -> None:
    with pytest.raises(AssertionError):
        check_means(mutant)


@pytest.mark.parametrize("size", [1, 7, 731])
def test_do_not_depend_on_batches_or_order(size: int) -> None:
    features, target = data()
    order = torch.randperm(731, generator=torch.Generator().manual_seed(2))
    whole = running([(features, target)], 3)
    parts = running(list(zip(features[order].split(size), target[order].split(size), strict=True)), 3)
    assert torch.equal(whole, parts)


def test_parts_of_several_processes_add_up() -> None:
    features, target = data()
    parts = []
    for start in range(3):  # As a distributed sampler shares samples out; class 2 is in one part alone.
        part = CentroidSums(3, 5)
        part.update(features[start::3], target[start::3])
        parts.append(part)
    assert torch.equal((parts[0] + parts[1] + parts[2]).means(), running([(features, target)], 3))
    # As an all-reduce merges them: the two tensors, added in place.
    for part in parts[1:]:
        parts[0].sums += part.sums
        parts[0].counts += part.counts
    assert torch.equal(parts[0].means(), running([(features, target)], 3))
    with pytest.raises(InputError, match=r"\(3, 5\) and \(4, 5\)"):
        parts[0] + CentroidSums(4, 5)


def test_a_repeated_sample_counts_as_often_as_it_is_drawn() -> None:
    """A class-balanced pass repeats tail images."""
    sums = CentroidSums(1, 1)
    sums.update(torch.tensor([[1.0], [1.0], [4.0]]), torch.tensor([0, 0, 0]))
    assert sums.means().tolist() == [[2.0]]
    assert sums.counts.tolist() == [3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_sums_keep_their_digits_for_any_features(dtype: torch.dtype) -> None:
    """700 features near 50 add up to 35,000, where bfloat16 steps by 256."""
    features, target = data(dtype)
    sums = CentroidSums(3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums.update(features, target)
        means = sums.means()
    assert means.dtype == torch.float32
    assert torch.allclose(means.double(), by_hand(features, target), atol=1e-5)


def test_carry_no_gradient_and_little_memory() -> None:
    features, target = data()
    sums = CentroidSums(3, 5, dtype=torch.float32)
    for _ in range(3):
        sums.update(features.clone().requires_grad_(), target)
    assert not sums.means().requires_grad
    assert sums.sums.shape == (3, 5)
    assert sums.sums.dtype == torch.float32
    assert torch.allclose(sums.means().double(), by_hand(features, target), atol=1e-3)


def test_update_runs_on_meta_device() -> None:
    sums = CentroidSums(3, 5, device="meta")
    sums.update(torch.zeros((4, 5), device="meta"), torch.zeros(4, dtype=torch.int64, device="meta"))
    assert sums.sums.device.type == "meta"


def test_class_without_samples_is_named() -> None:
    sums = CentroidSums(4, 1)
    sums.update(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 2]))
    with pytest.raises(InputError, match=r"class 1 had no samples .* \(2 of 4 classes without\)"):
        sums.means()


def test_wrong_width_is_named() -> None:
    with pytest.raises(InputError, match=r"must be \(N, 5\) and target \(N,\), not \(2, 4\) and \(2,\)"):
        CentroidSums(3, 5).update(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
