"""What waits in the queue: listed, shown with a note on how plausible it is, taken in or refused with a reason."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import torch

from longtail.board.content import load
from longtail.board.index import build_index
from longtail.board.intake import locked, submit
from longtail.board.model import Answers
from longtail.board.reader import Index
from longtail.board.submissions import Submission, encode, read_submission
from longtail.board.values import look_alike
from longtail.errors import InputError, unknown
from longtail.results.statistics import FEWEST
from longtail.wording import counted

_ALIKE = 0.995
"""Two sets of predictions that agree on more of the images are suspected to be one."""


def waiting(root: Path) -> list[dict[str, Any]]:
    """What waits, the oldest first: identifier, method, board, submitter, accuracy, or what is wrong with it.

    Args:
        root: the board's folder.
    """
    root = Path(root)
    content, out = load(root, []), []
    for folder in _queue(root):
        try:
            found = read_submission(folder, content)
        except InputError as error:
            out.append({"id": folder.name, "problem": str(error)})
            continue
        out.append(_summary(found))
    return sorted(out, key=lambda each: (str(each.get("created", "")), each["id"]))


def show(root: Path, name: str) -> dict[str, Any]:
    """One submission that waits, with a note on how plausible it is.

    Args:
        root: the board's folder.
        name: its identifier.

    Returns:
        The summary, everything that it states, and ``notes``: what a reviewer should look at.

    Raises:
        InputError: if nothing of that name waits, or it cannot be read.
    """
    root = Path(root)
    found = read_submission(_folder(root, name), load(root, []))
    with build_index(root) as index:
        notes = plausibility(found, index)
    return {**_summary(found), "view": found.view, "notes": notes}


def accept(root: Path, name: str) -> dict[str, Any]:
    """Take a waiting submission into the board; see :func:`longtail.board.intake.submit`.

    Raises:
        InputError: if nothing of that name waits, or it is unusable.
    """
    root = Path(root)
    return submit([_folder(root, name)], root=root)[0]


def refuse(root: Path, name: str, reason: str) -> Path:
    """Put a waiting submission aside with the reason; nothing is deleted.

    Args:
        root: the board's folder.
        name: its identifier.
        reason: one sentence for whoever sent it.

    Returns:
        The folder in ``refused/`` that it was moved to.

    Raises:
        InputError: if nothing of that name waits, or the reason is empty.
    """
    root = Path(root)
    if not reason.strip():
        raise InputError("say why it is refused, in one sentence")
    with locked(root):
        folder, target = _folder(root, name), root / "refused" / name
        before = 1
        while target.exists():  # The same runs were sent again after a refusal.
            before += 1
            target = root / "refused" / f"{name}-{before}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, target)
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        (target / "refusal.json").write_bytes(encode({"reason": reason.strip(), "date": day}))
    return target


def plausibility(found: Submission, index: Index) -> list[str]:
    """What about a submission deserves a second look; empty if nothing does.

    Args:
        found: the submission, checked and scored.
        index: of the board that it would join.
    """
    notes = []
    view, score = found.view, found.score
    if not score["trusted"]:
        notes.append("the true classes are not known here: it will be shown as submitted, without badge or rank")
    value = 100 * sum(run["accuracy"] for run in score["runs"]) / len(score["runs"])
    board = view["data"]["variant"]
    ranked = [entry for entry in index.entries(board) if entry.rank is not None] if board else []
    inside = [entry.value for entry in ranked if entry.track == view["track"] and entry.value is not None]
    if inside and value > max(inside):
        notes.append(f"{value:.2f} is above every entry of its track, by {value - max(inside):.2f} points")
    same = [entry for entry in ranked if entry.method_id == view["method"] and entry.value is not None]
    if same and all(abs(value - (entry.value or 0)) > 5 for entry in same):
        nearest = min(same, key=lambda entry: abs(value - (entry.value or 0)))
        notes.append(f"{value:.2f} is more than 5 points from every entry of its method; nearest {nearest.value:.2f}")
    if bool(found.answers.correct.all()):
        notes.append("every answer is right: are these predictions, or the labels?")
    if look_alike(f"{view['name']} {view['submitter'] or ''}"):
        notes.append("letters of another script that look like Latin ones stand in a name")
    notes += _copies(found, index)
    if len(score["runs"]) > 1 and len({run["accuracy"] for run in score["runs"]}) == 1:
        notes.append("all seeds have the same accuracy")
    if len(score["runs"]) < FEWEST:
        notes.append(f"{counted(len(score['runs']), 'seed')}; three give a verdict")
    missing = [name for name in ("backbone", "epochs", "augmentation") if not view.get(name)]
    if missing:
        notes.append(f"not stated: {', '.join(missing)}; it compares with no claim")
    return notes


def _copies(found: Submission, index: Index) -> list[str]:
    out = []
    for each in index.submissions():
        other = index.answers(each["id"])
        if other is not None and (share := _agreement(found.answers, other)) > _ALIKE:
            out.append(f"its answers are those of {each['id']} on {100 * share:.1f} % of the images")
    return out


def _agreement(first: Answers, second: Answers) -> float:
    """The largest share of images on which a run of one and a run of the other are both right or both wrong."""
    if not torch.equal(first.target, second.target):
        return 0.0
    return max(float((one == other).double().mean()) for one in first.correct for other in second.correct)


def _summary(found: Submission) -> dict[str, Any]:
    accuracy = [run["accuracy"] for run in found.score["runs"]]
    return {
        "id": found.id,
        "created": found.view["created"],
        "submitter": found.view["submitter"],
        "method": found.view["name"],
        "options": list(found.view["options"]),
        "board": found.score["variant"],
        "trusted": found.score["trusted"],
        "accuracy": accuracy,
        "mean_accuracy": sum(accuracy) / len(accuracy),
    }


def _queue(root: Path) -> list[Path]:
    folder = root / "queue"
    return sorted(each for each in folder.iterdir() if not each.name.startswith(".")) if folder.is_dir() else []


def _folder(root: Path, name: str) -> Path:
    known = {each.name: each for each in _queue(root)}
    if name not in known:
        raise unknown("waiting submission", name, known) if known else InputError("nothing waits for review")
    return known[name]
