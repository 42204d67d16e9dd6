"""A comparison as tables in the terminal and as plain data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from longtail.results.comparison import GROUPS, Comparison, Difference, Method
from longtail.results.statistics import INDISTINGUISHABLE, NO_VERDICT, Estimate

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

DASH = "–"
"""Shown where there is no value."""
MOST_DIGITS = 5
"""Of an end of an interval beside 0."""
MINUS = "−"
SHORT = {INDISTINGUISHABLE: "not told apart", NO_VERDICT: "no verdict", "balanced_accuracy": "balanced"}
"""Verdicts and measures in a narrow column; the caption of the table explains the verdicts."""
NARROW = 4
"""Rates for whose differences a narrower terminal has room side by side."""
NAME, NAME_OF_DIFFERENCE = 26, 15
"""Columns of a narrower terminal that the name of a method has beside rates and beside differences."""
WIDE = 120
"""Columns of the terminal from which on a value and its interval are one line."""


class Printed:
    """Tables and lines for a terminal, which the plain ``print`` shows as a ``rich`` console does.

    Args:
        parts: what is shown, in its order.
        columns: width of the text that ``str`` gives.

    Example:
        >>> print(Printed("one", "two", columns=20))
        one
        two
    """

    def __init__(self, *parts: Table | Text | str, columns: int) -> None:
        self.parts, self.columns = parts, columns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text | str]:
        yield from self.parts

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=self.columns, color_system=None)
        with console.capture() as captured:
            console.print(self)
        return captured.get().rstrip("\n")


def table(comparison: Comparison, *, width: int | None = None) -> Printed:
    """Lay out a comparison for the terminal, in per cent.

    Args:
        comparison: what ``compare_records`` returned.
        width: columns of the terminal; found out if left out.

    Returns:
        The rates of each method; the differences from the method they are compared with; those from their own
        controls, if there are any; and the notes. For ``print``, and for a ``rich`` console, which sets it in type.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=folder)
        ...     run = longtail.results.read(folder)
        >>> from rich.console import Console
        >>> comparison = longtail.results.compare_records({"ce": [run], "the same": [run]})
        >>> Console(width=80).print(table(comparison, width=80))
        digits-lt, imbalance 50: 276 training images, accuracy in %
        ...
        Minus ce, in points
        ...
        Many: more than 30 training images; few: fewer than 5.
        ...
    """
    from rich.console import Console
    from rich.text import Text

    columns = Console().width if width is None else width
    wide = columns >= WIDE
    tables = [_rates(comparison, wide=wide)]
    main = [(method, method.difference) for method in comparison.methods if method.difference is not None]
    own = [(method, method.control) for method in comparison.methods if method.control is not None]
    for title, rows, named in ((comparison.against, main, False), ("the own control", own, True)):
        if rows:
            tables += _differences(f"Minus {title}, in points", rows, comparison, wide=wide, named=named)
    parts = [part for made in tables for part in (made, Text())]
    return Printed(*parts, Text("\n".join(comparison.notes)), columns=columns)


def _rates(comparison: Comparison, *, wide: bool) -> Table:
    from rich.text import Text

    data, sizes = comparison.data, comparison.group_sizes
    drawn = "" if data["split_seed"] is None else f", imbalance {data['imbalance']:g}"
    made = _empty(
        f"{data['name']}{drawn}: {data['num_train']:,} training images, {comparison.primary.replace('_', ' ')} in %",
        "mean ± sd (seeds); brackets: 95 % interval; below a group: its classes.",
    )
    first, others = comparison.primary, comparison.others
    for rate in (first, *others):
        size = f"\n({sizes[rate]})" if rate in GROUPS else ""
        made.add_column(SHORT.get(rate, rate) + size, justify="left" if rate == first else "right", no_wrap=True)
    made.add_column("s", justify="right", no_wrap=True)
    for method in comparison.methods:
        made.add_row(
            Text(_name(method) if wide else broken(_name(method), NAME)),
            (" " if wide else "\n").join(
                (over_seeds(method, first), interval(method.estimates[first]) or "no interval")
            ),
            *(percent(method.estimates[rate]) for rate in others),
            f"{method.seconds:,.0f}" if method.seconds >= 10 else f"{method.seconds:.1f}",
        )
    return made


def _differences(
    title: str, rows: list[tuple[Method, Difference]], comparison: Comparison, *, wide: bool, named: bool
) -> Iterator[Table]:
    """One table, or two where a narrow terminal has no room for all rates; the caption is below the last."""
    from rich.text import Text

    caption = "brackets: 95 % intervals that hold together."
    if any(found.verdict == INDISTINGUISHABLE or INDISTINGUISHABLE in found.verdicts.values() for _, found in rows):
        caption += f" {SHORT[INDISTINGUISHABLE].capitalize()}: {INDISTINGUISHABLE}, which does not mean equal."
    shown = comparison.shown
    parts = [shown] if wide or len(shown) <= NARROW else [shown[: -len(GROUPS)], shown[-len(GROUPS) :]]
    for place, rates in enumerate(parts):
        made = _empty(title if place == 0 else f"{title}, by group", caption if place == len(parts) - 1 else "")
        for rate in rates:
            made.add_column(SHORT.get(rate, rate), min_width=14)
        for method, found in rows:
            name = _name(method) + (f"\nminus {found.against}" if named else "")
            if not wide:
                name = broken(name)
                # Verdicts are words and can be broken further; a name that is broken once must not be.
                longest = max(map(len, name.split("\n")))
                made.columns[0].min_width = max(made.columns[0].min_width or 0, min(longest, NAME_OF_DIFFERENCE))
            made.add_row(Text(name), *("\n".join(_parts(found, rate, wide=wide)) for rate in rates))
        yield made


def _empty(title: str, caption: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(
        box=SIMPLE_HEAD,
        title=Text(title, style="table.title"),
        title_justify="left",
        caption=caption,
        caption_justify="left",
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    # Every number stays whole; only names of methods are broken.
    made.add_column("method", overflow="fold")
    return made


def _name(method: Method) -> str:
    return "\n".join((method.name, *method.marks))


def broken(name: str, columns: int = NAME_OF_DIFFERENCE) -> str:
    """Break the name of a method where an option or a word of it begins, where it is longer than a narrow column.

    Example:
        >>> print(broken("ip-dpp@scorer=trained,arm=uniform"))
        ip-dpp
        @scorer=trained
        ,arm=uniform
    """
    lines: list[str] = []
    for line in name.split("\n"):
        lines.append("")
        for part in re.split(r"(?=[@,])|(?<=-)", line):
            if len(lines[-1]) + len(part) <= columns or not lines[-1]:
                lines[-1] += part
            else:
                lines.append(part)
    return "\n".join(lines)


def _parts(found: Difference, rate: str, *, wide: bool) -> Iterator[str]:
    """Lines of one difference: value and interval, together or apart, and verdict."""
    estimate, verdict = found.rates[rate], found.verdicts[rate]
    if estimate is None or verdict is None:
        yield DASH
        return
    both = rate == "accuracy" and estimate.low is None and len(found.seeds) == 2
    value = " and ".join(map(signed, found.seeds)) if both else signed(estimate.value)
    between = interval(estimate, difference=True)
    yield from (f"{value} {between}".rstrip(),) if wide or not between else (value, between)
    yield SHORT.get(verdict, verdict)


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Turn a comparison into dictionaries, lists and numbers; rates in [0, 1].

    Args:
        comparison: what ``compare_records`` returned.

    Returns:
        The fields of ``Comparison`` by name, and so on inwards; ``json.dumps`` takes it as it is.

    Example:
        >>> from longtail.results import Comparison
        >>> empty = Comparison({"name": "digits-lt"}, "ce", methods=(), group_sizes={"many": 3}, notes=("Short.",))
        >>> found = to_json(empty)
        >>> found["data"], found["methods"], found["notes"], found["primary"]
        ({'name': 'digits-lt'}, [], ['Short.'], 'accuracy')
    """
    return {name: _plain(value) for name, value in dataclasses.asdict(comparison).items()}


def percent(estimate: Estimate | None, digits: int = 1) -> str:
    """Write a rate in per cent without its sign, or a dash.

    Example:
        >>> percent(Estimate(0.4512, 0.44, 0.46, 0.001)), percent(None)
        ('45.1', '–')
    """
    return DASH if estimate is None else f"{100 * estimate.value:.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """Write a difference in points with its sign.

    Example:
        >>> signed(0.0123), signed(-0.0123, digits=2), signed(0.0)
        ('+1.2', '−1.23', '0.0')
    """
    text = f"{abs(100 * value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def interval(estimate: Estimate | None, *, difference: bool = False, digits: int = 1) -> str:
    """Write a 95 % interval in per cent, in brackets, or nothing.

    Example:
        >>> interval(Estimate(0.012, -0.001, 0.025, 0.07), difference=True)
        '[−0.1, +2.5]'
        >>> interval(Estimate(0.012, 0.0003, 0.025, 0.07), difference=True)
        '[+0.03, +2.5]'
        >>> interval(Estimate(0.45, 0.44, 0.46, 0.001))
        '[44.0, 46.0]'
    """
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    ends = (estimate.low, estimate.high)
    # An end beside 0 has as many digits as show on which side of 0 it lies, since that is the verdict.
    low, high = (_end(end, digits) if difference else f"{100 * end:.{digits}f}" for end in ends)
    return f"[{low}, {high}]"


def _end(value: float, digits: int) -> str:
    shown = next((more for more in range(digits, MOST_DIGITS) if signed(value, more)[0] in "+−"), digits)
    text = signed(value, shown)
    return text if text[0] in "+−" or value == 0 else ("+" if value > 0 else MINUS) + text


def over_seeds(method: Method, rate: str = "accuracy", digits: int = 1, *, counted: bool = True) -> str:
    """Write mean ± sd, and the number of seeds if ``counted``; both values for two seeds; a dash for an empty group."""
    summary = method.summaries[rate]
    if summary is None:
        return DASH
    if summary.n == 2:
        return " and ".join(f"{100 * value:.{digits}f}" for value in summary.values)
    spread = "" if summary.sd is None else f" ± {100 * summary.sd:.{digits}f}"
    return f"{100 * summary.mean:.{digits}f}{spread}" + (f" ({summary.n})" if counted else "")


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
