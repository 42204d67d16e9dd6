"""The page for people who look: pictures of mistakes, rare classes, confusions, calibration, doubts about labels."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from longtail.results import tables
from longtail.results.statistics import Estimate
from longtail.shapes import Int, UInt8

SIDE = 96
"""Longest side of a thumbnail in pixels; smaller pictures are embedded as they are."""
LOSSLESS = 48
"""Thumbnails up to this side are PNG; larger ones are JPEG."""
CELLS = 60
"""Rows of the confusion matrix at most; beyond, neighbours in frequency share a row."""
NAMED = 24
"""Classes up to which the rows of the confusion matrix have names."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A thumbnail with what stands below it.

    Args:
        src: the picture as a data address; empty where there is none to show, as for rows of features.
        name: its path or number.
        lines: what is said of it; the first is strong.
        right: whether it was recognised; None where that is not the question.
    """

    src: str
    name: str
    lines: tuple[str, ...]
    right: bool | None = None


@dataclasses.dataclass(frozen=True)
class Rare:
    """A rare class: what it was trained on, and what its test pictures were taken for.

    Args:
        name: of the class.
        trained: number of training images.
        right: test images that were recognised.
        tested: test images.
        train: some training pictures.
        test: some test pictures.
    """

    name: str
    trained: int
    right: int
    tested: int
    train: tuple[Picture, ...]
    test: tuple[Picture, ...]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two classes that are confused.

    Args:
        true: name of the class.
        taken: name of the class that it was taken for.
        times: test images of which this is so.
        share: of the test images of the class.
        back: test images of the other class that were taken for this one.
        counts: training images of both.
    """

    true: str
    taken: str
    times: int
    share: float
    back: int
    counts: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Row:
    """One class.

    Args:
        name: of the class.
        trained: training images.
        tested: test images.
        recall: share of its test images that were recognised; None without any.
        precision: share of the answers with this class that were right; None without any.
        taken: what it is most often taken for, with how often; empty if never for another.
    """

    name: str
    trained: int
    tested: int
    recall: float | None
    precision: float | None
    taken: str


@dataclasses.dataclass(frozen=True)
class Trust:
    """Calibration of the test images of a group.

    Args:
        name: of the group.
        tested: test images.
        accuracy: of them.
        confidence: mean of the largest probability.
        ece: expected calibration error.
        nll: negative log-likelihood in nats.
    """

    name: str
    tested: int
    accuracy: float
    confidence: float
    ece: float
    nll: float


@dataclasses.dataclass(frozen=True)
class Looked:
    """Everything that the page shows of one run.

    Args:
        recipe: name of the method.
        seed: of the run.
        data: of the record.
        rates: accuracy by what it is over, with its interval; None for an empty group.
        mistakes: the most confident wrong answers.
        wrong: number of wrong answers.
        rare: the rarest classes with test images.
        pairs: the most frequent confusions.
        matrix: the confusion matrix as SVG.
        rows: all classes, the largest first.
        trust: calibration by group.
        priors: accuracy under other class frequencies.
        near: pairs of near duplicates across the splits, as pictures; None where they were not looked for.
        near_told: what was found, or why nothing was looked for.
        suspects: training images that held-out folds contradict.
        suspects_told: what was found, or why nothing was looked for.
        notes: of the data and of the run.
    """

    recipe: str
    seed: int
    data: dict[str, Any]
    rates: tuple[tuple[str, Estimate | None], ...]
    mistakes: tuple[Picture, ...]
    wrong: int
    rare: tuple[Rare, ...]
    pairs: tuple[Pair, ...]
    matrix: str
    rows: tuple[Row, ...]
    trust: tuple[Trust, ...]
    priors: tuple[tuple[str, str, Estimate], ...]
    near: tuple[tuple[Picture, Picture], ...]
    near_told: str
    suspects: tuple[Picture, ...]
    suspects_told: str
    notes: tuple[str, ...]


def looked_html(found: Looked) -> str:
    """Lay out what was looked at as one page that needs nothing beside it.

    Args:
        found: what ``longtail.analysis.mistakes.look`` returns.

    Returns:
        The page's HTML, pictures included.
    """
    from markupsafe import Markup

    from longtail.results.report.page import environment

    return environment(percent=tables.percent, interval=tables.interval).get_template("looked.html").render(
        found=found, matrix=Markup(found.matrix), dash=tables.DASH
    )  # fmt: skip


def address_of(image: UInt8[Tensor, "C H W"]) -> str:
    """Return a picture as a data address, scaled down to a thumbnail.

    Args:
        image: (C, H, W) uint8; with other than 1 or 3 channels their mean is shown, in grey.

    Returns:
        ``data:image/...;base64,...``.

    Example:
        >>> import torch
        >>> address_of(torch.zeros(1, 4, 4, dtype=torch.uint8))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    values = image.cpu().numpy()
    if len(values) not in (1, 3):
        values = values.mean(axis=0, keepdims=True).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0)))
    picture.thumbnail((SIDE, SIDE))
    kind = "png" if max(picture.size) <= LOSSLESS else "jpeg"
    held = io.BytesIO()
    picture.save(held, format=kind, **({"quality": 85} if kind == "jpeg" else {"optimize": True}))
    return f"data:image/{kind};base64,{base64.b64encode(held.getvalue()).decode()}"


def matrix_svg(
    target: Int[Tensor, " N"], prediction: Int[Tensor, " N"], counts: Sequence[int], names: Sequence[str]
) -> str:
    """Draw the confusion matrix, the class with most training images first, each row in shares of its test images.

    Args:
        target: (N,) true classes.
        prediction: (N,) predicted classes.
        counts: (K,) training images.
        names: K names.

    Returns:
        An SVG in the page's colours, with a title in every cell that is not empty.
    """
    order = sorted(range(len(counts)), key=lambda k: -counts[k])
    cells = min(len(order), CELLS)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) * cells // len(order)
    table = np.zeros((cells, cells), dtype=np.int64)
    np.add.at(table, (place[target.numpy()], place[prediction.numpy()]), 1)
    labels = [[names[k] for k in order if place[k] == cell] for cell in range(cells)]
    shown = ["" if cells > NAMED else _short(held[0]) for held in labels]
    told = [held[0] if len(held) == 1 else f"{held[0]} to {held[-1]}" for held in labels]
    left, side = (120 if cells <= NAMED else 24), 480 / cells
    size = left + 480 + 4
    parts = [
        f'<svg viewBox="0 0 {size} {size}" role="img" aria-label="Confusion matrix of {len(order)} classes">',
        f'<rect x="{left}" y="{left}" width="480" height="480" fill="none" stroke="var(--line)"/>',
    ]
    for row in range(cells):
        total = int(table[row].sum())
        y = left + row * side
        if shown[row]:
            text = html.escape(shown[row])
            parts.append(f'<text x="{left - 6}" y="{y + side / 2 + 4:.1f}" text-anchor="end">{text}</text>')
            x = left + row * side + side / 2 + 4
            parts.append(f'<text transform="translate({x:.1f} {left - 6}) rotate(-90)">{text}</text>')
        for column in np.flatnonzero(table[row]).tolist():
            share = table[row, column] / total
            colour = "var(--series-2)" if row == column else "var(--series-6)"
            title = html.escape(f"{told[row]} taken for {told[column]}: {table[row, column]} of {total}")
            parts.append(
                f'<rect x="{left + column * side:.2f}" y="{y:.2f}" width="{side:.2f}" height="{side:.2f}" '
                f'fill="{colour}" fill-opacity="{0.12 + 0.88 * share:.2f}"><title>{title}</title></rect>'
            )
    if cells > NAMED:
        parts.append(f'<text x="{left}" y="16">predicted, most frequent class first</text>')
        parts.append(f'<text transform="translate(16 {left}) rotate(-90)" text-anchor="end">true</text>')
    return "".join([*parts, "</svg>"])


def _short(name: str, length: int = 17) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
