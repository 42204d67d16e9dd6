"""The board's results in two forms that others read: Every Eval Ever records, and in-toto evaluation results.

A record of Every Eval Ever (schema 0.3.0) holds one row of one board, claimed or re-scored. An in-toto statement (v1,
with the predicate ``eval-result/v0.1``) is about one re-scored submission: its subjects are the files of predictions,
so whoever has them can compute every figure again. Statements are not signed here.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.board.content import Content, load
from longtail.board.evidence import BADGES
from longtail.board.index import build_index
from longtail.board.model import Board, Entry
from longtail.board.reader import Index
from longtail.board.schema import Variant
from longtail.board.scorer import SCORER
from longtail.board.values import clean, slug
from longtail.errors import InputError

EVERY_EVAL_EVER = "0.3.0"
"""Version of the schema of Every Eval Ever that records are written in."""
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/eval-result/v0.1"
_DEVELOPER = "longtail-board"
_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1")


def export_records(root: Path | None, folder: Path) -> dict[str, Any]:
    """Write one Every Eval Ever record for each row that stands, as ``data/BOARD/DEVELOPER/MODEL/UUID.json``.

    Args:
        root: the board's folder; ``None`` for the shipped content alone.
        folder: to write; it must not exist.

    Returns:
        The folder, how many records it holds, and how many rows were left out because they have no number or no
        direction, which a record must state.

    Raises:
        InputError: if there is no such board, or the folder exists.
    """
    content = _content(root)
    with build_index(root) as index:
        rows = [(board, entry) for board in index.boards() for entry in index.entries(board.slug) if entry.current]
        made = [(board, entry) for board, entry in rows if _stands(board, entry)]
        files = ((_address(board, entry), record(board, entry, index, content)) for board, entry in made)
        _write(folder, files)
    return {"folder": str(folder), "records": len(made), "left_out": len(rows) - len(made)}


def export_statements(root: Path | None, folder: Path) -> dict[str, Any]:
    """Write one in-toto statement for each re-scored submission on a known test set, as ``SUBMISSION.json``.

    Args:
        root: the board's folder; ``None`` for the shipped content alone.
        folder: to write; it must not exist.

    Returns:
        The folder, how many statements it holds, and how many submissions were left out because their test set is not
        known here.

    Raises:
        InputError: if there is no such board, or the folder exists.
    """
    content = _content(root)
    with build_index(root) as index:
        found = index.submissions()
        known = [each for each in found if each["score"]["trusted"] and _key(each, content) is not None]
        _write(folder, ((f"{each['id']}.json", statement(each, index, content)) for each in known))
    return {"folder": str(folder), "statements": len(known), "left_out": len(found) - len(known)}


def _content(root: Path | None) -> Content:
    if root is not None and not Path(root).is_dir():
        raise InputError(f"{root} is no folder of a board")
    return load(root, [])


def _write(folder: Path, files: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """Put a new folder in place, whole or not at all."""
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder} exists; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for name, body in files:
            file = temporary / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="ascii")
        temporary.chmod(0o755)
        os.rename(temporary, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _stands(board: Board, entry: Entry) -> bool:
    return entry.value is not None and board.measure.higher_is_better is not None


def _model(entry: Entry) -> str:
    return slug(", ".join((entry.method, *entry.options)))


def _address(board: Board, entry: Entry) -> str:
    name = uuid.UUID(bytes=hashlib.sha256(f"{board.slug}\0{entry.id}".encode()).digest()[:16], version=4)
    return f"data/{board.slug}/{_DEVELOPER}/{_model(entry)}/{name}.json"


def _epoch(day: str | None) -> str:
    """A day as seconds since 1970, which is how the schema writes times."""
    at = datetime.datetime.fromisoformat(day or "1970-01-01").replace(tzinfo=datetime.UTC)
    return str(int(at.timestamp()))


def record(board: Board, entry: Entry, index: Index, content: Content) -> dict[str, Any]:
    """One row of a board as an Every Eval Ever record.

    Args:
        board: that it stands on.
        entry: the row; it has a number, and its measure a direction.
        index: of the board's folder.
        content: what the files say, for the home page of the data set.
    """
    scored = entry.kind == "scored"
    model = f"{_DEVELOPER}/{_model(entry)}"
    site = index.settings()
    source: dict[str, Any] = {
        "source_name": clean(entry.source or "not stated", 300),
        "source_type": "evaluation_run" if scored else "documentation",
        "source_organization_name": site.name,
        "evaluator_relationship": "other",
        "additional_details": _texts(url=entry.url, locator=entry.locator, quote=entry.quote, badge=entry.badge),
    }
    if site.url:
        source["source_organization_url"] = site.url
    stated = {
        name: getattr(entry, name)
        for name in ("track", "backbone", "epochs", "augmentation", "selection", "extra_data", "paper", "submission")
    }
    return {
        "schema_version": EVERY_EVAL_EVER,
        "evaluation_id": f"{board.slug}/{model}/{_epoch(entry.added)}/{entry.id}",
        "retrieved_timestamp": _epoch(entry.added),
        "source_metadata": source,
        "eval_library": {"name": "longtail", "version": _version()}
        if scored
        else {"name": "unknown", "version": "unknown"},
        "model_info": {
            "name": clean(", ".join((entry.method, *entry.options)), 300),
            "id": model,
            "additional_details": {
                "deployment_type": "unknown",
                "model_availability": "unknown",
                **_texts(**stated),
            },
        },
        "evaluation_results": [_result(board, entry, content)],
    }


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("longtail")
    except PackageNotFoundError:
        return "unknown"


def _texts(**given: Any) -> dict[str, str]:
    return {name: clean(str(value), 2000) for name, value in given.items() if value not in (None, "", ())}


def _result(board: Board, entry: Entry, content: Content) -> dict[str, Any]:
    variant, measure = board.variant, board.measure
    key = content.key(content.variants.get(variant.id))
    metric: dict[str, Any] = {
        "evaluation_description": f"{measure.name} on {variant.name}",
        "metric_id": measure.id,
        "metric_name": measure.name,
        "lower_is_better": not measure.higher_is_better,
    }
    if measure.unit == "%":
        metric |= {"metric_unit": "percent", "score_type": "continuous", "min_score": 0.0, "max_score": 100.0}
    score: dict[str, Any] = {
        "score": entry.value,
        "details": _texts(
            metric_as_printed=entry.metric,
            value_as_printed=entry.raw.strip(),
            seeds=entry.n,
            standard_deviation_over_seeds=entry.sd,
            many=entry.many,
            medium=entry.medium,
            few=entry.few,
            flags=" ".join(entry.flags),
            stated_share_of_protocol=round(entry.completeness, 3),
        ),
    }
    if entry.low is not None and entry.high is not None:
        score["uncertainty"] = {
            "confidence_interval": {
                "lower": entry.low,
                "upper": entry.high,
                "confidence_level": 0.95,
                "method": "test set and seeds" if entry.kind == "scored" else "size of the test set alone",
            }
        }
        if variant.num_test:
            score["uncertainty"]["num_samples"] = variant.num_test
    return {
        "evaluation_result_id": entry.id,
        "evaluation_name": board.name,
        "source_data": _data(variant, content, key.sha256 if key else None),
        "metric_config": metric,
        "score_details": score,
    }


def _data(variant: Variant, content: Content, sha256: str | None) -> dict[str, Any]:
    dataset = content.datasets.get(variant.dataset)
    more = _texts(variant=variant.id, imbalance=variant.imbalance, num_test=variant.num_test, test_set_sha256=sha256)
    home = dataset.homepage if dataset is not None else None
    where = {"source_type": "url", "url": [home]} if home else {"source_type": "other"}
    return {"dataset_name": clean(variant.name, 300), **where, "additional_details": more}


def _key(submission: dict[str, Any], content: Content) -> Any:
    return content.key(content.variants.get(submission["data"].get("variant") or ""))


def statement(submission: dict[str, Any], index: Index, content: Content) -> dict[str, Any]:
    """One re-scored submission as an in-toto statement.

    Every figure is pinned by two claims, that it is at least and at most what was found, as text of six decimals.

    Args:
        submission: as the index holds it; its test set is known.
        index: of the board's folder.
        content: what the files say, for the test set.
    """
    runs, entry = submission["score"]["runs"], index.entry(submission["id"])
    key = _key(submission, content)
    made_from = submission.get("config") or {
        name: submission[name] for name in ("name", "backbone", "epochs", "augmentation", "selection", "track")
    }
    how = json.dumps(made_from, sort_keys=True, separators=(",", ":")).encode()
    claims = []
    for run in runs:
        for figure in _FIGURES:
            if run.get(figure) is None:
                continue
            name = f"{figure}, seed {run['seed']}"
            claims += [
                {"metric": name, "comparator": sign, "threshold": f"{run[figure]:.6f}", "passed": True}
                for sign in (">=", "<=")
            ]
    independent = entry is not None and entry.badge == BADGES[4].id
    board = index.settings()
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": f"{submission['id']}/predictions-seed-{run['seed']}.npz", "digest": {"sha256": run["sha256"]}}
            for run in runs
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "verifier": {"id": board.url or "urn:longtail:board"},
            "evaluatedAt": datetime.datetime.fromisoformat(submission["created"]).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "suite": {"name": submission["board"], "version": f"scorer-{SCORER}"},
            "claims": claims,
            "sampleSize": runs[0]["num_samples"],
            "commitments": {
                "model": {"alg": "sha256", "value": hashlib.sha256(how).hexdigest(), "salted": False},
                "dataset": {"alg": "sha256", "value": key.sha256, "salted": False},
            },
            # The figures are computed here; that the predictions came about as stated is the submitter's word.
            "assuranceLevel": "reproduced" if independent else "self_attested",
            "subjectProfile": "receipt",
            "harness": {"name": "longtail", "version": _version()},
        },
    }
