"""From which size on torchvision augments pictures one by one faster than we augment whole batches in memory.

    python benchmarks/augment_side.py [--out records/benchmarks/augment_side.json]

The same operations on the same bytes, in turns, in processor time on one thread: a batch at once, as the in-memory path
does it, and picture by picture through ``longtail.augment.single``, as the workers do.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import time
from collections.abc import Callable

import torch

from longtail.augment import HorizontalFlip, Operation, RandomCrop, RandomResizedCrop, compose, simclr
from longtail.augment.single import pipeline
from record import keep, ratio, shown

SIDES, IMAGES, ROUNDS = (32, 64, 104, 160, 224), 16, 7
PIPELINES: dict[str, tuple[Operation, ...]] = {
    "crop, flip": (RandomCrop(padding=4), HorizontalFlip()),
    "resized crop, flip": (RandomResizedCrop(), HorizontalFlip()),
    "two SimCLR views": (simclr(),),
}


def one_by_one(transform: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    return torch.stack([transform(image) for image in images])


def milliseconds(function: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    function()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    result: dict[str, dict[str, object]] = {}
    for side in SIDES:
        images = torch.randint(256, (IMAGES, 3, side, side), generator=generator, dtype=torch.uint8)
        for name, operations in PIPELINES.items():
            transform = pipeline(operations, side=side, fit=lambda picture: picture)
            arms: dict[str, Callable[[], object]] = {
                "batch": functools.partial(compose, operations, images, generator=generator),
                "single": functools.partial(one_by_one, transform, images),
            }
            for function in arms.values():
                function()
            turns = [{arm: milliseconds(function) for arm, function in arms.items()} for _ in range(ROUNDS)]
            times = ratio([turn["single"] for turn in turns], [turn["batch"] for turn in turns])
            result.setdefault(name, {})[str(side)] = times
            print(f"{shown(times)}  {name}, {side} pixels: times faster as a batch", flush=True)
    keep({"times faster as a batch": result}, arguments.out, "torchvision")


if __name__ == "__main__":
    main()
