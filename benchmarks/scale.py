"""How the cost of each part grows with images and classes, up to 1e8 images and 1e5 classes, and what a run needs.

    python benchmarks/scale.py [--images 100000000] [--rounds 3] [--out records/benchmarks/scale.json]

Labels fall as 1 / rank; there are no pictures but a few for the rates. Each size is timed ``--rounds`` times and the
shortest time kept, one time from 1e7 images on. ``growth`` is the slope of log time over log size between the two
largest sizes: 1 is linear. Times are those of the processor on one thread, which other processes hardly change; the
rates are of whole training steps, per core and per second of it.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import pathlib
import resource
import time
from collections.abc import Callable
from typing import Any

import torch

from longtail import losses, metrics, samplers
from longtail.data import Data, Split
from longtail.recipes import Recipe, Stage, part
from longtail.recipes.optimizers import sgd
from longtail.recipes.text import read
from longtail.training.compute import Compute
from longtail.training.prepare import prepare, untrained
from record import keep

ONCE = 10**7
"""Images from which on a size is timed once."""
CLASSES = 10_000
"""Of the label vectors whose length grows."""
BATCH = 512
RUNS = {
    "ImageNet-LT, ResNet-50, 90 epochs": ("resnet50", 115_846, 90),
    "ImageNet-LT, ResNet-50, 180 epochs": ("resnet50", 115_846, 180),
    "iNaturalist 2018, ResNet-50, 90 epochs": ("resnet50", 437_513, 90),
    "iNaturalist 2018, ResNet-50, 200 epochs": ("resnet50", 437_513, 200),
    "CIFAR-100-LT (100), ResNet-32, 200 epochs": ("resnet32", 10_847, 200),
}
"""Network, training images and epochs; images as the data sets' own lists have them."""


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """The shortest of some times, of the processor."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def labels(number: int, classes: int = CLASSES) -> torch.Tensor:
    """Labels (N,) whose frequencies fall as 1 / rank, each class at least once, sorted."""
    weight = 1.0 / torch.arange(1, classes + 1, dtype=torch.float64)
    counts = (weight / weight.sum() * (number - classes)).long() + 1
    counts[0] += number - counts.sum()
    return torch.repeat_interleave(counts)


def growth(times: dict[int, float]) -> float | None:
    """The slope of log time over log size at the largest sizes."""
    if len(times) < 2:
        return None
    (small, before), (large, after) = sorted(times.items())[-2:]
    return math.log(after / before) / math.log(large / small)


Timed = dict[str, dict[int, float]]
"""Seconds by what is timed and by size."""


def note(found: Timed, name: str, size: int, work: Callable[[], Any], rounds: int) -> None:
    """Time something at one size and say so."""
    found.setdefault(name, {})[size] = seconds(work, rounds)
    print(f"{size:>12,} {1000 * found[name][size]:12.2f} ms  {name}", flush=True)


def by_images(largest: int, rounds: int) -> Timed:
    """By number of images: an epoch of a sampler, a subset, a report."""
    found: Timed = {}
    number = 10**4
    while number <= largest:
        at_images(found, number, 1 if number >= ONCE else rounds)
        number *= 10
    return found


def at_images(found: Timed, number: int, rounds: int) -> None:
    target = labels(number)
    generator = torch.Generator().manual_seed(0)
    natural = samplers.InstanceBalanced(target, generator=generator)
    note(found, "natural epoch", number, natural.draw, rounds)
    balanced = samplers.ClassBalanced(target, generator=generator)
    note(found, "class-balanced epoch", number, balanced.draw, rounds)
    del natural, balanced
    prediction = torch.where(torch.rand(number, generator=generator) < 0.3, target, target.flip(0))
    counts = torch.bincount(target)
    note(found, "report", number, lambda: metrics.evaluate(target, prediction, counts=counts), rounds)
    if number > ONCE:
        return
    quota = samplers.ClassQuota(target, num_samples=number, generator=generator)
    note(found, "class-aware epoch (32 x 4)", number, quota.draw, rounds)
    log_probability = torch.rand(number, generator=generator, dtype=torch.float64).log()
    options: dict[str, Any] = {"k": 20, "generator": generator, "log_probability": log_probability}
    work = functools.partial(samplers.information_preserving, None, target, **options)
    note(found, "IP-DPP subset (20 a class)", number, work, rounds)


def by_classes(rounds: int) -> Timed:
    """By number of classes: forward and backward pass of a loss on a batch, and a report."""
    found: Timed = {}
    for classes in (100, 1_000, 10_000, 100_000):
        at_classes(found, classes, rounds)
    return found


def at_classes(found: Timed, classes: int, rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (BATCH,), generator=generator)
    counts = torch.bincount(labels(100 * classes, classes))
    features = torch.randn(BATCH, 256, generator=generator, requires_grad=True)
    weight = torch.randn(classes, 256, generator=generator, requires_grad=True)
    centroids, radii = torch.randn(classes, 256, generator=generator), torch.ones(classes)
    everything = torch.arange(classes).repeat(10)

    def plain() -> None:
        losses.cross_entropy(features @ weight.T, target).mean().backward()

    def adjusted() -> None:
        losses.logit_adjusted_cross_entropy(features @ weight.T, target, counts=counts).mean().backward()

    def robust() -> None:
        values = losses.robustness_loss(features, target, centroids=centroids, radii=radii)
        losses.class_mean(values, target).backward()

    def report() -> None:
        metrics.evaluate(everything, everything.flip(0), counts=counts)

    for name, work in (
        ("linear head and cross-entropy", plain),
        ("linear head and logit adjustment", adjusted),
        ("robustness loss", robust),
        ("report, 10 images a class", report),
    ):
        work()
        note(found, name, classes, work, rounds)


def by_batch(rounds: int) -> Timed:
    """By images of a batch: forward and backward pass of the losses that compare images with each other."""
    found: Timed = {}
    for size in (256, 1_024, 4_096):
        for name, loss in (
            ("balanced negative sampling", losses.balanced_negative_sampling),
            ("supervised contrastive", losses.supervised_contrastive),
        ):
            note(found, name, size, contrasted(loss, size), rounds)
    return found


def contrasted(loss: Callable[..., torch.Tensor], size: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    target = labels(size, 100)
    queries, keys = (torch.randn(size, 128, generator=generator, requires_grad=True) for _ in range(2))

    def work() -> None:
        loss(queries, keys, target, temperature=0.5).mean().backward()

    work()
    return work


def rates() -> dict[str, dict[str, float]]:
    """Images per second of training steps, and what the process holds then."""
    found = {}
    for model, side, size, classes in (("resnet32", 32, 128, 100), ("resnet50", 224, 16, 1_000)):
        images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8)
        target = torch.arange(size) % classes
        split = Split(images, target, torch.arange(size))
        counts = torch.ones(classes, dtype=torch.int64)
        data = Data(
            name="random",
            train=split,
            test=split,
            validation=None,
            counts=counts,
            class_names=tuple(map(str, range(classes))),
            fingerprint="random",
            imbalance=1.0,
            profile=None,
            split_seed=None,
            validation_share=0.0,
            many=100,
            few=20,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        )

        stage = Stage(
            "classify", 1, size, part(losses.cross_entropy), part(samplers.InstanceBalanced), part(sgd, lr=0.1)
        )
        recipe = Recipe("ce", read(model, "model"), (stage,))
        compute = Compute("cpu", "float32", False)
        network = untrained(recipe, data, seed=0, compute=compute)
        step = prepare(recipe, 0, network, data, seed=0, compute=compute).step
        index = torch.arange(size)
        step(index)
        taken = seconds(functools.partial(step, index), 3)
        parameters = sum(weight.numel() for weight in network.parameters())
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found[model] = {"images_per_core_second": size / taken, "batch": size, "side": side, "parameters": parameters}
        found[model]["resident_bytes"] = held
        print(f"{model:>12} {size / taken:9.1f} images per second of a core, {held / 1e9:.1f} GB", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10**8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    measured = rates()
    tables = {
        "images": by_images(asked.images, asked.rounds),
        "classes": by_classes(asked.rounds),
        "batch": by_batch(asked.rounds),
    }
    estimates = {
        name: {"core_days": number * epochs / measured[model]["images_per_core_second"] / 86_400}
        for name, (model, number, epochs) in RUNS.items()
    }
    for name, row in estimates.items():
        print(f"{row['core_days']:9.1f} days of a core, an estimate: {name}")
    result = {
        "rates": measured,
        "estimates": estimates,
        "seconds": tables,
        "growth": {kind: {name: growth(times) for name, times in rows.items()} for kind, rows in tables.items()},
        "load": os.getloadavg()[0],
    }
    keep(result, asked.out)


if __name__ == "__main__":
    main()
