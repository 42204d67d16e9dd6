"""The record of benchmarks/coverage.py keeps the promises, and docs/statistics.md quotes it."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parents[2]
RECORD = json.loads((ROOT / "records/benchmarks/coverage.json").read_text())
PAGE = (ROOT / "docs/statistics.md").read_text()
KINDS = ("rates", "differences")


def per_cent(value: float) -> str:
    return f"{100 * value:.1f} %"


def quoted() -> list[str]:
    """Lines of the page that hold numbers of the record."""
    summary, lines = RECORD["summary"], []
    for kind in KINDS:
        for seeds in (1, 3, 5):
            every, enough = summary[f"{kind}, {seeds} seeds"], summary[f"{kind}, {seeds} seeds, enough"]
            shown = (every["lowest"], every["mean"], enough["lowest"], enough["mean"], enough["highest"])
            lines.append(f"| {kind} | {seeds} | {every['cells']} | {' | '.join(map(per_cent, shown))} |")
    for cell in RECORD["tables"]:
        told = " | ".join(map(per_cent, (cell["false"], cell["false_by_arm"], cell["pooled"])))
        halves = f"{100 * cell['half_width']:.1f} | {100 * cell['half_width_by_arm']:.1f}"
        sds = f"{100 * cell['seed_sd'] * 4 * 0.7 * 0.3:.1f}"
        last = f"{100 * cell['seed_sd'] * cell['restless'] * 4 * 0.7 * 0.3:.1f}"
        lines.append(f"| {cell['seeds']} | {sds} | {last} | {told} | {halves} |")
    rules = summary["seeds, added"], summary["seeds, satterthwaite"]
    lines.append(f"between {per_cent(rules[0]['lowest'])} and {per_cent(rules[0]['highest'])}")
    lines.append(f"between {per_cent(rules[1]['lowest'])} and {per_cent(rules[1]['highest'])}")
    lines.append(
        "In worlds where two methods are alike, at most "
        + ", ".join(f"{per_cent(summary['false verdicts'][f'{n} seeds'])} ({n} seed{'s' * (n > 1)})" for n in (1, 3, 5))
    )
    return lines


def test_the_page_quotes_the_record() -> None:
    words = " ".join(PAGE.split())
    for line in quoted():
        assert line in words


def noise(cell: dict[str, Any], truth: float) -> float:
    """Four standard errors of a share of the cell's worlds, about one in 30,000."""
    return 4 * math.sqrt(truth * (1 - truth) / cell["worlds"])


@pytest.mark.parametrize("kind", KINDS)
def test_no_interval_covers_too_seldom_or_far_too_often(kind: str) -> None:
    for cell in RECORD[kind]:
        for rate in ("coverage", "balanced"):
            assert cell[rate] >= 0.93 - noise(cell, 0.93), cell
            if cell["enough"]:
                assert cell[rate] <= 0.98 + noise(cell, 0.98), cell
    # Together the cells of a kind are too many for chance to hide a fault of all.
    for seeds in (1, 3, 5):
        found = RECORD["summary"][f"{kind}, {seeds} seeds, enough"]
        assert 0.94 < found["mean"] < 0.98


def test_interval_and_p_agreed_in_every_world_and_false_verdicts_are_rare() -> None:
    assert RECORD["summary"]["interval and p agree"] == 1.0
    for cell in RECORD["differences"]:
        if cell["gain"] == 0:
            assert cell["told"] <= 0.07 + noise(cell, 0.07), cell
    for cell in RECORD["tables"]:
        assert cell["false"] <= 0.07 + noise(cell, 0.07), cell
        assert cell["half_width"] < cell["half_width_by_arm"]
