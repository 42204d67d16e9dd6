"""Targets and counts as people have them: soft, smoothed, ignored, as lists, of a wrong length, of empty classes."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from longtail import losses
from oracles import logit_losses as oracle

COUNTS = [500, 60, 8, 5]
Rows = list[list[float]]
Loss = Callable[..., Tensor]

effective = oracle.effective_number_weights(COUNTS, 0.99)
# Each loss that takes soft labels, and its oracle for one true class.
SOFT: dict[str, tuple[Loss, Callable[[Rows, list[int]], list[float]]]] = {
    "cross_entropy": (losses.cross_entropy, oracle.cross_entropy),
    "balanced_softmax": (
        functools.partial(losses.balanced_softmax, counts=COUNTS),
        functools.partial(oracle.balanced_softmax, counts=COUNTS),
    ),
    "logit_adjusted": (
        functools.partial(losses.logit_adjusted_cross_entropy, counts=COUNTS, tau=0.5),
        functools.partial(oracle.logit_adjusted, counts=COUNTS, tau=0.5),
    ),
    "class_balanced": (
        functools.partial(losses.class_balanced, counts=COUNTS, beta=0.99),
        functools.partial(oracle.cross_entropy, weights=effective),
    ),
    "class_balanced_focal": (
        functools.partial(losses.class_balanced_focal, counts=COUNTS, beta=0.99),
        lambda logits, target: [
            weight * value
            for weight, value in zip([effective[y] for y in target], oracle.focal(logits, target, 2.0), strict=True)
        ],
    ),
    "vector_scaling": (
        functools.partial(losses.vector_scaling, counts=COUNTS),
        functools.partial(oracle.vector_scaling, counts=COUNTS, gamma=0.3, tau=1.0),
    ),
    "focal": (losses.focal, functools.partial(oracle.focal, gamma=2.0)),
}
HARD = {
    **{name: loss for name, (loss, _) in SOFT.items()},
    "class_weighted": functools.partial(losses.class_weighted_cross_entropy, counts=COUNTS),
    "ldam": functools.partial(losses.ldam, counts=COUNTS),
}


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Logits, hard labels, soft labels with some exact zeros."""
    generator = torch.Generator().manual_seed(12)
    logits = torch.randn((9, 4), generator=generator, dtype=torch.float64)
    soft = torch.rand((9, 4), generator=generator, dtype=torch.float64)
    soft[::2, 1] = 0
    return logits, torch.arange(9) % 4, soft / soft.sum(dim=1, keepdim=True)


def expected(one: Callable[[Rows, list[int]], list[float]], logits: Tensor, soft: Tensor) -> Tensor:
    """Labels drawn from the soft one, loss by loss."""
    each = [one(logits.tolist(), [c] * len(logits)) for c in range(4)]
    return (soft * torch.tensor(each, dtype=torch.float64).T).sum(dim=1)


def check_soft(loss: Loss, one: Callable[[Rows, list[int]], list[float]]) -> None:
    logits, target, soft = batch()
    assert torch.allclose(loss(logits, soft), expected(one, logits, soft), rtol=1e-5)
    one_hot = functional.one_hot(target, 4).double()
    assert torch.allclose(loss(logits, one_hot), loss(logits, target), rtol=1e-6)
    mixed = 0.3 * one_hot + 0.7 * one_hot.roll(1, 0)
    both = 0.3 * loss(logits, target) + 0.7 * loss(logits, target.roll(1))
    assert torch.allclose(loss(logits, mixed), both, rtol=1e-6)


@pytest.mark.parametrize("name", SOFT)
def test_a_soft_label_costs_the_expectation_over_its_labels(name: str) -> None:
    check_soft(*SOFT[name])


@pytest.mark.parametrize("name", SOFT)
def test_smoothing_is_a_soft_label(name: str) -> None:
    loss, one = SOFT[name]
    logits, target, soft = batch()
    smooth = 0.9 * functional.one_hot(target, 4).double() + 0.1 / 4
    assert torch.allclose(loss(logits, target, label_smoothing=0.1), expected(one, logits, smooth), rtol=1e-5)
    again = loss(logits, soft, label_smoothing=0.1)
    assert torch.allclose(again, expected(one, logits, 0.9 * soft + 0.1 / 4), rtol=1e-5)
    assert torch.equal(loss(logits, target, label_smoothing=0.0), loss(logits, target))


def argmax_of_the_soft_label(logits: Tensor, target: Tensor) -> Tensor:
    return losses.cross_entropy(logits, target.argmax(dim=1) if target.ndim == 2 else target)


def faded_by_the_mean_probability(logits: Tensor, target: Tensor) -> Tensor:
    """A focal loss that puts the expectation inside the power."""
    loss = losses.cross_entropy(logits, target)
    return loss * (1 - (-loss).exp()) ** 2


@pytest.mark.parametrize(
    ("mutant", "name"), [(argmax_of_the_soft_label, "cross_entropy"), (faded_by_the_mean_probability, "focal")]
)
def test_wrong_soft_losses_are_rejected(mutant: Loss, name: str) -> None:
    with pytest.raises(AssertionError):
        check_soft(mutant, SOFT[name][1])


def test_soft_labels_and_smoothing_are_those_of_pytorch() -> None:
    logits, target, soft = batch()
    weights = torch.tensor([0.1, 1.0, 3.0, 7.0]).double()
    for label, smoothing in itertools.product((target, soft), (0.0, 0.2)):
        for weight in (None, weights):
            theirs = functional.cross_entropy(logits, label, weight=weight, label_smoothing=smoothing, reduction="none")
            ours = losses.cross_entropy(logits, label, class_weights=weight, label_smoothing=smoothing)
            assert torch.allclose(ours, theirs)


def test_the_mean_of_class_weighted_soft_labels_is_that_of_single_labels() -> None:
    logits, target, _ = batch()
    loss = HARD["class_weighted"]
    assert torch.allclose(loss(logits, functional.one_hot(target, 4).double()), loss(logits, target), rtol=1e-6)


@pytest.mark.parametrize("number", [-100, 255])
@pytest.mark.parametrize("name", HARD)
def test_an_ignored_sample_costs_nothing_and_moves_nothing(name: str, number: int) -> None:
    loss = functools.partial(HARD[name], ignore_index=number)
    logits, target, _ = batch()
    kept = target.clone()
    target[[1, 4]] = number
    logits.requires_grad_()
    values = loss(logits, target)
    rest = torch.tensor([i for i in range(9) if i not in (1, 4)])
    assert values[[1, 4]].tolist() == [0, 0]
    alone = loss(logits[rest], target[rest])
    # The mean over the batch counts ignored samples, so a loss that is divided by its batch's weights is scaled by it.
    scale = 9 / 7 if name == "class_weighted" else 1.0
    assert torch.allclose(values[rest], scale * alone)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert bool((gradient[[1, 4]] == 0).all())
    assert bool((gradient[rest] != 0).any(dim=1).all())
    if name in SOFT:
        smoothed = loss(logits, target, label_smoothing=0.1)
        assert smoothed[[1, 4]].tolist() == [0, 0]
        assert torch.allclose(smoothed[rest], loss(logits, kept, label_smoothing=0.1)[rest])


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda c: torch.tensor(c, dtype=torch.int32)])
def test_counts_come_as_a_list_an_array_or_a_tensor(kind: Callable[[list[int]], object]) -> None:
    logits, target, _ = batch()
    for name in ("balanced_softmax", "logit_adjusted_cross_entropy", "class_balanced", "ldam", "vector_scaling"):
        loss = getattr(losses, name)
        assert torch.equal(loss(logits, target, counts=kind(COUNTS)), loss(logits, target, counts=torch.tensor(COUNTS)))
    for weigh in (losses.inverse_frequency_weights, losses.effective_number_weights, losses.ldam_margins):
        assert torch.equal(weigh(kind(COUNTS)), weigh(torch.tensor(COUNTS)))
    radii = losses.standard_error_radius(kind(COUNTS), 1.0)
    assert torch.equal(radii, losses.standard_error_radius(torch.tensor(COUNTS), 1.0))


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, -1.0])
def test_a_class_without_images_is_left_out(tau: float) -> None:
    """It has no influence on the others, with soft labels and smoothing too, and no gradient is NaN."""
    logits, target, soft = batch()
    soft[:, 3] = 0
    soft = soft / soft.sum(dim=1, keepdim=True)
    target = target % 3
    logits.requires_grad_()
    loss = functools.partial(losses.logit_adjusted_cross_entropy, tau=tau)
    for label, shorter, smoothing in ((target, target, 0.0), (soft, soft[:, :3], 0.0), (target, target, 0.2)):
        values = loss(logits, label, counts=[500, 60, 8, 0], label_smoothing=smoothing)
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        assert bool(gradient.isfinite().all())
        if tau:
            assert torch.allclose(values, loss(logits[:, :3], shorter, counts=[500, 60, 8], label_smoothing=smoothing))
            assert bool((gradient[:, 3] == 0).all())
        else:
            assert torch.allclose(values, losses.cross_entropy(logits, label, label_smoothing=smoothing))
    adjusted = losses.adjust_logits(logits, counts=[500, 60, 8, 0], tau=tau)
    assert bool((adjusted[:, 3] == -torch.inf).all()) if tau else torch.equal(adjusted, logits)


def test_a_sample_of_a_class_that_the_counts_call_empty_is_told() -> None:
    """The prior of its class is 0, so its loss is infinite: wrong counts must not pass for a small loss."""
    logits, _, _ = batch()
    values = losses.balanced_softmax(logits, torch.full((9,), 3), counts=[500, 60, 8, 0])
    assert bool((values == torch.inf).all())


REFUSALS = """
import numpy, torch
from longtail import counts, losses
from longtail.errors import InputError

logits, target, soft = torch.zeros(3, 4), torch.tensor([0, 1, 3]), torch.full((3, 4), 0.25)
n = [9, 3, 2, 1]
with_counts = '''balanced_softmax logit_adjusted_cross_entropy class_balanced class_weighted_cross_entropy ldam
vector_scaling'''.split()
tries = [(getattr(losses, name), (logits, target), {"counts": c}) for name in with_counts for c in ([9], [9] * 5)]
tries += [(losses.adjust_logits, (logits,), {"counts": [9]}), (losses.adjust_logits, (logits,), {"counts": [9] * 5})]
tries += [(getattr(losses, name), (logits, target), {"counts": c}) for name in with_counts
          for c in (numpy.array([0.6, 0.2, 0.1, 0.1]), torch.ones(4, 1, dtype=torch.int64), ["a"] * 4, 4)]
plain = [(losses.cross_entropy, {}), (losses.focal, {})]
plain += [(getattr(losses, name), {"counts": n}) for name in with_counts]
for wrong in (target[:2], target[:, None], soft[:, :2], target.float(), target > 1):
    tries += [(loss, (logits, wrong), options) for loss, options in plain]
tries += [(loss, (logits[0], target), options) for loss, options in plain]
tries += [(losses.ldam, (logits, soft), {"counts": n})]
tries += [(losses.cross_entropy, (logits, target), {"class_weights": torch.ones(5)})]
tries += [(losses.cross_entropy, (logits, target), {"label_smoothing": 1.5})]
tries += [(losses.focal, (logits, target), {"label_smoothing": -0.1})]
tries += [(losses.class_weighted_cross_entropy, (logits, target), {"counts": n, "weight": "root"})]
for wrong in (soft, target.float(), target[:2]):
    tries += [(losses.supervised_contrastive, (logits, logits, wrong), {"temperature": 0.5})]
    tries += [(losses.negative_sampling, (logits, logits, wrong), {"temperature": 0.5})]
    tries += [(losses.balanced_negative_sampling, (logits, logits, wrong), {"temperature": 0.5})]
    tries += [(losses.robustness_loss, (logits, wrong), {"centroids": torch.zeros(4, 4), "radii": torch.ones(4)})]
tries += [(counts.shot_groups, ([0.5, 0.5],), {}), (counts.class_counts, (["cat", "dog"], 2), {})]
for function, arguments, options in tries:
    try:
        value = function(*arguments, **options)
    except InputError as error:
        assert "\\n" not in str(error) and len(str(error)) < 260, error
    else:
        raise SystemExit(f"{function.__name__} of {[a.shape for a in arguments]} {options} returned {value}")
print(len(tries))
"""


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    """In a process of its own, without the annotations that are checked in tests."""
    finished = subprocess.run([sys.executable, "-c", REFUSALS], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) > 80
