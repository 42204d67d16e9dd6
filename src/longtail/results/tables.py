"""A comparison as a table in the terminal and as plain data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from longtail.results.comparison import Comparison, Difference, Method
from longtail.results.statistics import Estimate

if TYPE_CHECKING:
    from rich.table import Table

DASH = "–"
"""Shown where there is no value."""
MINUS = "−"


def table(comparison: Comparison) -> Table:
    """A comparison for the terminal, in per cent; brackets hold 95 % intervals.

    Args:
        comparison: from ``compare_records``.

    Returns:
        One row for each method.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    data = comparison.data
    sizes = comparison.group_sizes
    drawn = "" if data["split_seed"] is None else f", imbalance {data['imbalance']:g}"
    made = Table(
        box=SIMPLE_HEAD,
        title=f"{data['name']}{drawn}: {data['num_train']:,} training images, accuracy in %",
        caption="\n".join(("mean ± sd (seeds); brackets: 95 % intervals.", *comparison.notes)),
        caption_justify="left",
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    # Widths that leave every number whole in 80 columns; only names of methods are broken.
    made.add_column("method", overflow="fold")
    made.add_column("accuracy", no_wrap=True)
    for group in ("many", "medium", "few"):
        made.add_column(f"{group}\n({sizes[group]})", justify="right", no_wrap=True)
    made.add_column("bal-\nanced", justify="right", no_wrap=True)
    made.add_column("minus the first", no_wrap=True)
    made.add_column("s", justify="right", no_wrap=True)
    for method in comparison.methods:
        made.add_row(
            method.name,
            _accuracy(method),
            *(percent(method.estimates[group]) for group in ("many", "medium", "few", "balanced_accuracy")),
            "first" if method.difference is None else _difference(method.difference),
            f"{method.seconds:,.0f}" if method.seconds >= 10 else f"{method.seconds:.1f}",
        )
    return made


def to_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as dictionaries, lists and numbers; rates in [0, 1]."""
    plain = _plain(dataclasses.asdict(comparison))
    assert isinstance(plain, dict)
    return plain


def percent(estimate: Estimate | None, digits: int = 1) -> str:
    """A rate in per cent without its sign, or a dash.

    Example:
        >>> percent(Estimate(0.4512, 0.44, 0.46, 0.001)), percent(None)
        ('45.1', '–')
    """
    return DASH if estimate is None else f"{100 * estimate.value:.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """A difference in points with its sign.

    Example:
        >>> signed(0.0123), signed(-0.0123, digits=2), signed(0.0)
        ('+1.2', '−1.23', '0.0')
    """
    text = f"{abs(100 * value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def interval(estimate: Estimate | None, *, difference: bool = False, digits: int = 1) -> str:
    """The 95 % interval in per cent, in brackets, or nothing.

    Example:
        >>> interval(Estimate(0.012, -0.001, 0.025, 0.07), difference=True)
        '[−0.1, +2.5]'
        >>> interval(Estimate(0.45, 0.44, 0.46, 0.001))
        '[44.0, 46.0]'
    """
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    ends = (estimate.low, estimate.high)
    low, high = (signed(end, digits) if difference else f"{100 * end:.{digits}f}" for end in ends)
    return f"[{low}, {high}]"


def over_seeds(method: Method, rate: str = "accuracy", digits: int = 1, *, counted: bool = True) -> str:
    """Mean ± sd, and the number of seeds if ``counted``; both values for two seeds; a dash for an empty group."""
    summary = method.summaries[rate]
    if summary is None:
        return DASH
    if summary.n == 2:
        return " and ".join(f"{100 * value:.{digits}f}" for value in summary.values)
    spread = "" if summary.sd is None else f" ± {100 * summary.sd:.{digits}f}"
    return f"{100 * summary.mean:.{digits}f}{spread}" + (f" ({summary.n})" if counted else "")


def _accuracy(method: Method) -> str:
    return f"{over_seeds(method)}\n{interval(method.estimates['accuracy']) or 'no interval'}"


def _difference(difference: Difference) -> str:
    accuracy = difference.rates["accuracy"]
    value = DASH if accuracy is None else signed(accuracy.value)
    between = interval(accuracy, difference=True)
    if not between and difference.seeds:
        value = " and ".join(signed(gap) for gap in difference.seeds)
    return "\n".join(line for line in (value, between, difference.verdict.replace(" at", "\nat")) if line)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
