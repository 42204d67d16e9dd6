"""How often the intervals of ``longtail.results.statistics`` contain the truth, and how often a verdict is false.

A made-up world has a known truth. Each test item has a difficulty, each run a quality of its own, and the rest is luck:
an item of class k is right in a run if sqrt(h) difficulty + sqrt(g) quality + sqrt(1 - h - g) luck, each standard
normal, lies below the quantile of the class's recall. The true recall is then exact, whatever h and g are.

    python benchmarks/coverage.py --keep records/benchmarks/coverage.json   # some minutes on one core
"""

from __future__ import annotations

import argparse
import itertools
import math
import pathlib
import time
from typing import Any

import numpy as np
import torch
from scipy import stats

from longtail.results.statistics import adjusted, difference, estimate, pool_seeds
from record import keep

SIZES = {
    6: (4, 2),
    60: (24, 16, 12, 8),
    600: tuple(int(n) for n in np.linspace(105, 15, 10)),
    10_000: tuple(int(n) for n in np.linspace(180, 20, 100)),
}
"""Test items of each class, by those of the test set."""
HEAD = 0.2
"""How much better the largest class is than the smallest, times 4 p (1 - p)."""
SHARED = 0.5
"""Share of the difficulty of an item that two methods have in common; half of it is the same for all runs."""
DIFFICULTY = 0.5
ENOUGH = 5.0
"""Right and wrong answers expected in every class from which on an interval must not be too wide."""


def world(items: int, accuracy: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True classes, recalls of the classes, and weights of accuracy and balanced accuracy."""
    sizes = np.array(SIZES[items])
    target = np.repeat(np.arange(len(sizes)), sizes)
    tilt = HEAD * 4 * accuracy * (1 - accuracy) * np.linspace(0.5, -0.5, len(sizes))
    share = sizes / sizes.sum()
    recalls = np.clip(accuracy + tilt - share @ tilt, 0.0, 1.0)
    return target, recalls, np.stack([share, np.full(len(sizes), 1 / len(sizes))])


def quality(accuracy: float, seed_sd: float) -> float:
    """Share g that makes the accuracies of runs differ by ``seed_sd`` times 4 p (1 - p)."""
    if seed_sd == 0 or accuracy in (0.0, 1.0):
        return 0.0
    density = stats.norm.pdf(stats.norm.ppf(accuracy))
    return float(min((seed_sd * 4 * accuracy * (1 - accuracy) / density) ** 2, 0.4))


def arms(
    rng: np.random.Generator, target: np.ndarray, recalls: list[np.ndarray], runs: int, g: float
) -> list[torch.Tensor]:
    """Right and wrong (S, N) of several methods on the same test items."""
    number = len(target)
    common = rng.standard_normal(number)
    made = []
    for recall in recalls:
        own = rng.standard_normal(number)
        difficulty = math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own
        latent = math.sqrt(DIFFICULTY) * difficulty + math.sqrt(g) * rng.standard_normal((runs, 1))
        latent = latent + math.sqrt(1 - DIFFICULTY - g) * rng.standard_normal((runs, number))
        made.append(torch.from_numpy(latent < stats.norm.ppf(recall)[target]))
    return made


def intervals(items: int, accuracy: float, runs: int, seed_sd: float, worlds: int) -> dict[str, Any]:
    """Coverage of the interval of one method."""
    target, recalls, weights = world(items, accuracy)
    rng = np.random.default_rng([items, round(1e4 * accuracy), runs, round(1e4 * seed_sd)])
    g, truth = quality(accuracy, seed_sd), weights @ recalls
    classes, rows = torch.from_numpy(target), torch.from_numpy(weights)
    inside, width = np.zeros(2), []
    for _ in range(worlds):
        (correct,) = arms(rng, target, [recalls], runs, g)
        found = estimate(correct, classes, weights=rows)
        inside += [one.low <= true + 1e-12 and true - 1e-12 <= one.high for one, true in zip(found, truth, strict=True)]
        width.append(found[0].high - found[0].low)
    expected = (np.array(SIZES[items]) * np.minimum(recalls, 1 - recalls)).min()
    return {
        "items": items, "accuracy": accuracy, "seeds": runs, "seed_sd": seed_sd, "worlds": worlds,
        "enough": bool(expected >= ENOUGH), "coverage": inside[0] / worlds, "balanced": inside[1] / worlds,
        "width": float(np.median(width)),
    }  # fmt: skip


def contrasts(items: int, accuracy: float, gain: float, runs: int, seed_sd: float, worlds: int) -> dict[str, Any]:
    """Coverage of the interval of a difference, how often it is told from 0, and whether both say the same."""
    target, recalls, weights = world(items, accuracy)
    _, better, _ = world(items, accuracy + gain)
    rng = np.random.default_rng([items, round(1e4 * accuracy), round(1e4 * gain), runs, round(1e4 * seed_sd)])
    g, truth = quality(accuracy, seed_sd), weights @ (better - recalls)
    classes, rows = torch.from_numpy(target), torch.from_numpy(weights)
    inside, told, agree, apart = np.zeros(2), 0, 0, []
    for _ in range(worlds):
        first, second = arms(rng, target, [better, recalls], runs, g)
        found = difference(first, second, classes, weights=rows, paired=True)
        inside += [one.low <= true + 1e-12 and true - 1e-12 <= one.high for one, true in zip(found, truth, strict=True)]
        excluded = [one.low > 0 or one.high < 0 for one in found]
        told += excluded[0]
        agree += all(out == (one.p < 0.05) for out, one in zip(excluded, found, strict=True))
        apart.append((first != second).double().mean().item())
    # Half of the disagreements speak for either method if the two are alike.
    expected = items * float(np.mean(apart)) / 2
    return {
        "items": items, "accuracy": accuracy, "gain": gain, "seeds": runs, "seed_sd": seed_sd, "worlds": worlds,
        "enough": expected >= ENOUGH, "coverage": inside[0] / worlds, "balanced": inside[1] / worlds,
        "told": told / worlds, "agree": agree / worlds,
    }  # fmt: skip


def tables(methods: int, runs: int, seed_sd: float, restless: float, worlds: int) -> dict[str, Any]:
    """False verdicts in a table of equally good methods, with the seed variance pooled if alike, and always by arm."""
    target, recalls, weights = world(600, 0.7)
    rng = np.random.default_rng([methods, runs, round(1e4 * seed_sd), round(10 * restless)])
    classes, rows = torch.from_numpy(target), torch.from_numpy(weights[:1])
    wrong, alone, pooled, half = 0, 0, 0, []
    for _ in range(worlds):
        made = arms(rng, target, [recalls] * (methods - 1), runs, quality(0.7, seed_sd))
        made += arms(rng, target, [recalls], runs, quality(0.7, seed_sd * restless))
        seeds = pool_seeds(made, classes, weights=rows, paired=True)
        pooled += seeds.pooled[0]
        family = methods - 1
        with_pool, without = (
            [
                difference(one, made[0], classes, weights=rows, paired=True, family=family, seeds=s)[0]
                for one in made[1:]
            ]
            for s in (seeds, None)
        )
        wrong += any((adjusted(one.p, family) or 0) < 0.05 for one in with_pool)
        alone += any((adjusted(one.p, family) or 0) < 0.05 for one in without)
        half.append([np.median([one.high - one.low for one in each]) / 2 for each in (with_pool, without)])
    return {
        "methods": methods, "seeds": runs, "seed_sd": seed_sd, "restless": restless, "worlds": worlds,
        "false": wrong / worlds, "false_by_arm": alone / worlds, "pooled": pooled / worlds,
        "half_width": float(np.median([h[0] for h in half])),
        "half_width_by_arm": float(np.median([h[1] for h in half])),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=1000, help="of each cell")
    parser.add_argument("--keep", type=pathlib.Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    worlds = chosen.worlds
    rates = [
        intervals(items, accuracy, runs, sd, worlds if items < 10_000 else worlds // 2)
        for items, accuracy, runs in itertools.product(SIZES, (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0), (1, 3, 5))
        for sd in ((0.0,) if runs == 1 else (0.0, 0.01, 0.04))
    ]
    gaps = [
        contrasts(items, accuracy, gain, runs, sd, worlds if items < 10_000 else worlds // 2)
        for items, (accuracy, gain), runs in itertools.product(
            SIZES, ((0.5, 0.0), (0.7, 0.0), (0.7, 0.05), (0.9, 0.0), (0.98, 0.0)), (1, 3, 5)
        )
        for sd in ((0.0,) if runs == 1 else (0.0, 0.01, 0.04))
    ]
    whole = [
        tables(9, runs, sd, restless, worlds // 4)
        for runs, sd, restless in ((3, 0.0, 1.0), (3, 0.01, 1.0), (3, 0.02, 1.0), (5, 0.01, 1.0), (3, 0.005, 8.0))
    ]

    def ends(cells: list[dict[str, Any]], **where: Any) -> dict[str, float]:
        kept = [cell for cell in cells if all(cell[name] == value for name, value in where.items())]
        values = [cell[rate] for cell in kept for rate in ("coverage", "balanced")]
        return {"cells": len(kept), "lowest": min(values), "mean": float(np.mean(values)), "highest": max(values)}

    summary: dict[str, Any] = {}
    for name, cells in (("rates", rates), ("differences", gaps)):
        for runs in (1, 3, 5):
            summary[f"{name}, {runs} seeds"] = ends(cells, seeds=runs)
            summary[f"{name}, {runs} seeds, enough"] = ends(cells, seeds=runs, enough=True)
    equal = [cell for cell in gaps if cell["gain"] == 0]
    summary["false verdicts"] = {
        f"{runs} seeds": max(cell["told"] for cell in equal if cell["seeds"] == runs) for runs in (1, 3, 5)
    }
    summary["interval and p agree"] = min(cell["agree"] for cell in gaps)
    for name, found in summary.items():
        print(f"{name}: {found}")
    for cell in whole:
        print(cell)
    seconds = time.perf_counter() - start
    keep({"summary": summary, "rates": rates, "differences": gaps, "tables": whole, "seconds": seconds}, chosen.keep)
    print(f"{seconds:.0f} s")


if __name__ == "__main__":
    main()
