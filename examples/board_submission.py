"""A result on the board: a run is submitted, scored again from its predictions, and the site is built, with a badge.

python examples/board_submission.py   # needs the board extra
longtail board submit runs --root board && longtail board build site --root board
"""

import csv
import pathlib
import shutil
import subprocess
import sys


def longtail(*words: str) -> str:
    return subprocess.run([sys.executable, "-m", "longtail", *words], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    longtail("train", "balanced-softmax", "--epochs", "20", "--out", "run")
    longtail("board", "submit", "run", "--root", "board", "--submitter", "A. Student")
    print(longtail("board", "verify", "--root", "board"))
    longtail("board", "build", "site", "--root", "board")
    board = pathlib.Path("site/boards/digits-lt-if-100.csv")
    print(f"{'rank':>4}  {'method':20}{'%':>7}{'many':>7}{'medium':>8}{'few':>7}  evidence")
    for row in csv.DictReader(board.read_text().splitlines()):
        rates = [f"{float(row[name]):.1f}" for name in ("value", "many", "medium", "few")]
        print("{:>4}  {:20}{:>7}{:>7}{:>8}{:>7}  {}".format(row["rank"], row["method"], *rates, row["badge"]))
    shutil.copyfile(board.with_suffix(".svg"), "figure.svg")  # for a README: it follows the board
    assert any("A. Student" in page.read_text() for page in pathlib.Path("site").rglob("*.html"))
