"""The index built by a process of its own, which neither holds up the server's answers nor outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from longtail.board.index import build_index
from longtail.errors import InputError

_REFUSED = 3
"""Exit status of a build that a user's file stopped."""
_LOOK_SECONDS = 0.1


class StoppedError(Exception):
    """The build was called off."""


def build_apart(root: Path | None, database: Path, numerics: int | None, stopped: threading.Event) -> None:
    """Build the index in another process, and end that as soon as ``stopped`` is set.

    Args:
        root: the board's folder.
        database: the file to write.
        numerics: current version of the numerics.
        stopped: calls the build off.

    Raises:
        InputError: what the build refused.
        StoppedError: if it was called off.
        RuntimeError: if the process ended otherwise, with the end of what it said.
    """
    asked = json.dumps([None if root is None else str(root.resolve()), str(database), numerics])
    # The working folder is no place to import from: it may be the board's own.
    path = os.pathsep.join(each for each in sys.path if each)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, asked],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        said: list[bytes] = []
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: said.append(process.stderr.read() if process.stderr else b""))
        reader.start()
        try:
            while process.poll() is None:
                if stopped.wait(_LOOK_SECONDS):
                    raise StoppedError
        finally:
            process.kill()
            reader.join()
        text = b"".join(said).decode("utf-8", "replace").strip()
    if process.returncode == _REFUSED:
        raise InputError(text)
    if process.returncode:
        raise RuntimeError(text[-2000:] or f"the process that builds the index ended with {process.returncode}")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _main() -> None:
    root, database, numerics = json.loads(sys.argv[1])
    if hasattr(os, "nice"):
        os.nice(5)  # Visitors come first.
    # The other end of this pipe closes when the server is gone, however it ended.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        build_index(None if root is None else Path(root), database, numerics).close()
    except InputError as error:
        sys.stderr.write(str(error))
        sys.stderr.flush()
        os._exit(_REFUSED)
    # A thread still waits at the pipe, which the interpreter's own end would wait for.
    os._exit(0)


if __name__ == "__main__":
    _main()
