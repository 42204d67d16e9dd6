from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from longtail.augment.policy import CIFAR10_POLICY, LEVELS, AutoAugment, RandAugment
from longtail.augment.variation import NAMES, STRENGTHS, magnitude
from longtail.errors import InputError
from oracles import augment as oracle

LEVEL = 1e-5
Parameters = Callable[[Tensor, int, int], tuple[Tensor, Tensor]]


def test_policy_is_torchvisions() -> None:
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)._policies
    ours = [tuple((name, p, level) for name, p, level in pair) for pair in CIFAR10_POLICY]
    assert ours == [tuple((name, p, level or 0) for name, p, level in pair) for pair in theirs]


def outcomes(name: str, probability: float, level: int) -> dict[tuple[str, float], float]:
    """What an entry of the policy does to an image of 32 x 32 pixels, with probabilities."""
    strength = round(magnitude(name, level, 10, 32, 32), 4)
    signs = (1, -1) if STRENGTHS[name].signed else (1,)
    result: dict[tuple[str, float], float] = {("Identity", 0.0): 1 - probability}
    for sign in signs:
        key = (name, strength * sign + 0.0)
        result[key] = result.get(key, 0.0) + probability / len(signs)
    return result


def expected() -> dict[tuple[tuple[str, float], tuple[str, float]], float]:
    total: Counter[tuple[tuple[str, float], tuple[str, float]]] = Counter()
    for first, second in CIFAR10_POLICY:
        for a, p in outcomes(*first).items():
            for b, q in outcomes(*second).items():
                total[a, b] += p * q / len(CIFAR10_POLICY)
    return {key: p for key, p in total.items() if p > 0}


def check_autoaugment_draws(parameters: Parameters, generator: torch.Generator) -> None:
    number = 60_000
    operation, strength = parameters(torch.rand(5, number, generator=generator), 32, 32)
    strength = strength * (operation != 0)
    drawn = Counter(
        tuple((NAMES[k], round(s, 4) + 0.0) for k, s in zip(ks, ss, strict=True))
        for ks, ss in zip(operation.T.tolist(), strength.T.tolist(), strict=True)
    )
    probabilities = expected()
    assert sum(probabilities.values()) == pytest.approx(1.0)
    assert set(drawn) <= set(probabilities)
    common = [key for key, p in probabilities.items() if number * p >= 10]
    counts = np.array([drawn[key] for key in common])
    means = np.array([number * probabilities[key] for key in common])
    rest, rest_mean = number - counts.sum(), number - means.sum()
    assert len(common) > 60
    if rest_mean >= 10:
        counts, means = np.append(counts, rest), np.append(means, rest_mean)
    assert stats.chisquare(counts, means * counts.sum() / means.sum()).pvalue > LEVEL


def test_autoaugment_draws_the_policy(generator: torch.Generator) -> None:
    check_autoaugment_draws(AutoAugment().parameters, generator)


def test_autoaugment_mutants_are_rejected(generator: torch.Generator) -> None:
    plain = AutoAugment().parameters
    mutants: list[Parameters] = [
        # The same sign for both, the same coin for both, never a negative sign, the pair the other way round,
        # the last pair never drawn, an image size that is not the images'.
        lambda noise, h, w: plain(noise[[0, 1, 2, 3, 3]], h, w),
        lambda noise, h, w: plain(noise[[0, 1, 1, 3, 4]], h, w),
        lambda noise, h, w: plain(torch.cat((noise[:3], 0.5 + noise[3:] / 2)), h, w),
        lambda noise, h, w: tuple(part.flip(0) for part in plain(noise, h, w)),  # type: ignore[return-value,arg-type]
        lambda noise, h, w: plain(torch.cat((noise[:1] * 0.96, noise[1:])), h, w),
        lambda noise, h, w: plain(noise, 2 * h, w),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_autoaugment_draws(mutant, generator)


@pytest.mark.parametrize("channels", [1, 3])
def test_autoaugment_is_its_two_operations_one_after_the_other(channels: int, generator: torch.Generator) -> None:
    images = torch.from_numpy(oracle.pictures(60, channels, 16, 16))
    for operation in (AutoAugment(), AutoAugment(fill=3), RandAugment(count=3, level=20)):
        noise = torch.rand(operation.draws, 60, generator=generator)
        result = operation.apply(images, noise)
        names, strength = operation.parameters(noise, 16, 16)
        for n, image in enumerate(images.numpy()):
            steps = list(zip(names[:, n].tolist(), strength[:, n].tolist(), strict=True))
            sure = True
            for k, s in steps:
                if NAMES[k] in ("ShearX", "ShearY", "Rotate") and oracle.doubtful(image, NAMES[k], s).any():
                    sure = False
                # The reference takes the decimal strength that the float32 one stands for.
                image = oracle.varied(image, NAMES[k], round(s, 6), operation.fill)
            if sure:
                assert np.array_equal(result[n].numpy(), image), [(NAMES[k], s) for k, s in steps]


def test_randaugment_draws_uniformly(generator: torch.Generator) -> None:
    def check(parameters: Parameters) -> None:
        operation, strength = parameters(torch.rand(6, 30_000, generator=generator), 32, 32)
        assert operation.shape == strength.shape == (3, 30_000)
        assert NAMES.index("Invert") not in operation
        signed = torch.tensor([s.signed for s in STRENGTHS.values()])[operation]
        for turn in range(3):
            assert stats.chisquare(torch.bincount(operation[turn], minlength=14).numpy()).pvalue > LEVEL
            negative = strength[turn][signed[turn]] < 0
            assert stats.binomtest(int(negative.sum()), len(negative), 0.5).pvalue > LEVEL
        assert (strength[~signed] >= 0).all()
        for a, b in ((0, 1), (1, 2), (0, 2)):
            table = torch.bincount(14 * operation[a] + operation[b], minlength=196).view(14, 14).numpy()
            assert stats.chi2_contingency(table).pvalue > LEVEL

    check(RandAugment(count=3, level=9).parameters)
    plain = RandAugment(count=3, level=9).parameters
    mutants: list[Parameters] = [
        lambda noise, h, w: plain(noise[[0, 0, 2, 3, 4, 5]], h, w),
        lambda noise, h, w: plain(torch.cat((noise[:3] ** 2, noise[3:])), h, w),
        lambda noise, h, w: plain(torch.cat((noise[:3], noise[3:] / 2)), h, w),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check(mutant)


def test_randaugment_strengths_are_those_of_its_level() -> None:
    noise = torch.stack((torch.arange(14) / 14 + 0.01, torch.full((14,), 0.9)))
    operation, strength = RandAugment(count=1, level=30).parameters(noise, 32, 40)
    for k, s in zip(operation[0].tolist(), strength[0].tolist(), strict=True):
        assert s == pytest.approx(magnitude(NAMES[k], 30, LEVELS, 32, 40))


def test_fill_is_grey_unless_told() -> None:
    # Pair 21 moves up or down by 14 rows, twice: both coins say so here, and both signs down.
    noise = torch.tensor([[21.5 / 25], [0.0], [0.0], [0.9], [0.9]])
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    for operation, level in ((AutoAugment(), 128), (AutoAugment(fill=0), 0)):
        result = operation.apply(white, noise)
        assert (result[0, :, :28] == level).all()
        assert (result[0, :, 28:] == 255).all()


def test_bad_fields_are_errors() -> None:
    for make, message in (
        (lambda: AutoAugment(fill=300), "fill must be between"),
        (lambda: RandAugment(count=0), "at least 1 operation"),
        (lambda: RandAugment(level=31), "level must be between 0 and 30"),
        (lambda: RandAugment(fill=-1), "fill must be between"),
    ):
        with pytest.raises(InputError, match=message):
            make()
