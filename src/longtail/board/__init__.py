"""The board: tasks, state of the art, data sets, papers and methods, with every number sourced or re-scored.

Importing this package loads nothing heavy; each function imports what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longtail.errors import InputError

__all__ = [
    "build",
    "export_archive",
    "export_records",
    "export_statements",
    "import_archive",
    "serve",
    "submit",
    "submit_predictions",
    "verify",
]


def build(out: Path, *, root: Path | None = None, archive: Path | None = None, **more: Any) -> dict[str, Any]:
    """Write the static site to ``out``; see :func:`longtail.board.site.build`."""
    from longtail.board import site

    return site.build(out, root=root, archive=archive, **more)


def serve(*, root: Path | None = None, host: str = "127.0.0.1", port: int = 8000, numerics: int | None = None) -> None:
    """Answer requests until interrupted; see :func:`longtail.board.server.serve`."""
    try:
        from longtail.board import server
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}: pip install 'longtail[board]'") from None
    server.serve(root=root, host=host, port=port, numerics=numerics)


def submit(records: Sequence[Path], *, root: Path, **stated: Any) -> list[dict[str, Any]]:
    """Take finished runs into a board; see :func:`longtail.board.intake.submit`."""
    from longtail.board import intake

    return intake.submit(records, root=root, **stated)


def submit_predictions(files: Sequence[Path], *, root: Path, **stated: Any) -> dict[str, Any]:
    """Take predictions of any framework into a board; see :func:`longtail.board.intake.submit_predictions`."""
    from longtail.board import intake

    return intake.submit_predictions(files, root=root, **stated)


def verify(root: Path, expect: str | None = None) -> list[str]:
    """Re-score everything and list what differs; see :func:`longtail.board.verification.verify`."""
    from longtail.board import verification

    return verification.verify(root, expect)


def import_archive(file: Path, *, root: Path) -> dict[str, Any]:
    """Take a file of the Papers with Code archive in; see :mod:`longtail.board.archive.importing`."""
    from longtail.board.archive import importing

    return importing.import_archive(file, root=root)


def export_archive(root: Path, file: Path) -> dict[str, Any]:
    """Write them back; see :func:`longtail.board.export.export_archive`."""
    from longtail.board import export

    return export.export_archive(root, file)


def export_records(root: Path | None, folder: Path) -> dict[str, Any]:
    """Write Every Eval Ever records; see :func:`longtail.board.exchange.export_records`."""
    from longtail.board import exchange

    return exchange.export_records(root, folder)


def export_statements(root: Path | None, folder: Path) -> dict[str, Any]:
    """Write in-toto statements; see :func:`longtail.board.exchange.export_statements`."""
    from longtail.board import exchange

    return exchange.export_statements(root, folder)
