"""A comparison as Markdown, LaTeX and CSV: the same numbers, whatever signs the names hold."""

from __future__ import annotations

import csv
import io
import re

import pytest

from longtail.results import tables
from longtail.results.comparison import Comparison, compare_records
from longtail.results.formats import FORMATS, as_csv, cell, escaped, latex, markdown, text_of
from oracles.runs import made_up_run

HOSTILE = r"=1+1_{50%}&|<b>\end{tabular}$x$~^#[a]"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Runs of three machines: each has a folder of its own."""
    root = tmp_path_factory.mktemp("machines")
    records = {
        name: [
            made_up_run(root / f"machine-{seed}" / str(place), recipe=name, seed=seed, accuracy=accuracy)
            for seed in range(3)
        ]
        for place, (name, accuracy) in enumerate({"ce": 0.5, HOSTILE: 0.7}.items())
    }
    return compare_records(records)


def test_csv_holds_every_number_in_full(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    for row, method in zip(rows, comparison.methods, strict=True):
        assert row["seeds"] == "3"
        for rate in ("accuracy", "many", "medium", "few", "balanced_accuracy"):
            estimate, summary = method.estimates[rate], method.summaries[rate]
            assert estimate is not None
            assert summary is not None
            found = [float(row[f"{rate}{end}"]) for end in ("", "_low", "_high", "_sd")]
            assert found == [estimate.value, estimate.low, estimate.high, summary.sd]
    gap = comparison.methods[1].difference
    assert gap is not None
    assert gap.rates["accuracy"] is not None
    assert (rows[0]["difference"], float(rows[1]["difference"])) == ("", gap.rates["accuracy"].value)
    assert rows[1]["verdict"] == gap.verdict == "better"


def test_no_cell_is_a_formula(comparison: Comparison) -> None:
    for row in csv.reader(io.StringIO(as_csv(comparison))):
        for value in row:
            assert value[:1] not in ("=", "+", "@", "\t")
            assert not value.startswith("-") or float(value) < 0
    assert [cell(text) for text in ("=a", "+a", "-a", "@a", "\ta", "a=b")] == [
        "'=a",
        "'+a",
        "'-a",
        "'@a",
        "'\ta",
        "a=b",
    ]


def test_latex_has_as_many_columns_in_every_row(comparison: Comparison) -> None:
    text = latex(comparison)
    (columns,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
    body = re.search(r"(?s)\\toprule\n(.*)\\bottomrule", text)
    assert body is not None
    rows = [line for line in body[1].splitlines() if line != r"\midrule"]
    assert len(rows) == 3
    for row in rows:
        assert row.endswith(r" \\")
        # An ampersand that is escaped separates nothing.
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
    assert text.count(r"\end{tabular}") == 1
    assert text_of(HOSTILE) in text


def test_every_special_sign_of_latex_is_escaped() -> None:
    for sign in "%&#_$":
        assert text_of(f"a{sign}b") == f"a\\{sign}b"
    assert text_of("a\\b{c}~^") == r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}"
    assert text_of("[x] ± −1\n2") == r"{[}x{]} $\pm$ $-$1 2"


def test_markdown_has_as_many_columns_in_every_row(comparison: Comparison) -> None:
    lines = [line for line in markdown(comparison).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<b>" not in "".join(lines).replace(r"\<b\>", "")
    assert escaped("a|b") == r"a\|b"
    accuracy = comparison.methods[1].estimates["accuracy"]
    assert tables.percent(accuracy) in lines[3]


def test_the_formats_have_the_names_of_the_command_line() -> None:
    assert set(FORMATS) == {"markdown", "latex", "csv"}
