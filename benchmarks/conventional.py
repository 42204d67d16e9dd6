"""Training CIFAR-100-LT with longtail against the script that a user would otherwise write.

    python benchmarks/conventional.py --root DATA [--rounds 7] [--compile] [--out records/benchmarks/conventional.json]

The script (``conventional`` below): torchvision's data set, Pillow transforms, a DataLoader with two workers, float32,
the same ResNet-32 and optimiser, PyTorch's own settings. Ours: ``longtail train ce`` as it is started from the command
line, with what it chooses on this machine. Third, two such runs at once on one thread each, as
``longtail compare --jobs 2`` starts them.

Each is a process of its own. They take turns in every round, each first some steps that are not timed, so that the
workers of the script have no batches laid by; ratios are taken within a round. Once with crop and flip, once with
AutoAugment and Cutout as well.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from record import keep, ratio, shown
from turns import Worker, end, rounds_of, serve

BATCH, WARM_UP = 128, 5
SETTINGS = {"plain": "crop, flip", "strong": "crop, flip, AutoAugment, Cutout"}


def conventional(root: str, strong: bool) -> Callable[[], int]:
    """One step of the usual script; returns the images of the step."""
    import torch
    import torchvision
    from torchvision import transforms

    import longtail
    from longtail.models import cifar_resnet

    class Cutout:
        """The per-image Cutout of the published code bases: one square of 16 pixels, its centre anywhere."""

        def __call__(self, image: torch.Tensor) -> torch.Tensor:
            height, width = image.shape[1:]
            row, column = int(torch.randint(height, (1,))), int(torch.randint(width, (1,)))
            image[:, max(row - 8, 0) : row + 8, max(column - 8, 0) : column + 8] = 0.0
            return image

    policy = [transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)] if strong else []
    normalize = transforms.Normalize((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            *policy,
            transforms.ToTensor(),
            normalize,
            *([Cutout()] if strong else []),
        ]
    )
    whole = torchvision.datasets.CIFAR100(root, train=True, transform=transform)
    subset = torch.utils.data.Subset(whole, longtail.load("cifar100-lt", imbalance=100, root=root).train.index.tolist())
    loader = torch.utils.data.DataLoader(subset, BATCH, shuffle=True, num_workers=2, drop_last=True)
    generator = torch.Generator().manual_seed(0)
    network = cifar_resnet(num_classes=100, channels=3, image_size=32, generator=generator).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    loss_of = torch.nn.CrossEntropyLoss()

    def epochs() -> Iterator[Any]:
        while True:
            yield from loader

    batches = epochs()

    def step() -> int:
        images, target = next(batches)
        loss = loss_of(network(images).logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(images)

    return step


def ours(root: str, strong: bool, compiled: bool, report: dict[str, Any]) -> Callable[[], int]:
    """One step of ``longtail train ce``, with what it chooses on this machine."""
    import longtail
    from longtail.analysis.bench import full_batches
    from longtail.training.compute import choose
    from longtail.training.prepare import advance, on_device, prepare, untrained

    data = longtail.load("cifar100-lt", imbalance=100, root=root)
    recipe = longtail.recipe("ce", data, augmentation="strong" if strong else "plain")
    compute = choose(compiled=compiled)
    data = on_device(data, compute.device)
    network = untrained(recipe, data, seed=0, compute=compute)
    prepared = prepare(recipe, 0, network, data, seed=0, compute=compute)
    prepared.step.rate(1.0)
    take, batches = advance(prepared), full_batches(prepared)
    report["compute"] = compute.describe()

    def step() -> int:
        index = next(batches)
        take(index)
        return len(index)

    return step


def work(arm: str, root: str, strong: bool, threads: int, compiled: bool) -> None:
    """A process of its own: for every line "N" take some steps untimed, then N, and answer images per second."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    report: dict[str, Any] = {}
    step = conventional(root, strong) if arm == "conventional" else ours(root, strong, compiled, report)
    for _ in range(WARM_UP):
        step()

    def answer(line: str) -> Any:
        if line == "parts":
            return parts(root, strong, compiled)
        for _ in range(WARM_UP):
            step()
        started, images = time.perf_counter(), 0
        for _ in range(int(line)):
            images += step()
        return images / (time.perf_counter() - started)

    serve(answer, report)


def parts(root: str, strong: bool, compiled: bool) -> dict[str, Any]:
    """What ``longtail bench`` says."""
    import longtail
    from longtail.analysis.bench import bench
    from longtail.training.compute import choose

    data = longtail.load("cifar100-lt", imbalance=100, root=root)
    recipe = longtail.recipe("ce", data, augmentation="strong" if strong else "plain")
    return bench(recipe, data, compute=choose(compiled=compiled), seconds=40).to_json()


def measure(root: str, strong: bool, compiled: bool, rounds: int, steps: int) -> dict[str, Any]:
    def worker(arm: str, threads: int = 0) -> Worker:
        passive = {"OMP_WAIT_POLICY": "PASSIVE"} if arm == "ours" else {}  # as the command line sets it
        flags = ["--compile"] if compiled else []
        return Worker("--root", root, *flags, "--worker", arm, int(strong), threads, variables=passive)

    arms = {
        "conventional script": [worker("conventional")],
        "longtail": [worker("ours")],
        "longtail, two runs at once": [worker("ours", 1) for _ in range(2)],
    }
    rates = rounds_of(arms, steps, rounds)
    single = arms["longtail"][0]
    single.ask("parts")
    speed = single.answer()
    end(itertools.chain(*arms.values()))
    stage = speed["stages"][0]
    return {
        "times faster than the conventional script": {
            name: ratio(values, rates["conventional script"])
            for name, values in rates.items()
            if name != "conventional script"
        },
        "images per second": {name: statistics.median(values) for name, values in rates.items()},
        "share of data and augmentation in a step": stage["parts"]["data"] / sum(stage["parts"].values()),
        "share of the ceiling": stage["of_ceiling"],
        "peak resident bytes of the process": speed["peak_memory"],
        "ours": single.ready["compute"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds cifar-100-python/, the original files")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="compile ours")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        arm, strong, threads = arguments.worker
        work(arm, arguments.root, strong == "1", int(threads), arguments.compile)
        return
    result: dict[str, Any] = {
        "work": f"CIFAR-100-LT, imbalance 100, ResNet-32, batch {BATCH}; {arguments.steps} steps a turn, "
        f"{arguments.rounds} rounds",
        "settings": {},
    }
    for setting, label in SETTINGS.items():
        pair = measure(arguments.root, setting == "strong", arguments.compile, arguments.rounds, arguments.steps)
        result["settings"][label] = pair
        for name, times in pair["times faster than the conventional script"].items():
            speeds = pair["images per second"]
            print(
                f"{shown(times)}  {label}: {name} "
                f"({pair['ours']}), {speeds[name]:.0f} against {speeds['conventional script']:.0f} images/s"
            )
        share, reached = pair["share of data and augmentation in a step"], pair["share of the ceiling"]
        print(f"        data and augmentation {100 * share:.1f} % of a step, {100 * reached[0]:.0f} % of the ceiling")
    keep(result, arguments.out, "torchvision")


if __name__ == "__main__":
    main()
