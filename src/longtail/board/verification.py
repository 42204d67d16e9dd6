"""Whether a board's folder is what was submitted: everything scored again, and one hash over all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longtail.board.archive.files import archive_findings
from longtail.board.content import OWN, OWN_FILES, Content, load, shipped
from longtail.board.intake import locked
from longtail.board.submissions import read_submission
from longtail.board.values import parse_json
from longtail.errors import InputError
from longtail.files import sha256
from longtail.results.rescoring import agree

KEPT = (*OWN, *OWN_FILES, "submissions", "scores", "plans", "archive")
"""The folders that make a board; the queue and the locks do not."""


def fingerprint(root: Path) -> str:
    """One hash over everything that a board's folder holds: names and contents of all its files.

    Publish it elsewhere, and nobody who writes to the folder can change a number unseen, however consistently.

    Args:
        root: the board's folder.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in KEPT:
        for file in sorted((root / name).rglob("*")) if (root / name).is_dir() else [root / name]:
            inner = file.relative_to(root)
            if file.is_file() and not any(part.startswith(".") for part in inner.parts):
                digest.update(f"{inner.as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def verify(root: Path, expect: str | None = None) -> list[str]:
    """Re-score everything in a board's folder and compare with what stands there.

    Args:
        root: the board's folder.
        expect: the hash that :func:`fingerprint` gave when the board was published.

    Returns:
        One line for each difference; empty if all is as it was scored.

    Raises:
        InputError: if there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is no folder of a board")
    try:
        with locked(root):
            return _findings(root, expect)
    except PermissionError:  # A folder that cannot be written to is not being written to.
        return _findings(root, expect)


def _findings(root: Path, expect: str | None) -> list[str]:
    findings: list[str] = []
    if expect is not None and (found := fingerprint(root)) != expect.strip().lower():
        findings.append(f"{root}: its hash is {found}, expected was {expect}")
    try:
        shipped()
        content = load(root, findings)
    except InputError as error:
        return [*findings, str(error)]
    return findings + score_findings(root, content) + archive_findings(root)


def score_findings(root: Path, content: Content) -> list[str]:
    """Submissions and scores that are not what scoring gives."""
    findings: list[str] = []
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
            elif not agree(stored := parse_json(file.read_bytes(), file.name), submission.score):
                findings.append(_difference(name, stored, submission.score))
        except InputError as error:
            findings.append(f"submissions/{name}: {error}")
    scores = root / "scores"
    findings += [
        f"scores/{file.name}: there is no such submission"
        for file in (sorted(scores.glob("[!.]*.json")) if scores.is_dir() else ())
        if file.stem not in names
    ]
    return findings


def _difference(name: str, stored: Any, scored: Mapping[str, Any]) -> str:
    if isinstance(stored, dict):
        for there, here in zip(stored.get("runs", ()), scored["runs"], strict=False):
            for field, value in here.items():
                if not isinstance(there, dict) or not agree(there.get(field), value):
                    said = there.get(field) if isinstance(there, dict) else None
                    return f"scores/{name}.json: seed {here['seed']}: {field} is {said!r}, re-scored {value!r}"[:400]
    return f"scores/{name}.json: differs from what the scorer writes"
