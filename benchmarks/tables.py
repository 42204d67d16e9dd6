"""Fill the tables of pages from the records that they name; nothing is typed by hand.

A page marks a table by two comments:

    <!-- table: records/FOLDER against=ce,tuned@of=ce -->
    <!-- end of table -->

Between them go the methods of the folder in the order of their accuracy: mean and standard deviation over seeds with
the 95 % interval, the groups, and the difference from each of the rows named, whose intervals hold together in each
column. With ``control`` among them a column has each method's difference from its own control, which is the one that
its plan names or else the method's own. With ``only=name;name``
other rows are left out, and with ``groups=no`` the groups. With ``measure=balanced_accuracy``, for a set whose plan
decides by it, order, intervals and differences are of that measure; the mean accuracy has a column of its own.
``A+B`` in place of a folder takes the runs of both.

``<!-- claims: PAPER -->`` in place of the first comment asks for the claims of a paper in records/claims.toml: each
with the difference that was measured, the verdict of ``longtail.results.claims``, and how it moves when the tolerance
of one point is halved or doubled.

``<!-- tally: PAPER PAPER -->`` asks how many tests of each paper's claims have which verdict.

``<!-- published: PAPER -->`` asks for every number of a paper's method that the board holds, from the board's claims,
each with what was measured here and the verdict; records/claims.toml says which set could reproduce which. Of a file of
claims that is no paper of ours, only those numbers are asked for that a set here could reproduce.

``<!-- relations: PAPER -->`` asks for what a paper's tables say of two methods under one protocol ("A beats B by so
much"), from the board's relations. None is tested: no set here has both methods at a published budget.

``<!-- across: BASELINE FOLDER FOLDER@MEASURE ... -->`` asks for the methods of several folders beside each other: their
differences from the baseline in points, in accuracy or in the measure that a folder names, the methods in the order of
the mean of their differences.

``<!-- power: FOLDER;BASELINE FOLDER;BASELINE;MEASURE ... -->`` asks what more seeds would show of each set, in accuracy
or in the measure named: the median over the contrasts with the baseline of the smallest difference that three, five and
ten seeds tell from 0 every second time, and how many contrasts reach the tolerance of one point with how many seeds.
Methods of fewer than three runs that differ are left out, as ``longtail power`` refuses them.

``<!-- cost: FOLDER FOLDER ... -->`` asks for what each of these sets took: its runs, the sum of the seconds in their
records, a stage that several of them share counted once, hours of the trials of tuned rows, the sum of both times the
threads, the range of one run with all its stages, threads and processor. Early records do not hold the seconds of their
trials; for those they are the number of trials times the seconds of the run that was chosen, on a little more data. A
word that begins with ``+`` stands before the folders of a block, whose sum follows them.

    python benchmarks/tables.py            # write the pages that have such marks
    python benchmarks/tables.py --check    # say which page is not as its records are; status 1 if there is one
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import re
import statistics
import sys
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from longtail import results
from longtail.board.verdicts import TOLERANCE as POINTS
from longtail.board.verdicts import reproduction
from longtail.results import tables
from longtail.results.claims import VERDICTS, elsewhere, judge, moved
from longtail.results.comparison import GROUPS
from longtail.results.plan import Plan, completed, read_plan
from longtail.results.power import needed, with_spread
from longtail.results.statistics import FEWEST
from longtail.training.many import compare_rows, loaded_rows

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ("README.md", "docs/*.md", "records/*/README.md", "records/README.md")
MARK = re.compile(
    r"(<!-- (?P<kind>table|claims|tally|published|relations|across|power|cost): (?P<what>.+?) -->\n)"
    r".*?(<!-- end of table -->)",
    re.DOTALL,
)
POWER_SEEDS = (3, 5, 10)
METHODS = {"dro-lt": ("dro-lt",), "bns-ipdpp": ("bns-ipdpp", "bns", "ip-dpp")}
"""The board's methods of each of the two papers."""


def pages() -> list[pathlib.Path]:
    """The pages with a marked table."""
    found = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    return [path for path in found if MARK.search(path.read_text())]


def filled(text: str) -> str:
    """A page with every marked table made anew from its records."""
    makers = {
        "table": table,
        "claims": claims,
        "tally": tally,
        "published": published,
        "relations": relations,
        "across": across,
        "power": power,
        "cost": cost,
    }
    return MARK.sub(lambda mark: mark[1] + makers[mark["kind"]](mark["what"]) + mark[4], text)


@functools.cache
def comparison(folder: str, against: str) -> results.Comparison:
    """The runs below a folder, compared with one row."""
    return compare_rows(_rows(folder), against=against)


@functools.cache
def _rows(folder: str) -> dict[str, list[results.Loaded]]:
    """The runs below a folder by method; what they cite is completed by the plans, as early citations are short."""
    return {
        name: [dataclasses.replace(run, record=completed(run.record, _plans())) for run in runs]
        for name, runs in loaded_rows([ROOT / each for each in folder.split("+")]).items()
    }


@functools.cache
def _plans() -> dict[str, Plan]:
    return {plan.sha256: plan for plan in map(read_plan, sorted((ROOT / "plans").glob("*.toml")))}


def table(what: str) -> str:
    """One table in Markdown.

    Args:
        what: a folder, then ``against=...``, ``only=...``, ``groups=...``, ``measure=...``.
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
    measure = named.get("measure", "accuracy")
    plain = ["accuracy"] * (measure != "accuracy")
    rows = [
        f"| method | {measure.replace('_', ' ')} % | "
        + "".join(f"{name} % | " for name in plain)
        + "".join(f"{group} ({sizes[group]}) | " for group in groups)
        + "".join("minus its control | " if name == "control" else f"minus `{name}` | " for name in against),
        "|---" * (2 + len(plain) + len(groups) + len(against)) + "|",
    ]
    for method in sorted((first[name] for name in names), key=lambda each: -each.estimates[measure].value):
        name, ends = method.name, tables.interval(method.estimates[measure])
        cells = [f"`{name}`", f"{tables.over_seeds(method, measure)} {ends}".rstrip()]
        cells += [tables.percent(method.estimates[rate]) for rate in [*plain, *groups]]
        for other in against:
            found = method.control if other == "control" else columns[other][name].difference
            cells.append("" if found is None else gap(found, measure))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(row.rstrip() for row in rows) + "\n"


def claims(paper: str) -> str:
    """The claims of a paper beside what was measured, in Markdown."""
    rows = [
        "| claim | measured on | measured, points | verdict | tolerance halved or doubled |",
        "|---|---|---|---|---|",
    ]
    for claim in _claims(paper):
        said = f"{claim['says']} ([{claim['where']}]({claim['url']}))"
        for number, test in enumerate(_tests(claim)):
            rows.append(f"| {'' if number else said} | {test['on']} | {' | '.join(tested(test))} |")
    return _joined(rows)


def tally(papers: str) -> str:
    """How many tests of the claims of each paper have which verdict, in Markdown; questions of ours do not count."""
    rows = [f"| claims of | claims | tests | {' | '.join(VERDICTS)} |", "|---" * (3 + len(VERDICTS)) + "|"]
    for paper in papers.split(" "):
        held = [claim for claim in _claims(paper) if not claim.get("ours")]
        words = [tested(test)[1] for claim in held for test in _tests(claim)]
        cells = [paper, len(held), len(words), *(words.count(word) for word in VERDICTS)]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"


def _claims(paper: str) -> list[dict[str, Any]]:
    """The claims of a paper, and questions of ours about it."""
    held = tomllib.loads((ROOT / "records/claims.toml").read_text())["claim"]
    return [claim for claim in held if claim["paper"] == paper]


def _tests(claim: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tests of a claim, or one that says that there is none."""
    return claim["tests"] or [{"on": "nothing that we could run"}]


def published(paper: str) -> str:
    """The numbers of a paper's methods on the board beside what was measured here, in Markdown."""
    ours = paper in METHODS
    rows = ["| number | data set | printed in | measured here | verdict |", "|---|---|---|---|---|"]
    tests = {test["id"]: test for test in tomllib.loads((ROOT / "records/claims.toml").read_text())["published"]}
    content = tomllib.loads((ROOT / f"src/longtail/board/content/claims/{paper}.toml").read_text())
    for claim in ({**content["defaults"], **claim} for claim in content["claim"]):
        wanted = claim["method_id"] in METHODS[paper] if ours else claim["id"] in tests
        if not wanted:
            continue
        test = tests.get(claim["id"], {})
        number = claim["value"]
        if claim["metric"] == "Error Rate":
            number = f"{100 - float(number):.2f}"
        shown, word, _ = tested({**test, "value": float(number)})
        probe = "linear probe" if claim["metric"] == "Linear probe" else ""
        told = [number if ours else f"{claim['method']} {number}", probe, claim.get("selection", "")]
        place = ", ".join(filter(None, (shown, test.get("on", ""))))
        cells = [", ".join(filter(None, told)), claim["dataset"], f"[{claim['source']}]({claim['url']})", place, word]
        rows.append(f"| {' | '.join(cells)} |")
    return _joined(rows)


def relations(paper: str) -> str:
    """What a paper's tables say of two methods, in Markdown; none is tested at a published budget here."""
    rows = ["| relation | data set | printed in | verdict |", "|---|---|---|---|"]
    content = tomllib.loads((ROOT / "src/longtail/board/content/claims/relations.toml").read_text())
    for held in ({**content["defaults"], **each} for each in content["relation"]):
        if held["paper"] == paper:
            told = f"{held['better']} over {held['than']}, +{held['gap']}"
            place = f"[{held['source']}]({held['url']}), {held['locator']}"
            rows.append(f"| {told} | {held['dataset']} | {place} | not tested |")
    return _joined(rows)


def _joined(rows: Sequence[str]) -> str:
    """The rows of a table, empty cells of one blank."""
    return "\n".join(row.replace("|  |", "| |") for row in rows) + "\n"


def across(what: str) -> str:
    """The methods of several folders as differences from one row, in Markdown."""
    baseline, *places = what.split(" ")
    columns = {}
    for place in places:
        folder, _, measure = place.partition("@")
        if (ROOT / folder).is_dir():
            columns[folder] = (comparison(folder, baseline), measure or "accuracy")
    found: dict[str, dict[str, results.Difference]] = {}
    for folder, (held, _) in columns.items():
        for method in held.methods:
            if method.difference is not None:
                found.setdefault(method.name, {})[folder] = method.difference
    order = {
        name: sum(row[folder].rates[columns[folder][1]].value for folder in row) / len(row)
        for name, row in found.items()
        if len(row) == len(columns)
    }
    heads = [
        f"[{folder.split('/')[1]}](../{folder.rsplit('/', 1)[0]}/README.md)"
        + (f", {measure.replace('_', ' ')}" * (measure != "accuracy"))
        for folder, (_, measure) in columns.items()
    ]
    rows = [f"| minus `{baseline}` | {' | '.join(heads)} |", "|---" * (1 + len(columns)) + "|"]
    for name in sorted(order, key=lambda name: -order[name]):
        cells = [gap(found[name][folder], measure) for folder, (_, measure) in columns.items()]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def power(what: str) -> str:
    """What more seeds would show of several sets, in Markdown."""
    heads = ("set", "against", "seeds here", "contrasts", *(f"{runs} seeds show" for runs in POWER_SEEDS))
    counts = ("one point with 3 seeds", f"with 4 to {POWER_SEEDS[-1]}", "with more, or not with these test items")
    rows = [f"| {' | '.join((*heads, *counts))} |", "|---" * (len(heads) + len(counts)) + "|"]
    for place in what.split(" "):
        folder, baseline, *measure = place.split(";")
        if not (ROOT / folder).is_dir():
            rows.append(f"| `{folder}` | not run yet" + " |" * (len(heads) + len(counts) - 1))
            continue
        kept, few = with_spread(_rows(folder))
        needs = needed(
            kept,
            against=baseline,
            difference=POINTS / 100,
            measure=measure[0] if measure else "accuracy",
            contrasts=len(kept) + len(few) - 1,
        )
        there = sorted({len(runs) for runs in kept.values()})
        seeds = [need.seeds or math.inf for need in needs]
        cells = [
            f"`{folder}`",
            f"`{baseline}`" + (f", {measure[0].replace('_', ' ')}" if measure else ""),
            " or ".join(map(str, there)),
            f"{len(needs)}",
            *(f"{100 * statistics.median(need.smallest[runs] for need in needs):.2f}" for runs in POWER_SEEDS),
            f"{sum(each <= FEWEST for each in seeds)}",
            f"{sum(FEWEST < each <= POWER_SEEDS[-1] for each in seeds)}",
            f"{sum(each > POWER_SEEDS[-1] for each in seeds)}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def cost(what: str) -> str:
    """What sets of runs took, in Markdown."""
    heads = ("set", "runs", "hours", "of trials", "hours x threads", "seconds of one run", "threads", "processor")
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    seen: set[tuple[float, ...]] = set()
    for block in re.split(r"(?:^| )(?=\+)", what):
        name, *folders = block.split(" ") if block.startswith("+") else ["", *block.split(" ")]
        total = [0.0] * 4
        for folder in filter(None, folders):
            if not (ROOT / folder).is_dir():
                rows.append(f"| `{folder}` | not run yet | | | | | | |")
                continue
            records = [run.record for runs in _rows(folder).values() for run in runs]
            seconds, own = sorted(record.seconds for record in records), _own_seconds(records, seen)
            trials = [_trial_seconds(record) for record in records]
            work = [
                (one + more) * record.numerics["threads"]
                for one, more, record in zip(own, trials, records, strict=True)
            ]
            taken = [float(len(records)), *(sum(each) / 3600 for each in (own, trials, work))]
            total = [one + more for one, more in zip(total, taken, strict=True)]
            threads = sorted({record.numerics["threads"] for record in records})
            processors = sorted({record.hardware["processor"] for record in records})
            least = f"{seconds[0]:.1f}" if seconds[0] < 100 else f"{seconds[0]:.0f}"
            cells = [f"{least} to {seconds[-1]:.0f}", ", ".join(map(str, threads)), ", ".join(processors)]
            rows.append(f"| `{folder}` | {_hours(taken)} | {' | '.join(cells)} |")
        if name and total[0]:
            rows.append(f"| **block {name[1:]}** | {_hours(total)} | | | |")
    return "\n".join(rows) + "\n"


def _hours(taken: Sequence[float]) -> str:
    """Cells of a number of runs and of hours."""
    runs, *hours = taken
    return " | ".join([f"{runs:.0f}", *(f"{each:.2f}" if each else "" for each in hours)]).replace("|  |", "| |")


def _trial_seconds(record: results.Record) -> float:
    """Seconds of the trials of a run; reckoned where the record does not hold them."""
    budget = record.budget
    return float(budget.get("trial_seconds", budget.get("trials", 0) * record.seconds))


def _own_seconds(records: Sequence[results.Record], seen: set[tuple[float, ...]]) -> list[float]:
    """Seconds of each run but for stages already seen, whose epochs took the same to the last digit; adds its own."""
    own = []
    for record in records:
        stages: dict[str, list[float]] = {}
        for row in record.history:
            stages.setdefault(row["stage"], []).append(row["seconds"])
        taken = set(map(tuple, stages.values()))
        own.append(record.seconds - sum(sum(stage) for stage in taken & seen))
        seen |= taken
    return own


def tested(test: Mapping[str, Any]) -> tuple[str, str, str]:
    """What was measured, the verdict on a claim, and how it moves with the tolerance."""
    found = _found(test)
    if found is None:
        return "", "not tested", ""
    method, _ = found
    measure = test.get("measure", "accuracy")
    if "value" in test:
        held = method.summaries[measure]
        spread = None if held.sd is None else 100 * held.sd

        def at(tolerance: float) -> str:
            return reproduction(test["value"], 100 * held.mean, held.n, spread, tolerance=tolerance).word

        told = f"{tables.over_seeds(method, measure)} {tables.interval(method.estimates[measure])}".rstrip()
        return told, at(POINTS), elsewhere(at, POINTS)
    _, ends, seeds = measured(test)
    claimed = None if "claimed" not in test else test["claimed"] / 100
    told = "" if measure == "accuracy" else f", {measure.replace('_', ' ')}"
    shown = f"{gap(method.difference, measure, digits=2)} ({counted(seeds)}{told})"
    return shown, judge(*ends, claimed=claimed), moved(*ends, claimed=claimed)


def measured(test: Mapping[str, Any]) -> tuple[float, tuple[float | None, float | None], int] | None:
    """The difference of a test of a claim, its interval where there are seeds enough, and their number."""
    found = _found(test)
    if found is None or "against" not in test:
        return None
    method, others = found
    estimate = method.difference.rates[test.get("measure", "accuracy")]
    seeds = min(len(method.seeds), others)
    return estimate.value, (estimate.low, estimate.high) if seeds >= FEWEST else (None, None), seeds


def counted(seeds: int) -> str:
    """So many seeds, in words."""
    return f"{seeds} seed{'s' * (seeds != 1)}"


def _found(test: Mapping[str, Any]) -> tuple[Any, int] | None:
    """The method of a test, compared with the row that it names, and that row's runs; None where one was not run."""
    folder = f"records/{test.get('folder')}"
    rows = _rows(folder) if (ROOT / folder).is_dir() else {}
    against = test.get("against", test.get("method"))
    if "folder" not in test or not {test["method"], against} <= rows.keys():
        return None
    (method,) = (each for each in comparison(folder, against).methods if each.name == test["method"])
    return method, len(rows[against])


def gap(found: results.Difference, rate: str = "accuracy", *, digits: int = 1) -> str:
    """A difference in points with interval and verdict; two digits where a tolerance is held against its ends."""
    estimate, verdict = found.rates[rate], found.verdicts[rate]
    if estimate is None or verdict is None:
        return tables.DASH
    ends = tables.interval(estimate, difference=True, digits=digits)
    return f"{tables.signed(estimate.value, digits)} {ends} {tables.SHORT.get(verdict, verdict)}".replace("  ", " ")


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
