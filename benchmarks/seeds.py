"""Several seeds of one run: one after the other, at once in processes, in streams of one process, or fused by ``vmap``.

    python benchmarks/seeds.py [--seeds 2] [--device auto] [--rounds 7] [--out records/benchmarks/seeds.json]

The work is the training step of ResNet-32 on 128 images of 32 x 32 for every seed, crop and flip. "one after the other"
is a single run with all threads, "processes" one run each with its share of the threads, "streams" (GPU only) recorded
steps that one process replays on a stream each, "vmap" the networks stacked and differentiated as one, on a fixed batch
each. Each way is a process or a few of its own; they take turns in every round and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

from record import keep, ratio, shown
from turns import Worker, end, rounds_of, serve

BATCH = 128


def runs(device: str, number: int, *, compiled: bool = False) -> list[Callable[[], None]]:
    """The steps of that many runs, as training takes them."""
    import torch

    import longtail
    from longtail.analysis.bench import full_batches
    from longtail.data import Data, Split
    from longtail.training.capture import apart
    from longtail.training.compute import choose
    from longtail.training.prepare import advance, on_device, prepare, untrained

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50 * BATCH, 3, 32, 32), dtype=torch.uint8, generator=generator)
    target = torch.arange(50 * BATCH) % 100
    split = Split(images, target, torch.arange(50 * BATCH))
    counts = torch.bincount(target)
    names = tuple(map(str, range(100)))
    channel = (0.5, 0.5, 0.5)
    data = Data(
        name="random",
        train=split,
        test=split,
        validation=None,
        counts=counts,
        class_names=names,
        fingerprint="random",
        imbalance=1.0,
        profile=None,
        split_seed=None,
        validation_share=0.0,
        many=100,
        few=20,
        mean=channel,
        std=channel,
    )
    recipe = longtail.recipe("ce", data)
    compute = choose(device, compiled=compiled)

    def start(seed: int) -> Callable[[], None]:
        held = on_device(data, compute.device)
        network = untrained(recipe, held, seed=seed, compute=compute)
        prepared = prepare(recipe, 0, network, held, seed=seed, compute=compute)
        take, batches = advance(prepared), full_batches(prepared)
        if compute.device != "cuda":
            return lambda: take(next(batches))
        stream = torch.cuda.Stream()

        def step() -> None:
            with torch.cuda.stream(stream):
                take(next(batches))

        return step

    with apart(compute.device):
        return [start(seed) for seed in range(number)]


def fused(device: str, number: int) -> Callable[[], None]:
    """One step of all networks, stacked."""
    import torch
    from torch.func import functional_call, grad, stack_module_state, vmap

    from longtail.models import cifar_resnet
    from longtail.training.compute import choose

    compute = choose(device)
    shape = {"num_classes": 100, "channels": 3, "image_size": 32}
    networks = [cifar_resnet(**shape, generator=torch.Generator().manual_seed(i)) for i in range(number)]
    weights, buffers = stack_module_state([network.to(compute.device).train() for network in networks])
    skeleton = copy.deepcopy(networks[0]).to("meta")
    images = torch.randn(number, BATCH, 3, 32, 32, device=compute.device)
    target = torch.randint(100, (number, BATCH), device=compute.device)
    optimizer = torch.optim.SGD(list(weights.values()), lr=0.1, momentum=0.9, weight_decay=2e-4, fused=True)

    def loss(weights: Any, buffers: Any, images: Any, target: Any) -> Any:
        logits = functional_call(skeleton, (weights, buffers), (images,)).logits
        return torch.nn.functional.cross_entropy(logits.float(), target)

    gradient = vmap(grad(loss))

    def step() -> None:
        with compute.autocast():
            gradients = gradient(weights, buffers, images, target)
        for name, weight in weights.items():
            weight.grad = gradients[name]
        optimizer.step()

    return step


def work(way: str, device: str, number: int, threads: int) -> None:
    """A process of its own: for every line "N" take N rounds of steps and answer images per second."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    steps = [fused(device, number)] if way == "vmap" else runs(device, number)
    each = number * BATCH if way == "vmap" else BATCH

    def timed(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            for step in steps:
                step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return times * len(steps) * each / (time.perf_counter() - started)

    timed(4)
    serve(lambda line: timed(int(line)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        way, device, number, threads = arguments.worker
        work(way, device, int(number), int(threads))
        return
    from longtail.training.compute import choose

    number, device = arguments.seeds, choose(arguments.device).device
    share = max(1, (os.cpu_count() or 1) // number)
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}  # as the command line sets it

    def worker(way: str, seeds: int, threads: int = 0) -> Worker:
        return Worker("--worker", way, device, seeds, threads, variables=passive)

    ways = {
        "one after the other": [worker("run", 1)],
        "processes": [worker("run", 1, share) for _ in range(number)],
        **({"streams": [worker("run", number)]} if device == "cuda" else {}),
        "vmap": [worker("vmap", number)],
    }
    rates = rounds_of(ways, arguments.steps, arguments.rounds)
    end(itertools.chain(*ways.values()))
    base = rates["one after the other"]
    result = {
        "work": f"{number} seeds, ResNet-32, batch {BATCH}, {arguments.steps} steps a turn, {arguments.rounds} rounds",
        "times the images of one run after the other": {way: ratio(values, base) for way, values in rates.items()},
        "images per second, all seeds": {way: statistics.median(values) for way, values in rates.items()},
        "compute": choose(arguments.device).describe(),
    }
    for way, times in result["times the images of one run after the other"].items():
        speed = result["images per second, all seeds"][way]
        print(f"{shown(times)}  {way}, {speed:.0f} images/s")
    keep(result, arguments.out, device=device)


if __name__ == "__main__":
    main()
