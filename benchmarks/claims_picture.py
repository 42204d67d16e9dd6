"""Draw every difference that a claim of the two papers rests on, with its interval, from the records alone.

The SVG stands by itself on a light or a dark page.

python benchmarks/claims_picture.py [OUT.svg]   # docs/figures/claims.svg
"""

import pathlib
import sys
import tomllib
from html import escape
from textwrap import wrap

from longtail.results.claims import TOLERANCE, judge
from tables import ROOT, counted, measured

PICTURE = ROOT / "docs" / "figures" / "claims.svg"
PAPERS = {"dro-lt": "DRO-LT", "bns-ipdpp": "BNS + IP-DPP"}
WIDTH, LEFT, RIGHT, LINE, CLAIM, AXIS = 868, 400, 138, 26, 30, 46
STYLE = """<style>
svg { --ink: #1f2328; --soft: #59626c; --faint: #d5dade; --agrees: #1b8a6b; --below: #b3261e; --undecided: #7a6a00;
      font-family: system-ui, sans-serif; font-size: 12px; }
@media (prefers-color-scheme: dark) { svg { --ink: #e4e8ec; --soft: #a3acb8; --faint: #39414b; --agrees: #4cc3a0;
      --below: #ef8079; --undecided: #cfbf3f; } }
text { fill: var(--ink); } .soft { fill: var(--soft); } .claim { font-weight: 600; }
.paper { font-size: 15px; font-weight: 700; }
</style>"""


def signed(number: int) -> str:
    """A whole number with its sign; 0 has none."""
    return f"{number:+d}".replace("-", "−") if number else "0"


def drawn() -> str:
    """Return the picture."""
    held = [
        (claim["paper"], claim["says"], [(test, found) for test in claim["tests"] if (found := measured(test))])
        for claim in tomllib.loads((ROOT / "records" / "claims.toml").read_text())["claim"]
    ]
    held = [(paper, says, tests) for paper, says, tests in held if tests]
    shown = [(value, *pair) for _, _, tests in held for _, (value, pair, _) in tests]
    ends = [100 * point for points in shown for point in points if point is not None]
    low, high = min(-2.0, *ends) - 0.5, max(2.0, *ends) + 0.5

    def x(points: float) -> float:
        return LEFT + (points - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    rows, y, before = [], AXIS, ""
    for paper, says, tests in held:
        if paper != before:
            rows.append(f'<text class="paper" x="8" y="{y + 20}">{escape(PAPERS[paper])}</text>')
            y, before = y + 30, paper
        for line in wrap(says, 118):
            rows.append(f'<text class="claim" x="8" y="{y + 18}">{escape(line)}</text>')
            y += 18
        y += CLAIM - 18
        for test, (value, (start, end), seeds) in tests:
            rows.append(_row(test, value, start, end, seeds, x, y))
            y += LINE
        y += 6
    bottom = y
    step = next(step for step in (1, 2, 5, 10, 20) if (high - low) / step <= 10)
    grid = [
        f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{AXIS - 8}" y2="{bottom}" stroke="var(--faint)"/>'
        f'<text class="soft" x="{x(at):.1f}" y="{AXIS - 14}" text-anchor="middle">{signed(at)}</text>'
        for at in range(-50, 51, step)
        if low <= at <= high
    ]
    zero = (
        f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{AXIS - 8}" y2="{bottom}" stroke="var(--ink)" stroke-width="1.2"/>'
    )
    half = 100 * TOLERANCE
    band = (
        f'<rect x="{x(-half):.1f}" width="{x(half) - x(-half):.1f}" y="{AXIS - 8}" height="{bottom - AXIS + 8}" '
        'fill="var(--faint)" opacity="0.5"/>'
    )
    caption = (
        f"points of accuracy, or of the measure named; grey: within {half:g}; bars: 95 %, those of a set hold "
        "together, and none below three seeds"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 26}" role="img">'
        "<title>The claims of the two papers beside what was measured</title>"
        "<desc>Differences in points with intervals; the same numbers stand in the tables below the picture.</desc>"
        f"{STYLE}{band}{''.join(grid)}{zero}{''.join(rows)}"
        f'<text class="soft" x="{WIDTH - 8}" y="{bottom + 18}" text-anchor="end">{caption}</text></svg>\n'
    )


def _row(test, value, start, end, seeds, x, y):
    claimed = None if "claimed" not in test else test["claimed"] / 100
    verdict = judge(start, end, claimed=claimed)
    colour = f"var(--{verdict if verdict in ('agrees', 'below') else 'undecided'})"
    measure = test.get("measure", "accuracy").replace("_", " ").replace("few", "few-shot")
    told = test["on"] + ("" if measure == "accuracy" else f", {measure}")
    middle = y + 8
    bar = (
        ""
        if start is None or end is None
        else f'<line x1="{x(100 * start):.1f}" x2="{x(100 * end):.1f}" y1="{middle}" y2="{middle}" stroke="{colour}" '
        'stroke-width="3"/>'
    )
    return (
        f'<text class="soft" x="20" y="{y + 12}">{escape(told)}</text>{bar}'
        f'<circle cx="{x(100 * value):.1f}" cy="{middle}" r="4.5" fill="{colour}"/>'
        f'<text x="{WIDTH - RIGHT + 12}" y="{y + 12}" style="fill:{colour}">{verdict}, {counted(seeds)}</text>'
    )


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1]) if sys.argv[1:] else PICTURE
    out.write_text(drawn(), encoding="utf-8")
    print(out)
