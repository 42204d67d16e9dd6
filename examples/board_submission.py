"""A result on the board: a run is submitted, scored again from its predictions, and the site is built.

python examples/board_submission.py   # needs the board extra
longtail board submit runs --root board && longtail board build site --root board
"""

import pathlib
import subprocess
import sys


def longtail(*words: str) -> str:
    return subprocess.run([sys.executable, "-m", "longtail", *words], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    longtail("train", "balanced-softmax", "--epochs", "20", "--out", "run")
    print(longtail("board", "submit", "run", "--root", "board", "--submitter", "A. Student"))
    print(longtail("board", "verify", "--root", "board"))
    print(longtail("board", "build", "site", "--root", "board"))
    pages = list(pathlib.Path("site").rglob("*.html"))
    assert any("A. Student" in page.read_text() for page in pages)
