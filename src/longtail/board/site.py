"""The static site: every page as a file, the same bytes on every build, readable from a disk without a network."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.board.content import Content, load
from longtail.board.index import build_index
from longtail.board.intake import locked, repair
from longtail.board.reader import Index
from longtail.board.values import safe_url
from longtail.board.verification import fingerprint, score_findings
from longtail.errors import InputError

MARK = ".longtail-board"
"""A file by which a folder is known to be a site built here, so that it may be replaced: it lists what was written."""
_FIRST_LINE = "built by longtail board build"


def build(
    out: Path,
    *,
    root: Path | None = None,
    archive: Path | None = None,
    url: str | None = None,
    numerics: int | None = None,
) -> dict[str, Any]:
    """Write the board as a static site.

    Args:
        out: the folder to write; if it exists it must be empty or a site built before, with nothing else in it, which
            is replaced as a whole.
        root: the board's own folder with claims, submissions, scores and imports; the shipped content always counts.
        archive: an evaluation-tables file to show as well, without importing it anywhere.
        url: the public address that the site will have; with it come a site map, previews and absolute links.
        numerics: current version of the numerics; records of an earlier one are marked.

    Returns:
        How many pages, boards, entries and bytes, and the page to open.

    Raises:
        InputError: if ``out`` holds something else or the board itself, a file cannot be read, or a score is not what
            re-scoring gives.
    """
    from longtail.board.archive.importing import import_archive

    out = Path(out)
    if url is not None and safe_url(url) is None:
        raise InputError(f"{url!r} is no http or https address")
    if root is not None and not Path(root).is_dir():
        raise InputError(f"{root} is no folder; make it, or leave it out for the shipped content alone")
    if root is not None and Path(root).resolve().is_relative_to(out.resolve()):
        raise InputError(
            f"the board {root} lies in {out}, which is replaced as a whole; name another folder for the site"
        )
    if foreign := _not_built_here(out):
        raise InputError(f"{out} holds {foreign}, which is of no site built here; move it away, or name another folder")
    read: tuple[Content, list[str]] | None = None
    if root is not None:
        warned: list[str] = []
        try:
            with locked(Path(root)):
                read = load(Path(root), warned), warned
                repair(Path(root), read[0])
                findings = score_findings(Path(root), read[0])
        except PermissionError:  # A folder that cannot be written to cannot be repaired, and nobody writes to it.
            read = read or (load(Path(root), warned), warned)
            findings = score_findings(Path(root), read[0])
        if findings:
            raise InputError(f"{root}: {findings[0]} ({len(findings)} in all; longtail board verify lists them)")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        source = root
        if archive is not None:
            source = temporary / "root"
            if root is None:
                source.mkdir()
            else:
                # The site and what is made on the way to it may lie in the board's folder.
                apart = {temporary.resolve(), out.resolve()}
                shutil.copytree(
                    root,
                    source,
                    ignore=lambda at, names: [name for name in names if (Path(at) / name).resolve() in apart],
                )
            import_archive(Path(archive), root=source, noted=False)
        site = temporary / "site"
        size = count = 0
        with build_index(source, numerics=numerics, content=read) as index:
            index.url = url
            for path, data in _files(index):
                file = site / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                size, count = size + len(data), count + 1
            boards, warnings = index.boards(), index.warnings
        written = sorted(str(file.relative_to(site).as_posix()) for file in site.rglob("*") if file.is_file())
        (site / MARK).write_text("\n".join([_FIRST_LINE, *written, ""]))
        site.chmod(0o755)
        if out.exists():
            os.replace(out, temporary / "old")
        os.replace(site, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {
        "out": str(out),
        "open": str(out / "index.html"),
        "files": count,
        "bytes": size,
        "boards": len(boards),
        "entries": sum(board.entries for board in boards),
        "rescored": sum(board.scored for board in boards),
        "warnings": warnings,
        "hash": fingerprint(Path(root)) if root is not None else None,
    }


def _not_built_here(out: Path) -> str | None:
    """What is in the way: ``out`` itself is no folder, or a file in it that no build has written."""
    if not out.exists():
        return None
    if not out.is_dir():
        return "no folder but a file"
    mark = out / MARK
    if not mark.is_file():
        return next((repr(each.name) for each in sorted(out.iterdir())), None)
    first, *listed = mark.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    if first != _FIRST_LINE or not listed:  # of an earlier version, which listed nothing
        return None
    known = {*listed, MARK}
    places = (file for file in sorted(out.rglob("*")) if file.is_symlink() or not file.is_dir())
    names = (file.relative_to(out).as_posix() for file in places)
    return next((repr(name) for name in names if name not in known), None)


def _files(index: Index) -> Iterator[tuple[str, bytes]]:
    """Every file of the site with its address."""
    from longtail.board.pages import paths, render
    from longtail.board.previews import preview, preview_paths

    for path in paths(index):
        found = render(index, path)
        assert found is not None, path
        yield path, found[1].encode("utf-8", "replace")
    if index.settings().url:
        for path in preview_paths(index):
            picture = preview(index, path)
            assert picture is not None, path
            yield path, picture
