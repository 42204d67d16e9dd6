"""Figures of a comparison as inline SVG: no dates, no remote parts, the page's own colours and font.

The same comparison makes the same bytes with the same version of matplotlib.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from longtail.results.comparison import Comparison
from longtail.results.report.series import Bin, Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SERIES = 8
"""Colours that the page's stylesheet defines as --series-0 to --series-7; methods beyond take them again, dashed."""
STYLES = ("solid", "dotted", "dashdot")
"""Of the lines of up to three quantities in one figure of curves."""
# Stand-ins that are replaced by the page's colours, so that a figure is right on a light and on a dark page.
_SERIES = tuple(f"#0000{n:x}1" for n in range(SERIES))
_INK, _FAINT = "#010203", "#040506"
_MARKERS = "osD^vPX*"
_WIDTH, _HEIGHT = 5.8, 3.3  # inches of 72 units


def counts_figure(comparison: Comparison) -> str:
    """Training images of each class, largest first."""
    data = comparison.data
    counts = sorted(data["counts"], reverse=True)
    with _figure(
        "counts",
        "Training images of each class",
        f"{len(counts)} classes from {counts[0]:,} down to {counts[-1]:,} training images, on a logarithmic scale.",
    ) as (axes, done):
        ranks = [0.5, *(rank + 0.5 for rank in range(1, len(counts) + 1))]
        axes.stairs(counts, ranks, baseline=0.8, fill=True, color=_SERIES[0], alpha=0.75, linewidth=0)
        axes.set_yscale("log")
        _ticks(axes.yaxis)
        axes.set_ylim(bottom=0.8)
        axes.set_xlim(ranks[0], ranks[-1])
        _thresholds(axes, data, vertical=False)
        axes.set_xlabel("class, most frequent first")
        axes.set_ylabel("training images")
    return done[0]


def frequency_figure(comparison: Comparison, bins: Sequence[Bin]) -> str:
    """Recall against the number of training images."""
    names = [method.name for method in comparison.methods]
    with _figure(
        "frequency",
        "Accuracy against class frequency",
        f"Recall in per cent of classes by their number of training images, for {', '.join(names)}.",
    ) as (axes, done):
        size = 5.0 if len(bins) <= 20 else 3.0
        for place, name in enumerate(names):
            points = [(part.images, part.recalls[place]) for part in bins]
            known = [(images, 100 * recall) for images, recall in points if recall is not None]
            if not known:
                continue
            images, recalls = zip(*known, strict=True)
            dots: dict[str, Any] = {"marker": _MARKERS[place % SERIES], "markersize": size, "markeredgewidth": 0}
            axes.plot(images, recalls, linestyle="none", color=_colour(place), alpha=0.45, **dots)
            # The line shows the marker in the legend only.
            line = {**dots, "markevery": [], "linewidth": 2.0, "linestyle": _dash(place), "color": _colour(place)}
            axes.plot(*_smooth(images, recalls), label=_label(name), **line)
        axes.set_xscale("log")
        _ticks(axes.xaxis)
        axes.invert_xaxis()
        axes.set_ylim(-3, 108)  # room for the names of the groups
        axes.set_yticks(range(0, 101, 20))
        _thresholds(axes, comparison.data, vertical=True)
        axes.set_xlabel("training images of the class")
        axes.set_ylabel("accuracy in %")
        _legend(axes)
    return done[0]


def groups_figure(comparison: Comparison) -> str:
    """Accuracy over samples, over classes, and of each group, with intervals."""
    methods = comparison.methods
    labels = {"accuracy": "all\nsamples", "balanced_accuracy": "all\nclasses"}
    for group, size in comparison.group_sizes.items():
        labels[group] = f"{group}\n({size})"
    with _figure(
        "groups",
        "Accuracy of each group of classes",
        "Bars with 95 % intervals: accuracy over all samples, over all classes, and of many-, medium- and few-shot "
        f"classes (their number in brackets), for {', '.join(method.name for method in methods)}.",
    ) as (axes, done):
        width = 0.8 / len(methods)
        for place, method in enumerate(methods):
            offset = (place - (len(methods) - 1) / 2) * width
            for position, rate in enumerate(labels):
                estimate = method.estimates[rate]
                x = position + offset
                if estimate is None:
                    axes.text(x, 1, "–", ha="center", va="bottom", color=_INK)
                    continue
                alpha = 0.55 if place >= SERIES else 0.9
                axes.bar(x, 100 * estimate.value, width * 0.92, linewidth=0, color=_colour(place), alpha=alpha)
                if estimate.low is not None and estimate.high is not None:
                    axes.plot([x, x], [100 * estimate.low, 100 * estimate.high], color=_INK, linewidth=1.4)
            axes.bar(0, 0, color=_colour(place), label=_label(method.name), linewidth=0)
        axes.set_xticks(range(len(labels)), list(labels.values()))
        axes.tick_params(axis="x", length=0)
        highest = [e.high or e.value for method in methods for e in method.estimates.values() if e is not None]
        axes.set_ylim(0, min(100.0, 100 * max(highest) + 6))
        axes.set_ylabel("accuracy in %")
        _legend(axes)
    return done[0]


def curves_figure(name: str, title: str, label: str, curves: Mapping[str, Sequence[Curve]], order: list[str]) -> str:
    """Training curves: mean over seeds, and the range of the seeds behind it.

    Args:
        name: unique on the page.
        title: title of the figure.
        label: label of the vertical axis.
        curves: for each method, one or more curves; ``STYLES`` tells their quantities apart.
        order: names of the methods in their order, which decides the colours.
    """
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(curve.name for found in curves.values() for curve in found))
    with _figure(name, title, f"{title} by epoch, for {', '.join(curves)}.") as (axes, done):
        for method, found in curves.items():
            place = order.index(method)
            for curve in found:
                style = STYLES[names.index(curve.name)] if names.index(curve.name) else _dash(place)
                shown, colour = None if curve is not found[0] else _label(method), _colour(place)
                axes.plot(curve.epochs, curve.mean, color=colour, linestyle=style, linewidth=1.6, label=shown)
                if curve.low != curve.high:
                    axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        axes.set_xlabel("epoch, all stages")
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(axes)
    return done[0]


def _colour(place: int) -> str:
    return _SERIES[place % SERIES]


def _dash(place: int) -> Any:
    return "solid" if place < SERIES else (0, (4, 2))


def _smooth(images: Sequence[float], recalls: Sequence[float]) -> tuple[list[float], list[float]]:
    """Means of neighbouring classes, a tenth of them together; of equally frequent ones where there are few."""
    span = len(images) // 20
    found: dict[float, list[float]] = {}
    for place, x in enumerate(images):
        near = recalls[max(0, place - span) : place + span + 1]
        found.setdefault(x, []).append(sum(near) / len(near))
    return list(found), [sum(part) / len(part) for part in found.values()]


def _thresholds(axes: Axes, data: Mapping[str, Any], *, vertical: bool) -> None:
    """Lines at the borders of the groups, where classes lie on both sides."""
    counts = data["counts"]
    for border, below, above in ((data["many"], "medium", "many"), (data["few"], "few", "medium")):
        if not min(counts) < border < max(counts):
            continue
        if vertical:
            axes.axvline(border, color=_FAINT, linewidth=1, linestyle=(0, (3, 3)))
            for text, side, shift in ((above, "right", -5), (below, "left", 5)):
                if text != "medium" or border == data["many"]:
                    axes.annotate(
                        text,
                        (border, 1.0),
                        (shift, -2),
                        xycoords=("data", "axes fraction"),
                        textcoords="offset points",
                        ha=side,
                        va="top",
                        color=_INK,
                    )
        else:
            axes.axhline(border, color=_FAINT, linewidth=1, linestyle=(0, (3, 3)))
            axes.annotate(
                f"{above} above {border}" if above == "many" else f"few below {border}",
                (0.99, border),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color=_INK,
            )


def _ticks(axis: Axis) -> None:
    """Round numbers on a logarithmic axis, written out."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _legend(axes: Axes) -> None:
    """Above the plot, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=max(1, min(4, 62 // (max(map(len, labels)) + 6))),
            frameon=False,
            borderaxespad=0.2,
            handlelength=1.6,
            columnspacing=1.4,
        )


def _label(name: str) -> str:
    """Matplotlib hides labels that begin with an underscore; an invisible character in front shows them."""
    return f"\u200b{name}" if name.startswith("_") else name


@contextmanager
def _figure(name: str, title: str, description: str) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on; when done, the list holds the SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": 11,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "legend.labelcolor": _INK,
        "grid.color": _FAINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
        axes = figure.subplots()
        axes.grid(axis="y", linewidth=0.5, alpha=0.5)
        axes.set_axisbelow(True)
        done: list[str] = []
        yield axes, done
        done.append(_svg(figure, name, title, description))


def _svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure's SVG element, ready to stand in a page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.05, transparent=True, metadata=nothing)
    text = buffer.getvalue()
    head, inner = text[text.index("<svg") :].split(">", 1)
    box = head.split('viewBox="')[1].split('"')[0]
    # A style element would hold for the whole page; the page's own stylesheet says what it said.
    inner = re.sub(r"<(metadata|style)\b.*?</\1>", "", inner, flags=re.DOTALL)
    # An identifier may stand only once in a page, and every figure has its own "axes_1".
    inner = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', inner)
    inner = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", inner)
    for place, stand_in in enumerate(_SERIES):
        inner = inner.replace(stand_in, f"var(--series-{place})")
    inner = inner.replace(_INK, "var(--ink)").replace(_FAINT, "var(--faint)")
    inner = re.sub(r"font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found.group()), inner)
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" '
        f'role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    return start + "\n".join(line.strip() for line in inner.splitlines() if line.strip())
