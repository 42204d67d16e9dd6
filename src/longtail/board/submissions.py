"""Submissions: the records of one method's runs with their predictions, taken in whole or not at all.

A board's folder holds ``submissions/<id>/submission.json`` with one ``predictions-seed-<n>.npz`` for each seed,
``scores/<id>.json`` beside it, and ``queue/`` for what came in by the upload form and waits for a look.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtail.board.content import TRACKS, Content, Variant, load, shipped, write_once
from longtail.board.predictions import MAX_FILE
from longtail.board.values import clean, safe_url, slug
from longtail.errors import InputError

SCHEMA = 1
MAX_JSON = 4 << 20
MAX_SEEDS = 64
FILE_NAME = re.compile(r"predictions-seed-(0|[1-9]\d{0,18})\.npz")
_FIELDS = {"schema", "records", "submitter", "note", "code", "created", "supersedes"}
_WORDS = {"RandomCrop": "crop", "HorizontalFlip": "flip"}
_BACKBONES = {
    "resnet20": "ResNet-20",
    "resnet32": "ResNet-32",
    "resnet44": "ResNet-44",
    "resnet56": "ResNet-56",
    "resnet18-cifar": "ResNet-18 (CIFAR stem)",
    "resnet34-cifar": "ResNet-34 (CIFAR stem)",
}
"""The library's models by the names under which papers print them."""


@dataclass(frozen=True)
class Submission:
    """A submission that has been checked: what it says, the files it comes with, and its scores."""

    id: str
    body: dict[str, Any]
    files: dict[str, bytes]
    score: dict[str, Any]


def _records(body: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    from longtail.results.record import Record

    if not isinstance(body.get("records"), list) or not body["records"]:
        raise InputError(f"{where}: 'records' must be a list with one record for each seed")
    if len(body["records"]) > MAX_SEEDS:
        raise InputError(f"{where}: {len(body['records'])} records; at most {MAX_SEEDS} are taken")
    records = [Record.from_json(each, f"{where}, record {i + 1}").to_json() for i, each in enumerate(body["records"])]
    first = records[0]
    for i, record in enumerate(records[1:]):
        for name, same in (
            ("recipe", lambda r: r["recipe"]),
            ("configuration", lambda r: r["config"]),
            ("data", lambda r: (r["data"]["name"], r["data"]["fingerprint"], r["data"]["counts"])),
            ("model", lambda r: (r["model"]["name"], r["model"]["parameters"])),
            ("selection rule", lambda r: r["selection"]),
        ):
            if same(record) != same(first):
                raise InputError(f"{where}: record {i + 2} differs from the first in its {name}; submit them apart")
    seeds = [record["seed"] for record in records]
    if len(set(seeds)) != len(seeds):
        raise InputError(f"{where}: two records have the same seed")
    hashes = [record["predictions"]["sha256"] for record in records]
    if len(set(hashes)) != len(hashes):
        raise InputError(f"{where}: two seeds have the very same predictions; they are one run")
    return records


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


def _augmentations(config: object) -> list[str]:
    """The names of all augmentations in a configuration, in order, each once."""
    found: list[str] = []

    def names(thing: object) -> None:
        if isinstance(thing, dict):
            kind = thing.get("type")
            if isinstance(kind, str):
                found.append(_WORDS.get(kind, kind))
            for value in thing.values():
                names(value)
        elif isinstance(thing, list):
            for value in thing:
                names(value)

    def walk(thing: object) -> None:
        if isinstance(thing, dict):
            for name, value in thing.items():
                (names if name == "augmentation" else walk)(value)
        elif isinstance(thing, list):
            for value in thing:
                walk(value)

    walk(config)
    return list(dict.fromkeys(clean(name, 60) for name in found))


def _pretrained(thing: object) -> bool:
    if isinstance(thing, dict):
        return bool(thing.get("pretrained")) or any(_pretrained(value) for value in thing.values())
    return isinstance(thing, list) and any(_pretrained(value) for value in thing)


def view(body: Mapping[str, Any], name: str, content: Content) -> dict[str, Any]:
    """What the pages say of a submission, derived from its records alone."""
    first = body["records"][0]
    stages = first["config"].get("stages")
    epochs = [
        stage["epochs"]
        for stage in (stages if isinstance(stages, list) else ())
        if isinstance(stage, dict) and isinstance(stage.get("epochs"), int)
    ]
    method = next((each for each in content.methods.values() if each.recipe == first["recipe"]), None)
    variant = _variant(first["data"], content)
    track = first["data"].get("track")
    if track not in TRACKS:
        track = (
            "imagenet" if _pretrained(first["config"].get("model")) or first["model"].get("pretrained") else "scratch"
        )
    return {
        "id": name,
        "method": method.id if method else slug(first["recipe"]),
        "name": method.name if method else first["recipe"],
        "recipe": first["recipe"],
        "data": {
            **first["data"],
            "variant": variant.id if variant else None,
            "standard": variant is not None and first["data"]["fingerprint"] == variant.fingerprint,
        },
        "model": first["model"],
        "backbone": _BACKBONES.get(first["model"]["name"], first["model"]["name"]),
        "config": first["config"],
        "selection": first["selection"],
        "epochs": sum(epochs) or None,
        "stages": epochs,
        "augmentation": " + ".join(_augmentations(first["config"])) or None,
        "track": track,
        "created": body["created"],
        "submitter": body.get("submitter"),
        "note": body.get("note"),
        "code": body.get("code"),
        "supersedes": body.get("supersedes"),
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


def _identity(records: Sequence[Mapping[str, Any]]) -> str:
    core = sorted((record["seed"], record["predictions"]["sha256"]) for record in records)
    text = json.dumps(
        [core, records[0]["recipe"], records[0]["config"], records[0]["data"]["fingerprint"]], sort_keys=True
    )
    name = slug(f"{records[0]['recipe'][:40]} {records[0]['data']['name'][:40]}")
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


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
        InputError: with the first thing that is wrong.
    """
    from longtail.board.scorer import SCORER, score_run

    if not isinstance(body, Mapping):
        raise InputError(f"{where}: expected a JSON object")
    if extra := sorted(set(body) - _FIELDS):
        raise InputError(f"{where}: unknown field {extra[0]!r}; known are {', '.join(sorted(_FIELDS))}")
    if body.get("schema") != SCHEMA:
        raise InputError(f"{where}: schema {body.get('schema')!r}; this version reads schema {SCHEMA}")
    for name, limit in (("submitter", 120), ("note", 2000), ("supersedes", 200)):
        text = body.get(name)
        if text is not None and (not isinstance(text, str) or len(text) > limit):
            raise InputError(f"{where}: {name!r} must be a text of at most {limit} characters")
    if body.get("code") is not None and safe_url(body["code"]) is None:
        raise InputError(f"{where}: 'code' must be an http or https address")
    try:
        created = datetime.datetime.fromisoformat(body["created"]).astimezone(datetime.UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: 'created' must be an ISO 8601 time") from None
    records = _records(body, where)
    expected = {f"predictions-seed-{record['seed']}.npz" for record in records}
    if set(files) != expected:
        wrong = sorted(set(files) ^ expected)[0]
        raise InputError(f"{where}: {wrong!r} is {'missing' if wrong in expected else 'not expected'}")
    kept = {**{name: body.get(name) for name in sorted(_FIELDS)}, "records": records, "created": created.isoformat()}
    variant = _variant(records[0]["data"], content)
    runs = []
    for record in sorted(records, key=lambda record: record["seed"]):
        name = f"predictions-seed-{record['seed']}.npz"
        if hashlib.sha256(files[name]).hexdigest() != record["predictions"]["sha256"]:
            raise InputError(f"{where}: {name} is not the file that its record was written with (SHA-256 differs)")
        runs.append(score_run(record, files[name], variant, f"{where}: {name}"))
    score = {
        "schema": SCHEMA,
        "scorer": SCORER,
        "variant": variant.id if variant else None,
        "trusted": all(run["trusted"] for run in runs),
        "runs": runs,
    }
    identity = _identity(records)
    score |= {"submission": identity, "sha256": hashlib.sha256(encode(kept)).hexdigest()}
    return Submission(identity, kept, dict(files), score)


def encode(body: Mapping[str, Any]) -> bytes:
    """The one way in which the board writes JSON."""
    return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _read_file(path: Path, limit: int) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path} is no file")
        if path.stat().st_size > limit:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes; at most {limit:,} are taken")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def parse_json(content: bytes, where: str) -> Any:
    """JSON from a stranger: no constants that are no numbers, no endless nesting.

    Raises:
        InputError: if it is no such JSON.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"it holds {name}, which is no number")

    try:
        return json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON: {str(error)[:120]}") from None


def read_submission(folder: Path, content: Content) -> Submission:
    """Read a submission's folder, check and score it.

    Raises:
        InputError: with the first thing that is wrong.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"{folder} is no folder of a submission")
    body = parse_json(_read_file(folder / "submission.json", MAX_JSON), f"{folder.name}/submission.json")
    files = {
        each.name: _read_file(each, MAX_FILE)
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


def _record_files(paths: Sequence[Path]) -> list[Path]:
    """The ``record.json`` of every run that is named, or lies in a folder that is named; each once."""
    out: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_file():
            found = [path]
        elif (path / "record.json").is_file():
            found = [path / "record.json"]
        else:
            found = sorted(path.rglob("record.json")) if path.is_dir() else []
        if not found:
            raise InputError(f"{path}: no record.json there; give the folder of a finished run")
        out |= {file.resolve(): None for file in found}
    return list(out)


def body_of(paths: Sequence[Path], submitter: str | None = None) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    """Gather run folders into submissions: one for each method, configuration and data set."""
    groups: dict[str, list[tuple[dict[str, Any], bytes]]] = defaultdict(list)
    for file in _record_files(paths):
        record = parse_json(_read_file(file, 64 << 20), str(file))
        if not isinstance(record, dict) or not isinstance(record.get("predictions"), dict):
            raise InputError(f"{file} is no record")
        from longtail.results.record import Record

        record = Record.from_json(record, str(file)).to_json()
        predictions = _read_file(file.parent / "predictions.npz", MAX_FILE)
        same = json.dumps([record["recipe"], record["config"], record["data"]["fingerprint"]], sort_keys=True)
        groups[same].append((record, predictions))
    out = []
    for members in groups.values():
        members.sort(key=lambda member: member[0]["seed"])
        created = max(
            datetime.datetime.fromisoformat(record["started"]).astimezone(datetime.UTC) for record, _ in members
        )
        body = {
            "schema": SCHEMA,
            "records": [record for record, _ in members],
            "submitter": submitter,
            "created": created.isoformat(),
        }
        files = {f"predictions-seed-{record['seed']}.npz": content for record, content in members}
        if len(files) != len(members):
            raise InputError(f"two records of {members[0][0]['recipe']!r} have the same seed")
        out.append((body, files))
    return out


def submit(records: Sequence[Path], *, root: Path, submitter: str | None = None) -> list[dict[str, Any]]:
    """Take finished runs, or a submission that waits in the queue, into a board.

    Args:
        records: folders of runs (with ``record.json`` and ``predictions.npz``), folders that hold such folders, or
            folders of a submission; runs that differ only in their seed become one submission.
        root: the board's folder.
        submitter: who submits, as the page is to show it.

    Returns:
        For each submission its id, board and scores; ``already`` is true for one that was in the board before.

    Raises:
        InputError: if a record is unusable or its predictions disagree with it; nothing of the call is then written.
    """
    root = Path(root)
    content = load(root)
    folders = [Path(path) for path in records if (Path(path) / "submission.json").is_file()]
    loose = [Path(path) for path in records if Path(path) not in folders]
    checked = [(read_submission(folder, content), folder) for folder in folders]
    checked += [(check(body, files, "submission", content), None) for body, files in body_of(loose, submitter)]  # type: ignore[misc]
    if not checked:
        raise InputError("nothing to submit: give the folders of finished runs")
    out = []
    for submission, folder in checked:
        path = root / "submissions" / submission.id
        already = path.exists()
        if not already:
            submission = _superseding(submission, root, content)
            write_submission(submission, root / "submissions")
            write_once(root / "scores" / f"{submission.id}.json", encode(submission.score))
        if folder is not None and folder.resolve().parent == (root / "queue").resolve():
            shutil.rmtree(folder)
        seen = view(submission.body, submission.id, content)
        accuracies = [run["accuracy"] for run in submission.score["runs"]]
        out.append(
            {
                "id": submission.id,
                "path": str(path),
                "already": already,
                "method": seen["name"],
                "data": seen["data"]["name"],
                "board": submission.score["variant"],
                "trusted": submission.score["trusted"],
                "seeds": [run["seed"] for run in submission.score["runs"]],
                "accuracy": accuracies,
                "mean_accuracy": sum(accuracies) / len(accuracies),
            }
        )
    return out


def _superseding(submission: Submission, root: Path, content: Content) -> Submission:
    """Let a submission stand for an earlier one whose runs are all among its own."""
    if submission.body["supersedes"]:
        return submission
    own = {run["sha256"] for run in submission.score["runs"]}
    found = [
        score["submission"]
        for score in _scores(root)
        if score["submission"] != submission.id and {run["sha256"] for run in score["runs"]} < own
    ]
    if not found:
        return submission
    body = {**submission.body, "supersedes": sorted(found)[-1]}
    return check(body, submission.files, submission.id, content)


def _scores(root: Path) -> Iterator[dict[str, Any]]:
    folder = root / "scores"
    for file in sorted(folder.glob("[!.]*.json")) if folder.is_dir() else ():
        score = parse_json(file.read_bytes(), str(file))
        if (
            not isinstance(score, dict)
            or score.get("submission") != file.stem
            or not isinstance(score.get("runs"), list)
        ):
            raise InputError(f"{file} is not what the scorer writes; run longtail board verify")
        yield score


def scored_submissions(root: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What is submitted and scored, for the index: the view of each submission, and its score.

    Each is scored again here, and one that does not come out as it stands in ``scores/`` is left out: what has been
    changed by hand is never shown, whoever changed it.
    """
    content = load(root)
    folder = root / "scores"
    for file in sorted(folder.glob("[!.]*.json")) if folder.is_dir() else ():
        try:
            submission = read_submission(root / "submissions" / file.stem, content)
        except InputError:
            continue
        if submission.id == file.stem and file.read_bytes() == encode(submission.score):
            yield view(submission.body, submission.id, content), submission.score


def verify(root: Path) -> list[str]:
    """Re-score everything in a board's folder and compare with what stands there.

    Args:
        root: the board's folder.

    Returns:
        One line for each difference; empty if all is as it was scored.

    Raises:
        InputError: if there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is no folder of a board")
    findings: list[str] = []
    try:
        shipped()
        content = load(root)
    except InputError as error:
        return [str(error)]
    folder = root / "submissions"
    names = {each.name for each in folder.iterdir() if not each.name.startswith(".")} if folder.is_dir() else set()
    for name in sorted(names):
        try:
            submission = read_submission(folder / name, content)
            if submission.id != name:
                findings.append(f"submissions/{name}: its content is that of {submission.id}")
                continue
            file = root / "scores" / f"{name}.json"
            if not file.is_file():
                findings.append(f"scores/{name}.json is missing")
            elif file.read_bytes() != encode(submission.score):
                findings.append(_difference(name, parse_json(file.read_bytes(), file.name), submission.score))
        except InputError as error:
            findings.append(f"submissions/{name}: {error}")
    scores = root / "scores"
    findings += [
        f"scores/{file.name}: there is no such submission"
        for file in (sorted(scores.glob("[!.]*.json")) if scores.is_dir() else ())
        if file.stem not in names
    ]
    archive = root / "archive"
    findings += [
        f"archive/{file.name}: has been changed since it was imported"
        for file in (sorted(archive.glob("[!.]*.jsonl")) if archive.is_dir() else ())
        if hashlib.sha256(file.read_bytes()).hexdigest()[:12] != file.stem.rsplit("-", 1)[-1]
    ]
    return findings


def _difference(name: str, stored: Any, scored: Mapping[str, Any]) -> str:
    if isinstance(stored, dict):
        for there, here in zip(stored.get("runs", ()), scored["runs"], strict=False):
            for field, value in here.items():
                if not isinstance(there, dict) or there.get(field) != value:
                    said = there.get(field) if isinstance(there, dict) else None
                    return f"scores/{name}.json: seed {here['seed']}: {field} is {said!r}, re-scored {value!r}"[:400]
    return f"scores/{name}.json: differs from what the scorer writes"
