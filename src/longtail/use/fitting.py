"""From a folder of pictures to a model in one call: checked, planned by time, trained, compared, the best one kept.

Every part of it is a command of its own, and ``Fitted.commands`` says which.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from longtail import results
from longtail.data import Data, catalogue, load
from longtail.data.describe import describe
from longtail.data.layout import first
from longtail.data.pictures import printable
from longtail.data.verify import Finding, verify
from longtail.errors import InputError
from longtail.files import TEMPORARY, same_file, sweep, write_atomically
from longtail.methods.names import recipe as recipe_of
from longtail.models import timm_model
from longtail.recipes import Part, Recipe, text
from longtail.results import Comparison, Difference, Loaded
from longtail.training import compute as computing
from longtail.training.loop import Notify
from longtail.training.many import compare_rows, data_label, rows_of, train_many
from longtail.training.run import LOGITS, MODEL, train
from longtail.training.store import locked
from longtail.training.tuning import TRIALS
from longtail.use.choosing import judged, strength, validation_score
from longtail.use.planning import BASE, RESERVE, Plan, plan_line, planned, shortened
from longtail.wording import counted

PLAN, KEPT, RUNS, REPORT, MISTAKES = "fit.json", "model", "runs", "report.html", "mistakes.html"
"""What lies in the folder of a fit."""
POST_HOC = "logit-adjustment-post-hoc"
OWN_NETWORK, OWN_SIDE = "resnet8", 32
"""What is trained from scratch where there are no weights, and on how many pixels if none are asked for."""
SIDE = 128
"""Side of the pictures that a network with weights gets, if none is asked for."""
SHOWN = 3
"""Findings of one kind that are named; beyond, they are counted."""

Say = Callable[[str], object]
Counting = Callable[[str], AbstractContextManager[Callable[[int, int], Any]]]
Training = Callable[[int], AbstractContextManager[Notify]]


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """What ``fit`` found.

    Args:
        comparison: every method against untuned cross-entropy on the test split.
        rows: the runs behind it, by method.
        validation: balanced accuracy on the validation split by method, mean over the seeds.
        best: the method with the highest of these.
        model: folder of its kept run.
        plan: what was trained.
        verdict: whether the kept method is above untuned cross-entropy on the test split, in one line.
        helped: whether that line says that it is.
        difference: of the kept method from untuned cross-entropy, as a contrast of its own; None if that is kept.
        findings: what the check of the data found.
        commands: those that repeat each part.
        report: the page of the comparison.
        seconds: that this call took.
    """

    comparison: Comparison
    rows: dict[str, list[Loaded]]
    validation: dict[str, float]
    best: str
    model: pathlib.Path
    plan: Plan
    verdict: str
    helped: bool
    difference: Difference | None
    findings: list[Finding]
    commands: list[str]
    report: pathlib.Path
    seconds: float | int

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers."""
        return {
            "comparison": results.to_json(self.comparison),
            "folders": {name: [str(run.folder) for run in held] for name, held in self.rows.items()},
            "validation": self.validation,
            "best": self.best,
            "model": str(self.model),
            "plan": {**dataclasses.asdict(self.plan), "left_out": list(self.plan.left_out)},
            "verdict": self.verdict,
            "helped": self.helped,
            "difference": None if self.difference is None else dataclasses.asdict(self.difference),
            "findings": [finding.to_json() for finding in self.findings],
            "commands": self.commands,
            "report": str(self.report),
            "seconds": self.seconds,
        }


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What decides a fit, as it stands in its folder; a folder of another one is refused."""

    data: str
    model: str | None
    minutes: float | int
    seeds: int
    image_size: int | None
    validation: float | int
    epochs: int | None
    root: str | None
    no_flip: bool
    leave_out_classes_below: int | None


@dataclasses.dataclass(frozen=True)
class _Network:
    """The network that is used, and how."""

    model: str
    protocol: str | None
    side: int
    told: str

    @property
    def frozen(self) -> bool:
        return self.protocol is not None


def _nothing(*_: Any) -> AbstractContextManager[Callable[..., Any]]:
    return contextlib.nullcontext(lambda *_: None)


def fit(
    name: str,
    *,
    model: str | None = None,
    minutes: float | int = 20.0,
    seeds: int = 3,
    image_size: int | None = None,
    validation: float | int = 0.1,
    epochs: int | None = None,
    root: str | pathlib.Path | None = None,
    no_flip: bool = False,
    leave_out_classes_below: int | None = None,
    out: str | pathlib.Path = "fit",
    compute: computing.Compute | None = None,
    say: Say = lambda line: None,
    counting: Counting = _nothing,
    training: Training = _nothing,
) -> Fitted:
    """Check a data set, train the methods for a long tail that fit into the time, and keep the best on validation.

    The test split chooses nothing. Called again with the same arguments it goes on where it was stopped, or returns
    what is there. Use it first on pictures of your own; what it did can be repeated and changed part by part.

    Args:
        name: a data set of pictures, such as ``folder:birds``.
        model: a network with its weights, such as ``efficientnet_lite0@weights=FILE``, which stays as it is below the
            classifier; without weights a small network is trained from scratch.
        minutes: for all of it. One run is measured, and what does not fit is left out and named.
        seeds: of every method, as far as the time allows.
        image_size: side in pixels of the pictures that the network gets.
        validation: share of each training class by which is chosen, in (0, 1). A folder that has validation pictures
            of its own keeps those.
        epochs: of a run at most; those of the protocol if not given.
        root: as in ``longtail.load``.
        no_flip: mirrored images do not show the same.
        leave_out_classes_below: classes with fewer images to train on than this are left out; None keeps all.
        out: folder of the fit.
        compute: device, precision and compilation; chosen for this machine if not given.
        say: called with each line that a person should read.
        counting: a context for work that is counted, as a progress bar is: given its name, gives what is called with
            how much is done and how much there is.
        training: likewise for runs: given the number of all epochs, gives what ``longtail.train`` notifies.

    Returns:
        The comparison, the kept model, the verdict and the commands.

    Raises:
        InputError: data that cannot be used, a network without what it needs, a folder of something else.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = fit("digits-lt", minutes=0.02, seeds=1, epochs=1, out=folder)
        ...     kept = sorted(path.name for path in found.model.iterdir())
        >>> kept
        ['logits.safetensors', 'model.safetensors', 'predictions.npz', 'record.json', 'run.json']
    """
    clock = time.perf_counter()
    if not 0 < validation < 1:
        raise InputError(f"validation {validation:g}: fit chooses by held-out images, a share of them in (0, 1)")
    if not minutes > 0:
        raise InputError(f"minutes {minutes:g}: the time for all of it, above 0")
    if seeds < 1:
        raise InputError(f"seeds {seeds}: at least 1")
    place = pathlib.Path(out)
    rooted = None if root is None else str(root)
    below = leave_out_classes_below
    asked = _Asked(name, model, float(minutes), seeds, image_size, validation, epochs, rooted, no_flip, below)
    network = _network(model, image_size)
    recipe_of(BASE, None, protocol=network.protocol, model=network.model)  # refuses what is wrong before data are read
    _check_folder(place, asked)
    with locked(place / ".lock"):
        stored = _claim(place, asked)
        size = network.side if catalogue.resizes(name) else None
        findings = _verified(asked, size, say, counting)
        data, carved = _loaded(asked, size, counting)
        say(_described(data))
        say(_to_choose_by(data))
        say(network.told)
        if stored.get("fingerprint", data.fingerprint) != data.fingerprint:
            raise InputError(
                f"{place} was fitted to other pictures than are in {name} now; name a new folder with --out"
            )
        chosen = compute or computing.choose()
        made = _Maker(data, network, size, epochs, chosen, place / RUNS)
        if "plan" in stored:
            plan = Plan(**{**stored["plan"], "left_out": tuple(stored["plan"]["left_out"])})
        else:
            with training(0) as notify:
                overhead, each = _measured(made, place, notify)
            spent = time.perf_counter() - clock
            plan = planned(60 * minutes - spent, seeds, made.full, overhead, each)
            stored |= {"fingerprint": data.fingerprint, "plan": dataclasses.asdict(plan)}
            _write(place / PLAN, stored)
        say(plan_line(plan, made.full))

        def left() -> float:
            return 60 * minutes * (1 - RESERVE) - (time.perf_counter() - clock)

        rows, names, plan = _trained(made, plan, stored, place, left, training)
        comparison = compare_rows(rows, against=BASE)
        scores = {row: [validation_score(run) for run in held] for row, held in rows.items()}
        means = {row: statistics.fmean(held) for row, held in scores.items()}
        best = max(means, key=lambda row: (means[row], row == BASE))
        seed = max(range(plan.seeds), key=lambda number: (scores[best][number], -number))
        kept = _keep(rows[best][seed].folder, place / KEPT)
        level = [row for row in means if row != best and means[row] == means[best]]
        difference, helped, verdict = judged(rows, best, level)
        page = results.report_html(comparison, rows)
        write_atomically(place / REPORT, lambda file: file.write_text(page, encoding="utf-8"))
        _spare(place / RUNS / data_label(data), rows)
        commands = _commands(asked, data, network, size, carved, plan, names, place)
        found = Fitted(
            comparison,
            rows,
            means,
            best,
            kept,
            plan,
            verdict,
            helped,
            difference,
            findings,
            commands,
            place / REPORT,
            time.perf_counter() - clock,
        )
        _write(place / PLAN, {**stored, "best": best, "seed": seed, "verdict": verdict, "validation": means})
    return found


# The network and the data.


def _network(model: str | None, image_size: int | None) -> _Network:
    """The network of a name: frozen if it has weights; where it should have some and has none, one of ours."""
    small = f"training {OWN_NETWORK} from scratch at {image_size or OWN_SIDE} pixels"
    lacks = (
        "with a network that knows pictures the same takes minutes and is better: --model NAME@weights=FILE (a "
        ".safetensors or .pth file) or --model NAME@weights=timm (timm's own download)"
    )
    if model is None:
        told = f"No network was named, so no weights are at hand: {small}; {lacks}"
        return _Network(OWN_NETWORK, None, image_size or OWN_SIDE, told)
    part: Part = text.read(model, "model")
    if part.foreign or dict(part.arguments).get("weights"):
        told = (
            f"Network: {model}, kept as it is at {image_size or SIDE} pixels; classifiers are trained on its features"
        )
        return _Network(model, "linear-probe", image_size or SIDE, told)
    if part.function is timm_model:
        told = f"No weights of {model} are at hand: {small} instead; {lacks}"
        return _Network(OWN_NETWORK, None, image_size or OWN_SIDE, told)
    told = f"Network: {model}, trained from scratch at {image_size or OWN_SIDE} pixels; {lacks}"
    return _Network(model, None, image_size or OWN_SIDE, told)


def _verified(asked: _Asked, size: int | None, say: Say, counting: Counting) -> list[Finding]:
    with counting("checking pictures") as notify:
        findings = verify(
            asked.data,
            root=asked.root,
            image_size=size,
            leave_out_classes_below=asked.leave_out_classes_below,
            notify=notify,
        )
    wrong: dict[str, list[str]] = {}
    for finding in findings:
        if not finding.ok:
            wrong.setdefault(finding.what, []).append(finding.detail)
    for what, details in wrong.items():
        for detail in details[:SHOWN]:
            say(f"NOT OK {what}: {detail}")
        if len(details) > SHOWN:
            say(f"NOT OK {what}: {len(details) - SHOWN:,} more; longtail data verify names them all")
    if not wrong:
        say(f"Checked: {len(findings)} findings, nothing is wrong with the data")
    return findings


def _loaded(asked: _Asked, size: int | None, counting: Counting) -> tuple[Data, bool]:
    """The data, and whether validation pictures were taken from those to train on."""
    given: dict[str, Any] = {
        "root": asked.root,
        "image_size": size,
        "leave_out_classes_below": asked.leave_out_classes_below,
    }
    with counting("reading pictures") as notify:
        source = catalogue.read(asked.data, notify=notify, **given)
        if len(source.train.images.shape) != 4:
            raise InputError(f"{asked.data} holds features, not pictures; longtail compare trains on them in seconds")
        own = source.validation is not None
        del source
        share = 0.0 if own else asked.validation
        return load(asked.data, validation=share, no_flip=asked.no_flip, notify=notify, **given), not own


def _described(data: Data) -> str:
    """The description without its curve, and what a leak would do to the numbers."""
    found = describe(data)
    lines = found.text().split("\n\n")[0]
    lines += "".join(f"\n  WARNING      {line}" for line in found.warnings())
    copies = found.copies
    if not copies.clean:
        leaks = copies.test_in_train or copies.test_in_validation
        effect = "numbers on the test split are too good" if leaks else "no method can be right about those"
        lines += (
            f"\n  WARNING      {copies.line()}: {effect}; longtail compare with --drop-duplicates copies.txt leaves "
            "copies out"
        )
    return lines


def _to_choose_by(data: Data) -> str:
    """How many pictures there are to choose by, and the classes of which there is none."""
    assert data.validation is not None  # fit holds some out where the folder has none
    held = data.validation.target.bincount(minlength=data.num_classes).tolist()
    lacking = [printable(name) for name, number in zip(data.class_names, held, strict=True) if not number]
    line = f"Validation: {counted(sum(held), 'picture')} to choose by, {min(held)} to {max(held)} of a class"
    if not lacking:
        return line
    of = counted(len(lacking), "class")
    return (
        f"{line}\nWARNING: there is no validation picture of {of} ({first(lacking)}), so "
        "what is chosen was not tried on them; --validation takes a larger share"
    )


# What is trained.


@dataclasses.dataclass(frozen=True)
class _Maker:
    """Makes the recipes of a fit, all in one setting."""

    data: Data
    network: _Network
    size: int | None
    most: int | None
    compute: computing.Compute
    out: pathlib.Path

    @property
    def full(self) -> int:
        """Epochs of a run for which there is time."""
        stated = self.recipe(BASE, None).epochs
        return stated if self.most is None else min(stated, self.most)

    def recipe(self, name: str, epochs: int | None) -> Recipe:
        return recipe_of(
            name,
            self.data,
            protocol=self.network.protocol,
            model=self.network.model,
            image_size=self.size,
            epochs=epochs,
        )

    @property
    def place(self) -> pathlib.Path:
        """Folder of the runs on these data."""
        return self.out / data_label(self.data)


def _measured(made: _Maker, place: pathlib.Path, notify: Notify) -> tuple[float, float]:
    """Seconds of a run besides its epochs, and of an epoch; what a frozen network gives is kept on the way."""
    number = min(2, made.full) if made.network.frozen else 1
    store = made.place / "measured"
    recipe = made.recipe(BASE, number)
    for old in place.glob(f".measured{TEMPORARY}-*"):
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=f".measured{TEMPORARY}-") as folder:
        try:
            for seed in (0, 1) if made.network.frozen else (0,):  # the first one waits for the features
                clock = time.perf_counter()
                out = pathlib.Path(folder) / str(seed)
                record = train(recipe, made.data, seed=seed, out=out, store=store, compute=made.compute, notify=notify)
                whole = time.perf_counter() - clock
        finally:
            shutil.rmtree(store, ignore_errors=True)
    each = sum(row["seconds"] for row in record.history) / len(record.history)
    return max(0.0, whole - len(record.history) * each), each


def _trained(
    made: _Maker, plan: Plan, stored: dict[str, Any], place: pathlib.Path, left: Callable[[], float], training: Training
) -> tuple[dict[str, list[Loaded]], tuple[str, ...], Plan]:
    """All runs of a plan by method, the methods' names in the order of the table, and the plan as it was carried out.

    When every method has one seed it is known what a seed takes: those for which there is no time are dropped.
    """
    recipes = {name: made.recipe(name, plan.epochs) for name in plan.methods}
    works = sum(recipe.epochs + sum(trial.epochs for trial in recipe.trials) for recipe in recipes.values())
    with training(plan.seeds * works) as notify:

        def run(asked: Sequence[Recipe], seeds: int) -> dict[str, list[Loaded]]:
            done = train_many(asked, made.data, seeds=range(seeds), out=made.out, compute=made.compute, notify=notify)
            return rows_of(done)

        base = run([recipes[BASE]], plan.seeds)
        if "strength" not in stored:
            stored["strength"] = strength(base[BASE])
            _write(place / PLAN, stored)
        adjusted = f"{POST_HOC}@tau={stored['strength']:g}"
        after = [made.recipe(adjusted, plan.epochs), *(recipe for name, recipe in recipes.items() if name != BASE)]
        clock = time.perf_counter()
        run(after, 1)
        plan = shortened(plan, left(), time.perf_counter() - clock)
        stored["plan"] = dataclasses.asdict(plan)
        _write(place / PLAN, stored)
        found = run([recipes[BASE], *after], plan.seeds)
    at = plan.methods.index("tau-norm@tau=none")
    names = (*plan.methods[:at], adjusted, *plan.methods[at:])
    return {name: found[name] for name in names}, names, plan


# The folder.


def _check_folder(place: pathlib.Path, asked: _Asked) -> None:
    """Refuse a folder of something else before anything is written into it."""
    if place.exists() and not place.is_dir():
        raise InputError(f"{place} is no folder; name a new one with --out")
    if not place.is_dir():
        return
    path = place / PLAN
    if not path.exists():
        others = [entry for entry in place.iterdir() if entry.name != ".lock" and TEMPORARY not in entry.name]
        if others:
            raise InputError(f"{place} is not empty and holds no fit; name a new folder with --out")
        return
    try:
        found = json.loads(path.read_bytes())
        there = found["asked"]
        begun = "plan" in found
        own = {field.name: there.get(field.name) for field in dataclasses.fields(_Asked)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path} is damaged; name a new folder with --out") from None
    here = dataclasses.asdict(asked)
    differs = [f"{key.replace('_', '-')} {own[key]} there, {here[key]} here" for key in here if own[key] != here[key]]
    if differs and begun:  # where nothing is planned yet, nothing is trained
        raise InputError(f"{place} holds another fit ({'; '.join(differs)}); name a new folder with --out")


def _claim(place: pathlib.Path, asked: _Asked) -> dict[str, Any]:
    """Make the folder this fit's; return what it knows."""
    _check_folder(place, asked)
    sweep(place)
    path = place / PLAN
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    if "plan" not in found:
        found = {"asked": dataclasses.asdict(asked)}
        _write(path, found)
    return found


def _write(path: pathlib.Path, value: dict[str, Any]) -> None:
    written = json.dumps(value, indent=1, sort_keys=True)
    write_atomically(path, lambda file: file.write_text(written, encoding="utf-8"))


def _keep(run: pathlib.Path, place: pathlib.Path) -> pathlib.Path:
    """Give a finished run a second place, whole or not at all."""
    if place.exists() and (place / "record.json").read_bytes() == (run / "record.json").read_bytes():
        return place
    beside = place.with_name(f".{place.name}{TEMPORARY}-folder")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for name in (MODEL, LOGITS, "predictions.npz", "run.json", "record.json"):
        same_file(run / name, beside / name)
    if place.exists():
        shutil.rmtree(place)
    os.replace(beside, place)
    return place


def _spare(place: pathlib.Path, rows: Mapping[str, Sequence[Loaded]]) -> None:
    """Remove the states that runs shared and the networks of the trials: no command needs them once all have run."""
    shutil.rmtree(place / "stages", ignore_errors=True)
    for held in rows.values():
        for run in held:
            for model in run.folder.glob(f"{TRIALS}/*/{MODEL}"):
                model.unlink()


def _commands(
    asked: _Asked,
    data: Data,
    network: _Network,
    size: int | None,
    carved: bool,
    plan: Plan,
    names: Sequence[str],
    place: pathlib.Path,
) -> list[str]:
    """The commands that repeat each part and use what came of it."""
    rooted = ["--root", asked.root] if asked.root else []
    sized = ["--image-size", str(size)] if size else []
    held = ["--validation", f"{asked.validation:g}"] if carved else []
    unflipped = ["--no-flip"] if asked.no_flip else []
    setting = ["--protocol", network.protocol] if network.protocol else []
    below = asked.leave_out_classes_below
    fewer = [] if below is None else ["--leave-out-classes-below", str(below)]
    kind, _, path = asked.data.partition(":")
    shown = str(place / KEPT)
    pictures = ["--pictures", path] if kind == "folder" else ["--data", asked.data, *rooted, *sized, *fewer]
    told = [
        ["data", "verify", asked.data, *rooted, *sized, *fewer],
        ["data", "describe", asked.data, *held, *rooted, *sized, *fewer],
        [
            "compare",
            *names,
            *("--data", asked.data, *held, *rooted, *sized, *fewer, *unflipped),
            *(*setting, "--model", network.model, "--epochs", str(plan.epochs), "--seeds", str(plan.seeds)),
            *("--out", str(place / RUNS)),
        ],
        ["report", str(place / RUNS / data_label(data)), "--against", BASE, "--report", str(place / "again.html")],
        ["rescore", shown],
        ["mistakes", shown, "--data", asked.data, *rooted, *sized, *fewer, "--out", str(place / MISTAKES)],
        *([["predict", shown, path, "--top", "1", "--out", str(place / "predicted.csv")]] if kind == "folder" else []),
        ["export", shown, "--format", "onnx", "--out", str(place / "model.onnx"), *pictures],
    ]
    return [shlex.join(["longtail", *words]) for words in told]
