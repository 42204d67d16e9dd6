"""Exact k-DPPs in linear time: against DPPy, against reading the input once, and for many classes at once.

    python benchmarks/dpp.py [--out records/benchmarks/dpp.json] [--quick]

* Against DPPy's exact k-DPP sampler on the same kernel, from scratch and for a further draw, at N = 500, 1000 and 2000
  with k = N / 10. Not above 2,800: there its symmetric polynomials overflow, and what it returns follows another law.
* Alone at N = 5,000, 100,000 and 1,000,000 with k = N / 100 and N / 10: from scratch (from a tensor of probabilities to
  the items) and for a further draw, over the time of reading the probabilities once (``sum`` of the NumPy array) and
  over ``torch.multinomial`` without replacement on the same weights, which is faster to write and follows another law.
* Peak memory of a draw from scratch at N = 1,000,000, in a fresh process.
* ``information_preserving`` on 437,513 items in 8,142 classes, as many as iNaturalist 2018 has.

All contestants take turns in every round, on one thread, and ratios are taken within the round. Times are processor
times, since wall time on a shared machine measures its other users too. Before the first round a block of 64 MB is
taken and freed, as any training step does: from then on the C library keeps freed memory and does not fetch it from the
system page by page.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import longtail
from longtail.dpp import information_kernel, law, sample
from longtail.samplers.informative import information_preserving, uniform

Contest = dict[str, tuple[Callable[[], object], int]]  # name -> (what to time, how many times in a round)

PEAK = """
import pathlib, sys, torch
from longtail.dpp import information_kernel, sample
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
sample(information_kernel(torch.rand(30_000, generator=generator, dtype=torch.float64)), k=3000, generator=generator)
count = int(sys.argv[1])
p = torch.rand(count, generator=generator, dtype=torch.float64)

def kilobytes(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])

pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
items = sample(information_kernel(p), k=count // 10, generator=generator)
print((kilobytes("VmHWM") - before) * 1024 / count)
"""


def rounds(contest: Contest, count: int) -> dict[str, list[float]]:
    """Processor seconds of one call of each contestant, round by round."""
    times: dict[str, list[float]] = {name: [] for name in contest}
    for call, _ in contest.values():
        call()
    for _ in range(count):
        gc.collect()
        for name, (call, repeats) in contest.items():
            start = time.process_time()
            for _ in range(repeats):
                call()
            times[name].append((time.process_time() - start) / repeats)
    return times


def ratio(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """Median and range of the ratio within a round."""
    values = sorted(a / b for a, b in zip(numerator, denominator, strict=True))
    return {"median": statistics.median(values), "lowest": values[0], "highest": values[-1]}


def milliseconds(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def against_dppy(sizes: list[int], count: int) -> list[dict[str, Any]]:
    from dppy.finite_dpps import FiniteDPP

    generator = torch.Generator().manual_seed(0)
    stream = np.random.RandomState(0)
    found = []
    for size in sizes:
        k = size // 10
        p = torch.rand(size, generator=generator, dtype=torch.float64)
        kernel = information_kernel(p)
        matrix = law.matrix(kernel).numpy()
        prepared = FiniteDPP("likelihood", L=matrix)

        def theirs(matrix: np.ndarray = matrix, k: int = k) -> None:
            dpp = FiniteDPP("likelihood", L=matrix.copy())
            assert len(dpp.sample_exact_k_dpp(size=k, random_state=stream)) == k

        def ours(p: Tensor = p, k: int = k) -> None:
            assert len(sample(information_kernel(p), k=k, generator=generator)) == k

        times = rounds(
            {
                "DPPy from scratch": (theirs, 1),
                "longtail from scratch": (ours, 200),
                "DPPy further": (lambda d=prepared, k=k: d.sample_exact_k_dpp(size=k, random_state=stream), 2),
                "longtail further": (lambda kernel=kernel, k=k: sample(kernel, k=k, generator=generator), 200),
            },
            count,
        )
        found.append(
            {
                "times faster from scratch": ratio(times["DPPy from scratch"], times["longtail from scratch"]),
                "times faster further": ratio(times["DPPy further"], times["longtail further"]),
                "N": size,
                "k": k,
                "milliseconds": milliseconds(times),
            }
        )
        print(
            f"{found[-1]['times faster from scratch']['median']:8.0f} x from scratch,"
            f" {found[-1]['times faster further']['median']:6.0f} x further: DPPy at N = {size}, k = {k}"
        )
    return found


def alone(sizes: list[int], count: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for size in sizes:
        uniform_p = torch.rand(size, generator=generator, dtype=torch.float64)
        shapes = {"uniform": uniform_p, "confident": 1.0 - torch.rand(size, generator=generator).double() ** 20}
        for k in (size // 100, size // 10):
            for shape, p in shapes.items():
                kernel = information_kernel(p)
                array, weights = p.numpy(), kernel.diagonal
                repeats = max(1, 1_000_000 // size)
                times = rounds(
                    {
                        "read p once": (array.sum, 20 * repeats),
                        "further": (lambda kernel=kernel, k=k: sample(kernel, k=k, generator=generator), 5 * repeats),
                        "from scratch": (
                            lambda p=p, k=k: sample(information_kernel(p), k=k, generator=generator),
                            2 * repeats,
                        ),
                        "torch.multinomial": (
                            lambda weights=weights, k=k: torch.multinomial(weights, k, generator=generator),
                            repeats,
                        ),
                    },
                    count,
                )
                found.append(
                    {
                        "further over reading": ratio(times["further"], times["read p once"]),
                        "from scratch over reading": ratio(times["from scratch"], times["read p once"]),
                        "multinomial over further": ratio(times["torch.multinomial"], times["further"]),
                        "multinomial over from scratch": ratio(times["torch.multinomial"], times["from scratch"]),
                        "N": size,
                        "k": k,
                        "p": shape,
                        "milliseconds": milliseconds(times),
                    }
                )
                multinomial = ratio(times["torch.multinomial"], times["read p once"])["median"]
                print(
                    f"{found[-1]['further over reading']['median']:8.1f} readings of p further,"
                    f" {found[-1]['from scratch over reading']['median']:6.1f} from scratch (multinomial"
                    f" {multinomial:6.1f}): N = {size}, k = {k}, p {shape}"
                )
    return found


def many_classes(items: int, classes: int, count: int) -> dict[str, Any]:
    """Counts falling as the power -0.9 of the rank, at least 2."""
    share = np.arange(1, classes + 1) ** -0.9
    counts = np.maximum(2, np.floor(share / share.sum() * items)).astype(np.int64)
    counts[0] += items - counts.sum()
    generator = torch.Generator().manual_seed(0)
    target = torch.repeat_interleave(torch.from_numpy(counts))[torch.randperm(items, generator=generator)]
    log_p = torch.rand(items, generator=generator, dtype=torch.float64).log()
    found: dict[str, Any] = {
        "items": items,
        "classes": classes,
        "largest": int(counts.max()),
        "smallest": int(counts.min()),
    }
    for k in (20, 50):
        times = rounds(
            {
                "information_preserving": (
                    lambda k=k: information_preserving(None, target, k=k, generator=generator, log_probability=log_p),
                    1,
                ),
                "uniform": (lambda k=k: uniform(None, target, k=k, generator=generator), 1),
            },
            count,
        )
        seconds = statistics.median(times["information_preserving"])
        found[f"k = {k}"] = {
            "seconds": seconds,
            "over uniform": ratio(times["information_preserving"], times["uniform"]),
            "drawn": int(np.minimum(counts, k).sum()),
        }
        print(f"{seconds:8.2f} s for {items} items in {classes} classes, k = {k}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="where to write the measurement as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.zeros(8 << 20, dtype=torch.float64)  # taken and freed at once

    against = against_dppy([500] if options.quick else [500, 1000, 2000], 1 if options.quick else 5)
    by_itself = alone([5000] if options.quick else [5000, 100_000, 1_000_000], 3 if options.quick else 9)
    growth = {}
    if not options.quick:
        for name in ("DPPy from scratch", "longtail from scratch"):
            first, last = (row["milliseconds"][name] for row in (against[0], against[-1]))
            growth[f"{name}, time at N = 2000 over N = 500"] = last / first
    size = 100_000 if options.quick else 1_000_000
    peak = float(
        subprocess.run([sys.executable, "-c", PEAK, str(size)], capture_output=True, text=True, check=True).stdout
    )
    print(f"{peak:8.1f} bytes an item at the peak of a draw from scratch, N = {size}")
    classes = many_classes(43_751 if options.quick else 437_513, 814 if options.quick else 8142, 5)

    result: dict[str, Any] = {
        "benchmark": "exact k-DPP of the information kernel, processor time on one thread, paired rounds",
        "against DPPy": against,
        "growth": growth,
        "alone": by_itself,
        "peak bytes an item, from scratch": {"N": size, "bytes": peak},
        "many classes": classes,
    }
    if not options.quick:
        large = next(
            row for row in by_itself if row["N"] == 1_000_000 and row["k"] == 100_000 and row["p"] == "uniform"
        )
        result["targets"] = {
            "from scratch at N = 2000 at least 3000 times faster than DPPy": against[-1]["times faster from scratch"][
                "median"
            ]
            >= 3000,
            "N = 1e6, k = 1e5, a further draw within 12 readings of p": large["further over reading"]["median"] <= 12,
            "N = 1e6, k = 1e5, from scratch within 90 readings of p": large["from scratch over reading"]["median"]
            <= 90,
            "under 100 bytes an item": peak < 100,
            "437,513 items in 8,142 classes under 2 s": max(classes[f"k = {k}"]["seconds"] for k in (20, 50)) < 2,
        }
        for target, met in result["targets"].items():
            print(f"{'met' if met else 'MISSED':>8} {target}")
    result["hardware"] = {"processor": processor(), "threads": 1, "system": platform.platform()}
    result["versions"] = {
        "python": platform.python_version(),
        "longtail": longtail.__version__,
        "commit": commit(),
        **{name: importlib.metadata.version(name) for name in ("torch", "numpy", "dppy", "scipy")},
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
