"""Taking runs, predictions and waiting uploads into a board's folder, whole or not at all."""

from __future__ import annotations

import csv
import datetime
import io
import json
import shutil
import tokenize
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from longtail.board.content import Content, load
from longtail.board.repeats import covers, same_runs
from longtail.board.submissions import (
    MAX_JSON,
    SCHEMA,
    Submission,
    check,
    encode,
    read_file,
    read_submission,
    write_submission,
)
from longtail.board.values import parse_json, slug
from longtail.errors import InputError
from longtail.files import write_once


def locked(root: Path) -> AbstractContextManager[Any]:
    """Hold the board's folder, so that two commands do not write to it, or judge it half written, at once."""
    from filelock import FileLock

    root.mkdir(parents=True, exist_ok=True)
    return FileLock(root / ".lock", timeout=600)


def repair(root: Path, content: Content) -> list[str]:
    """Score what was put in place without its score, as after a crash between the two; nothing else is touched."""
    folder, done = root / "submissions", []
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        score = root / "scores" / f"{each.name}.json"
        if each.name.startswith(".") or score.exists():
            continue
        try:
            submission = read_submission(each, content)
        except InputError:
            continue
        if submission.id == each.name:
            write_once(score, encode(submission.score))
            done.append(each.name)
    return done


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


def _started(record: Mapping[str, Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(record["started"]).astimezone(datetime.UTC)


def body_of(
    paths: Sequence[Path], submitter: str | None = None, *, code: str | None = None, note: str | None = None
) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    """Gather run folders into submissions: one for each method, configuration and data set.

    A run that lies in two folders, as a baseline of two tables does, is one run. Runs of one seed with different
    predictions, as from two machines, are two: the later machine's runs become a submission of their own.
    """
    from longtail.results.predictions import MAX_PREDICTIONS_BYTES
    from longtail.results.record import MAX_RECORD_BYTES, Record

    found = []
    for file in _record_files(paths):
        record = parse_json(read_file(file, MAX_RECORD_BYTES), str(file))
        record = Record.from_json(record, str(file)).to_json()
        found.append((record, read_file(file.parent / "predictions.npz", MAX_PREDICTIONS_BYTES)))
    found.sort(key=lambda each: (_started(each[0]), each[0]["predictions"]["sha256"]))
    together: dict[str, list[_Run]] = defaultdict(list)
    for run in found:
        together[same_runs(run[0])].append(run)
    out = []
    for members in (group for runs in together.values() for group in _entries(runs)):
        created = max(_started(record) for record, _ in members)
        body = {
            "schema": SCHEMA,
            "records": [record for record, _ in members],
            "submitter": submitter,
            "code": code,
            "note": note,
            "created": created.isoformat(),
        }
        files = {f"predictions-seed-{record['seed']}.npz": content for record, content in members}
        out.append((body, files))
    return out


_Run = tuple[dict[str, Any], bytes]


def _entries(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Part runs that differ in seed and machine alone into entries of one run for each seed.

    Machines that share the seeds among them make one entry. A machine that repeats a seed of those before it stands
    apart with all its runs, and so does a second run of a seed on one machine.

    Args:
        runs: with equal ``same_runs``, in the order of their beginning.
    """
    layers: dict[str, list[dict[int, _Run]]] = {}
    taken: set[tuple[int, bytes]] = set()
    for record, predictions in runs:
        seed = record["seed"]
        if (seed, predictions) in taken:
            continue
        taken.add((seed, predictions))
        held = layers.setdefault(json.dumps(record["hardware"], sort_keys=True), [])
        free = next((seeds for seeds in held if seed not in seeds), None)
        if free is None:
            held.append(free := {})
        free[seed] = (record, predictions)
    entries: list[dict[int, _Run]] = [{}]
    for machine in layers.values():
        if entries[0].keys().isdisjoint(machine[0]):
            entries[0] |= machine.pop(0)
        entries += machine
    return [[seeds[seed] for seed in sorted(seeds)] for seeds in entries]


def submit(
    records: Sequence[Path],
    *,
    root: Path,
    submitter: str | None = None,
    code: str | None = None,
    note: str | None = None,
) -> list[dict[str, Any]]:
    """Take finished runs, or a submission that waits in the queue, into a board.

    Args:
        records: folders of runs (with ``record.json`` and ``predictions.npz``), folders that hold such folders, or
            folders of a submission; runs that differ only in their seed become one submission, a second run of a seed
            one of its own, together with the other runs of its machine.
        root: the board's folder.
        submitter: who submits, as the page is to show it.
        code: the address of the code.
        note: anything else worth knowing.

    Returns:
        For each submission its id, board and scores; ``already`` is true for one that was in the board before,
        where it stays as it was; in what the new one differs is said.

    Raises:
        InputError: if a record is unusable or its predictions disagree with it, or one of the texts is given beside a
            folder of a submission, which states its own; nothing of the call is then written.
    """
    root = Path(root)
    content = load(root, [])
    folders = [Path(path) for path in records if (Path(path) / "submission.json").is_file()]
    loose = [Path(path) for path in records if Path(path) not in folders]
    given = [name for name, text in (("submitter", submitter), ("code", code), ("note", note)) if text is not None]
    if folders and given:
        raise InputError(f"{folders[0]} is a submission with a {given[0]} of its own: leave {given[0]} out")
    checked: list[tuple[Submission, Path | None]] = [(read_submission(folder, content), folder) for folder in folders]
    bodies = body_of(loose, submitter, code=code, note=note)
    checked += [(check(body, files, "submission", content), None) for body, files in bodies]
    if not checked:
        raise InputError("nothing to submit: give the folders of finished runs")
    with locked(root):
        ids = {submission.id for submission, _ in checked}
        for submission, _ in checked:  # before anything is written
            if not (root / "submissions" / submission.id).exists():
                named_by(submission, root, ids)
        return [_take(submission, folder, root, content) for submission, folder in checked]


def submit_predictions(
    files: Sequence[Path],
    *,
    root: Path,
    statement: Mapping[str, Any],
    submitter: str | None = None,
    code: str | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    """Take predictions of any framework into a board.

    Args:
        files: one for each seed, in the order of the seeds 0, 1, ...: ``.npz`` with the vectors ``prediction`` and
            ``target`` of whole numbers, and ``index`` where the items are not in the order of the test set; or ``.csv``
            with these columns.
        root: the board's folder.
        statement: what :mod:`longtail.board.statement` asks for.
        submitter: who submits, as the page is to show it.
        code: the address of the code.
        note: anything else worth knowing.

    Returns:
        Its id, board and scores, as for :func:`submit`.

    Raises:
        InputError: with everything that is wrong; nothing is then written.
    """
    root = Path(root)
    content = load(root, [])
    if not files:
        raise InputError("no predictions: give one .npz or .csv file for each seed")
    contents = {f"predictions-seed-{seed}.npz": canonical_predictions(Path(file)) for seed, file in enumerate(files)}
    body = {
        "schema": SCHEMA,
        "statement": dict(statement),
        "submitter": submitter,
        "code": code,
        "note": note,
        "created": datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat(),
    }
    submission = check(body, contents, "submission", content)
    with locked(root):
        return _take(submission, None, root, content)


def canonical_predictions(file: Path) -> bytes:
    """A file of predictions, ``.npz`` or ``.csv``, in the form in which the board keeps it.

    Raises:
        InputError: if it holds no such vectors.
    """
    import numpy as np

    from longtail.results.predictions import MAX_PREDICTIONS_BYTES

    content = read_file(file, MAX_PREDICTIONS_BYTES)
    columns = _from_csv(content, file) if file.suffix.lower() == ".csv" else _from_npz(content, file)
    for name in ("prediction", "target"):
        if name not in columns:
            raise InputError(f"{file}: {name!r} is missing; a file has prediction, target and, if out of order, index")
    columns.setdefault("index", np.arange(len(columns["target"]), dtype=np.int64))
    out = io.BytesIO()
    np.savez_compressed(out, **{name: columns[name] for name in ("index", "prediction", "target")})
    return out.getvalue()


_NAMES = ("index", "prediction", "target")


def _from_csv(content: bytes, file: Path) -> dict[str, Any]:
    import numpy as np

    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if extra := sorted(set(names) - set(_NAMES)):
            raise InputError(f"{file}: column {extra[0]!r}; known are {', '.join(_NAMES)}")
        rows = list(reader)
        return {name: np.array([int(row[name]) for row in rows], dtype=np.int64) for name in names}
    except (UnicodeError, ValueError, TypeError, OverflowError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: is no table of whole numbers with a header: {str(error)[:80]}") from None


def _from_npz(content: bytes, file: Path) -> dict[str, Any]:
    """The vectors of an ``.npz``, read without pickles and under the limits of the one reader of predictions."""
    import numpy as np

    from longtail.results.predictions import DAMAGED, MAX_ITEMS, read_predictions

    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise InputError(f"{file} is no whole .npz; write it with numpy.savez_compressed, or as .csv")
    try:
        return {name: vector.numpy() for name, vector in read_predictions(content, str(file)).items()}
    except InputError as error:
        # Without an index, or with vectors of another whole-number type, it is brought to the form that is kept.
        first = error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            sizes = [info.file_size for info in archive.zip.infolist()]
            if sum(sizes) > 3 * 8 * MAX_ITEMS or set(archive.files) - set(_NAMES):
                raise first
            found = {name: archive[name] for name in archive.files}
    except (*DAMAGED, ValueError, KeyError, MemoryError, TypeError, SyntaxError, tokenize.TokenError) as error:
        raise (error if isinstance(error, InputError) else first) from None
    for array in found.values():
        whole = isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in "iu"
        if not whole or (array.size and int(array.max()) > np.iinfo(np.int64).max):
            raise first
    return {name: array.astype(np.int64) for name, array in found.items()}


def _take(submission: Submission, folder: Path | None, root: Path, content: Content) -> dict[str, Any]:
    """Put one checked submission in place, and its score beside it; the caller holds the board's folder."""
    repair(root, content)
    path = root / "submissions" / submission.id
    already, differs = path.exists(), list[str]()
    if already:
        held = parse_json(read_file(path / "submission.json", MAX_JSON), submission.id)
        differs = _differing(held, submission.body)
    else:
        submission = _superseding(submission, root, content)
        write_submission(submission, root / "submissions")
        write_once(root / "scores" / f"{submission.id}.json", encode(submission.score))
    if folder is not None and folder.resolve().parent == (root / "queue").resolve():
        shutil.rmtree(folder)
    accuracies = [run["accuracy"] for run in submission.score["runs"]]
    return {
        "id": submission.id,
        "path": str(path),
        "already": already,
        "differs from what is there in": differs,
        "method": submission.view["name"],
        "options": list(submission.view["options"]),
        "data": submission.view["data"]["name"],
        "board": submission.score["variant"],
        "trusted": submission.score["trusted"],
        "seeds": [run["seed"] for run in submission.score["runs"]],
        "accuracy": accuracies,
        "mean_accuracy": sum(accuracies) / len(accuracies),
    }


def _differing(held: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """In what the same runs are described otherwise than on the board, where they stay as they are."""
    found = [name for name in ("code", "note", "statement") if held.get(name) != given.get(name)]
    pairs = list(zip(held.get("records") or (), given.get("records") or (), strict=False))
    parts = sorted({name for one, other in pairs for name in one if one[name] != other.get(name)})
    return found + [f"records: {name}" for name in parts]


def named_by(submission: Submission, root: Path, beside: Collection[str] = ()) -> str | None:
    """The earlier submission that a new one says it supersedes.

    Args:
        submission: the new one.
        root: the board's folder.
        beside: identifiers of those that are taken in by the same command.

    Raises:
        InputError: if the earlier one is not on the board, or somebody else's.
    """
    named = submission.body.get("supersedes")
    if named is None or named in beside:
        return named
    held = root / "submissions" / str(named) / "submission.json"
    if slug(str(named)) != named or not held.is_file():
        raise InputError(f"{submission.id}: it cannot supersede {named!r}, which is not on this board")
    if parse_json(read_file(held, MAX_JSON), named).get("submitter") != submission.body.get("submitter"):
        raise InputError(f"{submission.id}: it cannot supersede {named!r}, which is somebody else's")
    return str(named)


def _superseding(submission: Submission, root: Path, content: Content) -> Submission:
    """Let a submission stand for an earlier one of the same submitter whose runs are all among its own."""
    if named_by(submission, root) is not None:
        return submission
    own = {run["sha256"] for run in submission.score["runs"]}
    mine: list[tuple[int, str]] = []
    for score in _scores(root):
        name, runs = score["submission"], {run["sha256"] for run in score["runs"]}
        body = parse_json(read_file(root / "submissions" / name / "submission.json", MAX_JSON), name)
        if covers(submission.body, own, body, runs):
            mine.append((len(runs), name))
    if not mine:
        return submission
    # The largest is named; the others are superseded by their runs (longtail.board.overlap).
    return check({**submission.body, "supersedes": max(mine)[1]}, submission.files, submission.id, content)


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
