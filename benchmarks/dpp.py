"""Exact determinantal sampling of both kernels: against DPPy, torch.multinomial and reading the input.

    python benchmarks/dpp.py [--out records/benchmarks/dpp.json] [--quick]

Diagonal plus rank one (the information kernel, p uniform on (0, 1) unless it says otherwise):

* Against DPPy's exact k-DPP sampler on the same kernel, from scratch and for a further draw, at N = 500, 1000 and 2000
  with k = N / 10. Not above 2,800: there its symmetric polynomials overflow, and what it returns follows another law.
* At N = 5,000, 100,000 and 1,000,000 with k = N / 100 and N / 10: from scratch (from a tensor of probabilities to the
  items) and for a further draw, over the time of reading the probabilities once (``sum`` of the NumPy array) and over
  ``torch.multinomial`` without replacement on the same weights, which is faster to write and follows another law.
* What a draw from scratch at N = 5,000 consists of.

Low rank (features (N, 64) in float32, normal, k = 50):

* Against DPPy's dual sampler on the same features in float64 at N = 2,000 and 100,000, from scratch and for a further
  draw, over reading the features once, and over ``torch.multinomial`` on the squared norms, which follows another law.
* Alone at N = 1,000,000, where DPPy's would take half a minute a round.

And both: log_prob, inclusion probabilities and greedy sets at N = 1,000,000; peak memory of a draw from scratch, in a
fresh process; ``information_preserving`` on 437,513 items in 8,142 classes, as many as iNaturalist 2018 has, with and
without 64 features.

Times are processor seconds on one thread. Contestants take turns in rounds, and a ratio is that of the fastest of each
beside the median and range of the ratios within a round: on a machine that others use at the same time, what slows a
round is theirs, and the fastest round is the one that was slowed least.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.dpp import (
    LowRank,
    completion,
    greedy,
    inclusion_probabilities,
    information_kernel,
    log_prob,
    process,
    sample,
)
from longtail.dpp.kernels import matrix as written_out
from longtail.samplers.informative import information_preserving, uniform
from longtail.training.compute import revision
from record import keep

Contest = dict[str, tuple[Callable[[], object], int]]  # name -> (what to time, how many times in a round)

PEAK = """
import pathlib, sys, torch
from longtail.dpp import LowRank, information_kernel, sample
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
low_rank, count = sys.argv[2] == "low rank", int(sys.argv[1])

def draw(given):
    if low_rank:
        return sample(LowRank(given), k=50, generator=generator)
    return sample(information_kernel(given), k=len(given) // 10, generator=generator)

def make(count):
    if low_rank:
        return torch.randn(count, 64, generator=generator)
    return torch.rand(count, generator=generator, dtype=torch.float64)

draw(make(30_000))
given = make(count)

def kilobytes(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])

pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
items = draw(given)
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
    """The ratio of the fastest, and median and range of the ratio within a round."""
    values = sorted(a / b for a, b in zip(numerator, denominator, strict=True))
    return {
        "of the fastest": min(numerator) / min(denominator),
        "median": statistics.median(values),
        "lowest": values[0],
        "highest": values[-1],
    }


def milliseconds(times: dict[str, list[float]]) -> dict[str, float]:
    """The fastest round of each."""
    return {name: 1e3 * min(values) for name, values in times.items()}


def against_dppy(sizes: list[int], count: int) -> list[dict[str, Any]]:
    from dppy.finite_dpps import FiniteDPP

    generator = torch.Generator().manual_seed(0)
    stream = np.random.RandomState(0)
    found = []
    for size in sizes:
        k = size // 10
        p = torch.rand(size, generator=generator, dtype=torch.float64)
        kernel = information_kernel(p)
        matrix = written_out(kernel).numpy()
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
            f"{found[-1]['times faster from scratch']['of the fastest']:8.0f} x from scratch,"
            f" {found[-1]['times faster further']['of the fastest']:6.0f} x further: DPPy at N = {size}, k = {k}"
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
                multinomial = ratio(times["torch.multinomial"], times["read p once"])["of the fastest"]
                print(
                    f"{found[-1]['further over reading']['of the fastest']:8.1f} readings of p further,"
                    f" {found[-1]['from scratch over reading']['of the fastest']:6.1f} from scratch (multinomial"
                    f" {multinomial:6.1f}): N = {size}, k = {k}, p {shape}"
                )
    return found


WIDTH, CHOSEN = 64, 50


def low_rank(sizes: list[int], count: int, largest: int) -> list[dict[str, Any]]:
    """Up to ``largest`` items against DPPy's dual sampler as well."""
    from dppy.finite_dpps import FiniteDPP

    generator = torch.Generator().manual_seed(0)
    stream = np.random.RandomState(0)
    found = []
    for size in sizes:
        features = torch.randn(size, WIDTH, generator=generator)
        array, norms = features.numpy(), features.square().sum(1)
        kernel = LowRank(features)
        few, many = (1, 1) if size >= 100_000 else (3, 20)

        def ours(features: Tensor = features) -> None:
            assert len(sample(LowRank(features), k=CHOSEN, generator=generator)) == CHOSEN

        contest: Contest = {
            "read the features once": (array.sum, many),
            "longtail from scratch": (ours, few),
            "longtail further": (lambda kernel=kernel: sample(kernel, k=CHOSEN, generator=generator), max(5, many)),
            "torch.multinomial": (lambda w=norms: torch.multinomial(w, CHOSEN, generator=generator), many),
        }
        if size <= largest:
            factor = array.T.astype(np.float64)
            with contextlib.redirect_stdout(io.StringIO()):  # it says how it computes
                prepared = FiniteDPP("likelihood", L_gram_factor=factor)
                prepared.sample_exact_k_dpp(size=CHOSEN, random_state=stream)

            def theirs(factor: np.ndarray = factor) -> None:
                with contextlib.redirect_stdout(io.StringIO()):
                    dpp = FiniteDPP("likelihood", L_gram_factor=factor)
                    assert len(dpp.sample_exact_k_dpp(size=CHOSEN, random_state=stream)) == CHOSEN

            contest["DPPy's dual from scratch"] = (theirs, 1)
            contest["DPPy's dual further"] = (
                lambda d=prepared: d.sample_exact_k_dpp(size=CHOSEN, random_state=stream),
                1,
            )
        times = rounds(contest, count)
        row: dict[str, Any] = {"N": size, "D": WIDTH, "k": CHOSEN, "milliseconds": milliseconds(times)}
        row["further over reading"] = ratio(times["longtail further"], times["read the features once"])
        if size <= largest:
            for name in ("from scratch", "further"):
                row[f"times faster {name}"] = ratio(times[f"DPPy's dual {name}"], times[f"longtail {name}"])
                print(f"{row[f'times faster {name}']['of the fastest']:8.1f} x {name}: DPPy's dual, N = {size}")
        print(
            f"{row['milliseconds']['longtail further']:8.2f} ms further,"
            f" {row['further over reading']['of the fastest']:.2f} readings of the features;"
            f" {row['milliseconds']['longtail from scratch']:.0f} ms from scratch: N = {size}"
        )
        found.append(row)
    return found


def probabilities(size: int) -> dict[str, float]:
    """Seconds of what has a formula, from a fresh kernel each time; the fastest of four."""
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(size, generator=generator, dtype=torch.float64)
    features = torch.randn(size, WIDTH, generator=generator)
    found: dict[str, float] = {}
    for form, make, sets in (
        ("diagonal plus rank one", lambda: information_kernel(p), (CHOSEN, size // 10)),
        ("low rank", lambda: LowRank(features), (CHOSEN,)),
    ):
        for k in sets:
            items = torch.randperm(size, generator=generator)[:k]
            calls: dict[str, Callable[[Any], object]] = {
                "inclusion_probabilities": lambda kernel, k=k: inclusion_probabilities(kernel, k=k),
                "log_prob": lambda kernel, k=k, items=items: log_prob(kernel, items, k=k),
                "greedy": lambda kernel, k=k: greedy(kernel, k=k),
            }
            for name, call in calls.items():
                times = rounds({name: (lambda call=call, make=make: call(make()), 1)}, 4)
                found[f"{form}, k = {k}: {name}"] = min(times[name])
                print(f"{min(times[name]):8.2f} s {name}, {form}, N = {size}, k = {k}")
    return found


def fixed_cost(size: int, k: int, draws: int) -> dict[str, float]:
    """Microseconds of the steps of a draw from scratch, one after another as they come: the fastest of many."""
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(size, generator=generator, dtype=torch.float64)
    names = ("check p, form the kernel", "look for forced items", "tilt and thresholds", "seed a stream", "draw")
    times: dict[str, list[float]] = {name: [] for name in (*names, "torch.multinomial")}
    for _ in range(draws):
        at = [time.perf_counter()]
        kernel = information_kernel(p)
        at.append(time.perf_counter())
        process._forced(kernel, k)
        at.append(time.perf_counter())
        prepared = process._prepared(kernel, k)
        at.append(time.perf_counter())
        rng = process._numpy_generator(generator)
        at.append(time.perf_counter())
        completion.draw(prepared, rng)
        at.append(time.perf_counter())
        torch.multinomial(kernel.diagonal, k, generator=generator)
        at.append(time.perf_counter())
        for name, before, after in zip(times, at[:-1], at[1:], strict=True):
            times[name].append(1e6 * (after - before))
    found = {name: min(values) for name, values in times.items()}
    found["all"] = sum(found[name] for name in names)
    print(f"{found['all']:8.0f} us from scratch at N = {size}: " + ", ".join(f"{n} {v:.0f}" for n, v in found.items()))
    return found


def many_classes(items: int, classes: int, count: int) -> dict[str, Any]:
    """Counts falling as the power -0.9 of the rank, at least 2."""
    share = np.arange(1, classes + 1) ** -0.9
    counts = np.maximum(2, np.floor(share / share.sum() * items)).astype(np.int64)
    counts[0] += items - counts.sum()
    generator = torch.Generator().manual_seed(0)
    target = torch.repeat_interleave(torch.from_numpy(counts))[torch.randperm(items, generator=generator)]
    log_p = torch.rand(items, generator=generator, dtype=torch.float64).log()
    features = torch.randn(items, WIDTH, generator=generator)
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
        diverse = rounds(
            {
                "with features": (
                    lambda k=k: information_preserving(
                        None, target, k=k, generator=generator, log_probability=log_p, features=features
                    ),
                    1,
                )
            },
            2,
        )
        seconds = min(times["information_preserving"])
        found[f"k = {k}"] = {
            "seconds": seconds,
            "seconds with 64 features": min(diverse["with features"]),
            "over uniform": ratio(times["information_preserving"], times["uniform"]),
            "drawn": int(np.minimum(counts, k).sum()),
        }
        print(
            f"{seconds:8.2f} s for {items} items in {classes} classes, k = {k};"
            f" {min(diverse['with features']):.2f} s with {WIDTH} features"
        )
    return found


def memory(size: int) -> dict[str, Any]:
    """Bytes an item at the peak of a draw from scratch, beside the input, each in a fresh process."""
    peak = {}
    for form, given in (("diagonal plus rank one", 8), ("low rank", 4 * WIDTH)):
        command = [sys.executable, "-c", PEAK, str(size), form]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak[form] = {"N": size, "bytes": float(done.stdout), "bytes of the input": given}
        print(f"{float(done.stdout):8.1f} bytes an item beside the {given} of the input, at the peak: {form}")
    return peak


DPPY, ALONE, STEPS = (
    "diagonal plus rank one against DPPy",
    "diagonal plus rank one alone",
    "microseconds of a draw from scratch at N = 5000, k = 500",
)
LOW_RANK, FORMULAS, MEMORY, CLASSES = (
    "low rank",
    "seconds of what has a formula",
    "peak bytes an item beside the input, from scratch",
    "many classes",
)


def targets(result: dict[str, Any]) -> dict[str, bool]:
    """What was to be reached, and whether it was."""
    large = next(row for row in result[ALONE] if (row["N"], row["k"], row["p"]) == (1_000_000, 100_000, "uniform"))
    small, middle, million = result[LOW_RANK]
    ms = million["milliseconds"]
    classes = [result[CLASSES][f"k = {k}"] for k in (20, 50)]
    formulas = [seconds for name, seconds in result[FORMULAS].items() if not name.endswith("greedy")]
    best = "of the fastest"
    return {
        "diagonal plus rank one from scratch at N = 2000 at least 3000 times faster than DPPy": result[DPPY][-1][
            "times faster from scratch"
        ][best]
        >= 3000,
        "N = 1e6, k = 1e5, a further draw within 12 readings of p": large["further over reading"][best] <= 12,
        "N = 1e6, k = 1e5, from scratch within 90 readings of p": large["from scratch over reading"][best] <= 90,
        "under 100 bytes an item": result[MEMORY]["diagonal plus rank one"]["bytes"] < 100,
        "437,513 items in 8,142 classes under 2 s": max(row["seconds"] for row in classes) < 2,
        "the same with 64 features under 5 s": max(row["seconds with 64 features"] for row in classes) < 5,
        "low rank, N = 1e6: a further draw at most 5 ms, or less than a reading of the features": ms["longtail further"]
        <= max(5.0, ms["read the features once"]),
        "low rank, N = 1e5: a further draw at least 100 times faster than DPPy's dual": middle["times faster further"][
            best
        ]
        >= 100,
        "low rank, N = 2000: a further draw faster than DPPy's dual": small["times faster further"][best] > 1,
        "inclusion probabilities and log_prob of a million items under 1 s": max(formulas) < 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="where to write the measurement as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds, to see that it runs")
    parser.add_argument("--only", help="measure one part again, by its name in the record, and keep the others")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.zeros(8 << 20, dtype=torch.float64)  # taken and freed at once

    quick = options.quick
    sections: dict[str, Callable[[], Any]] = {
        DPPY: lambda: against_dppy([500] if quick else [500, 1000, 2000], 1 if quick else 3),
        ALONE: lambda: alone([5000] if quick else [5000, 100_000, 1_000_000], 3 if quick else 5),
        STEPS: lambda: fixed_cost(5000, 500, 200 if quick else 2000),
        LOW_RANK: lambda: low_rank([2000] if quick else [2000, 100_000, 1_000_000], 2 if quick else 5, 100_000),
        FORMULAS: lambda: probabilities(20_000 if quick else 1_000_000),
        MEMORY: lambda: memory(100_000 if quick else 1_000_000),
        CLASSES: lambda: many_classes(43_751 if quick else 437_513, 814 if quick else 8142, 3),
    }
    if options.only and options.only not in sections:
        parser.error(f"--only is one of: {'; '.join(sections)}")
    result: dict[str, Any] = {
        "benchmark": "exact k-DPPs of both kernels, processor time on one thread, paired rounds",
        "machine": "shared with other work while this ran; times are those of the fastest round",
        "commits": {},
    }
    if options.only and options.out:
        result |= json.loads(options.out.read_text())
    for name, measure in sections.items():
        if options.only in (None, name):
            result[name] = measure()
            result["commits"][name] = revision()["commit"]
    if not quick:
        result["targets"] = targets(result)
        for target, met in result["targets"].items():
            print(f"{'met' if met else 'MISSED':>8} {target}")
    keep(result, options.out, "dppy", "scipy")


if __name__ == "__main__":
    main()
