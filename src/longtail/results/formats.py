"""A comparison as Markdown, LaTeX or CSV, for a README, a paper or a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence

from longtail.results import tables
from longtail.results.comparison import FURTHER, GROUPS, Comparison, Difference, Method

RATES = ("accuracy", *GROUPS, "balanced_accuracy")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "[": "{[}", "]": "{]}", "±": r"$\pm$", "−": r"$-$", "–": "--",
}  # fmt: skip


def markdown(comparison: Comparison) -> str:
    """Lay out a comparison as a Markdown table, in per cent, with its notes below.

    Args:
        comparison: what ``compare_records`` returned.

    Returns:
        The table of GitHub's Markdown, a line for each method.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=folder)
        ...     run = longtail.results.read(folder)
        >>> print(markdown(longtail.results.compare_records({"ce": [run]})).splitlines()[2])
        | method | accuracy | many (3) | medium (4) | few (3) | balanced | seconds |
    """
    head, *rows = _cells(comparison)
    lines = [escaped(_caption(comparison)), "", _bars(head), _bars(["---", *["---:"] * (len(head) - 1)])]
    lines += [_bars(row) for row in rows]
    lines += ["", *(f"* {escaped(note)}" for note in comparison.notes)]
    return "\n".join(lines).rstrip() + "\n"


def latex(comparison: Comparison) -> str:
    r"""Lay out a comparison as a LaTeX table, in per cent; it needs the package booktabs.

    Args:
        comparison: what ``compare_records`` returned.

    Returns:
        A ``table`` environment, whatever signs the names hold; the notes are comments.

    Example:
        >>> text_of("50 % of my_loss & more")
        '50 \\% of my\\_loss \\& more'
    """
    head, *rows = [[text_of(cell) for cell in row] for row in _cells(comparison)]
    body = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        [
            *(f"% {' '.join(note.split())}" for note in comparison.notes),
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{text_of(_caption(comparison))}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def as_csv(comparison: Comparison) -> str:
    """Lay out a comparison as CSV: numbers in [0, 1] in full, a line for each method, each measure in its columns.

    Args:
        comparison: what ``compare_records`` returned.

    Returns:
        The text with a header line. A name that a spreadsheet would take for a formula begins with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measures = [f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high", "_sd")]
    gaps = ["against", "difference", "difference_low", "difference_high", "p_adjusted", "verdict"]
    balanced = [f"balanced_{name}" for name in ("difference", "difference_low", "difference_high", "verdict")]
    decides = ["primary", "primary_difference", "primary_difference_low", "primary_difference_high", "primary_verdict"]
    heads = ["method", "seeds", *measures, *FURTHER, "seconds", *gaps, *balanced, *decides, "marks", "signature"]
    writer.writerow(heads)
    for method in comparison.methods:
        row: list[object] = [method.name, _seeds(method)]
        for rate in RATES:
            estimate, summary = method.estimates[rate], method.summaries[rate]
            row += [None, None, None] if estimate is None else [estimate.value, estimate.low, estimate.high]
            row.append(None if summary is None else summary.sd)
        for rate in FURTHER:
            summary = method.summaries[rate]
            row.append(None if summary is None else summary.mean)
        row.append(method.seconds)
        gap = method.difference
        accuracy = None if gap is None else gap.rates["accuracy"]
        alike = None if gap is None else gap.rates["balanced_accuracy"]
        if gap is None or accuracy is None or alike is None:
            row += [None] * (len(gaps) + len(balanced))
        else:
            row += [gap.against, accuracy.value, accuracy.low, accuracy.high, gap.p_adjusted, gap.verdict]
            row += [alike.value, alike.low, alike.high, gap.verdicts["balanced_accuracy"]]
        row.append(comparison.primary)
        first = None if gap is None else gap.rates[comparison.primary]
        if gap is None or first is None:
            row += [None] * 4
        else:
            row += [first.value, first.low, first.high, gap.verdicts[comparison.primary]]
        row += ["; ".join(method.marks), method.signature]
        writer.writerow([cell(value) for value in row])
    return out.getvalue()


FORMATS: dict[str, Callable[[Comparison], str]] = {"markdown": markdown, "latex": latex, "csv": as_csv}
"""What a table can be written as, by the name on the command line."""


def cell(value: object) -> str | int | float:
    """Return a cell of a CSV file that no spreadsheet takes for a formula, on one line.

    Args:
        value: a text, a number, or None.

    Returns:
        Numbers as they are; a text that begins with =, +, -, @ or a tab with an apostrophe before it.

    Example:
        >>> cell("=1+1"), cell(-0.5), cell(None)
        ("'=1+1", -0.5, '')
    """
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = re.sub(r"[\r\n]+", " ", str(value))
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text


def text_of(text: str) -> str:
    r"""Return a text as LaTeX sets it, whatever signs it holds.

    Args:
        text: any.

    Returns:
        The text with every special sign escaped.

    Example:
        >>> text_of("a_b 5 %")
        'a\\_b 5 \\%'
    """
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _caption(comparison: Comparison) -> str:
    data = comparison.data
    drawn = "" if data["split_seed"] is None else f", imbalance {data['imbalance']:g}"
    return (
        f"{data['name']}{drawn}: {comparison.primary.replace('_', ' ')} in %, mean ± standard deviation (seeds), 95 % "
        f"intervals in brackets; many: more than {data['many']} training images, few: fewer than {data['few']}."
    )


def _cells(comparison: Comparison) -> list[list[str]]:
    """Header and rows as text, in per cent; the measure that decides is the first column."""
    first, others = comparison.primary, comparison.others
    any_gap = any(method.difference is not None for method in comparison.methods)
    gaps = [rate for rate in comparison.shown if rate not in GROUPS or rate == first] if any_gap else []
    sizes = {group: f" ({comparison.group_sizes[group]})" for group in GROUPS}
    head = ["method", *(tables.SHORT.get(rate, rate) + sizes.get(rate, "") for rate in (first, *others))]
    named = [
        f"minus {comparison.against}" + (f", {tables.SHORT.get(rate, rate)}" if rate != first else "") for rate in gaps
    ]
    rows = []
    for method in comparison.methods:
        held = " ".join((tables.over_seeds(method, first), tables.interval(method.estimates[first]))).strip()
        rates = [tables.percent(method.estimates[rate]) for rate in others]
        name = " ".join((method.name, *(f"({mark})" for mark in method.marks)))
        rows.append([name, held, *rates, *(_gap(method.difference, rate) for rate in gaps), f"{method.seconds:,.1f}"])
    return [[*head, *named, "seconds"], *rows]


def _gap(found: Difference | None, rate: str) -> str:
    estimate = None if found is None else found.rates[rate]
    if found is None or estimate is None:
        return tables.DASH
    between = tables.interval(estimate, difference=True)
    return " ".join(word for word in (tables.signed(estimate.value), between, found.verdicts[rate]) if word)


def _seeds(method: Method) -> int:
    summary = method.summaries["accuracy"]
    return 0 if summary is None else summary.n


def _bars(row: Sequence[str]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in row) + " |"


def escaped(text: str) -> str:
    r"""Return a text as Markdown shows it, in one line.

    Args:
        text: any.

    Returns:
        The text with a backslash before each sign that Markdown or HTML reads.

    Example:
        >>> escaped("a_b|c")
        'a\\_b\\|c'
    """
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))
