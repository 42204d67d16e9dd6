"""On a GPU: a recorded step against an eager one beside the roofline, and the seconds of whole runs.

    python benchmarks/gpu.py --root DATA [--epochs 200] [--seeds 5] [--out records/benchmarks/gpu.json]

First, steps per second of ``ce`` on CIFAR-100-LT as training takes them (one CUDA graph a step) and eagerly, in turns.
Beside them the roofline: the step's floating point operations over the rate that large bfloat16 matrix products reach
on this GPU, and the bytes its feature maps move at the least over the rate of a large copy. Then the seconds of one run
and of all seeds at once (``compare --jobs``). It ran on no GPU yet; ``--device cpu`` tries the script itself.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

import longtail
from longtail.analysis.bench import full_batches, peak_memory
from longtail.models import identity
from longtail.training.capture import apart
from longtail.training.compute import choose
from longtail.training.prepare import advance, on_device, prepare, untrained
from record import keep, ratio


def seconds(function: Callable[[], object], times: int) -> float:
    """Of one call, with everything on the device done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / times


def roofs(device: str) -> tuple[float, float]:
    """What the device reaches: floating point operations and bytes a second."""
    size = 8192 if device == "cuda" else 512
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    big = torch.empty(2**28 if device == "cuda" else 2**22, device=device)
    target = torch.empty_like(big)
    seconds(lambda: a @ b, 3)
    operations = 2 * size**3 / min(seconds(lambda: a @ b, 10) for _ in range(5))
    copied = 2 * big.numel() * 4 / min(seconds(lambda: target.copy_(big), 10) for _ in range(5))
    return operations, copied


def moved_bytes(network: torch.nn.Module, images: torch.Tensor) -> int:
    """The least that a step moves: every convolution's and norm's output written once and read twice, in bfloat16."""
    total = 0

    def count(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += 3 * 2 * output.numel()

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d))
    ]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds cifar-100-python/, the original files")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu.py measures a GPU, and torch finds none here")

    data = longtail.load("cifar100-lt", imbalance=100, root=arguments.root)
    recipe = longtail.recipe("ce", data, epochs=arguments.epochs)
    compute = choose(arguments.device)
    held = on_device(data, compute.device)
    rates: dict[str, list[float]] = {"recorded": [], "eager": []}
    with apart(compute.device):
        network = untrained(recipe, held, seed=0, compute=compute)
        prepared = prepare(recipe, 0, network, held, seed=0, compute=compute)
        batches = full_batches(prepared)
        recorded = advance(prepared)
        ways: dict[str, Callable[[torch.Tensor], None]] = {"recorded": recorded, "eager": prepared.step}
        for take in ways.values():
            seconds(lambda take=take: take(next(batches)), 5)
        for _ in range(arguments.rounds):
            for way, take in ways.items():
                rates[way].append(1 / seconds(lambda take=take: take(next(batches)), arguments.steps))
        fixed = prepared.step.batch(next(batches)).images
        moved = moved_bytes(network, fixed)
    operations, copied = roofs(compute.device)
    each = int(identity(network, channels=3, image_size=32)["multiply_adds"])
    bound = max(6 * each * prepared.step.size / operations, moved / copied)

    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        one = seconds(lambda: longtail.train(recipe, data, seed=0, out=out / "one", compute=compute), 1)
        numbers = range(arguments.seeds)
        options: dict[str, Any] = {"seeds": numbers, "compute": compute, "jobs": arguments.seeds}
        all_seeds = seconds(lambda: longtail.compare([recipe], data, out=out / "all", **options), 1)
    result = {
        "work": f"ce, CIFAR-100-LT, imbalance 100, ResNet-32, batch {prepared.step.size}, {compute.describe()}",
        "recorded over eager": ratio(rates["recorded"], rates["eager"]),
        "steps per second": {way: statistics.median(values) for way, values in rates.items()},
        "roofline": {
            "steps per second": 1 / bound,
            "operations per second": operations,
            "bytes per second": copied,
            "share reached": statistics.median(rates["recorded"]) * bound,
        },
        f"seconds of one run of {arguments.epochs} epochs": one,
        f"seconds of {arguments.seeds} seeds at once": all_seeds,
        "peak bytes": peak_memory(compute.device),
    }
    print(json.dumps(result, indent=2))
    keep(result, arguments.out, device=compute.device)


if __name__ == "__main__":
    main()
