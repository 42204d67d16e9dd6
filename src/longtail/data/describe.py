"""What a data set is: sizes, how long its tail is, shot groups, and the curve of its class counts."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from longtail import counts as measures
from longtail.data.dataset import Data
from longtail.data.hygiene import Summary, near_counted, splits_of, summary
from longtail.data.layout import first
from longtail.data.pictures import printable
from longtail.errors import InputError
from longtail.files import write_figure
from longtail.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUPS = ("many", "medium", "few")
COLOURS = {"many": "#0072B2", "medium": "#009E73", "few": "#D55E00"}
SHOWN = 40
"""So many classes are named in the text."""
BLOCKS = " ▁▂▃▄▅▆▇█"
FEW_TESTED = 5
"""Classes with fewer test images than this are warned of: one image moves their accuracy by a quarter or more."""


@dataclasses.dataclass(frozen=True)
class Description:
    """A data set in numbers.

    Args:
        name: name of the data set.
        num_train: training images, without those held out for validation.
        num_validation: images held out from training.
        num_test: test images.
        image_shape: channels, height and width in pixels; for rows of features how many numbers a row has.
        class_names: K names.
        counts: training images of each class.
        test_counts: test images of each class.
        imbalance: largest over smallest class, of ``counts``.
        gini: 0 for equal classes, towards 1 for a longer tail.
        pareto_ratio: classes sharing the last fifth of the images, for each class sharing the first four fifths.
        groups: number of classes that are many-, medium- and few-shot.
        many: many-shot classes have more training images than this.
        few: few-shot classes have fewer than this.
        profile: profile by which the subset was drawn; None for a set that keeps its own images.
        split_seed: seed from which the subset was drawn; None likewise.
        fingerprint: fingerprint of index list, labels and pixels.
        copies: how many images stand in two splits, under two classes, or twice.
        near_copies: how many pairs of images show nearly the same, or why they were not looked for.
        notes: what was done to the images.
    """

    name: str
    num_train: int
    num_validation: int
    num_test: int
    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    imbalance: float
    gini: float
    pareto_ratio: float
    groups: dict[str, int]
    many: int
    few: int
    profile: str | None
    split_seed: int | None
    fingerprint: str
    copies: Summary
    near_copies: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers."""
        return {
            **dataclasses.asdict(self),
            **{
                name: list(getattr(self, name))
                for name in ("image_shape", "class_names", "counts", "test_counts", "notes")
            },
        }

    def text(self) -> str:
        """The description in lines for a terminal, with the curve."""
        drawn = "no long-tailed subset is drawn from them"
        if self.profile is not None:
            drawn = f"drawn by the {self.profile} profile, split seed {self.split_seed}"
        held = f", {self.num_validation:,} for validation" if self.num_validation else ""
        sizes = " / ".join(str(self.groups[name]) for name in GROUPS)
        lines = [
            f"{self.name}: {self.num_train:,} images in {len(self.counts)} classes to train on{held}, "
            f"{self.num_test:,} to test on",
            f"  images       {_shape(self.image_shape)}; {drawn}",
            f"  per class    {max(self.counts)}..{min(self.counts)}, imbalance {self.imbalance:g}, "
            f"Gini {self.gini:.3f}, Pareto ratio {self.pareto_ratio:.2f}",
            f"  shot groups  many / medium / few: {sizes} classes (>{self.many}, {self.few}..{self.many}, <{self.few})",
            *wrap(
                ", ".join(self._classes()),
                width=118,
                initial_indent="  classes      ",
                subsequent_indent=" " * 15,
                break_on_hyphens=False,
                break_long_words=False,
            ),
            f"  copies       {self.copies.line() or 'none'}",
            f"  near copies  {self.near_copies}",
            f"  fingerprint  {self.fingerprint}",
            *(f"  note         {note}" for note in self.notes),
            "",
            *self.curve(),
            *(f"\n  WARNING      {line}" for line in self.warnings()),
        ]
        return "\n".join(lines)

    def curve(self, columns: int = 60, rows: int = 10) -> list[str]:
        """The counts from the largest class to the smallest as blocks, on a logarithmic axis.

        Args:
            columns: columns of the drawing; fewer if they do not divide among few classes.
            rows: rows of the drawing.
        """
        sizes = sorted(self.counts, reverse=True)
        shown = _columns(sizes, columns)
        low, high = math.log(sizes[-1]), math.log(sizes[0])
        # The smallest class shows as the lowest block, so that no class looks empty.
        steps = 8 * rows - 1
        levels = [1 + round(steps * (math.log(n) - low) / (high - low)) if high > low else 8 * rows for n in shown]
        margin = len(str(sizes[0]))
        lines, told = [], None
        for row in reversed(range(rows)):
            value = round(math.exp(low + (high - low) * (8 * row + 7) / steps)) if row > 0 else sizes[-1]
            shows = value != told and (row == 0 or (rows - 1 - row) % 3 == 0)
            mark, told = (str(value), value) if shows else ("", told)
            blocks = "".join(BLOCKS[min(max(level - 8 * row, 0), 8)] for level in levels)
            lines.append(f"{mark:>{margin}} │{blocks.rstrip()}")
        lines.append(" " * margin + " └" + "─" * len(shown))
        lines.append(" " * (margin + 2) + _brackets([self._group(n) for n in shown]))
        lines.append(" " * (margin + 2) + "training images of each class, the largest first; logarithmic axis")
        return lines

    def _classes(self) -> list[str]:
        """The classes and their counts, the largest first; of many the largest and the smallest."""
        order = sorted(range(len(self.counts)), key=lambda c: (-self.counts[c], c))
        named = [f"{printable(self.class_names[c])} ({self.counts[c]:,})" for c in order]
        if len(named) <= SHOWN:
            return named
        return [*named[: SHOWN // 2], f"... {len(named) - SHOWN} more (--json names all) ...", *named[-SHOWN // 2 :]]

    def warnings(self) -> list[str]:
        """That classes have too few test images to say how good a network is at them; nothing if none has."""
        few = sorted((n, c) for c, n in enumerate(self.test_counts) if n < FEW_TESTED)
        if not few:
            return []
        have = counted(len(few), "class has", "classes have")
        named = first([f"{printable(self.class_names[c])} ({n})" for n, c in few])
        return [f"{have} fewer than {FEW_TESTED} test images: {named}"]

    def _group(self, images: int) -> str:
        return "many" if images > self.many else "few" if images < self.few else "medium"


def describe(data: Data) -> Description:
    """Describe a data set.

    Example:
        >>> from longtail.data import load
        >>> description = describe(load("digits-lt"))
        >>> description.groups, description.imbalance
        ({'many': 3, 'medium': 3, 'few': 4}, 100.0)
    """
    groups = measures.shot_groups(data.counts, many=data.many, few=data.few)
    return Description(
        name=data.name,
        num_train=len(data.train),
        num_validation=0 if data.validation is None else len(data.validation),
        num_test=len(data.test),
        image_shape=tuple(data.train.images.shape[1:]),
        class_names=data.class_names,
        counts=tuple(data.counts.tolist()),
        test_counts=tuple(measures.class_counts(data.test.target, data.num_classes).tolist()),
        imbalance=measures.imbalance(data.counts),
        gini=measures.gini(data.counts),
        pareto_ratio=measures.pareto_ratio(data.counts),
        groups={name: int(groups[name].sum()) for name in GROUPS},
        many=data.many,
        few=data.few,
        profile=data.profile,
        split_seed=data.split_seed,
        fingerprint=data.fingerprint,
        copies=summary(data),
        near_copies=near_counted(splits_of(data))[0],
        notes=data.notes,
    )


def figure(description: Description) -> Figure:
    """The class-count curve: a bar for each class from the largest to the smallest, coloured by shot group."""
    # Not pyplot: a library must not open windows or keep figures alive.
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ordered = sorted(description.counts, reverse=True)
    drawing = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = drawing.add_subplot()
    start = 0
    for name in GROUPS:
        members = [n for n in ordered if description._group(n) == name]
        if not members:
            continue
        edges = range(start, start + len(members) + 1)
        rule = {"many": f"> {description.many}", "few": f"< {description.few}"}.get(
            name, f"{description.few}..{description.many}"
        )
        label = f"{name}: {counted(len(members), 'class')} ({rule})"
        axes.stairs(members, edges, fill=True, color=COLOURS[name], label=label)
        start += len(members)
    axes.set_yscale("log")
    axes.set_xlim(0, len(ordered))
    # Room below the smallest class: a bar that starts at its own value would not be seen.
    axes.set_ylim(ordered[-1] / 1.6, ordered[0] * 1.3)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("classes, the largest first")
    axes.set_ylabel("training images")
    axes.set_title(
        f"{description.name}\n{description.num_train:,} images, {ordered[0]:,}..{ordered[-1]:,} per class, "
        f"Gini {description.gini:.2f}",
        fontsize="medium",
        loc="left",
        parse_math=False,
    )
    # Below the drawing, where no shape of tail can run into it.
    drawing.legend(loc="outside lower center", ncols=len(GROUPS), frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return drawing


def save_figure(description: Description, path: pathlib.Path) -> None:
    """Draw the class-count curve to a .png or .svg file; the same description gives the same file.

    Raises:
        InputError: another ending, or a file that cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"{path}: a figure is drawn to a .png or .svg file")
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": description.fingerprint, "svg.fonttype": "none"}):
        write_figure(path, figure(description), dpi=150)


def _shape(shape: tuple[int, ...]) -> str:
    """Size and kind of a picture, or that there are none."""
    if len(shape) != 3:
        return f"rows of {' x '.join(map(str, shape))} numbers, no pictures"
    channels, height, width = shape
    return f"{width} x {height} " + {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")


def _columns(sizes: list[int], columns: int) -> list[int]:
    """A class for each column: several columns for each of a few classes, every n-th of many."""
    if len(sizes) <= columns:
        return [n for n in sizes for _ in range(columns // len(sizes))]
    return [sizes[round(column * (len(sizes) - 1) / (columns - 1))] for column in range(columns)]


def _brackets(groups: list[str]) -> str:
    """The names of the groups below their columns, as ``├─ many ─┤├─ medium ─┤``."""
    found = ""
    for name in GROUPS:
        width = groups.count(name)
        wide = width >= len(name) + 4
        found += "├" + f" {name} ".center(width - 2, "─") + "┤" if wide else name[:width].center(width)
    return found
