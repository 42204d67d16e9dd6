"""Fill the tables of pages from the records that they name; nothing is typed by hand.

A page marks a table by two comments:

    <!-- table: records/FOLDER against=ce,tuned@of=ce -->
    <!-- end of table -->

Between them go the methods of the folder in the order of their accuracy: mean and standard deviation over seeds with
the 95 % interval, the groups, and the difference from each of the rows named, whose intervals hold together in each
column. With ``control`` among them a column has each method's difference from its own control. With ``only=name;name``
other rows are left out, and with ``groups=no`` the groups.

``<!-- claims: PAPER -->`` in place of the first comment asks for the claims of a paper in records/claims.toml: each
with the difference that was measured, the verdict of ``longtail.results.claims``, and how it moves when the tolerance
of one point is halved or doubled.

    python benchmarks/tables.py            # write the pages that have such marks
    python benchmarks/tables.py --check    # say which page is not as its records are; status 1 if there is one
"""

from __future__ import annotations

import functools
import pathlib
import re
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

from longtail import results
from longtail.board.verdicts import TOLERANCE, reproduction
from longtail.results.claims import judge, moved
from longtail.training.many import compare_rows, loaded_rows

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ("README.md", "docs/*.md", "records/*/README.md", "records/README.md")
MARK = re.compile(r"(<!-- (?P<kind>table|claims): (?P<what>.+?) -->\n).*?(<!-- end of table -->)", re.DOTALL)
GROUPS = ("many", "medium", "few")
FEWEST = 3
"""Seeds below which no verdict on a method is given, whatever one run says."""


def pages() -> list[pathlib.Path]:
    """The pages with a marked table."""
    found = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    return [path for path in found if MARK.search(path.read_text())]


def filled(text: str) -> str:
    """A page with every marked table made anew from its records."""
    makers = {"table": table, "claims": claims}
    return MARK.sub(lambda mark: mark[1] + makers[mark["kind"]](mark["what"]) + mark[4], text)


@functools.cache
def comparison(folder: str, against: str) -> results.Comparison:
    """The runs below a folder, compared with one row."""
    return compare_rows(_rows(folder), against=against)


@functools.cache
def _rows(folder: str) -> dict[str, list[results.Loaded]]:
    return loaded_rows([ROOT / folder])


def table(what: str) -> str:
    """One table in Markdown.

    Args:
        what: a folder, then ``against=...``, ``only=...``, ``groups=...``.
    """
    folder, *options = what.split(" ")
    named = dict(option.split("=", 1) for option in options)
    against = named.get("against", "ce").split(",")
    baselines = [name for name in against if name != "control"]
    columns = {name: {method.name: method for method in comparison(folder, name).methods} for name in baselines}
    first = columns[baselines[0]]
    sizes = comparison(folder, baselines[0]).group_sizes
    groups = [group for group in GROUPS if sizes[group] and named.get("groups") != "no"]
    names = named["only"].split(";") if "only" in named else list(first)
    rows = [
        "| method | accuracy % | "
        + "".join(f"{group} ({sizes[group]}) | " for group in groups)
        + "".join("minus its control | " if name == "control" else f"minus `{name}` | " for name in against),
        "|---" * (2 + len(groups) + len(against)) + "|",
    ]
    for name in sorted(names, key=lambda each: -_mean(first[each], "accuracy")):
        method = first[name]
        cells = [f"`{name}`", rate(method), *(per_cent(_mean(method, group)) for group in groups)]
        for other in against:
            found = method.control if other == "control" else columns[other][name].difference
            cells.append("" if found is None else gap(found))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(row.rstrip() for row in rows) + "\n"


def claims(paper: str) -> str:
    """The claims of a paper beside what was measured, in Markdown."""
    rows = [
        "| claim | measured on | measured, points | verdict | tolerance halved or doubled |",
        "|---|---|---|---|---|",
    ]
    for claim in tomllib.loads((ROOT / "records/claims.toml").read_text())["claim"]:
        if claim["paper"] != paper:
            continue
        said = f"{claim['says']} ([{claim['where']}]({claim['url']}))"
        tests = claim["tests"] or [{"on": "nothing that we could run"}]
        for number, test in enumerate(tests):
            rows.append(f"| {'' if number else said} | {test['on']} | {' | '.join(tested(test))} |")
    return "\n".join(row.replace("|  |", "| |") for row in rows) + "\n"


def tested(test: Mapping[str, Any]) -> tuple[str, str, str]:
    """What was measured, the verdict on a claim, and how it moves with the tolerance."""
    folder = f"records/{test.get('folder')}"
    rows = _rows(folder) if (ROOT / folder).is_dir() else {}
    needed = {test.get("method"), test.get("against", test.get("method"))}
    if "folder" not in test or not needed <= rows.keys():
        return "", "not tested", ""
    measure = test.get("measure", "accuracy")
    if "value" in test:
        held = next(m for m in comparison(folder, test["method"]).methods if m.name == test["method"]).summaries[
            measure
        ]
        spread = None if held.sd is None else 100 * held.sd
        found = [
            reproduction(test["value"], 100 * held.mean, len(held.values), spread, tolerance=factor * TOLERANCE)
            for factor in (1.0, 0.5, 2.0)
        ]
        shown = f"{per_cent(held.mean)} ({len(held.values)}) against {test['value']}"
        others = zip(("halved", "doubled"), found[1:], strict=True)
        return shown, found[0].word, ", ".join(f"{k}: {v.word}" for k, v in others if v.word != found[0].word)
    (method,) = (m for m in comparison(folder, test["against"]).methods if m.name == test["method"])
    estimate = method.difference.rates[measure]
    fewest = min(len(method.seeds), len(rows[test["against"]]))
    ends = (estimate.low, estimate.high) if fewest >= FEWEST else (None, None)
    claimed = None if "claimed" not in test else test["claimed"] / 100
    shown = f"{gap(method.difference, measure)} ({fewest} seed{'s' * (fewest != 1)}{_in(measure)})"
    return shown, judge(*ends, claimed=claimed), moved(*ends, claimed=claimed)


def _in(measure: str) -> str:
    return "" if measure == "accuracy" else f", {measure.replace('_', ' ')}"


def _mean(method: results.Method, rate: str) -> float:
    held = method.summaries[rate]
    return float("nan") if held is None else held.mean


def per_cent(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.1f}"


def rate(method: results.Method) -> str:
    """Accuracy with spread, seeds and interval."""
    held, estimate = method.summaries["accuracy"], method.estimates["accuracy"]
    spread = f" ± {100 * held.sd:.1f}" if len(method.seeds) > 1 and held.sd is not None else ""
    ends = "" if estimate.low is None else f" [{per_cent(estimate.low)}, {per_cent(estimate.high)}]"
    return f"{per_cent(held.mean)}{spread} ({len(method.seeds)}){ends}"


def gap(found: results.Difference, rate: str = "accuracy") -> str:
    """A difference in points with interval and verdict."""
    estimate = found.rates[rate]
    if estimate is None:
        return "no such class"
    ends = "" if estimate.low is None else f" [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"
    word = (found.verdicts[rate] or "").replace("indistinguishable at 95 %", "(=)")
    return f"{100 * estimate.value:+.1f}{ends} {word}".rstrip()


def main() -> int:
    """Write the pages, or say which are not as their records."""
    stale = []
    for path in pages():
        text = path.read_text()
        new = filled(text)
        if new != text:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(new)
    print("\n".join(f"{path.relative_to(ROOT)}" for path in stale) or "every table is as its records")
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
