"""Probabilities for new images from a finished run; no data set is needed."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from longtail.data.pictures import printable, shown
from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.recipes import Part
from longtail.results.formats import cell
from longtail.shapes import Float, UInt8
from longtail.training.passes import chunk_size
from longtail.use import pictures
from longtail.use.network import Classifier, Trained, trained

FORMATS = (".csv", ".json")


def predict(
    folder: pathlib.Path | str, images: UInt8[Tensor, "N C H W"] | Float[Tensor, "N D"], *, model: Part | None = None
) -> Float[Tensor, "N K"]:
    """Return the probability of each class for each image, by the network of a finished run.

    Args:
        folder: folder of a finished run.
        images: (N, C, H, W) uint8, of the shape that it was trained on, values 0 to 255; (N, D) float32 for a run on
            features.
        model: the run's own network, where that is in a file of somebody's own and so must be named.

    Returns:
        Probabilities (N, K) float32, whose rows sum to 1. The recipe's adjustment of the logits is applied.

    Raises:
        InputError: no finished run there, images of another type or shape, or weights that are not the record's.
    """
    run = trained(folder, model, features=True)
    kind = torch.float32 if len(run.shape) == 1 else torch.uint8
    if images.dtype != kind or tuple(images.shape[1:]) != run.shape:
        what = "float32 features" if len(run.shape) == 1 else "uint8 images"
        wanted = f"{what} (N, {', '.join(map(str, run.shape))})"
        raise InputError(f"{folder} takes {wanted}, not {images.dtype} of shape {tuple(images.shape)}")
    return logits_of(run.classifier, images).softmax(dim=1)


@torch.no_grad()
def logits_of(classifier: Classifier, images: UInt8[Tensor, "N C H W"] | Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
    """Return the logits (N, K) of any number of images (N, C, H, W), in the layout in which networks are trained."""

    def laid(chunk: Tensor) -> Tensor:
        return chunk.contiguous(memory_format=torch.channels_last) if chunk.ndim == 4 else chunk

    found = [classifier(laid(chunk)).float() for chunk in torch.split(images, chunk_size(classifier.network))]
    return torch.cat(found) if len(images) else torch.zeros(0, len(classifier.shift))


@dataclasses.dataclass
class Tally:
    """What became of the pictures.

    Args:
        predicted: number of pictures with an answer, those without confidence among them.
        abstained: number whose largest probability is below the threshold.
        others: files in the folders that are no pictures by their ending.
        unread: pictures that could not be read, with the reason.
    """

    predicted: int = 0
    abstained: int = 0
    others: int = 0
    unread: list[tuple[str, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a run says of one picture.

    Args:
        path: of the picture.
        name: of the most probable class; None below the threshold.
        probability: (K,), in the order of the class names.
    """

    path: str
    name: str | None
    probability: Tensor


def predict_files(
    folder: pathlib.Path | str,
    paths: Iterable[pathlib.Path],
    write: Callable[[Trained, Iterator[Answer]], object],
    *,
    abstain_below: float = 0.0,
    model: Part | None = None,
    notify: Callable[[int, int], object] | None = None,
) -> Tally:
    """Predict pictures in files and folders by a finished run, some at a time.

    Args:
        folder: of the run.
        paths: files and folders; folders are read at any depth.
        write: takes the run and its answers, one for each picture that could be read.
        abstain_below: an answer whose probability is below this has no name, in [0, 1].
        model: the run's own network, where that is in a file of somebody's own and so must be named.
        notify: called with how many pictures are done and how many there are.

    Returns:
        What became of the pictures.

    Raises:
        InputError: no finished run, no picture, or none that can be read.
    """
    if not 0 <= abstain_below <= 1:
        raise InputError(f"abstain below {abstain_below:g}: a probability from 0 to 1")
    run, tally = trained(folder, model), Tally()
    files, tally.others = pictures.found(paths)

    def answers() -> Iterator[Answer]:
        done = 0
        for fine, images, unread in pictures.chunks(files, run.sides, run.loaded.record.data):
            tally.unread += [(shown(file), why) for file, why in unread]
            probability = logits_of(run.classifier, images).softmax(dim=1)
            for file, row in zip(fine, probability, strict=True):
                sure, best = row.max(dim=0)
                below = float(sure) < abstain_below
                tally.predicted += 1
                tally.abstained += below
                yield Answer(shown(file), None if below else run.class_names[int(best)], row)
            done += len(fine) + len(unread)
            if notify is not None:
                notify(done, len(files))
        if not tally.predicted:
            raise InputError(f"none of the {len(files):,} pictures can be read: {tally.unread[0][1]}")

    write(run, answers())
    return tally


def write_csv(file: io.TextIOBase, run: Trained, answers: Iterable[Answer], top: int | None = None) -> None:
    """Write answers as CSV: path, class, its probability, and the probability of each class or of the ``top`` ones.

    A name that a spreadsheet would take for a formula begins with an apostrophe.

    Args:
        file: to write to.
        run: whose answers they are.
        answers: one for each row.
        top: how many classes; None for all, a column each.
    """
    writer = csv.writer(file, lineterminator="\n")
    names = [printable(name) for name in run.class_names]
    if top is None:
        further = names
    else:
        further = [f"{what}_{place}" for place in range(1, top + 1) for what in ("class", "probability")]
    writer.writerow(cell(name) for name in ("path", "class", "probability", *further))
    for answer in answers:
        row: list[Any] = [answer.path, answer.name or "", _rounded(answer.probability.max())]
        if top is None:
            row += [_rounded(value) for value in answer.probability]
        else:
            for value, k in _ranked(answer, top):
                row += [names[k], _rounded(value)]
        writer.writerow([cell(value) for value in row])


def write_json(file: io.TextIOBase, run: Trained, answers: Iterable[Answer], top: int | None = None) -> None:
    """Write answers as JSON: a list of objects with ``path``, ``class`` (null: none), and ``probability`` by class.

    Args:
        file: to write to.
        run: whose answers they are.
        answers: one for each object.
        top: how many classes, the most probable first; None for all.
    """
    file.write("[")
    for number, answer in enumerate(answers):
        chosen = _ranked(answer, len(run.class_names) if top is None else top)
        held = {
            "path": answer.path,
            "class": answer.name,
            "probability": {run.class_names[k]: _rounded(value) for value, k in chosen},
        }
        file.write(("," if number else "") + "\n" + json.dumps(held, ensure_ascii=False))
    file.write("\n]\n")


def writer_to(out: pathlib.Path, top: int | None) -> Callable[[Trained, Iterator[Answer]], None]:
    """Return what writes answers to a new file, by its ending, whole or not at all.

    Args:
        out: the file, .csv or .json.
        top: how many classes; None for all.

    Raises:
        InputError: another ending, or a file that is there already.
    """
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"--out {out}: name a file that ends in {' or '.join(FORMATS)}")
    if out.exists():
        raise InputError(f"{out} is there already; name a new file")
    written = write_json if out.suffix.lower() == ".json" else write_csv

    def write(run: Trained, answers: Iterator[Answer]) -> None:
        def to(path: pathlib.Path) -> None:
            with path.open("w", encoding="utf-8", newline="") as file:
                written(file, run, answers, top)

        write_atomically(out, to)

    return write


def _ranked(answer: Answer, top: int) -> Sequence[tuple[Tensor, int]]:
    found = answer.probability.topk(min(top, len(answer.probability)))
    return list(zip(found.values, found.indices.tolist(), strict=True))


def _rounded(value: Tensor) -> float:
    return round(float(value), 6)
