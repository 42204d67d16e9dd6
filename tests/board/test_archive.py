from __future__ import annotations

import copy
import gzip
import io
import itertools
import json
import os
import pathlib
import time
from typing import Any

import pytest

from longtail.board import build, export_archive, import_archive, verify
from longtail.board.archive import FLAGS, check_task, claims_of, infer_track, stream_list
from longtail.board.content import load
from longtail.board.index import build_index
from longtail.errors import InputError
from oracles.board import DIRT, dataset, dirty_archive, row, task, write_archive


@pytest.fixture
def real_archive() -> pathlib.Path:
    """The 341 rows on eight boards that the Papers with Code archive holds on long tails."""
    file = os.environ.get("LONGTAIL_ARCHIVE")
    if file is None or not pathlib.Path(file).is_file():
        pytest.skip("set LONGTAIL_ARCHIVE to evaluation-tables.long-tail.json to run this test")
    return pathlib.Path(file)


def test_every_kind_of_dirt_is_flagged_and_the_raw_string_kept(tmp_path: pathlib.Path) -> None:
    summary = import_archive(write_archive(tmp_path / "tables.json"), root=tmp_path / "root")
    assert set(DIRT) | {"also-in-archive"} == set(FLAGS)
    assert set(summary["flags"]) == set(DIRT)
    claims = [claim for claim, _ in claims_of(tmp_path / "root", load(tmp_path / "root"))]
    for flag, planted in DIRT.items():
        found = [claim for claim in claims if claim.method == planted["model_name"] and flag in claim.flags]
        assert found, flag
        assert all(claim.raw in {str(value) for value in planted["metrics"].values()} | {"43"} for claim in found), flag
    clean = next(claim for claim in claims if claim.method == "Method")
    assert clean.flags == ()
    assert clean.value == 55.0
    # One row under two tasks is one claim with two tasks.
    assert clean.tasks == ("Long-tail Learning", "Image Classification")
    assert len({claim.id for claim in claims}) == len(claims)


def test_a_round_trip_is_lossless(tmp_path: pathlib.Path) -> None:
    tables = dirty_archive()
    tables[0]["datasets"][0]["subdatasets"].append(
        dataset("Inner", ["Accuracy"], [row("X", 12, metrics={"Accuracy": 12})])
    )
    tables[1]["subtasks"].append(task("Child", [], source_link={"title": "s", "url": "https://example.org"}))
    tables[0]["datasets"][0]["sota"]["rows"][0]["metrics"]["Accuracy"] = 54.50
    import_archive(write_archive(tmp_path / "tables.json", tables), root=tmp_path / "root")
    export_archive(tmp_path / "root", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == tables
    assert verify(tmp_path / "root") == []


def test_the_real_archive(tmp_path: pathlib.Path, real_archive: pathlib.Path) -> None:
    summary = import_archive(real_archive, root=tmp_path / "root")
    assert (summary["rows"], summary["boards"], summary["unreadable"]) == (341, 8, 0)
    flags = summary["flags"]
    assert flags["percent-sign"] == 40
    assert flags["stray-whitespace"] == 2
    assert flags["two-names-one-metric"] == 1
    assert flags["number-on-two-boards"] == 2
    assert flags["date-before-method"] == 3
    export_archive(tmp_path / "root", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(real_archive.read_text())
    claims = [claim for claim, _ in claims_of(tmp_path / "root", load(tmp_path / "root"))]
    values = sorted(
        claim.value for claim in claims if claim.dataset == "cifar-100-lt-if-100" and claim.value is not None
    )
    gaps = [high - low for low, high in itertools.pairwise(values)]
    # What started this board: most gaps are smaller than the test set can tell.
    assert (sum(gap < 0.88 for gap in gaps), len(gaps)) == (57, 65)
    start = time.perf_counter()
    built = build(tmp_path / "site", root=tmp_path / "root")
    assert built["entries"] > 440
    # Ten seconds are allowed on an idle machine; a loaded one, with types checked, is given more.
    assert time.perf_counter() - start < 30


def test_the_track_is_what_the_names_say() -> None:
    assert infer_track("VL-LTR (ResNet-50)", "", "imagenet-lt") == ("foundation", True)
    assert infer_track("LPT", "LPT: Long-tailed Prompt Tuning", "cifar-100-lt-if-100")[0] == "foundation"
    assert infer_track("Z (ViT-B/16, ImageNet-21K)", "", "imagenet-lt") == ("imagenet", True)
    assert infer_track("LIFT (ViT-B/16, ImageNet-21K pre-training)", "", "imagenet-lt") == ("imagenet", True)
    assert infer_track("SURE(ResNet-32)", "", "cifar-100-lt-if-100") == ("scratch", False)
    # Places-LT networks usually start from ImageNet: the name alone does not tell.
    assert infer_track("PaCo (ResNet-152)", "", "places-lt") == ("unstated", False)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("extra",), 1, "unknown key 'extra'"),
        (("datasets", 0, "sota", "rows", 0, "extra"), 1, "unknown key 'extra'"),
        (("datasets", 0, "sota", "rows", 0, "paper_date"), "", "neither YYYY-MM-DD nor null"),
        (("datasets", 0, "sota", "rows", 0, "paper_date"), "2021-7-5", "neither YYYY-MM-DD nor null"),
        (("datasets", 0, "sota", "rows", 0, "paper_date"), "2021-02-30", "neither YYYY-MM-DD nor null"),
        (("datasets", 0, "sota", "rows", 0, "paper_title"), None, "expected a text, found null"),
        (("datasets", 0, "sota", "rows", 0, "metrics", "Error Rate"), None, "expected a text or a number"),
        (("datasets", 0, "sota", "rows", 0, "metrics", "Error Rate"), [1], "expected a text or a number"),
        (("datasets", 0, "sota", "rows", 0, "code_links"), [{"title": None, "url": "x"}], "found null"),
        (("datasets", 0, "sota", "rows", 0, "uses_additional_data"), "no", "expected true or false"),
        (("datasets", 0, "dataset"), " ", "is empty"),
        (("task",), None, "found null"),
        (("subtasks",), {}, "expected a list"),
    ],
)
def test_the_layout_is_strict_and_the_place_is_named(path: tuple[Any, ...], value: Any, message: str) -> None:
    table = copy.deepcopy(dirty_archive()[0])
    at: Any = table
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    with pytest.raises(InputError, match=message):
        check_task(table)


def test_a_missing_key_and_endless_nesting_are_refused() -> None:
    table = dirty_archive()[0]
    del table["synonyms"]
    with pytest.raises(InputError, match="'synonyms' is missing"):
        check_task(table)
    deep = task("bottom", [])
    for _ in range(40):
        deep = task("above", [], subtasks=[deep])
    with pytest.raises(InputError, match="nested more than"):
        check_task(deep)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_a_stream_gives_the_elements_whatever_the_chunks(chunk: int) -> None:
    text = json.dumps(dirty_archive(), indent=2, ensure_ascii=False)
    if chunk == 1:
        text = json.dumps([{"a": [1, "]", "é"]}, 2, "x, y"])
    assert list(stream_list(io.StringIO("\ufeff \n" + text), "x", chunk)) == json.loads(text)
    assert list(stream_list(io.StringIO(" [ ] "), "x", chunk)) == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[1", "[1 2]", "[1,]", "[,1]", "[1,,2]", "[1] 2", "[NaN]", '[{"a": 1, "a": 2}]', "[" * 100_000]
)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        list(stream_list(io.StringIO(text), "x", 16))


def test_imports_leave_nothing_behind_when_they_fail(tmp_path: pathlib.Path) -> None:
    broken = dirty_archive()
    broken[1]["datasets"][0]["sota"]["rows"][3]["paper_date"] = ""
    with pytest.raises(InputError, match=r"task 2.datasets\[0\].sota.rows\[3\].paper_date"):
        import_archive(write_archive(tmp_path / "broken.json", broken), root=tmp_path / "root")
    assert list((tmp_path / "root" / "archive").iterdir()) == []
    with pytest.raises(InputError, match="cannot be read"):
        import_archive(tmp_path / "nothing.json", root=tmp_path / "root")
    (tmp_path / "bad.json.gz").write_bytes(b"not gzip")
    with pytest.raises(InputError, match="cannot be read"):
        import_archive(tmp_path / "bad.json.gz", root=tmp_path / "root")


def test_compressed_files_and_repeated_imports(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "tables.json.gz"
    file.write_bytes(gzip.compress(json.dumps(dirty_archive()).encode()))
    import_archive(file, root=tmp_path / "root")
    with pytest.raises(InputError, match="imported already"):
        import_archive(file, root=tmp_path / "root")


def test_a_changed_import_is_found(tmp_path: pathlib.Path) -> None:
    stored = pathlib.Path(import_archive(write_archive(tmp_path / "t.json"), root=tmp_path / "root")["file"])
    stored.write_text(stored.read_text().replace("45.5%", "35.5%"))
    assert verify(tmp_path / "root") == [f"archive/{stored.name}: has been changed since it was imported"]


def test_without_an_import_the_board_exports_its_own_rows(tmp_path: pathlib.Path) -> None:
    export_archive(tmp_path, tmp_path / "own.json")
    tables = json.loads((tmp_path / "own.json").read_text())
    for table in tables:
        check_task(table)
    learning = next(table for table in tables if table["task"] == "Long-tail Learning")
    board = next(each for each in learning["datasets"] if each["dataset"] == "CIFAR-100-LT (ρ=100)")
    mine = next(each for each in board["sota"]["rows"] if each["model_name"] == "DRO-LT")
    assert mine["metrics"] == {"Error Rate": "52.67"}
    assert mine["paper_title"] == "Distributional Robustness Loss for Long-tail Learning"
    with pytest.raises(InputError, match="exists"):
        export_archive(tmp_path, tmp_path / "own.json")


def test_an_archive_row_that_a_claim_repeats_is_one_line(tmp_path: pathlib.Path) -> None:
    same = row("DRO-LT", "52.67", paper_title="Distributional Robustness Loss for Long-tail Learning",
               paper_url="https://arxiv.org/abs/2104.03066v1")  # fmt: skip
    tables = [task("Long-tail Learning", [dataset("CIFAR-100-LT (ρ=100)", ["Error Rate"], [same])])]
    import_archive(write_archive(tmp_path / "t.json", tables), root=tmp_path)
    with build_index(tmp_path) as index:
        found = [entry for entry in index.entries("cifar-100-lt-if-100") if entry.method == "DRO-LT"]
        assert len(found) == 1
        assert found[0].kind == "reported"
        assert found[0].flags == ("also-in-archive",)
