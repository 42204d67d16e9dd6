"""Which thread setting survives company: training steps per second alone and beside processes that want the cores.

    python benchmarks/threads.py [--rounds 5] [--out records/benchmarks/threads.json]

Each setting is a process of its own that takes the same training step (ResNet-32, 128 images of 32 x 32, float32,
channels last) whenever it is its turn. The turns go round all settings with no company, then with one and with two
other processes that take such steps on one thread each; ratios are taken within a round. "both cores" is what two
processes of one thread reach together.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
from typing import Any

from record import keep, ratio, shown
from turns import BATCH, Worker, end, serve_steps, together

SETTINGS: dict[str, tuple[int | None, dict[str, str]]] = {
    "torch's default": (None, {}),
    "OMP_WAIT_POLICY=PASSIVE": (None, {"OMP_WAIT_POLICY": "PASSIVE"}),
    "GOMP_SPINCOUNT=10000": (None, {"GOMP_SPINCOUNT": "10000"}),
    "one thread": (1, {}),
}


def work() -> None:
    """A process of its own, on as many threads as it is told."""
    import torch

    if len(sys.argv) > 2:
        torch.set_num_threads(int(sys.argv[2]))
    serve_steps()


def measure(rounds: int, steps: int) -> dict[str, Any]:
    workers = {
        name: Worker("--worker", *([] if threads is None else [threads]), variables=variables)
        for name, (threads, variables) in SETTINGS.items()
    }
    company = [Worker("--worker", 1) for _ in range(2)]
    enough = 3 * steps  # the company's turn must outlast the setting's own
    rates: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for others in (0, 1, 2):
            row = rates.setdefault(f"beside {others}", {})
            for name, worker in workers.items():
                for other in company[:others]:
                    other.ask(enough)
                row.setdefault(name, []).append(together([worker], steps))
                for other in company[:others]:
                    other.answer()
        row = rates.setdefault("both cores", {})
        row.setdefault("two processes of one thread", []).append(together(company, steps))
    end([*workers.values(), *company])

    default = {load: row.get("torch's default", rates["beside 0"]["torch's default"]) for load, row in rates.items()}
    return {
        "work": f"steps of ResNet-32, batch {BATCH}, float32, channels last; {steps} a turn, {rounds} rounds",
        "times faster than torch's default": {
            load: {name: ratio(values, default[load]) for name, values in row.items()} for load, row in rates.items()
        },
        "images per second": {
            load: {name: statistics.median(values) for name, values in row.items()} for load, row in rates.items()
        },
        "threads": {name: worker.ready for name, worker in workers.items()},
    }


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    result = measure(arguments.rounds, arguments.steps)
    for load, row in result["times faster than torch's default"].items():
        for name, times in row.items():
            speed = result["images per second"][load][name]
            print(f"{shown(times)}  {load}: {name}, {speed:.0f} images/s")
    keep(result, arguments.out)


if __name__ == "__main__":
    main()
