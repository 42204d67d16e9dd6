"""Batched augmentation in memory against the same pipelines one image at a time.

    python benchmarks/augment.py [--out records/benchmarks/augment.json]

Each pipeline takes 128 images of 3 x 32 x 32 bytes to as many augmented ones, stacked in one uint8 tensor, on one
thread. The alternatives are what a user would otherwise write: torchvision v2 on Pillow images, and on tensors. All
take turns in every round and the ratio is taken within the round, so that what slows the machine slows both. Ratios
above 1 mean that ours is faster.

Timed in processor time, since wall time on a shared machine measures its other users too; wall time is given as well.
Before the first round a block of 32 MB is taken and freed, as any training step does: from then on the C library keeps
freed memory for the next batch and does not fetch it from the system page by page.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from longtail.augment import (
    AutoAugment,
    ColorJitter,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Operation,
    RandAugment,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    compose,
    cutmix,
    mixup,
    normalize,
    simclr,
)
from record import keep, ratio

BATCH, SIZE = 128, 32


def cutout_one(image: Tensor) -> Tensor:
    """The usual per-image Cutout of 16 pixels."""
    row, column = torch.randint(0, SIZE, (2,)).tolist()
    image[:, max(0, row - 8) : row + 8, max(0, column - 8) : column + 8] = 0
    return image


PLAIN = [v2.RandomCrop(SIZE, padding=4), v2.RandomHorizontalFlip()]
STRONG = [*PLAIN, v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, fill=128)]
VIEW = [
    v2.RandomResizedCrop(SIZE),
    v2.RandomHorizontalFlip(),
    v2.RandomApply([v2.ColorJitter(1.6, 1.6, 1.6, 0.4)], p=0.8),
    v2.RandomGrayscale(0.2),
    v2.GaussianBlur(3, (0.1, 2.0)),
]
PIPELINES: dict[str, tuple[tuple[Operation, ...], list[Any], int]] = {
    "crop, flip": ((RandomCrop(padding=4), HorizontalFlip()), PLAIN, 1),
    "crop, flip, AutoAugment, Cutout": (
        (RandomCrop(padding=4), HorizontalFlip(), AutoAugment(), Cutout(size=16)),
        STRONG,
        1,
    ),
    "two SimCLR views": ((simclr(),), VIEW, 2),
}
ALONE: dict[str, Operation] = {
    "RandomCrop": RandomCrop(padding=4),
    "HorizontalFlip": HorizontalFlip(),
    "Rotation": Rotation(),
    "Cutout": Cutout(),
    "AutoAugment": AutoAugment(),
    "RandAugment": RandAugment(),
    "RandomResizedCrop": RandomResizedCrop(),
    "ColorJitter": ColorJitter(brightness=1.6, contrast=1.6, saturation=1.6, hue=0.4, probability=0.8),
    "Grayscale": Grayscale(),
    "GaussianBlur": GaussianBlur(),
}


def timed(function: Callable[[], object], times: int) -> tuple[float, float]:
    """Processor and wall milliseconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        function()
    return 1e3 * (time.process_time() - cpu) / times, 1e3 * (time.perf_counter() - wall) / times


def per_image(transforms: list[Any], images: list[Any], views: int, cutout: bool, pillow: bool) -> Callable[[], Tensor]:
    steps = [*transforms, *([v2.PILToTensor()] if pillow else []), *([cutout_one] if cutout else [])]
    transform = v2.Compose(steps)
    return lambda: torch.stack([transform(image) for _ in range(views) for image in images])


def measure(rounds: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(BATCH, 3, 6, 6, generator=generator) * 300 - 20
    smooth = torch.nn.functional.interpolate(noise, size=(SIZE, SIZE), mode="bicubic")
    images = smooth.clamp(0, 255).to(torch.uint8)
    tensors = list(images)
    pictures = [v2.functional.to_pil_image(image) for image in images]
    del noise, smooth
    torch.zeros(32_000_000 // 4)

    pairs = {}
    for name, (ours, theirs, views) in PIPELINES.items():
        cutout = "Cutout" in name
        arms: dict[str, tuple[Callable[[], object], int]] = {
            "ours": (lambda ours=ours: compose(ours, images, generator=generator), 20),
            "Pillow": (per_image(theirs, pictures, views, cutout, True), 1),
            "tensors": (per_image(theirs, tensors, views, cutout, False), 1),
        }
        for function, _ in arms.values():
            function()
        turns = [{arm: timed(*call) for arm, call in arms.items()} for _ in range(rounds)]
        pairs[name] = {
            **{
                f"times faster than torchvision on {arm}": ratio(
                    [turn[arm][0] for turn in turns], [turn["ours"][0] for turn in turns]
                )
                for arm in ("Pillow", "tensors")
            },
            "processor milliseconds": {arm: statistics.median(turn[arm][0] for turn in turns) for arm in arms},
            "wall milliseconds": {arm: statistics.median(turn[arm][1] for turn in turns) for arm in arms},
        }

    values = normalize(images, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    alone: dict[str, Callable[[], object]] = {
        name: lambda operation=operation: compose((operation,), images, generator=generator)
        for name, operation in ALONE.items()
    }
    alone["normalize"] = lambda: normalize(images, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    alone["mixup"] = lambda: mixup(values, generator=generator)
    alone["cutmix"] = lambda: cutmix(values, generator=generator)
    for function in alone.values():
        function()
    single = {name: statistics.median(timed(f, 10)[0] for _ in range(rounds)) for name, f in alone.items()}
    return {
        "work": f"{BATCH} images of 3 x {SIZE} x {SIZE} bytes, one thread, {rounds} rounds",
        "pipelines": pairs,
        "each operation, processor milliseconds": single,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    result = measure(arguments.rounds)
    for name, pair in result["pipelines"].items():
        for arm in ("Pillow", "tensors"):
            times = pair[f"times faster than torchvision on {arm}"]
            cpu = pair["processor milliseconds"]
            print(
                f"{times['median']:6.1f} x  ({times['lowest']:.1f} to {times['highest']:.1f})  {name}: "
                f"{cpu['ours']:.2f} ms, torchvision on {arm} {cpu[arm]:.1f} ms"
            )
    for name, milliseconds in result["each operation, processor milliseconds"].items():
        print(f"{milliseconds:8.3f} ms  {name}")
    keep(result, arguments.out, "torchvision")


if __name__ == "__main__":
    main()
