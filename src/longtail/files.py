"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from longtail.errors import InputError

TEMPORARY = ".part"
"""Ending of files that are being written."""


def sweep(folder: pathlib.Path) -> None:
    """Remove what killed writers left in a folder; call it only where nobody else can be writing."""
    for entry in folder.glob(f".*{TEMPORARY}"):
        entry.unlink(missing_ok=True)


def sha256(path: pathlib.Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


FIGURE = "figure of longtail"
"""Stands near the beginning of the figures that are drawn here, in their metadata."""


def write_figure(path: pathlib.Path, figure: Any, **options: Any) -> None:
    """Write a figure of matplotlib, whole and marked as ours; nothing but such a figure is replaced.

    Args:
        path: the file, .png or .svg.
        figure: has matplotlib's ``savefig``.
        options: for ``savefig``.

    Raises:
        InputError: something else is there, or the folder cannot be written to.
    """
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Creator": FIGURE, "Date": None} if kind == "svg" else {"Software": FIGURE}
    check_replaceable(path, FIGURE.encode())
    write_atomically(path, lambda file: figure.savefig(file, format=kind, metadata=metadata, **options))


def check_replaceable(path: pathlib.Path, mark: bytes) -> None:
    """Refuse to write over what is there, unless it is a file that begins as those do that are written here.

    Args:
        path: the file to be written.
        mark: stands in the first 4096 bytes of every file of this kind.

    Raises:
        InputError: something else is there.
    """
    if not os.path.lexists(path):
        return
    try:
        if not path.is_file():
            raise InputError(f"{path} is there already and is no file; name a new file")
        with path.open("rb") as file:
            ours = mark in file.read(4096)
    except OSError as error:
        raise InputError(f"{path} is there already and cannot be read: {error.strerror}; name a new file") from None
    if not ours:
        raise InputError(f"{path} is there already and was not written by this command; name a new file")


def write_atomically(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Let ``write`` make a temporary file beside ``path``, force it to disk, and move it into place.

    A reader sees what was there before or all of the new file, whenever the process is stopped.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    temporary: pathlib.Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        os.close(handle)
        temporary = pathlib.Path(name)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # a temporary file starts out as its owner's secret
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}; choose another folder") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_once(path: pathlib.Path, data: bytes) -> None:
    """Put a complete new file in place, or fail: never a half-written one, never over another.

    Raises:
        InputError: if the file is there already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        try:
            # A hard link is refused if the name is taken: the claim to a name is atomic.
            os.link(temporary, path)
        except FileExistsError:
            raise InputError(f"{path} exists and is never written over; add a new file instead") from None
    finally:
        os.unlink(temporary)


def write_tensors(path: pathlib.Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, atomically.

    Args:
        path: the file.
        tensors: torch tensors by name, contiguous, no two of one storage.
        metadata: text by name for the header of the file.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    write_atomically(path, lambda file: save_tensors(file, tensors, metadata))


def save_tensors(path: pathlib.Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file in one go, for ``write_atomically``.

    Args:
        path: the file.
        tensors: torch tensors by name, contiguous, no two of one storage.
        metadata: text by name for the header of the file.

    Raises:
        OSError: as for any other file; the library has an exception of its own for a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:
        raise OSError(0, str(error)) from None


def same_file(source: pathlib.Path, path: pathlib.Path) -> None:
    """Give a file a second name, atomically, so that its bytes lie on the disk once; a copy where that cannot be.

    Both must be files that are replaced and never written into.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """

    def linked(temporary: pathlib.Path) -> None:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(source, temporary)

    write_atomically(path, linked)


def _sync_folder(folder: pathlib.Path) -> None:
    """Force a new name to disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
