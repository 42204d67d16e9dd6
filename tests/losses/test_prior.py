"""Balanced softmax and logit adjustment: equal to their formulas, and right for balanced error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from longtail.losses.cross_entropy import cross_entropy
from longtail.losses.prior import (
    adjust_logits,
    balanced_softmax,
    logit_adjusted_cross_entropy,
    vector_scaling,
)
from oracles import logit_losses as oracle

Loss = Callable[..., Tensor]

COUNTS = torch.tensor([500, 60, 8, 5])


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn((9, 4), generator=generator, dtype=torch.float64), torch.arange(9) % 4


# Losses that are wrong on purpose.


def sign_flipped(logits: Tensor, target: Tensor, *, counts: Tensor) -> Tensor:
    return cross_entropy(logits - counts.log(), target)


def count_instead_of_log(logits: Tensor, target: Tensor, *, counts: Tensor) -> Tensor:
    return cross_entropy(logits + counts / counts.sum(), target)


def true_class_alone(logits: Tensor, target: Tensor, *, counts: Tensor) -> Tensor:
    own = torch.nn.functional.one_hot(target, len(counts))
    return cross_entropy(logits + own * counts.log(), target)


def unadjusted(logits: Tensor, target: Tensor, *, counts: Tensor) -> Tensor:
    return cross_entropy(logits, target)


# Propositions.


def check_oracle(loss: Loss) -> None:
    logits, target = batch()
    expected = oracle.balanced_softmax(logits.tolist(), target.tolist(), COUNTS.tolist())
    assert torch.allclose(loss(logits, target, counts=COUNTS), torch.tensor(expected).double(), rtol=1e-6)


def check_equal_counts(loss: Loss) -> None:
    """Without imbalance it is cross-entropy."""
    logits, target = batch()
    values = loss(logits, target, counts=torch.full((4,), 37))
    assert torch.allclose(values, cross_entropy(logits, target), atol=1e-9)


def check_fisher(loss: Loss) -> None:
    """Minimised on the long-tailed distribution, its softmax is the posterior of the balanced one.

    A problem that is known completely: five inputs, four classes, p(input | class) given.
    """
    generator = torch.Generator().manual_seed(5)
    likelihood = torch.randn((5, 4), generator=generator, dtype=torch.float64).softmax(dim=0)
    joint = likelihood * COUNTS / COUNTS.sum()
    balanced = likelihood / likelihood.sum(dim=1, keepdim=True)
    logits = torch.zeros((5, 4), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")
    target = torch.arange(4).repeat(5)

    def risk() -> Tensor:
        optimizer.zero_grad()
        value = (joint.flatten() * loss(logits.repeat_interleave(4, dim=0), target, counts=COUNTS)).sum()
        value.backward()
        return value

    optimizer.step(risk)
    assert torch.allclose(logits.softmax(dim=1), balanced, atol=1e-3)
    # Here the natural posterior decides otherwise, so that the test can fail.
    assert not torch.equal(joint.argmax(dim=1), balanced.argmax(dim=1))


CHECKS = [check_oracle, check_equal_counts, check_fisher]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("loss", [balanced_softmax, logit_adjusted_cross_entropy])
def test_holds(loss: Loss, check: Callable[[Loss], None]) -> None:
    """Of both: with tau = 1 they are the same loss."""
    check(loss)


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (sign_flipped, check_oracle),
        (sign_flipped, check_fisher),
        (count_instead_of_log, check_oracle),
        (count_instead_of_log, check_fisher),
        (true_class_alone, check_oracle),
        (true_class_alone, check_equal_counts),
        (unadjusted, check_oracle),
        (unadjusted, check_fisher),
    ],
)
def test_check_rejects_mutant(mutant: Loss, check: Callable[[Loss], None]) -> None:
    with pytest.raises(AssertionError):
        check(mutant)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_logit_adjustment_is_the_oracle(tau: float) -> None:
    logits, target = batch()
    expected = oracle.logit_adjusted(logits.tolist(), target.tolist(), COUNTS.tolist(), tau)
    values = logit_adjusted_cross_entropy(logits, target, counts=COUNTS, tau=tau)
    assert torch.allclose(values, torch.tensor(expected).double(), rtol=1e-6)
    if tau == 0:
        assert torch.equal(values, cross_entropy(logits, target))


def test_pairwise_margin_is_the_ratio_of_priors() -> None:
    """loss = log(1 + sum_c (p_c / p_y)^tau exp(f_c - f_y)): Menon et al., Eq. 10, in its second form."""
    logits, target = batch()
    prior = COUNTS / COUNTS.sum()
    for tau in (0.5, 1.0):
        others = (prior / prior[target][:, None]).double() ** tau * (logits - logits.gather(1, target[:, None])).exp()
        others = others.masked_fill(torch.arange(4) == target[:, None], 0)
        values = logit_adjusted_cross_entropy(logits, target, counts=COUNTS, tau=tau)
        assert torch.allclose(values, others.sum(dim=1).log1p(), rtol=1e-5)


def test_balanced_softmax_leaves_out_a_class_without_images() -> None:
    logits, target = batch()
    counts = torch.tensor([500, 60, 8, 0])
    logits, target = logits.requires_grad_(), target.clamp(max=2)
    values = balanced_softmax(logits, target, counts=counts)
    assert torch.allclose(values, balanced_softmax(logits[:, :3], target, counts=counts[:3]))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert bool((gradient[:, 3] == 0).all())
    assert bool(gradient.isfinite().all())


def test_priors_are_not_rounded_with_the_logits() -> None:
    """The log-priors of neighbouring classes differ by less than bfloat16 resolves."""
    counts = torch.tensor([500, 499])
    losses = balanced_softmax(torch.zeros((2, 2), dtype=torch.bfloat16), torch.tensor([0, 1]), counts=counts)
    assert float(losses[1] - losses[0]) == pytest.approx(float((counts[0] / counts[1]).log()), rel=1e-3)


def test_post_hoc_adjustment_recovers_the_balanced_posterior() -> None:
    """The other way to the same decision: a network that fits the natural posterior, adjusted after training."""
    generator = torch.Generator().manual_seed(6)
    likelihood = torch.randn((50, 4), generator=generator, dtype=torch.float64).softmax(dim=0)
    natural = likelihood * COUNTS
    natural = natural / natural.sum(dim=1, keepdim=True)
    balanced = likelihood / likelihood.sum(dim=1, keepdim=True)
    adjusted = adjust_logits(natural.log(), counts=COUNTS)
    assert torch.allclose(adjusted.softmax(dim=1), balanced, atol=1e-6)
    wrong = natural.log() + COUNTS.log()
    assert not torch.allclose(wrong.softmax(dim=1), balanced, atol=1e-1)
    assert torch.equal(adjust_logits(natural.log(), counts=COUNTS, tau=0.0), natural.log())
    half = adjust_logits(adjust_logits(natural.log(), counts=COUNTS, tau=0.5), counts=COUNTS, tau=0.5)
    assert torch.allclose(half, adjusted)


# --- vector scaling ---------------------------------------------------------------------------------------------------


def check_vector_scaling(loss: Loss) -> None:
    logits, target = batch()
    for gamma, tau in ((0.3, 1.0), (0.15, 0.0), (1.0, 0.5)):
        expected = oracle.vector_scaling(logits.tolist(), target.tolist(), COUNTS.tolist(), gamma, tau)
        values = loss(logits, target, counts=COUNTS, gamma=gamma, tau=tau)
        assert torch.allclose(values, torch.tensor(expected).double(), rtol=1e-6)


def divided_by_the_factor(logits: Tensor, target: Tensor, *, counts: Tensor, gamma: float, tau: float) -> Tensor:
    return vector_scaling(logits, target, counts=counts, gamma=-gamma, tau=tau)


def scaled_by_the_prior(logits: Tensor, target: Tensor, *, counts: Tensor, gamma: float, tau: float) -> Tensor:
    prior = counts.double() / counts.sum()
    return cross_entropy(prior**gamma * logits + tau * prior.log(), target)


def scaled_after_the_term(logits: Tensor, target: Tensor, *, counts: Tensor, gamma: float, tau: float) -> Tensor:
    return cross_entropy((counts / counts.max()) ** gamma * (logits + tau * (counts / counts.sum()).log()), target)


def without_the_term(logits: Tensor, target: Tensor, *, counts: Tensor, gamma: float, tau: float) -> Tensor:
    return vector_scaling(logits, target, counts=counts, gamma=gamma, tau=0.0)


def test_vector_scaling() -> None:
    check_vector_scaling(vector_scaling)
    for mutant in (divided_by_the_factor, scaled_by_the_prior, scaled_after_the_term, without_the_term):
        with pytest.raises(AssertionError):
            check_vector_scaling(mutant)


def test_vector_scaling_is_logit_adjustment_without_factors_and_cross_entropy_at_equal_counts() -> None:
    logits, target = batch()
    for tau in (0.0, 0.7, 1.0):
        values = vector_scaling(logits, target, counts=COUNTS, gamma=0.0, tau=tau)
        assert torch.allclose(values, logit_adjusted_cross_entropy(logits, target, counts=COUNTS, tau=tau))
        equal = vector_scaling(logits, target, counts=[7, 7, 7, 7], gamma=0.4, tau=tau)
        assert torch.allclose(equal, cross_entropy(logits, target))


def test_vector_scaling_asks_rare_classes_for_larger_logits() -> None:
    """Once the term is made up for, a logit that is larger by 1 / Delta_c costs what it costs in logit adjustment.

    So a class with n_c images must be fitted with logits (n_max / n_c)^gamma times as large: the margins of
    the cost-sensitive SVM of Kini et al.
    """
    logits, target = batch()
    factor = (COUNTS / COUNTS.max()).double() ** 0.3
    values = vector_scaling(logits / factor, target, counts=COUNTS, gamma=0.3, tau=1.0)
    assert torch.allclose(values, logit_adjusted_cross_entropy(logits, target, counts=COUNTS, tau=1.0), rtol=1e-6)
    alone = torch.eye(4, dtype=torch.float64)
    fitted = [
        float(vector_scaling(50 * alone[c : c + 1], torch.tensor([c]), counts=COUNTS, gamma=0.3, tau=0.0))
        for c in range(4)
    ]
    assert fitted == sorted(fitted)


def test_vector_scaling_without_images() -> None:
    logits, target = batch()
    logits, target = logits.requires_grad_(), target.clamp(max=2)
    values = vector_scaling(logits, target, counts=[500, 60, 8, 0])
    assert torch.allclose(values, vector_scaling(logits[:, :3], target, counts=[500, 60, 8]))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert bool((gradient[:, 3] == 0).all())
    assert bool(gradient.isfinite().all())
