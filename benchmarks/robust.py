"""The DRO-LT loss against a loop over classes: forward and backward on the same batch, paired, the ratio first.

The loop is what one would write from the equations, and it skips the classes that are absent from the batch. Both are
shown to give the same loss and gradient before they are timed. Rounds alternate, so that both meet the same machine.

    python benchmarks/robust.py --out records/benchmarks/robust.json
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from longtail.losses import class_mean, robustness_loss
from record import keep

SAMPLES, WIDTH, CLASSES = 512, 128, (100, 1000, 8142)
TEMPERATURE = 1.0


def vectorised(features: Tensor, target: Tensor, centroids: Tensor, radii: Tensor) -> Tensor:
    loss = robustness_loss(features, target, centroids=centroids, radii=radii, temperature=TEMPERATURE)
    return class_mean(loss, target)


def loop(features: Tensor, target: Tensor, centroids: Tensor, radii: Tensor) -> Tensor:
    losses = []
    for c in target.unique().tolist():
        own = target == c
        distances = (features - centroids[c]).norm(dim=1) + radii[c] * own
        log_probability = torch.log_softmax(-distances / TEMPERATURE, dim=0)
        losses.append(-log_probability[own].mean())
    return torch.stack(losses).mean()


def batch(num_classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Classes drawn uniformly; features near their centroids; learned radii, so that they have a gradient."""
    generator = torch.Generator().manual_seed(num_classes)
    target = torch.randint(num_classes, (SAMPLES,), generator=generator)
    centroids = torch.randn((num_classes, WIDTH), generator=generator)
    features = centroids[target] + 0.5 * torch.randn((SAMPLES, WIDTH), generator=generator)
    radii = torch.rand(num_classes, generator=generator)
    return features.requires_grad_(), target, centroids, radii.requires_grad_()


def step(loss: Callable[..., Tensor], arguments: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    value = loss(*arguments)
    (gradient, _) = torch.autograd.grad(value, (arguments[0], arguments[3]))
    return value.detach(), gradient


def seconds(loss: Callable[..., Tensor], arguments: tuple[Tensor, Tensor, Tensor, Tensor], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step(loss, arguments)
    return (time.perf_counter() - start) / repeats


def measure(num_classes: int, rounds: int) -> dict[str, object]:
    arguments = batch(num_classes)
    (ours, our_gradient), (theirs, their_gradient) = step(vectorised, arguments), step(loop, arguments)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-4, atol=1e-7)
    pairs = []
    for k in range(rounds):
        first = seconds(vectorised, arguments, 5) if k % 2 else None
        slow = seconds(loop, arguments, 1)
        pairs.append((first or seconds(vectorised, arguments, 5), slow))
    ratios = [slow / fast for fast, slow in pairs]
    resampled = np.random.default_rng(0).choice(ratios, (10_000, rounds))
    low, high = np.quantile(np.median(resampled, axis=1), [0.025, 0.975])
    return {
        "num_classes": num_classes,
        "classes_present": len(arguments[1].unique()),
        "ratio": statistics.median(ratios),
        "ratio_interval_95": [float(low), float(high)],
        "seconds_longtail": statistics.median(fast for fast, _ in pairs),
        "seconds_loop": statistics.median(slow for _, slow in pairs),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=pathlib.Path, help="write the measurement here as JSON")
    options = parser.parse_args()
    results = []
    for num_classes in CLASSES:
        results.append(measure(num_classes, options.rounds))
        one = results[-1]
        print(
            f"{one['ratio']:.1f}x faster than the loop over classes "
            f"(95 % interval {one['ratio_interval_95'][0]:.1f} to {one['ratio_interval_95'][1]:.1f}) "
            f"at K = {num_classes}, {one['classes_present']} of them in the batch: "
            f"{1e3 * one['seconds_longtail']:.2f} ms against {1e3 * one['seconds_loop']:.1f} ms"
        )
    growth = results[-1]["seconds_longtail"] / results[0]["seconds_longtail"]
    print(f"{growth:.2f}x the time for {CLASSES[-1] / CLASSES[0]:.1f}x the classes (K = {CLASSES[0]} to {CLASSES[-1]})")
    measurement = {
        "benchmark": "robustness loss and its gradient against a loop over the classes present, paired rounds",
        "samples": SAMPLES,
        "width": WIDTH,
        "results": results,
        "growth": {"classes": CLASSES[-1] / CLASSES[0], "seconds": growth},
    }
    keep(measurement, options.out)


if __name__ == "__main__":
    main()
