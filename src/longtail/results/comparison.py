"""Records of several methods, compared with one of them; every number is computed from stored predictions."""

from __future__ import annotations

import dataclasses
import statistics as standard
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from longtail.counts import shot_groups
from longtail.errors import InputError
from longtail.metrics import Report
from longtail.results.announced import Citation, citation, departure, nameless, plan_marks, plan_notes
from longtail.results.copies import copies_note, distinct
from longtail.results.record import Loaded, Record, budget_note, numerics_note, protocol, signature
from longtail.results.rescoring import rescore
from longtail.results.statistics import (
    ALIKE,
    FEWEST,
    Estimate,
    Seeds,
    Summary,
    adjusted,
    difference,
    estimate,
    pool_seeds,
    smallest_difference,
    summarize,
    verdict,
)
from longtail.wording import counted, differences

T = TypeVar("T", bound=Hashable)
RATES = ("accuracy", "balanced_accuracy", "many", "medium", "few")
"""Linear in the recalls, and so with an interval."""
FURTHER = ("macro_f1", "geometric_mean", "harmonic_mean", "worst_decile")
GROUPS = ("many", "medium", "few")
TAILED = 2.0
"""A test set whose largest class has so many times the items of its smallest has a tail of its own."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference of one method from another one.

    Args:
        against: name of the row that is subtracted.
        rates: difference of each of ``RATES``; None for an empty group. The intervals are simultaneous: those of the
            accuracy for all contrasts of the block, those of the groups for all contrasts and groups.
        verdicts: what each interval says; None for an empty group.
        seeds: the differences of accuracy, seed by seed, where both have the same seeds; else empty.
        paired: the seeds are the same.
        test: how the accuracy was tested: "exact McNemar" for single runs, otherwise what the interval is made of.
        p: two-sided p-value of equal accuracy, of this contrast alone; None for two seeds.
        p_adjusted: ``p`` with the other contrasts of the block allowed for; below 5 % exactly when the interval leaves
            0 out.
        verdict: what the interval of the accuracy says: "better", "worse" or "indistinguishable at 95 %"; "better in
            this run" for one seed.
        family: number of contrasts in the block.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=folder)
        ...     run = longtail.results.read(folder)
        >>> found = compare_records({"ce": [run], "the same": [run]}).methods[1].difference
        >>> found.against, found.rates["accuracy"].value, found.p, found.verdict, found.test
        ('ce', 0.0, 1.0, 'indistinguishable at 95 %', 'exact McNemar')
    """

    against: str
    rates: dict[str, Estimate | None]
    verdicts: dict[str, str | None]
    seeds: tuple[float, ...]
    paired: bool
    test: str
    p: float | None
    p_adjusted: float | None
    verdict: str
    family: int


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of a comparison: a method over its seeds.

    Args:
        name: name of the row.
        seeds: seeds of the runs, in ascending order.
        signature: see ``longtail.results.signature``; one for all its runs.
        marks: what sets its runs apart wherever they are shown: shorter than the recipe states, of earlier numerics,
            unplanned beside planned ones, or fewer than a plan announced.
        summaries: mean, sd and range over the seeds of each of ``RATES`` and ``FURTHER``; None for an empty group.
        estimates: each of ``RATES`` with its interval, from the runs of this method alone; None for an empty group.
        per_class: mean recall of each class; None for a class without test items.
        calibration: expected calibration error as recorded, if it was.
        seconds: mean duration of a run, with its trials where the record has theirs.
        difference: what it differs by from the method that all are compared with; None for that method itself.
        control: difference from the method's own control; None without one in the table.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=folder)
        ...     (method,) = compare_records({"ce": [longtail.results.read(folder)]}).methods
        >>> method.name, method.seeds, method.marks, len(method.per_class), method.difference
        ('ce', (0,), ('short: 1 of 60 epochs',), 10, None)
    """

    name: str
    seeds: tuple[int, ...]
    signature: str
    marks: tuple[str, ...]
    summaries: dict[str, Summary | None]
    estimates: dict[str, Estimate | None]
    per_class: tuple[float | None, ...]
    calibration: Summary | None
    seconds: float
    difference: Difference | None
    control: Difference | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several methods on one data set, each compared with one of them.

    Args:
        data: identity of the data set, as in the records.
        against: name of the row that the others are compared with.
        methods: the rows.
        group_sizes: classes in each of the groups many, medium and few.
        notes: what a reader must know before believing a difference.
        primary: the one of ``RATES`` that decides: that of the plan, if all runs that a plan announced name the same;
            else the accuracy.
        tailed: the test set has a tail of its own (``TAILED``), so accuracy and balanced accuracy may tell apart.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> recipe = longtail.recipe("ce", data, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = longtail.train(recipe, data, seed=0, out=folder)
        ...     comparison = compare_records({"ce": [longtail.results.read(folder)]})
        >>> comparison.against, comparison.group_sizes, comparison.notes[0]
        ('ce', {'many': 3, 'medium': 4, 'few': 3}, 'Many: more than 30 training images; few: fewer than 5.')
    """

    data: dict[str, Any]
    against: str
    methods: tuple[Method, ...]
    group_sizes: dict[str, int]
    notes: tuple[str, ...]
    primary: str = "accuracy"
    tailed: bool = False

    @property
    def others(self) -> tuple[str, ...]:
        """The rates that stand beside the one that decides, in the order of their columns."""
        return tuple(rate for rate in ("accuracy", *GROUPS, "balanced_accuracy") if rate != self.primary)

    @property
    def shown(self) -> tuple[str, ...]:
        """The rates whose differences are shown: the one that decides, accuracies over items and classes, groups."""
        rates = (self.primary, *(("accuracy", "balanced_accuracy") if self.tailed else ("accuracy",)))
        return tuple(dict.fromkeys((*rates, *(group for group in GROUPS if self.group_sizes.get(group)))))


def compare_records(
    records: Mapping[str, Sequence[Loaded]],
    *,
    against: str | None = None,
    controls: Mapping[str, str] | None = None,
    numerics: int | None = None,
) -> Comparison:
    """Compare methods with one of them, and each with its own control.

    Args:
        records: runs of each method, by the name of its row, in the order of the rows. Runs of a method with the very
            same predictions are one run (``longtail.results.copies``).
        against: the row that the others are compared with; the first if left out.
        controls: name of the row that differs in the one idea under test, by the name of the row that has one. A pair
            of which one is not in ``records`` is left out, and so is one with the row that all are compared with.
        numerics: current version of the numerics; records of an earlier one are marked. The newest among the records if
            left out.

    Returns:
        The comparison.

    Raises:
        InputError: nothing to compare, no such row, runs on different data, a seed twice, or runs of one method that
            differ in more than their seed.

    Example:
        >>> import tempfile
        >>> import longtail.results
        >>> data = longtail.load("digits-lt", imbalance=50)
        >>> records = {}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("ce", "balanced-softmax"):
        ...         recipe = longtail.recipe(name, data, epochs=1)
        ...         record = longtail.train(recipe, data, seed=0, out=f"{folder}/{name}")
        ...         records[name] = [longtail.results.read(f"{folder}/{name}")]
        >>> for method in compare_records(records, against="ce").methods:
        ...     print(method.name, "minus", method.difference and method.difference.against)
        ce minus None
        balanced-softmax minus ce
    """
    every = in_order(records)
    baseline = next(iter(every)) if against is None else against
    if baseline not in every:
        raise InputError(f"there is no row {baseline!r} to compare with; the rows are {', '.join(every)}")
    copies = [note for name, loaded in every.items() if (note := copies_note(name, loaded))]
    announced = {name: [run.record for run in loaded] for name, loaded in every.items()}
    planned = any(citation(record) for records in announced.values() for record in records)
    runs = {name: distinct(loaded) for name, loaded in every.items()}
    first = next(iter(runs.values()))[0]
    if numerics is None:
        numerics = max(run.record.numerics["version"] for loaded in runs.values() for run in loaded)

    data = first.record.data
    target = first.target[first.index.argsort()]
    weights = rate_weights(target, torch.tensor(data["counts"]), many=data["many"], few=data["few"])
    reports = {name: [rescore(run) for run in loaded] for name, loaded in runs.items()}
    correct = {name: torch.stack([correct_items(run) for run in loaded]) for name, loaded in runs.items()}
    known = {name: other for name, other in (controls or {}).items() if {name, other} <= set(runs) and name != other}
    # A contrast that stands in both tables would have two intervals there, and may have two verdicts.
    pairs = {name: other for name, other in known.items() if baseline not in (name, other)}
    table = _Table(
        runs={name: tuple(run.record.seed for run in loaded) for name, loaded in runs.items()},
        correct=correct,
        target=target,
        weights=weights,
        seeds=pooled_spread(runs, correct, target, weights),
    )
    main = table.block({name: baseline for name in runs if name != baseline})
    own = table.block(pairs)

    methods = []
    for name, loaded in runs.items():
        summaries = {rate: _summary(reports[name], rate) for rate in (*RATES, *FURTHER)}
        rates = estimate(correct[name], target, weights=torch.stack(list(weights.values())))
        errors = [report.calibration.ece for report in reports[name] if report.calibration is not None]
        methods.append(
            Method(
                name=name,
                seeds=table.runs[name],
                signature=signature(loaded[0].record),
                marks=_marks(loaded, numerics),
                summaries=summaries,
                estimates={**dict.fromkeys(RATES), **dict(zip(weights, rates, strict=True))},
                per_class=_per_class(reports[name]),
                calibration=summarize(errors) if len(errors) == len(loaded) else None,
                seconds=standard.fmean(
                    run.record.seconds + run.record.budget.get("trial_seconds", 0.0) for run in loaded
                ),
                difference=main.get(name),
                control=own.get(name),
            )
        )
    sizes = next(iter(reports.values()))[0].group_sizes
    plans = announcing(announced)
    primary, tailed = deciding(plans, weights), has_tail(target)
    notes = (
        *_measures(plans, primary, target if tailed else None),
        *_notes(methods, runs, table, baseline, pairs),
        *copies,
        *_of_no_interest(plans, announced, methods, primary),
        *plan_notes(announced),
    )
    if planned:
        methods = [dataclasses.replace(one, marks=one.marks + plan_marks(announced[one.name])) for one in methods]
    return Comparison(data, baseline, tuple(methods), sizes, notes, primary, tailed)


def in_order(records: Mapping[str, Sequence[Loaded]]) -> dict[str, list[Loaded]]:
    """Return the runs of each method in the order of their seeds, if they can be compared.

    Raises:
        InputError: no runs, runs on different data, a seed twice, or runs of one method that differ in more than their
            seed.
    """
    runs = {name: sorted(loaded, key=lambda run: run.record.seed) for name, loaded in records.items()}
    if not runs or not all(runs.values()):
        empty = next((name for name, loaded in runs.items() if not loaded), None)
        raise InputError("there are no records to compare" if empty is None else f"{empty!r} has no records")
    for name, loaded in runs.items():
        _one_method(name, loaded)
    first = next(iter(runs.values()))[0]
    for loaded in runs.values():
        for run in loaded:
            _same_test(first, run)
    return runs


@dataclasses.dataclass(frozen=True)
class _Table:
    """What all contrasts of a table share."""

    runs: dict[str, tuple[int, ...]]
    correct: dict[str, Tensor]
    target: Tensor
    weights: dict[str, Tensor]
    seeds: Seeds | None

    @property
    def stacked(self) -> Tensor:
        return torch.stack(list(self.weights.values()))

    def block(self, pairs: Mapping[str, str]) -> dict[str, Difference]:
        """Compare each row with another; the intervals hold for all of them together."""
        return {name: self._difference(name, other, len(pairs)) for name, other in pairs.items()}

    def _difference(self, name: str, other: str, family: int) -> Difference:
        ours, theirs = self.correct[name], self.correct[other]
        paired = self.runs[name] == self.runs[other]
        found: dict[str, Estimate] = {}
        fewest = min(len(ours), len(theirs))
        for wanted in (("accuracy", "balanced_accuracy"), GROUPS):
            size = read_together(family, wanted[0], self.weights)
            every = difference(
                ours, theirs, self.target, weights=self.stacked, paired=paired, family=size, seeds=self.seeds
            )
            found |= {rate: one for rate, one in zip(self.weights, every, strict=True) if rate in wanted}
        accuracy = found["accuracy"]
        gaps = (ours.double().mean(dim=1) - theirs.double().mean(dim=1)).tolist() if paired else []
        return Difference(
            against=other,
            rates={rate: found.get(rate) for rate in RATES},
            verdicts={rate: verdict(found[rate], fewest) if rate in found else None for rate in RATES},
            seeds=tuple(gaps),
            paired=paired,
            test=_test(len(ours), len(theirs), paired),
            p=accuracy.p,
            p_adjusted=adjusted(accuracy.p, family),
            verdict=verdict(accuracy, fewest),
            family=family,
        )


def has_tail(target: Tensor) -> bool:
    """Whether a test set has a tail of its own (``TAILED``); classes without items do not count.

    Example:
        >>> has_tail(torch.tensor([0, 0, 0, 1, 1])), has_tail(torch.tensor([0, 0, 0, 0, 1, 1]))
        (False, True)
    """
    support = torch.bincount(target)
    support = support[support > 0]
    return bool(support.max() >= TAILED * support.min())


def read_together(contrasts: int, rate: str, weights: Mapping[str, Tensor]) -> int:
    """Number of intervals that hold together: the contrasts, and for the groups each of them in each group."""
    return contrasts * max(sum(group in weights for group in GROUPS), 1) if rate in GROUPS else contrasts


def rate_weights(target: Tensor, counts: Tensor, *, many: int, few: int) -> dict[str, Tensor]:
    """Each of ``RATES`` as weights (K,) of the recalls; a group without classes that are tested is left out."""
    support = torch.bincount(target, minlength=len(counts)).double()
    masks = {"balanced_accuracy": torch.ones(len(counts), dtype=torch.bool), **shot_groups(counts, many=many, few=few)}
    weights = {"accuracy": support / support.sum()}
    for name, mask in masks.items():
        tested = (mask & (support > 0)).double()
        if tested.any():
            weights[name] = tested / tested.sum()
    return weights


def deciding(plans: Sequence[Citation], weights: Mapping[str, Tensor]) -> str:
    """The rate that all of some plans decide by, if it can be computed here; else the accuracy."""
    named = {each.primary for each in plans}
    return named.pop() if len(named) == 1 and named <= weights.keys() else "accuracy"


def announcing(rows: Mapping[str, Sequence[Record]]) -> list[Citation]:
    """The plans that announced some runs, each once; what a run says that departs from its plan does not count."""
    cited = [citation(one) for records in rows.values() for one in records if not departure(one)]
    known = [each if each.primary in RATES else dataclasses.replace(each, primary="") for each in cited if each]
    return list({(each.sha256, each.primary, each.smallest): each for each in known}.values())


def _measures(plans: Sequence[Citation], primary: str, tail: Tensor | None) -> list[str]:
    """What to know where the accuracy does not decide, or says little of rare classes."""
    notes = []
    names = sorted({each.name for each in plans})
    told = f"plan{'s' * (len(names) > 1)} {', '.join(names)}"
    named = sorted({each.primary for each in plans} - {""})
    if tail is not None:
        support = torch.bincount(tail)
        support = support[support > 0]
        notes.append(
            f"The test set has {support.min():,} to {support.max():,} items of a class: accuracy is mostly that of the "
            f"frequent classes, balanced accuracy counts each class alike."
        )
    measures = " and ".join(measure.replace("_", " ") for measure in named)
    if primary != "accuracy":
        notes.append(f"{measures.capitalize()} decides, as the {told} say{'s' * (len(names) == 1)}.")
    elif len(named) > 1:
        notes.append(f"The {told} decide{'s' * (len(names) == 1)} by {measures}: accuracy is shown first.")
    elif named not in ([], ["accuracy"]) and not all(each.primary for each in plans):
        notes.append(
            f"A plan of {', '.join(names)} decides by {measures}; early records do not say (--plan FILE does)."
        )
    elif named not in ([], ["accuracy"]):
        notes.append(f"The {told} would decide by {measures}, of which no class is tested here: accuracy is shown.")
    return notes


def _of_no_interest(
    plans: Sequence[Citation], rows: Mapping[str, Sequence[Record]], methods: Sequence[Method], primary: str
) -> list[str]:
    """Which differences are smaller than the smallest that the plan cares for, whatever the truth in their interval."""
    if {each.primary for each in plans} != {primary}:
        return []  # the smallest difference is one of the plan's own measure
    stated = sorted({each.smallest for each in plans})
    if len(stated) > 1:
        points = " and ".join(f"{100 * each:g}" for each in stated)
        return [f"The plans care for differences of {points} points, so no difference is judged by one of them."]
    if not stated or not (smallest := stated[0]):
        return []
    judged = {
        method.name
        for method in methods
        if len(method.seeds) >= FEWEST and not any(departure(record) for record in rows[method.name])
    }
    small: dict[str, list[str]] = {}
    known = close = False
    for method in methods:
        for found in filter(None, (method.difference, method.control)):
            gap = found.rates[primary]
            if gap is None or gap.low is None or gap.high is None or not {method.name, found.against} <= judged:
                continue
            known = True
            ends = 100 * max(-gap.low, gap.high)
            exactly, shown = ends < 100 * smallest, round(ends, 1) < 100 * smallest  # the terminal prints one digit
            close |= exactly != shown
            if exactly and shown:
                small.setdefault(found.against, []).append(method.name)
    told = "; ".join(f"from {against}: {', '.join(dict.fromkeys(names))}" for against, names in small.items())
    note = f"The plan cares for differences of {100 * smallest:g} point{'s' * (smallest != 0.01)} or more."
    if told:
        note += f" The whole interval is smaller, {told}."
    elif not close:
        note += " No interval is wholly smaller than that."
    return [note] if known else []


def _one_method(name: str, loaded: Sequence[Loaded]) -> None:
    first = loaded[0].record
    seen: dict[int, Loaded] = {}
    for run in loaded:
        record = run.record
        if record.seed in seen:
            other = seen[record.seed]
            parts = _unlike(protocol(record), protocol(other.record))
            differ = f" They differ in {', '.join(parts)}." if parts else ""
            raise InputError(
                f"{name!r} has two records of seed {record.seed}: {other.folder} and {run.folder}; keep one.{differ}"
            )
        seen[record.seed] = run
        ours, theirs = protocol(first), protocol(record)
        for part in _unlike(ours, theirs):
            if part != "data":
                shown = f"{ours.get(part, 'one')} and {theirs.get(part, 'one')}"
                raise InputError(f"records of {name!r} differ in {part}: {shown} ({run.folder})")
        known, here = _configuration(first), _configuration(record)
        if here != known:
            where, mine, its = next(differences(known, here))
            shown = f": {mine} and {its}" if len(mine + its) < 75 else ""
            raise InputError(
                f"records of {name!r} are of different configurations, first in {where}{shown} "
                f"({loaded[0].folder}, {run.folder})"
            )


def _configuration(record: Record) -> dict[str, Any]:
    """A record's recipe without the paths of foreign files, which say nothing of what is in them."""
    names: dict[str, Any] = {key: record.config[key] for key in ("name", "stated") if key in record.config}
    return {**nameless(record.config), **names}


def _unlike(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """The parts of the protocol in which two records differ."""
    return [part for part in {**ours, **theirs} if ours.get(part) != theirs.get(part)]


def _same_test(first: Loaded, run: Loaded) -> None:
    ours, theirs = first.record.data, run.record.data
    if ours["fingerprint"] != theirs["fingerprint"]:
        raise InputError(
            f"{first.folder} and {run.folder} cannot be compared, their data differ: {ours['name']} with fingerprint "
            f"{ours['fingerprint']}, {theirs['name']} with {theirs['fingerprint']}"
        )
    a, b = first.index.argsort(), run.index.argsort()
    if not (torch.equal(first.index[a], run.index[b]) and torch.equal(first.target[a], run.target[b])):
        raise InputError(f"{run.folder} holds other test items than {first.folder}, though both name the same data")
    for part in ("counts", "many", "few"):
        if ours[part] != theirs[part]:
            raise InputError(f"{first.folder} and {run.folder} cannot be compared, data.{part} differs between them")


def correct_items(run: Loaded) -> Tensor:
    """Return which test items a run got right (N,), in the order of their index."""
    order = run.index.argsort()
    return run.prediction[order] == run.target[order]


def _test(ours: int, theirs: int, paired: bool) -> str:
    if ours == theirs == 1:
        return "exact McNemar"
    if 1 in (ours, theirs):
        return "test images alone"
    return "test images and seeds" + ("" if paired else ", seeds not paired")


def pooled_spread(
    runs: Mapping[str, Sequence[Loaded]],
    correct: Mapping[str, Tensor],
    target: Tensor,
    weights: Mapping[str, Tensor],
) -> Seeds | None:
    """Spread over seeds of the rows that have at least three, if there are two such rows."""
    kept = [name for name, loaded in runs.items() if len(loaded) > 2]
    if len(kept) < 2:
        return None
    paired = len({tuple(run.record.seed for run in runs[name]) for name in kept}) == 1
    rows = torch.stack(list(weights.values()))
    return pool_seeds([correct[name] for name in kept], target, weights=rows, paired=paired)


def _marks(loaded: Sequence[Loaded], numerics: int | None) -> tuple[str, ...]:
    notes = [note for run in loaded for note in (budget_note(run.record), numerics_note(run.record, numerics))]
    return tuple(note for note in dict.fromkeys(notes) if note)


def _summary(reports: Sequence[Report], rate: str) -> Summary | None:
    values = [getattr(report, rate) for report in reports]
    return None if None in values else summarize(values)


def _per_class(reports: Sequence[Report]) -> tuple[float | None, ...]:
    columns = zip(*(report.per_class for report in reports), strict=True)
    return tuple(None if None in recalls else standard.fmean(recalls) for recalls in columns)


def _notes(
    methods: Sequence[Method],
    runs: Mapping[str, Sequence[Loaded]],
    table: _Table,
    baseline: str,
    controls: Mapping[str, str],
) -> list[str]:
    data = next(iter(runs.values()))[0].record.data
    notes = [f"Many: more than {data['many']} training images; few: fewer than {data['few']}."]
    parts = {method.name: protocol(runs[method.name][0].record) for method in methods}
    for part in dict.fromkeys(part for found in parts.values() for part in found):
        values = {name: found.get(part, "one") for name, found in parts.items()}
        if len(set(values.values())) > 1:
            listed = "; ".join(f"{', '.join(names)} {value}" for value, names in _alike(values).items())
            notes.append(f"The methods differ in more than the method, in {part}: {listed}.")
    if data.get("hygiene"):
        notes.append(f"The data: {data['hygiene']}.")
    notes += _environments([run for loaded in runs.values() for run in loaded])
    said = dict.fromkeys(note for loaded in runs.values() for run in loaded for note in run.record.notes)
    notes += said
    steps = {name: loaded[0].record.budget.get("steps") for name, loaded in runs.items()}
    if None not in steps.values() and len(set(steps.values())) > 1:
        listed = "; ".join(f"{', '.join(names)} {value:,}" for value, names in _alike(steps).items())
        notes.append(f"Unequal numbers of optimiser steps: {listed}.")
    for marks, names in _alike({method.name: method.marks for method in methods if method.marks}).items():
        notes.append(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} marked: {'; '.join(marks)}.")
    few_seeds = {n: [m.name for m in methods if len(m.seeds) == n] for n in (1, 2)}
    if few_seeds[1]:
        notes.append(
            f"One seed ({', '.join(few_seeds[1])}): an interval then speaks of the choice of test images alone, and a "
            f"verdict of this run; another seed may give another answer."
        )
    if few_seeds[2]:
        notes.append(
            f"Two seeds ({', '.join(few_seeds[2])}): of accuracy both values are shown, of all else the mean; no "
            "interval and no verdict."
        )
    unpaired = [m.name for m in methods if m.difference is not None and not m.difference.paired]
    if unpaired:
        notes.append(f"Seeds differ from those of {baseline}, so they are not paired: {', '.join(unpaired)}.")
    told = [name for name, loaded in runs.items() if name != baseline and min(len(loaded), len(runs[baseline])) != 2]
    if told:
        notes += _families(len(methods) - 1, len(controls), sum(group in table.weights for group in GROUPS), baseline)
    return notes + _about_seeds(table, baseline, len(methods) - 1)


def _alike(values: Mapping[str, T]) -> dict[T, list[str]]:
    """The names that have each value, in the order in which the values come."""
    found: dict[T, list[str]] = {}
    for name, value in values.items():
        found.setdefault(value, []).append(name)
    return found


def _environments(runs: Sequence[Loaded]) -> list[str]:
    """A note for each thing that rounding depends on, besides the recipe, and in which the runs of a table differ."""
    facts = [
        {
            **run.record.packages,
            "threads": run.record.numerics.get("threads"),
            "processor": run.record.hardware.get("processor"),
            "device": run.record.hardware.get("device"),
            "arithmetic": run.record.numerics.get("device"),
            "compiled": run.record.numerics.get("compiled"),
            "changed package": (run.record.numerics.get("package") or "no")[:12],
        }
        for run in runs
    ]
    mixed = []
    for name in dict.fromkeys(name for found in facts for name in found):
        values = dict.fromkeys(str(found.get(name)) for found in facts)
        if len(values) > 1:
            mixed.append(f"{name} {' / '.join(values)}")
    if not mixed:
        return []
    return [f"The runs were not made alike, which may move the last digits: {', '.join(mixed)}."]


def _families(contrasts: int, controls: int, groups: int, baseline: str) -> list[str]:
    if contrasts == 1 and controls == 0:
        return [] if groups < 2 else [f"Intervals of differences hold together for the {groups} groups."]
    blocks = f"the {counted(contrasts, 'contrast')} with {baseline}"
    if controls:
        blocks += f" and, apart from {'it' if contrasts == 1 else 'them'}, for {controls} with the method's own control"
    rest = f"; for the groups, {groups} times as many" if groups > 1 else ""
    return [f"Intervals and verdicts of differences hold together for {blocks}{rest} (Bonferroni)."]


def _about_seeds(table: _Table, baseline: str, family: int) -> list[str]:
    """Whether the seed variance is pooled, and what three and five seeds can show."""
    kept = [name for name, seeds in table.runs.items() if len(seeds) > 2]
    notes = []
    if table.seeds is not None and len(kept) > 2:
        unlike = [rate for rate, pooled in zip(table.weights, table.seeds.pooled, strict=True) if not pooled]
        if not unlike:
            notes.append(
                f"The variance over seeds is pooled over {len(kept)} methods ({table.seeds.freedom} degrees of "
                f"freedom); Bartlett's test finds no difference between their spreads at {100 * ALIKE:g} %."
            )
        else:
            named = ", ".join(rate.replace("_", " ") for rate in unlike)
            notes.append(
                f"The methods spread differently over their seeds in {named} (Bartlett's test at {100 * ALIKE:g} %): "
                f"there, each difference uses the variance of its own runs; elsewhere the variance is pooled."
            )
    others = [name for name in kept if name != baseline]
    if baseline in kept and others:
        place = list(table.weights).index("accuracy")
        shown = []
        for runs in (3, 5):
            each = [
                smallest_difference(
                    table.correct[name],
                    table.correct[baseline],
                    table.target,
                    weights=table.stacked,
                    paired=table.runs[name] == table.runs[baseline],
                    runs=runs,
                    arms=len(kept),
                    family=family,
                    seeds=table.seeds,
                )[place]
                for name in others
            ]
            shown.append(f"{100 * standard.median(each):.1f} points with {('three', 'five')[runs == 5]} seeds")
        notes.append(
            f"Half of the time, a true difference in accuracy is told from 0 from about {' and '.join(shown)}."
        )
    return notes
