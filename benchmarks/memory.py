"""Peak resident memory of a CIFAR run, beside that of Python with PyTorch loaded and nothing done.

    python benchmarks/memory.py --root DATA [--out records/benchmarks/memory.json]

One epoch of ``longtail train ce`` on CIFAR-100-LT with the evaluation of the test images; no epoch holds more than the
first. Each is a process of its own, and the system says how much it held at most.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile

from record import keep


def peak_bytes(command: list[str]) -> int:
    """The most that a process held; the children it started count for themselves and are not added."""
    process = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)])
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds cifar-100-python/, the original files")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    result: dict[str, object] = {"import torch": peak_bytes([sys.executable, "-c", "import torch"])}
    with tempfile.TemporaryDirectory() as folder:
        words = f"-m longtail train ce --data cifar100-lt --root {arguments.root} --epochs 1 --out {folder}/run"
        result["one epoch and evaluation"] = peak_bytes([sys.executable, *words.split()])
    for name, held in result.items():
        print(f"{held / 1e6:8.0f} MB  {name}")
    keep({"peak resident bytes": result}, arguments.out)


if __name__ == "__main__":
    main()
