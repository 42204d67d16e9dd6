"""Tiny runs through Ray, in processes of this machine, and one after the other: what each way adds to a run.

    python benchmarks/cluster.py [--runs 200] [--cpus 2] [--out records/benchmarks/cluster.json]

A run is one epoch of a linear classifier on digits-lt, from its own seed; nearly all its time is what surrounds the
training: data, record, files and checks. Every way trains all runs into a folder of its own. ``overhead`` is the time
of a run through Ray, on all its CPUs, less that of a run in as many processes of ``compare --jobs``. Starting Ray is
timed by itself.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile
import time
from typing import Any

import longtail
from longtail.training.compute import Compute
from longtail.training.many import train_many
from record import keep


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path)
    asked = parser.parse_args()
    import ray

    data = longtail.load("digits-lt", imbalance=20)
    recipe = longtail.recipe("ce", data, epochs=1, model="linear")
    options: dict[str, Any] = {"seeds": range(asked.runs), "compute": Compute("cpu", "float32", False)}
    ways: dict[str, dict[str, Any]] = {
        "one after the other": {},
        f"--jobs {asked.cpus}": {"jobs": asked.cpus},
        "--on ray": {"on": "ray"},
    }
    found: dict[str, float] = {}
    load = {}
    with tempfile.TemporaryDirectory() as folder:
        clock = time.perf_counter()
        ray.init(num_cpus=asked.cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        start = time.perf_counter() - clock
        for name, way in ways.items():
            clock = time.perf_counter()
            train_many([recipe], data, out=pathlib.Path(folder) / name, **options, **way)
            found[name] = (time.perf_counter() - clock) / asked.runs
            load[name] = os.getloadavg()[0]
            print(f"{1000 * found[name]:9.0f} ms a run  {name}", flush=True)
        ray.shutdown()
    overhead = found["--on ray"] - found[f"--jobs {asked.cpus}"]
    print(f"{1000 * overhead:9.0f} ms a run more than --jobs; {start:.1f} s to start Ray")
    keep(
        {
            "runs": asked.runs,
            "cpus": asked.cpus,
            "seconds_a_run": found,
            "overhead": overhead,
            "seconds_to_start": start,
            "load": load,
        },
        asked.out,
        "ray",
    )


if __name__ == "__main__":
    main()
