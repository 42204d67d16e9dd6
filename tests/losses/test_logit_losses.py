"""What all losses on logits share: one value for each sample, any precision, graph capture, no trouble at extremes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from longtail import losses
from longtail.testing import check_loss

COUNTS = torch.tensor([500, 60, 8, 5])

LOSSES = [
    pytest.param(lambda logits, target, counts: losses.cross_entropy(logits, target), id="cross_entropy"),
    pytest.param(lambda logits, target, counts: losses.focal(logits, target), id="focal"),
    *(
        pytest.param(lambda logits, target, counts, loss=loss: loss(logits, target, counts=counts), id=loss.__name__)
        for loss in (
            losses.balanced_softmax,
            losses.class_balanced,
            losses.class_balanced_focal,
            losses.ldam,
            losses.logit_adjusted_cross_entropy,
            losses.vector_scaling,
        )
    ),
]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn((9, 4), generator=generator), torch.randint(4, (9,), generator=generator)


@pytest.mark.parametrize("loss", LOSSES)
def test_keeps_the_contract(loss: Loss) -> None:
    check_loss(lambda logits, target: loss(logits, target, COUNTS), num_classes=4)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_value_for_each_sample(loss: Loss) -> None:
    logits, target = batch()
    values = loss(logits, target, COUNTS)
    assert values.shape == (9,)
    assert bool((values > 0).all())
    alone = torch.cat([loss(logits[i : i + 1], target[i : i + 1], COUNTS) for i in range(9)])
    assert torch.allclose(values, alone, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_the_numerical_one(loss: Loss) -> None:
    logits, target = batch()
    assert torch.autograd.gradcheck(lambda z: loss(z, target, COUNTS), logits.double().requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_of_a_row_sums_to_zero(loss: Loss, request: pytest.FixtureRequest) -> None:
    """Adding a constant to all logits of a sample changes nothing, except where each class has a factor of its own."""
    logits, target = batch()
    if request.node.callspec.id == "vector_scaling":
        assert not torch.allclose(loss(logits + 7.0, target, COUNTS), loss(logits, target, COUNTS), atol=0.1)
        return
    logits.requires_grad_()
    assert torch.allclose(loss(logits + 7.0, target, COUNTS), loss(logits, target, COUNTS), atol=1e-4)
    (gradient,) = torch.autograd.grad(loss(logits, target, COUNTS).sum(), logits)
    assert torch.allclose(gradient.sum(dim=1), torch.zeros(9), atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_finite_for_extreme_logits(loss: Loss, size: float) -> None:
    target = torch.tensor([0, 1])
    logits = torch.tensor([[size, 0.0, 0.0, -size], [size, 0.0, -size, 0.0]]).requires_grad_()
    values = loss(logits, target, COUNTS)
    assert bool(values.isfinite().all())
    assert float(values[0].detach()) == pytest.approx(0, abs=1e-4)
    assert float(values[1].detach()) > 10
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_have_float32_losses(loss: Loss, dtype: torch.dtype) -> None:
    logits, target = batch()
    halves = logits.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = loss(halves, target, COUNTS)
    assert values.dtype == torch.float32
    assert torch.allclose(values, loss(halves.float(), target, COUNTS), rtol=1e-6)
    assert loss(logits.double(), target, COUNTS).dtype == torch.float64


@pytest.mark.parametrize("loss", LOSSES)
def test_runs_on_meta_device(loss: Loss) -> None:
    logits, target = (value.to("meta") for value in batch())
    assert loss(logits, target, COUNTS.to("meta")).shape == (9,)


@pytest.mark.slow
def test_compile_without_a_graph_break() -> None:
    """In a process of its own: functions whose annotations are checked cannot be traced."""
    script = """
import torch
from longtail import losses
from longtail.testing import check_loss

names = '''balanced_softmax class_balanced class_weighted_cross_entropy class_balanced_focal
    ldam vector_scaling logit_adjusted_cross_entropy'''
chosen = [getattr(losses, name) for name in names.split()]

def step(logits, target, counts):
    weights = losses.inverse_frequency_weights(counts)
    values = [loss(logits, target, counts=counts) for loss in chosen]
    values.append(losses.focal(logits, torch.softmax(logits.detach(), 1), label_smoothing=0.1))
    return torch.stack([*values, losses.cross_entropy(logits, target, class_weights=weights)])

logits = torch.randn((9, 4), generator=torch.Generator().manual_seed(0), requires_grad=True)
target, counts = torch.arange(9) % 4, torch.tensor([500, 60, 8, 5])
eager = step(logits, target, counts)
traced = torch.compile(step, backend="eager", fullgraph=True)(logits, target, counts)
assert torch.allclose(eager, traced, atol=1e-6)
"""
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
