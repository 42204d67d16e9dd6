from __future__ import annotations

import math

import pytest
import torch

from longtail.errors import InputError
from longtail.models import CosineHead, LinearHead, Projector, initialise, materialise
from longtail.models.heads import KAIMING_GAIN, classifier_of


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("gain", [KAIMING_GAIN, 3**-0.5])
def test_linear_head_starts_with_the_deviation_of_its_gain_and_no_bias(gain):
    classifier = materialise(lambda: LinearHead(256, 1000, gain=gain), generator=seeded())
    deviation = float(classifier.weight.detach().std())
    assert deviation == pytest.approx(gain / math.sqrt(256), rel=5 / math.sqrt(2 * 256_000))
    assert not classifier.bias.any()


def test_cosine_head_is_the_scaled_cosine():
    classifier = materialise(lambda: CosineHead(7, 3, scale=16.0), generator=seeded())
    features = torch.randn(5, 7, generator=seeded(1))
    logits = classifier(features).detach()
    for i in range(5):
        for c in range(3):
            z, w = features[i].double(), classifier.weight[c].detach().double()
            assert float(logits[i, c]) == pytest.approx(16 * float(z @ w / (z.norm() * w.norm())), abs=1e-5)


def test_cosine_head_does_not_see_norms():
    classifier = materialise(lambda: CosineHead(7, 3, scale=16.0), generator=seeded())
    features = torch.randn(5, 7, generator=seeded(1))
    before = classifier(features)
    with torch.no_grad():
        classifier.weight.mul_(torch.tensor([[0.1], [1.0], [50.0]]))
    torch.testing.assert_close(classifier(3 * features), before)
    linear = materialise(lambda: LinearHead(7, 3), generator=seeded())
    assert not torch.allclose(linear(3 * features), linear(features))  # the test can tell


def test_cosine_head_survives_a_zero_feature():
    classifier = materialise(lambda: CosineHead(7, 3, scale=16.0), generator=seeded())
    features = torch.zeros(1, 7, requires_grad=True)
    classifier(features).sum().backward()
    assert bool(torch.isfinite(features.grad).all())


def test_cosine_weights_start_on_the_sphere_in_all_directions():
    classifier = materialise(lambda: CosineHead(8, 20_000, scale=1.0), generator=seeded())
    weight = classifier.weight.detach()
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(20_000))
    # Uniform on the sphere: coordinates with mean 0 and variance 1/8; 5 standard errors.
    assert float(weight.mean(0).abs().max()) < 5 * math.sqrt(1 / 8 / 20_000)
    torch.testing.assert_close(weight.T @ weight / 20_000, torch.eye(8) / 8, atol=5e-3, rtol=0)


def test_unknown_heads_and_scales_are_refused():
    with pytest.raises(InputError, match="unknown head 'cosin': did you mean 'cosine'"):
        classifier_of("cosin", 4, 2, scale=1.0)
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="scale of a cosine head is above 0"):
            CosineHead(4, 2, scale=scale)


def test_projector_is_linear_relu_linear_from_its_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    projector, again = (Projector(6, hidden=32, out=5, generator=seeded()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    features = torch.randn(4, 6, generator=seeded(1))
    weights = list(projector.parameters())
    hidden = (features @ weights[0].T + weights[1]).clamp(min=0)
    torch.testing.assert_close(projector(features), hidden @ weights[2].T + weights[3])
    assert torch.equal(projector(features), again(features))
    assert not torch.equal(projector(features), Projector(6, hidden=32, out=5, generator=seeded(1))(features))


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"out": -1}])
def test_a_projector_has_widths(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="a projector has hidden and out of at least 1"):
        Projector(6, **wrong, generator=seeded())


def test_projector_has_the_published_sizes():
    shapes = [tuple(p.shape) for p in Projector(512, generator=seeded()).parameters()]
    assert shapes == [(2048, 512), (2048,), (128, 2048), (128,)]


def test_initialise_redraws_a_projector():
    projector = Projector(6, hidden=32, out=5, generator=seeded())
    features = torch.randn(4, 6, generator=seeded(1))
    before = projector(features)
    initialise(projector, generator=seeded(5))
    assert not torch.allclose(projector(features), before)
