"""Logit adjustment after training: the Bayes decision for balanced error, where plain logits are the one for error."""

from __future__ import annotations

import pathlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtail import results
from longtail.data import load
from longtail.errors import InputError
from longtail.losses import balanced_softmax, cross_entropy
from longtail.methods import recipe
from longtail.rebalance import LogitAdjustment
from longtail.training import restore
from longtail.training.compute import Compute
from longtail.training.passes import outputs
from longtail.training.run import train

COUNTS = torch.tensor([900, 90, 10])


def world(seed: int) -> tuple[Tensor, Tensor]:
    """Likelihoods p(x | y) (X, K) of 40 values of x, and the logits of a network that learned the class posterior."""
    generator = torch.Generator().manual_seed(seed)
    likelihood = torch.rand(40, 3, generator=generator, dtype=torch.float64) ** 3
    likelihood = likelihood / likelihood.sum(dim=0)
    joint = likelihood * COUNTS / COUNTS.sum()
    # Any constant for each x is as good a logit.
    return likelihood, joint.log() + torch.randn(40, 1, generator=generator, dtype=torch.float64)


def balanced_accuracy(likelihood: Tensor, decision: Tensor) -> float:
    """The mean over classes of the probability of a right decision, exactly."""
    return float(likelihood[torch.arange(40), decision].sum() / 3)


def accuracy(likelihood: Tensor, decision: Tensor) -> float:
    prior = COUNTS / COUNTS.sum()
    return float((likelihood * prior)[torch.arange(40), decision].sum())


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_bayes_decision_for_balanced_error(seed: int) -> None:
    likelihood, logits = world(seed)
    adjust = LogitAdjustment().fit(counts=COUNTS)
    decision = adjust.predict(logits)
    assert torch.equal(decision, likelihood.argmax(dim=1))
    for tau in (-1.0, 0.0, 0.5, 2.0):
        other = LogitAdjustment(tau).fit(counts=COUNTS).predict(logits)
        assert balanced_accuracy(likelihood, other) <= balanced_accuracy(likelihood, decision)
    plain = logits.argmax(dim=1)
    assert balanced_accuracy(likelihood, plain) < balanced_accuracy(likelihood, decision)
    assert accuracy(likelihood, plain) > accuracy(likelihood, decision)


@pytest.mark.parametrize("seed", range(5))
def test_its_probabilities_are_the_posterior_under_a_uniform_prior(seed: int) -> None:
    likelihood, logits = world(seed)
    found = LogitAdjustment().fit(counts=COUNTS).predict_proba(logits)
    torch.testing.assert_close(found, likelihood / likelihood.sum(dim=1, keepdim=True))


def test_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    adjusted = LogitAdjustment(tau=0.5).fit(counts=COUNTS).adjust(logits)
    torch.testing.assert_close(adjusted, logits - 0.5 * torch.tensor([0.9, 0.09, 0.01]).log())


@settings(deadline=None)
@given(st.floats(-3, 3), st.integers(1, 50))
def test_only_proportions_count_and_0_is_nothing(tau: float, times: int) -> None:
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    adjusted = LogitAdjustment(tau).fit(counts=COUNTS).adjust(logits)
    torch.testing.assert_close(adjusted, LogitAdjustment(tau).fit(counts=times * COUNTS).adjust(logits))
    assert torch.equal(LogitAdjustment(0.0).fit(counts=COUNTS).adjust(logits), logits)
    balanced = LogitAdjustment(tau).fit(counts=torch.tensor([7, 7, 7])).predict(logits)
    assert torch.equal(balanced, logits.argmax(dim=1))


def test_it_undoes_what_balanced_softmax_does_while_training() -> None:
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    target = torch.arange(20) % 3
    adjusted = LogitAdjustment().fit(counts=COUNTS).adjust(logits)
    torch.testing.assert_close(balanced_softmax(adjusted, target, counts=COUNTS), cross_entropy(logits, target))


def test_what_it_cannot_be_fitted_on_is_refused() -> None:
    with pytest.raises(InputError, match="class 1 has no training images"):
        LogitAdjustment().fit(counts=torch.tensor([3, 0, 1]))
    with pytest.raises(InputError, match=r"call fit\(counts=\.\.\.\) first"):
        LogitAdjustment().predict(torch.zeros(1, 3))


def test_in_a_run_it_is_applied_to_the_test_logits_and_to_nothing_else(tmp_path: pathlib.Path) -> None:
    data = load("digits-lt", imbalance=20)
    compute = Compute("cpu", "float32", compiled=False)
    for name in ("ce", "logit-adjustment-post-hoc@tau=1.5"):
        made = recipe(name, data, epochs=3)
        train(made, data, seed=0, out=tmp_path / name, store=tmp_path / "stages", compute=compute)
    plain, adjusted = (results.read(tmp_path / name) for name in ("ce", "logit-adjustment-post-hoc@tau=1.5"))
    logits = outputs(restore.restored(plain, data), data.test, data).logits
    assert torch.equal(plain.prediction, logits.argmax(dim=1))
    by_hand = (logits - 1.5 * (data.counts / data.counts.sum()).log()).argmax(dim=1)
    assert torch.equal(adjusted.prediction, by_hand)
    assert not torch.equal(plain.prediction, adjusted.prediction)
    assert adjusted.record.history == plain.record.history
