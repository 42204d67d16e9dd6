"""Objectives on mixed images: whose label an image has, exactly, and the loss of both labels by their shares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail.augment import cutmix, mixup
from longtail.errors import InputError
from longtail.losses import balanced_softmax, cross_entropy
from longtail.models import small_conv_net
from longtail.recipes import CutMix, MixUp, Remix, part
from longtail.recipes.contract import Batch, Forward
from longtail.recipes.mixing import rebalanced_share
from longtail.testing import check_objective

COUNTS = torch.tensor([90, 30, 10])


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def share(weight: float, own: int, other: int, kappa: float, threshold: float) -> float:
    """Remix's label share of one image, case by case."""
    if own / other >= kappa and weight < threshold:
        return 0.0
    if own / other <= 1 / kappa and 1 - weight < threshold:
        return 1.0
    return weight


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    source = generator(1)
    weight = torch.rand(400, generator=source, dtype=torch.float64)
    own, other = torch.randint(1, 60, (2, 400), generator=source)
    own[:4], other[:4] = torch.tensor([30, 10, 31, 29]), torch.tensor([10, 30, 10, 10])  # at kappa, and beside it
    return weight, own, other


def agrees(rule: Callable[..., Tensor]) -> bool:
    weight, own, other = pairs()
    expected = [share(w, a, b, 3.0, 0.5) for w, a, b in zip(weight.tolist(), own.tolist(), other.tolist(), strict=True)]
    return bool(rule(weight, own, other, kappa=3.0, threshold=0.5).tolist() == expected)


def test_the_label_of_remix_is_that_of_its_equation() -> None:
    assert agrees(rebalanced_share)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("own >= kappa * other", "own > kappa * other"),
        ("& (weight < threshold)", "& (weight > threshold)"),
        ("kappa * own <= other", "own <= kappa * other"),
        ("1.0 - weight < threshold", "weight < threshold"),
        ("frequent, 0.0", "frequent, 1.0"),
    ],
)
def test_another_label_is_noticed(before: str, after: str) -> None:
    source = inspect.getsource(rebalanced_share)
    assert source.count(before) == 1
    names = {"torch": torch, "Float": _Any(), "Int": _Any(), "Tensor": Tensor}
    exec(source.replace(before, after), names)  # noqa: S102
    assert not agrees(names["rebalanced_share"])  # type: ignore[arg-type]


class _Any:
    def __class_getitem__(cls, item: object) -> object:
        return object

    def __getitem__(self, item: object) -> object:
        return object


def test_remix_only_ever_moves_the_label_to_the_rarer_class() -> None:
    weight, own, other = pairs()
    found = rebalanced_share(weight, own, other, kappa=3.0, threshold=0.5)
    moved = found != weight
    assert 0.1 < float(moved.double().mean()) < 0.9
    assert bool((found[own > other] <= weight[own > other]).all())
    assert bool((found[own < other] >= weight[own < other]).all())
    assert torch.equal(found[own == other], weight[own == other])


def test_remix_is_mixup_at_equal_counts_and_at_threshold_0() -> None:
    weight, own, other = pairs()
    assert torch.equal(rebalanced_share(weight, own, other, kappa=3.0, threshold=0.0), weight)
    network, batch = made()
    plain = MixUp(generator=generator())(Forward(network), batch)
    equal = Remix(counts=torch.tensor([7, 7, 7]), generator=generator())(Forward(network), batch)
    off = Remix(counts=COUNTS, generator=generator(), threshold=0.0)(Forward(network), batch)
    real = Remix(counts=COUNTS, generator=generator())(Forward(network), batch)
    assert torch.equal(plain, equal)
    assert torch.equal(plain, off)
    assert not torch.equal(plain, real)


def test_the_two_labels_of_an_image_swap_with_the_image() -> None:
    """Seen from the partner, the same pair has the complementary label."""
    weight, own, other = pairs()
    one = rebalanced_share(weight, own, other, kappa=3.0, threshold=0.5)
    assert torch.allclose(one, 1 - rebalanced_share(1 - weight, other, own, kappa=3.0, threshold=0.5))


def made() -> tuple[nn.Module, Batch]:
    network = small_conv_net(num_classes=3, channels=1, image_size=8, generator=generator()).eval()
    images = torch.randn(12, 1, 8, 8, generator=generator(2))
    return network, Batch(images, torch.arange(12) % 3, torch.arange(12))


@pytest.mark.parametrize(("objective", "mix"), [(MixUp, mixup), (CutMix, cutmix)])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_loss_is_that_of_both_labels_by_their_shares(
    objective: type, mix: Callable[..., Tensor], alpha: float
) -> None:
    network, batch = made()
    found = objective(generator=generator(), alpha=alpha)(Forward(network), batch)
    mixed = mix(batch.images, alpha=alpha, generator=generator())
    log_p = network(mixed.images).logits.double().log_softmax(dim=1)
    soft = torch.zeros(12, 3, dtype=torch.float64)
    soft.scatter_add_(1, batch.target[:, None], mixed.weight[:, None].double())
    soft.scatter_add_(1, batch.target[mixed.partner][:, None], 1 - mixed.weight[:, None].double())
    assert torch.allclose(found.double(), -(soft * log_p).sum(dim=1), atol=1e-6)
    swapped = 1 - mixed.weight  # the mutant whose label is the partner's
    wrong = swapped * cross_entropy(network(mixed.images).logits, batch.target) + (1 - swapped) * cross_entropy(
        network(mixed.images).logits, batch.target[mixed.partner]
    )
    assert not torch.allclose(found, wrong, atol=1e-3)


def test_any_loss_is_mixed() -> None:
    network, batch = made()
    loss = part(balanced_softmax).build(counts=COUNTS)
    found = MixUp(generator=generator(), loss=loss)(Forward(network), batch)
    assert not torch.allclose(found, MixUp(generator=generator())(Forward(network), batch))
    built = part(MixUp, loss=part(balanced_softmax)).build(generator=generator(), counts=COUNTS)
    assert torch.equal(built(Forward(network), batch), found)


@pytest.mark.parametrize("kind", [MixUp, CutMix, Remix])
def test_mixing_keeps_the_contract_of_objectives(kind: type) -> None:
    network = small_conv_net(num_classes=5, channels=3, image_size=8, generator=generator()).eval()
    objective = part(kind).build(generator=generator(), counts=torch.full((5,), 9))

    def called(model: Any, batch: Any) -> Tensor:
        found: Tensor = objective(Forward(model), Batch(batch.images, batch.target, batch.index))
        return found

    check_objective(called, num_classes=5, model=network)


def test_what_mixing_does_not_take_is_refused() -> None:
    for make in (
        lambda: MixUp(generator=generator(), alpha=0.0),
        lambda: Remix(counts=COUNTS, generator=generator(), kappa=0.5),
        lambda: Remix(counts=COUNTS, generator=generator(), threshold=1.5),
    ):
        with pytest.raises(InputError):
            make()
    network, batch = made()
    views = Batch(torch.stack([batch.images] * 2), batch.target, batch.index)
    with pytest.raises(InputError, match="one view"):
        MixUp(generator=generator())(Forward(network), views)
