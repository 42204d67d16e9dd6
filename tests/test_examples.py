"""The examples run, stay short enough to read, and print what the gallery shows.

``python tests/test_examples.py [NAME ...]`` runs them and keeps what they print, and their pictures, for the gallery.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

pytestmark = pytest.mark.pages
ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
KEPT = ROOT / "docs" / "figures" / "examples"
ARGUMENTS = {"own_loss.py": ["2"]}  # epochs
NEEDS = {
    "accelerate_loop.py": ["accelerate"],
    "lightning_module.py": ["lightning"],
    "hugging_face_trainer.py": ["transformers", "accelerate"],
}
"""Libraries that some need besides; they warn of one another, so that warnings are no errors there."""


def ran(path: pathlib.Path, folder: pathlib.Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    strict = [] if path.name in NEEDS else ["-W", "error"]
    command = [sys.executable, *strict, str(path), *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


def words(text: str) -> set[str]:
    """The words of the first paragraph, without numbers and digests; further down are verdicts, which may turn."""
    return set(re.findall(r"[A-Za-z]{3,}", re.sub(r"\b[0-9a-f]{8,}\b", "", text.strip().split("\n\n")[0])))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    needed = NEEDS.get(path.name, [])
    if not all(importlib.util.find_spec(name) for name in needed):
        pytest.skip(f"needs pip install {' '.join(needed)}")
    done = ran(path, tmp_path, ARGUMENTS.get(path.name, []))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    missing = words((KEPT / f"{path.stem}.txt").read_text()) - words(done.stdout)
    assert missing == set(), "python tests/test_examples.py keeps what the gallery shows"
    assert (KEPT / f"{path.stem}.svg").exists() == (tmp_path / "figure.svg").exists()


def keep(names: list[str]) -> None:
    """Run examples and keep what they print and draw."""
    KEPT.mkdir(exist_ok=True)
    for path in EXAMPLES:
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            done = ran(path, pathlib.Path(folder), [])
            if done.returncode:
                sys.exit(f"{path.name}: {done.stderr[-2000:]}")
            (KEPT / f"{path.stem}.txt").write_text(done.stdout)
            if (pathlib.Path(folder) / "figure.svg").exists():
                shutil.copyfile(pathlib.Path(folder) / "figure.svg", KEPT / f"{path.stem}.svg")


if __name__ == "__main__":
    keep(sys.argv[1:])
