"""Draw the README's picture, accuracy against class frequency, from records alone.

The SVG stands by itself on a light or a dark page.

python benchmarks/frequency_picture.py [OUT.svg]   # docs/figures/frozen-cosine-head.svg
"""

import pathlib
import sys

from longtail import results
from longtail.results.report.figures import frequency_figure
from longtail.results.report.series import frequency_bins

ROOT = pathlib.Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "figures" / "frozen-cosine-head.svg"
RECORDS = ROOT / "records" / "cifar100-lt-if100-frozen" / "cosine"
METHODS = ("ce", "ldam-drw", "logit-adjustment")
STYLE = """<style>
svg { --ink: #1f2328; --faint: #b8bfc6; --series-0: #1763a6; --series-1: #d0650f; --series-2: #1b8a6b;
      --series-3: #a63d7c; --series-4: #7a6a00; font-family: system-ui, sans-serif; font-size: 11px; }
@media (prefers-color-scheme: dark) { svg { --ink: #e4e8ec; --faint: #59626c; --series-0: #63a9ea;
      --series-1: #f0944a; --series-2: #4cc3a0; --series-3: #dd84bb; --series-4: #cfbf3f; } }
</style>"""


def drawn() -> str:
    """Return the picture."""
    rows = {name: [results.read(folder) for folder in sorted((RECORDS / name).glob("seed-*"))] for name in METHODS}
    comparison = results.compare_records(rows)
    head, rest = frequency_figure(comparison, frequency_bins(comparison)).split("</desc>", 1)
    return f"{head}</desc>{STYLE}{rest}\n"


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1]) if sys.argv[1:] else PICTURE
    out.write_text(drawn(), encoding="utf-8")
    print(out)
