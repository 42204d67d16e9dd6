"""What a reader of the code must open: files that a command and a step enter, the longest chain of calls, the lines.

    python benchmarks/reading.py [--out records/benchmarks/reading.json]

``longtail train ce --data digits-lt --epochs 1`` runs under ``sys.setprofile``. A file counts when a function of it is
called once the command starts (bodies of modules and classes are not calls that a reader follows). A step
is one call of ``longtail.training.step.Step``. The chain is the deepest stack of functions of this package.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pathlib
import sys
import tempfile
from types import CodeType, FrameType
from typing import Any

import longtail
from longtail.cli import app as command_line
from longtail.training import step as stepping
from record import keep

PACKAGE = pathlib.Path(longtail.__file__).parent


class Reader:
    """A profile function that remembers which functions of the package were entered, and the deepest stack of them."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.step: set[str] = set()
        self.chain: list[str] = []
        self._stack: list[CodeType] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note a call or a return; ``sys.setprofile`` calls this."""
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(str(PACKAGE)) or not is_function(code):
            return
        if event == "return":
            if self._stack and self._stack[-1] is code:
                self._stack.pop()
            return
        self._stack.append(code)
        name = file_of(code)
        self.files.add(name)
        if any(held is stepping.Step.__call__.__code__ for held in self._stack):
            self.step.add(name)
        if len(self._stack) > len(self.chain):
            self.chain = [f"{file_of(held)}:{held.co_qualname}" for held in self._stack]


def is_function(code: CodeType) -> bool:
    """Whether it is code that a ``def`` or ``lambda`` made, and no body of a module or class."""
    return (bool(code.co_flags & 0x02) and not code.co_name.startswith("<")) or code.co_name == "<lambda>"


def file_of(code: CodeType) -> str:
    return pathlib.Path(code.co_filename).relative_to(PACKAGE).as_posix()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    out = arguments.out and arguments.out.absolute()
    reader = Reader()
    words = ["train", "ce", "--data", "digits-lt", "--epochs", "1"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        sys.setprofile(reader)
        try:
            command_line.app(words, standalone_mode=False)
        finally:
            sys.setprofile(None)
            os.chdir("/")
    sources = sorted(PACKAGE.rglob("*.py"))
    result = {
        "work": f"longtail {' '.join(words)}",
        "files that the command enters": sorted(reader.files),
        "files that a step enters": sorted(reader.step),
        "longest chain of calls": reader.chain,
        "lines of src": sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources),
        "files of src": len(sources),
    }
    for name, value in result.items():
        print(f"{len(value) if isinstance(value, list) else value}  {name}")
        if isinstance(value, list):
            print("    " + "\n    ".join(value))
    keep(result, out)


if __name__ == "__main__":
    main()
