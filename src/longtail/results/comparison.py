"""Records of several methods, compared with the first of them; every number is computed from stored predictions."""

from __future__ import annotations

import dataclasses
import statistics as standard
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from longtail.counts import shot_groups
from longtail.errors import InputError
from longtail.metrics import Report
from longtail.results.record import Loaded, protocol, signature
from longtail.results.rescoring import rescore
from longtail.results.statistics import Estimate, Summary, difference, estimate, mcnemar, summarize, verdict

RATES = ("accuracy", "balanced_accuracy", "many", "medium", "few")
"""Linear in the recalls, and so with an interval."""
FURTHER = ("macro_f1", "geometric_mean", "harmonic_mean", "worst_decile")


@dataclasses.dataclass(frozen=True)
class Difference:
    """A method against the first.

    Args:
        rates: difference of each of ``RATES``, this method minus the first; None for an empty group.
        seeds: the differences of accuracy, seed by seed, where both have the same seeds; else empty.
        paired: the seeds are the same and were drawn together.
        test: what the p-value is of: "exact McNemar", "paired bootstrap", or "bootstrap, seeds not paired" where only
            the test items are the same.
        p: two-sided, of equal accuracy.
        p_adjusted: by Holm's method for all the comparisons with the first.
        verdict: "better", "worse" or "indistinguishable at 95 %", from ``p_adjusted``.
    """

    rates: dict[str, Estimate | None]
    seeds: tuple[float, ...]
    paired: bool
    test: str
    p: float
    p_adjusted: float
    verdict: str


@dataclasses.dataclass(frozen=True)
class Method:
    """One row: a method over its seeds.

    Args:
        name: of the row.
        seeds: in ascending order.
        signature: see ``longtail.results.signature``; one for all its runs.
        summaries: mean, sd and range over the seeds of each of ``RATES`` and ``FURTHER``; None for an empty group.
        estimates: each of ``RATES`` with its interval; None for an empty group.
        per_class: mean recall of each class; None for a class without test items.
        calibration: expected calibration error as recorded, if it was.
        seconds: mean duration of a run.
        difference: from the first method; None for the first itself.
    """

    name: str
    seeds: tuple[int, ...]
    signature: str
    summaries: dict[str, Summary | None]
    estimates: dict[str, Estimate | None]
    per_class: tuple[float | None, ...]
    calibration: Summary | None
    seconds: float
    difference: Difference | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Methods on one data set.

    Args:
        data: its identity, as in the records.
        methods: the first is what the others are compared with.
        group_sizes: classes in each of the groups many, medium and few.
        notes: what a reader must know before believing a difference.
    """

    data: dict[str, Any]
    methods: tuple[Method, ...]
    group_sizes: dict[str, int]
    notes: tuple[str, ...]


def compare_records(records: Mapping[str, Sequence[Loaded]], *, generator: torch.Generator) -> Comparison:
    """Compare methods with the first of them.

    Args:
        records: runs of each method, by the name of its row, in the order of the rows.
        generator: decides the bootstrap's draws.

    Returns:
        The comparison.

    Raises:
        InputError: nothing to compare, runs on different data, a seed twice, or runs of one method that differ in more
            than their seed.
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

    data = first.record.data
    order = first.index.argsort()
    target = first.target[order]
    weights = rate_weights(target, torch.tensor(data["counts"]), many=data["many"], few=data["few"])
    reports = {name: [rescore(run) for run in loaded] for name, loaded in runs.items()}
    correct = {name: torch.stack([_correct(run) for run in loaded]) for name, loaded in runs.items()}

    baseline, *others = runs
    differences = {
        name: _difference(correct[name], correct[baseline], runs[name], runs[baseline], target, weights, generator)
        for name in others
    }
    adjusted = ([found.p for found in differences.values()])
    for name, p in zip(others, adjusted, strict=True):
        gap = correct[name].double().mean() - correct[baseline].double().mean()
        differences[name] = dataclasses.replace(differences[name], p_adjusted=p, verdict=verdict(float(gap), p))

    methods = []
    for name, loaded in runs.items():
        summaries = {rate: _summary(reports[name], rate) for rate in (*RATES, *FURTHER)}
        rates = estimate(correct[name], target, weights=torch.stack(list(weights.values())), generator=generator)
        estimates: dict[str, Estimate | None] = {**dict.fromkeys(RATES), **dict(zip(weights, rates, strict=True))}
        errors = [report.calibration.ece for report in reports[name] if report.calibration is not None]
        methods.append(
            Method(
                name=name,
                seeds=tuple(run.record.seed for run in loaded),
                signature=signature(loaded[0].record),
                summaries=summaries,
                estimates=estimates,
                per_class=_per_class(reports[name]),
                calibration=summarize(errors) if len(errors) == len(loaded) else None,
                seconds=standard.fmean(run.record.seconds for run in loaded),
                difference=differences.get(name),
            )
        )
    sizes = next(iter(reports.values()))[0].group_sizes
    return Comparison(data, tuple(methods), sizes, tuple(_notes(methods, runs)))


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


def _one_method(name: str, loaded: Sequence[Loaded]) -> None:
    first = loaded[0].record
    seen: set[int] = set()
    for run in loaded:
        record = run.record
        if record.seed in seen:
            raise InputError(f"{name!r} has two records of seed {record.seed} ({run.folder}); keep one of them")
        seen.add(record.seed)
        for part, theirs in protocol(record).items():
            ours = protocol(first)[part]
            if part != "data" and ours != theirs:
                raise InputError(f"records of {name!r} differ in {part}: {ours} and {theirs} ({run.folder})")
        if record.config != first.config:
            raise InputError(f"records of {name!r} are of different configurations ({loaded[0].folder}, {run.folder})")


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


def _correct(run: Loaded) -> Tensor:
    order = run.index.argsort()
    return run.prediction[order] == run.target[order]


def _difference(
    ours: Tensor,
    theirs: Tensor,
    runs: Sequence[Loaded],
    baseline: Sequence[Loaded],
    target: Tensor,
    weights: Mapping[str, Tensor],
    generator: torch.Generator,
) -> Difference:
    """Without the adjustment for several comparisons, which needs all of them."""
    paired = [run.record.seed for run in runs] == [run.record.seed for run in baseline]
    found = difference(
        ours, theirs, target, weights=torch.stack(list(weights.values())), paired=paired, generator=generator
    )
    rates = dict(zip(weights, found, strict=True))
    single = len(runs) == len(baseline) == 1
    p = mcnemar(ours[0], theirs[0]) if single else rates["accuracy"].p
    gaps = (ours.double().mean(dim=1) - theirs.double().mean(dim=1)).tolist() if paired else []
    return Difference(
        rates={**dict.fromkeys(RATES), **rates},
        seeds=tuple(gaps),
        paired=paired,
        test="exact McNemar" if single else "paired bootstrap" if paired else "bootstrap, seeds not paired",
        p=p,
        p_adjusted=p,
        verdict=verdict(rates["accuracy"].value, p),
    )


def _summary(reports: Sequence[Report], rate: str) -> Summary | None:
    values = [getattr(report, rate) for report in reports]
    return None if None in values else summarize(values)


def _per_class(reports: Sequence[Report]) -> tuple[float | None, ...]:
    columns = zip(*(report.per_class for report in reports), strict=True)
    return tuple(None if None in recalls else standard.fmean(recalls) for recalls in columns)


def _notes(methods: Sequence[Method], runs: Mapping[str, Sequence[Loaded]]) -> list[str]:
    baseline, *others = methods
    notes = []
    parts = {method.name: protocol(runs[method.name][0].record) for method in methods}
    for part in parts[baseline.name]:
        values = {name: found[part] for name, found in parts.items()}
        if len(set(values.values())) > 1:
            listed = "; ".join(f"{name} {value}" for name, value in values.items())
            notes.append(f"The methods differ in more than the method, in {part}: {listed}.")
    few_seeds = {n: [m.name for m in methods if len(m.seeds) == n] for n in (1, 2)}
    if few_seeds[1]:
        notes.append(
            f"One seed ({', '.join(few_seeds[1])}): an interval then speaks of the choice of test images alone, and "
            f"another seed may give another answer."
        )
    if few_seeds[2]:
        notes.append(f"Two seeds ({', '.join(few_seeds[2])}): both values are shown, and no interval.")
    unpaired = [m.name for m in others if m.difference is not None and not m.difference.paired]
    if unpaired:
        notes.append(f"Seeds differ from those of {baseline.name}, so they are not paired: {', '.join(unpaired)}.")
    if len(others) > 1:
        notes.append(
            f"Verdicts allow for there being {len(others)} comparisons with {baseline.name} (Holm); intervals are "
            f"those of single differences."
        )
    return notes
