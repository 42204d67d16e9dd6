"""The tables of README, docs and records are those of the records that they name (benchmarks/tables.py)."""

from __future__ import annotations

import importlib.util
import pathlib
import types

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def program() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("tables_of_pages", ROOT / "benchmarks" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_table_of_a_page_is_as_its_records() -> None:
    tables = program()
    assert len(tables.pages()) >= 1
    for path in tables.pages():
        text = path.read_text()
        assert text.count("<!-- table: ") == len(list(tables.MARK.finditer(text))), f"{path}: a table without an end"
        assert tables.filled(text) == text, path


def test_a_number_that_is_not_of_the_records_is_found() -> None:
    tables = program()
    what = "records/cifar100-lt-if100-frozen/cosine against=ce"
    page = tables.filled(f"Before.\n\n<!-- table: {what} -->\n<!-- end of table -->\n\nAfter.\n")
    assert page.startswith("Before.")
    assert page.endswith("After.\n")
    assert "| `ce` | 37.6 ± 0.1 (5) [36.9, 38.4] | 67.0 | 33.9 | 7.8 |" in page
    assert (
        "| `logit-adjustment` | 47.4 ± 0.1 (5) [46.5, 48.3] | 58.3 | 50.5 | 30.9 | +9.7 [+8.7, +10.8] better |" in page
    )
    forged = page.replace("37.6", "39.6")
    assert tables.filled(forged) == page != forged
