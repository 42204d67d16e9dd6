"""Draw accuracy against class frequency from records, as an SVG that stands alone in a light or dark README.

python docs/figures/by_frequency.py OUT.svg RECORD_FOLDER ...
"""

import pathlib
import sys

import torch

from longtail import results
from longtail.results.report.figures import frequency_figure
from longtail.results.report.series import frequency_bins

STYLE = """<style>
svg { --ink: #1f2328; --faint: #b8bfc6; --series-0: #1763a6; --series-1: #d0650f; --series-2: #1b8a6b;
      --series-3: #a63d7c; --series-4: #7a6a00; font-family: system-ui, sans-serif; font-size: 11px; }
@media (prefers-color-scheme: dark) { svg { --ink: #e4e8ec; --faint: #59626c; --series-0: #63a9ea;
      --series-1: #f0944a; --series-2: #4cc3a0; --series-3: #dd84bb; --series-4: #cfbf3f; } }
</style>"""


def main() -> None:
    out, folders = pathlib.Path(sys.argv[1]), sys.argv[2:]
    records: dict[str, list[results.Loaded]] = {}
    for folder in folders:
        loaded = results.read(folder)
        records.setdefault(loaded.record.recipe, []).append(loaded)
    comparison = results.compare_records(records, generator=torch.Generator().manual_seed(0))
    svg = frequency_figure(comparison, frequency_bins(comparison))
    head, rest = svg.split("</desc>", 1)
    out.write_text(f"{head}</desc>{STYLE}{rest}\n")


if __name__ == "__main__":
    main()
