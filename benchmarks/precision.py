"""What bfloat16 does to the speed of training on this processor, beside what the trial of ``--precision auto`` finds.

    python benchmarks/precision.py [--rounds 5] [--out records/benchmarks/precision.json]

Each precision is a process of its own with one thread. It takes the same training step (128 images of 32 x 32, channels
last) whenever it is its turn; ratios are taken within a round. A further process measures what
``longtail.training.compute`` measures before it chooses; bfloat16 is chosen above ``BFLOAT16_GAIN``.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

from record import keep, ratio, shown
from turns import BATCH, Worker, end, rounds_of, serve, serve_steps

DEPTHS = (8, 32)


def work() -> None:
    """A process of its own: steps in the precision that it is told, or what is tried before a precision is chosen."""
    import torch

    from longtail.training.compute import Compute, bfloat16_gain, trial

    torch.set_num_threads(1)
    if sys.argv[2] == "trial":
        serve(lambda line: bfloat16_gain(*trial()))
        return
    compute = Compute("cpu", sys.argv[2], False)  # type: ignore[arg-type]
    serve_steps(int(sys.argv[3]), compute.autocast)


def measure(rounds: int, steps: int) -> dict[str, Any]:
    from longtail.training.compute import BFLOAT16_GAIN

    result: dict[str, Any] = {
        "work": f"training steps, batch {BATCH}, channels last, one thread; {steps} a turn, {rounds} rounds",
        "speed in bfloat16 over float32": {},
    }
    for depth in DEPTHS:
        arms = {kind: [Worker("--worker", kind, depth)] for kind in ("float32", "bfloat16")}
        rates = rounds_of(arms, steps, rounds)
        end([worker for workers in arms.values() for worker in workers])
        result["speed in bfloat16 over float32"][f"ResNet-{depth}"] = ratio(rates["bfloat16"], rates["float32"])
    tried = {"trial": [Worker("--worker", "trial", 0)]}
    gains = rounds_of(tried, 1, rounds)["trial"]
    end(tried["trial"])
    result["gain of the trial"] = ratio(gains, [1.0] * rounds)
    result["chosen above"] = BFLOAT16_GAIN
    return result


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
    for name, times in result["speed in bfloat16 over float32"].items():
        print(f"{shown(times)}  {name}")
    print(f"{shown(result['gain of the trial'])}  the trial; bfloat16 is chosen above {result['chosen above']}")
    keep(result, arguments.out)


if __name__ == "__main__":
    main()
