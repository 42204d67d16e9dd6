"""Muon: who moves what, one step against torch's own and against exact orthogonalisation, and an exact resume."""

from __future__ import annotations

import pathlib

import pytest
import torch
from torch import Tensor, nn

import longtail
from longtail.data import Data, load
from longtail.models import small_conv_net
from longtail.recipes import muon
from longtail.training import loop
from longtail.training.compute import Compute
from longtail.training.run import train

CPU = Compute("cpu", "float32", compiled=False)


def network(layout: torch.memory_format = torch.channels_last) -> nn.Module:
    source = torch.Generator().manual_seed(0)
    made = small_conv_net(num_classes=4, channels=1, image_size=8, generator=source)
    return made.to(memory_format=layout)


def moved(made: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 1) -> dict[str, Tensor]:
    """What one step with given gradients adds to each weight."""
    source = torch.Generator().manual_seed(seed)
    before = {name: weight.detach().clone() for name, weight in made.named_parameters()}
    for weight in made.parameters():
        gradient = torch.randn(weight.shape, generator=source)
        weight.grad = torch.empty_like(weight).copy_(gradient)
    optimizer.step()
    return {name: (weight.detach() - before[name]) for name, weight in made.named_parameters()}


def test_muon_moves_the_matrices_within_and_adamw_the_rest() -> None:
    made = network()
    optimizer = muon([made], lr=1e-3, weight_decay=0.0)
    names = {id(weight): name for name, weight in made.named_parameters()}
    held = [[names[id(weight)] for weight in group["params"]] for group in optimizer.param_groups]
    assert held[0] == ["backbone.stages.1.0.weight", "backbone.stages.2.0.weight"]
    assert "backbone.stages.0.0.weight" in held[1]  # it reads the images
    assert "head.weight" in held[1]
    assert all(name.endswith(("bias", ".1.weight")) for name in held[2])
    steps = moved(made, optimizer)
    for name in held[1] + held[2]:  # AdamW's first step is the sign of the gradient
        assert torch.allclose(steps[name].abs(), torch.tensor(1e-3), rtol=1e-3), name


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_convolution_moves_as_its_matrix_does_in_torch(layout: torch.memory_format) -> None:
    made, name = network(layout), "backbone.stages.1.0.weight"
    weight = dict(made.named_parameters())[name]
    matrix = nn.Parameter(weight.detach().flatten(1).clone())
    theirs = torch.optim.Muon([matrix], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    ours = muon([made], lr=1e-2, weight_decay=0.1)
    for seed in (1, 2, 3):
        moved(made, ours, seed)
        matrix.grad = weight.grad.flatten(1)
        theirs.step()  # type: ignore[no-untyped-call]
        assert torch.allclose(weight.detach().flatten(1), matrix.detach(), atol=2e-4)


def test_an_update_has_all_directions_alike() -> None:
    """The independent formula: of G = U S V' Newton-Schulz leaves about U V', whose mean square sets the size."""
    made, name = network(), "backbone.stages.2.0.weight"
    weight = dict(made.named_parameters())[name]
    step = moved(made, muon([made], lr=1e-2, weight_decay=0.0))[name].flatten(1).double()
    gradient = weight.grad.flatten(1).double()
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    scale = 1e-2 * 0.2 * max(gradient.shape) ** 0.5
    values = torch.linalg.svdvals(step) / scale
    assert 0.6 < float(values.min()) < float(values.max()) < 1.3  # torch's five steps end near 1, not at it
    assert float((-step * (u @ v)).sum() / (step.norm() * (u @ v).norm())) > 0.97
    assert float(torch.linalg.svdvals(gradient).max() / torch.linalg.svdvals(gradient).min()) > 1.5  # the mutant: none


def test_what_does_not_move_has_no_state() -> None:
    made = network()
    made.backbone.requires_grad_(False)
    optimizer = muon([made])
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    recipe = longtail.recipe("ce", digits, epochs=4, changes=("stages.0.optimizer=muon@lr=1e-2",))
    whole = train(recipe, digits, seed=0, out=tmp_path / "whole", compute=CPU)
    assert whole.history[-1]["loss"] < 0.7 * whole.history[0]["loss"]

    def stop(now: loop.Progress) -> None:
        if now.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, seed=0, out=tmp_path / "cut", compute=CPU, notify=stop)
    again = train(recipe, digits, seed=0, out=tmp_path / "cut", compute=CPU)
    assert [row["loss"] for row in again.history] == [row["loss"] for row in whole.history]


def test_a_stage_that_keeps_its_optimiser_keeps_momentum(digits: Data, tmp_path: pathlib.Path) -> None:
    changes = tuple(f"stages.{place}.optimizer=muon@lr=1e-2" for place in (0, 1))
    recipe = longtail.recipe("class-weights@after=0.5", digits, epochs=4, changes=changes)
    record = train(recipe, digits, seed=0, out=tmp_path, compute=CPU)
    assert record.history[-1]["loss"] < record.history[0]["loss"]
