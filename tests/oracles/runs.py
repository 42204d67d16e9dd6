"""Made-up finished runs: a long-tailed problem whose methods have known true accuracies."""

from __future__ import annotations

import json
import pathlib

import torch
from torch import Tensor

from longtail.metrics import evaluate
from longtail.results.record import Loaded, Record, read, write


def made_up_counts(num_classes: int) -> Tensor:
    """From 500 down to 5 training images."""
    return torch.logspace(2.69897, 0.69897, num_classes).round().long()


def made_up_predictions(target: Tensor, right: Tensor, num_classes: int) -> Tensor:
    """The target where ``right``, and the class after it elsewhere."""
    return torch.where(right, target, (target + 1) % num_classes)


def made_up_record(
    *,
    recipe: str = "ce",
    seed: int = 0,
    target: Tensor,
    prediction: Tensor,
    num_classes: int = 10,
    epochs: tuple[int, ...] = (3,),
    probability: Tensor | None = None,
    fingerprint: str = "a" * 64,
    config: dict[str, object] | None = None,
    validation: bool = False,
) -> Record:
    """A sound record of these predictions, without ``predictions``."""
    counts = made_up_counts(num_classes)
    report = evaluate(target, prediction, counts=counts, probability=probability)
    total = sum(epochs)
    history = []
    for stage, length in enumerate(epochs):
        for epoch in range(1, length + 1):
            done = (len(history) + 1) / total
            row: dict[str, object] = {
                "stage": f"stage {stage}",
                "epoch": epoch,
                "loss": 2.3 * (1 - done) + 0.1 + 0.05 * seed,
                "train_accuracy": 0.2 + 0.6 * done if stage == 0 else None,
                "learning_rate": 0.1 * (1 - done),
                "seconds": 1.5,
                "validation_accuracy": 0.1 + 0.5 * done if validation else None,
                "test_accuracy": None,
            }
            history.append(row)
    return Record(
        schema=1,
        recipe=recipe,
        config=config or {"type": "Recipe", "name": recipe, "stages": [{"type": "Stage", "epochs": n} for n in epochs]},
        seed=seed,
        data={
            "name": "made-up-lt",
            "fingerprint": fingerprint,
            "imbalance": 100,
            "split_seed": 0,
            "num_train": int(counts.sum()),
            "num_test": len(target),
            "counts": counts.tolist(),
            "class_names": [f"class {k}" for k in range(num_classes)],
            "many": 100,
            "few": 20,
        },
        model={"name": "small", "parameters": 1234, "multiply_adds": 5678, "widths": [16, 32]},
        numerics={"version": 1, "device": "cpu", "precision": "float32", "compiled": False, "threads": 1},
        packages={"torch": "2.11.0"},
        hardware={"processor": "abacus"},
        revision={"commit": None, "dirty": None},
        selection="last epoch",
        history=history,
        report=report.to_json(),
        legacy={},
        seconds=1.5 * total,
        started="2026-01-02T03:04:05+00:00",
        predictions={},
    )


def made_up_run(
    folder: pathlib.Path,
    *,
    recipe: str = "ce",
    seed: int = 0,
    accuracy: float = 0.7,
    items: int = 500,
    num_classes: int = 10,
    epochs: tuple[int, ...] = (3,),
    **more: object,
) -> Loaded:
    """Write a run whose items are right with probability ``accuracy``, fewer in the tail, and read it back."""
    generator = torch.Generator().manual_seed(hash_of(recipe) + seed)
    target = torch.arange(items) % num_classes
    chance = accuracy * (1.2 - 0.4 * target / (num_classes - 1))
    right = torch.rand(items, generator=generator) < chance
    prediction = made_up_predictions(target, right, num_classes)
    record = made_up_record(
        recipe=recipe,
        seed=seed,
        target=target,
        prediction=prediction,
        num_classes=num_classes,
        epochs=epochs,
        **more,  # type: ignore[arg-type]
    )
    write(record, folder, index=torch.arange(items), target=target, prediction=prediction)
    return read(folder)


def hash_of(text: str) -> int:
    """The same number for the same text in every process."""
    return sum(ord(letter) * 257**place for place, letter in enumerate(text)) % 2**31


def rewrite(folder: pathlib.Path, **changes: object) -> None:
    """Change fields of a written record by hand, as nobody should; ``...`` removes a field."""
    file = folder / "record.json"
    data = json.loads(file.read_text())
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = data
        for step in outer:
            place = place[int(step) if isinstance(place, list) else step]
        if value is ...:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value
    file.write_text(json.dumps(data))
