"""The examples run, and stay short enough to read."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.pages
EXAMPLES = sorted((pathlib.Path(__file__).parents[1] / "examples").glob("*.py"))
ARGUMENTS = {"own_loss.py": ["2"]}  # epochs
NEEDS = {
    "accelerate_loop.py": ["accelerate"],
    "lightning_module.py": ["lightning"],
    "hugging_face_trainer.py": ["transformers", "accelerate"],
}
"""Libraries that some need besides; they warn of one another, so that warnings are no errors there."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    needed = NEEDS.get(path.name, [])
    if not all(importlib.util.find_spec(name) for name in needed):
        pytest.skip(f"needs pip install {' '.join(needed)}")
    strict = [] if needed else ["-W", "error"]
    command = [sys.executable, *strict, str(path), *ARGUMENTS.get(path.name, [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
