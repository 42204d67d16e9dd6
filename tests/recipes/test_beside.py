"""BCL and ProCo: classification and contrast in one stage, each term written out on the same views."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import longtail
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.losses import (
    class_averaged_contrastive,
    logit_adjusted_cross_entropy,
    probabilistic_contrastive,
    supervised_contrastive,
)
from longtail.models import small_conv_net
from longtail.recipes import ClassAveraged, Probabilistic
from longtail.recipes.beside import Beside
from longtail.recipes.contract import Batch, Context, Forward
from longtail.testing import check_objective
from longtail.training.compute import Compute
from longtail.training.run import train

COUNTS = torch.tensor([90, 30, 10])
CPU = Compute("cpu", "float32", compiled=False)
KINDS = (Beside, ClassAveraged, Probabilistic)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def adjusted(logits: Tensor, target: Tensor) -> Tensor:
    return logit_adjusted_cross_entropy(logits, target, counts=COUNTS)


def made(views: int = 2) -> tuple[nn.Module, Batch]:
    network = small_conv_net(num_classes=3, channels=1, image_size=8, generator=generator()).eval()
    images = torch.randn(views, 10, 1, 8, 8, generator=generator(2))
    return network, Batch(images, torch.arange(10) * 7 % 3, torch.arange(10))


def beside(kind: type, **options: Any) -> Any:
    given: dict[str, Any] = {"widths": (16, 32, 64), "device": torch.device("cpu"), "loss": adjusted, "hidden": 32}
    given |= {"projector_generator": generator(7), "out": 16, "contrast": 0.7, "temperature": 0.3}
    if kind is Probabilistic:
        given["counts"] = COUNTS
    return kind(**given, **options)


def embedded(objective: Any, network: nn.Module, batch: Batch) -> list[Tensor]:
    return [objective.projector(network(view).features) for view in batch.images[-2:]]


@pytest.mark.parametrize("views", [2, 3])
def test_the_first_view_is_classified_and_the_last_two_are_compared(views: int) -> None:
    network, batch = made(views)
    logits = network(batch.images[0]).logits
    for kind in KINDS:
        objective, model = beside(kind), Forward(network)
        found = objective(model, batch)
        one, other = embedded(objective, network, batch)
        if kind is Probabilistic:
            z = functional.normalize(torch.cat([one, other]), dim=1)
            label = batch.target.repeat(2)
            means = torch.stack([z[label == c].mean(dim=0) for c in range(3)])
            pairs = probabilistic_contrastive(z, label, counts=COUNTS, means=means.detach(), temperature=0.3)
            expected = pairs.view(2, -1).mean(dim=0)
        elif kind is ClassAveraged:
            prototypes = objective.prototypes(network.head.weight)
            options = {"prototypes": prototypes, "temperature": 0.3}
            expected = class_averaged_contrastive(one, other, batch.target, **options)
        else:
            expected = supervised_contrastive(one, other, batch.target, temperature=0.3)
        assert torch.allclose(found, adjusted(logits, batch.target) + 0.7 * expected, atol=1e-5), kind
        assert model.logits is not None
        # two convolutions of the same images may differ in the last digits; another view differs in the first
        torch.testing.assert_close(model.logits, logits, rtol=0, atol=1e-5)  # and of one shape
        assert not torch.allclose(model.logits, network(batch.images[-1]).logits, atol=1e-2), kind
        turned = dataclasses.replace(batch, images=batch.images.flip(0))  # the mutant that classifies another view
        assert not torch.allclose(found, beside(kind)(Forward(network), turned), atol=1e-3)


def test_without_contrast_it_is_the_loss_of_the_classifier() -> None:
    network, batch = made()
    for kind in KINDS:
        objective = beside(kind)
        objective._contrast = 0.0
        assert torch.allclose(
            objective(Forward(network), batch), adjusted(network(batch.images[0]).logits, batch.target), atol=1e-6
        )


def test_class_means_are_those_of_this_epoch_and_the_one_before() -> None:
    network, batch = made()
    objective = beside(Probabilistic)
    target = batch.target
    context = Context(1, 9, target, COUNTS, generator(), lambda *_: iter(()), lambda held: held)
    seen = []
    for number in range(3):
        images = torch.randn(2, 10, 1, 8, 8, generator=generator(20 + number))
        held = dataclasses.replace(batch, images=images)
        seen.append(functional.normalize(torch.cat(embedded(objective, network, held)), dim=1))
        objective(Forward(network), held)
        if number < 2:
            objective.start_epoch(context)
    label = target.repeat(2)
    last_two = torch.cat(seen[1:])
    for c in range(3):
        expected = last_two[label.repeat(2) == c].mean(dim=0)
        found = objective.sums.sum(dim=0)[c] / objective.numbers.sum(dim=0)[c]
        assert torch.allclose(found, expected, atol=1e-5)
        everything = torch.cat(seen)[label.repeat(3) == c].mean(dim=0)  # the mutant that forgets nothing
        assert not torch.allclose(found, everything, atol=1e-3)
    assert not objective.sums.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_they_keep_the_contract_of_objectives(kind: type) -> None:
    network = small_conv_net(num_classes=5, channels=3, image_size=8, generator=generator()).eval()
    options: dict[str, Any] = {"counts": torch.full((5,), 9)} if kind is Probabilistic else {}
    objective = kind(
        widths=(16, 32, 64),
        device=torch.device("cpu"),
        projector_generator=generator(),
        loss=lambda logits, target: functional.cross_entropy(logits, target, reduction="none"),
        contrast=0.5,
        temperature=0.3,
        hidden=16,
        out=8,
        **options,
    )

    def called(model: Any, batch: Any) -> Tensor:
        found: Tensor = objective(Forward(model), Batch(batch.images, batch.target, batch.index))
        return found

    check_objective(called, num_classes=5, views=2, model=network)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


@pytest.mark.parametrize("name", ["proco", "glmc"])
def test_they_survive_an_interruption(
    name: str, digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longtail.training import loop

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    recipe = longtail.recipe(name, digits, epochs=3)
    whole = train(recipe, digits, seed=0, out=tmp_path / "whole", compute=CPU)

    def stop(now: loop.Progress) -> None:
        if now.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, seed=0, out=tmp_path / "cut", compute=CPU, notify=stop)
    again = train(recipe, digits, seed=0, out=tmp_path / "cut", compute=CPU)
    assert [row["loss"] for row in again.history] == [row["loss"] for row in whole.history]


def test_one_view_and_other_heads_are_refused_in_one_line() -> None:
    network, batch = made()
    for kind in KINDS:
        with pytest.raises(InputError, match="two views"):
            beside(kind)(Forward(network), dataclasses.replace(batch, images=batch.images[0]))
    network.head = nn.Sequential(network.head)
    with pytest.raises(InputError, match="linear or cosine head"):
        beside(ClassAveraged)(Forward(network), batch)
    with pytest.raises(InputError, match="at least 0"):
        longtail.recipe("proco@contrast=-1", None)


def test_without_a_representation_there_is_nothing_to_train(digits: Data, tmp_path: pathlib.Path) -> None:
    recipe = longtail.recipe("bcl", digits, epochs=1, model="linear")
    with pytest.raises(InputError, match="trains a representation"):
        train(recipe, digits, seed=0, out=tmp_path, compute=CPU)
