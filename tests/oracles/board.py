"""Boards for tests: runs on the digits' real test split with known accuracies, and an archive with planted dirt."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import pathlib
import random
from typing import Any

import torch
from torch import Tensor

from longtail.board.model import Entry
from longtail.data import Data, load
from longtail.metrics import evaluate
from longtail.results.record import write
from oracles.runs import made_up_predictions, made_up_record

STAGE = {
    "type": "Stage",
    "epochs": 60,
    "augmentation": [{"type": "RandomCrop", "padding": 1}],
}


@functools.cache
def digits() -> Data:
    return load("digits-lt", imbalance=100)


def run(
    folder: pathlib.Path,
    *,
    recipe: str = "ce",
    seed: int = 0,
    accuracy: float = 0.8,
    data: dict[str, Any] | None = None,
    index: Tensor | None = None,
    target: Tensor | None = None,
    counts: Tensor | None = None,
    stream: int = 0,
    prediction: Tensor | None = None,
    **changes: Any,
) -> pathlib.Path:
    """Write one run; exactly ``round(accuracy * N)`` test images are right, which ones differs from seed to seed."""
    known = digits()
    index = known.test.index if index is None else index
    target = known.test.target if target is None else target
    counts = known.counts if counts is None else counts
    num = len(target)
    order = torch.randperm(num, generator=torch.Generator().manual_seed(1000 * stream + seed))
    right = torch.zeros(num, dtype=torch.bool)
    right[order[: round(accuracy * num)]] = True
    prediction = made_up_predictions(target, right, len(counts)) if prediction is None else prediction
    facts = {
        "name": "digits-lt",
        "fingerprint": known.fingerprint,
        "imbalance": 100,
        "split_seed": 0,
        "num_train": int(counts.sum()),
        "num_test": num,
        "counts": counts.tolist(),
        "class_names": [str(k) for k in range(len(counts))],
        "many": 30,
        "few": 5,
        **(data or {}),
    }
    record = made_up_record(
        recipe=recipe,
        seed=seed,
        target=target,
        prediction=prediction,
        num_classes=len(counts),
        config={"type": "Recipe", "name": recipe, "model": {"type": "Small"}, "stages": [STAGE]},
    )
    report = evaluate(target, prediction, counts=counts, many=facts["many"], few=facts["few"])
    record = dataclasses.replace(record, **{"data": facts, "report": report.to_json(), **changes})
    write(record, folder, index=index, target=target, prediction=prediction)
    return folder


def runs(folder: pathlib.Path, accuracies: tuple[float, ...], **more: Any) -> list[pathlib.Path]:
    """One run for each accuracy, with seeds from 0."""
    return [run(folder / str(seed), seed=seed, accuracy=each, **more) for seed, each in enumerate(accuracies)]


def row(model: str, value: Any, **more: Any) -> dict[str, Any]:
    """A row in the archive's layout."""
    return {
        "model_name": model,
        "paper_title": f"A paper on {model}",
        "paper_url": "https://arxiv.org/abs/2107.00001v1",
        "paper_date": "2021-07-05",
        "code_links": [],
        "model_links": [],
        "metrics": {"Error Rate": value},
        "uses_additional_data": False,
        **more,
    }


def dataset(name: str, metrics: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A data set in the archive's layout."""
    return {
        "dataset": name,
        "description": "",
        "dataset_links": [{"title": "Home", "url": "https://example.org/data"}],
        "dataset_citations": [],
        "sota": {"metrics": metrics, "rows": rows},
        "subdatasets": [],
    }


def task(name: str, datasets: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A task in the archive's layout."""
    return {
        "task": name,
        "description": "",
        "categories": ["Computer Vision"],
        "datasets": datasets,
        "subtasks": [],
        "synonyms": [],
        "source_link": None,
        **more,
    }


DIRT = {
    "percent-sign": row("Percent", "45.5%"),
    "stray-whitespace": row("Tab", "46.84\t"),
    "spread-in-value": row("Spread", "44.1 ± 0.3"),
    "decimal-comma": row("Comma", "44,25"),
    "decoration": row("Star", "43.9*"),
    "thousands-comma": row("Thousands", "4,390.1"),
    "odd-sign": row("Plus", "+43.2"),
    "date-impossible": row("Month", "43.1", paper_url="https://arxiv.org/abs/2015.12345"),
    "look-alike-letters": row("DRО-LT", "43.05"),  # its O is a Cyrillic letter
    "not-a-number": row("Words", "see paper"),
    "out-of-range": row("Huge", "4390"),
    "unknown-metric": row("Wow", "4", metrics={"Wow factor": "4"}),
    "two-names-one-metric": row("Twice", "0", metrics={"Error Rate": "41.3", "Top-1 Error Rate": "40.9"}),
    "metric-alias": row("Alias", "0", metrics={"Top-1 Error Rate": 40.5}),
    "number-on-two-boards": row("Both", "10.9"),
    "model-listed-twice": row("Again", "42"),
    "date-before-method": row("Method + SAM", "41", paper_date="2020-12-28", paper_url=None),
    "date-before-paper": row("Early", "41.5", paper_date="2020-01-01"),
    "date-of-first-version": row("Late", "41.6", paper_url="https://arxiv.org/abs/2107.00001v4"),
    "extra-data-undeclared": row("Big (ViT-B/16, CLIP)", "18.3"),
    "track-inferred": row("Tuned (ViT-B/16, ImageNet-21K)", "18.4"),
    "unsafe-link": row("Link", "47", code_links=[{"title": "x", "url": "javascript:alert(1)"}]),
}
"""One row for each kind of defect that an import must flag."""


def dirty_archive() -> list[dict[str, Any]]:
    """An archive that has every kind of dirt once, in two tasks that share a board."""
    rows = copy.deepcopy([*DIRT.values(), row("Method", "45"), row("Again", "43", paper_title="Another paper")])
    first = dataset("CIFAR-100-LT (ρ=100)", ["Error Rate"], rows)
    second = dataset("CIFAR-10-LT (ρ=100)", ["Error Rate"], [copy.deepcopy(DIRT["number-on-two-boards"])])
    return [task("Long-tail Learning", [first, second]), task("Image Classification", [copy.deepcopy(first)])]


def write_archive(path: pathlib.Path, tables: list[dict[str, Any]] | None = None) -> pathlib.Path:
    path.write_text(json.dumps(dirty_archive() if tables is None else tables, ensure_ascii=False))
    return path


def add_claims(root: pathlib.Path, name: str, entries: list[dict[str, Any]]) -> pathlib.Path:
    """A file of claims in a board's own folder."""
    (root / "claims").mkdir(parents=True, exist_ok=True)
    file = root / "claims" / f"{name}.json"
    file.write_text(json.dumps({"claim": entries}, ensure_ascii=False))
    return file


CLEAN = [f"{random.Random(i).uniform(20, 90):.2f}" for i in range(40)]
"""Numbers as an archive should hold them."""
ODD: list[Any] = [
    "{}%", "{}\t", " {} ", "{} ± 0.3", "{}*", "~{}", "+{}", "{}†", "({})", "{}²", "<{}", ">{}", "{}M", "{} / 40.1",
    "−{}", "{}e999", "1e999", "nan", "inf", "", "see paper", "ResNet-50: {}", "0.{}", "{}‰", "{}.{}", "\ud800{}",
    "9" * 400, "{} (+1.2)", "top{}", "${}$", "10³", None, True, [1], {"a": 1}, 1e308, -5, 4390, 0.412,
]  # fmt: skip
"""What stands there instead; ``{}`` is a clean number."""


def dirty_rows(count: int) -> list[dict[str, Any]]:
    """Rows of an archive with every oddity that real ones have, a third of them clean."""
    draw = random.Random(0)
    rows = []
    for i in range(count):
        value, shape = draw.choice(CLEAN), draw.choice(ODD)
        if isinstance(shape, str):
            shape = shape.replace("{}", value)
        made = row(f"m{i}", 0, metrics={"Accuracy": shape if i % 3 else value}, paper_title=f"P{i}", paper_url=None)
        if i % 17 == 0:
            made["paper_date"] = draw.choice(["", "2021-13-01", "0001-01-01", "9999-12-31", 3, "yesterday"])
        if i % 29 == 0:
            made.pop(draw.choice(["model_name", "paper_title", "metrics", "code_links"]))
        rows.append(made)
    return rows


def outcome(entry: Entry) -> str:
    """What became of a dirty row: ``read``, ``flagged`` (read, with a flag), ``unread`` (flagged), or ``wrong``."""
    if entry.value is None:
        return "unread" if entry.flags and entry.rank is None else "wrong"
    if entry.flags == ():
        return "read" if float(entry.raw.strip().strip("%").strip()) == entry.value else "wrong"
    # Whatever was flagged and read is one of the numbers that were printed, on the board's scale.
    return "flagged" if f"{entry.value:.2f}" in CLEAN or entry.value == 41.2 else "wrong"
