"""What a stranger, or a damaged file, can put into a board's folder: it stays text, or costs its own file, by name."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import math
import os
import pathlib
import re
import shutil
import time
import types
import typing
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from longtail.board import build, export_archive, import_archive, submit, submit_predictions, verify
from longtail.board.archive import stream
from longtail.board.content import load
from longtail.board.index import build_index
from longtail.board.keys import Key
from longtail.board.measures import Measure
from longtail.board.pages import paths, render
from longtail.board.reader import Index
from longtail.board.review import refuse, show
from longtail.board.schema import Claim, Dataset, Facet, Method, Note, Paper, Relation, Settings, Task, Variant
from longtail.errors import InputError
from oracles.board import add_claims, dataset, row, runs, task, write_archive
from oracles.crawler import EVIL, crawl

JOINED = "".join(EVIL)
ADDRESS = "https://example.org/"
KINDS = {
    "papers": Paper, "facets": Facet, "methods": Method, "datasets": Dataset, "variants": Variant, "tasks": Task,
    "measures": Measure, "keys": Key, "claims": Claim, "relations": Relation, "notes": Note, "settings": Settings,
}  # fmt: skip


def good() -> dict[str, dict[str, Any]]:
    """One of each kind that a folder can hold, with every field that a file may state."""
    link = {"title": "L", "url": ADDRESS}
    return {
        "papers": {
            "id": "own-paper", "title": "T", "authors": ["A"], "date": "2025-01-01", "venue": "V",
            "arxiv": "2501.00001", "tasks": ["Own task"], "summary": "S", "summary_by": "W", "links": [{**link}],
            "code": [{**link}], "methods": ["own-method"], "controls": ["C"], "related": ["dro-lt"], "source": "S",
        },
        "facets": {
            "name": "methodology", "points": ["P"], "where": "W", "written_by": "B", "quick": "Q", "here": "H",
            "checked_by": "C", "by_program": False,
        },
        "methods": {
            "id": "own-method", "name": "Own", "family": "F", "summary": "S", "recipe": "ce", "paper": "own-paper",
            "venue": "V", "year": 2025, "notes": ["N"], "aliases": ["A"], "source": "S",
        },
        "datasets": {
            "id": "own-data", "name": "D", "full_name": "F", "summary": "S", "modality": "M", "homepage": ADDRESS,
            "cite": "C", "licence": "L", "source": "S",
        },
        "variants": {
            "id": "own-variant", "name": "V", "imbalance": 10, "images": 111, "largest": 100, "smallest": 1,
            "groups": [0, 1, 2], "num_test": 90, "num_classes": 3, "many": 100, "few": 20, "counts": [100, 10, 1],
            "key": "own-key", "aliases": ["A"], "notable": True, "library": "L", "fingerprint": "F",
        },
        "tasks": {"name": "Own task", "description": "D", "categories": ["C"], "parent": "P"},
        "measures": {
            "id": "own-measure", "name": "M", "unit": "%", "higher_is_better": True, "complement": "accuracy",
            "proportion": False, "aliases": ["N"],
        },
        "keys": {"id": "own-key", "sha256": "0" * 64, "num_test": 90, "num_classes": 3, "provenance": "P"},
        "claims": {
            "id": "own-claim", "method": "M", "dataset": "own-variant", "metric": "M", "value": "40.0",
            "quote": "40.0", "source": "S", "locator": "L", "url": ADDRESS, "second_hand": False,
            "method_id": "own-method", "paper": "own-paper", "track": "scratch", "backbone": "B", "epochs": 3,
            "augmentation": "A", "selection": "S", "trials": 3, "spread": 0.1, "many": 1.0, "medium": 1.0,
            "few": 1.0, "extra_data": "E", "date": "2025-01-01", "tasks": ["Own task"], "catalogued": True,
            "supersedes": "archive-0123456789abcdef", "note": "N", "added": "2025-01-02", "code": [{**link}],
        },
        "relations": {
            "id": "own-relation", "better": "own-method", "than": "ce", "dataset": "own-variant",
            "metric": "Accuracy", "gap": "2", "quote": "5 or 3", "source": "S", "locator": "L", "protocol": "P",
            "url": ADDRESS, "paper": "own-paper", "added": "2025-01-02", "note": "N",
        },
        "notes": {"on": "papers/own-paper", "text": "T", "by": "B", "date": "2025-01-01", "url": ADDRESS},
        "settings": {"name": "N", "url": ADDRESS, "issues": ADDRESS, "builder": "B"},
    }  # fmt: skip


# What no file states: what is computed, what imports alone have, and what stands one level up.
UNSTATED = {
    "papers": {"facets", "abstract", "named_methods", "kind"},
    "datasets": {"variants"},
    "variants": {"dataset"},
    "claims": {"raw", "measure", "kind", "flags", "paper_title", "paper_url", "dataset_name"},
    "relations": {"measure"},
}
# Texts that are names of something, addresses, days or one of a few words; each is refused if it is another.
NAMES = {
    "id", "url", "homepage", "date", "added", "track", "unit", "sha256", "arxiv", "on", "issues", "complement",
    "supersedes", "better", "than", "gap", "value", "paper", "method_id", "dataset", "key",
}  # fmt: skip


def hints(kind: str) -> Iterator[tuple[str, set[Any]]]:
    for name, hint in typing.get_type_hints(KINDS[kind]).items():
        if name not in UNSTATED.get(kind, ()):
            yield name, set(typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)) - {type(None)}


def toml(value: Any) -> str:
    return "inf" if value == math.inf else json.dumps(value)


def plant(root: pathlib.Path, given: dict[str, dict[str, Any]]) -> None:
    """Write one file of each kind."""

    def write(name: str, thing: Any) -> None:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(thing))

    def table(name: str, kind: str, entry: dict[str, Any]) -> None:
        head = f"[[{kind}]]\n" if kind else ""
        (root / name).write_text(head + "".join(f"{key} = {toml(value)}\n" for key, value in entry.items()))

    root.mkdir(exist_ok=True)
    write("papers/own.json", {**given["papers"], "facet": [given["facets"]]})
    write("methods/own.json", given["methods"])
    write("datasets/own.json", {**given["datasets"], "variant": [given["variants"]]})
    write("claims/claims.json", {"claim": [given["claims"]]})
    write("claims/relations.json", {"relation": [given["relations"]]})
    write("notes/own.json", given["notes"])
    table("tasks.toml", "task", given["tasks"])
    table("measures.toml", "measure", given["measures"])
    table("keys.toml", "key", given["keys"])
    table("board.toml", "", given["settings"])


def test_the_plain_files_are_read_and_state_every_field(tmp_path: pathlib.Path) -> None:
    for kind, given in good().items():
        assert set(given) == {name for name, _ in hints(kind)}, kind
    plant(tmp_path, good())
    warnings: list[str] = []
    content = load(tmp_path, warnings)
    assert warnings == []
    assert "own-claim" in {claim.id for claim in content.claims}
    assert verify(tmp_path) == []


@pytest.mark.parametrize("evil", [JOINED, "javascript:alert(1)"], ids=["markup", "script address"])
def test_hostile_text_in_every_field_of_every_kind_stays_text(tmp_path: pathlib.Path, evil: str) -> None:
    given = good()
    for kind, entry in given.items():
        for name, kinds in hints(kind):
            if name in NAMES or (kind, name) == ("facets", "name"):
                continue
            short = evil[:100]
            if str in kinds:
                entry[name] = f"{short} 40.0" if name == "quote" and kind == "claims" else short
                entry[name] = f"{short} 5 or 3" if (kind, name) == ("relations", "quote") else entry[name]
            elif tuple[str, ...] in kinds:
                entry[name] = [*entry[name], short]
    given["papers"]["links"][0]["title"] = given["papers"]["code"][0]["title"] = evil[:100]
    given["claims"]["code"][0]["title"] = evil[:100]
    plant(tmp_path, given)
    (tmp_path / "claims" / "gone.json").write_text(
        json.dumps({"withdraw": [{"id": "own-claim", "reason": evil, "by": evil}]})
    )
    for name, dump in dumps(evil).items():
        (tmp_path / f"{name}.json").write_text(json.dumps(dump))
        import_archive(tmp_path / f"{name}.json", root=tmp_path)
    with build_index(tmp_path) as index:
        # Names of methods, papers and rows are among the texts.
        assert all(" is not known" in each or "is no row here" in each for each in index.warnings)
        assert crawl(index, pages_of(index)) == []
        marked = {
            path: render(index, path)[1]  # type: ignore[index]
            for path in ("papers/own-paper.html", "methods/own-method.html", "datasets/own-data.html", "tasks.html")
        }
    if evil == JOINED:
        for path, text in marked.items():
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text, path


def pages_of(index: Index) -> list[str]:
    """One page of each kind that shows lists, and every page of what is not shipped."""
    with build_index() as shipped:
        known = set(paths(shipped))
    return [path for path in paths(index) if "/" not in path or path not in known]


def imported(root: pathlib.Path, tables: list[dict[str, Any]]) -> None:
    import_archive(write_archive(root / "t.json", tables), root=root)


def dumps(evil: str) -> dict[str, list[dict[str, Any]]]:
    """The archive's five dumps with a text in every field."""
    links = [{"title": evil, "url": evil}, {"title": evil, "url": ADDRESS}]
    hostile = row(evil, evil, paper_title=evil, paper_url=evil, code_links=links, model_links=links,
                  metrics={evil: evil, "Accuracy": "40", f"{evil} 2": 3})  # fmt: skip
    inner = dataset(f"{evil} data", [evil], [hostile])
    outer = {**inner, "description": evil, "dataset_links": links, "dataset_citations": links}
    return {
        "tables": [
            task(evil, [outer], description=evil, categories=[evil], synonyms=[evil], source_link=links[0],
                 subtasks=[task(f"{evil} below", [inner])])
        ],
        "papers": [
            {"paper_url": evil, "arxiv_id": evil, "title": f"{evil} paper", "abstract": evil, "url_abs": evil,
             "url_pdf": evil, "proceeding": evil, "authors": [evil], "tasks": [evil], "date": evil, "methods": [evil]}
        ],
        "links": [
            {"paper_url": evil, "paper_title": f"{evil} paper", "paper_arxiv_id": evil, "repo_url": address,
             "framework": evil, "is_official": True}
            for address in (evil, ADDRESS)
        ],
        "methods": [{"name": f"{evil} method", "full_name": evil, "description": evil, "introduced_year": evil,
                     "collections": [evil], "paper": {"title": evil}}],
        "datasets": [{"name": f"{evil} set", "full_name": evil, "homepage": evil, "description": evil,
                      "modalities": [evil], "tasks": [evil], "variants": [evil]}],
    }  # fmt: skip


NUMBERS = [(kind, name) for kind in KINDS for name, kinds in hints(kind) if kinds & {int, float}]
LISTS = [("variants", "counts"), ("variants", "groups")]


@pytest.mark.parametrize(("kind", "name"), [*NUMBERS, *LISTS])
def test_huge_and_endless_numbers_cost_their_own_file(tmp_path: pathlib.Path, kind: str, name: str) -> None:
    home = {"facets": "papers", "variants": "datasets", "relations": "claims"}.get(kind, kind)
    for place, number in enumerate((10**400, 1e999, 2**60, "three", True)):
        given, root = good(), tmp_path / str(place)
        given[kind][name] = [number] * 3 if (kind, name) in LISTS else number
        plant(root, given)
        for file in root.rglob("*.json"):
            file.write_text(file.read_text().replace("Infinity", "1e999"))
        warnings: list[str] = []
        load(root, warnings)
        told = [each for each in warnings if each.startswith(home) and (repr(name) in each or name in NAMES)]
        assert told, (number, warnings)


def test_a_data_set_of_endless_classes_is_refused_before_it_costs_memory(tmp_path: pathlib.Path) -> None:
    start = time.perf_counter()
    for change in ({"num_classes": 10**12}, {"num_test": 10**12}, {"num_test": -5}, {"largest": 0}):
        given = good()
        for name in ("counts", "groups", "images", "smallest"):
            del given["variants"][name]
        given["variants"] |= change
        given["datasets"]["profile"] = "exponential"
        plant(tmp_path, given)
        warnings: list[str] = []
        load(tmp_path, warnings)
        assert any(next(iter(change)) in each and each.startswith("datasets/own.json") for each in warnings), warnings
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(("kind", "name"), [("papers", "id"), ("methods", "id"), ("datasets", "id"), ("variants", "id"),
                                            ("measures", "id"), ("claims", "id"), ("relations", "id")])  # fmt: skip
@pytest.mark.parametrize("path", ["../../evil", "/etc/evil", "a/b", "archive-a/b", "x" * 500, "A b", "é"])
def test_an_identifier_cannot_leave_its_folder(tmp_path: pathlib.Path, kind: str, name: str, path: str) -> None:
    given = good()
    given[kind][name] = path
    plant(tmp_path, given)
    warnings: list[str] = []
    load(tmp_path, warnings)
    home = {"variants": "datasets", "relations": "claims"}.get(kind, kind)
    assert any((each.startswith(home) and "'id'" in each) or "id " in each for each in warnings), warnings


def test_no_name_reaches_beyond_the_board(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    submit(runs(tmp_path / "runs", (0.8,)), root=root)
    (root / "queue").mkdir()
    (root / "queue" / "here").symlink_to(tmp_path / "runs")
    for name in ("..", "../submissions", "/etc", "here/../../submissions"):
        with pytest.raises(InputError):
            show(root, name)
        with pytest.raises(InputError):
            refuse(root, name, "no")
    with pytest.raises(InputError, match="no folder of a submission"):
        show(root, "here")
    with build_index(root) as index:
        for path in ("../root/board.toml", "boards/../../x.html", "submissions/../scores/x.html", "papers/%2e%2e.html"):
            assert render(index, path) is None


def test_another_paper_cannot_take_a_papers_page(tmp_path: pathlib.Path) -> None:
    rows = [row("X", 0, metrics={"Accuracy": "40"}, paper_title="dro-lt", paper_url=None)]
    imported(tmp_path, [task("T", [dataset("Mine", ["Accuracy"], rows)])])
    (tmp_path / "p.json").write_text(json.dumps([{"title": "BNS IPDPP", "abstract": "Ours now.", "paper_url": None}]))
    import_archive(tmp_path / "p.json", root=tmp_path)
    with build_index(tmp_path) as index:
        seed = index.paper("dro-lt")
        assert seed is not None
        assert seed.title.startswith("Distributional Robustness Loss")
        other = index.paper("bns-ipdpp")
        assert other is not None
        assert other.abstract is None
        assert index.paper("bns-ipdpp-archive") is not None
        assert crawl(index, ["papers/dro-lt-archive.html", "papers/bns-ipdpp-archive.html"]) == []


def test_two_boards_never_share_an_address(tmp_path: pathlib.Path) -> None:
    tables = [
        task("T", [dataset("Sea", ["Shells F1"], [row("a", 0, metrics={"Shells F1": "70"})])]),
        task("T", [dataset("Sea Shells", ["F1"], [row("b", 0, metrics={"F1": "60"})])]),
        task("T", [dataset("Sea Shells F1", ["Accuracy"], [row("c", 0, metrics={"Accuracy": "50"})])]),
    ]
    imported(tmp_path, tables)
    with build_index(tmp_path) as index:
        found = {board.slug: [entry.method for entry in index.entries(board.slug)] for board in index.boards()}
    assert sorted(methods for name, methods in found.items() if name.startswith("sea")) == [["a"], ["b"], ["c"]]


def test_a_claim_cannot_take_the_place_of_a_submission(tmp_path: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path / "runs", (0.8,)), root=tmp_path)
    claim = {**good()["claims"], "id": made["id"], "dataset": "digits-lt-if-100", "metric": "Accuracy", "paper": "none",
             "method_id": None, "supersedes": None}  # fmt: skip
    add_claims(tmp_path, "taken", [claim])
    with build_index(tmp_path) as index:
        entry = index.entry(made["id"])
        assert entry is not None
        assert entry.kind == "scored"
        assert any(made["id"] in each for each in index.warnings)


@pytest.mark.parametrize("name", [f"{each}/x.json" for each in ("claims", "papers", "methods", "datasets", "notes")])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"id": "a", "id": "b"}', '{"x": {"y": 1, "y": 2}}',
                                  '{"id": NaN}', '{"id": ' + "9" * 5000 + "}", "\x00", "[]", "3"])  # fmt: skip
def test_deep_twofold_and_odd_json_costs_its_own_file(tmp_path: pathlib.Path, name: str, text: str) -> None:
    plant(tmp_path, good())
    (tmp_path / name).write_text(text)
    warnings: list[str] = []
    content = load(tmp_path, warnings)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{name}: skipped")
    assert len(warnings[0]) < 400
    assert "own-paper" in content.papers


def test_an_archive_that_unpacks_without_end_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LONGEST", 1 << 20)
    packed = gzip.compress(b'["' + b"a" * (8 << 20))
    assert len(packed) < 20_000
    (tmp_path / "bomb.json.gz").write_bytes(packed)
    with pytest.raises(InputError, match="more than 1,048,576 characters"):
        import_archive(tmp_path / "bomb.json.gz", root=tmp_path / "root")
    assert not (tmp_path / "root" / "archive").exists()
    # One that is long by its many elements is read.
    many = json.dumps([task(f"T{i}", []) for i in range(9000)])
    (tmp_path / "long.json.gz").write_bytes(gzip.compress(many.encode()))
    assert import_archive(tmp_path / "long.json.gz", root=tmp_path / "root")["elements"] == 9000


FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0", "\uff1d1+1", "\x00=1"]


def test_no_cell_of_a_table_is_a_formula(tmp_path: pathlib.Path) -> None:
    rows = [
        row(text, 0, metrics={"Accuracy": f"{40 + i}"}, paper_title=text, paper_url=None)
        for i, text in enumerate(FORMULAS)
    ]
    imported(tmp_path, [task("T", [dataset("Mine", ["Accuracy"], rows)])])
    with build_index(tmp_path) as index:
        found = render(index, "boards/mine.csv")
    assert found is not None
    lines = list(csv.reader(io.StringIO(found[1])))
    assert len(lines) == 1 + len(FORMULAS)
    for line in lines:
        for cell in line:
            start = unicodedata.normalize("NFKC", cell)[:1]
            assert start not in tuple("=+-@\t\r\n") or re.fullmatch(r"-\d+(\.\d+)?", cell), cell


def test_letters_that_look_alike_are_flagged(tmp_path: pathlib.Path) -> None:
    twin = "DR\u041e-LT"
    given = {"method": twin, "data": "digits-lt", "imbalance": 100, "selection": "last epoch"}
    files = [folder / "predictions.npz" for folder in runs(tmp_path / "runs", (0.8,))]
    made = submit_predictions(files, root=tmp_path / "root", statement=given)
    claim = {**good()["claims"], "method": twin, "dataset": "digits-lt-if-100", "metric": "Accuracy", "method_id": None,
             "paper": None, "supersedes": None}  # fmt: skip
    add_claims(tmp_path / "root", "twin", [claim, {**claim, "id": "plain", "method": "DRO-LT"}])
    shutil.copytree(tmp_path / "root" / "submissions" / made["id"], tmp_path / "root" / "queue" / made["id"])
    with build_index(tmp_path / "root") as index:
        flags = {entry.id: entry.flags for entry in index.entries("digits-lt-if-100")}
    assert "look-alike-letters" in flags["own-claim"]
    assert "look-alike-letters" in flags[made["id"]]
    assert flags["plain"] == ()
    assert any("another script" in each for each in show(tmp_path / "root", made["id"])["notes"])


def test_half_characters_break_nothing(tmp_path: pathlib.Path) -> None:
    half = "a\ud800b"
    given = good()
    for kind in ("papers", "claims", "notes", "methods", "datasets"):
        for name, kinds in hints(kind):
            if str in kinds and name not in NAMES and name != "quote":
                given[kind][name] = half
    plant(tmp_path / "own", given)
    warnings: list[str] = []
    load(tmp_path / "own", warnings)
    assert sum("half of a character" in each for each in warnings) == 5
    # Rows of an archive are kept as they are, and shown without it.
    for name, dump in dumps(half).items():
        (tmp_path / f"{name}.json").write_text(json.dumps(dump))
        import_archive(tmp_path / f"{name}.json", root=tmp_path)
    with build_index(tmp_path) as index:
        assert index.warnings == []
        assert crawl(index, pages_of(index)) == []
        for path in pages_of(index):
            if path.endswith((".html", ".csv", ".atom", ".svg", ".js")):
                render(index, path)[1].encode()  # type: ignore[index]
    export_archive(tmp_path, tmp_path / "out.json")
    files = [folder / "predictions.npz" for folder in runs(tmp_path / "runs", (0.8,))]
    stated = {"method": "M", "data": "digits-lt", "imbalance": 100, "selection": "last epoch"}
    for more in ({"submitter": half}, {"note": half}):
        with pytest.raises(InputError, match="half of a character"):
            submit_predictions(files, root=tmp_path, statement=stated, **more)
    assert not (tmp_path / "submissions").exists()


@pytest.mark.usefixtures("one_page")
def test_links_that_lead_nowhere_cost_what_they_stand_for(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    (made,) = submit(runs(tmp_path / "runs", (0.8,)), root=root)
    names = ["claims/x.toml", "papers/x.toml", "methods/x.json", "datasets/x.toml", "notes/x.toml", "board.toml",
             "tasks.toml", "archive/tables--x-0123456789ab.jsonl", "archive/x.refused.jsonl", "submissions/x",
             "scores/y.json", "queue/x"]  # fmt: skip
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(tmp_path / "nowhere")
    findings = " ".join(verify(root))
    for name in names:
        if name not in ("archive/x.refused.jsonl", "queue/x", "board.toml", "tasks.toml"):
            assert name in findings, name
    for name in ("submissions/x", "scores/y.json"):
        (root / name).unlink()
    assert build(tmp_path / "site", root=root)["rescored"] > 0
    with build_index(root) as index:
        assert index.entry(made["id"]) is not None


def test_names_of_what_is_not_there_are_no_links(tmp_path: pathlib.Path) -> None:
    given = good()
    given["claims"] |= {"paper": "nobody", "method_id": "nothing"}
    given["methods"] |= {"paper": "nobody"}
    given["papers"] |= {"methods": ["nothing"], "related": ["nobody"]}
    given["relations"] |= {"dataset": "own-variant", "metric": "Wow factor", "paper": "nobody"}
    given["notes"] |= {"on": "papers/nobody"}
    given["tasks"] |= {"parent": "Nowhere"}
    plant(tmp_path, given)
    with build_index(tmp_path) as index:
        assert [each.split(": ")[0] for each in index.warnings] == [
            *["paper 'own-paper'"] * 2, "method 'own-method'", *["claim 'own-claim'"] * 3,
            "relation 'own-relation'", "task 'Own task'", "note on 'papers/nobody'",
        ]  # fmt: skip
        assert crawl(index, pages_of(index)) == []


def test_every_line_of_a_long_board_has_an_anchor_where_its_links_lead(tmp_path: pathlib.Path) -> None:
    rows = [
        row(f"M{i}", 0, metrics={"Accuracy": f"{20 + i / 10:.1f}"}, paper_title="One paper", paper_url=None)
        for i in range(130)
    ]
    imported(tmp_path, [task("T", [dataset("Mine", ["Accuracy"], rows)])])
    with build_index(tmp_path) as index:
        last = index.entries("mine")[-1]
        assert index.anchor(last.id) == f"boards/mine.page-2.html#{last.id}"
        assert crawl(index, ["boards/mine.html", "boards/mine.page-2.html", "papers/one-paper.html"]) == []
        feed = render(index, "boards/mine.atom")
    assert feed is not None
    assert "boards/mine.page-2.html#" in feed[1]


@pytest.mark.parametrize("kind", ["claims", "papers", "methods", "datasets", "notes"])
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: pathlib.Path, kind: str) -> None:
    folder = tmp_path / kind
    folder.mkdir()
    os.mkfifo(folder / "pipe.toml")
    (folder / "device.json").symlink_to("/dev/zero")
    (folder / "folder.toml").mkdir()
    warnings: list[str] = []
    load(tmp_path, warnings)
    assert len(warnings) == 3
    assert all(each.endswith("is no file") for each in warnings)


@pytest.mark.parametrize("sign", ["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e"])
def test_a_name_with_signs_that_nobody_sees_is_flagged(tmp_path: pathlib.Path, sign: str) -> None:
    stated = {"id": "x", "dataset": "own", "metric": "Accuracy", "value": "1.5", "quote": "1.5", "source": "S"}
    add_claims(tmp_path, "x", [{**stated, "locator": "L", "method": f"DRO{sign}-LT"}])
    assert any("look-alike-letters" in claim.flags for claim in load(tmp_path).claims)


@pytest.mark.parametrize("path", ["boards/imagenet-lt.page-0.html", "boards/imagenet-lt.page-01.html"])
def test_a_page_has_one_address(path: str) -> None:
    with build_index() as index:
        assert render(index, path) is None


def test_a_long_line_of_corrections_costs_no_more_than_its_length(tmp_path: pathlib.Path) -> None:
    claim = {"method": "M", "dataset": "own", "metric": "Accuracy", "value": "12.5", "quote": "12.5", "source": "S"}
    made = [{**claim, "id": f"c{i}", "locator": "L", **({"supersedes": f"c{i - 1}"} if i else {})} for i in range(9000)]
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "x.json").write_text(json.dumps({"claim": made}))
    start = time.process_time()
    assert len(load(tmp_path).claims) > 9000
    # Half a minute, were each of them followed to its beginning.
    assert time.process_time() - start < 5
    made[0]["supersedes"] = "c8999"
    (tmp_path / "claims" / "x.json").write_text(json.dumps({"claim": made}))
    with pytest.raises(InputError, match="supersedes itself"):
        load(tmp_path)


def test_an_import_that_is_no_file_is_named_and_never_waited_for(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    os.mkfifo(folder / "t-0123456789ab.jsonl")
    os.mkfifo(folder / "t-0123456789ab.imported.json")
    os.mkfifo(folder / "t.refused.jsonl")
    assert verify(tmp_path) == ["archive/t-0123456789ab.jsonl: skipped, it is no file"]
    with build_index(tmp_path) as index:
        assert index.warnings == ["archive/t-0123456789ab.jsonl: skipped, it is no file"]
        assert render(index, "about.html") is not None


def test_every_dataclass_of_a_file_is_attacked() -> None:
    stated = {"Claim", "Dataset", "Facet", "Link", "Method", "Note", "Paper", "Relation", "Settings", "Task", "Variant"}
    from longtail.board import schema

    own = {name: each for name, each in vars(schema).items() if getattr(each, "__module__", "") == schema.__name__}
    assert {name for name, each in own.items() if dataclasses.is_dataclass(each)} == stated
    assert {each.__name__ for each in KINDS.values()} >= stated - {"Link"}
