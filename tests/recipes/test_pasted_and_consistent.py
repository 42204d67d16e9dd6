"""CMO and GLMC: the losses of pairs written out on the same draws, what they reduce to, and what they refuse."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from longtail.augment import paste_with
from longtail.augment.mixing import symmetric_beta
from longtail.errors import InputError
from longtail.losses import balanced_softmax, cross_entropy
from longtail.models import small_conv_net
from longtail.recipes import Consistent, Pasted, part
from longtail.recipes.contract import Batch, Context, Forward

COUNTS = torch.tensor([90, 30, 10])


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(number: int = 12) -> tuple[nn.Module, Batch]:
    network = small_conv_net(num_classes=3, channels=1, image_size=8, generator=generator()).eval()
    images = torch.randn(number, 1, 8, 8, generator=generator(2))
    return network, Batch(images, torch.tensor([0, 1, 2, 0, 1, 2, 1, 2, 0, 2, 0, 1])[:number], torch.arange(number))


def log_p(network: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = network(images).logits.double().log_softmax(dim=1)
    return found


def soft(share: Tensor, own: Tensor, other: Tensor, weights: Tensor | None = None) -> Tensor:
    """Soft labels (N, K) of pairs, weighted class by class."""
    label = torch.zeros(len(own), 3, dtype=torch.float64)
    for i in range(len(own)):
        label[i, own[i]] += float(share[i])
        label[i, other[i]] += 1 - float(share[i])
    return label if weights is None else label * weights


def test_a_pasted_image_has_both_labels_by_their_shares() -> None:
    network, batch = made()
    found = Pasted(generator=generator(), alpha=0.7, probability=0.6)(Forward(network), batch)
    noise = torch.rand((5, 6), generator=generator())
    (images, others), (own, other) = batch.images.chunk(2), batch.target.chunk(2)
    pasted, left = paste_with(images, others, noise[:4], alpha=0.7)
    chosen = noise[4] < 0.6
    assert 0 < int(chosen.sum()) < 6
    mixed = torch.where(chosen[:, None, None, None], pasted, images)
    share = torch.where(chosen, left, 1.0)
    expected = -(soft(share, own, other) * log_p(network, mixed)).sum(dim=1)
    assert torch.allclose(found.double(), expected.repeat(2), atol=1e-6)
    swapped = -(soft(share, other, own) * log_p(network, mixed)).sum(dim=1)  # the mutant whose labels are exchanged
    assert not torch.allclose(found[:6].double(), swapped, atol=1e-3)
    always = -(soft(left, own, other) * log_p(network, mixed)).sum(dim=1)  # the mutant whose label ignores the coin
    assert not torch.allclose(found[:6].double(), always, atol=1e-3)


def test_without_pasting_it_is_the_loss_on_natural_images() -> None:
    network, batch = made()
    found = Pasted(generator=generator(), probability=0.0)(Forward(network), batch)
    assert torch.allclose(found[:6], cross_entropy(network(batch.images[:6]).logits, batch.target[:6]), atol=1e-6)


def test_a_partner_of_ones_own_class_leaves_the_label() -> None:
    network, batch = made()
    alike = dataclasses.replace(batch, target=batch.target[:6].repeat(2))
    found = Pasted(generator=generator(), probability=1.0)(Forward(network), alike)
    noise = torch.rand((5, 6), generator=generator())
    pasted, _ = paste_with(*batch.images.chunk(2), noise[:4])
    assert torch.allclose(found[:6], cross_entropy(network(pasted).logits, alike.target[:6]), atol=1e-6)


def test_any_loss_is_pasted() -> None:
    network, batch = made()
    built = part(Pasted, loss=part(balanced_softmax)).build(generator=generator(), counts=COUNTS)
    direct = Pasted(generator=generator(), loss=lambda logits, target: balanced_softmax(logits, target, counts=COUNTS))
    assert torch.equal(built(Forward(network), batch), direct(Forward(network), batch))
    assert not torch.allclose(built(Forward(network), batch), Pasted(generator=generator())(Forward(network), batch))


def consistent(counts: Tensor = COUNTS, **options: Any) -> Consistent:
    return Consistent(
        counts=counts,
        widths=(16, 32, 64),
        device=torch.device("cpu"),
        generator=generator(),
        projector_generator=generator(9),
        **options,
    )


def at(objective: Consistent, epoch: int, epochs: int) -> Consistent:
    target = torch.arange(3)
    objective.start_epoch(Context(epoch, epochs, target, target, generator(), lambda *_: iter(()), lambda held: held))
    return objective


def written_out(
    objective: Consistent, network: nn.Module, batch: Batch, share_done: float, *, alpha: float, gamma: float
) -> Tensor:
    noise = torch.rand((6, 6), generator=generator())
    views = batch.images if batch.images.ndim == 5 else torch.stack([batch.images] * 2)
    own, other = batch.target.chunk(2)
    share = symmetric_beta(noise[:2], alpha)
    (one, partner), (two, second) = views[0].chunk(2), views[1].chunk(2)
    blended = share[:, None, None, None] * one + (1 - share[:, None, None, None]) * partner
    pasted, left = paste_with(two, second, noise[2:], alpha=alpha)
    weights = COUNTS.double() ** -1.2
    weights = weights / weights.mean()
    total = torch.zeros(6, dtype=torch.float64)
    for images, held in ((blended, share), (pasted, left)):
        scores = log_p(network, images)
        plain, tail = (-(soft(held, own, other, w) * scores).sum(dim=1) for w in (None, weights))
        total += (1 - share_done**2) * plain + share_done**2 * tail
    z, u = [], []
    for images in (blended, pasted):
        z.append(objective.projector(network(images).features))
        u.append(objective.predictor(z[-1]))
    agreement = functional.cosine_similarity(u[0], z[1], dim=1) + functional.cosine_similarity(u[1], z[0], dim=1)
    return total - gamma * agreement.double()


@pytest.mark.parametrize("epoch", [0, 3, 9])
def test_glmc_is_its_equation_on_the_same_draws(epoch: int) -> None:
    network, batch = made()
    views = dataclasses.replace(batch, images=torch.stack([batch.images, batch.images.flip(-1)]))
    objective = at(consistent(alpha=0.8, consistency=0.7), epoch, 10)
    for held in (batch, views):
        objective._generator = generator()
        found = objective(Forward(network), held).double()
        expected = written_out(objective, network, held, epoch / 10, alpha=0.8, gamma=0.7)
        assert torch.allclose(found, expected.repeat(2), atol=1e-5)
        wrong = written_out(objective, network, held, (epoch + 4) / 10, alpha=0.8, gamma=0.7)  # another moment
        assert not torch.allclose(found[:6], wrong, atol=1e-3)


def test_at_equal_counts_the_moment_does_not_matter() -> None:
    network, batch = made()
    for counts, same in ((torch.tensor([8, 8, 8]), True), (COUNTS, False)):
        early, late = (at(consistent(counts), epoch, 10)(Forward(network), batch) for epoch in (0, 9))
        assert torch.allclose(early, late, atol=1e-5) == same


def test_no_gradient_goes_through_what_is_predicted() -> None:
    """The projector learns through the predictor alone: with a predictor that says nothing it stands still."""
    network, batch = made()
    objective = at(consistent(), 0, 10)
    objective(Forward(network), batch).mean().backward()
    assert all(float(weight.grad.abs().max()) > 0 for weight in objective.projector.parameters())
    objective.zero_grad()
    for weight in objective.predictor.layers[2].parameters():
        torch.nn.init.zeros_(weight)
    objective.predictor.layers[2].bias.data.fill_(1.0)
    objective._generator = generator()
    objective(Forward(network), batch).mean().backward()
    assert all(float(weight.grad.abs().max()) == 0 for weight in objective.projector.parameters())


def test_without_consistency_there_is_no_term() -> None:
    network, batch = made()
    found = at(consistent(consistency=0.0), 5, 10)(Forward(network), batch)
    objective = at(consistent(consistency=0.0), 5, 10)
    assert torch.allclose(
        found[:6].double(), written_out(objective, network, batch, 0.5, alpha=0.5, gamma=0.0), atol=1e-5
    )


def test_an_image_without_a_partner_has_the_mean_loss() -> None:
    network, batch = made()
    odd = Batch(batch.images[:11], batch.target[:11], batch.index[:11])
    for objective in (Pasted(generator=generator(), probability=0.0), consistent()):
        found = objective(Forward(network), odd)
        assert found.shape == (11,)
        assert torch.allclose(found[:5], found[5:10])
        assert torch.allclose(found[10], found[:5].mean())


def test_what_they_do_not_take_is_one_line() -> None:
    network, batch = made()
    vectors = dataclasses.replace(batch, images=batch.images.flatten(1))
    for objective in (Pasted(generator=generator()), consistent()):
        with pytest.raises(InputError, match="features") as caught:
            objective(Forward(network), vectors)
        assert "\n" not in str(caught.value)
    three = dataclasses.replace(batch, images=torch.stack([batch.images] * 3))
    with pytest.raises(InputError, match="2 views"):
        consistent()(Forward(network), three)
    for wrong in ({"alpha": 0.0}, {"probability": 1.5}):
        with pytest.raises(InputError):
            Pasted(generator=generator(), **wrong)
    with pytest.raises(InputError):
        consistent(consistency=-1.0)
