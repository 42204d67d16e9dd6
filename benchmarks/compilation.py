"""What compilation gains on this machine and from how long a run on it pays.

    python benchmarks/compilation.py [--rounds 7] [--threads 1] [--out records/benchmarks/compilation.json]

The step is that of ``ce`` with ResNet-32, 128 images of 32 x 32, crop and flip, in the precision that training chooses
here. One process takes it as it is, one compiled, in turns; ratios are taken within a round. The compiler starts with
an empty cache, so its first step tells what compilation costs. The run that pays is the one whose gain is that cost.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
import time
from typing import Any

from longtail.training.compute import choose
from record import keep, ratio
from turns import Worker, end, rounds_of, serve


def work(compiled: bool, threads: int) -> None:
    """A process of its own: for every line "N" take N steps and answer images per second."""
    import torch

    from seeds import BATCH, runs

    if threads:
        torch.set_num_threads(threads)
    step = runs("cpu", 1, compiled=compiled)[0]
    started = time.perf_counter()
    step()
    first = time.perf_counter() - started
    step()

    def timed(times: int) -> float:
        before = time.perf_counter()
        for _ in range(times):
            step()
        return times * BATCH / (time.perf_counter() - before)

    serve(lambda line: timed(int(line)), first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=0, help="of each process; 0 for PyTorch's own number")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker == "compiled", arguments.threads)
        return
    ways = ("as it is", "compiled")
    with tempfile.TemporaryDirectory() as cache:
        variables = {"OMP_WAIT_POLICY": "PASSIVE", "TORCHINDUCTOR_CACHE_DIR": cache}
        workers = {way: Worker("--worker", way, "--threads", arguments.threads, variables=variables) for way in ways}
        rates = rounds_of({way: [worker] for way, worker in workers.items()}, arguments.steps, arguments.rounds)
        end(workers.values())
    speed = {way: statistics.median(values) for way, values in rates.items()}
    cost = workers["compiled"].ready - workers["as it is"].ready
    saved = 1 / speed["as it is"] - 1 / speed["compiled"]  # seconds an image
    result: dict[str, Any] = {
        "work": f"ce, ResNet-32, batch 128, {arguments.steps} steps a turn, {arguments.rounds} rounds",
        "times faster compiled": ratio(rates["compiled"], rates["as it is"]),
        "images per second": speed,
        "seconds that compiling takes": cost,
        "images from which it pays": cost / saved if saved > 0 else None,
        "compute": choose("cpu").describe(),
        "threads": arguments.threads or "PyTorch's own number",
    }
    print(json.dumps(result, indent=2))
    keep(result, arguments.out)


if __name__ == "__main__":
    main()
