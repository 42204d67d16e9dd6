"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from longtail.results import tables
from longtail.results.comparison import FURTHER, GROUPS, RATES, Comparison, Difference
from longtail.results.record import Loaded, budget_note
from longtail.results.report import figures
from longtail.results.report.page import environment
from longtail.results.report.series import Curve, curves, frequency_bins
from longtail.results.statistics import INDISTINGUISHABLE, NO_VERDICT, ONE_RUN

PAGE_MARK = b'<meta name="generator" content="longtail report">'
"""Stands near the beginning of every page that is made here, so that no other file is written over."""
TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "macro_f1": "macro F1",
    "geometric_mean": "geometric mean recall",
    "harmonic_mean": "harmonic mean recall",
    "worst_decile": "worst tenth of the classes",
}


def report_html(comparison: Comparison, records: Mapping[str, Sequence[Loaded]]) -> str:
    """The page of a comparison: results, figures with their tables, configurations, runs, and how to read them.

    It needs nothing from the network or beside it, and the same comparison makes the same page.

    Args:
        comparison: what ``compare_records`` returned.
        records: the runs that it was made from, by the name of their row.

    Returns:
        The page's HTML.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=folder)
        ...     records = {"ce": [longtail.results.read(folder)]}
        >>> page = report_html(longtail.results.compare_records(records), records)
        >>> page.lstrip()[:15], "digits-lt" in page, page.count("<svg") > 0
        ('<!doctype html>', True, True)
    """
    from markupsafe import Markup

    names = [method.name for method in comparison.methods]
    records = {name: sorted(records[name], key=lambda run: run.record.seed) for name in names}
    bins = frequency_bins(comparison)
    loss = curves(records, {"loss": "loss"})
    measured = {
        "train_accuracy": "training",
        "validation_accuracy": "validation, over classes",
        "test_accuracy": "test",
    }
    rates = curves(records, measured, scale=100.0)
    drawn = {
        "groups": figures.groups_figure(comparison),
        "frequency": figures.frequency_figure(comparison, bins),
        "counts": figures.counts_figure(comparison),
        "loss": figures.curves_figure("loss", "Training loss", "loss in nats", loss, names) if loss else None,
        "rates": figures.curves_figure("rates", "Accuracy during training", "accuracy in %", rates, names)
        if rates
        else None,
    }
    made = environment(
        percent=tables.percent, interval=tables.interval, signed=tables.signed, over_seeds=tables.over_seeds
    )
    made.filters["number"] = _number
    main = [(method, method.difference) for method in comparison.methods if method.difference is not None]
    own = [(method, method.control) for method in comparison.methods if method.control is not None]
    same, different = configurations({name: runs[0].record.config for name, runs in records.items()})
    return made.get_template("report.html").render(
        comparison=comparison,
        data=comparison.data,
        names=names,
        blocks=[
            (title, found)
            for title, found in ((f"Minus {comparison.against}", main), ("Minus the own control", own))
            if found
        ],
        sentence=sentence,
        budget_note=budget_note,
        figures={name: Markup(svg) if svg is not None else None for name, svg in drawn.items()},
        bins=bins,
        lines=list(dict.fromkeys(curve.name for found in rates.values() for curve in found)),
        curve_tables={name: _rows(found) for name, found in (("loss", loss), ("rates", rates))},
        titles=TITLES,
        rates=RATES,
        further=FURTHER,
        groups=_groups(comparison),
        tested=sum(comparison.methods[0].estimates[group] is not None for group in GROUPS),
        same=same,
        different=different,
        runs=[run for runs in records.values() for run in runs],
        names_of_runs=[name for name, runs in records.items() for _ in runs],
        dash=tables.DASH,
    )


def sentence(found: Difference, rate: str = "accuracy") -> str:
    """Say a verdict in words.

    Args:
        found: a method's difference from another.
        rate: one of ``RATES``. How a difference was tested, and its p-value, are said of the accuracy alone.

    Returns:
        For example "better than ce: +3.10 points, 95 % interval [+1.20, +5.00] (p = 0.002; test images and seeds)".
    """
    gap, verdict = found.rates[rate], found.verdicts[rate]
    if gap is None or verdict is None:
        return ""
    points = f"{tables.signed(gap.value, 2)} points"
    between = tables.interval(gap, difference=True, digits=2)
    if between:
        points += f", 95 % interval {between}"
    elif found.seeds and rate == "accuracy":
        points += f", seed by seed {' and '.join(tables.signed(gap, 2) for gap in found.seeds)}"
    than = {INDISTINGUISHABLE: "from", NO_VERDICT: "against"}.get(verdict, "than")
    word = verdict.replace(ONE_RUN, "")
    here = ONE_RUN if verdict.endswith(ONE_RUN) else ""
    if rate != "accuracy" or found.p is None or found.p_adjusted is None:
        return f"{word} {than} {found.against}{here}: {points}"
    adjusted = "" if found.family == 1 else f", and p {_p(found.p_adjusted)} for {found.family} contrasts together"
    return f"{word} {than} {found.against}{here}: {points} (p {_p(found.p)}{adjusted}; {found.test})"


def configurations(configs: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Fields of the configurations, split into those with one value and those that differ.

    Args:
        configs: the plain form of each method's recipe.

    Returns:
        The common values by dotted name, and for each other name the value of each method, a dash where it has none.

    Example:
        >>> configurations({"a": {"lr": 0.1, "epochs": 3}, "b": {"lr": 0.1, "epochs": 4}})
        ({'lr': '0.1'}, {'epochs': ['3', '4']})
    """
    flat = {name: dict(_flatten(config)) for name, config in configs.items()}
    fields = list(dict.fromkeys(field for values in flat.values() for field in values))
    same, different = {}, {}
    for field in fields:
        values = [found.get(field, tables.DASH) for found in flat.values()]
        if len(set(values)) == 1:
            same[field] = values[0]
        elif field != "name":
            different[field] = values
    return same, different


def _flatten(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        inner = [(key if not path else path if key == "type" else f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        inner = [(f"{path}.{place}", item) for place, item in enumerate(value)]
    else:
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
        return [(path, "none" if value is None else shown)]
    return [pair for name, item in inner for pair in _flatten(item, name)]


def _groups(comparison: Comparison) -> list[dict[str, Any]]:
    """Classes and training images of each group."""
    counts, many, few = (comparison.data[name] for name in ("counts", "many", "few"))
    inside = {
        f"many (more than {many})": [n for n in counts if n > many],
        f"medium ({few} to {many})": [n for n in counts if few <= n <= many],
        f"few (fewer than {few})": [n for n in counts if n < few],
    }
    total = sum(counts)
    return [
        {"name": name, "classes": len(held), "images": sum(held), "share": sum(held) / total if total else 0.0}
        for name, held in inside.items()
    ]


def _rows(found: Mapping[str, Sequence[Curve]]) -> dict[str, Any]:
    """A table of curves: at most 25 epochs, the last among them."""
    columns = [(method, curve) for method, part in found.items() for curve in part]
    if not columns:
        return {"head": [], "rows": []}
    several = any(len(part) > 1 for part in found.values())
    head = [f"{method}, {curve.name}" if several else method for method, curve in columns]
    epochs = max((curve.epochs for _, curve in columns), key=lambda epochs: (epochs[-1], len(epochs)))
    step = math.ceil(len(epochs) / 25)
    rows = []
    for epoch in epochs[(len(epochs) - 1) % step :: step]:
        values = [dict(zip(curve.epochs, curve.mean, strict=True)).get(epoch, math.nan) for _, curve in columns]
        rows.append((epoch, [tables.DASH if math.isnan(value) else f"{value:.4g}" for value in values]))
    return {"head": head, "rows": rows}


def _number(value: float) -> str:
    """A count with separators, or a mean of counts with one decimal."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
