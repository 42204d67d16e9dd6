"""Submissions: one method's runs with their predictions, checked and scored whole or not at all.

A board's folder holds ``submissions/<id>/submission.json`` with one ``predictions-seed-<n>.npz`` for each seed,
``scores/<id>.json`` beside it, and ``queue/`` for what came in by the upload form and waits for a look. A submission
holds either the records of runs of this library, or a statement about predictions of any other.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.board import recipes
from longtail.board.content import Content, shipped, shipped_root
from longtail.board.model import Answers
from longtail.board.repeats import shared_by_seeds
from longtail.board.schema import Variant
from longtail.board.statement import check_statement
from longtail.board.values import clean, parse_json, safe_url, slug
from longtail.errors import InputError
from longtail.results.announced import nameless
from longtail.results.rescoring import agree

if TYPE_CHECKING:
    from longtail.results.record import Record

SCHEMA = 1
MAX_JSON = 4 << 20
MAX_SEEDS = 64
FILE_NAME = re.compile(r"predictions-seed-(0|[1-9]\d{0,18})\.npz", re.ASCII)
_TEXTS = {"submitter": 120, "note": 2000, "supersedes": 200}
_FIELDS = {"schema", "records", "statement", "code", "created", *_TEXTS}
_BACKBONES = {
    "resnet20": "ResNet-20",
    "resnet32": "ResNet-32",
    "resnet44": "ResNet-44",
    "resnet56": "ResNet-56",
    "resnet18-cifar": "ResNet-18 (CIFAR stem)",
    "resnet34-cifar": "ResNet-34 (CIFAR stem)",
    "efficientnet_lite0": "EfficientNet-Lite0",
}
"""The library's models by the names under which papers print them."""


@dataclass(frozen=True)
class Submission:
    """A submission that has been checked.

    Args:
        id: its name, from what it holds.
        body: what it says.
        files: its predictions by file name.
        score: what the scorer has found.
        view: what the pages say of it.
        answers: which test items each run got right.
    """

    id: str
    body: dict[str, Any]
    files: dict[str, bytes]
    score: dict[str, Any]
    view: dict[str, Any]
    answers: Answers


def check(body: Mapping[str, Any], files: Mapping[str, bytes], where: str, content: Content) -> Submission:
    """Check a submission from anywhere and score it; nothing is written.

    Args:
        body: parsed ``submission.json``.
        files: its predictions by file name, ``predictions-seed-<n>.npz``.
        where: what to call it in an error.
        content: the board's content, for its data sets and methods.

    Returns:
        The submission with its identifier and its score.

    Raises:
        InputError: with everything that is wrong, in one line.
    """
    from longtail.board import scorer

    if not isinstance(body, Mapping):
        raise InputError(f"{where}: expected a JSON object")
    problems = _outside(body)
    stated = body.get("statement") is not None
    records: list[Record] = []
    statement: dict[str, Any] = {}
    if stated:
        statement, variant, found = check_statement(body["statement"], content)
        problems += found
        seeds = sorted(int(match[1]) for name in files if (match := FILE_NAME.fullmatch(name)))
        if not 0 < len(seeds) <= MAX_SEEDS:
            problems.append(f"predictions of 1 to {MAX_SEEDS} seeds are needed, named predictions-seed-N.npz")
    else:
        records = _records(body, problems)
        seeds = sorted(record.seed for record in records)
        variant = _variant(records[0].data, content) if records else None
    expected = {f"predictions-seed-{seed}.npz" for seed in seeds}
    for name in sorted(set(files) ^ expected) if seeds else ():
        problems.append(f"{name!r} is {'missing' if name in expected else 'not expected'}")
    _raise(problems, where)
    runs, loaded, key = [], [], content.key(variant)
    by_seed = {record.seed: record for record in records}
    for seed in seeds:
        name = f"predictions-seed-{seed}.npz"
        try:
            if stated:
                assert variant is not None
                numbers, run = scorer.score_predictions(files[name], seed, variant, key, f"{where}: {name}")
            else:
                numbers, run = scorer.score_run(by_seed[seed], files[name], variant, key, f"{where}: {name}")
            runs.append(numbers)
            loaded.append(run)
        except InputError as error:
            problems.append(str(error).removeprefix(f"{where}: "))
    _raise(problems, where)
    # The files may hold the same predictions in another order.
    if equal := _equal(seeds, [scorer.predicted(run) for run in loaded]):
        raise InputError(f"{where}: {equal}")
    created = datetime.datetime.fromisoformat(body["created"]).astimezone(datetime.UTC).isoformat()
    kept = {name: body.get(name) for name in sorted(_FIELDS) if body.get(name) is not None or name in _TEXTS}
    about = {"statement": statement} if stated else {"records": [record.to_json() for record in records]}
    kept |= {"created": created} | about
    try:
        text = encode(kept)
    except UnicodeEncodeError:
        raise InputError(f"{where}: a text holds half of a character that takes two") from None
    identity = _identity(kept, runs)
    score = {
        "schema": SCHEMA,
        "scorer": scorer.SCORER,
        "variant": variant.id if variant else None,
        "trusted": all(run["trusted"] for run in runs),
        "runs": runs,
        "submission": identity,
        "sha256": hashlib.sha256(text).hexdigest(),
    }
    seen = _view_of_statement(kept, variant, runs) if stated else _view_of_records(kept, variant, content)
    seen = {"id": identity, **seen, **{name: kept.get(name) for name in ("created", "code", *_TEXTS)}}
    if stated:
        method = _method_of(statement["method"], content)
        seen |= {"method": method or slug(statement["method"])}
    return Submission(identity, kept, dict(files), score, seen, scorer.answers(loaded, seeds))


def _raise(problems: Sequence[str], where: str) -> None:
    if len(problems) == 1:
        raise InputError(f"{where}: {problems[0]}")
    if problems:
        listed = "; ".join(f"({number}) {problem}" for number, problem in enumerate(problems, 1))
        raise InputError(f"{where}: {len(problems)} problems: {listed}")


def _outside(body: Mapping[str, Any]) -> list[str]:
    """What is wrong with the fields around the runs."""
    known = ", ".join(sorted(_FIELDS))
    problems = [f"unknown field {str(name)[:80]!r}; known are {known}" for name in sorted(set(body) - _FIELDS)]
    if body.get("schema") != SCHEMA:
        problems.append(f"schema {body.get('schema')!r}; this version reads schema {SCHEMA}"[:200])
    for name, limit in _TEXTS.items():
        text = body.get(name)
        if text is not None and (not isinstance(text, str) or len(text) > limit):
            problems.append(f"{name!r} must be a text of at most {limit} characters")
    if body.get("code") is not None and safe_url(body["code"]) is None:
        problems.append("'code' must be an http or https address")
    try:
        datetime.datetime.fromisoformat(body["created"]).astimezone(datetime.UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        problems.append("'created' must be an ISO 8601 time")
    if body.get("statement") is not None and body.get("records") is not None:
        problems.append("a submission has 'records' or a 'statement', not both")
    return problems


def _records(body: Mapping[str, Any], problems: list[str]) -> list[Record]:
    """The records that are sound; what is wrong with the others, and among them, goes to ``problems``."""
    from longtail.results.record import parse_record

    given = body.get("records")
    if not isinstance(given, list) or not given:
        problems.append("'records' must be a list with one record for each seed")
        return []
    if len(given) > MAX_SEEDS:
        problems.append(f"{len(given)} records; at most {MAX_SEEDS} are taken")
        return []
    records = []
    for i, each in enumerate(given):
        try:
            records.append(parse_record(json.dumps(each).encode(), f"record {i + 1}"))
        except (InputError, RecursionError) as error:
            problems.append(str(error)[:500])
    for i, record in enumerate(records[1:]):
        for name, same in (
            ("recipe", lambda r: r.recipe),
            ("configuration", lambda r: nameless(r.config)),
            ("data", lambda r: (r.data["name"], r.data["fingerprint"], r.data["counts"])),
            ("model", lambda r: (r.model["name"], r.model["parameters"])),
            ("selection rule", lambda r: r.selection),
        ):
            if same(record) != same(records[0]):
                problems.append(f"record {i + 2} differs from the first in its {name}; submit them apart")
    seeds = [record.seed for record in records]
    if len(set(seeds)) != len(seeds):
        problems.append("two records have the same seed")
    if equal := _equal(seeds, [record.predictions["sha256"] for record in records]):
        problems.append(f"{records[0].recipe}: {equal}")
    return records


def _equal(seeds: Sequence[int], hashes: Sequence[str | bytes]) -> str | None:
    """Which seeds have the very same predictions, and what to do; None where all differ."""
    for place, value in enumerate(hashes):
        if hashes.index(value) < place:
            first, second = seeds[hashes.index(value)], seeds[place]
            return f"seeds {first} and {second} have the very same predictions, so they are one run: give one of them"
    return None


def _variant(data: Mapping[str, Any], content: Content) -> Variant | None:
    for variant in content.variants.values():
        # The images themselves tell, under whatever name they were loaded.
        if variant.fingerprint is not None and variant.fingerprint == data["fingerprint"]:
            return variant
    for variant in content.variants.values():
        if variant.library == data["name"] and variant.imbalance is not None:
            # Only the profile that the board means: another number of images is another data set.
            if variant.counts is not None and abs(variant.imbalance - data["imbalance"]) < 0.05 * variant.imbalance:
                return variant
            if variant.counts is None and variant.num_test == data["num_test"]:
                return variant
    return None


def _method_of(name: str, content: Content) -> str | None:
    """The identifier of a method by its name, an alias, or the recipe that implements it."""
    wanted = slug(name)
    for each in content.methods.values():
        if wanted in {slug(known) for known in (each.id, each.name, *each.aliases)} or each.recipe == name:
            return each.id
    return None


def _network(name: str) -> str:
    """A network's name for people; that its weights were given says the track."""
    bare = name.removesuffix(" (pretrained)")
    return _BACKBONES.get(bare, bare)


def _view_of_records(body: Mapping[str, Any], variant: Variant | None, content: Content) -> dict[str, Any]:
    """What the pages say of runs of this library, derived from their records alone."""
    from longtail.results.record import Record, budget_note

    first = body["records"][0]
    epochs = recipes.stage_epochs(first["config"])
    base = recipes.method_name(first["recipe"])
    method = next((each for each in content.methods.values() if each.recipe == base), None)
    record = Record.from_json(first)
    notes = [budget_note(record)]
    return {
        "method": method.id if method else slug(base),
        "name": method.name if method else base,
        "options": recipes.options_in_words(first["recipe"], first["config"]),
        "marks": [note for note in notes if note],
        "recipe": first["recipe"],
        "data": {
            **first["data"],
            "variant": variant.id if variant else None,
            "standard": variant is not None and first["data"]["fingerprint"] == variant.fingerprint,
        },
        "model": first["model"],
        "backbone": _network(first["model"]["name"]),
        "config": first["config"],
        "selection": first["selection"],
        "epochs": sum(epochs) if epochs else None,
        "stages": epochs,
        "augmentation": recipes.augmentations(first["config"]),
        "extra_data": None,
        "track": recipes.track(first),
        "probe": recipes.is_linear_probe(first["config"]),
        "paper": None,
        "framework": None,
        "runs": [
            {
                "seed": record["seed"],
                "revision": record["revision"],
                "numerics": record["numerics"],
                "packages": record["packages"],
                "hardware": record["hardware"],
                "seconds": record["seconds"],
                "started": record["started"],
                "sha256": record["predictions"]["sha256"],
            }
            for record in body["records"]
        ],
    }


def _view_of_statement(body: Mapping[str, Any], variant: Variant | None, runs: Sequence[Any]) -> dict[str, Any]:
    """What the pages say of predictions of another framework: what was stated, and no more."""
    assert variant is not None
    said = body["statement"]
    return {
        "name": said["method"],
        "options": (),
        "marks": [],
        "recipe": None,
        "data": {
            "name": variant.library or variant.name,
            "imbalance": variant.imbalance,
            "variant": variant.id,
            "standard": False,
            "fingerprint": None,
            "split_seed": None,
            "num_train": variant.images,
            "num_test": variant.num_test,
            "counts": list(variant.counts or ()),
            "many": variant.many,
            "few": variant.few,
        },
        "model": None,
        "config": None,
        "stages": [said["epochs"]] if said["epochs"] is not None else [],
        "probe": False,
        **{name: said[name] for name in ("backbone", "selection", "epochs", "augmentation", "extra_data", "paper")},
        "framework": said["framework"],
        "track": said["track"] or "unstated",
        "runs": [{"seed": run["seed"], "sha256": run["sha256"]} for run in runs],
    }


def _identity(body: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    core = sorted((run["seed"], run["sha256"]) for run in runs)
    if "records" in body:
        first = body["records"][0]
        what, name, data = shared_by_seeds(first), first["recipe"], first["data"]["name"]
    else:
        what, name, data = [body["statement"]], body["statement"]["method"], body["statement"]["data"]
    text = json.dumps([core, *what], sort_keys=True)
    return f"{slug(f'{name[:40]} {data[:40]}')}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def encode(body: Mapping[str, Any]) -> bytes:
    """The one way in which the board writes JSON."""
    return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_file(path: Path, limit: int) -> bytes:
    """A file's bytes, unless it is a link, or larger than ``limit``.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path} is no file")
        if path.stat().st_size > limit:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes; at most {limit:,} are taken")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def read_submission(folder: Path, content: Content) -> Submission:
    """Read a submission's folder, check and score it.

    Raises:
        InputError: with what is wrong.
    """
    from longtail.results.predictions import MAX_PREDICTIONS_BYTES

    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"{folder} is no folder of a submission")
    body = parse_json(read_file(folder / "submission.json", MAX_JSON), f"{folder.name}/submission.json")
    files = {
        each.name: read_file(each, MAX_PREDICTIONS_BYTES)
        for each in sorted(folder.iterdir())
        if each.name != "submission.json" and FILE_NAME.fullmatch(each.name)
    }
    return check(body, files, folder.name, content)


def write_submission(submission: Submission, parent: Path) -> Path:
    """Put a submission in place under its identifier, whole or not at all.

    Raises:
        InputError: if it is there already.
    """
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / submission.id
    temporary = Path(tempfile.mkdtemp(dir=parent, prefix=".new-"))
    try:
        (temporary / "submission.json").write_bytes(encode(submission.body))
        for name, content in submission.files.items():
            (temporary / name).write_bytes(content)
        for each in temporary.iterdir():
            with open(each, "rb") as file:
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        try:
            # Renaming onto a folder that holds something fails: the first of two at once wins, the other is told.
            os.rename(temporary, target)
        except OSError:
            if not target.is_dir():
                raise
            raise InputError(f"these runs were submitted already, as {submission.id}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


@cache
def shipped_submissions() -> tuple[tuple[Submission, ...], tuple[str, ...]]:
    """What comes with the package, scored once in a process, and a line for each that is left out."""
    warnings: list[str] = []
    return tuple(scored_submissions(shipped_root(), shipped(), warnings)), tuple(warnings)


def scored_submissions(root: Path, content: Content, warnings: list[str]) -> Iterator[Submission]:
    """What is submitted and scored, for the index.

    Each is scored again here, and one that does not come out as it stands in ``scores/`` is left out: what has been
    changed by hand is never shown, whoever changed it.

    Args:
        root: the board's folder.
        content: of the board.
        warnings: takes a line for each that is left out.
    """
    folder, held = root / "scores", root / "submissions"
    warnings += [
        f"submission {clean(each.name, 100)}: left out, it has no score; board verify tells why"
        for each in (sorted(held.iterdir()) if held.is_dir() else ())
        if not each.name.startswith(".") and not (folder / f"{each.name}.json").is_file()
    ]
    for file in sorted(folder.glob("[!.]*.json")) if folder.is_dir() else ():
        try:
            submission = read_submission(root / "submissions" / file.stem, content)
            score = parse_json(read_file(file, MAX_JSON), file.name)
        except InputError as error:
            warnings.append(f"submission {clean(file.stem, 100)}: left out, {error}")
            continue
        if submission.id != file.stem:
            warnings.append(f"submission {clean(file.stem, 100)}: left out, its content is that of {submission.id}")
        elif agree(score, submission.score):
            yield submission
        else:
            warnings.append(f"submission {submission.id}: left out, scores/{file.name} is not what scoring it gives")
