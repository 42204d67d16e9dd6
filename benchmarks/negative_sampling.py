"""Balanced negative sampling against the broadcast form: forward and backward on the same views, the ratio first.

The broadcast form takes ``cosine_similarity(a[:, None], b[None], dim=-1)``, the usual way to write all pairs, which
makes tensors of the (2N, 2N, D) kind. Two losses are measured, each in its own ways: the released form, all 2N views
against all 2N, and Eq. 12, N views of one kind against N of the other. All ways are shown to give the same losses and
gradients, on a smaller batch, before they are timed, and rounds alternate, so that all meet the same machine.

Peak memory is the rise of the resident set's high-water mark during one step in a fresh process (Linux: VmHWM of
/proc/self/status, reset through /proc/self/clear_refs), over what the inputs and libraries hold. The broadcast form
needs 13 GB of it.

Last, what m and n do: how far classes contract and separate in the same number of steps when the embedding is free.

    python benchmarks/negative_sampling.py --out records/benchmarks/negative_sampling.json
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, logsigmoid, normalize, softplus

from longtail.losses.negative_sampling import balanced_negative_sampling, released_balanced_negative_sampling
from record import keep

VIEWS, WIDTH, CLASSES, TEMPERATURE, CHUNK = 2048, 128, 100, 0.5, 128

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def broadcast_equation(queries: Tensor, keys: Tensor, target: Tensor) -> Tensor:
    s = cosine_similarity(queries[:, None], keys[None], dim=-1) / TEMPERATURE
    same = (target[:, None] == target).to(s.dtype)
    rejection = (softplus(s) * (1 - same)).sum(1)
    return (same * (softplus(-s) + rejection[:, None])).sum(0) / same.sum(0)


def broadcast_released(queries: Tensor, keys: Tensor, target: Tensor) -> Tensor:
    views, label = torch.cat([queries, keys]), target.repeat(2)
    weight = (cosine_similarity(views[:, None], views[None], dim=-1) / TEMPERATURE).exp()
    same = (label[:, None] == label).to(weight.dtype)
    partner = same - torch.eye(len(label))
    positive = (weight * partner).sum(1) / partner.sum(1)
    negative = (weight * (1 - same)).sum(1) / len(label)
    return (-logsigmoid(positive) - logsigmoid(-negative)).view(2, -1).mean(0)


LOSSES: dict[str, dict[str, Loss]] = {
    "released form, 2N x 2N": {
        "broadcast": broadcast_released,
        "whole": functools.partial(released_balanced_negative_sampling, temperature=TEMPERATURE),
        "blocks": functools.partial(released_balanced_negative_sampling, temperature=TEMPERATURE, chunk=CHUNK),
    },
    "Eq. 12, N x N": {
        "broadcast": broadcast_equation,
        "whole": functools.partial(balanced_negative_sampling, temperature=TEMPERATURE),
        "blocks": functools.partial(balanced_negative_sampling, temperature=TEMPERATURE, chunk=CHUNK),
    },
}


def batch(images: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two views of images whose classes follow an exponential profile of imbalance 100."""
    generator = torch.Generator().manual_seed(images)
    weight = 100.0 ** (-torch.arange(CLASSES) / (CLASSES - 1))
    target = torch.multinomial(weight, images, replacement=True, generator=generator)
    queries = torch.randn(images, WIDTH, generator=generator)
    keys = queries + 0.5 * torch.randn(images, WIDTH, generator=generator)
    return queries.requires_grad_(), keys.requires_grad_(), target


def step(loss: Loss, queries: Tensor, keys: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    values = loss(queries, keys, target)
    return (values.detach(), *torch.autograd.grad(values.mean(), (queries, keys)))


def seconds(loss: Loss, arguments: tuple[Tensor, Tensor, Tensor], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step(loss, *arguments)
    return (time.perf_counter() - start) / repeats


def status_bytes(field: str) -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def peak_bytes_here(loss: Loss) -> int:
    step(loss, *batch(16))
    arguments = batch(VIEWS // 2)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    step(loss, *arguments)
    return status_bytes("VmHWM") - before


def peak_bytes(name: str, way: str) -> int:
    command = [sys.executable, __file__, "--peak", name, way]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure(name: str, rounds: int) -> dict[str, object]:
    ways = LOSSES[name]
    small = batch(2 * CHUNK)
    reference = step(ways["broadcast"], *small)
    for way in ("whole", "blocks"):
        for ours, theirs in zip(step(ways[way], *small), reference, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)
    memory = {way: peak_bytes(name, way) for way in ways}
    arguments = batch(VIEWS // 2)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for k in range(rounds):
        for way in list(ways) if k % 2 else list(reversed(ways)):
            times[way].append(seconds(ways[way], arguments, 1 if way == "broadcast" else 5))
    result: dict[str, object] = {"loss": name, "rounds": rounds}
    for way in ("whole", "blocks"):
        ratios = [slow / fast for slow, fast in zip(times["broadcast"], times[way], strict=True)]
        resampled = np.random.default_rng(0).choice(ratios, (10_000, rounds))
        result[way] = {
            "time_ratio": statistics.median(ratios),
            "time_ratio_interval_95": [
                float(edge) for edge in np.quantile(np.median(resampled, axis=1), [0.025, 0.975])
            ],
            "memory_ratio": memory["broadcast"] / memory[way],
        }
    result["seconds"] = {way: statistics.median(measured) for way, measured in times.items()}
    result["peak_bytes"] = memory
    return result


def spread(positives: int | None, negatives: int | None) -> dict[str, object]:
    """Distances on the sphere after 60 steps of Adam on a free embedding, both views of which are noisy copies."""
    classes, images, width, noise, steps = 10, 6, 16, 0.3, 60
    generator = torch.Generator().manual_seed(1)
    target = torch.arange(classes).repeat_interleave(images)
    z = torch.randn(len(target), width, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(steps):
        queries, keys = z + noise * torch.randn(2, *z.shape, generator=generator)
        loss = balanced_negative_sampling(
            queries,
            keys,
            target,
            temperature=TEMPERATURE,
            positives=positives,
            negatives=negatives,
            generator=generator,
        )
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    z = normalize(z.detach(), dim=1)
    centroids = torch.stack([z[target == c].mean(0) for c in range(classes)])
    return {
        "positives": positives,
        "negatives": negatives,
        "intra": float((z - centroids[target]).norm(dim=1).mean()),
        "inter": float(torch.pdist(centroids).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, help="write the measurement here as JSON")
    parser.add_argument("--peak", nargs=2, metavar=("LOSS", "WAY"), help="print the peak bytes of one step and stop")
    options = parser.parse_args()
    if options.peak is not None:
        name, way = options.peak
        print(peak_bytes_here(LOSSES[name][way]))
        return
    results = []
    for name in LOSSES:
        one = measure(name, options.rounds)
        results.append(one)
        for way in ("whole", "blocks"):
            low, high = one[way]["time_ratio_interval_95"]
            print(
                f"{one[way]['time_ratio']:.1f}x less time (95 % interval {low:.1f} to {high:.1f}) and "
                f"{one[way]['memory_ratio']:.0f}x less peak memory than the broadcast form: {name}, {way}, "
                f"{1e3 * one['seconds'][way]:.0f} ms against {1e3 * one['seconds']['broadcast']:.0f} ms, "
                f"{one['peak_bytes'][way] / 2**20:.0f} MiB against {one['peak_bytes']['broadcast'] / 2**20:.0f} MiB"
            )
    spreads = [spread(m, n) for n in (2, 16, None) for m in (0, 1, 2, None)]
    for one in spreads:
        print(f"intra {one['intra']:.3f}, inter {one['inter']:.3f}: m = {one['positives']}, n = {one['negatives']}")
    measurement = {
        "benchmark": "balanced negative sampling and its gradient against a broadcast cosine similarity, paired rounds",
        "views": VIEWS,
        "width": WIDTH,
        "chunk": CHUNK,
        "peak_memory": "rise of VmHWM over VmRSS during one step in a fresh process",
        "results": results,
        "what_m_and_n_do": {
            "setting": "free embedding of 10 classes of 6 images in 16 dimensions, 60 steps of Adam at 0.05, "
            "views with noise 0.3, temperature 0.5; intra: distance to the centroid of the class, inter: between "
            "centroids, both on the unit sphere; null: all in the batch",
            "results": spreads,
        },
    }
    keep(measurement, options.out)


if __name__ == "__main__":
    main()
