"""The examples run, and stay short enough to read."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

EXAMPLES = sorted((pathlib.Path(__file__).parents[1] / "examples").glob("*.py"))
ARGUMENTS = {"own_loss.py": ["2"]}  # epochs


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    command = [sys.executable, "-W", "error", str(path), *ARGUMENTS.get(path.name, [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
