"""One run in two processes against the same run in one: losses of every step, answers, and what it costs.

    torchrun --nproc-per-node 2 benchmarks/processes.py [--plankton ROOT] [--out FILE]

Each recipe is trained for one epoch by all processes together, with synchronised batch normalisation, and by the first
process alone; ``difference`` is the largest relative one of the losses of a step. ``ROOT`` holds PlanktonSet as
``train/CLASS`` and ``test/CLASS``; a few hundred pictures of every tenth class are taken, as they are and, for ``ce``,
at 112 pixels, read from their files while training. Times are those of the first process's processor.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch

import longtail
from longtail import results
from longtail.data import Data
from longtail.recipes import Recipe
from longtail.training.compute import Compute
from longtail.training.processes import ALONE, Ranks, joined
from longtail.training.step import Sums
from record import keep

METHODS = ("ce", "dro-lt@steps=6", "bns-probe", "ip-dpp@scorer=trained,k=10")


@contextlib.contextmanager
def losses() -> Iterator[list[float]]:
    """The mean loss of every step that is taken meanwhile."""
    found: list[float] = []
    add = Sums.add

    def keeping(self: Sums, loss: torch.Tensor, *more: Any) -> None:
        found.append(float(loss))
        add(self, loss, *more)

    Sums.add = keeping  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Sums.add = add  # type: ignore[method-assign]


def trained(recipe: Recipe, data: Data, ranks: Ranks, folder: str) -> tuple[list[float], results.Loaded, float]:
    """Losses, record and seconds of the processor."""
    compute = Compute("cpu", "float32", False, sync_batch_norm=True)
    start = time.process_time()
    with losses() as found:
        longtail.train(recipe, data, seed=0, out=folder, compute=compute, ranks=ranks)
    taken = time.process_time() - start
    return found, results.read(pathlib.Path(folder)), taken


def compared(recipe: Recipe, data: Data, ranks: Ranks, folder: str) -> dict[str, Any] | None:
    """The run of all processes beside that of one; None but in the first process."""
    place = ranks.first(lambda: folder)
    several, run, busy = trained(recipe, data, ranks, f"{place}/several")
    if not ranks.leads:
        return None
    one, alone, whole = trained(recipe, data, ALONE, f"{place}/one")
    far = [abs(a - b) / max(abs(b), 0.05) for a, b in zip(several, one, strict=True)]
    row = {
        "steps": len(one),
        "difference": max(far),
        "first_differences": far[:10],
        "same_answers": float((run.prediction == alone.prediction).double().mean()),
        "same_address": run.record.digests["run"] == alone.record.digests["run"],
        "processor_seconds": {"first of several": busy, "one": whole},
    }
    print(
        f"{data.name:>12} {recipe.name:28} {row['difference']:.1e} {100 * row['same_answers']:.2f} % the same answers"
    )
    return row


def few(root: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Make a folder with pictures of every tenth class: of the k-th 4 + 60 / k for training, and 10 for testing."""
    classes = sorted(place.name for place in (root / "train").iterdir())[::10]
    for split in ("train", "test"):
        for rank, name in enumerate(classes, start=1):
            place = folder / "plankton" / split / name
            place.mkdir(parents=True)
            wanted = 4 + 60 // rank if split == "train" else 10
            for picture in sorted((root / split / name).iterdir())[:wanted]:
                (place / picture.name).symlink_to(picture.resolve())
    return folder / "plankton"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plankton", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    with joined() as ranks, tempfile.TemporaryDirectory() as folder:
        jobs = [("digits-lt", longtail.load("digits-lt", imbalance=20), method, {}) for method in METHODS]
        if asked.plankton:
            small = f"folder:{ranks.first(lambda: few(asked.plankton, pathlib.Path(folder)))}"
            options = {"model": "small", "batch_size": 32}
            data = longtail.load(small, image_size=64)
            jobs += [("plankton", data, method, options) for method in METHODS]
            jobs += [("plankton from files", longtail.load(small, image_size=112), "ce", options)]
        for number, (name, data, method, options) in enumerate(jobs):
            recipe = longtail.recipe(method, data, epochs=1, **options)
            row = compared(recipe, data, ranks, f"{folder}/{number}")
            if row is not None:
                rows[f"{name}, {method}"] = {"images": len(data.train), "classes": data.num_classes, **row}
        if ranks.leads:
            keep({"processes": ranks.size, "rows": rows}, asked.out)


if __name__ == "__main__":
    main()
