"""Names of what runs keep beside their records, and where the lock of each lies."""

from __future__ import annotations

import pathlib

STATE = "state.safetensors"
"""The network after a stage, in the stage's folder."""

PROGRESS = "progress.safetensors"
"""The last checkpoint within a stage, likewise."""

FEATURES = "features"
"""Folder of the features of frozen networks, beside the runs."""


def lock_of(path: pathlib.Path) -> pathlib.Path:
    """Return the lock file of a file, which lies hidden beside it.

    Example:
        >>> lock_of(pathlib.Path("features/a.safetensors")).name
        '.a.safetensors.lock'
    """
    return path.with_name(f".{path.name}.lock")
