"""Charts as inline SVG: coloured by the page's style sheet, titled, and always beside a table of the same numbers."""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 760, 312
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 14, 50
_FLOOR = 0.5
"""Where a logarithmic axis of images begins, so that a class of one image has a bar that can be seen."""


@dataclass(frozen=True)
class Point:
    """One dated result of a track."""

    date: str
    track: str
    value: float
    method: str
    rescored: bool


@dataclass(frozen=True)
class Step:
    """A result that was the best of its track when it appeared."""

    date: str
    track: str
    value: float
    method: str
    rescored: bool
    told: bool


def steps(points: Sequence[Point], resolution: float | None, higher_is_better: bool) -> list[Step]:
    """The results that moved the state of the art of their track, in order of date.

    Args:
        points: in order of date.
        resolution: what the test set can tell apart; ``told`` says whether the step is larger.
        higher_is_better: the measure's direction.

    Returns:
        The steps of all tracks.
    """
    sign = 1.0 if higher_is_better else -1.0
    best: dict[str, float] = {}
    out = []
    for point in points:
        held = best.get(point.track)
        if held is None or sign * (point.value - held) > 0:
            told = held is None or sign * (point.value - held) > (resolution or 0.0)
            out.append(Step(point.date, point.track, point.value, point.method, point.rescored, told))
            best[point.track] = point.value
    return out


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    span = max(high - low, 1e-9)
    step = 10.0 ** math.floor(math.log10(span / count))
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= count:
            step *= factor
            break
    first = math.ceil(low / step) * step
    return [first + i * step for i in range(int((high - first) / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _dates(start: float, end: float) -> list[tuple[int, str]]:
    """Days to mark, with labels: beginnings of years between two days, of months where fewer than two years begin."""
    first, last = (datetime.date.fromordinal(round(day)) for day in (start, end - 0.016 * (end - start)))
    held = itertools.product(range(first.year, last.year + 1), range(1, 13))
    months = [day for day in (datetime.date(year, month, 1) for year, month in held) if first <= day <= last]
    years = [day for day in months if day.month == 1]
    marked, label = (years, "%Y") if len(years) > 1 else (months, "%Y-%m")
    return [(day.toordinal(), day.strftime(label)) for day in marked[:: max(1, math.ceil(len(marked) / 8))]]


def progress(
    points: Sequence[Point], *, resolution: float | None, higher_is_better: bool, name: str, axis: str
) -> Markup:
    """State of the art over time: one step line per track with the band that the test set cannot resolve.

    Args:
        points: in order of date; hollow marks are claims, filled ones were re-scored.
        resolution: half-width of the band, in the measure's unit.
        higher_is_better: the measure's direction.
        name: of the board, for the title.
        axis: what the vertical axis shows.

    Returns:
        The SVG; empty without points.
    """
    if not points:
        return Markup("")
    days = [datetime.date.fromisoformat(point.date).toordinal() for point in points]
    first, last = min(days), max(days)
    pad = max((last - first) * 0.04, 60)
    start, end = first - pad, last + pad
    low, high = min(point.value for point in points), max(point.value for point in points)
    room = max((high - low) * 0.08, resolution or 0.5)
    low, high = low - room, high + room

    def x(day: int | float) -> float:
        return _LEFT + (day - start) / (end - start) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    out = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(name)}: best result so far by date, one line for each track</title>",
        "<desc>The numbers are in the table below. Hollow marks are claims, filled marks were re-scored.</desc>",
    ]
    for value in _ticks(low, high):
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        out.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y(value) + 4:.1f}">{_number(value)}</text>')
    for day, label in [(first, points[0].date)] if first == last else _dates(start, end):  # one day has no scale
        at = x(day)
        if first != last:
            out.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        out.append(f'<text class="tick middle" x="{at:.1f}" y="{_HEIGHT - 30}">{escape(label)}</text>')
    found = steps(points, resolution, higher_is_better)
    for track in dict.fromkeys(step.track for step in found):
        line = [step for step in found if step.track == track]
        places = [(x(datetime.date.fromisoformat(step.date).toordinal()), step.value) for step in line]
        corners: list[tuple[float, float]] = []
        for i, (at, value) in enumerate(places):
            if i:
                corners.append((at, places[i - 1][1]))
            corners.append((at, value))
        corners.append((x(end), places[-1][1]))
        css = f"track-{escape(track)}"
        if resolution:
            upper = [f"{at:.1f},{y(value + resolution):.1f}" for at, value in corners]
            lower = [f"{at:.1f},{y(value - resolution):.1f}" for at, value in reversed(corners)]
            out.append(f'<polygon class="band {css}" points="{" ".join(upper + lower)}"/>')
        path = " ".join(f"{at:.1f},{y(value):.1f}" for at, value in corners)
        out.append(f'<polyline class="line {css}" points="{path}"/>')
    shown = points if len(points) <= 250 else points[:: math.ceil(len(points) / 250)]
    on_line = {(step.date, step.track, step.value) for step in found}
    for point in shown:
        at = x(datetime.date.fromisoformat(point.date).toordinal())
        kind = "filled" if point.rescored else "hollow"
        radius = "4" if (point.date, point.track, point.value) in on_line else "2.6"
        out.append(
            f'<circle class="mark {kind} track-{escape(point.track)}" cx="{at:.1f}" cy="{y(point.value):.1f}"'
            f' r="{radius}"><title>{escape(point.method[:80])}: {point.value:.2f} ({escape(point.date)})</title>'
            "</circle>"
        )
    out.append(f'<text class="tick" x="{_LEFT + 6}" y="{_TOP + 10}">{escape(axis)}</text>')
    out.append(
        f'<text class="tick middle" x="{_WIDTH / 2:.0f}" y="{_HEIGHT - 4}">date of the paper or run</text></svg>'
    )
    return Markup("".join(out))


def class_counts(counts: Sequence[int], *, many: int, few: int, name: str) -> Markup:
    """The tail itself: training images of each class in descending order, on a logarithmic axis, by shot group.

    Args:
        counts: images per class.
        many: classes with more count as many.
        few: classes with fewer count as few.
        name: of the data set, for the title.
    """
    ordered = sorted(counts, reverse=True)
    width, height = 520, 206
    top = math.log10(max(ordered[0], 10)) * 1.04
    span = width - _LEFT - _RIGHT
    bar = span / len(ordered)

    floor = math.log10(_FLOOR)

    def y(count: int | float) -> float:
        share = (math.log10(max(count, _FLOOR)) - floor) / (top - floor)
        return _TOP + (1 - share) * (height - _TOP - _BOTTOM)

    out = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(name)}: training images of each class, from {ordered[0]} down to {ordered[-1]}</title>",
        "<desc>Logarithmic vertical axis; classes in descending order, coloured by shot group.</desc>",
    ]
    for power in range(int(top) + 1):
        out.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y(10**power):.1f}" y2="{y(10**power):.1f}"/>'
        )
        out.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y(10**power) + 4:.1f}">{10**power}</text>')
    for group, inside in (
        ("many", [i for i, count in enumerate(ordered) if count > many]),
        ("medium", [i for i, count in enumerate(ordered) if few <= count <= many]),
        ("few", [i for i, count in enumerate(ordered) if count < few]),
    ):
        if inside:
            bottom = height - _BOTTOM
            path = [f"M{_LEFT + inside[0] * bar:.1f} {bottom}"]
            path += [f"V{y(ordered[i]):.1f}H{_LEFT + (i + 1) * bar:.1f}" for i in inside]
            out.append(f'<path class="area {group}" d="{"".join(path)}V{bottom}Z"/>')
            middle = _LEFT + (inside[0] + inside[-1] + 1) / 2 * bar
            out.append(f'<text class="tick middle" x="{middle:.1f}" y="{height - 22}">{group} ({len(inside)})</text>')
    out.append(f'<text class="tick" x="{_LEFT + 6}" y="{_TOP + 2}">training images of a class (logarithmic)</text>')
    out.append(f'<text class="tick middle" x="{width / 2:.0f}" y="{height - 5}">classes, the largest first</text>')
    out.append("</svg>")
    return Markup("".join(out))


def intervals(rows: Sequence[tuple[str, float, float, float, bool]], *, name: str, unit: str = "") -> Markup:
    """A dot with its interval for each of a few results.

    Args:
        rows: ``(label, value, low, high, re-scored)``.
        name: the title.
        unit: of the numbers.
    """
    if not rows:
        return Markup("")
    low, high = min(row[2] for row in rows), max(row[3] for row in rows)
    room = max((high - low) * 0.06, 0.2)
    low, high = low - room, high + room
    left, width, line = 300, 740, 30
    height = line * len(rows) + 34

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - 20)

    out = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img"><title>{escape(name)}</title>',
        "<desc>Each line is a result with its 95 % interval; the numbers are in the table.</desc>",
    ]
    for value in _ticks(low, high):
        out.append(f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="4" y2="{height - 26}"/>')
        out.append(f'<text class="tick middle" x="{x(value):.1f}" y="{height - 10}">{_number(value)}{unit}</text>')
    for i, (label, value, lower, upper, rescored) in enumerate(rows):
        at = 18 + i * line
        css = "filled" if rescored else "hollow"
        short = label if len(label) <= 38 else label[:37] + "…"
        out.append(f'<text class="label end" x="{left - 12}" y="{at + 4}">{escape(short)}</text>')
        out.append(f'<line class="line track-scratch" x1="{x(lower):.1f}" x2="{x(upper):.1f}" y1="{at}" y2="{at}"/>')
        out.append(
            f'<circle class="mark {css} track-scratch" cx="{x(value):.1f}" cy="{at}" r="5">'
            f"<title>{escape(label)}: {value:.2f} [{lower:.2f}, {upper:.2f}]</title></circle>"
        )
    out.append("</svg>")
    return Markup("".join(out))
