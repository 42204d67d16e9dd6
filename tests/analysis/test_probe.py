"""Probes of frozen features: what each protocol is fitted on, what it ignores, and nearest neighbours by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from longtail.analysis.probe import NEIGHBOURS, balanced_subset, evaluate_features
from longtail.data import Data, load
from longtail.models import Output
from longtail.training import seeds

FULL = "linear probe, full training set"
SUBSET = "linear probe, balanced subset of up to 20 a class"
NEAREST = "20 nearest neighbours, weighted by cosine distance"


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def features(data: Data, *, noise: float = 1.0, seed: int = 0) -> tuple[Output, Output]:
    """Clusters around one random centre a class, train and test alike."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(data.num_classes, 8, generator=generator)

    def of(target: Tensor) -> Output:
        found = centres[target] + noise * torch.randn(len(target), 8, generator=generator)
        return Output(found, torch.zeros(len(target), data.num_classes))

    return of(data.train.target), of(data.test.target)


# ------------------------------------------------------------------------------------------------------- the subset


def test_a_subset_has_so_many_of_each_class_and_small_classes_whole(generator: torch.Generator) -> None:
    counts = torch.tensor([30, 10, 4, 0, 1])
    target = torch.repeat_interleave(counts)[torch.randperm(45, generator=generator)]
    for per_class in (1, 4, 10, 100):
        index = balanced_subset(target, per_class, generator)
        assert torch.bincount(target[index], minlength=5).tolist() == counts.clamp(max=per_class).tolist()
        assert index.tolist() == sorted(set(index.tolist()))


def test_every_image_of_a_class_is_equally_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.tensor([0] * 6 + [1] * 3)
    draws = 6000
    hits = torch.zeros(9)
    for _ in range(draws):
        hits[balanced_subset(target, 2, generator)] += 1
    expected = torch.tensor([1 / 3] * 6 + [2 / 3] * 3)
    deviation = (expected * (1 - expected) / draws).sqrt()
    # Five standard deviations, nine shares: one failure in 200,000.
    assert bool(((hits / draws - expected).abs() < 5 * deviation).all())
    # Taking the first of each class, as a subset without shuffling does, is far outside.
    assert not bool(((torch.tensor([1.0, 1, 0, 0, 0, 0, 1, 1, 0]) - expected).abs() < 5 * deviation).all())


def test_a_subset_depends_on_the_seed_alone(digits: Data) -> None:
    target = digits.train.target
    one, again, other = (balanced_subset(target, 20, seeds.generator(seed, "probe")) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# ------------------------------------------------------------------------------------------------------ the protocols


def test_each_protocol_is_named_in_full(digits: Data) -> None:
    reports = evaluate_features(*features(digits), digits, per_class=20, seed=0)
    assert list(reports) == [FULL, SUBSET, NEAREST]
    for report in reports.values():
        assert report.num_samples == len(digits.test)
        assert report.thresholds == {"many": digits.many, "few": digits.few}
        assert 0.3 < report.accuracy < 1.0


def test_separable_features_are_classified_without_error(digits: Data) -> None:
    reports = evaluate_features(*features(digits, noise=0.05), digits, per_class=20, seed=0)
    # With equal votes, classes of ten images or fewer would never win among 20 neighbours.
    assert int(digits.counts.min()) < NEIGHBOURS // 2
    assert [report.accuracy for report in reports.values()] == [1.0, 1.0, 1.0]


def test_features_that_say_nothing_score_by_chance(digits: Data) -> None:
    train, test = features(digits)
    shuffled = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(0))
    noise = Output(train.features[shuffled], train.logits)
    reports = evaluate_features(noise, test, digits, per_class=20, seed=0)
    assert all(report.balanced_accuracy < 0.3 for report in reports.values())


def test_nearest_neighbours_vote_by_cosine_distance(digits: Data) -> None:
    train, test = features(digits, noise=1.5)
    found = evaluate_features(train, test, digits, per_class=20, seed=0)[NEAREST]

    def accuracy(distance: Tensor, power: float) -> float:
        """By hand: of the 20 smallest distances, each weighs distance ** -power for its class."""
        near = distance.sort(dim=1)
        votes = torch.zeros(len(distance), digits.num_classes, dtype=torch.float64)
        for rank in range(NEIGHBOURS):
            label = digits.train.target[near.indices[:, rank]]
            votes[torch.arange(len(votes)), label] += near.values[:, rank] ** -power
        return float((votes.argmax(dim=1) == digits.test.target).double().mean())

    def unit(rows: Tensor) -> Tensor:
        return rows.double() / rows.double().norm(dim=1, keepdim=True)

    cosine = 1 - unit(test.features) @ unit(train.features).T
    euclidean = torch.cdist(test.features.double(), train.features.double())
    assert found.accuracy == pytest.approx(accuracy(cosine, 1.0), abs=1e-9)
    assert accuracy(cosine, 0.0) != found.accuracy
    assert accuracy(euclidean, 1.0) != found.accuracy
    longer = Output(test.features * torch.linspace(0.1, 10.0, len(digits.test))[:, None], test.logits)
    stretched = evaluate_features(train, longer, digits, per_class=20, seed=0)[NEAREST]
    assert stretched.per_class == found.per_class


def test_linear_probes_do_not_depend_on_the_units_of_a_feature(digits: Data) -> None:
    train, test = features(digits)
    reports = evaluate_features(train, test, digits, per_class=20, seed=0)
    scale = torch.tensor([1e-3, 1.0, 1e3, 5.0, 0.2, 7.0, 40.0, 1e-2])
    moved = [Output(part.features * scale + 3 * scale, part.logits) for part in (train, test)]
    others = evaluate_features(*moved, digits, per_class=20, seed=0)
    for name in (FULL, SUBSET):
        assert others[name].accuracy == pytest.approx(reports[name].accuracy, abs=0.005)
    assert others[NEAREST].accuracy < reports[NEAREST].accuracy - 0.05  # these do, which is why each is named


def test_the_balanced_probe_sees_its_subset_alone(digits: Data) -> None:
    train, test = features(digits, noise=0.3)
    subset = balanced_subset(digits.train.target, 20, seeds.generator(0, "probe"))
    outside = torch.ones(len(digits.train), dtype=torch.bool)
    outside[subset] = False
    assert int(outside.sum()) > 100
    spoilt = train.features.clone()
    spoilt[outside] = -10 * spoilt[outside]
    before = evaluate_features(train, test, digits, per_class=20, seed=0)
    after = evaluate_features(Output(spoilt, train.logits), test, digits, per_class=20, seed=0)
    other = evaluate_features(Output(spoilt, train.logits), test, digits, per_class=20, seed=1)
    assert after[SUBSET].per_class == before[SUBSET].per_class
    assert after[FULL].accuracy < before[FULL].accuracy
    assert other[SUBSET].accuracy < before[SUBSET].accuracy


def test_a_balanced_subset_helps_the_tail(digits: Data) -> None:
    train, test = features(digits, noise=1.5)
    reports = evaluate_features(train, test, digits, per_class=5, seed=0)
    full, balanced, _ = reports.values()
    gain = [b - f for b, f in zip(balanced.per_class, full.per_class, strict=True)]
    assert sum(gain[:3]) < 0 < sum(gain[-3:])  # at the cost of the head


def test_fewer_images_than_neighbours(digits: Data) -> None:
    few = dataclasses.replace(
        digits, train=digits.train.at(balanced_subset(digits.train.target, 1, seeds.generator(0)))
    )
    train, test = features(few, noise=0.05)
    reports = evaluate_features(train, test, few, per_class=20, seed=0)
    assert "10 nearest neighbours, weighted by cosine distance" in reports
