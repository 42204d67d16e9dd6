"""A comparison that is planned first: arms, seeds and the smallest difference of interest, then runs, then the page.

python examples/planned_comparison.py
longtail plan run plan.toml && longtail plan status plan.toml
"""

import pathlib
import subprocess
import sys

PLAN = """
question = "Does balanced softmax help the rare digits?"
data = "digits-lt"
seeds = [0, 1, 2]
primary = "few"
smallest = 0.05

[[arms]]
name = "ce"

[[arms]]
name = "balanced-softmax"

[options]
imbalance = 50
epochs = 20
"""


def longtail(*words: str) -> str:
    return subprocess.run([sys.executable, "-m", "longtail", *words], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    pathlib.Path("plan.toml").write_text(PLAN)
    print(longtail("plan", "plan.toml"))
    print(longtail("plan", "run", "plan.toml"))
    print(longtail("report", "runs/digits-lt-if50", "--against", "ce", "--report", "page.html"))
    assert "6 of 6 planned runs are done" in longtail("plan", "status", "plan.toml")
    assert pathlib.Path("page.html").stat().st_size > 10_000
