from __future__ import annotations

import collections
import copy
import dataclasses
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
from longtail.board.archive.claims import FLAGS, claims_of, infer_track
from longtail.board.archive.layout import check_task, read_task
from longtail.board.archive.stream import stream_list
from longtail.board.content import load
from longtail.board.index import build_index
from longtail.board.pages import render
from longtail.errors import InputError
from oracles.board import DIRT, add_claims, dataset, dirty_archive, dirty_rows, outcome, row, task, write_archive


@pytest.fixture
def real_archive() -> pathlib.Path:
    """The 341 rows on eight boards that the Papers with Code archive holds on long tails."""
    file = os.environ.get("LONGTAIL_ARCHIVE")
    if file is None or not pathlib.Path(file).is_file():
        pytest.skip("set LONGTAIL_ARCHIVE to evaluation-tables.long-tail.json to run this test")
    return pathlib.Path(file)


def test_every_kind_of_dirt_is_flagged_and_the_raw_string_kept(tmp_path: pathlib.Path) -> None:
    summary = import_archive(write_archive(tmp_path / "tables.json"), root=tmp_path / "root")
    # What can be seen only beside the other rows of a board is flagged there.
    later = {"also-in-archive", "fraction-among-per-cents", "read-as-fraction", "scale-unknown"}
    assert set(DIRT) | later == set(FLAGS)
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


def contains(written: Any, imported: Any) -> bool:
    """Whether every part of what was imported is there again; rows of the board's own may follow it."""
    if isinstance(imported, dict):
        return isinstance(written, dict) and all(
            name in written and contains(written[name], value) for name, value in imported.items()
        )
    if isinstance(imported, list):
        return (
            isinstance(written, list)
            and all(contains(there, here) for there, here in zip(written, imported, strict=False))
            and len(written) >= len(imported)
        )
    return bool(written == imported)


def test_a_round_trip_is_lossless(tmp_path: pathlib.Path) -> None:
    tables = dirty_archive()
    tables[0]["datasets"][0]["subdatasets"].append(
        dataset("Inner", ["Accuracy"], [row("X", 12, metrics={"Accuracy": 12})])
    )
    tables[1]["subtasks"].append(task("Child", [], source_link={"title": "s", "url": "https://example.org"}))
    tables[0]["datasets"][0]["sota"]["rows"][0]["metrics"]["Accuracy"] = 54.50
    import_archive(write_archive(tmp_path / "tables.json", tables), root=tmp_path / "root")
    export_archive(tmp_path / "root", tmp_path / "out.json")
    assert contains(json.loads((tmp_path / "out.json").read_text()), tables)
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
    assert contains(json.loads((tmp_path / "out.json").read_text()), json.loads(real_archive.read_text()))
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
    assert infer_track("VL-LTR (ResNet-50)", "") == ("foundation", True)
    assert infer_track("LPT", "LPT: Long-tailed Prompt Tuning")[0] == "foundation"
    assert infer_track("Z (ViT-B/16, ImageNet-21K)", "") == ("imagenet", True)
    assert infer_track("LIFT (ViT-B/16, ImageNet-21K pre-training)", "") == ("imagenet", True)
    # No name says that a network started from nothing.
    assert infer_track("SURE(ResNet-32)", "") == ("unstated", False)
    assert infer_track("PaCo (ResNet-152)", "") == ("unstated", False)


ROW = ("datasets", 0, "sota", "rows", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((*ROW, "paper_date"), "", "neither YYYY-MM-DD nor null"),
        ((*ROW, "paper_date"), "2021-7-5", "neither YYYY-MM-DD nor null"),
        ((*ROW, "paper_date"), "2021-02-30", "neither YYYY-MM-DD nor null"),
        ((*ROW, "paper_title"), None, "expected a text, found null"),
        ((*ROW, "metrics", "Error Rate"), None, "expected a text or a number"),
        ((*ROW, "metrics", "Error Rate"), [1], "expected a text or a number"),
        ((*ROW, "code_links"), [{"title": None, "url": "x"}], "found null"),
        ((*ROW, "uses_additional_data"), "no", "expected true or false"),
        (ROW, "no row", "expected an object, found str"),
        (("datasets", 0, "dataset"), " ", "is empty"),
        (("datasets", 1, "sota"), None, "expected an object"),
        (("task",), None, "found null"),
    ],
)
def test_what_is_wrong_costs_its_own_part_and_the_place_is_named(
    path: tuple[Any, ...], value: Any, message: str
) -> None:
    table = copy.deepcopy(dirty_archive()[0])
    at: Any = table
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    lost: list[tuple[str, str]] = []
    kept = read_task(table, "task 1", lambda place, reason, _: lost.append((place, reason)))
    assert len(lost) == 1
    assert message in lost[0][1]
    whole = [len(each["sota"]["rows"]) for each in dirty_archive()[0]["datasets"]]
    if path == ("task",):
        assert kept is None
    elif len(path) < 4:
        assert kept is not None
        assert [len(each["sota"]["rows"]) for each in kept["datasets"]] == [
            number for place, number in enumerate(whole) if place != path[1]
        ]
    else:
        assert lost[0][0].startswith("task 1.datasets[0].sota.rows[0]")
        assert kept is not None
        assert [len(each["sota"]["rows"]) for each in kept["datasets"]] == [whole[0] - 1, whole[1]]
    with pytest.raises(InputError):
        check_task(table)


def test_an_unknown_key_is_left_out_and_told() -> None:
    table = copy.deepcopy(dirty_archive()[0])
    table["datasets"][0]["sota"]["rows"][0]["extra"] = 1
    lost: list[str] = []
    kept = read_task(table, "task 1", lambda place, reason, _: lost.append(f"{place}: {reason}"))
    assert lost == ["task 1.datasets[0].sota.rows[0].extra: the layout has no such key; it is left out"]
    assert kept == dirty_archive()[0]


def test_keys_with_a_default_may_be_missing() -> None:
    lost: list[str] = []
    small = {
        "task": "T",
        "datasets": [
            {
                "dataset": "D",
                "sota": {"metrics": ["Accuracy"], "rows": [
                    {"model_name": "M", "paper_title": "P", "paper_url": None, "paper_date": None,
                     "metrics": {"Accuracy": 1}}
                ]},
                "subdataset": [{"dataset": "Inner", "sota": {"metrics": [], "rows": []}}],
            },
            {"dataset": "Child", "sota": {"rows": [], "metrics": []}, "subdataset": "D", "subdatasets": None},
        ],
    }  # fmt: skip
    kept = read_task(small, "task 1", lambda place, reason, _: lost.append(f"{place}: {reason}"))
    assert lost == []
    assert kept is not None
    assert check_task(kept) == kept
    assert kept["subtasks"] == []
    assert kept["datasets"][0]["sota"]["rows"][0]["uses_additional_data"] is False
    assert [each["dataset"] for each in kept["datasets"][0]["subdatasets"]] == ["Inner"]


def test_endless_nesting_costs_what_is_nested() -> None:
    deep = task("bottom", [])
    for _ in range(40):
        deep = task("above", [], subtasks=[deep])
    lost: list[str] = []
    assert read_task(deep, "task 1", lambda place, reason, _: lost.append(reason)) is not None
    assert lost == ["nested more than 12 deep"]


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_a_stream_gives_the_elements_whatever_the_chunks(chunk: int) -> None:
    text = json.dumps(dirty_archive(), indent=2, ensure_ascii=False)
    if chunk == 1:
        text = json.dumps([{"a": [1, "]", "é"]}, 2, "x, y"])
    assert list(stream_list(io.StringIO("\ufeff \n" + text), "x", chunk)) == json.loads(text)
    assert list(stream_list(io.StringIO(" [ ] "), "x", chunk)) == []


@pytest.mark.parametrize("text", ["", "{}", "[1", "[1 2]", "[1,]", "[,1]", "[1,,2]", "[1] 2", "[" * 100_000])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        list(stream_list(io.StringIO(text), "x", 16))


def test_imports_leave_nothing_behind_when_they_fail(tmp_path: pathlib.Path) -> None:
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps(dirty_archive())[:-40])
    with pytest.raises(InputError, match=r"cannot be read|does not end"):
        import_archive(cut, root=tmp_path / "root")
    assert list((tmp_path / "root" / "archive").iterdir()) == []
    with pytest.raises(InputError, match="cannot be read"):
        import_archive(tmp_path / "nothing.json", root=tmp_path / "root")
    (tmp_path / "bad.json.gz").write_bytes(b"not gzip")
    with pytest.raises(InputError, match="cannot be read"):
        import_archive(tmp_path / "bad.json.gz", root=tmp_path / "root")
    (tmp_path / "other.json").write_text('[{"a": 1}]')
    with pytest.raises(InputError, match="no task, paper, link, method or data set"):
        import_archive(tmp_path / "other.json", root=tmp_path / "root")
    assert list((tmp_path / "root" / "archive").iterdir()) == []


def test_one_bad_row_costs_that_row_and_is_listed(tmp_path: pathlib.Path) -> None:
    tables = dirty_archive()
    good = len(tables[1]["datasets"][0]["sota"]["rows"]) - 1
    tables[1]["datasets"][0]["sota"]["rows"][3]["paper_date"] = ""
    summary = import_archive(write_archive(tmp_path / "t.json", tables), root=tmp_path / "root")
    assert summary["refused"] == 1
    assert summary["refused_first"][0].startswith("task 2.datasets[0].sota.rows[3]: paper_date")
    stored = pathlib.Path(summary["file"])
    assert len(json.loads(stored.read_text().splitlines()[1])["datasets"][0]["sota"]["rows"]) == good
    listed = stored.with_name(stored.stem + ".refused.jsonl").read_text()
    assert json.loads(listed)["place"] == "task 2.datasets[0].sota.rows[3]"
    assert verify(tmp_path / "root") == []


@pytest.mark.usefixtures("one_page")
def test_odd_numbers_and_twofold_keys_cost_their_row(tmp_path: pathlib.Path) -> None:
    text = json.dumps(
        [task("T", [dataset("Mine", ["NLL"], [row(name, 0, metrics={"NLL": f"@{name}"}) for name in "abcd"])])]
    )
    text = (
        text.replace('"@a"', "NaN")
        .replace('"@b"', "9" * 6000)
        .replace('"@c"', "1e999")
        .replace('"@d"', '1.5, "NLL": 2.5')
    )
    (tmp_path / "t.json").write_text(text)
    summary = import_archive(tmp_path / "t.json", root=tmp_path / "root")
    assert (summary["rows"], summary["refused"], summary["unreadable"]) == (3, 1, 3)
    assert "stands once" in summary["refused_first"][0]
    assert build(tmp_path / "site", root=tmp_path / "root")["entries"] > 3


@pytest.mark.usefixtures("one_page")
def test_a_damaged_line_is_skipped_and_named(tmp_path: pathlib.Path) -> None:
    stored = pathlib.Path(import_archive(write_archive(tmp_path / "t.json"), root=tmp_path / "root")["file"])
    lines = stored.read_bytes().splitlines(keepends=True)
    stored.write_bytes(lines[0] + b'{"task": \xff\n')
    findings = verify(tmp_path / "root")
    assert "has been changed" in findings[0]
    assert "line 2: skipped" in findings[1]
    made = build(tmp_path / "site", root=tmp_path / "root")
    assert [each for each in made["warnings"] if "line 2: skipped" in each]
    with build_index(tmp_path / "root") as index:
        assert index.entries("cifar-10-lt-if-100")


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
        found = [
            entry
            for entry in index.entries("cifar-100-lt-if-100")
            if entry.method == "DRO-LT" and entry.kind != "scored"
        ]
        assert len(found) == 1
        assert found[0].kind == "reported"
        assert found[0].flags == ("also-in-archive",)


def boarded(tmp_path: pathlib.Path, metric: str, values: dict[str, Any]) -> dict[str, Any]:
    """The lines of a board of one imported table, by method."""
    tmp_path.mkdir(exist_ok=True)
    rows = [row(name, 0, metrics={metric: value}, paper_title="P", paper_url=None) for name, value in values.items()]
    file = write_archive(tmp_path / "t.json", [task("T", [dataset("Mine", [metric], rows)])])
    import_archive(file, root=tmp_path / "root")
    with build_index(tmp_path / "root") as index:
        return {entry.method: entry for entry in index.entries("mine")}


def test_a_fraction_among_per_cents_is_neither_read_nor_ranked(tmp_path: pathlib.Path) -> None:
    found = boarded(tmp_path, "Error Rate", {"a": "52.67", "b": "48.10", "c": "0.6120", "d": "59.4", "e": "0.55%"})
    assert (found["c"].value, found["c"].rank, found["c"].flags) == (None, None, ("fraction-among-per-cents",))
    assert found["b"].value == pytest.approx(51.90)
    # A per cent sign settles it, and so do neighbours as small.
    assert found["e"].value == pytest.approx(99.45)
    near = boarded(tmp_path / "near", "Error Rate", {"a": "0.21", "b": "0.8", "c": "1.19", "d": "12.3"})
    assert near["a"].value == pytest.approx(99.79)
    assert [near[name].rank for name in "abcd"] == [1, 2, 3, 4]


def test_a_column_of_fractions(tmp_path: pathlib.Path) -> None:
    found = boarded(tmp_path, "Accuracy", {"a": "0.612", "b": 0.55})
    assert (found["a"].value, found["a"].rank, found["a"].flags) == (pytest.approx(61.2), 1, ("read-as-fraction",))
    errors = boarded(tmp_path / "errors", "Error Rate", {"a": "0.612", "b": "0.55"})
    assert {entry.rank for entry in errors.values()} == {None}
    assert errors["a"].flags == ("scale-unknown",)


@pytest.mark.parametrize(
    ("metric", "known"),
    [("Top-1 Accuracy", True), ("ECE", False), ("AUROC", False), ("Macro F1", False), ("NLL", False)],
)
def test_a_measure_that_is_no_proportion_has_no_interval(tmp_path: pathlib.Path, metric: str, known: bool) -> None:
    planted = dataset("CIFAR-100-LT (ρ=100)", [metric], [row("m", 0, metrics={metric: "45.2"})])
    import_archive(write_archive(tmp_path / "t.json", [task("T", [planted])]), root=tmp_path)
    with build_index(tmp_path) as index:
        (entry,) = [each for board in index.boards() for each in index.entries(board.slug) if each.method == "m"]
    assert (entry.low is not None) == (entry.half_width is not None) == known


def test_an_imported_row_can_be_corrected_and_withdrawn(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    found = boarded(tmp_path, "Accuracy", {"a": "61.2", "b": "55.0", "c": "50.0"})
    right = {"id": "a-right", "method": "a", "dataset": "mine", "metric": "Accuracy", "value": "16.2", "quote": "16.2",
             "source": "P", "locator": "Table 1", "url": "https://x.org", "supersedes": found["a"].id}  # fmt: skip
    add_claims(root, "right", [right])
    (root / "claims" / "gone.toml").write_text(
        f'[[withdraw]]\nid = "{found["b"].id}"\nreason = "trained on test"\nby = "its authors"\ndate = 2026-01-02\n'
    )
    with build_index(root) as index:
        entries = {entry.id: entry for entry in index.entries("mine")}
        page = render(index, "boards/mine.html")
    old, gone = entries[found["a"].id], entries[found["b"].id]
    assert (old.superseded_by, old.rank, old.value) == ("a-right", None, 61.2)
    assert (gone.withdrawn, gone.rank) == ("trained on test, its authors, 2026-01-02", None)
    assert entries["a-right"].rank == 2
    assert page is not None
    assert "withdrawn: trained on test" in page[1]


def test_the_export_holds_the_boards_own_rows_beside_what_was_imported(tmp_path: pathlib.Path) -> None:
    mine = row("Somebody", "40", paper_title="P")
    tables = [task("Long-tail Learning", [dataset("CIFAR-100-LT (IF 100)", ["Error Rate"], [mine])])]
    import_archive(write_archive(tmp_path / "t.json", tables), root=tmp_path / "root")
    made = export_archive(tmp_path / "root", tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    learning = [each for each in written if each["task"] == "Long-tail Learning"]
    assert len(learning) == 1
    names = [each["dataset"] for each in learning[0]["datasets"]]
    assert len(names) == len(set(names))
    board = next(each for each in learning[0]["datasets"] if each["dataset"] == "CIFAR-100-LT (ρ=100)")
    models = [each["model_name"] for each in board["sota"]["rows"]]
    assert models[0] == "Somebody"
    assert "DRO-LT" in models
    assert made["own"] > 100
    with pytest.raises(InputError, match="is no folder"):
        export_archive(tmp_path / "nowhere", tmp_path / "x.json")


ROWS = int(os.environ.get("LONGTAIL_DIRTY_ROWS", "1500"))
"""Of an archive with every oddity that real ones have; set it to 10000 for the sweep at full size."""


def test_dirty_rows_are_read_flagged_or_refused(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(json.dumps([task("T", [dataset("Mine", ["Accuracy"], dirty_rows(ROWS))])]))
    summary = import_archive(file, root=tmp_path / "root")
    assert summary["rows"] + summary["refused"] == ROWS
    with build_index(tmp_path / "root") as index:
        entries = index.entries("mine")
        assert render(index, "boards/mine.html") is not None
    assert len(entries) == summary["rows"]
    found = collections.Counter(outcome(entry) for entry in entries)
    assert found["wrong"] == 0
    assert min(found["read"], found["flagged"], found["unread"]) > 0.1 * ROWS
    # A number that is not the printed one would be noticed, and so would one that lost its flag.
    sample = next(entry for entry in entries if outcome(entry) == "flagged")
    assert outcome(dataclasses.replace(sample, value=12.345)) == "wrong"
    assert outcome(dataclasses.replace(sample, value=None, flags=())) == "wrong"


ROW_A, ROW_B = row("A", "41.2"), row("B", "0", metrics={"Accuracy": 55, "Top 5 Accuracy": "80.25"}, paper_date=None)
BARE = {name: ROW_A[name] for name in ("model_name", "paper_title", "metrics")}


def without(thing: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if name not in names}


def one_set(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**dataset("Mine", ["Accuracy"], list(rows)), **more}


KINDS: dict[str, tuple[list[Any], int]] = {
    "everything stated": ([task("T", [one_set(ROW_A, ROW_B)])], 2),
    "a task without what has a default": (
        [without(task("T", [one_set(ROW_A)]), "description", "categories", "subtasks", "synonyms", "source_link")], 1),
    "a data set without what has a default": (
        [task("T", [without(one_set(ROW_A), "description", "dataset_links", "dataset_citations", "subdatasets")])], 1),
    "rows without what has a default": ([task("T", [one_set(BARE)])], 1),
    "null where a list has a default": ([task("T", [one_set(ROW_A, subdatasets=None)], subtasks=None)], 1),
    "a data set within one": ([task("T", [one_set(ROW_A, subdatasets=[one_set(ROW_B, dataset="Inner")])])], 2),
    "under the key subdataset": (
        [task("T", [without(one_set(ROW_A, subdataset=one_set(ROW_B, dataset="Inner")), "subdatasets")])], 2),
    "subdataset as the parent's name": (
        [task("T", [one_set(ROW_A), without(one_set(ROW_B, dataset="Inner", subdataset="Mine"), "subdatasets")])], 2),
    "sub-tasks that repeat the rows": ([task("T", [one_set(ROW_A)], subtasks=[task("S", [one_set(ROW_A)])])], 2),
    "numbers as numbers": ([task("T", [one_set(row("C", 0, metrics={"Accuracy": 12.5, "F1": 7}))])], 1),
    "an impossible month and an overflow": (
        [task("T", [one_set(row("D", "1e999", paper_url="https://arxiv.org/abs/2015.12345"))])], 1),
    "a source as plain text": ([task("T", [one_set(ROW_A)], source_link="https://example.org")], 1),
    "one bad row among good ones": ([task("T", [one_set(ROW_A, {**ROW_B, "paper_date": ""}, BARE)])], 2),
}  # fmt: skip
"""Files as real archives have them, each with the rows that can be read."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_real_file_is_read_and_exported_whole(tmp_path: pathlib.Path, kind: str) -> None:
    tables, count = KINDS[kind]
    summary = import_archive(write_archive(tmp_path / "t.json", tables), root=tmp_path / "root")
    assert summary["rows"] == count
    export_archive(tmp_path / "root", tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text()
    for each in json.loads(text):
        check_task(each)
    planted = [line for table in tables for line in rows_in(table) if line.get("paper_date") != ""]
    written = [line for table in json.loads(text) for line in rows_in(table)]
    for line in planted:
        assert any(contains(there, line) for there in written), line


def rows_in(thing: Any) -> list[dict[str, Any]]:
    """Every row anywhere in a file."""
    if isinstance(thing, list):
        return [line for each in thing for line in rows_in(each)]
    if not isinstance(thing, dict):
        return []
    return [thing] if "model_name" in thing else [line for each in thing.values() for line in rows_in(each)]
