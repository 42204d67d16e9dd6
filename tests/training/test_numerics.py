"""No change moves a number in silence: the first losses of each recipe, kept in ``numerics.json`` beside this file.

The table belongs to one version of the numerics (``longtail.recipes.stages.NUMERICS``), which is part of the address of
every run. If this test fails, a change has moved the numbers that people get:

* not on purpose: undo what moved them;
* on purpose: raise ``NUMERICS``, say in the changelog what moved and why, and write the table anew with
  ``python tests/training/test_numerics.py``.

Losses are of digits-lt at imbalance 20, two epochs, seed 0, float32, one thread.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from longtail import recipes
from longtail.data import Data, load
from longtail.methods import METHODS
from longtail.methods import recipe as named
from longtail.recipes import Recipe, stages
from longtail.training import seeds
from longtail.training.compute import Compute
from longtail.training.run import train
from longtail.training.step import Step

TABLE = pathlib.Path(__file__).with_name("numerics.json")
STEPS = 10
ROWS = tuple(name for name in METHODS if name != "tuned")
"""The methods, but for the one that only trains others of them."""
VARIANTS = (
    "dro-lt@radius=shared,strict=true,layers=0.5,1,steps=10",
    "dro-lt@robust=0,balancing=balanced-softmax,steps=10",
    "dro-lt@centroid-pass=balanced,augmented=true,refresh-steps=4,steps=10",
    "ip-dpp@scorer=trained,diversity=true,k=10",
    "ip-dpp@arm=uniform,trains=classifier",
    "bns-ipdpp@loss=ns,partners=2",
    "bns-probe@positives=none,negatives=8",
)
OTHERS = {
    "cosine, AdamW, class quota": (
        "stages.0.schedule=cosine@warmup=0.1",
        "stages.0.optimizer=adamw@lr=0.01",
        "stages.0.sampler=class-quota@classes=5,images=4",
    ),
    "strong augmentation": ("stages.0.augmentation=strong",),
}
TOLERANCE = 2e-3
"""Relative. On an x86 processor with AVX2, torch's kernels with and without vector instructions (ATEN_CPU_CAPABILITY
``default`` and ``avx2``; oneDNN held to SSE 4.1, to AVX2, and off) differ by 3.2e-4 at most. Another learning rate (by
a fiftieth), augmentation, batch size or random stream moves the losses by more, as the tests below show."""


def everything(data: Data) -> dict[str, Recipe]:
    """Each recipe by the name of its row in the table."""
    # Whole epochs of class-aware batches would be most of the time.
    short = {"dro-lt": "dro-lt@steps=10"}
    found = {name: named(short.get(name, name), data, epochs=2) for name in (*ROWS, *VARIANTS)}
    return found | {name: named("ce", data, epochs=2, changes=changes) for name, changes in OTHERS.items()}


@contextlib.contextmanager
def kept() -> Iterator[list[float]]:
    """The mean loss of every step that is taken meanwhile."""
    found: list[float] = []
    forward = Step.forward

    def keeping(self: Step, batch: Any) -> Tensor:
        loss = forward(self, batch)
        found.append(float(loss.detach()))
        return loss

    Step.forward = keeping  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Step.forward = forward  # type: ignore[method-assign]


def losses(recipe: Recipe, data: Data, store: pathlib.Path) -> dict[str, list[float]]:
    """The first losses of each stage that is not in the store yet, by the position of the stage."""
    compute = Compute(device="cpu", precision="float32", compiled=False)
    with tempfile.TemporaryDirectory() as folder, kept() as found:
        record = train(recipe, data, seed=0, out=pathlib.Path(folder) / "run", store=store, compute=compute)
    lengths = [sum(row["steps"] for row in record.history if row["stage"] == held.name) for held in recipe.stages]
    trained, end = {}, len(found)
    for position in range(len(lengths) - 1, -1, -1):  # those that the store has come first
        if end <= 0:
            break
        start = end - lengths[position]
        trained[str(position)] = [round(value, 6) for value in found[start : start + STEPS]]
        end = start
    assert end == 0
    return trained


def moved(found: dict[str, list[float]], table: dict[str, list[float]]) -> float:
    """The largest relative difference; infinity where a stage has another number of steps."""
    worst = 0.0
    for position, values in found.items():
        expected = table[position]
        if len(expected) != len(values):
            return float("inf")
        worst = max([worst, *(abs(a - b) / max(abs(b), 0.05) for a, b in zip(values, expected, strict=True))])
    return worst


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("store")


def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TABLE.read_text())
    return found


def test_the_table_is_of_this_version_and_of_every_recipe(digits: Data) -> None:
    assert table()["numerics"] == recipes.NUMERICS, (
        "NUMERICS was raised: see what moved, then write the table anew with python tests/training/test_numerics.py"
    )
    assert table()["losses"].keys() == everything(digits).keys()


@pytest.mark.parametrize("name", [*ROWS, *VARIANTS, *OTHERS])
def test_the_first_losses_are_what_they_were(name: str, digits: Data, store: pathlib.Path) -> None:
    found = losses(everything(digits)[name], digits, store)
    difference = moved(found, table()["losses"][name])
    assert difference < TOLERANCE, (
        f"the losses of {name} moved by {difference:.2g}. If this was not meant, undo it; if it was, raise NUMERICS in "
        f"longtail/recipes/stages.py and write the table anew with python tests/training/test_numerics.py"
    )


CHANGES = (
    "stages.0.optimizer.lr=0.051",
    "stages.0.optimizer.weight-decay=0.01",
    "stages.0.optimizer.momentum=0.91",
    "stages.0.schedule.warmup=0.8",
    "stages.0.augmentation=none",
    "stages.0.augmentation=random-crop@padding=2",
    "stages.0.batch-size=33",
    "model.widths=16,32,65",
)


@pytest.mark.parametrize("change", CHANGES)
def test_the_tolerance_sees_a_change(change: str, digits: Data, tmp_path: pathlib.Path) -> None:
    recipe = named("ce", digits, epochs=2, changes=(change,))
    assert moved(losses(recipe, digits, tmp_path), table()["losses"]["ce"]) > TOLERANCE


@pytest.mark.parametrize("stream", ["model", "order", "augment"])
def test_the_tolerance_sees_another_stream(
    stream: str, digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = seeds.generator

    def renamed(seed: int, *purpose: str | int, **more: Any) -> torch.Generator:
        return plain(seed, *(f"{word}s" if word == stream else word for word in purpose), **more)

    monkeypatch.setattr(seeds, "generator", renamed)
    assert moved(losses(named("ce", digits, epochs=2), digits, tmp_path), table()["losses"]["ce"]) > TOLERANCE


def test_the_version_enters_every_address(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> str:
        return stages.state_address(named("ce", digits), 0, data=("f",), seed=0, compute={})

    before = key()
    monkeypatch.setattr(stages, "NUMERICS", stages.NUMERICS + 1)
    assert key() != before


def write() -> None:
    """Write the table: all of it where NUMERICS was raised, else the rows that are new; what stands there stays."""
    torch.set_num_threads(1)
    data = load("digits-lt", imbalance=20)
    before = table() if TABLE.exists() else {"numerics": None, "losses": {}}
    stands = before["losses"] if before["numerics"] == recipes.NUMERICS else {}
    found = {}
    for name, recipe in everything(data).items():
        if name in stands:
            found[name] = stands[name]
            continue
        with tempfile.TemporaryDirectory() as folder:
            found[name] = losses(recipe, data, pathlib.Path(folder))
    lines = [f" {json.dumps(name)}: {json.dumps(row)}" for name, row in found.items()]
    body = ",\n".join(lines)
    TABLE.write_text(f'{{"numerics": {recipes.NUMERICS}, "losses": {{\n{body}\n}}}}\n')


if __name__ == "__main__":
    write()
