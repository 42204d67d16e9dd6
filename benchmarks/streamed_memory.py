"""Peak resident memory of a run whose pictures are read while training: of 5,000 pictures against 50,000.

    python benchmarks/streamed_memory.py [--out records/benchmarks/streamed_memory.json]

One epoch of ``longtail train ce`` on generated pictures of 16 x 16 pixels, brought to 104 x 104 so that they are read
while training, with a network of one layer. Each is a process of its own, and the system says how much it held at most;
its worker processes count each for itself. Run twice, since the first time every file is hashed and the second time
none is.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from memory import peak_bytes
from record import keep

NUMBERS = (5_000, 50_000)
SIZE, SIDE, CLASSES = 16, 104, 5
NETWORK = """
from torch import nn


def net(num_classes, channels, image_size):
    width = channels * (image_size // 8) ** 2
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(width, num_classes))
"""


def pictures(folder: pathlib.Path, number: int) -> None:
    """Generate so many pictures to train on, and 100 to test on."""
    generator = np.random.default_rng(number)
    for split, many in (("train", number), ("test", 100)):
        for c in range(CLASSES):
            (folder / split / str(c)).mkdir(parents=True)
        for i, values in enumerate(generator.integers(256, size=(many, SIZE, SIZE), dtype=np.uint8)):
            Image.fromarray(values).save(folder / split / str(i % CLASSES) / f"{i:06}.png", compress_level=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        (folder / "net.py").write_text(NETWORK)
        for number in NUMBERS:
            pictures(folder / str(number), number)
            for turn in ("hashed", "known"):
                words = f"-m longtail train ce --data folder:{folder / str(number)} --image-size {SIDE} --epochs 1 "
                words += f"--batch-size 256 --model {folder / 'net.py'}:net --out {folder / f'run-{number}-{turn}'}"
                start = time.perf_counter()
                held = peak_bytes([sys.executable, *words.split()])
                seconds = time.perf_counter() - start
                result[f"{number} pictures, {turn}"] = {"peak resident bytes": held, "seconds": seconds}
                print(f"{held / 1e6:8.0f} MB {seconds:6.0f} s  {number:,} pictures, {turn}", flush=True)
    few, many = (
        max(row["peak resident bytes"] for key, row in result.items() if key.startswith(f"{number} "))
        for number in NUMBERS
    )
    print(f"{many / few:.3f} x the memory for {NUMBERS[1] / NUMBERS[0]:.0f} x the pictures")
    keep({"runs": result, "ratio": many / few}, arguments.out)


if __name__ == "__main__":
    main()
