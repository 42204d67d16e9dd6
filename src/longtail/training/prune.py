"""What runs keep to save time, by its size, and its removal where the disk is small: nothing that is a result.

Records, predictions, logits and models are results and are never touched. States after a stage and the features of a
frozen network are kept so that nobody computes them twice; without them they are computed again, to the same numbers.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

from filelock import FileLock, Timeout

from longtail.errors import InputError
from longtail.training.places import FEATURES, PROGRESS, STATE, lock_of


@dataclasses.dataclass(frozen=True)
class Kept:
    """One thing that can be computed again.

    Args:
        kind: ``state after a stage`` or ``features``.
        path: folder of a state, or file of features.
        files: its files, in the order in which they may be removed.
        size: bytes on the disk that only these files hold; a state that is also a run's model holds none.
        used: when it was last written, in seconds since 1970.
    """

    kind: str
    path: pathlib.Path
    files: tuple[pathlib.Path, ...]
    size: int
    used: float


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What a call of ``prune`` removed.

    Args:
        removed: what is gone.
        in_use: what would have gone, but another process holds it.
        before: bytes of all that could be computed again.
        after: bytes of what is left of that.
    """

    removed: tuple[Kept, ...]
    in_use: tuple[Kept, ...]
    before: int
    after: int


def kept(folder: pathlib.Path) -> list[Kept]:
    """List what runs below a folder keep to save time, the longest unused first.

    Args:
        folder: folder of runs, such as ``runs``.

    Returns:
        Finished states and features. A stage that was stopped in its midst is not among them: its checkpoint is the
        only copy of hours of training.

    Raises:
        InputError: no such folder.

    Example:
        >>> import tempfile
        >>> kept(pathlib.Path(tempfile.mkdtemp()))
        []
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder of runs, such as runs")
    return sorted(_found(folder), key=lambda item: (item.used, item.path))


def _found(folder: pathlib.Path) -> Iterator[Kept]:
    for here, _, names in os.walk(folder):
        at = pathlib.Path(here)
        if STATE in names and at.parent.name == "stages" and PROGRESS not in names:
            # The state goes first: a stage without it is trained again, whatever else is left of it.
            others = sorted(name for name in names if name.endswith(".safetensors") and name != STATE)
            yield _measured("state after a stage", at, [at / STATE, *(at / name for name in others)])
        elif at.name == FEATURES:
            for name in sorted(name for name in names if name.endswith(".safetensors")):
                yield _measured("features", at / name, [at / name])


def _measured(kind: str, path: pathlib.Path, files: Sequence[pathlib.Path]) -> Kept:
    facts = [file.stat() for file in files]
    size = sum(fact.st_size for fact in facts if fact.st_nlink == 1)
    return Kept(kind, path, tuple(files), size, max(fact.st_mtime for fact in facts))


def prune(folder: pathlib.Path, *, budget: int, dry: bool = False) -> Pruned:
    """Remove what can be computed again, the longest unused first, until the rest fits a budget.

    Use it when the folder of runs outgrows the disk; a later run trains again what it needs, to the same numbers.

    Args:
        folder: folder of runs, such as ``runs``.
        budget: bytes that may stay; 0 removes everything that can be computed again.
        dry: only say what would go, and what stays because a run is using it.

    Raises:
        InputError: no such folder, a negative budget, or a file that may not be removed.
    """
    if budget < 0:
        raise InputError(f"a budget is 0 or more bytes, not {budget:,}")
    items = kept(folder)
    before = after = sum(item.size for item in items)
    removed: list[Kept] = []
    in_use: list[Kept] = []
    for item in items:
        if after <= budget:
            break
        if not item.size:
            continue
        if not (_is_free(item) if dry else _remove(item)):
            in_use.append(item)
            continue
        removed.append(item)
        after -= item.size
    return Pruned(tuple(removed), tuple(in_use), before, after)


def _lock(item: Kept) -> pathlib.Path:
    """The lock that runs take for it."""
    return item.path / ".lock" if item.path.is_dir() else lock_of(item.path)


def _is_free(item: Kept) -> bool:
    """Whether no run holds it; nothing is written where nobody ever held it."""
    if not _lock(item).exists():
        return True
    try:
        with FileLock(_lock(item), timeout=0):
            return True
    except Timeout:
        return False
    except OSError as error:
        raise InputError(f"cannot look at {item.path}: {error.strerror}") from None


def _remove(item: Kept) -> bool:
    """Remove files under the lock that runs take for them; False where a run holds it."""
    try:
        with FileLock(_lock(item), timeout=0):
            for file in item.files:
                file.unlink(missing_ok=True)
    except Timeout:
        return False
    except OSError as error:
        raise InputError(f"cannot remove {item.path}: {error.strerror}") from None
    return True
